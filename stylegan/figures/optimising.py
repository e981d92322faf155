"""The loop of a figure that searches: a bar, what is kept on the way, and an end at any step."""

from collections.abc import Callable

from stylegan.bars import with_bar
from stylegan.errors import say
from stylegan.latent.unfinished import Unfinished
from stylegan.signals import StopRequest


def optimise(
    advance: Callable[[], object],
    steps: range,
    what: str,
    keep: Callable[[], None],
    kept: Unfinished,
    stopped: Callable[[], bool] = lambda: False,
    *,
    progress: bool,
) -> None:
    """Do the steps; what there is so far is kept from time to time, and before Ctrl-C or a signal ends it.

    Args:
        advance: Does a step.
        steps: Those that are left.
        what: It is, beside the bar and in the message.
        keep: Writes what there is, with `kept`.
        kept: Knows where.
        stopped: Whether enough is done before the last of them.
        progress: Show a bar.

    Raises:
        KeyboardInterrupt: It was interrupted; everything is kept.
    """
    with StopRequest() as interrupted:
        for step in with_bar(steps, what, len(steps), show=progress):
            advance()
            if interrupted():
                keep()
                if kept.state is not None:
                    say(
                        f"{what}: interrupted after step {step + 1}; the best so far is in {kept.best}, and "
                        "the same command goes on"
                    )
                raise KeyboardInterrupt
            if kept.due:
                keep()
            if stopped():
                break

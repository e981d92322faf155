"""Progress bars over what takes long, on a terminal's stderr."""

from collections.abc import Iterable
from typing import TypeVar

_T = TypeVar("_T")


def with_bar(items: Iterable[_T], what: str, count: int, *, show: bool) -> Iterable[_T]:
    """The items, with a bar while they are taken where one is to be shown.

    Args:
        items: They may be made as they are taken.
        what: They are, beside the bar.
        count: How many there are.
        show: Whether there is a bar.
    """
    if not show:
        return items
    from rich.console import Console  # not above: who only reads a network need not have it
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, description=what, total=count, console=console, transient=True, disable=not console.is_terminal)

"""The errors that a user can mend, and how entry scripts show them: one message, exit code 2, no traceback."""

import difflib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

LONGEST = 4000  # characters of a message; its ends say what is wrong and what to do


class UserError(Exception):
    """Something in the user's input is wrong. The message says what, where, and how to mend it."""


class UnreadableError(ValueError):
    """Why a file is not read, as the end of a sentence: what it tried, or where it is damaged. Its reader adds the name."""


@contextmanager
def refusal(of: str, advice: str) -> Iterator[None]:
    """Turn whatever goes wrong in the body, the reading of one file of some format, into one `UserError`.

    What a damaged file makes a reader raise cannot be listed: libraries for TAR, ZIP and images let out whatever the line
    raises at which they stumble.

    Args:
        of: The beginning of the message, such as `a.tar is not a readable TAR`; the reason follows in brackets.
        advice: How to mend it.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{of} ({shown(error, 300) or type(error).__name__}); {advice}") from None


@contextmanager
def of_option(name: str) -> Iterator[None]:
    """Let a `UserError` of the body, the reading of a file, begin with the option that named the file, such as `--data`."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def nearest(name: str, candidates: Iterable[str]) -> str:
    """A clause to end an "unknown name" message with.

    Args:
        name: What the user wrote.
        candidates: The names that exist.

    Returns:
        `did you mean 'x'?` where one is close, else the list of all names.
    """
    names = sorted(candidates)
    in_lower_case = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5) or [
        in_lower_case[found] for found in difflib.get_close_matches(name.lower(), in_lower_case, n=1, cutoff=0.5)
    ]
    if close:
        return f"did you mean {close[0]!r}?"
    return "there are: " + ", ".join(names) if names else "there are none"


def shown(text: object, longest: int = LONGEST) -> str:
    """A text as a terminal or a log may show it: in one line, without control codes, and not endless.

    Messages name classes, keys, members and versions as files spell them, and files come from anybody: an escape code in one
    could clear the screen, a line break begin a message that we never wrote, an override of the direction turn it round.
    Such characters are shown as in Python (`\\x1b`, `\\n`); of what is too long, the middle is left out.
    """
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in _without_middle(str(text), longest))
    return _without_middle(line, longest)


def say(text: str, console: "Console | None" = None) -> None:
    """Print a line for people, on stderr or the console that draws there already. Nothing in it is taken for markup."""
    from rich.console import Console

    console = Console(stderr=True) if console is None else console
    console.print(shown(text), markup=False, highlight=False, emoji=False, soft_wrap=True)


def _without_middle(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    end = longest // 4
    return f"{text[: longest - end]} [... {len(text) - longest} characters ...] {text[-end:]}"


@contextmanager
def one_message() -> Iterator[None]:
    """Turn a `UserError` in the body into one line on stderr and exit code 2, and Ctrl-C into exit code 130."""
    try:
        yield
    except UserError as error:
        print(f"error: {shown(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None

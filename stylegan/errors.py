"""The errors that a user can mend, and how entry scripts show them: one message, exit code 2, no traceback."""

import difflib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Something in the user's input is wrong. The message says what, where, and how to mend it."""


class UnreadableError(ValueError):
    """Why a file is not read, as the end of a sentence: what it tried, or where it is damaged. Its reader adds the name."""


def nearest(name: str, candidates: Iterable[str]) -> str:
    """A clause to end an "unknown name" message with.

    Args:
        name: What the user wrote.
        candidates: The names that exist.

    Returns:
        `did you mean 'x'?` where one is close, else the list of all names.
    """
    names = sorted(candidates)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return "there are: " + ", ".join(names) if names else "there are none"


@contextmanager
def one_message() -> Iterator[None]:
    """Turn a `UserError` in the body into one line on stderr and exit code 2, and Ctrl-C into exit code 130."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None

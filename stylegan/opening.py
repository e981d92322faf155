"""What a path leads to, asked before it is opened: a reader waits at a pipe for ever, and a device has no end."""

import difflib
import os
import stat
from pathlib import Path

from stylegan.errors import UserError

_COMPARED = 5000  # names of a folder among which the nearest one is looked for
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFCHR: "a device or terminal",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def require_regular_file(path: Path, what: str) -> None:
    """Raise `UserError` unless a path, links followed, is a file with bytes of its own.

    Args:
        path: The path.
        what: What is looked for there, such as `network file`.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise UserError(f"there is no {what} {path}{nearest_path(path)}; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot read the {what} {ascii(str(path))[:200]}: {reason}; check the path") from None
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        raise UserError(f"cannot read the {what} {path}: it is {kind}; give the name of a file")
    if not os.access(path, os.R_OK):
        raise UserError(f"cannot read the {what} {path}: you may not read it; mend its permissions")


def refuse_other_than_file(path: Path) -> None:
    """Raise `UserError` where what is to be written would replace a folder or a device, or a link to one. Asked before the work
    whose result goes there."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # nothing there, or who writes will tell
        return
    if not stat.S_ISREG(mode):
        raise UserError(
            f"cannot write {path}: it is {_KINDS.get(stat.S_IFMT(mode), 'no file')}; give the name of a file"
        )


def nearest_path(path: str | Path) -> str:
    """`, did you mean 'x'?` for the middle of a message about a path that is not there; empty where nothing is like it.

    What is compared is the first part of the path that does not exist, with what lies beside it.
    """
    path = Path(path)
    parts = (*reversed(path.parents), path)
    missing = next((part for part in parts if not os.path.exists(part)), path)  # noqa: PTH110 - False for what is no path
    try:
        names = sorted(os.listdir(missing.parent))[:_COMPARED]  # noqa: PTH208 - names, not paths
    except (OSError, ValueError):
        return ""
    close = difflib.get_close_matches(missing.name, names, n=1, cutoff=0.5)
    return f", did you mean {str(missing.parent / close[0] / path.relative_to(missing))!r}?" if close else ""

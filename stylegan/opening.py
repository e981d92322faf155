"""What a path leads to, asked before it is opened: a reader waits at a pipe for ever, and a device has no end."""

import os
import stat
from pathlib import Path

from stylegan.errors import UserError

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
        raise UserError(f"there is no {what} {path}; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot read the {what} {ascii(str(path))[:200]}: {reason}; check the path") from None
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        raise UserError(f"cannot read the {what} {path}: it is {kind}; give the name of a file")
    if not os.access(path, os.R_OK):
        raise UserError(f"cannot read the {what} {path}: you may not read it; mend its permissions")

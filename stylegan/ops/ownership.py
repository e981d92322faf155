"""Whether what lies at a path can be run: only if nobody but this user and root can have put it there, or can exchange it."""

import os
import stat
from pathlib import Path

from stylegan.errors import UserError
from stylegan.files import refuse_link


def require_ours(path: Path, root: Path) -> None:
    """Raise `UserError` where somebody else owns `path` or can write to it or to a folder above it.

    Below `root`, which we make and fill ourselves, are no links, and nobody else may write; above it a folder may be writable
    by a group that holds this user only, and by all if it is sticky, as /tmp is: there nobody can exchange what is another's.
    What does not exist yet is left out. Systems without POSIX's owners and modes are not asked.

    Args:
        path: `root` or something in it.
        root: The folder that is ours alone.
    """
    if not hasattr(os, "geteuid"):
        return
    within = path.relative_to(root)
    root = Path(os.path.realpath(root))
    for place in (path := root / within, *path.parents):
        try:
            state = place.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        inside = place == root or root in place.parents
        if inside:
            refuse_link(place)
        if state.st_uid not in _trusted(inside):
            raise UserError(
                f"{place} belongs to another user (number {state.st_uid}), who could exchange what is run from there; set "
                "XDG_CACHE_HOME to a folder of your own"
            )
        if _others_write(state, inside):
            raise UserError(
                f"{place} can be written to by other users (mode {stat.S_IMODE(state.st_mode):o}), who could exchange what is "
                f"run from there; remove {root} and `chmod go-w {place}`, or set XDG_CACHE_HOME to a folder of your own"
            )


def _trusted(inside: bool) -> set[int]:
    """The users whose files are as good as ours."""
    users = {os.geteuid(), 0}
    mapped = Path("/proc/self/uid_map")
    if not inside and mapped.exists() and mapped.read_text().split() != ["0", "0", str(2**32 - 1)]:
        # In a container without privileges root is shown as the user whom unmapped ones are shown as.
        users.add(int(Path("/proc/sys/kernel/overflowuid").read_text()))
    return users


def _others_write(state: os.stat_result, inside: bool) -> bool:
    if inside:
        return bool(state.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    if state.st_mode & stat.S_ISVTX:
        return False
    by_group = state.st_mode & stat.S_IWGRP and not _is_private(state.st_gid)
    return bool(state.st_mode & stat.S_IWOTH or by_group)


def _is_private(group: int) -> bool:
    """Whether a group is this user's own, named after them and without others: where the umask is 002, it may write."""
    import grp  # not on Windows
    import pwd

    try:
        user, found = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return user.pw_gid == group and found.gr_name == user.pw_name and set(found.gr_mem) <= {user.pw_name}

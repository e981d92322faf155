"""Files on disk: written whole or not at all, never through a link that somebody planted, found beside the package.

A folder that the user names may be a link, or lie below one; it may also belong to somebody else. What lies *below* it is
named by us, so a link there was planted or forgotten, and following it would write where nobody asked for it: it is refused.
"""

import contextlib
import hashlib
import io
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import stylegan
from stylegan.errors import UnreadableError, UserError
from stylegan.opening import refuse_other_than_file, require_regular_file

if TYPE_CHECKING:
    from filelock import BaseFileLock

_PIECE = 2**20  # bytes that are read at a time of what may have no end
_UNFINISHED = ".unfinished"  # in the names of temporary files, by which those of a killed process are known


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the body ends well, flush it to disk and rename it to `path`.

    An exception or a full disk leaves `path` as it was and no temporary file behind; what a killed process leaves, whoever
    owns the folder next takes away (`remove_unfinished`). Where `path` is a link, the link is replaced.

    Raises:
        UserError: The folder cannot be written to, a folder or a device is there, or the disk is full.
    """
    path = Path(path)
    refuse_other_than_file(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=f"{_UNFINISHED}{path.suffix}", dir=path.parent)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; choose another place or mend its permissions"
        ) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("r+b") as file:  # Windows flushes only what is open for writing
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes 0600; a result should be readable like any other file
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; nothing was changed") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def atomic_write(path: str | Path, content: str | bytes) -> None:
    """Write `content` (text as UTF-8) to `path`, whole or not at all. Raises `UserError` like `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def remove_unfinished(folder: Path, *names: str) -> None:
    """Remove the temporary files that killed processes left of `atomic_path`, of all files in a folder or of those named.

    For whoever holds the lock of the folder, or of these files: nobody else may be writing them.
    """
    what = "|".join(map(re.escape, names)) or ".+"
    for path in folder.iterdir() if folder.is_dir() else ():
        if re.fullmatch(rf"\.({what})\.[a-z0-9_]{{8}}{re.escape(_UNFINISHED)}(\.[^.]*)?", path.name):
            path.unlink(missing_ok=True)


def refuse_link(path: Path) -> None:
    """Raise `UserError` where `path` is a link, wherever it leads to."""
    if path.is_symlink():
        raise UserError(
            f"{path} is a link, and none is followed in there, since what is written would end up elsewhere; remove it, and "
            "move here what it leads to if you need that"
        )


def refuse_links(folder: Path) -> None:
    """Raise `UserError` where anything in a folder, at any depth, is neither a file nor a folder; or it is a link itself."""
    refuse_link(folder)
    for root, folders, files in os.walk(folder):
        for path in (Path(root, name) for name in (*folders, *files)):
            refuse_link(path)
            if stat.S_IFMT(path.lstat().st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
                raise UserError(f"{path} is neither a file nor a folder; remove it")


def make_folder(folder: Path, name: str) -> Path:
    """Make the folder `name` (with `/` between its parts) below one that the user named, with all that is missing.

    Raises:
        UserError: There is a link on the way.
        OSError: It cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part in name.split("/"):
        folder /= part
        refuse_link(folder)
        folder.mkdir(exist_ok=True)
    return folder


def open_below(folder: Path, name: str, mode: str, buffering: int = -1) -> IO[Any]:
    """Open a file below a folder that the user named; folders between them are made where they are missing.

    No link is followed. (Links between the two are looked for before, and that at the end is refused by the system as the
    file is opened: whoever can change the folder in between can at most exchange a folder of it.)

    Args:
        folder: What the user named.
        name: The file's name in there, with `/` between its parts.
        mode, buffering: As of `open`; text is UTF-8. Use `x` for what must be new.

    Raises:
        UserError: There is a link on the way, or no file but, say, a pipe.
        OSError: It cannot be opened.
    """
    above, _, last = name.rpartition("/")
    path = (make_folder(folder, above) if above else folder) / last
    encoding = None if "b" in mode else "utf-8"
    return open(path, mode, buffering, encoding, opener=_open_file)  # a Path takes no opener


def _open_file(path: str, flags: int) -> int:
    refuse_link(Path(path))
    # Cleared only once it is known to be a file, and without waiting for the other end of a pipe. Windows has no such flags.
    careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags & ~os.O_TRUNC | careful, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UserError(f"{path} is in the way: it is no file; remove it")
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_bounded(file: IO[bytes], limit: int, what: str) -> bytes:
    """All that is left of a file, read piece by piece: no size is believed that stands in it, or in what it is a member of.

    Args:
        file: Opened in binary mode. It may be compressed or sparse, and have no end.
        limit: Bytes.
        what: What it is, with its article, such as `an image`.

    Raises:
        UnreadableError: There are more than `limit` bytes.
    """
    content = io.BytesIO()  # gives away its bytes without a copy
    while piece := file.read(min(_PIECE, limit + 1 - content.tell())):
        content.write(piece)
        if content.tell() > limit:
            raise UnreadableError(f"it holds more than {_size(limit)}, the most that is read of {what}")
    return content.getvalue()


def read_file(path: Path, limit: int, what: str) -> bytes:
    """The content of a file that a user named, or that lies in a folder of another user.

    Args:
        path: The file.
        limit: Bytes.
        what: What it is, such as `file of labels`.

    Raises:
        UserError: There is none, it is a pipe, a device or a folder, cannot be read, or holds more than `limit` bytes.
    """
    require_regular_file(path, what)
    try:
        with path.open("rb") as file:
            return read_bounded(file, limit, f"a {what}")
    except (OSError, UnreadableError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot read the {what} {path}: {reason}; give another one") from None


def file_lock(path: Path) -> "BaseFileLock":
    """A lock in a file, not yet taken, which a crash of its holder frees. Raises `UserError` where the file is a link."""
    from filelock import FileLock  # who only reads a network need not have it

    refuse_link(path)  # and filelock opens it without following one that comes meanwhile
    return FileLock(path)


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shipped(name: str) -> Path:
    """The path of a file or folder that comes with the project, such as `configs` or `datasets/faces3d/demo.safetensors`.

    It is looked for beside the imported package: in `_shipped/` (a wheel), else at the top level of the clone; never in
    the working directory, so that what is found does not depend on where a command is typed.

    Raises:
        UserError: The installation does not hold it.
    """
    package = Path(stylegan.__file__).parent
    for candidate in (package / "_shipped" / name, package.parent / name):
        if candidate.exists():
            return candidate
    raise UserError(f"this installation of stylegan in {package} lacks {name}; install it again, or use a clone")


def _size(count: int) -> str:
    """A number of bytes in words."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= unit:
            return f"{count / unit:.4g} {name}"
    return f"{count} bytes"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make a rename durable (POSIX: the directory entry is flushed separately from the file)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

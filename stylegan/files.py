"""Files on disk: written whole or not at all, checked by hash, found beside the package."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import stylegan
from stylegan.errors import UserError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the body ends well, flush it to disk and rename it to `path`.

    A crash, an exception or a full disk leaves `path` as it was and no temporary file behind.

    Raises:
        UserError: The folder cannot be written to, or the disk is full.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; choose another place or mend its permissions"
        ) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
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

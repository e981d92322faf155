"""Files for readers of ZIP and TAR, which ask for as many bytes as some header claims."""

import bz2
import gzip
import io
import lzma
import re
from pathlib import Path
from typing import IO, Any

from stylegan.errors import UnreadableError
from stylegan.files import read_bounded

TAR_GROWTH, TAR_SPARE = (
    100,
    2**30,
)  # a compressed TAR of images unpacks to about its size, of plain drawings to 100 times that
_TAR_HEADER_BYTES = 2**24  # that tarfile reads at once, of names and comments
_PACKED: dict[
    bytes, Any
] = {  # how they begin, which a TAR could by the name of its first member if less were looked at
    rb"\x1f\x8b\x08": gzip.open,
    rb"BZh[1-9](1AY&SY|\x17rE8P\x90)": bz2.open,
    rb"\xfd7zXZ\0|\]\0\0(?!\0\0)": lzma.open,
}


class GuardedFile(io.BufferedIOBase):
    """Reads another file, but neither much at once nor beyond some position.

    Args:
        file: The file, opened in binary mode; it is closed with this one.
        most: Bytes that one `read` gives at most.
        end: The last position that is read, or gone to; None: any.
        what: What is read, with its article, as `read_bounded` names it.

    Raises:
        UnreadableError: More is asked for.
    """

    def __init__(self, file: Any, most: int, what: str, *, end: int | None = None) -> None:
        self._file = file
        self._most = most
        self._what = what
        self._end = end

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes; all that are left if it is negative."""
        if size is None or size < 0:
            data = read_bounded(self._file, self._most, self._what)
        elif size > self._most:
            raise UnreadableError(f"it asks for {size} bytes at once of {self._what}, {self._most} are the most")
        else:
            data = self._file.read(size)
        self._check(self._file.tell())
        return data

    def seek(self, position: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a position."""
        if whence == io.SEEK_SET:
            self._check(position)
        return self._file.seek(position, whence)

    def tell(self) -> int:
        """The position."""
        return self._file.tell()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Close both files."""
        self._file.close()
        super().close()

    def _check(self, position: int) -> None:
        if self._end is not None and position > self._end:
            raise UnreadableError(f"it goes beyond {self._end} bytes, the most that is read of {self._what}")


def open_packed(path: Path) -> IO[bytes]:
    """Open a file; one that is compressed (gzip, bzip2, xz) as what it was before, which may have no end."""
    with path.open("rb") as file:
        head = file.read(16)
    for beginning, unpack in _PACKED.items():
        if re.match(beginning, head):
            return unpack(path, "rb")
    return path.open("rb")


def open_tar_file(path: Path) -> GuardedFile:
    """What `tarfile.open(fileobj=..., mode="r:")` reads a TAR from, unpacked where it is compressed.

    Sizes in it lead only to where it can end, and no header is longer than names and comments are.
    """
    file = open_packed(path)
    if isinstance(file, io.BufferedReader):
        return GuardedFile(file, _TAR_HEADER_BYTES, "a TAR")
    return guarded_tar(path, file)


def guarded_tar(path: Path, unpacked: IO[bytes] | io.RawIOBase) -> GuardedFile:
    """The same for what a compressed TAR unpacks to."""
    return GuardedFile(unpacked, _TAR_HEADER_BYTES, "a TAR", end=TAR_SPARE + TAR_GROWTH * path.stat().st_size)

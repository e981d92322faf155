"""TAR files, compressed or not, from front to back: their files, links and end.

Python's tarfile stops in silence where a header is damaged, and where the file ends between two members. Here the end is
looked at: a TAR ends with a block of zeros, and no other member follows.
"""

import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

from stylegan.data.guarded import GuardedFile, guarded_tar, open_packed, open_tar_file
from stylegan.data.image_files import IMAGE_BYTES
from stylegan.data.selection import Member, Tally, clean_name, files_among
from stylegan.errors import UnreadableError, UserError, refusal
from stylegan.files import read_bounded

Reader = Callable[[], bytes]
Take = Callable[[int, str], bytes]  # the arguments of `read_bounded` behind the file -> a member's content

_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_LOOK_BACK = 4 * tarfile.BLOCKSIZE  # tarfile goes back by a header at most
_LOOKED_AT_BEHIND = 2**24 // tarfile.BLOCKSIZE  # blocks: no program fills up more than this
_LOOK_ON = 2**17  # blocks behind the end
_CHUNK = 2**20


def is_tar(path: Path) -> bool:
    """Whether a file is a TAR, or compressed as TARs are by Zstandard."""
    if _is_zstandard(path):
        return True
    try:
        with open_tar_file(path) as file, tarfile.open(fileobj=file, mode="r:"):
            return True
    except UnreadableError:  # what that says is told when it is read
        return True
    except Exception:  # whatever a file that is no TAR makes of tarfile
        return False


def is_compressed(path: Path) -> bool:
    """Whether a TAR can be read from front to back only."""
    with open_packed(path) as file:
        return _is_zstandard(path) or not isinstance(file, io.BufferedReader)


def tar_names(path: Path, tally: Tally, visit: Callable[[int, str, Take], None]) -> dict[str, int]:
    """The files of a TAR: name -> number of the member that holds its bytes; see `files_among`.

    Args:
        path: The TAR.
        tally: Counts what is not taken.
        visit: Called for each member that is a file, with its number, clean name and what reads it at that moment.

    Raises:
        UserError: It is damaged, or ends before its end.
    """
    members: list[Member] = []
    for number, (member, take) in enumerate(tar_files(path)):
        members.append(_member(member))
        name = clean_name(member.name)
        if member.isfile() and name is not None:
            visit(number, name, take)
    return files_among(members, tally)


def tar_files(path: Path) -> Iterator[tuple[tarfile.TarInfo, Take]]:
    """Each member of a TAR but folders, and what reads it until the next one is asked for.

    Raises:
        UserError: It is damaged, or ends before its end.
    """
    with _opened(path) as (archive, file):
        for member in _members(archive):
            yield member, partial(_content, path, archive, member)
        _check_end(file, archive.offset)


def tar_members(path: Path, numbers: Sequence[int]) -> Iterator[Reader]:
    """What reads the members of these numbers, as `tar_files` counts them, in any order. Each is read before it is yielded.

    Raises:
        UserError: It is damaged.
    """
    with _opened(path) as (archive, _):
        wanted = set(numbers)
        members = {number: member for number, member in enumerate(_members(archive)) if number in wanted}
        for number in numbers:
            yield tried(partial(_content, path, archive, members[number]))


def tried(take: Take) -> Reader:
    """Read an image now; what is wrong with it alone is raised when it is asked for."""
    try:
        data = take(IMAGE_BYTES, "an image")
    except UnreadableError as error:
        reason = str(error)
    else:
        return lambda: data

    def refuse() -> bytes:
        raise UnreadableError(reason)

    return refuse


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """All but folders; each is forgotten, since a TAR may hold millions."""
    before = -1
    while (member := archive.next()) is not None:
        if member.offset <= before:  # a negative size leads back, and round and round
            raise UnreadableError("a member begins before the last one")
        before = member.offset
        archive.members = []  # pyright: ignore[reportAttributeAccessIssue] (documented; each takes a thousand bytes)
        if not member.isdir():
            yield member


def _member(member: tarfile.TarInfo) -> Member:
    if member.issym() or member.islnk():
        return Member(member.name, link=member.linkname, hard=member.islnk())
    return Member(member.name, other=not member.isfile())


def _content(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo, limit: int, what: str) -> bytes:
    """The content of a member. Raises `UnreadableError` where it is too large, `UserError` where the TAR is damaged."""
    try:
        file = archive.extractfile(member)
        assert file is not None, "extractfile gives None for what is no file only"
        return read_bounded(file, limit, what)
    except UnreadableError:
        raise
    except Exception as error:
        with refusal_of_tar(path):
            raise error


@contextmanager
def _opened(path: Path) -> Iterator[tuple[tarfile.TarFile, GuardedFile]]:
    """A TAR, and the uncompressed bytes that it is read from. Says in one message what is wrong with it."""
    with ExitStack() as stack:
        stack.enter_context(refusal_of_tar(path))
        if _is_zstandard(path):
            unpacked = _zstandard(path, stack.enter_context(path.open("rb")))
            file = stack.enter_context(guarded_tar(path, unpacked))
        else:
            file = stack.enter_context(open_tar_file(path))
        yield stack.enter_context(tarfile.open(fileobj=file, mode="r:")), file  # pyright: ignore[reportArgumentType]


def refusal_of_tar(path: Path) -> AbstractContextManager[None]:
    """What turns whatever goes wrong with a TAR into one message."""
    return refusal(f"{path} is not a readable TAR", "if copying it was interrupted, copy it again")


def _check_end(file: GuardedFile, offset: int) -> None:
    """Raise `tarfile.ReadError` where a TAR does not end at `offset`, at which tarfile found no further member."""
    file.seek(offset)
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"it ends at byte {offset} without the mark of its end")
    if any(block):
        raise tarfile.ReadError(f"the header at byte {offset} is damaged")
    for _ in range(_LOOK_ON):
        block = file.read(tarfile.BLOCKSIZE)
        if any(block):
            try:
                tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except tarfile.HeaderError:
                return  # some programs fill the last blocks with whatever they have
            raise tarfile.ReadError(
                "another TAR is appended to it: unpack it with tar --ignore-zeros, and give the folder"
            )
        if not block:
            return


def _is_zstandard(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_ZSTANDARD)) == _ZSTANDARD


def _zstandard(path: Path, file: IO[bytes]) -> "_Forward":
    try:
        import zstandard  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            f"{path} is compressed by Zstandard, which needs the package zstandard: pip install 'stylegan[zstd]'"
        ) from None
    return _Forward(zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True), zstandard.ZstdError)


class _Forward(io.RawIOBase):
    """A stream that can be read forwards only, as a file in which one may also go back by a few blocks.

    Args:
        stream: What is read.
        error: What it raises where it is damaged.
    """

    def __init__(self, stream: Any, error: type[Exception]) -> None:
        self._stream = stream
        self._error = error
        self._kept = b""  # what was read last
        self._end = 0  # the position behind it
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or offset < self._end - len(self._kept):
            raise OSError("it can only be read from front to back")
        while self._end < offset and self._pull(min(offset - self._end, _CHUNK)):
            pass
        self._position = offset
        return offset

    def read(self, size: int = -1) -> bytes:
        behind = self._end - self._position
        if behind < 0:  # a seek went beyond the end
            return b""
        parts = [self._kept[len(self._kept) - behind :][: None if size < 0 else size]] if behind else []
        got = sum(map(len, parts))
        while size < 0 or got < size:
            part = self._pull(_CHUNK if size < 0 else min(size - got, _CHUNK))
            if not part:
                break
            parts.append(part)
            got += len(part)
        self._position += got
        return b"".join(parts)

    def _pull(self, size: int) -> bytes:
        try:
            part = self._stream.read(size)
        except self._error as error:
            raise OSError(str(error)) from None
        self._kept = (self._kept + part)[-_LOOK_BACK:] if len(part) < _LOOK_BACK else part[-_LOOK_BACK:]
        self._end += len(part)
        return part

"""Keys and places of values in an LMDB, read from its file.

The library maps the file into memory and believes what stands in it: a file that was cut short or damaged ends the process
with SIGBUS or SIGSEGV, which no program can turn into a message. To list what a database holds takes little: a file consists
of pages, which form a B+tree. All numbers are little-endian, as on the 64-bit machines where large image databases are made.

    page      number u64, pad u16, flags u16, then lower u16 and upper u16, or the number of pages of a value u32; 16 bytes
    meta      pages 0 and 1: magic u32, version u32, address u64, map size u64, two databases of 48 bytes (that of free pages,
              the main one), last page u64, transaction u64; that of the later transaction counts
    database  pad u32 (of the first: bytes of a page), flags u16, depth u16, four counts u64, page of the root u64
    node      u16, u16, flags u16, length of the key u16, the key; the page holds offsets of its nodes, u16 each, from byte 16
              to `lower`. In a branch the first three are the child's page; in a leaf the first two are the length of the
              value, which follows the key, or has pages of its own, whose number follows
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from stylegan.errors import UnreadableError

_HEADER = 16
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_META = struct.Struct("<IIQQ48s48sQQ")
_DATABASE = struct.Struct("<IHHQQQQQ")
_BRANCH, _LEAF, _OVERFLOW, _LEAF2 = 0x01, 0x02, 0x04, 0x20  # flags of a page
_BIG, _SUBDATA, _DUPDATA = 0x01, 0x02, 0x04  # flags of a node
_NO_PAGE = 2**64 - 1
_DEEPEST = 32  # levels, as in the library


class Place(NamedTuple):
    """Where a value stands in the file.

    Attributes:
        key: Its key.
        offset, size: Of the value, in bytes.
    """

    key: bytes
    offset: int
    size: int


def lmdb_places(path: Path) -> Iterator[Place]:
    """The values of the main database of an LMDB, in the order of its keys.

    Args:
        path: The file `data.mdb`.

    Raises:
        UnreadableError, struct.error: It is no LMDB, damaged, or cut short; or it holds more than one value for a key.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        page_size, root, last = _meta(file)
        if size < (last + 1) * page_size:
            raise UnreadableError(f"it is cut short: {(last + 1) * page_size} bytes are in use, {size} are there")
        if root != _NO_PAGE:
            yield from _Tree(file, page_size, last).places(root)


class _Tree:
    """The pages of an open database; each is visited once."""

    def __init__(self, file: IO[bytes], page_size: int, last: int) -> None:
        self._file = file
        self._page_size = page_size
        self._last = last
        self._left = last + 1  # pages that are not visited yet

    def places(self, number: int, depth: int = 1) -> Iterator[Place]:
        """The values below a page."""
        page = self._page(number)
        _, flags, lower, _ = struct.unpack_from("<HHHH", page, 8)
        if not _HEADER <= lower <= len(page) or depth > _DEEPEST or flags & _LEAF2:
            raise UnreadableError(f"page {number} is damaged")
        used = _HEADER
        for (offset,) in struct.iter_unpack("<H", page[_HEADER : lower & ~1]):
            low, high, node_flags, key_size = struct.unpack_from("<HHHH", page, offset)
            value, used = offset + 8 + key_size, used + 10 + key_size
            if max(value, used) > len(page):  # nodes that lie one on the other would make much of little
                raise UnreadableError(f"page {number} is damaged")
            if flags & _BRANCH:
                yield from self.places(low | high << 16 | node_flags << 32, depth + 1)
            elif flags & _LEAF and not node_flags & (_SUBDATA | _DUPDATA):
                size = low | high << 16
                start = number * self._page_size + value
                if node_flags & _BIG:
                    start = self._overflow(*struct.unpack_from("<Q", page, value), size)
                elif value + size > len(page):
                    raise UnreadableError(f"page {number} is damaged")
                yield Place(page[offset + 8 : value], start, size)
            else:
                raise UnreadableError(f"page {number} holds no single values, as in a database of images")

    def _page(self, number: int) -> bytes:
        self._left -= 1
        if not 2 <= number <= self._last or self._left < 0:
            raise UnreadableError(f"page {number} is used, which cannot be")
        self._file.seek(number * self._page_size)
        page = self._file.read(self._page_size)
        if len(page) < self._page_size or int.from_bytes(page[:8], "little") != number:
            raise UnreadableError(f"page {number} is damaged")
        return page

    def _overflow(self, number: int, size: int) -> int:
        """The offset of a value that has pages of its own."""
        if not 2 <= number <= self._last:
            raise UnreadableError(f"page {number} is used, which cannot be")
        self._file.seek(number * self._page_size)
        found, _, flags, count = struct.unpack("<QHHI", self._file.read(_HEADER))
        fits = _HEADER + size <= count * self._page_size and number + count - 1 <= self._last
        if found != number or not flags & _OVERFLOW or not fits:
            raise UnreadableError(f"page {number} is damaged")
        return number * self._page_size + _HEADER


def _meta(file: IO[bytes]) -> tuple[int, int, int]:
    """Bytes of a page, the page of the main database's root, and the last page, after the later of the two transactions."""
    newest: tuple[int, tuple[int, int, int]] | None = None
    page_size = 0
    for number in (0, 1):
        file.seek(number * page_size + _HEADER)
        magic, version, _, _, free, main, last, transaction = _META.unpack(file.read(_META.size))
        page_size = _DATABASE.unpack(free)[0] if number == 0 else page_size
        if (magic, version & 0xFFFF) != (_MAGIC, _VERSION) or not 256 <= page_size <= 2**16:
            raise UnreadableError("it does not begin as one")
        if newest is None or transaction > newest[0]:
            newest = (transaction, (page_size, _DATABASE.unpack(main)[-1], last))
    assert newest is not None, "there are two"
    return newest[1]

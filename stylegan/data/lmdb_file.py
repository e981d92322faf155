"""Reading an LMDB file, page by page.

The library of that name maps the file and follows whatever offsets stand in it: a file that was cut short, or damaged, or made
to, kills the process. Here every page, offset and size is checked against the file before it is read.

The format (version 1, of a 64-bit little-endian machine): pages of one size; two of them describe the database, of which the
one with the later transaction holds. A B+tree of branch and leaf pages follows from its root, its values in the leaves or, if
large, in pages of their own.
"""

import os
import struct
from array import array
from pathlib import Path

from stylegan.errors import UnreadableError

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_HEADER = struct.Struct("<Q2xHHH")  # of a page: number, flags, end of the table of nodes, beginning of the nodes
_META = struct.Struct("<16xII16x48s48sQQ")  # magic, version, two databases (free pages, ours), last page, transaction
_DATABASE = struct.Struct("<IHHQQQQQ")  # size of pages, flags, depth, counts of pages, of entries, root
_NODE = struct.Struct("<HHHH")  # two parts of a size or page, flags, size of the key
_BRANCH, _LEAF, _OVERFLOW, _META_PAGE = 1, 2, 4, 8
_KIND = _BRANCH | _LEAF | _OVERFLOW | _META_PAGE | 0x60  # and two kinds for several values of one key
_LARGE, _DATABASE_WITHIN, _SEVERAL = 1, 2, 4  # of a node
_EMPTY = 2**64 - 1


class LmdbFile:
    """The entries of a database's main table, in the order of the keys.

    Args:
        path: Its `data.mdb`.

    Attributes:
        keys: All of them.

    Raises:
        UnreadableError: It is none, or is damaged.
        OSError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._bytes = os.fstat(self._file.fileno()).st_size
        first = self._meta(0)
        self._page_size: int = _DATABASE.unpack(first[2])[0]
        if self._page_size not in (2**n for n in range(8, 16)):
            raise UnreadableError(f"its pages would be of {self._page_size} bytes")
        meta = max(first, self._meta(self._page_size), key=lambda found: found[5])
        _, _, depth, *_, entries, root = _DATABASE.unpack(meta[3])
        self.keys: list[bytes] = []
        self._offsets, self._sizes, self._large = array("Q"), array("Q"), array("B")
        # No tree has more pages than the file, and no values more bytes.
        self._unseen, self._unread = self._bytes // self._page_size, self._bytes
        if depth > 32:
            raise UnreadableError(f"it would have {depth} levels")
        if root != _EMPTY:
            self._walk(root, depth)
        if len(self.keys) != entries:
            raise UnreadableError(f"it should hold {entries} entries and holds {len(self.keys)}")

    def size(self, i: int) -> int:
        """Bytes of the value of key number `i`."""
        return self._sizes[i]

    def value(self, i: int) -> bytes:
        """The value of key number `i`.

        Raises:
            UnreadableError: The file was changed or cut short meanwhile.
        """
        offset, size = self._offsets[i], self._sizes[i]
        if self._large[i]:
            number, flags, *_ = _HEADER.unpack(self._read(offset - _HEADER.size, _HEADER.size))
            if number != offset // self._page_size or flags & _KIND != _OVERFLOW:
                raise UnreadableError(f"page {offset // self._page_size} is damaged")
        return self._read(offset, size)

    def _read(self, offset: int, size: int) -> bytes:
        if offset + size > self._bytes:
            raise UnreadableError("it is cut short")
        self._file.seek(offset)
        found = self._file.read(size)
        if len(found) != size:
            raise UnreadableError("it is cut short")
        return found

    def _meta(self, offset: int) -> tuple[int, int, bytes, bytes, int, int]:
        page = self._read(offset, _META.size)
        meta = _META.unpack(page)
        if not _HEADER.unpack_from(page)[1] & _META_PAGE or meta[:2] != (_MAGIC, _VERSION):
            raise UnreadableError(f"it does not say that it is one of version {_VERSION} for 64-bit machines")
        return meta

    def _walk(self, number: int, depth: int) -> None:
        """Note the entries below a page, which is `depth` levels above the last."""
        self._unseen -= 1
        if self._unseen < 0 or depth < 1:
            raise UnreadableError("its pages refer to one another in a circle")
        offset, size = number * self._page_size, self._page_size
        page = self._read(offset, size)
        found, flags, lower, upper = _HEADER.unpack_from(page)
        kind = flags & _KIND
        if found != number or kind not in (_BRANCH, _LEAF) or not _HEADER.size <= lower <= upper <= size:
            raise UnreadableError(f"page {number} is damaged")
        if (kind == _LEAF) != (depth == 1):
            raise UnreadableError(f"page {number} is not where it belongs")
        used = 0
        for (pointer,) in struct.iter_unpack("<H", page[_HEADER.size : _HEADER.size + (lower - _HEADER.size) // 2 * 2]):
            data = pointer + _NODE.size
            if pointer < upper or data > size:
                raise UnreadableError(f"page {number} is damaged")
            low, high, node_flags, key_size = _NODE.unpack_from(page, pointer)
            length, large = low | high << 16, bool(node_flags & _LARGE)
            used += _NODE.size + key_size + (0 if kind == _BRANCH else 8 if large else length)
            if used > size - upper:  # they lie side by side
                raise UnreadableError(f"page {number} is damaged")
            if kind == _BRANCH:
                self._walk(length | node_flags << 32, depth - 1)
                continue
            key, data = page[data : data + key_size], data + key_size
            if node_flags & (_DATABASE_WITHIN | _SEVERAL):
                raise UnreadableError("it holds several databases, or several values of a key, and not images by name")
            if data + (8 if large else length) > size:
                raise UnreadableError(f"page {number} is damaged")
            place = offset + data
            if large:
                place = int.from_bytes(page[data : data + 8], "little") * size + _HEADER.size
            self._unread -= length
            if place + length > self._bytes:
                raise UnreadableError("it is cut short")
            if self._unread < 0:
                raise UnreadableError("its values lie upon one another")
            self.keys.append(key)
            self._offsets.append(place)
            self._sizes.append(length)
            self._large.append(large)

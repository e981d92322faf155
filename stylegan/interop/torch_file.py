"""Files that hold tensors as pickles: what `torch.save` writes, old and new, and the pickles of the public StyleGAN tools.

Read as data by `Machine`; nothing in them is executed.

A file of old is a chain of pickles (a mark, a version, the machine's properties, the content, the names of its storages), then
the numbers. A new one is a ZIP archive of `data.pkl` and one file of numbers a storage. The public tools write a plain pickle,
in which the bytes of every tensor are themselves such a file of old.
"""

import itertools
import mmap
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stylegan.errors import UnreadableError, shown
from stylegan.interop.pickled import Storage, module_words, storage_of, tensor_words
from stylegan.interop.unpickle import Budget, Machine, Source, Word

MAGIC = 0x1950A86A20F9469CFC6C  # what torch.save begins a file of old with
VERSION = 1001
MOST_RECORDS = 50_000  # of a ZIP archive; a checkpoint of the largest networks has 2 thousand
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, struct.error, zlib.error),
    *(EOFError, OSError, ValueError, KeyError, OverflowError),
)


def read_pickled(path: Path, progress: Callable[[int], None] | None = None) -> Any:
    """The content of a file: containers, numbers, text, `ModuleRecord`s and `TensorRecord`s.

    Args:
        path: A file that exists.
        progress: Told how many bytes were read.

    Raises:
        UnreadableError: It is no such file, is damaged, or asks for something that is not data.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        if file.seek(0, 2) == 0:
            raise UnreadableError("is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[:4] == b"PK\x03\x04":
                records = itertools.islice(re.finditer(b"PK\x01\x02", data), MOST_RECORDS + 1)
                if sum(1 for _ in records) > MOST_RECORDS:  # before zipfile makes an object of each
                    raise UnreadableError(f"is a ZIP archive of more than {MOST_RECORDS} records")
                return _read_zip(path, len(data), progress)
            return _read_stream(Source(data, progress))


def _read_stream(source: Source) -> Any:
    budget = Budget.for_file(source.size)
    words = module_words()
    word = Word("torch.storage._load_from_bytes", lambda content: _storage_from_bytes(content, budget))
    words[word.name] = word
    value = Machine(words, budget).load(source)
    if value == MAGIC and type(value) is int:
        value = _rest_of_torch_stream(source, budget)
    if source.tell() != source.size:
        raise UnreadableError(f"has {source.size - source.tell()} bytes more after its end")
    return value


def _storage_from_bytes(content: Any, budget: Budget) -> Storage:
    """The storage in the bytes that the public tools' pickles hold for a tensor."""
    if not isinstance(content, bytes):
        raise UnreadableError("holds a tensor whose numbers are no bytes")
    source = Source(content)
    try:
        if Machine({}, budget).load(source) != MAGIC:
            raise UnreadableError("is not what torch.save writes")
        storage = _rest_of_torch_stream(source, budget)
        if not isinstance(storage, Storage) or source.tell() != source.size:
            raise UnreadableError("is something else than the numbers of one tensor")
    except UnreadableError as error:
        raise type(error)(f"has a tensor whose bytes hold a stream that {error}") from None
    return storage


def _rest_of_torch_stream(source: Source, budget: Budget) -> Any:
    """A file of old, from behind its mark."""
    plain = Machine({}, budget)
    version, properties = plain.load(source), plain.load(source)
    if version != VERSION or not isinstance(properties, dict) or properties.get("little_endian") is not True:
        raise UnreadableError("was written by another version of torch.save, or on a big-endian machine")
    storages: dict[str, Storage] = {}
    value = Machine(tensor_words(), budget, lambda identity: storage_of(identity, storages, budget)).load(source)
    keys = plain.load(source)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != set(storages):
        raise UnreadableError("names other tensor data than it uses")
    for key in keys:
        (count,) = struct.unpack("<q", source.read(8))
        if count != storages[key].numel:
            raise UnreadableError(f"holds {count} numbers where {storages[key].numel} are announced")
        storages[key].fill(source.read(count * storages[key].dtype.itemsize))
    return value


def _read_zip(path: Path, size: int, progress: Callable[[int], None] | None) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_archive(archive, size, progress)
    except UnreadableError:
        raise
    except _ZIP_ERRORS as error:
        raise UnreadableError(f"is a damaged ZIP archive: {shown(error, 80)}") from None


def _read_archive(archive: zipfile.ZipFile, size: int, progress: Callable[[int], None] | None) -> Any:
    """What `torch.save` writes today. Its records are stored as they are, so that together they are smaller than the file."""
    entries = {entry.filename: entry for entry in archive.infolist()}
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise UnreadableError("is a compressed ZIP archive; torch.save writes none, and it could unpack to any size")
    if len(entries) != len(archive.infolist()) or sum(entry.file_size for entry in entries.values()) > size:
        raise UnreadableError("is a ZIP archive whose parts overlap, or are larger than the file")
    main = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(main) != 1:
        raise UnreadableError("is a ZIP archive, but none of torch.save")
    prefix = main[0].removesuffix("data.pkl")
    if f"{prefix}byteorder" in entries and archive.read(f"{prefix}byteorder") != b"little":
        raise UnreadableError("was written on a big-endian machine")
    budget, storages = Budget.for_file(size), dict[str, Storage]()
    machine = Machine(tensor_words(), budget, lambda identity: storage_of(identity, storages, budget))
    value = machine.load(Source(archive.read(main[0])))
    done = 0
    for key, storage in storages.items():
        name = f"{prefix}data/{key}"
        if name not in entries:
            raise UnreadableError(f"lacks the tensor data {shown(key, 40)!r}")
        storage.fill(archive.read(name))
        done += entries[name].file_size
        if progress is not None:
            progress(done)
    return value

"""What archives are made of: images in a folder, ZIP, TAR or LMDB, or the binary files of MNIST and CIFAR-10.

Every source knows the names of its images before it reads any of them, reads each once, and has a tally of what in it is not
taken for an image.
"""

import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from math import prod
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from stylegan.data.archive import METADATA_BYTES, ArchiveInfo, FolderStorage, ZipStorage, read_metadata
from stylegan.data.convert import encode_png
from stylegan.data.guarded import open_packed
from stylegan.data.image_files import IMAGE_BYTES, is_image_name
from stylegan.data.lmdb_file import LmdbFile
from stylegan.data.selection import METADATA, Tally, image_names
from stylegan.data.tar import Take, is_compressed, is_tar, refusal_of_tar, tar_files, tar_members, tar_names, tried
from stylegan.errors import UnreadableError, UserError, refusal
from stylegan.files import read_bounded
from stylegan.opening import nearest_path, require_regular_file

Reader = Callable[[], bytes]  # the encoded image; what it raises for a damaged one is in `BROKEN_IMAGE`

IDX_BYTES, IDX_IMAGES = 2**30, 2**22  # of a file; the largest known ones have 0.6 GiB and 814,255
_CIFAR_BATCH, _CIFAR_META = "data_batch_", "batches.meta.txt"
_CIFAR_NAMES_BYTES = 2**16  # of the names of its ten classes
_CIFAR_SIDE = 32
_CIFAR_RECORD = 1 + 3 * _CIFAR_SIDE**2


class Source(Protocol):
    """Images by name.

    Attributes:
        path: Where they are.
        names: All of them, in the order in which they are stored.
        metadata: The content of the source's `dataset.json`; {} where it has none.
        info: What that says, for a source that is an archive.
        labels: The class of each image where the format has classes; None elsewhere.
        tally: What is not taken for an image.
    """

    path: Path
    names: list[str]
    metadata: dict[str, Any]
    info: ArchiveInfo
    labels: list[int] | None
    tally: Tally

    def signature(self, name: str) -> str:
        """Changes when the image's file does."""
        ...

    def readers(self, order: Sequence[int]) -> Iterator[Reader]:
        """What reads the images of these numbers (positions in `names`), each to be called once, in any thread."""
        ...


class Chosen:
    """Some images of a source, in an order of their own: a `Source` as well."""

    def __init__(self, source: Source, order: Sequence[int]) -> None:
        self.path = source.path
        self.names = [source.names[i] for i in order]
        self.metadata = source.metadata
        self.info = source.info
        self.labels = None if source.labels is None else [source.labels[i] for i in order]
        self.tally = source.tally
        self._source = source
        self._order = order

    def signature(self, name: str) -> str:
        """See `Source`."""
        return self._source.signature(name)

    def readers(self, order: Sequence[int]) -> Iterator[Reader]:
        """See `Source`."""
        return self._source.readers([self._order[i] for i in order])


def open_source(path: str | Path) -> Source:
    """The images behind a path.

    Raises:
        UserError: There is nothing, nothing readable, or no image.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(
            f"there is no {path}{nearest_path(path)}; give a folder, ZIP, TAR or LMDB of images, or faces3d"
        )
    if not path.is_dir():
        require_regular_file(path, "source of images")
    if path.name == "data.mdb" or (path / "data.mdb").is_file():
        source: Source = LmdbSource(path.parent if path.is_file() else path)
    elif path.is_dir():
        source = StoredSource(FolderStorage(path))
    elif "-images-idx3-ubyte" in path.name or "-images.idx3-ubyte" in path.name:
        source = idx_source(path)
    elif zipfile.is_zipfile(path):
        source = StoredSource(ZipStorage(path))
    elif is_tar(path):
        source = open_tar(path)
    else:
        raise UserError(f"{path} is not a folder, ZIP, TAR or LMDB of images; give one")
    if not source.names:
        left = source.tally.told_left()
        raise UserError(f"{path} holds no images (PNG, JPEG, WebP, TIFF ...){left and f', but {left}'}")
    return source


def attributes_by_name(source: Source) -> dict[str, Mapping[str, Any]]:
    """What a source that is an archive knows about each image; {} where it knows nothing."""
    attributes = source.info.attributes
    if not attributes:
        return {}
    if len(attributes) != len(source.names):
        source.tally.leave(
            "tables of attributes", METADATA, f"it holds those of {len(attributes)} images, not of {len(source.names)}"
        )
        return {}
    return dict(zip(sorted(source.names), attributes, strict=True))


class StoredSource:
    """A folder or a ZIP, in the sorted order of the names."""

    def __init__(self, storage: FolderStorage | ZipStorage) -> None:
        self.path = storage.path
        self.tally = Tally()
        self.names = storage.image_names(self.tally)
        self.metadata, self.info = read_metadata(storage, self.names)
        self.labels: list[int] | None = None
        self._storage = storage

    def signature(self, name: str) -> str:
        """Size and time of the file, or of the ZIP."""
        return _signature(self.path / name if self.path.is_dir() else self.path)

    def readers(self, order: Sequence[int]) -> Iterator[Reader]:
        """See `Source`."""
        for i in order:
            yield lambda name=self.names[i]: self._read(name)

    def _read(self, name: str) -> bytes:
        with self._storage.open(name) as file:
            return read_bounded(file, IMAGE_BYTES, "an image")


class TarSource:
    """A TAR, compressed or not, in the order in which it is stored.

    Args:
        path: The file.
        images: Number of the member that holds each image's bytes, by the image's name.
        metadata: The content of each `dataset.json`, by its name.
        tally: What is not taken.
    """

    def __init__(self, path: Path, images: Mapping[str, int], metadata: Mapping[str, bytes], tally: Tally) -> None:
        self.path = path
        self.names = sorted(images, key=images.__getitem__)  # links behind what they lead to
        self.metadata, self.info = read_metadata(_Kept(path, metadata), self.names)
        self.labels: list[int] | None = None
        self.tally = tally
        self._holders = [images[name] for name in self.names]

    def signature(self, name: str) -> str:
        """Size and time of the TAR."""
        return _signature(self.path)

    def readers(self, order: Sequence[int]) -> Iterator[Reader]:
        """See `Source`. Each image is read before it is yielded.

        Raises:
            UserError: The order is not the stored one, and the TAR is compressed: it can only be read from front to back.
        """
        wanted = [self._holders[i] for i in order]
        if wanted != sorted(wanted):
            if is_compressed(self.path):
                raise UserError(
                    f"{self.path} is compressed, so it can only be read from front to back; unpack it for another order"
                )
            return tar_members(self.path, wanted)
        return self._in_stored_order(wanted)

    def _in_stored_order(self, wanted: list[int]) -> Iterator[Reader]:
        position = 0
        for number, (_, take) in enumerate(tar_files(self.path)):
            if position == len(wanted):
                return
            if wanted[position] != number:
                continue
            read = tried(take)
            while position < len(wanted) and wanted[position] == number:
                yield read
                position += 1


class LmdbSource:
    """An LMDB whose values are encoded images, such as LSUN's, in the order of its keys."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata: dict[str, Any] = {}
        self.info = ArchiveInfo()
        self.labels: list[int] | None = None
        self.tally = Tally()
        require_regular_file(path / "data.mdb", "database")
        with self._refused():
            self._file = LmdbFile(path / "data.mdb")
        self.names = [key.decode("ascii", "backslashreplace") for key in self._file.keys]

    def signature(self, name: str) -> str:
        """Size and time of the database."""
        return _signature(self.path / "data.mdb")

    def readers(self, order: Sequence[int]) -> Iterator[Reader]:
        """See `Source`. Each image is read before it is yielded: one thread reads the file."""
        for i in order:
            if (size := self._file.size(i)) > IMAGE_BYTES:
                yield partial(_refuse_size, size)
                continue
            with self._refused():
                data = self._file.value(i)
            yield lambda data=data: data

    def _refused(self) -> AbstractContextManager[None]:
        return refusal(f"{self.path} is not a readable LMDB", "copy it again")


def _refuse_size(size: int) -> bytes:
    raise UnreadableError(f"it holds {size} bytes, and {IMAGE_BYTES} are the most that is read of an image")


class ArraySource:
    """Images of one size from a file of numbers, with a class each.

    Args:
        path: The file.
        images: uint8 [N, H, W, C].
        labels: The class of each, or None.
        class_names: The name of each class, or nothing.
        tally: What is not taken.
    """

    def __init__(
        self,
        path: Path,
        images: np.ndarray,
        labels: list[int] | None,
        class_names: tuple[str, ...] = (),
        tally: Tally | None = None,
    ) -> None:
        self.path = path
        self.names = [f"{i:08d}" for i in range(len(images))]
        self.metadata: dict[str, Any] = {}
        self.info = ArchiveInfo(class_names=class_names)
        self.labels = labels
        self.tally = tally or Tally()
        self._images = images

    def signature(self, name: str) -> str:
        """Size and time of the file."""
        return _signature(self.path)

    def readers(self, order: Sequence[int]) -> Iterator[Reader]:
        """See `Source`."""
        for i in order:
            yield lambda image=self._images[i]: encode_png(image)


def idx_source(path: Path) -> ArraySource:
    """Images in the format of MNIST (`...-images-idx3-ubyte`, also `.gz`); classes from `...-labels-idx1-ubyte` beside it.

    Raises:
        UserError: A file is damaged, or there are not as many labels as images.
    """
    images = _read_idx(path, 3, IDX_BYTES)
    of_labels = path.with_name(path.name.replace("images-idx3", "labels-idx1").replace("images.idx3", "labels.idx1"))
    labels = _read_idx(of_labels, 1, IDX_IMAGES).tolist() if of_labels.exists() else None
    if labels is not None and len(labels) != len(images):
        raise UserError(f"{path} holds {len(images)} images, but {of_labels} {len(labels)} labels; get both again")
    return ArraySource(path, images[..., None], labels)


def open_tar(path: Path) -> TarSource | ArraySource:
    """A TAR of images, or the binary version of CIFAR-10. Raises `UserError` where it is damaged."""
    tally = Tally()
    kept: dict[int, bytes] = {}  # the members that are no images but tell about them
    left = METADATA_BYTES  # also enough for CIFAR-10, of 0.15 GiB

    def keep(number: int, name: str, take: Take) -> None:
        nonlocal left
        base = _base(name)
        if is_image_name(name) or not (base in (METADATA, _CIFAR_META) or base.startswith(_CIFAR_BATCH)):
            return
        is_batch = base.startswith(_CIFAR_BATCH)
        with refusal_of_tar(path):
            is_pickled = is_batch and not base.endswith(".bin")
            most = min(left, _CIFAR_NAMES_BYTES) if base == _CIFAR_META else left
            kept[number] = b"" if is_pickled else take(most, "CIFAR-10" if is_batch else f"a {base}")
        left -= len(kept[number])

    files = tar_names(path, tally, keep)
    batches = {name: kept.get(number, b"") for name, number in files.items() if _base(name).startswith(_CIFAR_BATCH)}
    if not batches or any(map(is_image_name, files)):
        images = {name: files[name] for name in image_names(files, tally)}
        return TarSource(path, images, {name: kept[number] for name, number in files.items() if number in kept}, tally)
    if not all(name.endswith(".bin") for name in batches):
        raise UserError(
            f"{path} is CIFAR-10 for Python, which runs code from the file when it is read; get the binary version, "
            "cifar-10-binary.tar.gz"
        )
    meta = next((kept.get(number, b"") for name, number in files.items() if _base(name) == _CIFAR_META), b"")
    for name in files:
        if name not in batches and _base(name) != _CIFAR_META:
            tally.leave("beside the batches of training images", name)
    return _cifar_source(path, batches, meta, tally)


def _base(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _cifar_source(path: Path, batches: Mapping[str, bytes], meta: bytes, tally: Tally) -> ArraySource:
    """The training images: records of a class and 32x32 values of red, then green, then blue."""
    for name, data in batches.items():
        if not data or len(data) % _CIFAR_RECORD:
            raise UserError(f"{name} in {path} is cut short ({len(data)} bytes); get the file again")
    records = np.concatenate([np.frombuffer(data, np.uint8) for _, data in sorted(batches.items())])
    records = records.reshape(-1, _CIFAR_RECORD)
    images = records[:, 1:].reshape(-1, 3, _CIFAR_SIDE, _CIFAR_SIDE).transpose(0, 2, 3, 1)
    class_names = tuple(meta.decode("ascii", "replace").split())
    return ArraySource(path, images, records[:, 0].tolist(), class_names, tally)


def _read_idx(path: Path, dimensions: int, most: int) -> np.ndarray:
    """An array of bytes: two zeros, 8 (unsigned bytes), the number of dimensions, each as big-endian uint32, the data.

    Args:
        path: The file.
        dimensions: How many it should have.
        most: Bytes that are read of it.
    """
    require_regular_file(path, "IDX file")
    with refusal(f"{path} is not a readable IDX file", "get it again, or another one"), open_packed(path) as file:
        zeros, kind, found = struct.unpack(">HBB", file.read(4))
        if (zeros, kind) != (0, 8):
            raise UnreadableError("it is not one of unsigned bytes")
        if found != dimensions:
            raise UnreadableError(f"it holds {found} dimensions where {dimensions} are needed")
        shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
        if shape[0] > IDX_IMAGES or (shape[0] and not prod(shape)):
            raise UnreadableError(
                f"it claims the shape {shape}; more than {IDX_IMAGES} images, or empty ones, are not read"
            )
        return np.frombuffer(read_bounded(file, most, "an IDX file"), np.uint8).reshape(shape)


class _Kept:
    """Members of a TAR by name, for `read_metadata`."""

    def __init__(self, path: Path, members: Mapping[str, bytes]) -> None:
        self.path = path
        self._members = members

    def open(self, name: str) -> IO[bytes]:
        if name not in self._members:
            raise FileNotFoundError(name)
        return io.BytesIO(self._members[name])


def _signature(path: Path) -> str:
    try:
        state = path.stat()
    except OSError:  # a link to nothing or in a circle: reading it tells
        return ""
    return json.dumps([state.st_size, state.st_mtime_ns])

"""What archives are made of: images in a folder, ZIP, TAR or LMDB, or the binary files of MNIST and CIFAR-10.

Every source knows the names of its images before it reads any of them, and reads them once, in the order of the names.
"""

import gzip
import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from stylegan.data.archive import METADATA, ArchiveInfo, FolderStorage, ZipStorage, read_metadata
from stylegan.data.convert import encode_png
from stylegan.data.image_files import is_image_name
from stylegan.errors import UserError

Reader = Callable[[], bytes]  # the encoded image; what it raises for a damaged one is in `BROKEN_IMAGE`

_CIFAR_SIDE = 32
_CIFAR_RECORD = 1 + 3 * _CIFAR_SIDE**2


class Source(Protocol):
    """Images by name.

    Attributes:
        path: Where they are.
        names: All of them, in the order in which they are read.
        metadata: The content of the source's `dataset.json`; {} where it has none.
        info: What that says, for a source that is an archive.
        labels: The class of each image where the format has classes; None elsewhere.
    """

    path: Path
    names: list[str]
    metadata: dict[str, Any]
    info: ArchiveInfo
    labels: list[int] | None

    def signature(self, name: str) -> str:
        """Changes when the image's file does."""
        ...

    def readers(self, start: int = 0) -> Iterator[Reader]:
        """For each image from number `start` on, what reads it; to be called once, in any thread."""
        ...


def open_source(path: str | Path) -> Source:
    """The images behind a path.

    Raises:
        UserError: There is nothing, nothing readable, or no image.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"there is no {path}; give a folder, ZIP, TAR or LMDB of images, or faces3d")
    if path.name == "data.mdb" or (path / "data.mdb").is_file():
        source: Source = LmdbSource(path.parent if path.is_file() else path)
    elif path.is_dir():
        source = StoredSource(FolderStorage(path))
    elif "-images-idx3-ubyte" in path.name or "-images.idx3-ubyte" in path.name:
        source = idx_source(path)
    elif zipfile.is_zipfile(path):
        source = StoredSource(ZipStorage(path))
    elif tarfile.is_tarfile(path):
        source = open_tar(path)
    else:
        raise UserError(f"{path} is not a folder, ZIP, TAR or LMDB of images; give one")
    if not source.names:
        raise UserError(f"{path} holds no images (PNG, JPEG, WebP, TIFF ...)")
    return source


class StoredSource:
    """A folder or a ZIP, in the sorted order of the names."""

    def __init__(self, storage: FolderStorage | ZipStorage) -> None:
        self.path = storage.path
        self.names = storage.image_names()
        self.metadata, self.info = read_metadata(storage, self.names)
        self.labels: list[int] | None = None
        self._storage = storage

    def signature(self, name: str) -> str:
        """Size and time of the file, or of the ZIP."""
        return _signature(self.path / name if self.path.is_dir() else self.path)

    def readers(self, start: int = 0) -> Iterator[Reader]:
        """See `Source`."""
        for name in self.names[start:]:
            yield lambda name=name: self._read(name)

    def _read(self, name: str) -> bytes:
        with self._storage.open(name) as file:
            return file.read()


class TarSource:
    """A TAR, compressed or not, in the order in which it is stored: it can only be read from front to back."""

    def __init__(self, path: Path, names: list[str], metadata: bytes | None) -> None:
        self.path = path
        self.names = names
        self.metadata, self.info = read_metadata(_OneFile(path, metadata))
        self.labels: list[int] | None = None

    def signature(self, name: str) -> str:
        """Size and time of the TAR."""
        return _signature(self.path)

    def readers(self, start: int = 0) -> Iterator[Reader]:
        """See `Source`. Each image is read before it is yielded."""
        position = 0
        for name, read in _tar_files(self.path):
            if is_image_name(name):
                if position >= start:
                    data = read()
                    yield lambda data=data: data
                position += 1


class LmdbSource:
    """An LMDB whose values are encoded images, such as LSUN's, in the order of its keys."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata: dict[str, Any] = {}
        self.info = ArchiveInfo()
        self.labels: list[int] | None = None
        with self._transaction() as transaction:
            self._keys = [bytes(key) for key in transaction.cursor().iternext(keys=True, values=False)]
        self.names = [key.decode("ascii", "backslashreplace") for key in self._keys]

    def signature(self, name: str) -> str:
        """Size and time of the database."""
        return _signature(self.path / "data.mdb")

    def readers(self, start: int = 0) -> Iterator[Reader]:
        """See `Source`. Each image is read before it is yielded: a transaction belongs to one thread."""
        with self._transaction() as transaction:
            for key in self._keys[start:]:
                data = bytes(transaction.get(key))
                yield lambda data=data: data

    def _transaction(self) -> Any:
        try:
            import lmdb
        except ImportError:
            raise UserError(
                f"{self.path} is an LMDB, which needs the package lmdb: pip install 'stylegan[lmdb]'"
            ) from None
        try:
            # No lock: nobody writes, and the folder may be read-only.
            return lmdb.open(str(self.path), readonly=True, lock=False, readahead=False).begin(buffers=False)
        except lmdb.Error as error:
            raise UserError(f"{self.path} is not a readable LMDB ({error}); copy it again") from None


class ArraySource:
    """Images of one size from a file of numbers, with a class each.

    Args:
        path: The file.
        images: uint8 [N, H, W, C].
        labels: The class of each, or None.
        class_names: The name of each class, or nothing.
    """

    def __init__(
        self, path: Path, images: np.ndarray, labels: list[int] | None, class_names: tuple[str, ...] = ()
    ) -> None:
        self.path = path
        self.names = [f"{i:08d}" for i in range(len(images))]
        self.metadata: dict[str, Any] = {}
        self.info = ArchiveInfo(class_names=class_names)
        self.labels = labels
        self._images = images

    def signature(self, name: str) -> str:
        """Size and time of the file."""
        return _signature(self.path)

    def readers(self, start: int = 0) -> Iterator[Reader]:
        """See `Source`."""
        for image in self._images[start:]:
            yield lambda image=image: encode_png(image)


def idx_source(path: Path) -> ArraySource:
    """Images in the format of MNIST (`...-images-idx3-ubyte`, also `.gz`); classes from `...-labels-idx1-ubyte` beside it.

    Raises:
        UserError: A file is damaged, or there are not as many labels as images.
    """
    images = _read_idx(path)
    if images.ndim != 3:
        raise UserError(f"{path} holds {images.ndim} dimensions, not images (count, height, width); give another file")
    of_labels = path.with_name(path.name.replace("images-idx3", "labels-idx1").replace("images.idx3", "labels.idx1"))
    labels = _read_idx(of_labels).tolist() if of_labels.is_file() else None
    if labels is not None and len(labels) != len(images):
        raise UserError(f"{path} holds {len(images)} images, but {of_labels} {len(labels)} labels; get both again")
    return ArraySource(path, images[..., None], labels)


def open_tar(path: Path) -> TarSource | ArraySource:
    """A TAR of images, or the binary version of CIFAR-10. Raises `UserError` where it is damaged."""
    names: list[str] = []
    others: dict[str, bytes] = {}
    batches: list[tuple[str, bytes]] = []
    for name, read in _tar_files(path):
        base = name.rsplit("/", 1)[-1]
        if is_image_name(name):
            names.append(name)
        elif name in (METADATA, f"./{METADATA}") or base == "batches.meta.txt":
            others[base] = read()
        elif base.startswith("data_batch_"):
            if not base.endswith(".bin"):
                raise UserError(
                    f"{path} is CIFAR-10 for Python, which runs code from the file when it is read; get the binary "
                    "version, cifar-10-binary.tar.gz"
                )
            batches.append((name, read()))
    if names or not batches:
        return TarSource(path, names, others.get(METADATA))
    return _cifar_source(path, batches, others.get("batches.meta.txt", b""))


def _cifar_source(path: Path, batches: list[tuple[str, bytes]], meta: bytes) -> ArraySource:
    """The training images: records of a class and 32x32 values of red, then green, then blue."""
    for name, data in batches:
        if not data or len(data) % _CIFAR_RECORD:
            raise UserError(f"{name} in {path} is cut short ({len(data)} bytes); get the file again")
    records = np.concatenate([np.frombuffer(data, np.uint8) for _, data in sorted(batches)]).reshape(-1, _CIFAR_RECORD)
    images = records[:, 1:].reshape(-1, 3, _CIFAR_SIDE, _CIFAR_SIDE).transpose(0, 2, 3, 1)
    return ArraySource(path, images, records[:, 0].tolist(), tuple(meta.decode("ascii", "replace").split()))


def _read_idx(path: Path) -> np.ndarray:
    """An array of bytes: two zeros, 8 (unsigned bytes), the number of dimensions, each as big-endian uint32, the data."""
    data = path.read_bytes()
    try:
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        zeros, kind, dimensions = struct.unpack_from(">HBB", data)
        shape = struct.unpack_from(f">{dimensions}I", data, 4)
        if (zeros, kind) != (0, 8):
            raise ValueError("it is not one of unsigned bytes")
        return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (struct.error, ValueError, OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not a readable IDX file ({error}); get it again") from None


def _tar_files(path: Path) -> Iterator[tuple[str, Reader]]:
    """Name and reader of each file in a TAR; a reader works until the next one is asked for."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile():
                    file = archive.extractfile(member)
                    assert file is not None, "extractfile gives None for what is no file only"
                    yield member.name.removeprefix("./"), file.read
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"{path} is not a readable TAR ({error}); if copying it was interrupted, copy it again"
        ) from None


class _OneFile:
    """`dataset.json` as found in a TAR, for `read_metadata`."""

    def __init__(self, path: Path, content: bytes | None) -> None:
        self.path = path
        self._content = content

    def open(self, name: str) -> IO[bytes]:
        if self._content is None:
            raise FileNotFoundError(name)
        return io.BytesIO(self._content)


def _signature(path: Path) -> str:
    state = path.stat()
    return json.dumps([state.st_size, state.st_mtime_ns])

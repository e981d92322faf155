"""What archives are made of: images in a folder, ZIP, TAR or LMDB, or the binary files of MNIST and CIFAR-10.

Every source knows the names of its images before it reads any of them, and reads them once, in the order of the names.
"""

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from math import prod
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from stylegan.data.archive import METADATA, METADATA_BYTES, ArchiveInfo, FolderStorage, ZipStorage, read_metadata
from stylegan.data.convert import encode_png
from stylegan.data.guarded import open_packed, open_tar_file
from stylegan.data.image_files import IMAGE_BYTES, is_image_name
from stylegan.data.lmdb_file import LmdbFile
from stylegan.errors import UnreadableError, UserError, refusal
from stylegan.files import read_bounded
from stylegan.opening import require_regular_file

_Take = Callable[[int, str], bytes]  # the arguments of `read_bounded` behind the file -> a member's content
Reader = Callable[[], bytes]  # the encoded image; what it raises for a damaged one is in `BROKEN_IMAGE`

IDX_BYTES, IDX_IMAGES = 2**30, 2**22  # of a file; the largest known ones have 0.6 GiB and 814,255
_CIFAR_BYTES = 2**28  # of all files together; genuine ones have 0.15 GiB
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
    elif _is_tar(path):
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
            return read_bounded(file, IMAGE_BYTES, "an image")


class TarSource:
    """A TAR, compressed or not, in the order in which it is stored: it can only be read from front to back."""

    def __init__(self, path: Path, names: list[str], metadata: bytes | None) -> None:
        self.path = path
        self.names = names
        self.metadata, self.info = read_metadata(_OneFile(path, metadata), names)
        self.labels: list[int] | None = None

    def signature(self, name: str) -> str:
        """Size and time of the TAR."""
        return _signature(self.path)

    def readers(self, start: int = 0) -> Iterator[Reader]:
        """See `Source`. Each image is read before it is yielded."""
        position = 0
        for name, take in _tar_files(self.path):
            if is_image_name(name):
                if position >= start:
                    yield _tried(take)
                position += 1


def _tried(take: _Take) -> Reader:
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


class LmdbSource:
    """An LMDB whose values are encoded images, such as LSUN's, in the order of its keys."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata: dict[str, Any] = {}
        self.info = ArchiveInfo()
        self.labels: list[int] | None = None
        require_regular_file(path / "data.mdb", "database")
        with self._refused():
            self._file = LmdbFile(path / "data.mdb")
        self.names = [key.decode("ascii", "backslashreplace") for key in self._file.keys]

    def signature(self, name: str) -> str:
        """Size and time of the database."""
        return _signature(self.path / "data.mdb")

    def readers(self, start: int = 0) -> Iterator[Reader]:
        """See `Source`. Each image is read before it is yielded: one thread reads the file."""
        values = self._file.values(start)
        while True:
            with self._refused():
                data = next(values, None)
            if data is None:
                return
            yield lambda data=data: data

    def _refused(self) -> AbstractContextManager[None]:
        return refusal(f"{self.path} is not a readable LMDB", "copy it again")


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
    images = _read_idx(path, 3, IDX_BYTES)
    of_labels = path.with_name(path.name.replace("images-idx3", "labels-idx1").replace("images.idx3", "labels.idx1"))
    labels = _read_idx(of_labels, 1, IDX_IMAGES).tolist() if of_labels.exists() else None
    if labels is not None and len(labels) != len(images):
        raise UserError(f"{path} holds {len(images)} images, but {of_labels} {len(labels)} labels; get both again")
    return ArraySource(path, images[..., None], labels)


def open_tar(path: Path) -> TarSource | ArraySource:
    """A TAR of images, or the binary version of CIFAR-10. Raises `UserError` where it is damaged."""
    names: list[str] = []
    others: dict[str, bytes] = {}
    batches: list[tuple[str, bytes]] = []
    left = _CIFAR_BYTES
    for name, take in _tar_files(path):
        base = name.rsplit("/", 1)[-1]
        with _refusal_of_tar(path):
            if is_image_name(name):
                names.append(name)
            elif name in (METADATA, f"./{METADATA}") or base == "batches.meta.txt":
                others[base] = take(METADATA_BYTES, f"a {base}")
            elif base.startswith("data_batch_"):
                if not base.endswith(".bin"):
                    raise UserError(
                        f"{path} is CIFAR-10 for Python, which runs code from the file when it is read; get the binary "
                        "version, cifar-10-binary.tar.gz"
                    )
                batches.append((name, take(left, "CIFAR-10")))
                left -= len(batches[-1][1])
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


def _tar_files(path: Path) -> Iterator[tuple[str, _Take]]:
    """Name and content of each file in a TAR; what takes the content works until the next one is asked for."""
    with (
        _refusal_of_tar(path),
        open_tar_file(path) as unpacked,
        tarfile.open(fileobj=unpacked, mode="r:") as archive,
    ):
        before = -1
        while (member := archive.next()) is not None:
            if member.offset <= before:  # a negative size leads back, and round and round
                raise UnreadableError("a member begins before the last one")
            before = member.offset
            archive.members = []  # pyright: ignore[reportAttributeAccessIssue] (documented; each takes a thousand bytes)
            if member.isfile():
                file = archive.extractfile(member)
                assert file is not None, "extractfile gives None for what is no file only"
                yield member.name.removeprefix("./"), partial(_take, path, file)


def _take(path: Path, file: IO[bytes], limit: int, what: str) -> bytes:
    """The content of a member. Raises `UnreadableError` where it is too large, `UserError` where the TAR is damaged."""
    try:
        return read_bounded(file, limit, what)
    except UnreadableError:
        raise
    except Exception as error:
        with _refusal_of_tar(path):
            raise error


def _is_tar(path: Path) -> bool:
    try:
        with open_tar_file(path) as file, tarfile.open(fileobj=file, mode="r:"):
            return True
    except UnreadableError:  # what that says is told when it is read
        return True
    except Exception:  # whatever a file that is no TAR makes of tarfile
        return False


def _refusal_of_tar(path: Path) -> AbstractContextManager[None]:
    return refusal(f"{path} is not a readable TAR", "if copying it was interrupted, copy it again")


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
    try:
        state = path.stat()
    except OSError:  # a link to nothing or in a circle: reading it tells
        return ""
    return json.dumps([state.st_size, state.st_mtime_ns])

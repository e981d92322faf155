"""Reading an archive: equally large images and their labels in one ZIP or folder, laid out as the public tools do.

    00000/img00000000.png   00000/img00000001.png ...   any names and sub-folders will do; they are read in sorted order
    dataset.json            {"labels": [["00000/img00000000.png", 6], ...]}, or null for an unlabelled archive

Read are also `{"00000/img00000000.png": 6, ...}`, names of classes for numbers, and a folder around all of that.

An archive that `stylegan prepare` wrote says more about itself in the same `dataset.json`, under keys that other tools
ignore (`ArchiveInfo`). `content_hash` is the SHA-256 of, in this order,

1. for each image in archive order (names sorted), its decoded pixels: uint8 [H, W, C], row by row, no header;
2. the labels in archive order: class numbers as little-endian int64 [N], or vectors as little-endian float32 [N, D],
   row by row; nothing where the archive has no labels.

It is a hash of what a network sees: two archives with other names, compression or attributes, but these pixels and
labels, have the same one.

To compute it every image is decoded, so an archive's own word for it is believed at first, and made sure of by
`ImageDataset.verify` when there is reason to: when a cache of the pixels is made, and when a run goes on with files
that are not those it was trained on. `fingerprint` tells cheaply whether files are the same: it is the SHA-256 of each
member's name, size and CRC-32 in a ZIP (it survives copying), of each file's name, size and time in a folder.
"""

import contextlib
import dataclasses
import hashlib
import io
import math
import os
import stat
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torch.utils.data import Dataset

from stylegan.data.guarded import GuardedFile
from stylegan.data.image_files import BROKEN_IMAGE, IMAGE_BYTES, is_image_name, open_image
from stylegan.data.labels import (
    Labels,
    check_labels,
    described,
    find_names,
    label_pairs,
    label_table,
    parse_json,
)
from stylegan.data.selection import METADATA, Member, Tally, files_among, files_below, image_names, metadata_places
from stylegan.errors import UnreadableError, UserError, refusal
from stylegan.files import read_bounded
from stylegan.opening import nearest_path, require_regular_file
from stylegan.rng import generator

METADATA_BYTES = 2**28  # that are kept of a compressed one; read is what fits the number of images:
_METADATA_SPARE, _METADATA_PER_IMAGE = 2**24, 2**15  # a vector of 512 numbers takes about 10,000 characters
_DIRECTORY_BYTES = 2**30  # of a ZIP with 10 million members
_LONGEST_PATH = 4096  # bytes of a link's target
DECODED_TOGETHER = 256  # images that wait in memory while all of an archive is read
DECODED_BYTES = 2**28  # ... but not more than these
CHANNELS_OF_MODE = {"L": 1, "RGB": 3, "RGBA": 4}


@dataclass(frozen=True)
class ArchiveInfo:
    """What an archive says about itself. All fields are empty where another tool wrote it.

    Attributes:
        name: Of the data set.
        source: Where the images come from.
        licence: Under which terms.
        crop: How images were made to fit: `cover`, `contain`, `stretch`, `none`, or `rendered`.
        resize_filter: `box`, `bicubic`, `lanczos`, or `none`.
        count: Number of images.
        resolution: (H, W).
        channels: 1, 3 or 4.
        content_hash: See the module's description.
        class_names: For class labels, the name of each.
        made_with: Other settings of whoever wrote it, such as a seed.
        attributes: One dict per image in archive order, or empty.
    """

    name: str = ""
    source: str = ""
    licence: str = ""
    crop: str = ""
    resize_filter: str = ""
    count: int = 0
    resolution: tuple[int, int] = (0, 0)
    channels: int = 0
    content_hash: str = ""
    class_names: tuple[str, ...] = ()
    made_with: Mapping[str, Any] = field(default_factory=dict)
    attributes: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields as they stand in `dataset.json`, beside `labels`."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ArchiveInfo":
        """The inverse of `to_json`; what has no `content_hash` was not written by us and gives an empty one.

        Raises:
            TypeError, ValueError: The metadata is ours, but some field has another type.
        """
        if not data.get("content_hash"):
            return cls()
        known = {item.name: data[item.name] for item in dataclasses.fields(cls) if item.name in data}
        H, W = known.get("resolution", (0, 0))
        texts = [known.get(name, "") for name in ("name", "source", "licence", "crop", "resize_filter", "content_hash")]
        if not all(isinstance(text, str) for text in (*texts, *known.get("class_names", ()))):
            raise TypeError("a name in it is no text")
        if not all(isinstance(item, dict) for item in (known.get("made_with", {}), *known.get("attributes", ()))):
            raise TypeError("what it is made with, or an image's attributes, are no table")
        label_names = known.get("made_with", {}).get("label_names", [])
        if not isinstance(label_names, list) or not all(isinstance(name, str) for name in label_names):
            raise TypeError("the names of a label's entries are no texts")
        return cls(
            **{
                **known,
                "count": int(known.get("count", 0)),
                "channels": int(known.get("channels", 0)),
                "resolution": (int(H), int(W)),
                "class_names": tuple(known.get("class_names", ())),
                "attributes": tuple(known.get("attributes", ())),
            }
        )


class ImageDataset(Dataset[tuple[Tensor, Tensor]]):
    """The images and labels of one archive.

    Safe to read from several threads and from forked or spawned workers. Only names and labels are held in memory.

    Args:
        path: A ZIP or a folder.
        use_labels: Give labels (a conditional model); else every label has length 0.
        xflip: Twice as many images: index i >= N is the mirror image of i - N.
        max_images: Use only so many: a fixed pseudo-random choice (an archive is often sorted by class), in archive
            order. A smaller choice is part of every larger one.

    Attributes:
        path: As given.
        name: The data set's name; the file's where the archive does not say.
        resolution: (H, W).
        channels: 1, 3 or 4.
        has_labels: Whether the archive holds labels, used or not.
        label_dim: Length of a label; 0 without `use_labels`.
        info: What the archive says about itself.
        fingerprint: Of the archive's files when it was opened (see the module's description), 64 hexadecimal digits.
        rows: Which of the archive's images these are, counted from 0 in archive order: int64 [N], ascending.
        names: The images' names, in order.
        tally: What is not taken for an image.

    Raises:
        UserError: The path is missing, empty, damaged or no archive; images differ in size or channels; H and W do not
            fit a network; labels are asked for and missing or unusable.
    """

    def __init__(
        self, path: str | Path, *, use_labels: bool = False, xflip: bool = False, max_images: int | None = None
    ) -> None:
        self.path = Path(path)
        self.xflip = xflip
        self._storage = open_storage(self.path)
        self.fingerprint = self._storage.fingerprint()
        self.tally = Tally()
        self._all_names = self._storage.image_names(self.tally)
        if not self._all_names:
            left = self.tally.told_left()
            raise UserError(
                f"{path} holds no images{left and f', but {left}'}; `stylegan prepare SOURCE DEST` makes an "
                "archive of a folder of images"
            )
        metadata, self.info = read_metadata(self._storage, self._all_names)
        self.name = self.info.name or self.path.stem
        self.resolution, self.channels = self._check_images()
        self._raw_labels: list[Any] | None = metadata.get("labels") or None
        self.has_labels = self._raw_labels is not None
        self.rows = self._choose(max_images)
        self.names = [self._all_names[row] for row in self.rows.tolist()]
        self._verified = False
        self._labels, self.label_dim = self._label_table() if use_labels else (None, 0)

    def __len__(self) -> int:
        return len(self.names) * (2 if self.xflip else 1)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image `index`, uint8 [C, H, W], and its label, float32 [label_dim].

        Raises:
            IndexError: `index` is not in 0 .. len - 1.
            UserError: The image is damaged or of another size or kind than the first.
        """
        image = self._read(self.names[self._position(index)])
        if index >= len(self.names):
            image = image[:, ::-1]
        return torch.from_numpy(image.transpose(2, 0, 1).copy()), self.label(index)

    def label(self, index: int) -> Tensor:
        """The label of image `index`, float32 [label_dim]: a class as one-hot, a vector as it stands in the archive."""
        return self.labels(torch.tensor([self._position(index)]))[0]

    def labels(self, indices: Tensor) -> Tensor:
        """The labels of the images `indices`, int64 [n] in 0 .. len - 1: float32 [n, label_dim]."""
        if self._labels is None:
            return torch.zeros(len(indices), 0)
        chosen = torch.from_numpy(self._labels[(indices % len(self.names)).numpy()])
        return chosen if chosen.ndim == 2 else one_hot(chosen, self.label_dim).float()

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W) of all of the archive's images, whether in use or not."""
        return (len(self._all_names), self.channels, *self.resolution)

    @property
    def labels_are_classes(self) -> bool:
        """Whether labels are in use and each image has one class, rather than a vector."""
        return self._labels is not None and self._labels.ndim == 1

    @property
    def labels_told(self) -> str:
        """What labels there are, with the number of images in use of each class, or that they lie unused; for people."""
        if self._labels is None:
            return "there, but not used; data.use_labels=true trains on them" if self.has_labels else "none"
        entry_names = self.info.made_with.get("label_names") or ()
        return described(self._labels.tolist(), self.info.class_names, entry_names, label_dim=self.label_dim)

    @property
    def content_hash(self) -> str:
        """SHA-256 of all of the archive's pixels and labels, as the archive says, else computed (reads every image)."""
        if not self.info.content_hash:
            self.verify()
        return self.info.content_hash

    def verify(self) -> None:
        """Make sure that `content_hash` is true, by reading every image; nothing where that was done before.

        Raises:
            UserError: An image is damaged, or the archive holds other pixels or labels than it says.
        """
        if not self._verified:
            for _ in self.verified_pixels():
                pass

    def verified_pixels(self) -> Iterator[np.ndarray]:
        """Yield all of the archive's images, whether in use or not, in archive order: uint8 [H, W, C].

        Threads decode them. What is raised is raised as late as at the end, where the hash is known; see `verify`.
        """
        digest = hashlib.sha256()
        with ThreadPoolExecutor() as pool:
            together = max(1, min(DECODED_TOGETHER, DECODED_BYTES // (math.prod(self.resolution) * self.channels)))
            for start in range(0, len(self._all_names), together):
                for pixels in pool.map(self._read, self._all_names[start : start + together]):
                    digest.update(pixels.tobytes())
                    yield pixels
        if self._raw_labels is not None:
            digest.update(label_bytes(match_labels(self._raw_labels, self._all_names, self.path)[0]))
        self.accept_hash(digest.hexdigest())

    def accept_hash(self, content_hash: str) -> None:
        """Take a content hash as proved: by `verified_pixels`, or earlier for files of the same fingerprint.

        Raises:
            UserError: The archive says another one.
        """
        if self.info.content_hash not in ("", content_hash):
            raise UserError(
                f"{self.path} was changed since it was prepared: its pixels and labels have the content hash "
                f"{content_hash[:16]}..., its {METADATA} says {self.info.content_hash[:16]}...; restore it, prepare it "
                f"again, or remove all keys but `labels` from {METADATA}"
            )
        self.info = dataclasses.replace(self.info, content_hash=content_hash)
        self._verified = True

    def _position(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return index % len(self.names)

    def _choose(self, max_images: int | None) -> Tensor:
        count = len(self._all_names)
        if max_images is None:
            return torch.arange(count)
        if max_images < 1:
            raise UserError(f"max_images={max_images} leaves no image of {self.path}; give at least 1")
        return torch.randperm(count, generator=generator(0, "data/max_images"))[:max_images].sort().values

    def _check_images(self) -> tuple[tuple[int, int], int]:
        """(H, W) and channels of the first image, after checks of the others by their headers."""
        resolution, channels = self._header(self._all_names[0])
        check_resolution(*resolution, self.path)
        if not self.info.content_hash:
            for name in self._all_names[1:]:
                self._check_alike(name, *self._header(name), resolution, channels)
            return resolution, channels
        if (self.info.count, self.info.resolution, self.info.channels) != (len(self._all_names), resolution, channels):
            raise UserError(
                f"{self.path} holds {len(self._all_names)} images, the first {_shape(resolution, channels)}, but its "
                f"{METADATA} says {self.info.count} of {_shape(self.info.resolution, self.info.channels)}: it was "
                f"changed since it was prepared; prepare it again, or remove all keys but `labels` from {METADATA}"
            )
        return resolution, channels

    def _header(self, name: str) -> tuple[tuple[int, int], int]:
        try:
            with self._guarded(name) as file, open_image(file) as image:
                width, height, mode = *image.size, image.mode
        except BROKEN_IMAGE as error:
            raise self._broken(name, error) from None
        return (height, width), self._channels(name, mode)

    def _guarded(self, name: str) -> GuardedFile:
        """An image of which the beginning is read, without belief in the length that it says to have."""
        return GuardedFile(self._storage.open(name), IMAGE_BYTES, "an image", end=IMAGE_BYTES)

    def _channels(self, name: str, mode: str) -> int:
        if mode not in CHANNELS_OF_MODE:
            raise UserError(
                f"{name} in {self.path} has pixels of kind {mode!r}; an archive holds 8-bit grey, RGB or RGBA images: "
                "`stylegan prepare` converts"
            )
        return CHANNELS_OF_MODE[mode]

    def _check_alike(
        self, name: str, resolution: tuple[int, int], channels: int, expected: tuple[int, int], expected_channels: int
    ) -> None:
        if (resolution, channels) != (expected, expected_channels):
            raise UserError(
                f"{name} in {self.path} is {_shape(resolution, channels)}, but the archive's first image is "
                f"{_shape(expected, expected_channels)}; `stylegan prepare SOURCE DEST --resolution "
                f"{expected[1]}x{expected[0]} --channels {expected_channels}` makes all alike"
            )

    def _read(self, name: str) -> np.ndarray:
        """The pixels of one image, uint8 [H, W, C]."""
        try:
            # Read to the end before decoding: there zipfile compares the checksum, and not every decoder gets so far.
            with self._storage.open(name) as file:
                data = read_bounded(file, IMAGE_BYTES, "an image")
            with open_image(io.BytesIO(data)) as image:
                channels = self._channels(name, image.mode)
                pixels = np.asarray(image)
        except BROKEN_IMAGE as error:
            raise self._broken(name, error) from None
        self._check_alike(name, pixels.shape[:2], channels, self.resolution, self.channels)
        return pixels.reshape(*self.resolution, self.channels)

    def _broken(self, name: str, error: BaseException) -> UserError:
        return UserError(
            f"{name} in {self.path} cannot be read: {error}; restore it, or prepare the archive again, which leaves "
            "broken images out"
        )

    def _label_table(self) -> tuple[np.ndarray, int]:
        """Class numbers int64 [N], or vectors float32 [N, label_dim], of the images in use; and label_dim."""
        if self._raw_labels is None:
            raise UserError(
                f"a conditional model on an unlabelled archive: {self.path} has no labels in {METADATA}; prepare it "
                "with --labels (sub-folder names become classes), or train without labels (data.use_labels=false)"
            )
        # label_dim comes from the whole archive: a choice of its images must still fit the same network.
        whole, class_names = match_labels(self._raw_labels, self._all_names, self.path, images_per_class=1)
        if class_names:
            self.info = dataclasses.replace(self.info, class_names=class_names)
        by_name = dict(zip(self._all_names, whole, strict=True))
        used = [by_name[name] for name in self.names]
        if isinstance(whole[0], int):
            return np.asarray(used, np.int64), int(np.max(whole)) + 1
        return np.asarray(used, np.float32), len(whole[0])


def check_resolution(H: int, W: int, where: object) -> None:
    """Networks double their resolution block by block: H = H0 * 2^k, W = W0 * 2^k with max(H0, W0) in 4..7.

    Raises:
        UserError: H and W are not so; the message names `where` and the nearest resolution that is.
    """
    k = max(H, W).bit_length() - 3
    if k >= 0 and H > 0 and W > 0 and H % 2**k == 0 and W % 2**k == 0:
        return
    near_H, near_W = nearest_resolution(H, W)
    raise UserError(
        f"{where}: images of {W}x{H} (width x height) do not fit a network, whose resolution doubles from block to "
        "block: the longer side must be 4, 5, 6 or 7 times a power of two, the other a multiple of that power; the "
        f"nearest is {near_W}x{near_H}: `stylegan prepare SOURCE DEST --resolution {near_W}x{near_H}`"
    )


def nearest_resolution(H: int, W: int) -> tuple[int, int]:
    """The valid (H, W) with the least change of both sides; see `check_resolution`."""
    steps = range(max(H, W).bit_length() + 1)
    candidates = [tuple(min(max(round(side / 2**k), 1), 7) * 2**k for side in (H, W)) for k in steps]
    valid = [(h, w) for (h, w), k in zip(candidates, steps, strict=True) if max(h, w) >> k >= 4] or [(4, 4)]
    return min(valid, key=lambda shape: (abs(shape[0] - H) + abs(shape[1] - W), shape))


def match_labels(
    raw: list[Any], names: list[str], where: object, *, images_per_class: float = 0
) -> tuple[Labels, tuple[str, ...]]:
    """The labels of the images `names`, in their order, from `[[name, label], ...]` in any order.

    Args:
        raw: As `read_metadata` gives them.
        names: Of the images.
        where: The archive, for messages.
        images_per_class: See `check_labels`.

    Returns:
        The labels, and the names of the classes where labels are names.

    Raises:
        UserError: An image has no label or two, or they are none, see `check_labels`.
    """
    place = f"{METADATA} of {where}"
    try:
        table = label_table(raw)
    except ValueError as error:
        raise UserError(f"{place}: {error}; leave one of the two") from None
    keys = find_names(names, table)[0]
    missing = [name for name, key in zip(names, keys, strict=True) if key is None]
    if missing:
        raise UserError(
            f"{len(missing)} of the {len(names)} images in {where} have no label in {METADATA}, the first is "
            f"{missing[0]}; add theirs, or remove `labels` from it and train without (data.use_labels=false)"
        )
    labels = [table[key] for key in keys if key is not None]
    return check_labels(names, labels, place, lambda name: place, images_per_class=images_per_class)


def label_bytes(labels: Labels) -> bytes:
    """The canonical bytes of labels, for the content hash."""
    return np.asarray(labels, "<i8" if isinstance(labels[0], int) else "<f4").tobytes()


class FolderStorage:
    """The files of a folder, by their path relative to it with forward slashes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def image_names(self, tally: Tally | None = None) -> list[str]:
        """Names of all images below the folder, sorted; what is not taken is counted. See `files_below`."""
        tally = tally or Tally()
        return sorted(image_names(files_below(self.path, tally), tally))

    def open(self, name: str) -> IO[bytes]:
        """One file, to be closed by the caller. Raises FileNotFoundError."""
        path = self.path / name
        if path.is_symlink() and not path.exists():
            raise UnreadableError("it is a link that leads to no file")
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableError("it is no file with bytes of its own, but a pipe, a device or a folder")
        return path.open("rb")

    def fingerprint(self) -> str:
        """The SHA-256 of names, sizes and times of the images and the metadata."""
        names = self.image_names()
        names += [place for place in metadata_places(names) if (self.path / place).is_file()]
        return _digest((name, *_size_and_time(self.path / name)) for name in names)


class ZipStorage:
    """The members of a ZIP, by the names that `files_among` gives them.

    Each process opens its own handle: forked workers that share one also share its file offset, and read each other's
    bytes. Threads of one process may share it, since zipfile seeks and reads under a lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: tuple[int, zipfile.ZipFile, dict[str, zipfile.ZipInfo]] | None = None
        with refusal(f"{path} is not a readable ZIP archive", "if copying it was interrupted, copy it again"):
            self._zip()

    def image_names(self, tally: Tally | None = None) -> list[str]:
        """Names of all images, sorted; what is not taken is counted."""
        tally = tally or Tally()
        return sorted(image_names(_zip_files(self._zip()[0], tally), tally))

    def open(self, name: str) -> IO[bytes]:
        """One member, to be closed by the caller. Raises FileNotFoundError."""
        archive, files = self._zip()
        if name not in files:
            raise FileNotFoundError(f"no {name} in {self.path}")
        return _open_member(archive, files[name])

    def fingerprint(self) -> str:
        """The SHA-256 of names, sizes and CRC-32 of the images and the metadata."""
        places = metadata_places(self.image_names())
        used = ((name, file) for name, file in sorted(self._zip()[1].items()) if name in places or is_image_name(name))
        return _digest((name, file.file_size, file.CRC) for name, file in used)

    def _zip(self) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
        """The ZIP, and its files by name."""
        # Two threads may both find nothing and open twice; each uses its own, the later stays. No lock to fork in.
        opened = self._opened
        if opened is None or opened[0] != os.getpid():
            archive = _open_zip(self.path)
            self._opened = opened = (os.getpid(), archive, _zip_files(archive, Tally()))
        return opened[1:]

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_opened": None}


def _open_zip(path: Path) -> zipfile.ZipFile:
    """Names are UTF-8, also where the ZIP forgets to say so, as those of Unix do; where they cannot be, they are DOS's."""
    file: Any = GuardedFile(path.open("rb"), _DIRECTORY_BYTES, "the directory of a ZIP")
    try:
        return zipfile.ZipFile(file, metadata_encoding="utf-8")
    except UnicodeDecodeError:
        return zipfile.ZipFile(file)


def open_storage(path: Path) -> FolderStorage | ZipStorage:
    """The files behind an archive's path. Raises `UserError` where there is neither a folder nor a ZIP."""
    if path.is_dir():
        return FolderStorage(path)
    if not path.exists():
        raise UserError(
            f"there is no archive {path}{nearest_path(path)}; `stylegan prepare SOURCE {path}` makes one of a folder of images"
        )
    require_regular_file(path, "archive")
    if path.suffix.lower() != ".zip" and not zipfile.is_zipfile(path):
        raise UserError(f"{path} is neither a ZIP nor a folder; give an archive that `stylegan prepare` wrote")
    return ZipStorage(path)


class Storage(Protocol):
    """Files by name: what `read_metadata` needs of a folder, a ZIP or something else."""

    path: Path

    def open(self, name: str) -> IO[bytes]:
        """One file, to be closed by the caller. Raises FileNotFoundError."""
        ...


def read_metadata(storage: Storage, names: Sequence[str] = ()) -> tuple[dict[str, Any], ArchiveInfo]:
    """The content of `dataset.json` ({} where there is none), and what it says about the archive.

    Labels in any of the `LABEL_FORMS` are `[(name, label), ...]` under the key `labels`.

    Args:
        storage: The archive.
        names: Of its images; the file may also lie in a folder in which all of them lie.

    Raises:
        UserError: The file is damaged.
    """
    with refusal(f"{METADATA} in {storage.path} cannot be used", "mend it or prepare the archive again"):
        try:
            file = _open_metadata(storage, names)
        except FileNotFoundError:
            return {}, ArchiveInfo()
        with file:
            limit = _METADATA_SPARE + _METADATA_PER_IMAGE * len(names)
            data = parse_json(read_bounded(file, limit, f"a {METADATA} for {len(names)} images"))
        if isinstance(data, dict) and "labels" not in data:
            if not any(map(is_image_name, data)):  # it is about other things
                return data, ArchiveInfo.from_json(data)
            data = {"labels": data}
        pairs = label_pairs(data)
        data = data if isinstance(data, dict) else {}
        return {**data, "labels": pairs}, ArchiveInfo.from_json(data)


def _open_metadata(storage: Storage, names: Sequence[str]) -> IO[bytes]:
    """`dataset.json`, to be closed by the caller. Raises FileNotFoundError."""
    for place in metadata_places(names):
        with contextlib.suppress(FileNotFoundError):
            return storage.open(place)
    raise FileNotFoundError(f"no {METADATA} in {storage.path}")


def _open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    """A member of a ZIP. Raises `UnreadableError` for what zipfile unpacks as a whole: bzip2 makes gigabytes of kilobytes."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnreadableError("it is neither stored nor deflated in the ZIP; unpack that, and pack it again")
    return archive.open(info)


def _zip_files(archive: zipfile.ZipFile, tally: Tally) -> dict[str, zipfile.ZipInfo]:
    """The files of a ZIP by their clean names; see `files_among`."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    files = files_among((_zip_member(archive, info) for info in infos), tally, backslashes=True)
    return {name: infos[number] for name, number in files.items()}


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    """A member of a ZIP; the content of a link, as Unix packs it, is where it leads to."""
    if not stat.S_ISLNK(info.external_attr >> 16):
        return Member(info.filename)
    try:
        with _open_member(archive, info) as file:
            return Member(info.filename, link=file.read(_LONGEST_PATH).decode())
    except BROKEN_IMAGE:  # UnicodeDecodeError among them
        return Member(info.filename, link="")


def _digest(rows: Iterable[tuple[str, int, int]]) -> str:
    """The SHA-256 of a table of files."""
    digest = hashlib.sha256()
    for name, *numbers in rows:
        digest.update(f"{name}\0{numbers}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _size_and_time(path: Path) -> tuple[int, int]:
    """Bytes and time of a file; (-1, 0) where it is a link that leads to none, as reading it tells."""
    try:
        state = path.stat()
    except OSError:
        return -1, 0
    return state.st_size, state.st_mtime_ns


def _shape(resolution: tuple[int, int], channels: int) -> str:
    H, W = resolution
    return f"{W}x{H} with {channels} channel{'s' * (channels != 1)}"

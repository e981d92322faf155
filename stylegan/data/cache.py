"""The decoded images of an archive in one file beside it: a batch is then read, not decoded.

The cache of `faces.zip` is `faces.zip.cache-FINGERPRINT.safetensors`: the tensor `images`, uint8 [N, C, H, W], all of
the archive's images in archive order, whatever a run uses of them. It is made once, whole or not at all, by whoever
comes first; other ranks and runs wait for it and share the pages that the system keeps of it. It is read, not mapped: a
file that becomes shorter kills whoever has it mapped (SIGBUS), and a reader is told. While it is made, the archive's
content hash is computed and compared with what the archive says. An archive with another fingerprint
(`stylegan.data.archive`) gets a new cache, and the old one is removed.
"""

import json
import os
import shutil
from math import prod
from pathlib import Path

import numpy as np
import torch
from filelock import Timeout
from rich.console import Console
from rich.progress import track
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stylegan.data.archive import ImageDataset
from stylegan.errors import UserError, say
from stylegan.files import atomic_path, file_lock

SPARE = 0.1  # of the cache's size is left free on the disk


class NoCacheError(Exception):
    """A cache cannot be kept here, through no fault in the data; the message says why. Images can be decoded instead."""


class PixelCache:
    """The images of a data set, batch by batch, for one thread.

    Args:
        path: The file, which ends with all of the archive's images, uint8 [N, C, H, W].
        dataset: Which of them are used, whether mirrored, and their labels.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path, dataset: ImageDataset) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)
        self._start = os.fstat(self._file.fileno()).st_size - prod(dataset.shape)
        self._rows = dataset.rows.numpy()
        self._dataset = dataset

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The images and labels `indices`, int64 [n] in 0 .. len(dataset) - 1, as the data set itself gives them.

        Returns:
            Images uint8 [n, C, H, W], labels float32 [n, label_dim], both in memory of their own.

        Raises:
            UserError: The file was cut short since it was opened, or cannot be read any more.
        """
        chosen = indices.numpy()  # numpy takes less time than torch to begin with something small
        images = torch.empty([len(chosen), *self._dataset.shape[1:]], dtype=torch.uint8)
        self._fill(images, self._rows[chosen % len(self._rows)].tolist())
        if self._dataset.xflip:
            # One by one while an image is still in the processor's cache: faster than to gather, turn and scatter them.
            for i in np.flatnonzero(chosen >= len(self._rows)).tolist():
                images[i] = images[i].flip(-1)
        return images, self._dataset.labels(indices)

    def _fill(self, images: Tensor, rows: list[int]) -> None:
        """Read the archive's images of these numbers."""
        into = images.numpy().data.cast("B")
        size = len(into) // len(rows)
        try:
            for i, row in enumerate(rows):
                self._file.seek(self._start + row * size)
                done, end = i * size, (i + 1) * size
                while done < end:
                    if not (read := self._file.readinto(into[done:end])):
                        raise OSError("it was cut short meanwhile")
                    done += read
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be read any more ({error.strerror or error}); a new start makes it anew, data.cache=false "
                "does without it"
            ) from error


def cache_of(dataset: ImageDataset) -> PixelCache:
    """Open the cache of a data set; make it where it is missing, stale or damaged. Many processes may call this at once.

    Raises:
        NoCacheError: The disk is too small, or the archive's folder cannot be written to.
        UserError: The archive holds damaged images or other pixels than it says, or the disk became full meanwhile.
    """
    archive = dataset.path.resolve()
    path = archive.with_name(f"{archive.name}.cache-{dataset.fingerprint[:16]}.safetensors")
    cache = _open(path, dataset)
    if cache is None:
        lock = file_lock(path.with_name(f".{archive.name}.cache.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"waiting for another process that makes {path}")
            lock.acquire(timeout=-1)
        except OSError as error:
            raise NoCacheError(f"{archive.parent} cannot be written to: {error.strerror}") from error
        try:
            cache = _open(path, dataset)  # another process may have made it meanwhile
            if cache is None:
                _remove_old(archive)
                _make(path, dataset)
                cache = _open(path, dataset)
        finally:
            lock.release()
    assert cache is not None, f"{path} was written and cannot be read"
    return cache


def _open(path: Path, dataset: ImageDataset) -> PixelCache | None:
    """The cache in a file; None where there is no file, or not a whole one of this data set."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        say(f"{path} is a link, a pipe or a folder, which no cache is; it is made anew")
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            images, metadata = file.get_slice("images"), file.metadata() or {}
            shape = tuple(images.get_shape()) if images.get_dtype() == "U8" else ()
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError) as error:
        say(f"{path} is damaged ({error}); it is made anew")
        return None
    content_hash = metadata.get("content_hash", "")
    if shape != dataset.shape or len(content_hash) != 64 or dataset.info.content_hash not in ("", content_hash):
        say(f"{path} is not a cache of {dataset.path}; it is made anew")
        return None
    dataset.accept_hash(content_hash)
    return PixelCache(path, dataset)


def _remove_old(archive: Path) -> None:
    """Remove caches of what the archive was before, and what a killed process left; the caller holds the lock."""
    for old in archive.parent.iterdir():
        if old.name.removeprefix(".").startswith(f"{archive.name}.cache-") and old.suffix == ".safetensors":
            old.unlink()


def _make(path: Path, dataset: ImageDataset) -> None:
    size = prod(dataset.shape)
    free = shutil.disk_usage(path.parent).free
    if free < size * (1 + SPARE):
        raise NoCacheError(
            f"they would take {size / 2**30:.2f} GiB beside the archive, where {free / 2**30:.2f} GiB are free"
        )
    say(f"decoding {dataset.path} once into {path}, {size / 2**30:.2f} GiB (data.cache=false does without)")
    console = Console(stderr=True)
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            file.write(_header(dataset, "0" * 64))
            for pixels in track(
                dataset.verified_pixels(), "caching", dataset.shape[0], console=console, disable=not console.is_terminal
            ):
                file.write(pixels.transpose(2, 0, 1).tobytes())
            file.seek(0)
            file.write(_header(dataset, dataset.content_hash))  # of the same length, now that the hash is known
    except UserError as error:
        if isinstance(error.__cause__, OSError):
            raise UserError(f"{error}; make room, or train without this cache: data.cache=false") from error
        raise


def _header(dataset: ImageDataset, content_hash: str) -> bytes:
    """The beginning of a safetensors file: the length of a JSON text as little-endian uint64, and that text."""
    images = {"dtype": "U8", "shape": dataset.shape, "data_offsets": [0, prod(dataset.shape)]}
    text = json.dumps({"__metadata__": {"content_hash": content_hash}, "images": images}).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text

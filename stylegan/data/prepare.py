"""Writing archives: images from a folder, or rendered faces, made alike and stored with their labels and origin.

Three steps, which every source shares: iterate over the source, convert each image in a pool of threads (PIL decodes,
resizes and encodes without holding the interpreter's lock), and write in order with `ArchiveWriter`.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from stylegan.data.archive import (
    BROKEN_IMAGE,
    ArchiveInfo,
    FolderStorage,
    check_resolution,
    match_labels,
    open_storage,
    read_metadata,
)
from stylegan.data.convert import (
    MODE_OF_CHANNELS,
    Fit,
    ResizeFilter,
    convert_pixels,
    encode_png,
    fit_image,
    image_array,
)
from stylegan.data.faces3d import (
    LICENCE,
    MAX_RESOLUTION,
    MIN_RESOLUTION,
    SOURCE,
    VERSION,
    dataset_name,
    default_archive,
    iterate_faces,
)
from stylegan.data.faces3d_looks import SPLITS
from stylegan.data.writer import ArchiveWriter
from stylegan.errors import UserError, nearest

FACES3D = "faces3d"
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class FolderOptions:
    """How `prepare_folder` makes an archive.

    Attributes:
        resolution: (H, W) of the archive; None with `Fit.NONE` only: that of the first image.
        fit: How images of another shape are made to fit.
        filter: How images are scaled.
        channels: 1 (grey), 3 (RGB, transparency on white) or 4 (RGBA).
        labels: The first sub-folder's name is the class. Else the labels of the source's `dataset.json`, if any, stay.
        workers: Threads; 0: one per core.
        strict: Stop at the first image that cannot be used, instead of leaving it out.
        overwrite: Replace an archive that is there.
        name, origin, licence: Recorded in the archive; by default what the source says, else its folder's name.
    """

    resolution: tuple[int, int] | None
    fit: Fit = Fit.COVER
    filter: ResizeFilter = ResizeFilter.LANCZOS
    channels: int = 3
    labels: bool = False
    workers: int = 0
    strict: bool = False
    overwrite: bool = False
    name: str = ""
    origin: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if self.channels not in MODE_OF_CHANNELS:
            raise UserError(f"channels={self.channels} must be 1 (grey), 3 (RGB) or 4 (RGBA)")
        if self.resolution is None and self.fit is not Fit.NONE:
            raise UserError(f"fit={self.fit} needs a resolution, such as 64x64; with fit=none images stay as they are")
        if self.resolution is not None:
            check_resolution(*self.resolution, "the resolution asked for")
        _threads(self.workers)


@dataclass(frozen=True)
class FacesOptions:
    """Which rendered faces `prepare_faces3d` makes an archive of.

    Attributes:
        resolution: Pixels of a side.
        count: Number of faces.
        seed: Another seed gives other faces.
        split: `train`, `test` or `evaluation`: disjoint for one seed.
        workers: Threads; 0: one per core.
        overwrite: Replace an archive that is there.
    """

    resolution: int = 64
    count: int = 10000
    seed: int = 0
    split: str = "train"
    workers: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UserError(f"count={self.count} must be at least 1")
        check_resolution(self.resolution, self.resolution, "the resolution asked for")
        if not MIN_RESOLUTION <= self.resolution <= MAX_RESOLUTION:
            raise UserError(f"resolution={self.resolution} of faces3d must be {MIN_RESOLUTION} to {MAX_RESOLUTION}")
        if self.split not in SPLITS:
            raise UserError(f"split={self.split!r} is not a part of faces3d; {nearest(self.split, SPLITS)}")
        _threads(self.workers)


@dataclass(frozen=True)
class Prepared:
    """What became of a source: the archive's path and length, and the images left out with the reason of each."""

    path: Path
    count: int
    skipped: tuple[tuple[str, str], ...] = ()


def prepare_folder(source: str | Path, dest: str | Path, options: FolderOptions) -> Prepared:
    """Make an archive of all images in a folder and its sub-folders, in the order of their names.

    Images are turned as their EXIF data says and converted, cropped and scaled as `options` say. One that cannot be
    used is reported on stderr with the reason and left out.

    Raises:
        UserError: `source` is no folder or holds no usable image, `dest` is there or cannot be written, labels are
            missing, or with `strict` an image cannot be used.
    """
    source, dest = Path(source), Path(dest)
    if not source.is_dir():
        raise UserError(f"{source} is not a folder of images; give one" + (", or unpack it first" * source.is_file()))
    if dest.resolve() in (source.resolve(), *source.resolve().parents):
        raise UserError(f"the archive {dest} would replace the folder {source} that it is made of; give another place")
    storage = FolderStorage(source)
    names = storage.image_names()
    if not names:
        raise UserError(f"{source} holds no images (PNG, JPEG, WebP, TIFF ...)")
    labels, info = _labels_and_info(storage, names, options)

    def convert(name: str) -> tuple[np.ndarray, bytes] | str:
        try:
            with storage.open(name) as file, Image.open(file) as opened:
                image = fit_image(
                    convert_pixels(opened, options.channels), options.resolution, options.fit, options.filter
                )
        except BROKEN_IMAGE as error:
            return str(error) or type(error).__name__
        pixels = image_array(image)
        return pixels, encode_png(pixels)

    skipped: list[tuple[str, str]] = []
    with (
        ArchiveWriter(dest, info, overwrite=options.overwrite) as writer,
        closing(_in_parallel(convert, names, options.workers)) as results,
        _progress("preparing", len(names)) as (console, advance),
    ):
        for name, converted, label in zip(names, results, labels, strict=True):
            reason = converted if isinstance(converted, str) else _misfit(converted[0], writer, options)
            if not reason and not isinstance(converted, str):
                writer.add(*converted, label)
            elif options.strict:
                raise UserError(f"{source / name}: {reason}; mend or remove it, or leave --strict out to skip such")
            else:
                console.print(f"skipped {source / name}: {reason}", markup=False, highlight=False, soft_wrap=True)
                skipped.append((name, reason))
            advance()
    return Prepared(dest, len(writer), tuple(skipped))


def prepare_faces3d(dest: str | Path, options: FacesOptions) -> Prepared:
    """Render faces with their attributes into an archive, without labels.

    Raises:
        UserError: `dest` is there or cannot be written, the split does not exist, or the renderer cannot be built.
    """

    def encode(face: tuple[np.ndarray, Mapping[str, Any]]) -> tuple[np.ndarray, bytes, Mapping[str, Any]]:
        pixels, attributes = face[0].transpose(1, 2, 0), face[1]
        return pixels, encode_png(pixels), attributes

    info = ArchiveInfo(
        name=dataset_name(),
        source=SOURCE,
        licence=LICENCE,
        crop="rendered",
        resize_filter="none",
        made_with=_faces_made_with(options),
    )
    threads = _threads(options.workers)
    faces = iterate_faces(options.count, options.resolution, split=options.split, seed=options.seed, threads=threads)
    with (
        ArchiveWriter(dest, info, overwrite=options.overwrite) as writer,
        closing(_in_parallel(encode, faces, options.workers)) as results,
        _progress(f"rendering {dataset_name()}", options.count) as (_, advance),
    ):
        for pixels, encoded, attributes in results:
            writer.add(pixels, encoded, attributes=attributes)
            advance()
    return Prepared(Path(dest), len(writer))


def ensure_faces3d(
    path: str | Path | None = None, *, resolution: int, count: int, seed: int = 0, split: str = "train"
) -> Path:
    """The path of an archive of rendered faces, which is made at the first call.

    Several processes may call it at once: one renders, the others wait.

    Args:
        path: The archive; by default one in `datasets/prepared/` whose name tells the other arguments.
        resolution, count, seed, split: See `FacesOptions`.

    Raises:
        UserError: The archive is there, but holds something else; or see `prepare_faces3d`.
    """
    options = FacesOptions(resolution=resolution, count=count, seed=seed, split=split)
    path = default_archive(resolution, count, split=split, seed=seed) if path is None else Path(path)
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(path):
                if not path.exists():
                    prepare_faces3d(path, options)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}; mend its folder's permissions") from None
    _, info = read_metadata(open_storage(path))
    if (info.count, dict(info.made_with)) != (count, _faces_made_with(options)):
        raise UserError(
            f"{path} holds {info.count} images made with {dict(info.made_with)}, not {count} with "
            f"{_faces_made_with(options)}; remove it, or name another path"
        )
    return path


def _labels_and_info(
    storage: FolderStorage, names: list[str], options: FolderOptions
) -> tuple[Sequence[int | list[float] | None], ArchiveInfo]:
    """A label or None for each of the source's images, and what to record about the archive."""
    metadata, source = read_metadata(storage)
    labels: Sequence[int | list[float] | None] = [None] * len(names)
    class_names = source.class_names
    if options.labels:
        loose = [name for name in names if "/" not in name]
        if loose:
            raise UserError(
                f"{loose[0]} lies in {storage.path} itself: with --labels every image lies in a sub-folder, whose name "
                "is its class"
            )
        class_names = tuple(sorted({name.split("/")[0] for name in names}))
        labels = [class_names.index(name.split("/")[0]) for name in names]
    elif metadata.get("labels"):
        labels = match_labels(metadata["labels"], names, storage.path)
    info = ArchiveInfo(
        name=options.name or source.name or storage.path.resolve().name,
        source=options.origin or source.source,
        licence=options.licence or source.licence,
        crop=options.fit.value,
        resize_filter="none" if options.fit is Fit.NONE else options.filter.value,
        class_names=class_names,
    )
    return labels, info


def _misfit(pixels: np.ndarray, writer: ArchiveWriter, options: FolderOptions) -> str:
    """Why an image does not go with the others; empty if it does. Only images left as they are can be misfits."""
    H, W = pixels.shape[:2]
    expected = options.resolution or (writer.shape[:2] if writer.shape else (H, W))
    if writer.shape is None:
        check_resolution(*expected, "the first image")
    if expected == (H, W):
        return ""
    return f"is {W}x{H}, not {expected[1]}x{expected[0]}; --fit cover would crop and scale it"


def _faces_made_with(options: FacesOptions) -> dict[str, Any]:
    return {
        "renderer": f"{dataset_name()} v{VERSION}",
        "resolution": options.resolution,
        "seed": options.seed,
        "split": options.split,
    }


def _threads(workers: int) -> int:
    """How many threads `workers` stands for. Raises `UserError` where it is negative."""
    if workers < 0:
        raise UserError(f"workers={workers} must be 0 (one per core) or more")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return workers or cores


def _in_parallel(function: Callable[[_Item], _Result], items: Iterable[_Item], workers: int) -> Generator[_Result]:
    """`map` over threads: results in order, with few of them waiting in memory. Closing it drops what has not begun."""
    threads = _threads(workers)
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[_Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 8 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.0f}/s")


@contextmanager
def _progress(title: str, total: int) -> Iterator[tuple[Console, Callable[[], None]]]:
    """A progress bar on stderr. Yields the console to print on meanwhile, and what to call after each image."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total)
        yield console, lambda: progress.advance(task)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock beside `path`, which a crash of the holder frees."""
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        Console(stderr=True).print(f"waiting for another process that makes {path}", soft_wrap=True, highlight=False)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()

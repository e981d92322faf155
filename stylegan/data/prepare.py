"""Making archives: images from a folder, ZIP, TAR or LMDB, or rendered faces, stored with their labels and origin.

Three steps, which every source shares: iterate over the source, convert each image in a pool of threads, and write in
order with `ArchiveWriter`. What an interrupted run left is read back instead of made again, and else treated alike.
"""

import contextlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import Timeout
from PIL import Image, UnidentifiedImageError
from rich.console import Console

from stylegan.data.align import crop_face, face_square
from stylegan.data.archive import (
    ArchiveInfo,
    check_resolution,
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
    is_enlarged,
)
from stylegan.data.deep_pixels import FULL, Levels, has_sixteen_bits, used_bits
from stylegan.data.duplicates import near_duplicates, picture_hash
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
from stylegan.data.image_files import BROKEN_IMAGE, IMAGE_PIXELS, open_image
from stylegan.data.image_warnings import Collect, kept_warnings
from stylegan.data.labelling import Labelling, label_images
from stylegan.data.landmarks import Landmarks, open_landmarks
from stylegan.data.parallel import Turns, in_parallel, progress, thread_count
from stylegan.data.partial import Entry, Plan, report_path
from stylegan.data.selection import Tally
from stylegan.data.sources import Chosen, Reader, Source, attributes_by_name, open_source
from stylegan.data.writer import ArchiveWriter
from stylegan.errors import UserError, nearest, say
from stylegan.files import atomic_write, file_lock
from stylegan.memory import check_memory
from stylegan.rng import generator

_TOO_SMALL = "smaller than --min-size"
BYTES_OF_A_FACE = 200  # of its name and attributes, while an archive is made
_DARK_BITS = 14  # an image that uses no more of its 16 has no pixel brighter than a quarter


@dataclass(frozen=True)
class ImageOptions:
    """How `prepare_images` makes an archive.

    Attributes:
        resolution: (H, W) of the archive; None with `Fit.NONE` only: that of the first image.
        fit: How images of another shape are made to fit.
        filter: How images are scaled.
        channels: 1 (grey), 3 (RGB, transparency on white) or 4 (RGBA).
        align: Crop faces as FFHQ does: a file of landmarks, or a detector; see `open_landmarks`.
        labels: The first sub-folder's name is the class. Else the labels that the source brings along, if any, stay.
        labels_file: A JSON or CSV file of labels; see `read_named`.
        count: Only the source's first so many images.
        count_per_class: Only the first so many of each class; one of the two.
        shuffle: Take images in a random order, so that `count` is a sample.
        seed: Another one gives another order.
        min_size: (H, W) that an image must have at least, after it is turned upright; of an aligned face, its square.
        max_pixels: How many an image may have; large ones are converted one at a time.
        levels: What is black and white in pixels of 16 or 32 bits; None: the bits that the brightest one needs.
        workers: Threads; 0: one per core.
        strict: Stop at the first image that cannot be used, instead of leaving it out.
        overwrite: Replace an archive that is there.
        name, origin, licence: Recorded in the archive; by default what the source says, else its file's name.
    """

    resolution: tuple[int, int] | None
    fit: Fit = Fit.COVER
    filter: ResizeFilter = ResizeFilter.LANCZOS
    channels: int = 3
    align: str = ""
    labels: bool = False
    labels_file: Path | None = None
    count: int | None = None
    count_per_class: int | None = None
    shuffle: bool = False
    seed: int = 0
    min_size: tuple[int, int] | None = None
    max_pixels: int = IMAGE_PIXELS
    levels: Levels | None = FULL
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
        if self.align and (self.resolution is None or self.fit is Fit.NONE):
            raise UserError("--align crops and scales faces, so it needs --resolution, and no --fit none")
        for count in (self.count, self.count_per_class):
            if count is not None and count < 1:
                raise UserError(f"count={count} must be at least 1")
        if self.count is not None and self.count_per_class is not None:
            raise UserError("count is one for all images or one for each class; give one of the two")
        if self.resolution is not None:
            check_resolution(*self.resolution, "the resolution asked for")
        thread_count(self.workers)


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
        thread_count(self.workers)


@dataclass(frozen=True)
class Prepared:
    """What became of a source.

    Attributes:
        path: The archive.
        count: Its images.
        skipped: Name and reason of each image that could not be used.
        duplicates: Of each image that is near to an earlier one, its name and the earlier one's. They stay in.
        report: The file that lists both and the tally, where there is something to list.
        tally: Counts all that was not taken, the skipped among it, and what is said of images that were.
    """

    path: Path
    count: int
    skipped: tuple[tuple[str, str], ...] = ()
    duplicates: tuple[tuple[str, str], ...] = ()
    report: Path | None = None
    tally: Tally = field(default_factory=Tally)


@dataclass
class _Progress:
    """What has become of the images so far."""

    tally: Tally
    kept: list[str] = field(default_factory=list)
    hashes: list[np.ndarray] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Job:
    """One image to be made, or to be read back: its name, and what reads it or what an earlier run noted about it."""

    name: str
    todo: Reader | Entry


@dataclass(frozen=True)
class _Made:
    """One image: pixels, uint8 [H, W, C], and PNG; or the reason why there is none. `retained`: it is stored already.

    `kind` and `notes` as of `Entry`.
    """

    pixels: np.ndarray | None = None
    encoded: bytes = b""
    reason: str = ""
    kind: str = ""
    notes: Sequence[Sequence[str]] = ()
    retained: bool = False
    hash: np.ndarray | None = None


def prepare_images(source: str | Path, dest: str | Path, options: ImageOptions) -> Prepared:
    """Make an archive of all images of a folder (and its sub-folders), ZIP, TAR or LMDB; see `open_source`.

    Images are turned as their EXIF data says and converted, cropped and scaled as `options` say. One that cannot be
    used is reported on stderr with the reason and left out. Beside the archive, `NAME.report.json` lists by reason what was
    not taken, what is to be said of what was, and which images are near-duplicates, if any. What an archive knows about its
    images stays. A run that was interrupted goes on where it stopped.

    Raises:
        UserError: `source` holds no usable image, `dest` is there, is being written or cannot be written, labels are
            missing or of mixed kinds, the disk is full, or with `strict` an image cannot be used.
    """
    dest = Path(dest)
    whole = open_source(source)
    if dest.resolve() in (whole.path.resolve(), *whole.path.resolve().parents):
        raise UserError(f"the archive {dest} would replace {whole.path}, which it is made of; give another place")
    attributes = attributes_by_name(whole)
    images = _chosen(whole, options)
    labelling = label_images(images, from_folders=options.labels, file=options.labels_file)
    for note in labelling.notes:
        say(note)
    landmarks = open_landmarks(options.align, images.names) if options.align else None
    done = _Progress(images.tally)
    turns = Turns(IMAGE_PIXELS)
    with kept_warnings() as collect:
        levels = options.levels or _measured_levels(images, options, collect)
        plan = Plan(_made_from(images, options, levels), [(name, images.signature(name)) for name in images.names])
        info = _info(images, options, labelling, levels)
        with (
            ArchiveWriter(dest, info, overwrite=options.overwrite, plan=plan) as writer,
            closing(
                in_parallel(
                    lambda job: _make(job, writer, options, levels, landmarks, collect, turns),
                    _jobs(images, writer.taken_up),
                    options.workers,
                )
            ) as results,
            progress("preparing", len(images.names)) as (console, advance),
        ):
            if writer.taken_up:
                say(f"going on after {len(writer.taken_up)} images of an interrupted run", console)
            for name, made, label in zip(images.names, results, labelling.labels, strict=True):
                _add(name, made, label, attributes.get(name), writer, options, done, console)
                advance()
    duplicates = tuple((done.kept[i], done.kept[j]) for i, j in near_duplicates(done.hashes))
    report = _report(images, dest, done, duplicates)
    return Prepared(dest, len(done.kept), tuple(done.skipped), duplicates, report, done.tally)


def _chosen(images: Source, options: ImageOptions) -> Source:
    """The images that `options` ask for, in their order."""
    order = list(range(len(images.names)))
    if options.shuffle:
        order = torch.randperm(len(order), generator=generator(options.seed, "data/shuffle")).tolist()
    kept = order[: options.count]
    if options.count_per_class is not None:
        shuffled = Chosen(images, order)
        labels = label_images(shuffled, from_folders=options.labels, file=options.labels_file).labels
        if not all(isinstance(label, int) for label in labels):
            raise UserError(
                f"a count per class needs a class for each image of {images.path}: give --labels or --labels-from, or one "
                "count for all"
            )
        seen: Counter[Any] = Counter()
        kept = []
        for i, label in zip(order, labels, strict=True):
            seen[label] += 1
            if seen[label] <= options.count_per_class:
                kept.append(i)
    within = set(kept)
    for i in order if len(kept) < len(order) else ():
        if i not in within:
            images.tally.leave("beyond --count", images.names[i])
    return images if kept == list(range(len(order))) else Chosen(images, kept)


def _measured_levels(images: Source, options: ImageOptions, collect: Collect) -> Levels:
    """From 0 to the largest number with as many bits as the brightest pixel of 16 bits in any image needs."""

    def bits(read: Reader) -> int:
        with collect():  # what Pillow warns of is told when the image is converted
            return _bits(read)

    most = 0
    with (
        closing(in_parallel(bits, images.readers(range(len(images.names))), options.workers)) as results,
        progress("measuring", len(images.names)) as (_, advance),
    ):
        for found in results:
            most = max(most, found)
            advance()
    return Levels(0, 2 ** max(most, 8) - 1) if 0 < most < 16 else FULL


def _bits(read: Reader) -> int:
    """See `used_bits`; also 0 for what is damaged, which is told when it is converted."""
    try:
        with open_image(io.BytesIO(read())) as image:
            return used_bits(image)
    except BROKEN_IMAGE:
        return 0


def _jobs(images: Source, taken_up: tuple[Entry, ...]) -> Iterator[_Job]:
    jobs = chain(taken_up, images.readers(range(len(taken_up), len(images.names))))
    return (_Job(name, todo) for name, todo in zip(images.names, jobs, strict=False))


def _make(
    job: _Job,
    writer: ArchiveWriter,
    options: ImageOptions,
    levels: Levels,
    landmarks: Landmarks | None,
    collect: Collect,
    turns: Turns,
) -> _Made:
    """Read and convert one image, or read back what an interrupted run made of it. Runs in several threads."""
    with collect() as warned:
        if isinstance(job.todo, Entry):
            return _read_back(job.todo, writer)
        with ExitStack() as stack:
            made = _converted(
                job.name,
                job.todo,
                options,
                levels,
                landmarks,
                lambda pixels: stack.enter_context(turns.taken(pixels)),
            )
    texts = list(dict.fromkeys(warned))
    if made.reason:
        return replace(made, reason="; ".join([made.reason, *texts]))
    return replace(made, notes=[*made.notes, *(["with warnings of Pillow", text] for text in texts)])


def _read_back(entry: Entry, writer: ArchiveWriter) -> _Made:
    """What an interrupted run made of an image."""
    if entry.reason:
        return _Made(reason=entry.reason, kind=entry.kind, retained=True)
    with open_image(io.BytesIO(writer.read(entry))) as stored:
        pixels = image_array(stored)
    return _Made(pixels, notes=entry.notes, retained=True, hash=picture_hash(pixels))


def _converted(
    name: str,
    read: Reader,
    options: ImageOptions,
    levels: Levels,
    landmarks: Landmarks | None,
    wait: Callable[[int], None],
) -> _Made:
    """Read and convert one image; `wait` is told its pixels before they are decoded."""
    kind = "damaged or of no known kind"
    try:
        data = read()
        with open_image(io.BytesIO(data), options.max_pixels) as opened:
            wait(opened.width * opened.height)
            deep = has_sixteen_bits(opened) and not levels.given
            image = convert_pixels(opened, options.channels, levels)
        bits = _bits(lambda: data) if deep else 0
        size: tuple[float, float] = image.size
        if landmarks is not None and options.resolution is not None:
            kind = "without a face to align"
            points = landmarks(name, image)
            side = face_square(points).side
            size = (side, side)
            image = crop_face(image, points, max(options.resolution))
    except UnidentifiedImageError:  # whose message names an object in memory
        return _Made(reason="it is no image of a known kind", kind=kind)
    except BROKEN_IMAGE as error:
        return _Made(reason=str(error) or type(error).__name__, kind=kind)
    if options.min_size is not None and (size[0] < options.min_size[1] or size[1] < options.min_size[0]):
        return _Made(reason=f"is {int(size[0])}x{int(size[1])}", kind=_TOO_SMALL)
    notes: list[list[str]] = []
    if is_enlarged(size, options.resolution, options.fit):
        notes.append(["enlarged", f"from {int(size[0])}x{int(size[1])}"])
    if 0 < bits <= _DARK_BITS:
        notes.append([f"dark since they use {bits} of 16 bits (see --range)", ""])
    pixels = image_array(fit_image(image, options.resolution, options.fit, options.filter))
    return _Made(pixels, encode_png(pixels), notes=notes, hash=picture_hash(pixels))


def _add(
    name: str,
    made: _Made,
    label: int | list[float] | None,
    attributes: Mapping[str, Any] | None,
    writer: ArchiveWriter,
    options: ImageOptions,
    done: _Progress,
    console: Console,
) -> None:
    """Put one image into the archive, or report why it is left out."""
    reason, kind = (
        (made.reason, made.kind) if made.reason else (_misfit(made.pixels, writer, options), "of another size")
    )
    if reason and options.strict and kind != _TOO_SMALL:
        raise UserError(f"{name}: {reason}; mend or remove it, or leave --strict out to skip such")
    if reason:
        if not made.retained:
            writer.skip(reason, kind)
        say(f"skipped {name}: {reason}", console)
        done.skipped.append((name, reason))
        done.tally.leave(kind, name, reason)
        return
    assert made.pixels is not None and made.hash is not None, "an image without a reason has pixels"
    if made.retained:
        writer.retain(made.pixels, label)
    else:
        writer.add(made.pixels, made.encoded, label, attributes, made.notes)
    for what, detail in made.notes:
        done.tally.note(what, name, detail)
    done.kept.append(name)
    done.hashes.append(made.hash)


def _report(images: Source, dest: Path, done: _Progress, duplicates: tuple[tuple[str, str], ...]) -> Path | None:
    """Write the tally, what could not be used and which images are near-duplicates beside the archive, if there is any."""
    report = report_path(dest)
    if not done.tally.left and not done.tally.noted and not duplicates:
        with contextlib.suppress(OSError):  # of an earlier archive of this name
            report.unlink()
        return None
    content = {
        "archive": dest.name,
        "source": images.path.name,
        "count": len(done.kept),
        "skipped": [{"name": name, "reason": reason} for name, reason in done.skipped],
        **done.tally.report(),
        "near_duplicates": [{"name": name, "of": earlier} for name, earlier in duplicates],
    }
    atomic_write(report, json.dumps(content, indent=1) + "\n")
    return report


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
    check_memory(options.count * BYTES_OF_A_FACE, f"the attributes of {options.count} faces", "ask for fewer")
    plan = Plan(_faces_made_with(options), [(str(index), "") for index in range(options.count)])
    with ArchiveWriter(dest, info, overwrite=options.overwrite, plan=plan) as writer:
        for entry in writer.taken_up:
            with open_image(io.BytesIO(writer.read(entry))) as stored:
                writer.retain(image_array(stored))
        faces = iterate_faces(
            options.count - len(writer),
            options.resolution,
            split=options.split,
            seed=options.seed,
            threads=thread_count(options.workers),
            start=len(writer),
        )
        with (
            closing(in_parallel(encode, faces, options.workers)) as results,
            progress(f"rendering {dataset_name()}", options.count - len(writer)) as (_, advance),
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
    storage = open_storage(path)
    _, info = read_metadata(storage, storage.image_names())
    if (info.count, dict(info.made_with)) != (count, _faces_made_with(options)):
        raise UserError(
            f"{path} holds {info.count} images made with {dict(info.made_with)}, not {count} with "
            f"{_faces_made_with(options)}; remove it, or name another path"
        )
    return path


def _info(images: Source, options: ImageOptions, labelling: Labelling, levels: Levels) -> ArchiveInfo:
    """What to record about an archive."""
    made_with: dict[str, Any] = {}
    if options.align:
        made_with["align"] = Path(options.align).name
    if levels.given:
        made_with["range"] = [levels.low, levels.high]
    new_labels = options.labels or options.labels_file is not None
    entry_names = labelling.entry_names or (() if new_labels else images.info.made_with.get("label_names", ()))
    if entry_names:
        made_with["label_names"] = list(entry_names)
    return ArchiveInfo(
        name=options.name or images.info.name or images.path.resolve().name.split(".")[0],
        source=options.origin or images.info.source,
        licence=options.licence or images.info.licence,
        crop="ffhq" if options.align else options.fit.value,
        resize_filter="none" if options.fit is Fit.NONE else options.filter.value,
        class_names=labelling.class_names,
        made_with=made_with,
    )


def _made_from(images: Source, options: ImageOptions, levels: Levels) -> dict[str, Any]:
    """All that an image in the archive follows from, beside the image itself."""
    align = Path(options.align)
    return {
        "source": str(images.path.resolve()),
        "resolution": options.resolution,
        "fit": options.fit.value,
        "filter": options.filter.value,
        "channels": options.channels,
        "min_size": options.min_size,
        "max_pixels": options.max_pixels,
        "range": [levels.low, levels.high],
        "align": [options.align, align.stat().st_mtime_ns if align.is_file() else 0],
        "pillow": Image.__version__,
    }


def _misfit(pixels: np.ndarray | None, writer: ArchiveWriter, options: ImageOptions) -> str:
    """Why an image does not go with the others; empty if it does. Only images left as they are can be misfits."""
    assert pixels is not None, "an image without a reason has pixels"
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


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock beside `path`, which a crash of the holder frees."""
    lock = file_lock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"waiting for another process that makes {path}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()

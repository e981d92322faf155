"""From a data set's name to an endless stream of batches."""

import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from stylegan.data.archive import ImageDataset
from stylegan.data.cache import NoCacheError, PixelCache, cache_of
from stylegan.data.prepare import ensure_faces3d
from stylegan.data.sampler import image_indices
from stylegan.errors import UserError
from stylegan.values import COUNT, Range, check_values

FACES3D = "faces3d"
Pair = tuple[Tensor, Tensor]
"""Images and labels."""

_Here = TypeVar("_Here")
_There = TypeVar("_There")


@dataclass
class DataConfig:
    """Which images to train on."""

    path: str = field(
        default=FACES3D, metadata={"help": "an archive (ZIP or folder) of `stylegan prepare`, or faces3d"}
    )
    resolution: int = field(default=64, metadata={"help": "faces3d only: pixels of a side", "range": COUNT})
    count: int = field(
        default=10000, metadata={"help": "faces3d only: how many heads are rendered, at the first run", "range": COUNT}
    )
    use_labels: bool = field(default=False, metadata={"help": "train a conditional model on the archive's labels"})
    xflip: bool = field(default=False, metadata={"help": "add the mirror image of every image"})
    max_images: int | None = field(
        default=None, metadata={"help": "use only so many images; null: all", "range": COUNT}
    )
    cache: bool = field(
        default=True,
        metadata={"help": "keep decoded images in a file beside the archive, made once: loading is then free"},
    )
    workers: int = field(
        default=2,
        metadata={
            "help": "processes of a rank that decode ahead without the cache; 0: the trainer decodes",
            "range": Range(0, 256),
        },
    )

    def __post_init__(self) -> None:
        check_values(self, "data")


def open_dataset(source: DataConfig | str | Path) -> ImageDataset:
    """The images that a configuration or the path of an archive names.

    >>> image, label = stylegan.open_dataset("faces.zip")[0]  # uint8 [C, H, W], float32 [label_dim]

    faces3d is rendered to `datasets/prepared/` where it is not there yet.

    Raises:
        UserError: There is no such archive, or it is damaged.
    """
    config = source if isinstance(source, DataConfig) else DataConfig(path=str(source))
    path = Path(config.path)
    if config.path == FACES3D and not path.exists():
        path = ensure_faces3d(resolution=config.resolution, count=config.count)
    return ImageDataset(path, use_labels=config.use_labels, xflip=config.xflip, max_images=config.max_images)


def open_cache(config: DataConfig, dataset: ImageDataset) -> tuple[PixelCache | None, str]:
    """The cache of a data set's pixels, and a sentence that says whether and why there is one.

    Raises:
        UserError: The archive holds damaged images or other pixels than it says, or the disk became full.
    """
    try:
        if not config.cache:
            raise NoCacheError("data.cache=false")
        cache = cache_of(dataset)
    except NoCacheError as reason:
        how = f"{config.workers} processes a rank decode" if config.workers else "the trainer itself decodes"
        return None, f"images are not cached ({reason}): {how} them from {dataset.path} again and again"
    return cache, f"images come decoded from {cache.path}"


def image_batches(
    dataset: ImageDataset,
    cache: PixelCache | None,
    *,
    seed: int,
    course: Iterable[tuple[int, int]],
    places: Mapping[int, Sequence[int]],
    sets: int = 1,
    workers: int,
    device: torch.device,
) -> Generator[list[Pair]]:
    """One rank's share of every batch of a training. On a CUDA device the next batch is on its way while one is used.

    Args:
        dataset: Where images come from.
        cache: Their pixels; None: they are decoded by workers, which run ahead. The batches do not depend on it.
        seed: With the image count it gives the order.
        course, places, sets: Which images; see `image_indices`.
        workers: Processes that decode, where there is no cache; the order does not depend on them.
        device: Where the batches go.

    Yields:
        For each set images uint8 [places, C, H, W] and labels float32 [places, label_dim], on `device`.
    """
    indices = image_indices(len(dataset), seed, course, places, sets)
    cuda = device.type == "cuda"
    batches = map(cache.batch, indices) if cache is not None else _decoded(dataset, indices, workers, pin=cuda)
    there = one_ahead(batches, _CopyToCuda(device)) if cuda else map(partial(_moved, device), batches)
    yield from map(partial(_divided, sets), there)  # nothing here holds on to a batch


def _moved(device: torch.device, batch: Pair) -> Pair:
    images, labels = batch
    return images.to(device), labels.to(device)


def _divided(sets: int, batch: Pair) -> list[Pair]:
    images, labels = batch
    return list(zip(images.chunk(sets), labels.chunk(sets), strict=True))


def one_ahead(batches: Iterator[_Here], send: Callable[[_Here], Callable[[], _There]]) -> Generator[_There]:
    """Batches in another place, each of which is sent before the one before it is handed out: two at most are there.

    What goes wrong when a batch is fetched or sent is raised when it is due, and not at all if it is never asked for.

    Args:
        batches: Where they are now.
        send: Begins to send a batch, and returns what gives the batch there, when it is due.
    """

    def fetch() -> Callable[[], _There] | None:
        try:
            batch = next(batches, None)
            return None if batch is None else send(batch)
        except Exception as error:
            return partial(_throw, error)

    try:
        coming = fetch()
        while coming is not None:
            batch = coming()
            coming = fetch()
            yield batch
    finally:
        if isinstance(batches, Generator):  # when its frame would go depends on the version of Python
            batches.close()


def _throw(error: Exception) -> NoReturn:
    raise error


class _CopyToCuda:
    """Copies batches to a CUDA device from pinned memory, on a stream of its own: whatever computes there goes on."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)

    def __call__(self, batch: Pair) -> Callable[[], Pair]:
        with torch.cuda.stream(self._stream):  # pinning what the loader has pinned takes no time
            # PyTorch gives pinned memory to no one else before the copies from it have been made.
            images, labels = (t.pin_memory().to(self._device, non_blocking=True) for t in batch)
            copied = self._stream.record_event()

        def due() -> Pair:
            user = torch.cuda.current_stream(self._device)
            user.wait_event(copied)
            for tensor in (images, labels):  # their memory belongs to the other stream, which must not take it back yet
                tensor.record_stream(user)
            return images, labels

        return due


def _decoded(dataset: ImageDataset, indices: Iterator[Tensor], workers: int, pin: bool) -> Iterator[Pair]:
    """Batches that are decoded while others are trained on: each worker is two batches ahead (PyTorch's default)."""
    loader = DataLoader(
        _Reporting(dataset),
        batch_sampler=(chosen.tolist() for chosen in indices),  # pyright: ignore[reportArgumentType] (any iterable serves)
        num_workers=workers,
        collate_fn=_batch_or_error,
        pin_memory=pin,
        worker_init_fn=_leave_signals_to_the_trainer if workers else None,
    )
    others = set(active_children())
    batches = iter(loader)
    helpers = set(active_children()) - others
    with _deaths_told_by_batches():
        try:
            while True:
                batch, dead = None, list[BaseProcess]()
                try:
                    batch = next(batches)
                except StopIteration:
                    return
                except RuntimeError:
                    dead = [helper for helper in helpers if not helper.is_alive()]
                    if not dead:
                        raise
                if dead:  # outside of `except`: a traceback would keep the others alive
                    raise UserError(_obituary(dead[0].exitcode, workers))
                if isinstance(batch, UserError):
                    raise batch
                yield cast(Pair, batch)
        finally:
            del batches  # ends the workers


@contextmanager
def _deaths_told_by_batches() -> Iterator[None]:
    """Let a worker that was killed be told when its batch is due. PyTorch's handler of SIGCHLD raises an error wherever the
    trainer happens to be, in the middle of a step as well, where nothing of the state can be kept."""
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield  # it has no handler there
        return
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, handler)


def _obituary(exitcode: int | None, workers: int) -> str:
    number = -(exitcode or 0)
    how = f"was killed by {signal.Signals(number).name}" if number in set(signal.Signals) else f"ended ({exitcode})"
    return (
        f"one of {workers} processes that decode images {how}; a lack of memory, or of room in /dev/shm, is the usual reason: "
        "data.cache=true needs none of them, and fewer data.workers need less"
    )


class _Reporting(Dataset[Any]):
    """A data set that returns the errors a user can mend. Were they raised in a worker, PyTorch would turn its traceback into
    the message, and what it raises here would keep the workers alive until the interpreter's end."""

    def __init__(self, dataset: ImageDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, index: int) -> Any:
        try:
            return self._dataset[index]
        except UserError as error:
            return error.with_traceback(None)


def _batch_or_error(samples: list[Any]) -> Any:
    return next((sample for sample in samples if isinstance(sample, UserError)), None) or default_collate(samples)


def _leave_signals_to_the_trainer(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal, and torchrun's SIGTERM every process of a rank; workers must live until the
    trainer has finished its step. In a session of their own they hear of neither, and die of the trainer's SIGTERM alone,
    whose handlers they inherited."""
    if hasattr(os, "setsid"):
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

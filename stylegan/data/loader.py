"""From a data set's name to an endless stream of batches."""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from stylegan.data.archive import ImageDataset
from stylegan.data.prepare import ensure_faces3d
from stylegan.data.sampler import InfiniteSampler
from stylegan.errors import UserError

FACES3D = "faces3d"


@dataclass
class DataConfig:
    """Which images to train on."""

    path: str = field(
        default=FACES3D, metadata={"help": "an archive (ZIP or folder) of `stylegan prepare`, or faces3d"}
    )
    resolution: int = field(default=64, metadata={"help": "faces3d only: pixels of a side"})
    count: int = field(default=10000, metadata={"help": "faces3d only: how many heads are rendered, at the first run"})
    use_labels: bool = field(default=False, metadata={"help": "train a conditional model on the archive's labels"})
    xflip: bool = field(default=False, metadata={"help": "add the mirror image of every image"})
    max_images: int | None = field(default=None, metadata={"help": "use only so many images; null: all"})
    workers: int = field(default=0, metadata={"help": "processes that decode images; 0: the training process itself"})

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise UserError(f"data.workers={self.workers} must be 0 or more")
        if self.max_images is not None and self.max_images < 1:
            raise UserError(f"data.max_images={self.max_images} must be at least 1; null uses all images")


def open_dataset(config: DataConfig) -> ImageDataset:
    """The data set that a configuration names; faces3d is rendered to `datasets/prepared/` where it is not there yet."""
    path = Path(config.path)
    if config.path == FACES3D and not path.exists():
        path = ensure_faces3d(resolution=config.resolution, count=config.count)
    return ImageDataset(path, use_labels=config.use_labels, xflip=config.xflip, max_images=config.max_images)


def image_batches(
    dataset: ImageDataset,
    *,
    seed: int,
    nimg: int,
    batch_size: int,
    positions: Sequence[int],
    workers: int,
    device: torch.device,
) -> Iterator[tuple[Tensor, Tensor]]:
    """One rank's share of every batch from image `nimg` on, without end.

    Args:
        dataset: Where images come from.
        seed: With the image count it gives the order.
        nimg: Images shown so far.
        batch_size: Images of one iteration over all ranks.
        positions: Which of these this rank takes, in its order.
        workers: Processes that decode; the order does not depend on them.
        device: Where the batches go.

    Yields:
        Images uint8 [len(positions), C, H, W] and labels float32 [len(positions), label_dim], on `device`.
    """
    sampler = InfiniteSampler(len(dataset), seed, start=nimg, batch_size=batch_size, local_indices=positions)
    pin = device.type == "cuda"
    loader = DataLoader(
        dataset,
        batch_size=len(positions),
        sampler=sampler,
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_leave_signals_to_the_trainer if workers else None,
    )
    try:
        for images, labels in loader:
            yield images.to(device, non_blocking=pin), labels.to(device, non_blocking=pin)
    except UserError as error:
        # What a worker raises arrives with its traceback as the message; the last line is ours.
        raise UserError(str(error).strip().rpartition("UserError: ")[2]) from None


def _leave_signals_to_the_trainer(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal, and torchrun's SIGTERM every process of a rank; workers must live until the
    trainer has finished its step. They end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

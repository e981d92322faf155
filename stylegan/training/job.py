"""All that a training needs, in one object; `stylegan.assemble` puts it together."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stylegan import distributed
from stylegan.data.archive import ImageDataset
from stylegan.data.cache import PixelCache
from stylegan.data.loader import image_batches
from stylegan.losses.base import Phase, Reals
from stylegan.schedule import Plan
from stylegan.training.batch import Drawer, Images, split_positions
from stylegan.training.config import TrainConfig
from stylegan.training.logging import Logger
from stylegan.training.state import TrainState
from stylegan.training.watch import Watch


@dataclass
class Job:
    """A training, ready to start or to go on.

    Attributes:
        config: What was asked for, resolved.
        state: What changes.
        plan: The course of schedules and stages.
        phases: The parts of an iteration.
        drawer: Draws what they need.
        dataset: Training images.
        cache: Their decoded pixels, or None.
        device: Where the networks are.
        run_dir: Where files go.
        logger: Who watches.
        architecture: What the networks are, as checkpoints record it.
        environment: What bit-equal continuation depends on.
        provenance: What snapshots record besides the network.
        group: Images that D compares, see `split_positions`.
        watch: What measures the networks of snapshots, or None.
        warned: Whether it was told that p is as high as it may be.
    """

    config: TrainConfig
    state: TrainState
    plan: Plan
    phases: Sequence[Phase]
    drawer: Drawer
    dataset: ImageDataset
    cache: PixelCache | None
    device: torch.device
    run_dir: Path
    logger: Logger
    architecture: dict[str, Any]
    environment: dict[str, Any]
    provenance: dict[str, Any]
    group: int | None
    watch: Watch | None = None
    warned: bool = False

    @property
    def total_nimg(self) -> int:
        """Images at the end."""
        return round(self.config.training.kimg * 1000)

    def rounds(self, batch_size: int) -> list[list[int]]:
        """The positions in a batch that this rank takes, by round; raises `UserError` where it cannot be divided."""
        ranks = distributed.world_size()
        micro_batch = min(self.config.training.micro_batch or batch_size, max(batch_size // ranks, 1))
        return split_positions(batch_size, ranks, micro_batch, self.group)[distributed.rank()]

    def images(self) -> Generator[dict[Reals, Images]]:
        """This rank's training images of every iteration from here on, without end. Close it, and its workers end."""
        state = self.state
        places = {size: [i for chunk in self.rounds(size) for i in chunk] for size in self.plan.batch_sizes()}
        course = (
            (nimg, stage.batch_size, places[stage.batch_size])
            for nimg, stage in self.plan.iterations(state.nimg, state.stage, state.held)
        )
        sets = 2 if any(phase.needs.reals is Reals.second for phase in self.phases) else 1
        batches = image_batches(
            self.dataset,
            self.cache,
            seed=state.stream_seed,
            course=course,
            sets=sets,
            workers=self.config.data.workers,
            device=self.device,
        )
        for batch in batches:
            yield dict(zip(Reals, batch, strict=False))

    def augment_p(self) -> float | None:
        """The probability of augmentations now; None where it plays no part."""
        if self.state.ada is not None:
            return self.state.ada.p
        return self.config.augment.given_p(self.state.nimg)

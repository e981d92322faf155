"""All that a training needs, in one object; `stylegan.assemble` puts it together."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from stylegan import distributed
from stylegan.data.archive import ImageDataset
from stylegan.data.cache import PixelCache
from stylegan.data.loader import image_batches
from stylegan.losses.base import Phase, Reals
from stylegan.schedule import Dials, Plan
from stylegan.training.batch import Drawer, Images
from stylegan.training.config import TrainConfig, TrainingConfig
from stylegan.training.graphs import Graphs
from stylegan.training.logging import Logger
from stylegan.training.split import split_positions
from stylegan.training.state import TrainState
from stylegan.training.totals import Totals
from stylegan.training.watch import Watch


@dataclass
class Job:
    """A training, ready to start or to go on.

    Attributes:
        config: What was asked for, resolved.
        state: What changes.
        plan: The course of schedules and stages.
        dials: What it says now, on the device.
        phases: The parts of an iteration.
        drawer: Draws what they need.
        dataset: Training images.
        cache: Their decoded pixels, or None.
        device: Where the networks are.
        run_dir: Where files go.
        totals: Adds up what iterations tell.
        logger: Who watches.
        architecture: What the networks are, as checkpoints record it.
        environment: What bit-equal continuation depends on.
        provenance: What snapshots record besides the network.
        rounds: See `rounds_of`.
        graphs: What captures phases, or None.
        watch: What measures the networks of snapshots, or None.
        warned: What was warned of already: `augment`, `loss`.
    """

    config: TrainConfig
    state: TrainState
    plan: Plan
    dials: Dials
    phases: Sequence[Phase]
    drawer: Drawer
    dataset: ImageDataset
    cache: PixelCache | None
    device: torch.device
    run_dir: Path
    totals: Totals
    logger: Logger
    architecture: dict[str, Any]
    environment: dict[str, Any]
    provenance: dict[str, Any]
    rounds: dict[int, list[list[int]]]
    graphs: Graphs | None = None
    watch: Watch | None = None
    warned: set[str] = field(default_factory=set)

    def tell_nonfinite(self) -> None:
        """Tell of gradients that were not finite since this was called last; it waits for the device."""
        if counts := self.state.take_nonfinite():
            self.logger.nonfinite(counts, self.state.nimg)

    def images(self) -> Generator[list[Images]]:
        """This rank's training images of every iteration from here on, without end: those of `Reals.first` and, where a phase
        needs them, of `Reals.second`. Close it, and its workers end."""
        state = self.state
        return image_batches(
            self.dataset,
            self.cache,
            seed=state.stream_seed,
            course=self.plan.batches(state.nimg, state.stage, state.held),
            places={size: [i for chunk in chunks for i in chunk] for size, chunks in self.rounds.items()},
            sets=2 if any(phase.needs.reals is Reals.second for phase in self.phases) else 1,
            workers=self.config.data.workers,
            device=self.device,
        )


def rounds_of(training: TrainingConfig, plan: Plan, group: int | None) -> dict[int, list[list[int]]]:
    """The positions that this rank takes of the batches of every stage, by round.

    Args:
        training: Resolved.
        plan: Of the training.
        group: Images that D compares, see `split_positions`.

    Raises:
        UserError: A batch cannot be divided so.
    """
    ranks, rounds = distributed.world_size(), {}
    for batch_size in plan.batch_sizes():
        micro_batch = min(training.micro_batch or batch_size, max(batch_size // ranks, 1))
        name = "training.batch_size" if batch_size == training.batch_size else "training.stages: batch_size"
        rounds[batch_size] = split_positions(batch_size, ranks, micro_batch, group, name)[distributed.rank()]
    return rounds

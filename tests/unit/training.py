"""A training of given networks, as `stylegan.assemble` puts it together, but without data and files."""

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stylegan.assemble import build_optimizer, build_plan
from stylegan.augment.pipe import Augment
from stylegan.losses.base import Batch, LossOutput, Networks, Phase, Reals
from stylegan.losses.logistic import LogisticConfig
from stylegan.losses.table import check_phases
from stylegan.models.base import Discriminator, Generator
from stylegan.schedule import Moment, Plan
from stylegan.training.adam import OptimConfig
from stylegan.training.batch import Drawer
from stylegan.training.config import TrainConfig, TrainingConfig, resolved
from stylegan.training.split import split_positions
from stylegan.training.state import TrainState
from stylegan.training.step import OnNonfinite, Reduction, Stats, accumulate_gradients, train_step


@dataclass
class Training:
    """What an iteration needs.

    Attributes:
        config: Resolved.
        state: Of the networks.
        phases: Of the loss.
        plan: Of the settings.
    """

    config: TrainConfig
    state: TrainState
    phases: list[Phase]
    plan: Plan

    @property
    def networks(self) -> Networks:
        """For a loss."""
        return Networks(self.state.G, self.state.D, self.state.pl_mean, self.config.optim.loss_scale or 1.0)

    @property
    def now(self) -> Moment:
        """What holds in the next iteration."""
        return self.state.begin(self.plan)

    def phase(self, name: str) -> Phase:
        """By name."""
        return next(phase for phase in self.phases if phase.name == name)

    def accumulate(
        self, phase: Phase, batches: Sequence[Batch], stats: Stats | None = None, reduction: Reduction = Reduction.mean
    ) -> list[LossOutput]:
        """The gradients of a phase."""
        _, optimizer = self.state.trained(phase.network)
        found: Stats = defaultdict(list) if stats is None else stats
        return accumulate_gradients(phase, self.networks, optimizer, batches, self.now, found, reduction)

    def gradients(self, phase: Phase) -> dict[str, Tensor]:
        """What `accumulate` left, by name, in float64."""
        module, _ = self.state.trained(phase.network)
        return {k: p.grad.double() for k, p in module.named_parameters() if p.grad is not None}

    def step(
        self, batches: Mapping[str, Sequence[Batch]], on_nonfinite: OnNonfinite = OnNonfinite.stop
    ) -> dict[str, list[Tensor]]:
        """One iteration."""
        return train_step(self.state, self.phases, batches, self.now, self.config.optim, on_nonfinite)

    def draw(
        self,
        phase: str,
        images: Tensor,
        *,
        ranks: int = 1,
        micro: int | None = None,
        group: int = 4,
        seed: int = 1,
        p: float | Tensor = 0.0,
        augment: Augment | None = None,
        nimg: int = 0,
    ) -> list[list[Batch]]:
        """The batches of a phase by rank, of training images uint8 [N, C, H, W] without labels."""
        N, size = len(images), (images.shape[2], images.shape[3])
        drawer = Drawer(augment=None if augment is None else {size: augment})
        now = self.plan.moment(nimg, self.plan.stage(nimg))
        made = []
        for rounds in split_positions(N, ranks, micro or N // ranks, group):
            flat = [position for chunk in rounds for position in chunk]
            taken = images[flat], torch.zeros(len(flat), 0)
            both = {Reals.first: taken, Reals.second: (taken[0].flip(3), taken[1])}
            made.append(drawer.draw(self.phase(phase), now, self.state.G, both, rounds, seed=seed, p=p))
        return made


def training_of(
    G: Generator,
    D: Discriminator,
    loss: Any = None,
    optim: OptimConfig | None = None,
    *,
    batch_size: int = 8,
    **training: Any,
) -> Training:
    """Put together what trains two networks; options as in the configuration."""
    config = TrainConfig(
        loss=loss or LogisticConfig(r1_gamma=1.0),
        optim=optim or OptimConfig(),
        training=TrainingConfig(batch_size=batch_size, **training),
    )
    config = resolved(config, resolution=G.resolution, images=100, ranks=1)
    phases = config.loss.phases(G)
    check_phases(phases, G)
    G_opt, D_opt = (build_optimizer(network, name, phases, config.optim) for name, network in (("G", G), ("D", D)))
    state = TrainState(G, D, copy.deepcopy(G).requires_grad_(False), G_opt, D_opt, torch.zeros([]), seed=0)
    return Training(config, state, phases, build_plan(config, G.resolution))

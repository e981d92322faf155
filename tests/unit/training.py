"""A training of given networks, as `stylegan.assemble` puts it together, but without data and files."""

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stylegan.assemble import build_optimizer, build_plan
from stylegan.augment.build import AugmentConfig
from stylegan.augment.pipe import Augment
from stylegan.losses.base import Batch, LossOutput, Networks, Phase, Reals
from stylegan.losses.logistic import LogisticConfig
from stylegan.losses.table import check_phases
from stylegan.models.base import Discriminator, Generator
from stylegan.ops.device import on_device
from stylegan.schedule import Dials, Moment, Now, Plan
from stylegan.training.adam import OptimConfig
from stylegan.training.batch import Drawer, Given
from stylegan.training.config import TrainConfig, TrainingConfig, resolved
from stylegan.training.graphs import Graphs
from stylegan.training.split import split_positions
from stylegan.training.state import TrainState
from stylegan.training.step import OnNonfinite, Run, Stats, accumulate_gradients, due, eager, train_step
from stylegan.training.totals import Report


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

    @property
    def present(self) -> Now:
        """The same, for a loss."""
        return self.shown(self.now)

    def shown(self, now: Moment, *, fixed: bool = False) -> Now:
        """A moment by dials of its own."""
        return Dials(self.plan, self.state.alpha, fixed=fixed).turn(now)

    def phase(self, name: str) -> Phase:
        """By name."""
        return next(phase for phase in self.phases if phase.name == name)

    def accumulate(self, phase: Phase, batches: Sequence[Batch], stats: Stats | None = None) -> list[LossOutput]:
        """The gradients of a phase."""
        optimizer, found = self.state.optimizer(phase.network), defaultdict(list) if stats is None else stats
        return accumulate_gradients(phase, self.networks, optimizer, batches, self.present, found)

    def gradients(self, phase: Phase) -> dict[str, Tensor]:
        """What `accumulate` left, by name, in float64."""
        module = getattr(self.state, phase.network)
        return {k: p.grad.double() for k, p in module.named_parameters() if p.grad is not None}

    def step(
        self, batches: Mapping[str, Sequence[Batch]], on_nonfinite: OnNonfinite = OnNonfinite.stop
    ) -> dict[str, Tensor]:
        """One iteration from given batches; what it tells, by name."""
        dials = Dials(self.plan, self.state.alpha, fixed=False)
        report = train_step(
            self.state,
            self.phases,
            lambda phase, now: batches[phase.name],
            self.now,
            dials,
            self.config.optim,
            on_nonfinite,
        )
        return {name: part for values in report.values for name, part in values.split().items()}

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
            given = given_images(drawer, self.phases, now, images, rounds, seed)
            made.append(drawer.draw(self.phase(phase), self.shown(now), self.state.G, given, seed=seed, p=p))
        return made


class Iterations:
    """Whole iterations, as `stylegan.training.loop` runs them, with shapes that are fixed.

    Args:
        training: What is trained.
        images: uint8 [n, C, H, W]: every iteration takes the next ones, again from the beginning after the last.
        graphs: What captures phases.
        how: How they run otherwise.
    """

    def __init__(self, training: Training, images: Tensor, graphs: Graphs | None = None, how: Run = eager) -> None:
        self.training, self.images, self.graphs, self.how = training, images, graphs, how
        config, plan = training.config, training.plan
        self.dials = Dials(plan, training.state.alpha, fixed=True)
        build = config.augment.build
        built = {size: build(channels=images.shape[1], resolution=size, fixed=True) for size in plan.resolutions()}
        self.drawer = Drawer(augment={size: pipe for size, pipe in built.items() if pipe is not None} or None)

    def run(self, on_nonfinite: OnNonfinite = OnNonfinite.clamp) -> Report:
        """The next one."""
        state, phases = self.training.state, self.training.phases
        now = state.begin(self.training.plan)
        size, count = now.stage.batch_size, len(self.images)
        places = torch.arange(now.nimg, now.nimg + size, device=self.images.device) % count
        rounds, due_phases = [list(range(size))], due(phases, state.step)
        given = given_images(self.drawer, due_phases, now, self.images[places], rounds, state.stream_seed)
        if self.graphs is not None:
            given = given.placed(self.graphs.place)

        def draw(phase: Phase, present: Now) -> Sequence[Batch]:
            p = state.augment_p(present)
            return self.drawer.draw(phase, present, state.G, given, seed=state.stream_seed, p=p)

        run = self.how if self.graphs is None else self.graphs.run
        optim = self.training.config.optim
        return train_step(state, phases, draw, now, self.dials, optim, on_nonfinite, run)


def given_images(
    drawer: Drawer, phases: Sequence[Phase], now: Moment, images: Tensor, rounds: Sequence[Sequence[int]], seed: int
) -> Given:
    """A rank's share of training images uint8 [N, C, H, W] without labels; as second images their mirror images."""
    flat = [position for chunk in rounds for position in chunk]
    taken = images[on_device(torch.tensor(flat), images.device)], torch.zeros(len(flat), 0, device=images.device)
    both = {Reals.first: taken, Reals.second: (taken[0].flip(3), taken[1])}
    return drawer.given(phases, now, both, rounds, seed=seed)


def training_of(
    G: Generator,
    D: Discriminator,
    loss: Any = None,
    optim: OptimConfig | None = None,
    *,
    augment: AugmentConfig | None = None,
    batch_size: int = 8,
    **training: Any,
) -> Training:
    """Put together what trains two networks; options as in the configuration."""
    config = TrainConfig(
        loss=loss or LogisticConfig(r1_gamma=1.0),
        optim=optim or OptimConfig(),
        augment=augment or AugmentConfig(),
        training=TrainingConfig(batch_size=batch_size, **training),
    )
    config = resolved(config, resolution=G.resolution, images=100, ranks=1)
    phases = config.loss.phases(G)
    device = next(G.parameters()).device
    ada = config.augment.build_controller(device)
    check_phases(phases, G, adapts=ada is not None)
    G_opt, D_opt = (build_optimizer(network, name, phases, config.optim) for name, network in (("G", G), ("D", D)))
    pl_mean = torch.zeros([], device=device)
    state = TrainState(G, D, copy.deepcopy(G).requires_grad_(False), G_opt, D_opt, pl_mean, seed=0, ada=ada)
    return Training(config, state, phases, build_plan(config, G.resolution))

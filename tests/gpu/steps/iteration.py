"""A whole iteration on any device, as training runs it: draws, phases, updates, moving averages."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from stylegan.assemble import build_plan
from stylegan.augment.build import AugmentConfig, AugmentKind
from stylegan.augment.strengths import PipeConfig
from stylegan.bench.workload import configuration, workload
from stylegan.losses.base import Batch, Phase, Reals
from stylegan.models.layers import Precision
from stylegan.schedule import Dials, Now
from stylegan.training.batch import Drawer
from stylegan.training.config import TrainConfig, resolved
from stylegan.training.graphs import CudaRecorder, Graphs
from stylegan.training.state import TrainState
from stylegan.training.step import due, eager, train_step
from stylegan.training.totals import Totals


@dataclass(frozen=True)
class Recipe:
    """What is run.

    Attributes:
        name: A configuration of `stylegan.bench.workload`, or an experiment.
        resolution, batch: Instead of the configuration's own.
        precision: Of G and D.
        augment: Whether D sees ADA's augmentations, at p 0.5.
        graphs: Whether phases are captured, on a GPU.
    """

    name: str
    resolution: int
    batch: int
    precision: str = "fp32"
    augment: bool = False
    graphs: bool = False

    @property
    def config(self) -> TrainConfig:
        """Resolved."""
        config, precision = configuration(self.name), Precision[self.precision]
        G, D = (replace(network, precision=precision) for network in (config.model.G, config.model.D))
        config = replace(
            config,
            model=replace(config.model, G=G, D=D),
            augment=AugmentConfig(AugmentKind.ada, p=0.5, pipe=PipeConfig(preset="bgc"))
            if self.augment
            else AugmentConfig(),
            training=replace(config.training, batch_size=self.batch, micro_batch=self.batch),
        )
        return resolved(config, resolution=(self.resolution, self.resolution), images=self.batch, ranks=1)


class Iteration:
    """A recipe on a device, ready to run.

    Args:
        recipe: What is run.
        device: Where.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.config, self.device, self.recipe = recipe.config, device, recipe
        size = (recipe.resolution, recipe.resolution)
        self.work = workload(self.config, resolution=recipe.resolution, batch_size=recipe.batch, device=str(device))
        G, D, pl_mean = self.work.networks.G, self.work.networks.D, self.work.networks.pl_mean
        G_ema, optimizers = copy.deepcopy(G).eval().requires_grad_(False), self.work.optimizers
        controller = self.config.augment.build_controller(device)
        self.state = TrainState(G, D, G_ema, optimizers["G"], optimizers["D"], pl_mean, seed=0, ada=controller)
        self.plan, fixed = build_plan(self.config, size), device.type == "cuda"
        self.dials = Dials(self.plan, self.state.alpha, fixed=fixed)
        augment = self.config.augment.build(channels=3, resolution=size, fixed=fixed)
        self.drawer = Drawer(augment=None if augment is None else {size: augment})
        self.totals = Totals(1000.0, 0, 10**9, device)
        self.graphs = Graphs(CudaRecorder(), _fail, must=True) if recipe.graphs and device.type == "cuda" else None
        self.real = torch.randint(0, 256, [recipe.batch, 3, *size], dtype=torch.uint8, device=device)
        self.real_c = torch.zeros([recipe.batch, 0], device=device)

    @property
    def phases(self) -> list[Phase]:
        """Of an iteration."""
        return self.work.phases

    def whole(self) -> None:
        """An iteration from its draws to the advanced state; `state.step` says which phases run."""
        self._run(self.phases)

    def all_phases(self) -> None:
        """An iteration with every phase."""
        self.state.step = 0
        self.whole()

    def phase_calls(self) -> dict[str, Callable[[], object]]:
        """Each phase with its draws, its update and what follows it."""
        assert self.state.ada is None, "signs of all phases steer ADA"
        return {phase.name: partial(self._phase, phase) for phase in self.phases}

    def _phase(self, phase: Phase) -> None:
        self.state.step = 0  # every phase is due
        self._run([phase])

    def _run(self, phases: list[Phase]) -> None:
        state, now = self.state, self.state.begin(self.plan)
        images, rounds = dict.fromkeys(Reals, (self.real, self.real_c)), [list(range(self.recipe.batch))]
        given = self.drawer.given(due(phases, state.step), now, images, rounds, seed=0)
        if self.graphs is not None:
            given = given.placed(self.graphs.place)

        def draw(phase: Phase, present: Now) -> list[Batch]:
            p = 0.0 if state.ada is None else state.ada.p
            return self.drawer.draw(phase, present, state.G, given, seed=0, p=p)

        run = eager if self.graphs is None else self.graphs.run
        report = train_step(state, phases, draw, now, self.dials, self.config.optim, run=run)
        self.totals.add(report, state.nimg)


def _fail(text: str) -> None:
    raise RuntimeError(text)

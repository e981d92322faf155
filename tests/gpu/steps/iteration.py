"""A whole iteration on any device, as training runs it: draws, phases, updates, moving averages."""

import copy
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from stylegan.training.phases import Phase, default_loss_scale, due
from torch import Tensor

from stylegan.augment.build import AugmentConfig, AugmentKind, build_augment, build_controller
from stylegan.augment.strengths import PipeConfig
from stylegan.bench.workload import Workload, configuration, workload
from stylegan.config import TrainConfig
from stylegan.losses.base import Networks
from stylegan.models.layers import Precision
from stylegan.training.batch import BatchMaker
from stylegan.training.state import TrainState
from stylegan.training.step import OnNonfinite, StepConfig, accumulate_gradients, guarded_step, train_step


@dataclass(frozen=True)
class Recipe:
    """What is run.

    Attributes:
        name: A configuration of `stylegan.bench.workload`, or an experiment.
        resolution, batch: Instead of the configuration's own.
        precision: Of G and D.
        augment: Whether D sees ADA's augmentations, at p 0.5.
    """

    name: str
    resolution: int
    batch: int
    precision: str = "fp32"
    augment: bool = False

    @property
    def config(self) -> TrainConfig:
        """With the precision."""
        config, precision = configuration(self.name), Precision[self.precision]
        G, D = (replace(network, precision=precision) for network in (config.model.G, config.model.D))
        return replace(config, model=replace(config.model, G=G, D=D))


class Iteration:
    """A recipe on a device, ready to run.

    Args:
        recipe: What is run.
        device: Where.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        config = recipe.config
        self.device, self.recipe = device, recipe
        self.work: Workload = workload(
            config, resolution=recipe.resolution, batch_size=recipe.batch, device=str(device)
        )
        G, D = self.work.networks.G, self.work.networks.D
        optimizer = {phase.module: phase.optimizer for phase in self.phases}
        kind = AugmentKind.ada if recipe.augment else AugmentKind.none
        augment = AugmentConfig(kind=kind, p=0.5 if recipe.augment else 0.0, pipe=PipeConfig(preset="bgc"))
        self.state = TrainState(
            G,
            D,
            copy.deepcopy(G).eval().requires_grad_(False),
            optimizer[G],
            optimizer[D],
            torch.zeros([], device=device),
            seed=0,
            ada=build_controller(augment, recipe.batch),
        )
        side = recipe.resolution
        pipe = build_augment(augment, channels=3, resolution=(side, side))
        loss = config.loss
        self.maker = BatchMaker(
            0, recipe.batch, loss.style_mixing_prob, loss.pl_batch_shrink, labelled=None, augment=pipe
        )
        scale = default_loss_scale(fp16=recipe.precision == "fp16")
        self.networks = Networks(G, D, scale)
        self.step_config = StepConfig(recipe.batch, 10.0, 0.05, OnNonfinite.clamp, scale)
        self.real = torch.randint(0, 256, [recipe.batch, 3, side, side], dtype=torch.uint8, device=device)

    @property
    def phases(self) -> list[Phase]:
        """Of an iteration."""
        return self.work.phases

    def whole(self) -> None:
        """An iteration from its draws to the advanced state; `state.step` says which phases run."""
        state, real_c = self.state, torch.zeros([self.recipe.batch, 0], device=self.device)
        p = 0.0 if state.ada is None else state.ada.p
        rounds = [list(range(self.recipe.batch))]
        batches = {
            phase.name: self.maker.draw(phase.name, state.nimg, state.G, self.real, real_c, rounds, p)
            for phase in due(self.phases, state.step)
        }
        train_step(state, self.phases, batches, self.step_config)

    def phase_calls(self) -> dict[str, Callable[[], object]]:
        """Each phase with its update, from batches that are on the device already; and the moving average."""
        return {phase.name: partial(self._phase, phase) for phase in self.phases}

    def _phase(self, phase: Phase) -> None:
        stats: dict[str, list[Tensor]] = defaultdict(list)
        accumulate_gradients(phase, self.networks, [self.work.batches[phase.name]], stats)
        followers: Any = self.state.average.parameters if phase.name == "Gmain" else None
        guarded_step(phase, OnNonfinite.clamp, stats, followers, 0.001)

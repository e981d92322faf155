"""A whole iteration on any device, as training runs it: draws, phases, updates, moving averages."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from stylegan.augment.build import AugmentConfig, AugmentKind
from stylegan.augment.strengths import PipeConfig
from stylegan.bench.workload import WholeIteration, configuration
from stylegan.losses.base import Phase
from stylegan.models.layers import Precision
from stylegan.training.config import TrainConfig, resolved
from stylegan.training.graphs import CudaRecorder, Graphs


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


class Iteration(WholeIteration):
    """A recipe on a device, ready to run.

    Args:
        recipe: What is run.
        device: Where.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.device, self.recipe = device, recipe
        graphs = Graphs(CudaRecorder(), _fail, must=True) if recipe.graphs and device.type == "cuda" else None
        super().__init__(recipe.config, recipe.resolution, recipe.batch, device, graphs)
        self._every = self.phases

    def whole(self) -> None:
        """An iteration; `state.step` says which phases run."""
        self.run(all_phases=False)

    def phase_calls(self) -> dict[str, Callable[[], object]]:
        """Each phase with its draws, its update and what follows it."""
        assert self.state.ada is None, "signs of all phases steer ADA"
        return {phase.name: partial(self._only, phase) for phase in self._every}

    def _only(self, phase: Phase) -> None:
        self.phases = [phase]
        self.run()
        self.phases = self._every


def _fail(text: str) -> None:
    raise RuntimeError(text)

"""What is measured: the networks, phases and random batches of a recipe, on any device, also on `meta`."""

import copy
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import torch

from stylegan.assemble import build_optimizer, build_plan
from stylegan.config.groups import experiments, read_experiment
from stylegan.data.loader import DataConfig
from stylegan.errors import UserError, nearest
from stylegan.losses.base import Batch, Networks, Phase, Reals
from stylegan.losses.logistic import LogisticConfig
from stylegan.models.discriminator import DiscriminatorConfig
from stylegan.models.stylegan2 import StyleGAN2Config
from stylegan.models.stylegan3 import StyleGAN3Config
from stylegan.schedule import Dials, Now
from stylegan.training.adam import Adam
from stylegan.training.batch import Drawer
from stylegan.training.config import ModelConfig, TrainConfig, TrainingConfig, resolved
from stylegan.training.graphs import Graphs
from stylegan.training.state import TrainState
from stylegan.training.step import accumulate_gradients, due, eager, train_step
from stylegan.training.totals import Totals


def _stylegan2(resolution: int, batch_size: int, channel_base: int, channel_max: int) -> TrainConfig:
    channels: dict[str, Any] = {"channel_base": channel_base, "channel_max": channel_max}
    return TrainConfig(
        data=DataConfig(resolution=resolution),
        model=ModelConfig(G=StyleGAN2Config(**channels), D=DiscriminatorConfig(**channels)),
        training=TrainingConfig(batch_size=batch_size),
    )


def _stylegan3(
    resolution: int, batch_size: int, channel_base: int, channel_max: int, *, rotation: bool = False
) -> TrainConfig:
    """Configuration T, or with `rotation` R, which has twice the feature maps."""
    G = StyleGAN3Config(
        channel_base=channel_base * (1 + rotation),
        channel_max=channel_max * (1 + rotation),
        conv_kernel=1 if rotation else 3,
        radial_filters=rotation,
    )
    return TrainConfig(
        data=DataConfig(resolution=resolution),
        model=ModelConfig(G=G, D=DiscriminatorConfig(channel_base=channel_base, channel_max=channel_max)),
        loss=LogisticConfig(pl_weight=0, style_mixing_prob=0),
        training=TrainingConfig(batch_size=batch_size),
    )


# Recipes of other sizes than the shipped ones, but for the largest small enough for a CPU: StyleGAN2 with all its losses,
# StyleGAN3 without path length regularisation, as published. The batch of `paper1024` is that of one of its eight GPUs.
CONFIGURATIONS = {
    "demo64": _stylegan2(64, 16, 4096, 128),
    "wide64": _stylegan2(64, 8, 16384, 512),
    "mid128": _stylegan2(128, 4, 16384, 256),
    "paper256": _stylegan2(256, 8, 16384, 512),
    "paper1024": _stylegan2(1024, 4, 32768, 512),
    "stylegan3_t64": _stylegan3(64, 8, 4096, 128),
    "stylegan3_r64": _stylegan3(64, 8, 4096, 128, rotation=True),
    "stylegan3_t256": _stylegan3(256, 8, 16384, 512),
    "stylegan3_r256": _stylegan3(256, 8, 16384, 512, rotation=True),
}


def configuration(name: str) -> TrainConfig:
    """A configuration of this file, or a shipped experiment.

    Raises:
        UserError: There is none of that name.
    """
    if name in CONFIGURATIONS:
        return CONFIGURATIONS[name]
    if name not in experiments():
        raise UserError(
            f"there is no configuration or experiment {name}; {nearest(name, [*CONFIGURATIONS, *experiments()])}"
        )
    return read_experiment(name)


@dataclass(frozen=True)
class Workload:
    """A recipe, ready to run.

    Attributes:
        networks: With random weights.
        phases: Of an iteration.
        optimizers: Of `G` and `D`.
        batches: For each phase, by name.
        now: What holds in the iteration.
    """

    networks: Networks
    phases: list[Phase]
    optimizers: dict[str, Adam]
    batches: dict[str, Batch]
    now: Now

    @property
    def parameters(self) -> dict[str, int]:
        """Numbers of parameters, by network."""
        both = {"G": self.networks.G, "D": self.networks.D}
        return {name: sum(p.numel() for p in network.parameters()) for name, network in both.items()}

    def run(self, phase: Phase) -> None:
        """Forward and backward passes of one phase."""
        optimizer, batch = self.optimizers[phase.network], self.batches[phase.name]
        accumulate_gradients(phase, self.networks, optimizer, [batch], self.now, defaultdict(list))


def workload(config: TrainConfig, *, resolution: int, batch_size: int, device: str) -> Workload:
    """Build networks and draw what a batch holds.

    Args:
        config: Architecture and losses.
        resolution: Side of the square images.
        batch_size: Images.
        device: Where to; on `meta` nothing is computed, and a batch of any size has room.
    """
    size, config = (resolution, resolution), _sized(config, resolution, batch_size)
    with torch.device(device):
        G, D = (network.build(resolution=size, channels=3, c_dim=0) for network in (config.model.G, config.model.D))
        pl_mean, real = torch.zeros([]), torch.randint(0, 256, [batch_size, 3, *size], dtype=torch.uint8)
    phases = config.loss.phases(G)
    optimizers = {n: build_optimizer(network, n, phases, config.optim) for n, network in (("G", G), ("D", D))}
    plan, images = build_plan(config, size), (real, torch.zeros([batch_size, 0], device=device))
    moment, alpha = plan.moment(0, plan.stage(0)), torch.ones([], dtype=torch.float64, device=device)
    now, both = Dials(plan, alpha, fixed=True).turn(moment), {Reals.first: images, Reals.second: images}
    given = Drawer().given(phases, moment, both, [list(range(batch_size))], seed=0)
    drawn = {phase.name: Drawer().draw(phase, now, G, given, seed=0)[0] for phase in phases}
    return Workload(Networks(G, D, pl_mean), phases, optimizers, drawn, now)


def _sized(config: TrainConfig, resolution: int, batch_size: int) -> TrainConfig:
    """Resolved for images of a size, in one micro-batch; networks that grow have grown."""
    training = replace(config.training, batch_size=batch_size, micro_batch=batch_size, stages=[])
    config = replace(config, training=training)
    return resolved(config, resolution=(resolution, resolution), images=batch_size, ranks=1)


def weighted(phases: list[Phase], values: dict[str, float]) -> float:
    """The value of one iteration on average: Gmain + Greg / 4 + Dmain + Dreg / 16 with the papers' intervals."""
    return sum(values[phase.name] / phase.interval for phase in phases)


class WholeIteration:
    """Iterations of a recipe as training runs them, from draws to updates and sums for the log, on images made of noise.

    Args:
        config: The recipe.
        resolution: Side of the square images.
        batch_size: Images.
        device: Where to.
        graphs: What captures phases, or None.

    Attributes:
        state: What changes; `state.step` says which phases run.
        phases: Of an iteration.
    """

    def __init__(
        self,
        config: TrainConfig,
        resolution: int,
        batch_size: int,
        device: torch.device,
        graphs: Graphs | None = None,
    ) -> None:
        work = workload(config, resolution=resolution, batch_size=batch_size, device=str(device))
        size = (resolution, resolution)
        self.config = config = _sized(config, resolution, batch_size)
        G, D, pl_mean, self.phases = work.networks.G, work.networks.D, work.networks.pl_mean, work.phases
        G_ema, optimizers = copy.deepcopy(G).eval().requires_grad_(False), work.optimizers
        ada = config.augment.build_controller(device)
        self.state = TrainState(G, D, G_ema, optimizers["G"], optimizers["D"], pl_mean, seed=0, ada=ada)
        self._plan, fixed = build_plan(config, size), device.type != "cpu"
        self._dials, self._graphs = Dials(self._plan, self.state.alpha, fixed=fixed), graphs
        augment = config.augment.build(channels=3, resolution=size, fixed=fixed)
        self._drawer = Drawer(augment=None if augment is None else {size: augment})
        self._totals = Totals(1e6, 0, 10**12, device)
        real = torch.randint(0, 256, [batch_size, 3, *size], dtype=torch.uint8, device=device)
        self._images = dict.fromkeys(Reals, (real, torch.zeros([batch_size, 0], device=device)))
        self._rounds = [list(range(batch_size))]

    def run(self, *, all_phases: bool = True) -> None:
        """One iteration: with all phases, or with those that are due."""
        if all_phases:
            self.state.step = 0
        state, now = self.state, self.state.begin(self._plan)
        given = self._drawer.given(due(self.phases, state.step), now, self._images, self._rounds, seed=0)
        if self._graphs is not None:
            given = given.placed(self._graphs.place)

        def draw(phase: Phase, present: Now) -> list[Batch]:
            return self._drawer.draw(phase, present, state.G, given, seed=0, p=state.augment_p(present))

        run = eager if self._graphs is None else self._graphs.run
        report = train_step(state, self.phases, draw, now, self._dials, self.config.optim, run=run)
        self._totals.add(report, state.nimg)

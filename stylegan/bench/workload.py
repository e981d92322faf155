"""What is measured: the networks, phases and random batches of a recipe, on any device, also on `meta`."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch

from stylegan.config.groups import experiments, read_experiment
from stylegan.config.schema import StyleGAN2Model, StyleGAN3Model, TrainConfig
from stylegan.data.loader import DataConfig
from stylegan.errors import UserError, nearest
from stylegan.losses.base import Batch, Networks
from stylegan.models.build import (
    DiscriminatorConfig,
    StyleGAN2Config,
    StyleGAN3Config,
    build_discriminator,
    build_generator,
)
from stylegan.training.loop import TrainingConfig
from stylegan.training.phases import LossConfig, Phase, build_optimizers, build_phases
from stylegan.training.step import accumulate_gradients


def _stylegan2(resolution: int, batch_size: int, channel_base: int, channel_max: int) -> TrainConfig:
    channels: dict[str, Any] = {"channel_base": channel_base, "channel_max": channel_max}
    return TrainConfig(
        data=DataConfig(resolution=resolution),
        model=StyleGAN2Model(G=StyleGAN2Config(**channels), D=DiscriminatorConfig(**channels)),
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
        model=StyleGAN3Model(G=G, D=DiscriminatorConfig(channel_base=channel_base, channel_max=channel_max)),
        loss=LossConfig(pl_weight=0, style_mixing_prob=0),
        training=TrainingConfig(batch_size=batch_size),
    )


# Recipes of other sizes than the shipped ones, small enough for a CPU: StyleGAN2 with all its losses, StyleGAN3 without path
# length regularisation, as published.
CONFIGURATIONS = {
    "demo64": _stylegan2(64, 16, 4096, 128),
    "wide64": _stylegan2(64, 8, 16384, 512),
    "mid128": _stylegan2(128, 4, 16384, 256),
    "paper256": _stylegan2(256, 8, 16384, 512),
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
        phases: Of an iteration, each with an optimizer.
        batches: For each phase, by name.
    """

    networks: Networks
    phases: list[Phase]
    batches: dict[str, Batch]

    @property
    def parameters(self) -> dict[str, int]:
        """Numbers of parameters, by network."""
        both = {"G": self.networks.G, "D": self.networks.D}
        return {name: sum(p.numel() for p in network.parameters()) for name, network in both.items()}

    def run(self, phase: Phase) -> None:
        """Forward and backward passes of one phase."""
        accumulate_gradients(phase, self.networks, [self.batches[phase.name]], defaultdict(list))


def workload(config: TrainConfig, *, resolution: int, batch_size: int, device: str) -> Workload:
    """Build networks and draw what a batch holds.

    Args:
        config: Architecture and losses.
        resolution: Side of the square images.
        batch_size: Images.
        device: Where to; on `meta` nothing is computed, and a batch of any size has room.
    """
    shape: dict[str, Any] = {"resolution": (resolution, resolution), "channels": 3, "c_dim": 0}
    with torch.device(device):
        G, D = build_generator(config.model.G, **shape), build_discriminator(config.model.D, **shape)
        optimizers = build_optimizers(G, D, config.loss, config.optim, shape["resolution"])
        phases = build_phases(G, D, *optimizers, torch.zeros([]), config.loss, config.loss.r1_gamma or 1.0)
        batches = {}
        for phase in phases:
            fewer = max(batch_size // config.loss.pl_batch_shrink, 1) if phase.name == "Greg" else batch_size
            images = [3, resolution, resolution]
            batches[phase.name] = Batch(
                real=torch.rand(batch_size, *images) * 2 - 1,
                real_c=torch.zeros(batch_size, 0),
                z=torch.randn(batch_size, G.z_dim),
                c=torch.zeros(batch_size, 0),
                z_mix=torch.randn(batch_size, G.z_dim) if config.loss.style_mixing_prob > 0 else None,
                mixing_cutoff=torch.randint(1, max(G.num_ws, 2), [batch_size]),
                noise=None if phase.name == "Dreg" else torch.randn(fewer, G.synthesis.noise_size),
                pl_noise=torch.randn(fewer, *images) if phase.name == "Greg" else None,
            )
    return Workload(Networks(G, D), phases, batches)


def weighted(phases: list[Phase], values: dict[str, float]) -> float:
    """The value of one iteration on average: Gmain + Greg / 4 + Dmain + Dreg / 16 with the papers' intervals."""
    return sum(values[phase.name] / phase.interval for phase in phases)

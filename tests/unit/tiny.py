"""Networks small enough for tests."""

import torch

from stylegan.models.build import DiscriminatorConfig, StyleGAN2Config
from stylegan.models.discriminator import StyleGAN2Discriminator
from stylegan.models.generator import StyleBased
from stylegan.models.mapping import MappingConfig


def tiny_pair(
    *, c_dim: int = 0, channels: int = 3, resolution: tuple[int, int] = (16, 16)
) -> tuple[StyleBased, StyleGAN2Discriminator]:
    """G and D of a few thousand weights, the same at every call."""
    shape = {"resolution": resolution, "channels": channels, "c_dim": c_dim}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        G = StyleGAN2Config(
            z_dim=8, w_dim=8, channel_base=64, channel_max=8, mapping=MappingConfig(num_layers=2)
        ).build(
            **shape,
        )
        D = DiscriminatorConfig(channel_base=64, channel_max=8, mapping=MappingConfig(num_layers=2)).build(**shape)
    return G, D

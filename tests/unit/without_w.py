"""A generator that is not style-based: z and labels become an image by a few layers, without w and without noise.

`monkeypatch.setitem(GENERATORS, WithoutWConfig.kind, WithoutWConfig)` makes it an architecture like any other.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stylegan.models.base import Generator, noise_for
from stylegan.models.layers import check_kind
from stylegan.values import COUNT, check_values


@dataclass
class WithoutWConfig:
    """Options of `WithoutW`."""

    kind: str = field(default="without_w", metadata={"help": "the architecture; model/G=NAME sets it"})
    z_dim: int = field(default=8, metadata={"help": "size of the latent z", "range": COUNT})
    width: int = field(default=8, metadata={"help": "feature maps", "range": COUNT})

    def __post_init__(self) -> None:
        check_kind(self, "model/G")
        check_values(self, "model.G")

    def build(self, *, resolution: tuple[int, int], channels: int, c_dim: int) -> "WithoutW":
        """See `NetworkConfig`."""
        return WithoutW(self, resolution=resolution, channels=channels, c_dim=c_dim)


class WithoutW(Generator):
    """z [N, z_dim], c [N, c_dim] -> images [N, channels, H, W]."""

    config: WithoutWConfig

    def __init__(self, config: WithoutWConfig, *, resolution: tuple[int, int], channels: int, c_dim: int):
        super().__init__(config, resolution=resolution, channels=channels, c_dim=c_dim)
        self.z_dim = config.z_dim
        self.fc = nn.Linear(config.z_dim + c_dim, config.width * 16)
        self.conv = nn.Conv2d(config.width, config.width, 3, padding=1)
        self.torgb = nn.Conv2d(config.width, channels, 1)

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        noise_mode: str = "const",
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See `Generator`."""
        noise_for(z, self.noise_size, noise_mode, noise, generator)
        x = self.fc(z if c is None else torch.cat([z, c], dim=1)).reshape(-1, self.config.width, 4, 4).tanh()
        return self.torgb(self.conv(nn.functional.interpolate(x, self.resolution)).tanh())

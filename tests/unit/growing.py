"""A pair of networks that grow (Karras et al. 2018, section 2), as small as can be, without w and without noise.

`monkeypatch.setitem(GENERATORS, GrowingGConfig.kind, GrowingGConfig)`, and the same with `DISCRIMINATORS` and
`GrowingDConfig`, makes them architectures like any other.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from stylegan.errors import UserError
from stylegan.models.base import Discriminator, Generator, noise_for
from stylegan.models.growing import Grows, doubled, faded
from stylegan.models.layers import block_shapes, check_kind
from stylegan.values import COUNT, check_values

Shape = tuple[int, int]


@dataclass
class GrowingGConfig:
    """Options of `GrowingG`."""

    kind: str = field(default="growing", metadata={"help": "the architecture; model/G=NAME sets it"})
    z_dim: int = field(default=8, metadata={"help": "size of the latent z", "range": COUNT})
    width: int = field(default=8, metadata={"help": "feature maps", "range": COUNT})

    def __post_init__(self) -> None:
        check_kind(self, "model/G")
        check_values(self, "model.G")

    def build(self, *, resolution: Shape, channels: int, c_dim: int) -> "GrowingG":
        """See `NetworkConfig`."""
        return GrowingG(self, resolution=resolution, channels=channels, c_dim=c_dim)


@dataclass
class GrowingDConfig:
    """Options of `GrowingD`."""

    kind: str = field(default="growing_discriminator", metadata={"help": "the architecture; model/D=NAME sets it"})
    width: int = field(default=8, metadata={"help": "feature maps", "range": COUNT})

    def __post_init__(self) -> None:
        check_kind(self, "model/D")
        check_values(self, "model.D")

    def build(self, *, resolution: Shape, channels: int, c_dim: int) -> "GrowingD":
        """See `NetworkConfig`."""
        return GrowingD(self, resolution=resolution, channels=channels, c_dim=c_dim)


class GrowingG(Grows, Generator):
    """z [N, z_dim], c [N, c_dim] -> images [N, channels, h, w] of the stage's resolution."""

    config: GrowingGConfig

    def __init__(self, config: GrowingGConfig, *, resolution: Shape, channels: int, c_dim: int):
        super().__init__(config, resolution=resolution, channels=channels, c_dim=c_dim)
        self.z_dim = config.z_dim
        self.shapes = block_shapes(self.resolution)
        width, (h, w) = config.width, self.shapes[0]
        self.fc = nn.Linear(config.z_dim + c_dim, width * h * w)
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in self.shapes)
        self.torgb = nn.ModuleList(nn.Conv2d(width, channels, 1) for _ in self.shapes)

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
        x = self.fc(z if c is None else torch.cat([z, c], dim=1)).reshape(-1, self.config.width, *self.shapes[0])
        x = before = self.convs[0](x).tanh()
        for conv, shape in zip(list(self.convs)[1 : self.level + 1], self.shapes[1:], strict=False):
            before, x = x, conv(interpolate(x, shape)).tanh()
        image = self.torgb[self.level](x)
        if self.alpha is not None:
            image = faded(doubled(self.torgb[self.level - 1](before)), image, self.alpha)
        return self.shown(image) if self.enlarge else image


class GrowingD(Grows, Discriminator):
    """Images [N, channels, h, w] of the stage's resolution, labels [N, c_dim] -> logits [N, 1]; compares no images."""

    config: GrowingDConfig

    def __init__(self, config: GrowingDConfig, *, resolution: Shape, channels: int, c_dim: int):
        super().__init__(config, resolution=resolution, channels=channels, c_dim=c_dim)
        self.shapes = block_shapes(self.resolution)
        width, (h, w) = config.width, self.shapes[0]
        self.fromrgb = nn.ModuleList(nn.Conv2d(channels, width, 1) for _ in self.shapes)
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in self.shapes)
        self.fc = nn.Linear(width * h * w + c_dim, 1)

    def forward(self, img: Tensor, c: Tensor | None = None, *, batches: int = 1) -> Tensor:
        """See `Discriminator`."""
        if img.shape[1:] != (self.channels, *self.shapes[self.level]):
            raise UserError(f"this stage takes images of {self.shapes[self.level]}, got {tuple(img.shape)}")
        x = self.fromrgb[self.level](img).tanh()
        for i in range(self.level, 0, -1):
            x = avg_pool2d(self.convs[i](x).tanh(), 2)
            if i == self.level and self.alpha is not None:
                x = faded(self.fromrgb[i - 1](avg_pool2d(img, 2)).tanh(), x, self.alpha)
        x = self.convs[0](x).tanh().flatten(1)
        return self.fc(x if c is None else torch.cat([x, c], dim=1))

    def features(self, img: Tensor) -> list[Tensor]:
        """See `Discriminator`."""
        return [self.fromrgb[self.level](img).tanh()]

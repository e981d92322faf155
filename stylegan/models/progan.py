"""ProGAN (Karras et al. 2018, "Progressive Growing of GANs for Improved Quality, Stability, and Variation"): networks that grow
from 4x4 pixels, without w and without noise.

Blocks double the resolution; they are named by the longer side of what they work on: `b8.conv0`.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stylegan.models.base import Generator, noise_for
from stylegan.models.growing import Grows, doubled, faded
from stylegan.models.layers import check_kind
from stylegan.models.progressive import (
    BlockPlan,
    Convolution,
    GrowingDiscriminator,
    GrowingDiscriminatorSizes,
    GrowingSizes,
    Layout,
    TensorFlowName,
    block_plans,
    checked,
    discriminator_names,
    with_bias,
)
from stylegan.ops.bias_act import bias_act
from stylegan.values import COUNT, check_values


@dataclass
class ProGANConfig(GrowingSizes):
    """Options of the ProGAN `Generator`, without what follows from the data: resolution, channels, labels."""

    kind: str = field(default="progan", metadata={"help": "the architecture; model/G=NAME sets it"})
    z_dim: int = field(default=512, metadata={"help": "size of the latent z", "range": COUNT})

    def __post_init__(self) -> None:
        check_kind(self, "model/G")
        check_values(self, "model.G")

    def build(self, *, resolution: tuple[int, int], channels: int, c_dim: int) -> "ProGANGenerator":
        """A new generator with random weights, for images of the same sizes as `StyleGAN2Config`; see `NetworkConfig`."""
        return ProGANGenerator(self, resolution=resolution, channels=channels, c_dim=c_dim)


@dataclass
class ProGANDiscriminatorConfig(GrowingDiscriminatorSizes):
    """Options of the `ProGANDiscriminator`."""

    kind: str = field(default="progan_discriminator", metadata={"help": "the architecture; model/D=NAME sets it"})
    pool_last: bool = field(
        default=False,
        metadata={"help": "halve the resolution after the activation, not before it (fused_scale=False there)"},
    )

    def __post_init__(self) -> None:
        check_kind(self, "model/D")
        check_values(self, "model.D")

    def build(self, *, resolution: tuple[int, int], channels: int, c_dim: int) -> "ProGANDiscriminator":
        """A new discriminator with random weights; see `ProGANConfig`."""
        return ProGANDiscriminator(self, resolution=resolution, channels=channels, c_dim=c_dim)


def pixel_norm(x: Tensor) -> Tensor:
    """Every feature vector of x [N, C, ...] scaled to a mean square of one (section 4.2)."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class LatentDense(nn.Module):
    """Latent [N, I] -> feature maps [N, C, H0, W0], each with one bias."""

    def __init__(self, in_features: int, width: int, shape: tuple[int, int]):
        super().__init__()
        self.shape = (width, *shape)
        self.weight = nn.Parameter(torch.randn(math.prod(self.shape), in_features))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        _, h, w = self.shape
        # For 4x4 pixels the gain is a quarter of that of other layers, as in the paper's code.
        x = (x * math.sqrt(2 / (h * w * self.weight.shape[1]))) @ self.weight.t()
        x = x.unflatten(1, self.shape).contiguous(memory_format=torch.channels_last)
        return bias_act(x, self.bias, act="lrelu", gain=1)


class GeneratorStart(nn.Module):
    """The first block: latent [N, I] -> [N, C, H0, W0]."""

    def __init__(self, in_features: int, plan: BlockPlan, channels: int):
        super().__init__()
        self.dense = LatentDense(in_features, plan.width, plan.shape)
        self.conv = Convolution(plan.width, plan.width)
        self.torgb = Convolution(plan.width, channels, 1, activation="linear")

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return pixel_norm(self.conv(pixel_norm(self.dense(x))))


class GeneratorBlock(nn.Module):
    """All layers at one resolution: [N, I, H / 2, W / 2] -> [N, C, H, W]."""

    def __init__(self, in_channels: int, plan: BlockPlan, channels: int):
        super().__init__()
        self.conv0 = Convolution(in_channels, plan.width, up=True)
        self.conv1 = Convolution(plan.width, plan.width)
        self.torgb = Convolution(plan.width, channels, 1, activation="linear")

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return pixel_norm(self.conv1(pixel_norm(self.conv0(x))))


class ProGANGenerator(Grows, Generator):
    """z [N, z_dim], standard normal, and labels [N, c_dim] -> images [N, channels, h, w] of the stage's resolution."""

    config: ProGANConfig

    def __init__(self, config: ProGANConfig, *, resolution: tuple[int, int], channels: int, c_dim: int):
        super().__init__(config, resolution=resolution, channels=channels, c_dim=c_dim)
        self.z_dim = config.z_dim
        plans = block_plans(config, self.resolution)
        self.shapes = [plan.shape for plan in plans]
        self.block_names = [plan.name for plan in plans]
        self.add_module(plans[0].name, GeneratorStart(config.z_dim + c_dim, plans[0], channels))
        for before, plan in itertools.pairwise(plans):
            self.add_module(plan.name, GeneratorBlock(before.width, plan, channels))

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
        x = checked(z, self.z_dim, "z")
        if self.c_dim:
            x = torch.cat([x, checked(c, self.c_dim, "labels c")], dim=1)
        x, before = pixel_norm(x), None
        blocks = [getattr(self, name) for name in self.block_names[: self.working]]
        for block in blocks:
            before, x = x, block(x)
        img = blocks[-1].torgb(x)
        if self.alpha is not None and before is not None:
            img = faded(doubled(blocks[-2].torgb(before)), img, self.alpha)
        return self.shown(img) if self.enlarge else img


class ProGANDiscriminator(GrowingDiscriminator):
    """Images [N, channels, h, w] -> logits [N, 1]. With labels it says what class an image has, too, rather than take the
    label (AC-GAN, Odena et al. 2017)."""

    config: ProGANDiscriminatorConfig

    def __init__(self, config: ProGANDiscriminatorConfig, *, resolution: tuple[int, int], channels: int, c_dim: int):
        shape = {"resolution": resolution, "channels": channels, "c_dim": c_dim}
        super().__init__(config, **shape, outputs=1 + c_dim, pool_last=config.pool_last)

    def forward(self, img: Tensor, c: Tensor | None = None, *, batches: int = 1) -> Tensor:
        """See `Discriminator`; labels are not looked at."""
        return self.outputs(img, batches)[:, :1]

    def classify(self, img: Tensor, *, batches: int = 1) -> tuple[Tensor, Tensor]:
        """Logits [N, 1], and logits of the classes [N, c_dim]: `losses.wgan_gp.Classifying`."""
        logits, classes = self.outputs(img, batches).split([1, self.c_dim], dim=1)
        return logits, classes


def tensorflow_names(network: ProGANGenerator | ProGANDiscriminator, *, fused: bool = True) -> Iterator[TensorFlowName]:
    """Every variable of the paper's network of the size of one of ours, and ours.

    Args:
        network: G or D.
        fused: G has up-convolutions in one (`fused_scale`, the default there); D's `pool_last` says it.
    """
    if isinstance(network, ProGANDiscriminator):
        return discriminator_names(network.shapes, pool_last=network.config.pool_last)
    return generator_names(network.shapes, fused=fused)


def generator_names(shapes: Sequence[tuple[int, int]], *, fused: bool) -> Iterator[TensorFlowName]:
    """The same of a G whose blocks work at (H, W), smallest first."""
    for place, (h, w) in enumerate(shapes):
        name = f"b{max(h, w)}"
        if place == 0:
            yield from with_bias(f"{h}x{w}/Dense", Layout.dense, f"{name}.dense")
            yield from with_bias(f"{h}x{w}/Conv", Layout.conv, f"{name}.conv")
        else:
            up = (f"{h}x{w}/Conv0_up", Layout.up) if fused else (f"{h}x{w}/Conv0", Layout.conv)
            yield from with_bias(*up, f"{name}.conv0")
            yield from with_bias(f"{h}x{w}/Conv1", Layout.conv, f"{name}.conv1")
        yield from with_bias(f"ToRGB_lod{len(shapes) - 1 - place}", Layout.conv, f"{name}.torgb")

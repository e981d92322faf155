"""R3GAN (Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern GAN Baseline", section 4 and appendix D): residual
networks without anything that style-based ones added: no mapping network and no w, no noise, no normalisation, no statistics of
the batch, no weights scaled at run time.

G: z and the embedded label -> a learned basis of 4x4 pixels -> stages of one transition and some blocks -> 1x1 to colours. D is
its mirror image. Stages are named by the longer side of what they work on: `b8.block0.weight1`.
"""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from stylegan.errors import UserError
from stylegan.models.base import Discriminator, Generator, noise_for
from stylegan.models.layers import (
    RESAMPLE_FILTER,
    Precision,
    block_channels,
    block_dtypes,
    block_shapes,
    check_kind,
)
from stylegan.models.mapping import checked_vectors
from stylegan.ops.bias_act import bias_act
from stylegan.ops.conv2d import conv2d
from stylegan.ops.upfirdn2d import downsample2d, setup_filter, upsample2d
from stylegan.values import COUNT, COUNT_OR_NONE, check_values

RESIDUAL_GAIN = math.sqrt(2 / (1 + 0.2**2))  # He's for a leaky ReLU of slope 0.2


@dataclass
class _Sizes:
    """Options that both networks have."""

    channel_base: int = field(
        default=24576, metadata={"help": "feature maps of a stage = channel_base / its longer side", "range": COUNT}
    )
    channel_max: int = field(default=768, metadata={"help": "upper bound of feature maps", "range": COUNT})
    widths: str | None = field(
        default=None,
        metadata={"help": "feature maps of every stage, smallest first (768,768,384), in place of these two"},
    )
    group_width: int = field(
        default=16, metadata={"help": "feature maps that a 3x3 convolution sees together", "range": COUNT}
    )
    groups: str | None = field(
        default=None,
        metadata={"help": "groups of the 3x3 convolutions of every stage (96,96,48), in place of group_width"},
    )
    blocks: int = field(default=2, metadata={"help": "residual blocks of a stage", "range": COUNT})
    expansion: int = field(default=2, metadata={"help": "how much wider a block is inside", "range": COUNT})
    precision: Precision = field(
        default=Precision.fp32,
        metadata={"help": "of the highest resolutions: fp32 or bf16", "weights": "any"},
    )
    reduced_blocks: int = field(
        default=4, metadata={"help": "how many resolutions compute in bf16", "weights": "any", "range": COUNT_OR_NONE}
    )


@dataclass
class R3GANConfig(_Sizes):
    """Options of the R3GAN `Generator`, without what follows from the data: resolution, channels, labels."""

    kind: str = field(default="r3gan", metadata={"help": "the architecture; model/G=NAME sets it"})
    z_dim: int = field(default=64, metadata={"help": "size of the latent z", "range": COUNT})
    c_embed_dim: int | None = field(
        default=None, metadata={"help": "size of the embedded label; null: as z_dim", "range": COUNT}
    )

    def __post_init__(self) -> None:
        _check(self, "model/G")

    def build(self, *, resolution: tuple[int, int], channels: int, c_dim: int) -> "R3GANGenerator":
        """A new generator with random weights, for images of the same sizes as `StyleGAN2Config`; see `NetworkConfig`."""
        return R3GANGenerator(self, resolution=resolution, channels=channels, c_dim=c_dim)


@dataclass
class R3GANDiscriminatorConfig(_Sizes):
    """Options of the `R3GANDiscriminator`."""

    kind: str = field(default="r3gan_discriminator", metadata={"help": "the architecture; model/D=NAME sets it"})
    c_embed_dim: int | None = field(
        default=None, metadata={"help": "size of the embedded label; null: feature maps at the end", "range": COUNT}
    )

    def __post_init__(self) -> None:
        _check(self, "model/D")

    def build(self, *, resolution: tuple[int, int], channels: int, c_dim: int) -> "R3GANDiscriminator":
        """A new discriminator with random weights; see `R3GANConfig`."""
        return R3GANDiscriminator(self, resolution=resolution, channels=channels, c_dim=c_dim)


def _check(config: Any, group: str) -> None:
    check_kind(config, group)
    check_values(config, group.replace("/", "."))
    name = group.replace("/", ".")
    for option in ("widths", "groups"):
        text = getattr(config, option)
        if text is not None and not re.fullmatch(r"[1-9][0-9]{0,5}(,[1-9][0-9]{0,5}){0,15}", text):
            raise UserError(
                f"{name}.{option}={text[:80]}: write a whole number for every stage, smallest first, such as 768,384,192"
            )
    if config.precision is Precision.fp16:
        raise UserError(f"{name}.precision=fp16: activations of R3GAN have no bound and overflow; choose bf16")


@dataclass(frozen=True)
class _Plan:
    """What a stage consists of.

    Attributes:
        name: Of the module.
        shape: (H, W) of what its blocks work on.
        width: Feature maps.
        groups: Of the 3x3 convolutions.
        dtype: The format in which it computes; None for that of its parameters.
    """

    name: str
    shape: tuple[int, int]
    width: int
    groups: int
    dtype: torch.dtype | None


def _stages(config: R3GANConfig | R3GANDiscriminatorConfig, resolution: tuple[int, int], group: str) -> list[_Plan]:
    """Of a network, smallest first.

    Raises:
        UserError: A resolution that cannot be made, or widths and groups that do not fit it or each other.
    """
    shapes = block_shapes(resolution)
    widths = _of_stages(config.widths, len(shapes), f"{group}.widths")
    widths = widths or [block_channels(shape, config.channel_base, config.channel_max) for shape in shapes]
    inside = [config.expansion * width for width in widths]
    groups = _of_stages(config.groups, len(shapes), f"{group}.groups")
    groups = groups or [max(n // config.group_width, 1) for n in inside]
    for n, divisor in zip(inside, groups, strict=True):
        if n % divisor:
            raise UserError(
                f"{group}: {n} feature maps inside of a block are no multiple of its {divisor} groups; choose widths that are "
                f"multiples of {group}.group_width={config.group_width}, or other {group}.groups"
            )
    dtypes = block_dtypes(len(shapes), config.precision, config.reduced_blocks)
    names = [f"b{max(shape)}" for shape in shapes]
    return [_Plan(*parts) for parts in zip(names, shapes, widths, groups, dtypes, strict=True)]


def _of_stages(text: str | None, count: int, name: str) -> list[int]:
    """The numbers of an option; none where it is None."""
    numbers = [] if text is None else [int(number) for number in text.split(",")]
    if numbers and len(numbers) != count:
        raise UserError(
            f"{name}={text}: these images need {count} stages, from 4 pixels on, and these are {len(numbers)}"
        )
    return numbers


def _weight(*shape: int, gain: float = 1.0) -> nn.Parameter:
    """Normal with a deviation of gain / sqrt(inputs of an output)."""
    weight = torch.randn(shape) * (gain / math.sqrt(math.prod(shape[1:])))
    return nn.Parameter(weight.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else weight)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """Without bias."""
    linear = nn.Linear(inputs, outputs, bias=False, device="meta").to_empty(
        device="cpu"
    )  # torch's own numbers are not wanted
    linear.weight = _weight(outputs, inputs)
    return linear


class ResidualBlock(nn.Module):
    """x [N, C, H, W] + what three convolutions make of it (section 4.2: ResNeXt's, inverted).

    The third starts at zero (Fixup, Zhang et al. 2019): a new block is the identity, bit for bit. The first two have a gain by
    which the variance grows as if only one of all `depth` blocks of the network did something.
    """

    def __init__(self, width: int, expansion: int, groups: int, depth: int):
        super().__init__()
        self.groups = groups
        inside, gain = expansion * width, RESIDUAL_GAIN * depth**-0.25
        self.weight1 = _weight(inside, width, 1, 1, gain=gain)
        self.bias1 = nn.Parameter(torch.zeros(inside))
        self.weight2 = _weight(inside, inside // groups, 3, 3, gain=gain)
        self.bias2 = nn.Parameter(torch.zeros(inside))
        self.weight3 = _weight(width, inside, 1, 1, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """See the class; in the format of x."""
        y = conv2d(x, self.weight1.to(x.dtype))
        y = bias_act(y, self.bias1.to(x.dtype), act="lrelu", gain=1)
        y = conv2d(y, self.weight2.to(x.dtype), padding=1, groups=self.groups)
        y = bias_act(y, self.bias2.to(x.dtype), act="lrelu", gain=1)
        return x + conv2d(y, self.weight3.to(x.dtype))


class Stage(nn.Module):
    """Blocks at one resolution, and the way from or to a neighbour: a 1x1 convolution where widths differ, and resampling.

    Attributes:
        blocks: How many.
        dtype: See `_Plan`.
    """

    resample_filter: Tensor

    def __init__(self, plan: _Plan, other: int | None, *, upwards: bool, blocks: int, expansion: int, depth: int):
        """`other`: width of the stage before it in G, of the one after it in D; None at the smallest."""
        super().__init__()
        self.dtype, self.blocks = plan.dtype, blocks
        if other is not None:
            self.register_buffer("resample_filter", setup_filter(RESAMPLE_FILTER), persistent=False)
            ways = (plan.width, other) if upwards else (other, plan.width)
            self.transition = _weight(*ways, 1, 1) if other != plan.width else None
        for i in range(blocks):
            self.add_module(f"block{i}", ResidualBlock(plan.width, expansion, plan.groups, depth))

    def through_blocks(self, x: Tensor) -> Tensor:
        """[N, C, H, W]."""
        for i in range(self.blocks):
            x = getattr(self, f"block{i}")(x)
        return x

    def upwards(self, x: Tensor) -> Tensor:
        """What the stage before made [N, I, H / 2, W / 2] -> [N, C, H, W]: to this width, then to twice the size."""
        return upsample2d(self._other_width(x), self.resample_filter)

    def downwards(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, O, H / 2, W / 2]: to half the size, then to the next width."""
        return self._other_width(downsample2d(x, self.resample_filter))

    def _other_width(self, x: Tensor) -> Tensor:
        return x if self.transition is None else conv2d(x, self.transition.to(x.dtype))


class R3GANGenerator(Generator):
    """z [N, z_dim], standard normal and taken as it is, and labels [N, c_dim] -> images [N, channels, H, W]."""

    config: R3GANConfig

    def __init__(self, config: R3GANConfig, *, resolution: tuple[int, int], channels: int, c_dim: int):
        super().__init__(config, resolution=resolution, channels=channels, c_dim=c_dim)
        self.z_dim = config.z_dim
        plans = _stages(config, self.resolution, "model.G")
        embed_dim = (config.c_embed_dim or config.z_dim) if c_dim else 0
        self.embed = _weight(embed_dim, c_dim) if c_dim else None
        self.basis = nn.Parameter(torch.randn(plans[0].width, *plans[0].shape))
        self.linear = _linear(config.z_dim + embed_dim, plans[0].width)
        options = {"upwards": True, "blocks": config.blocks, "expansion": config.expansion}
        self.stage_names = [plan.name for plan in plans]
        for before, plan in zip([None, *plans], plans, strict=False):
            stage = Stage(plan, before and before.width, depth=config.blocks * len(plans), **options)
            self.add_module(plan.name, stage)
        self.torgb = _weight(channels, plans[-1].width, 1, 1)

    @property
    def precision(self) -> Precision:
        """See `Generator`."""
        return self.config.precision

    def set_precision(self, precision: Precision) -> None:
        """See `Generator`."""
        if precision is Precision.fp16:
            raise UserError("precision=fp16: activations of R3GAN have no bound and overflow; choose bf16 or fp32")
        for name, dtype in zip(
            self.stage_names,
            block_dtypes(len(self.stage_names), precision, self.config.reduced_blocks),
            strict=True,
        ):
            getattr(self, name).dtype = dtype
        self.config = replace(self.config, precision=precision)

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
        x = checked_vectors(z, self.z_dim, "z")
        if self.embed is not None:
            x = torch.cat([x, checked_vectors(c, self.c_dim, "labels c") @ self.embed.t()], dim=1)
        x = self.linear(x)[:, :, None, None] * self.basis
        x = x.contiguous(memory_format=torch.channels_last)
        for i, name in enumerate(self.stage_names):
            stage = getattr(self, name)
            x = x.to(stage.dtype or self.torgb.dtype)
            x = stage.through_blocks(stage.upwards(x) if i else x)
        return conv2d(x.to(self.torgb.dtype), self.torgb)


class R3GANDiscriminator(Discriminator):
    """Images [N, channels, H, W] and labels [N, c_dim] -> logits [N, 1], with projection of labels (Miyato and Koyama 2018)."""

    config: R3GANDiscriminatorConfig

    def __init__(self, config: R3GANDiscriminatorConfig, *, resolution: tuple[int, int], channels: int, c_dim: int):
        super().__init__(config, resolution=resolution, channels=channels, c_dim=c_dim)
        plans = _stages(config, self.resolution, "model.D")[::-1]
        self.fromrgb = _weight(plans[0].width, channels, 1, 1)
        options = {"upwards": False, "blocks": config.blocks, "expansion": config.expansion}
        self.stage_names = [plan.name for plan in plans]
        for plan, after in itertools.zip_longest(plans, plans[1:]):
            stage = Stage(plan, after and after.width, depth=config.blocks * len(plans), **options)
            self.add_module(plan.name, stage)
        width, embed_dim = plans[-1].width, config.c_embed_dim or plans[-1].width
        self.basis = _weight(width, 1, *plans[-1].shape)  # a convolution of each feature map by itself
        self.linear = _linear(width, embed_dim if c_dim else 1)
        self.embed = _weight(embed_dim, c_dim, gain=embed_dim**-0.5) if c_dim else None

    def forward(self, img: Tensor, c: Tensor | None = None, *, batches: int = 1) -> Tensor:
        """See `Discriminator`; images are never compared."""
        last = getattr(self, self.stage_names[-1])
        x = self._through_stages(img)[-1]
        x = last.through_blocks(x.to(last.dtype or self.basis.dtype)).to(self.basis.dtype)
        x = self.linear((x * self.basis[:, 0]).sum(dim=[2, 3]))
        if self.embed is None:
            return x
        return (x * (checked_vectors(c, self.c_dim, "labels c") @ self.embed.t())).sum(dim=1, keepdim=True)

    def features(self, img: Tensor) -> list[Tensor]:
        """See `Discriminator`."""
        return self._through_stages(img)[1:] or [img]

    def _through_stages(self, img: Tensor) -> list[Tensor]:
        """What goes into every stage, from the image inwards."""
        if img.shape[1:] != (self.channels, *self.resolution):
            wanted = ("N", self.channels, *self.resolution)
            raise UserError(f"the discriminator needs images of shape {wanted}, got {tuple(img.shape)}")
        stages: Sequence[Stage] = [getattr(self, name) for name in self.stage_names]
        dtype = stages[0].dtype or self.fromrgb.dtype
        x = conv2d(img.contiguous(memory_format=torch.channels_last).to(dtype), self.fromrgb.to(dtype))
        found = [x]
        for stage in stages[:-1]:
            found.append(stage.downwards(stage.through_blocks(found[-1].to(stage.dtype or self.fromrgb.dtype))))
        return found

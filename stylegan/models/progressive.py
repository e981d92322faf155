"""What ProGAN and StyleGAN1 are both made of (Karras et al. 2018, sections 2 to 4 and appendix A; Karras et al. 2019).

A weight is stored as unit normal noise, divided by its learning rate multiplier, and counts times gain * multiplier /
sqrt(inputs of an output): the gain of an activation is within the weights, not after the activation as in StyleGAN2.

Convolutions that resample are kept in their plain form: each pixel four times, then a correlation; or a correlation, then the
means of 2x2 pixels. They are computed as one convolution of 4x4 ("fused" in the papers' code), which is the same function.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad

from stylegan.errors import UserError
from stylegan.models.base import Discriminator
from stylegan.models.discriminator import minibatch_std
from stylegan.models.growing import Grows, faded
from stylegan.models.layers import block_channels, block_shapes, conv_weight
from stylegan.ops.bias_act import bias_act
from stylegan.ops.scaled_conv2d import scaled_conv2d
from stylegan.ops.upfirdn2d import filter2d, setup_filter
from stylegan.values import COUNT

GAIN = math.sqrt(2)  # He's for a ReLU, which is what the papers take for the leaky one
BLUR = (1, 2, 1)  # StyleGAN, section 3 "bilinear sampling"


class Layout(Enum):
    """From how TensorFlow lays a weight out, as published networks do, to ours."""

    same = "same"
    dense = "dense"  # [I, O]
    conv = "conv"  # [kh, kw, I, O]
    turned = "turned"  # the same of a fused up-convolution: the kernel of the plain form is turned by 180 degrees
    up = "up"  # the same, [kh, kw, O, I]
    one = "one"  # [1, ...], for all images
    plane = "plane"  # [1, 1, H, W]

    def ours(self, t: Tensor) -> Tensor:
        """A tensor there as it is here."""
        return _TO_OURS[self](t)

    @property
    def dimensions(self) -> int:
        """How many a tensor has there."""
        return {Layout.same: 1, Layout.dense: 2}.get(self, 4)


_TO_OURS: dict[Layout, Callable[[Tensor], Tensor]] = {
    Layout.same: lambda t: t,
    Layout.dense: lambda t: t.t(),
    Layout.conv: lambda t: t.permute(3, 2, 0, 1),
    Layout.turned: lambda t: t.permute(3, 2, 0, 1).flip(2, 3),
    Layout.up: lambda t: t.permute(2, 3, 0, 1).flip(2, 3),
    Layout.one: lambda t: t.squeeze(0),
    Layout.plane: lambda t: t.squeeze(0).squeeze(0),
}

TensorFlowName = tuple[str, Layout, str]
"""A variable's name there, how it is laid out, and the name of our parameter or buffer."""


def with_bias(theirs: str, layout: Layout, ours: str) -> Iterator[TensorFlowName]:
    """Weight and bias of a layer."""
    yield f"{theirs}/weight", layout, f"{ours}.weight"
    yield f"{theirs}/bias", Layout.same, f"{ours}.bias"


def convolve(x: Tensor, w: Tensor, *, gain: float = GAIN, up: bool = False, down: bool = False) -> Tensor:
    """Correlate [N, I, H, W] with a stored weight [O, I, k, k], and zeros around: [N, O, H, W].

    Args:
        x, w: See above.
        gain: Of the activation that follows.
        up: Write each pixel four times, before; k is 3. [N, O, 2 H, 2 W].
        down: Take the means of 2x2 pixels, after; k is 3. [N, O, H / 2, W / 2].
    """
    gain /= math.sqrt(w[0].numel())
    if up:
        w = _spread(w.flip(2, 3)).transpose(0, 1).contiguous(memory_format=torch.channels_last)
        return scaled_conv2d(x, w, gain=gain, transpose=True, stride=2, padding=1)
    if down:
        w = _spread(w).contiguous(memory_format=torch.channels_last)
        return scaled_conv2d(x, w, gain=gain / 4, stride=2, padding=1)
    return scaled_conv2d(x, w, gain=gain, padding=w.shape[2] // 2)


def _spread(w: Tensor) -> Tensor:
    """[O, I, 3, 3] -> [O, I, 4, 4]: the sum of the kernel at four places, for 2x2 pixels that are alike or are averaged."""
    w = pad(w, [1, 1, 1, 1])
    return w[:, :, 1:, 1:] + w[:, :, 1:, :-1] + w[:, :, :-1, 1:] + w[:, :, :-1, :-1]


class Convolution(nn.Module):
    """Convolution, bias, activation: [N, I, H, W] -> [N, O, H', W']; see `convolve`."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, *, activation: str = "lrelu", **resample: bool
    ):
        super().__init__()
        self.activation, self.resample = activation, resample
        self.weight = nn.Parameter(conv_weight(out_channels, in_channels, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """The layer's result."""
        x = convolve(x, self.weight, gain=GAIN if self.activation == "lrelu" else 1.0, **self.resample)
        return bias_act(x, self.bias.to(x.dtype), act=self.activation, gain=1)


class Dense(nn.Module):
    """Fully connected layer, bias, activation: [N, I] -> [N, O]."""

    def __init__(self, in_features: int, out_features: int, *, activation: str = "lrelu", lr_multiplier: float = 1.0):
        super().__init__()
        self.activation, self.lr_multiplier = activation, lr_multiplier
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Tensor) -> Tensor:
        """The layer's result."""
        gain = (GAIN if self.activation == "lrelu" else 1.0) * self.lr_multiplier / math.sqrt(self.weight.shape[1])
        return bias_act((x * gain) @ self.weight.t(), self.bias * self.lr_multiplier, act=self.activation, gain=1)


@dataclass
class GrowingSizes:
    """Options that all these networks have."""

    channel_base: int = field(
        default=16384, metadata={"help": "feature maps of a block = channel_base / its longer side", "range": COUNT}
    )
    channel_max: int = field(default=512, metadata={"help": "upper bound of feature maps", "range": COUNT})


@dataclass
class GrowingDiscriminatorSizes(GrowingSizes):
    """Options that both discriminators have."""

    minibatch_std_group: int | None = field(
        default=4,
        metadata={
            "help": "images compared by the minibatch standard deviation; null = the whole batch",
            "weights": "alike",
            "range": COUNT,
        },
    )


@dataclass(frozen=True)
class BlockPlan:
    """A block to be.

    Attributes:
        name: Of the module.
        shape: (H, W) of what it works on.
        width: Feature maps.
    """

    name: str
    shape: tuple[int, int]
    width: int


def block_plans(sizes: GrowingSizes, resolution: tuple[int, int]) -> list[BlockPlan]:
    """Of a network for images of (H, W), smallest first.

    Raises:
        UserError: A resolution that cannot be made.
    """
    shapes = block_shapes(resolution)
    widths = [block_channels(shape, sizes.channel_base, sizes.channel_max) for shape in shapes]
    return [BlockPlan(f"b{max(shape)}", shape, width) for shape, width in zip(shapes, widths, strict=True)]


class DiscriminatorBlock(nn.Module):
    """All layers of D at one resolution: [N, I, H, W] -> [N, O, H / 2, W / 2]."""

    blur: Tensor

    def __init__(self, plan: BlockPlan, out_channels: int, channels: int, *, blurs: bool, pool_last: bool):
        super().__init__()
        self.pool_last = pool_last
        self.fromrgb = Convolution(channels, plan.width, 1)
        self.conv0 = Convolution(plan.width, plan.width)
        self.conv1 = Convolution(plan.width, out_channels, down=not pool_last)
        self.register_buffer("blur", setup_filter(BLUR) if blurs else None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.conv0(x)
        x = self.conv1(x if self.blur is None else filter2d(x, self.blur))
        return avg_pool2d(x, 2) if self.pool_last else x


class DiscriminatorEnd(nn.Module):
    """The last block: features [N, C, H0, W0] -> [N, outputs]."""

    def __init__(self, plan: BlockPlan, hidden: int, outputs: int, channels: int, group: int | None):
        super().__init__()
        self.group = group
        self.fromrgb = Convolution(channels, plan.width, 1)
        self.conv = Convolution(plan.width + 1, plan.width)
        self.dense0 = Dense(plan.width * math.prod(plan.shape), hidden)
        self.dense1 = Dense(hidden, outputs, activation="linear")

    def forward(self, x: Tensor, batches: int) -> Tensor:
        """Features of so many batches."""
        x = torch.cat([x, minibatch_std(x, self.group, 1, batches)], dim=1)
        # Flattened in the order C, H, W whatever the memory format: published weights expect it.
        return self.dense1(self.dense0(self.conv(x).flatten(1)))


class GrowingDiscriminator(Grows, Discriminator):
    """Images [N, channels, h, w] of the stage's resolution -> what its last layer makes of them, [N, outputs]."""

    config: Any

    def __init__(
        self,
        config: Any,
        *,
        resolution: tuple[int, int],
        channels: int,
        c_dim: int,
        outputs: int,
        blurs: bool = False,
        pool_last: bool = False,
    ):
        """`config` derives from `GrowingDiscriminatorSizes`."""
        super().__init__(config, resolution=resolution, channels=channels, c_dim=c_dim)
        plans = block_plans(config, self.resolution)
        self.shapes = [plan.shape for plan in plans]
        self.block_names = [plan.name for plan in plans]
        # Half of the first block's side would be 2: the width that such a block had.
        hidden = block_channels((max(plans[0].shape) // 2, 1), config.channel_base, config.channel_max)
        end = DiscriminatorEnd(plans[0], hidden, outputs, channels, config.minibatch_std_group)
        self.add_module(plans[0].name, end)
        for before, plan in itertools.pairwise(plans):
            block = DiscriminatorBlock(plan, before.width, channels, blurs=blurs, pool_last=pool_last)
            self.add_module(plan.name, block)

    @property
    def minibatch_group(self) -> int | None:
        """See `Discriminator`."""
        return self.config.minibatch_std_group

    @property
    def blocks(self) -> list[Any]:
        """The blocks, smallest first."""
        return [getattr(self, name) for name in self.block_names]

    def outputs(self, img: Tensor, batches: int) -> Tensor:
        """[N, outputs]; see `Discriminator.forward`."""
        return self.blocks[0](self._through_blocks(img)[-1], batches)

    def features(self, img: Tensor) -> list[Tensor]:
        """See `Discriminator`."""
        return self._through_blocks(img)[1:] or [img]

    def _through_blocks(self, img: Tensor) -> list[Tensor]:
        """What goes into every block that works, from the image inwards."""
        if img.shape[1:] != (self.channels, *self.shapes[self.level]):
            wanted = ("N", self.channels, *self.shapes[self.level])
            raise UserError(f"the discriminator needs images of shape {wanted}, got {tuple(img.shape)}")
        img = img.contiguous(memory_format=torch.channels_last)
        blocks, found = self.blocks, [self.blocks[self.level].fromrgb(img)]
        for i in range(self.level, 0, -1):
            x = blocks[i](found[-1])
            if i == self.level and self.alpha is not None:
                x = faded(blocks[i - 1].fromrgb(avg_pool2d(img, 2)), x, self.alpha)
            found.append(x)
        return found


def discriminator_names(shapes: Sequence[tuple[int, int]], *, pool_last: bool = False) -> Iterator[TensorFlowName]:
    """Every variable of the papers' discriminator whose blocks work at (H, W), smallest first, and ours."""
    for lod, (h, w) in enumerate(reversed(shapes)):
        name = f"b{max(h, w)}"
        yield from with_bias(f"FromRGB_lod{lod}", Layout.conv, f"{name}.fromrgb")
        if lod == len(shapes) - 1:
            yield from with_bias(f"{h}x{w}/Conv", Layout.conv, f"{name}.conv")
            for i in (0, 1):
                yield from with_bias(f"{h}x{w}/Dense{i}", Layout.dense, f"{name}.dense{i}")
        else:
            yield from with_bias(f"{h}x{w}/Conv0", Layout.conv, f"{name}.conv0")
            down = "Conv1" if pool_last else "Conv1_down"
            yield from with_bias(f"{h}x{w}/{down}", Layout.conv, f"{name}.conv1")


def checked(x: Tensor | None, features: int, name: str) -> Tensor:
    """x, which a network needs as [N, features]; raises a `UserError` where it is something else."""
    if x is None or x.ndim != 2 or x.shape[1] != features:
        got = "none" if x is None else str(tuple(x.shape))
        raise UserError(f"the network needs {name} of shape (N, {features}), got {got}")
    return x


def by_our_names(names: Sequence[TensorFlowName], theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Variables, or what belongs to each of them, such as gradients, by our names and as we lay them out; those without a name
    of ours are left out."""
    return {ours: layout.ours(theirs[name]) for name, layout, ours in names if name in theirs}

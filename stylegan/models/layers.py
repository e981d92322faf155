"""What networks with equalised learning rate (Karras et al. 2018, section 4.1) are made of, block by block.

A weight is stored as unit normal noise divided by its learning rate multiplier, and counts as scaled by the He constant times
that multiplier: the optimizer sees weights of equal size everywhere. What is multiplied is not the weight but a layer's input
(`input_gain`), which the layer before scales along with its activation, at no cost. Convolution weights and activations are
kept in channels_last, which is the quicker layout on CPUs.
"""

import enum
import math
from typing import Any

import torch
from torch import Tensor, nn

from stylegan.errors import UserError
from stylegan.models.resolutions import SMALLEST, nearest_resolutions
from stylegan.ops.bias_act import ACTIVATIONS, bias_act
from stylegan.ops.modulated_epilogue import modulated_epilogue

RESAMPLE_FILTER = (1, 3, 3, 1)  # StyleGAN2, appendix B


class Architecture(enum.Enum):
    """How features and images are joined between resolutions (StyleGAN2, figure 7)."""

    orig = "orig"
    skip = "skip"
    resnet = "resnet"


class Precision(enum.Enum):
    """In which floating point format convolutions compute. Parameters are float32 in any case."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"

    @property
    def dtype(self) -> torch.dtype:
        """The format's name in torch."""
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.value]


class FullyConnected(nn.Module):
    """act(x @ W^T + b) for x [N, in_features] -> [N, out_features]; `linear`, or an activation linear on both sides of zero.

    Attributes:
        input_gain: What x is multiplied with, for W to be of equal size everywhere.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        activation: str = "linear",
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ):
        super().__init__()
        self.activation = activation
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full([out_features], float(bias_init))) if bias else None
        self.input_gain = 1 / math.sqrt(in_features)
        # Of weight and bias alike: it passes through the activation.
        self.gain = lr_multiplier * ACTIVATIONS[activation].gain

    def forward(self, x: Tensor, gain: float = 1.0, *, scaled: bool = False) -> Tensor:
        """The layer's result [N, out_features].

        Args:
            x: [N, in_features].
            gain: Multiplies the result.
            scaled: x has been multiplied with `input_gain`.
        """
        x, gain = x if scaled else x * self.input_gain, gain * self.gain
        if self.activation == "linear" and gain == 1:
            return nn.functional.linear(x, self.weight, self.bias)
        return bias_act(x @ self.weight.t(), self.bias, act=self.activation, gain=gain)


def activate(x: Tensor, b: Tensor | None, act: str, gain: float = 1.0, clamp: float | None = None) -> Tensor:
    """Bias, activation with its own gain times `gain`, and a clamp that grows with `gain`; x [N, C, H, W]."""
    return modulated_epilogue(x, b=b, act=act, **scaled(act, gain, clamp))


def scaled(act: str, gain: float, clamp: float | None) -> dict[str, Any]:
    """Gain and clamp of an activation whose result is multiplied with `gain`."""
    return {"gain": ACTIVATIONS[act].gain * gain, "clamp": None if clamp is None else clamp * gain}


def conv_weight(out_channels: int, in_channels: int, kernel_size: int) -> Tensor:
    """Unit normal weights [O, I, k, k] in channels_last."""
    weight = torch.randn(out_channels, in_channels, kernel_size, kernel_size)
    return weight.contiguous(memory_format=torch.channels_last)


def normalize_second_moment(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Scale each row of x [N, F] to a mean square of one."""
    return x * (x.square().mean(dim=1, keepdim=True) + eps).rsqrt()


def block_shapes(resolution: tuple[int, int]) -> list[tuple[int, int]]:
    """The (H, W) of every block, smallest first: halved until the longer side is 4 to 7.

    Raises:
        UserError: A side cannot be halved that often; names the nearest resolutions that can.
    """
    height, width = resolution
    shapes = [(height, width)]
    while max(shapes[0]) > SMALLEST[-1] and all(side % 2 == 0 for side in shapes[0]):
        shapes.insert(0, (shapes[0][0] // 2, shapes[0][1] // 2))
    if max(shapes[0]) not in SMALLEST or min(shapes[0]) < 1:
        near = ", ".join(f"{h}x{w}" for h, w in nearest_resolutions(resolution))
        raise UserError(
            f"the networks cannot make images of {height}x{width} (HxW): both sides must be small numbers"
            f" doubled equally often, the longer from {SMALLEST[0]} to {SMALLEST[-1]} at the start;"
            f" the nearest sizes are {near}"
        )
    return shapes


def channel_base_of(channel_base: int | None, resolution: tuple[int, int]) -> int:
    """The option `channel_base`; where it is None, by (H, W): half as much below 512 pixels (StyleGAN2-ADA, `auto`)."""
    if channel_base is not None:
        return channel_base
    return 32768 if max(resolution) >= 512 else 16384


def block_channels(shape: tuple[int, int], channel_base: int, channel_max: int) -> int:
    """Feature maps of the block that works at `shape`."""
    return max(min(channel_base // max(shape), channel_max), 1)


def check_kind(config: Any, group: str) -> None:
    """Raise a `UserError` if a config's `kind` is not that of its class, which `group`=NAME chooses."""
    if config.kind != type(config).kind:
        raise UserError(f"kind={config.kind}: these are the options of {type(config).kind}; choose it by {group}=NAME")


def check_precision(group: str, precision: Precision, reduced_blocks: int, clamp: float | None) -> None:
    """Raise a `UserError` that names the `group` of settings for fp16 without the clamp that keeps it from overflowing."""
    if precision is Precision.fp16 and reduced_blocks > 0 and clamp is None:
        raise UserError(
            f"{group}.precision=fp16 overflows without a bound on activations; give {group}.conv_clamp=256, or choose "
            f"{group}.precision=bf16"
        )


def block_dtypes(count: int, precision: Precision, reduced_blocks: int) -> list[torch.dtype | None]:
    """The format in which each of `count` blocks computes, smallest block first; None for that of its parameters.

    The highest `reduced_blocks` resolutions take the reduced one, but never the smallest block: the generator's starts from
    a constant, the discriminator's compares images (StyleGAN2-ADA, appendix D, "Mixed-precision training").
    """
    if precision is Precision.fp32:
        return [None] * count
    reduced = max(min(reduced_blocks, count - 1), 0)
    return [None] * (count - reduced) + [precision.dtype] * reduced

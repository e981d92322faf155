"""The plain convolution layer, of discriminators and of `resnet` generators; modulated ones stand with their synthesis."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stylegan.models.layers import RESAMPLE_FILTER, activate, conv_weight, scaled
from stylegan.ops.bias_act import ACTIVATIONS
from stylegan.ops.conv2d_resample import conv2d_resample
from stylegan.ops.filtered_lrelu import filtered_lrelu
from stylegan.ops.scaled_conv2d import scaled_conv2d
from stylegan.ops.upfirdn2d import downsample_padding, setup_filter, upfirdn2d, upfirdn2d_beside


class Conv2d(nn.Module):
    """Convolution, optionally resampling by two, then bias, activation and clamp; [N, I, H, W] -> [N, O, H', W'].

    With `trainable=False` weight and bias are buffers: they have the same names in the state_dict, yet no optimizer, no
    `parameters()` and no `requires_grad_` reaches them. It computes in the format of its input.

    Attributes:
        input_gain: What x is multiplied with, or else the weight, for that to be of equal size everywhere.
    """

    resample_filter: Tensor
    identity: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        bias: bool = True,
        activation: str = "linear",
        up: int = 1,
        down: int = 1,
        conv_clamp: float | None = None,
        trainable: bool = True,
    ):
        super().__init__()
        self.activation, self.up, self.down, self.conv_clamp = activation, up, down, conv_clamp
        self.padding = kernel_size // 2
        self.input_gain = 1 / math.sqrt(in_channels * kernel_size**2)
        weight = conv_weight(out_channels, in_channels, kernel_size)
        offset = torch.zeros(out_channels) if bias else None
        if trainable:
            self.weight = nn.Parameter(weight)
            self.bias = None if offset is None else nn.Parameter(offset)
        else:
            self.register_buffer("weight", weight)
            self.register_buffer("bias", offset)
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_FILTER))
        self.register_buffer("identity", setup_filter(None), persistent=False)

    def forward(
        self,
        x: Tensor,
        gain: float = 1.0,
        *,
        followed_by: "Conv2d | None" = None,
        filtered: bool = False,
        scaled: bool = False,
    ) -> Tensor:
        """The layer's result, or that and the low-pass filter of the next layer.

        Args:
            x: [N, I, H, W].
            gain: Multiplies the result, clamp included.
            followed_by: A layer that halves the resolution; this one must have a leaky ReLU. Its filter and `input_gain` are
                applied, too, see `lrelu_then_filter`.
            filtered: x is the result of a layer that was `followed_by` this one.
            scaled: x has been multiplied with `input_gain`, which saves multiplying the weight.
        """
        linear = self.activation == "linear" and self.bias is None and self.conv_clamp is None
        own, gain = (gain, 1.0) if linear else (1.0, gain)  # with the weights rather than the large result
        w_gain = own if scaled or filtered else self.input_gain * own
        if filtered:
            x = scaled_conv2d(x, self.weight, gain=w_gain, stride=self.down)
        else:
            resample = {"up": self.up, "down": self.down, "padding": self.padding, "flip_weight": self.up == 1}
            x = conv2d_resample(x, self.weight, self.resample_filter, w_gain=w_gain, **resample)
        if followed_by is None:
            return activate(x, self.bias, self.activation, gain, self.conv_clamp)
        assert self.activation == "lrelu" and followed_by.down > 1
        padding = downsample_padding(followed_by.resample_filter, followed_by.down, followed_by.padding)
        f, clamp, gain = followed_by.resample_filter, self.conv_clamp, gain * followed_by.input_gain
        identity = None if x.is_cuda else self.identity
        return lrelu_then_filter(x, self.bias, gain, clamp, f, padding, identity)

    def beside(self, x: Tensor, gain: float = 1.0) -> tuple[Tensor, Tensor]:
        """The result of a 1x1 layer without bias that halves the resolution, times `gain`, and x, for what else reads it: see
        `upfirdn2d_beside`."""
        assert self.padding == 0 and self.bias is None and self.down > 1
        f, gain = self.resample_filter, gain * self.input_gain
        reduced, x = upfirdn2d_beside(x, f, down=self.down, padding=downsample_padding(f, self.down), gain=gain)
        return scaled_conv2d(reduced, self.weight), x


def lrelu_then_filter(
    x: Tensor,
    bias: Tensor | None,
    gain: float,
    clamp: float | None,
    f: Tensor,
    padding: Sequence[int],
    identity: Tensor | None = None,
) -> Tensor:
    """A biased leaky ReLU and the low-pass filter after it.

    On a CPU they are one op: the tensor between them, the largest of a block, is neither written nor kept for gradients. On a
    GPU two: as one they take 6 to 11 times as long there (`tests/gpu/README.md`), the fast kernels being for filters in one
    dimension.

    Args:
        x: [N, C, H, W].
        bias: [C], or None.
        gain, clamp: As of `activate`.
        f: The filter, [h, w].
        padding: As of `upfirdn2d`.
        identity: A filter that changes nothing, for one op; None for two.
    """
    if identity is None:
        return upfirdn2d(activate(x, bias, "lrelu", gain, clamp), f, padding=padding)
    bias = None if bias is None else bias.to(x.dtype)
    slope = ACTIVATIONS["lrelu"].alpha
    return filtered_lrelu(x, identity, f, b=bias, padding=padding, slope=slope, **scaled("lrelu", gain, clamp))

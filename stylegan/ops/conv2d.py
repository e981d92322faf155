"""2-D convolution and its two gradients, a family that is closed under differentiation.

    conv2d(x, w)          y[n, o]  = sum over i, k of x[n, i] at p * stride + k - padding, times w[o, i, k]
    conv2d_input(dy, w)   the same sum's gradient by x: a transposed convolution
    conv2d_weight(dy, x)  its gradient by w

Each is linear in each of its arguments, and every gradient of one is one of the three. R1 and path length
regularisation differentiate gradients; torch's own second derivative of a convolution takes roundabout ways that cost a
third more there. With these, the second order is as quick as the first.

Schemas (lists are y first, without dilation; the bodies below are the reference that compiled kernels must equal):

    stylegan::conv2d(x, w, stride, padding, groups) -> y
    stylegan::conv2d_input(dy, w, size, stride, padding, groups) -> dx        size: height and width of dx
    stylegan::conv2d_weight(dy, x, size, stride, padding, groups) -> dw       size: height and width of dw

Results are channels_last where the first argument is. On the GPU cuDNN computes them, through torch. On the CPU compiled
kernels (csrc/bind_conv2d_cpu.cpp) take Winograd's algorithm for 3x3 convolutions in float32, and oneDNN for the rest.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from stylegan.ops.autograd import differentiable
from stylegan.ops.needed import needed


def conv2d(
    x: Tensor,
    w: Tensor,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    groups: int = 1,
) -> Tensor:
    """Correlate images with a weight.

    Args:
        x: [N, I, H, W], contiguous or channels_last; float16, bfloat16, float32 or float64.
        w: [O, I / groups, kh, kw] of x's dtype (under autocast, both become the autocast dtype).
        stride: Step, or [y, x].
        padding: Zeros on both sides, or [y, x].
        groups: Groups of channels.

    Returns:
        [N, O, (H + 2 padding - kh) // stride + 1, ...] in x's dtype and memory format. Gradients of any order.

    Raises:
        ValueError: Shapes, dtypes or devices that do not fit, stride below 1, padding below 0, or nothing left to compute.
    """
    x, w = _autocast(x, w)
    stride, padding = _both(stride, "stride", 1), _both(padding, "padding", 0)
    _check(x, w, groups, channels=w.shape[1] * groups if w.ndim == 4 else -1)
    size = [(x.shape[2 + i] + 2 * padding[i] - w.shape[2 + i]) // stride[i] + 1 for i in (0, 1)]
    if min(size) < 1:
        raise ValueError(
            f"a kernel of {tuple(w.shape[2:])} with padding {padding} does not fit into x {tuple(x.shape)}"
        )
    return _run(x, w, stride, padding, groups)


def conv_transpose2d(
    x: Tensor,
    w: Tensor,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    groups: int = 1,
) -> Tensor:
    """The gradient of `conv2d` by its input, as a layer of its own: spread x by `stride`, then convolve.

    Args:
        x: [N, O, H, W], as for `conv2d`.
        w: [O, I / groups, kh, kw]: the weight of a `conv2d` from I to O channels.
        stride: Step, or [y, x].
        padding: How much to cut off at both sides, or [y, x].
        groups: Groups of channels.

    Returns:
        [N, I, (H - 1) stride + kh - 2 padding, ...].

    Raises:
        ValueError: As `conv2d`.
    """
    x, w = _autocast(x, w)
    stride, padding = _both(stride, "stride", 1), _both(padding, "padding", 0)
    _check(x, w, groups, channels=w.shape[0])
    size = [(x.shape[2 + i] - 1) * stride[i] + w.shape[2 + i] - 2 * padding[i] for i in (0, 1)]
    if min(size) < 1:
        raise ValueError(f"padding {padding} cuts all of x {tuple(x.shape)} with a kernel of {tuple(w.shape[2:])} away")
    return _run_input(x, w, size, stride, padding, groups)


@torch.library.custom_op("stylegan::conv2d", mutates_args=())
def _conv2d(x: Tensor, w: Tensor, stride: list[int], padding: list[int], groups: int) -> Tensor:
    y = torch.ops.aten.convolution(x, w, None, stride, padding, [1, 1], False, [0, 0], groups)
    return y.contiguous(memory_format=_memory_format(x))


@_conv2d.register_fake
def _(x, w, stride, padding, groups):
    size = [(x.shape[2 + i] + 2 * padding[i] - w.shape[2 + i]) // stride[i] + 1 for i in (0, 1)]
    return _empty(x, [x.shape[0], w.shape[0], *size])


@torch.library.custom_op("stylegan::conv2d_input", mutates_args=())
def _conv2d_input(dy: Tensor, w: Tensor, size: list[int], stride: list[int], padding: list[int], groups: int) -> Tensor:
    # Rows at the far side that the stride stepped over: they had no influence, and get a gradient of zero.
    rest = [size[i] - ((dy.shape[2 + i] - 1) * stride[i] + w.shape[2 + i] - 2 * padding[i]) for i in (0, 1)]
    dx = torch.ops.aten.convolution(dy, w, None, stride, padding, [1, 1], True, rest, groups)
    return dx.contiguous(memory_format=_memory_format(dy))


@_conv2d_input.register_fake
def _(dy, w, size, stride, padding, groups):
    return _empty(dy, [dy.shape[0], w.shape[1] * groups, *size])


@torch.library.custom_op("stylegan::conv2d_weight", mutates_args=())
def _conv2d_weight(
    dy: Tensor, x: Tensor, size: list[int], stride: list[int], padding: list[int], groups: int
) -> Tensor:
    w = x.new_empty(()).expand(dy.shape[1], x.shape[1] // groups, *size)  # only its shape is looked at
    arguments = (stride, padding, [1, 1], False, [0, 0], groups, [False, True, False])
    dw = torch.ops.aten.convolution_backward(dy, x, w, None, *arguments)[1]
    return dw.contiguous(memory_format=_memory_format(dy))


@_conv2d_weight.register_fake
def _(dy, x, size, stride, padding, groups):
    return _empty(dy, [dy.shape[1], x.shape[1] // groups, *size])


def _setup_conv2d(ctx, inputs, output):
    x, w, *ctx.rest = inputs
    ctx.save_for_backward(x, w)


def _backward_conv2d(ctx, dy):
    x, w = ctx.saved_tensors
    needs_x, needs_w = needed(ctx, [0, 1])
    dy = _like(dy, x)
    dx = _run_input(dy, w, x.shape[2:], *ctx.rest) if needs_x else None
    dw = _run_weight(dy, x, w.shape[2:], *ctx.rest) if needs_w else None
    return dx, dw, None, None, None


def _setup_conv2d_input(ctx, inputs, output):
    dy, w, _, *ctx.rest = inputs
    ctx.save_for_backward(dy, w)


def _backward_conv2d_input(ctx, ddx):
    dy, w = ctx.saved_tensors
    needs_dy, needs_w = needed(ctx, [0, 1])
    ddx = _like(ddx, dy)
    ddy = _run(ddx, w, *ctx.rest) if needs_dy else None
    dw = _run_weight(dy, ddx, w.shape[2:], *ctx.rest) if needs_w else None
    return ddy, dw, None, None, None, None


def _setup_conv2d_weight(ctx, inputs, output):
    dy, x, _, *ctx.rest = inputs
    ctx.save_for_backward(dy, x)


def _backward_conv2d_weight(ctx, ddw):
    dy, x = ctx.saved_tensors
    needs_dy, needs_x = needed(ctx, [0, 1])
    ddy = _run(x, ddw, *ctx.rest) if needs_dy else None
    dx = _run_input(dy, ddw, x.shape[2:], *ctx.rest) if needs_x else None
    return ddy, dx, None, None, None, None


_run = differentiable(_conv2d, _backward_conv2d, _setup_conv2d)
_run_input = differentiable(_conv2d_input, _backward_conv2d_input, _setup_conv2d_input)
_run_weight = differentiable(_conv2d_weight, _backward_conv2d_weight, _setup_conv2d_weight)


def _memory_format(t: Tensor) -> torch.memory_format:
    """Channels_last also where the two cannot be told apart, as for grey images."""
    nhwc = t.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if nhwc else torch.contiguous_format


def _empty(like: Tensor, shape: Sequence[int]) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=_memory_format(like))


def _like(gradient: Tensor, t: Tensor) -> Tensor:
    """A gradient may come as a broadcast number or in the other layout; the kernels want that of what it belongs to."""
    return gradient.contiguous(memory_format=_memory_format(t))


def _autocast(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the autocast dtype, where autocast is on."""
    if x.device.type != "meta" and torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        return x.to(dtype), w.to(dtype)
    return x, w


def _both(value: int | Sequence[int], name: str, least: int) -> list[int]:
    both = [value, value] if isinstance(value, int) else list(value) if isinstance(value, (list, tuple)) else []
    if len(both) != 2 or not all(isinstance(v, int) and v >= least for v in both):
        raise ValueError(f"{name} is a whole number of at least {least}, or two as [y, x], got {value!r}")
    return both


def _check(x: Tensor, w: Tensor, groups: int, channels: int) -> None:
    if x.ndim != 4 or w.ndim != 4 or x.dtype != w.dtype or x.device != w.device or not x.is_floating_point():
        raise ValueError(
            f"a convolution needs x [N, C, H, W] and w [O, I, kh, kw] of one real dtype on one device, got x {tuple(x.shape)}, "
            f"{x.dtype} on {x.device} and w {tuple(w.shape)}, {w.dtype} on {w.device}"
        )
    if groups < 1 or x.shape[1] != channels or w.shape[0] % groups or 0 in w.shape[2:]:
        raise ValueError(f"w {tuple(w.shape)} in {groups} groups does not fit x {tuple(x.shape)}")

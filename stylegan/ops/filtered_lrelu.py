"""Leaky ReLU at a higher resolution, between two low-pass filters (StyleGAN3, section 3.2), as one op.

    u = upfirdn2d(x + b, fu, up)       v = clamp(gain * lrelu(u))       y = upfirdn2d(v, fd, down)

The non-linearity makes frequencies that the sampling grid cannot hold; made at the higher resolution, they are filtered
out again. The grid between the filters is up * up times as large as x: instead of keeping it, the op records two bits of
each of its pixels, on which side of the kinks it lies. Given these, the op is linear, and its gradient is an op of the
same kind with up and down exchanged; that one is its own adjoint, which makes the second order.

Schemas (padding [x0, x1, y0, y1], offset [x, y]; the bodies below are the reference that compiled kernels must equal):

    stylegan::filtered_lrelu(x, b?, fu, fd, up, down, padding, gain, slope, clamp, flip_filter, write_codes) -> (y, codes)
    stylegan::filtered_lrelu_masked(x, codes, fu, fd, up, down, padding, offset, gain, slope, flip_filter) -> y

codes is uint8 [N, C, grid height, ceil(grid width / 4)] in x's memory format, four pixels of a row to a byte, the leftmost
in the lowest bits: 0 positive, 1 negative (factor slope), 2 stopped by the clamp or past the end of the row (factor 0).
`offset` is the position of the masked op's grid in that of the codes; outside of them the factor is 0. `gain` is all
factors together.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from stylegan.ops.autograd import differentiable
from stylegan.ops.bias_act import compute_dtype
from stylegan.ops.needed import needed
from stylegan.ops.upfirdn2d import as_filter, filter_size, four_sides, memory_format, output_size, upfirdn2d_reference

PER_BYTE = 4
POSITIVE, NEGATIVE, STOPPED = 0, 1, 2


def filtered_lrelu(
    x: Tensor,
    fu: Tensor | None = None,
    fd: Tensor | None = None,
    b: Tensor | None = None,
    *,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    gain: float = math.sqrt(2),
    slope: float = 0.2,
    clamp: float | None = None,
    flip_filter: bool = False,
) -> Tensor:
    """Add a bias, up-sample, apply leaky ReLU, scale, clamp, down-sample.

    Args:
        x: [N, C, H, W], contiguous or channels_last; float16, bfloat16, float32 or float64.
        fu: Filter of the up-sampling, float32 [h, w] or, for both axes, [n]; None for the identity. No gradient.
        fd: Filter of the down-sampling.
        b: Bias [C] of x's dtype, or None.
        up: Factor of up-sampling.
        down: Factor of down-sampling.
        padding: Pixels of the enlarged image, for all sides, [x, y] or [x0, x1, y0, y1]; negative crops.
        gain: Factor after leaky ReLU.
        slope: Of leaky ReLU below zero.
        clamp: Bound on the absolute value before down-sampling; None for none.
        flip_filter: False convolves with both filters, True correlates.

    Returns:
        [N, C, H', W'] in x's dtype and memory format. The grid between the filters is H * up + y0 + y1 - (fu height - 1) pixels
        high, and H' = (that - fd height) // down + 1. Gradients of any order with respect to x and b.

    Raises:
        ValueError: Shapes, dtypes, devices or numbers that do not fit.
    """
    fu, fd = as_filter("filtered_lrelu", x, fu), as_filter("filtered_lrelu", x, fd)
    sides = four_sides(padding)
    bound = math.inf if clamp is None else float(clamp)
    whole = isinstance(up, int) and isinstance(down, int) and up >= 1 and down >= 1
    if not (whole and slope >= 0 and gain > 0 and bound >= 0):
        raise ValueError(
            f"filtered_lrelu needs whole up, down >= 1, slope >= 0, gain > 0 and clamp >= 0, "
            f"got {up=}, {down=}, {slope=}, {gain=}, {clamp=}"
        )
    if b is not None and (b.shape != (x.shape[1],) or b.dtype != x.dtype or b.device != x.device):
        raise ValueError(
            f"bias {tuple(b.shape)}, {b.dtype} on {b.device} does not fit x {tuple(x.shape)}, {x.dtype} on {x.device}"
        )
    if min(_grid_size(x, fu, up, sides)) < 1 or min(_result_size(x, fu, fd, up, down, sides)) < 1:
        raise ValueError(
            f"padding {sides} leaves too little of x {tuple(x.shape)} for filters {tuple(fu.shape)} and {tuple(fd.shape)}"
        )
    write_codes = torch.is_grad_enabled() and (x.requires_grad or (b is not None and b.requires_grad))
    factor = float(gain * up * up)
    y, _ = _run(x, b, fu, fd, up, down, sides, factor, float(slope), bound, flip_filter, write_codes)
    return y


@torch.library.custom_op("stylegan::filtered_lrelu", mutates_args=())
def _filtered_lrelu(
    x: Tensor,
    b: Tensor | None,
    fu: Tensor,
    fd: Tensor,
    up: int,
    down: int,
    padding: list[int],
    gain: float,
    slope: float,
    clamp: float,
    flip_filter: bool,
    write_codes: bool,
) -> tuple[Tensor, Tensor]:
    z = x.to(compute_dtype(x))
    z = z if b is None else z + b.to(z.dtype)[:, None, None]
    u = upfirdn2d_reference(z, fu, [up, up], [1, 1], padding, flip_filter, gain)
    v = F.leaky_relu(u, slope)
    codes = x.new_empty(0, dtype=torch.uint8)
    if write_codes:
        code = torch.where(v.abs() >= clamp, STOPPED, torch.where(u < 0, NEGATIVE, POSITIVE)).to(torch.uint8)
        codes = _pack(code).contiguous(memory_format=memory_format(x))
    y = upfirdn2d_reference(v.clamp(-clamp, clamp), fd, [1, 1], [down, down], [0] * 4, flip_filter, 1.0)
    return y.to(x.dtype).contiguous(memory_format=memory_format(x)), codes


@_filtered_lrelu.register_fake
def _(x, b, fu, fd, up, down, padding, gain, slope, clamp, flip_filter, write_codes):
    layout = memory_format(x)
    grid_h, grid_w = _grid_size(x, fu, up, padding)
    y = x.new_empty([*x.shape[:2], *_result_size(x, fu, fd, up, down, padding)]).contiguous(memory_format=layout)
    if not write_codes:
        return y, x.new_empty(0, dtype=torch.uint8)
    codes = x.new_empty([*x.shape[:2], grid_h, -(-grid_w // PER_BYTE)], dtype=torch.uint8)
    return y, codes.contiguous(memory_format=layout)


@torch.library.custom_op("stylegan::filtered_lrelu_masked", mutates_args=())
def _filtered_lrelu_masked(
    x: Tensor,
    codes: Tensor,
    fu: Tensor,
    fd: Tensor,
    up: int,
    down: int,
    padding: list[int],
    offset: list[int],
    gain: float,
    slope: float,
    flip_filter: bool,
) -> Tensor:
    u = upfirdn2d_reference(x.to(compute_dtype(x)), fu, [up, up], [1, 1], padding, flip_filter, gain)
    code, one = _unpack(codes), torch.ones([], dtype=u.dtype, device=u.device)
    factors = torch.where(code == POSITIVE, one, torch.where(code == NEGATIVE, one * slope, one * 0))
    (left, top), (height, width), (code_h, code_w) = offset, u.shape[2:], factors.shape[2:]
    factors = F.pad(factors, [-left, left + width - code_w, -top, top + height - code_h])
    y = upfirdn2d_reference(u * factors, fd, [1, 1], [down, down], [0] * 4, flip_filter, 1.0)
    return y.to(x.dtype).contiguous(memory_format=memory_format(x))


@_filtered_lrelu_masked.register_fake
def _(x, codes, fu, fd, up, down, padding, offset, gain, slope, flip_filter):
    y = x.new_empty([*x.shape[:2], *_result_size(x, fu, fd, up, down, padding)])
    return y.contiguous(memory_format=memory_format(x))


def _setup(ctx, inputs, output):
    x, b, fu, fd, up, down, padding, gain, slope, _, flip_filter, ctx.with_codes = inputs
    ctx.set_materialize_grads(False)  # there is none of the codes
    ctx.tensors = [0, 2, 3] if b is None else [0, 1, 2, 3]
    ctx.call = (up, down, padding, [0, 0], gain, slope, flip_filter)
    ctx.sizes = (x.shape[2:], output[0].shape[2:])
    ctx.save_for_backward(output[1], fu, fd)


def _backward(ctx, dy, _):
    if not ctx.with_codes:
        raise RuntimeError("filtered_lrelu was called without write_codes: it has no gradient")
    if dy is None:
        return (None,) * 12
    dx = _adjoint(ctx, dy)
    needs_b = 1 in ctx.tensors and needed(ctx, ctx.tensors)[1]
    return dx, dx.sum([0, 2, 3]) if needs_b else None, *[None] * 10


def _setup_masked(ctx, inputs, output):
    x, codes, fu, fd, *ctx.call = inputs
    ctx.sizes = (x.shape[2:], output.shape[2:])
    ctx.save_for_backward(codes, fu, fd)


def _backward_masked(ctx, dy):
    return _adjoint(ctx, dy), *[None] * 10


_run = differentiable(_filtered_lrelu, _backward, _setup)
_run_masked = differentiable(_filtered_lrelu_masked, _backward_masked, _setup_masked)


def _adjoint(ctx, dy: Tensor) -> Tensor:
    """The gradient for x. The near sides' padding and the codes' offset move the two grids onto each other; the far
    sides' give back the size of x."""
    codes, fu, fd = ctx.saved_tensors
    up, down, (x0, _, y0, _), (left, top), gain, slope, flip_filter = ctx.call
    (height, width), (out_h, out_w) = ctx.sizes
    (fu_w, fu_h), (fd_w, fd_h) = filter_size(fu), filter_size(fd)
    near_x, near_y = fd_w - 1 + fu_w - 1 - x0, fd_h - 1 + fu_h - 1 - y0
    padding = [
        near_x,
        (width - 1) * up + fu_w + fd_w - 1 - out_w * down - near_x,
        near_y,
        (height - 1) * up + fu_h + fd_h - 1 - out_h * down - near_y,
    ]
    offset = [left + x0 - (fu_w - 1), top + y0 - (fu_h - 1)]
    return _run_masked(dy, codes, fd, fu, down, up, padding, offset, gain, slope, not flip_filter)


def _grid_size(x: Tensor, fu: Tensor, up: int, padding: list[int]) -> tuple[int, int]:
    return output_size(x.shape[2:], fu, [up, up], [1, 1], padding)


def _result_size(x: Tensor, fu: Tensor, fd: Tensor, up: int, down: int, padding: list[int]) -> tuple[int, int]:
    return output_size(_grid_size(x, fu, up, padding), fd, [1, 1], [down, down], [0] * 4)


def _pack(code: Tensor) -> Tensor:
    code = F.pad(code, [0, -code.shape[3] % PER_BYTE], value=STOPPED)
    parts = code.unflatten(3, (-1, PER_BYTE)).int()
    shifts = 2 * torch.arange(PER_BYTE, device=code.device, dtype=torch.int32)
    return (parts << shifts).sum(4).to(torch.uint8)


def _unpack(codes: Tensor) -> Tensor:
    shifts = 2 * torch.arange(PER_BYTE, device=codes.device, dtype=torch.uint8)
    return ((codes[..., None] >> shifts) & 3).flatten(3)

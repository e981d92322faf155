"""Up-sample, filter and down-sample images in one op, and add another image; differentiable to any order.

Per axis: insert `up - 1` zeros after every pixel, pad (or crop, where negative), convolve with the filter, keep every
`down`-th pixel. With a low-pass filter this resamples without aliasing (StyleGAN2, appendix B; StyleGAN3, section 2).

Schema (lists are x first, padding is [x0, x1, y0, y1]):

    stylegan::upfirdn2d(x, f, up, down, padding, flip_filter, gain, added?) -> y

The op is linear in x and its adjoint is itself with up and down exchanged and the filter flipped. The filter is a
constant: it gets no gradient. `added` saves a pass over memory where images of several resolutions, or the gradients of
something that is filtered and used as it is, are summed.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from stylegan.ops.autograd import differentiable
from stylegan.ops.bias_act import FLOATS, compute_dtype
from stylegan.ops.torch_private import in_functorch

SEPARABLE_TAPS = 8  # 1-D filters at least this long stay separable: two passes beat one over 64 taps


def setup_filter(
    f: Tensor | Sequence[float] | Sequence[Sequence[float]] | float | None,
    *,
    normalize: bool = True,
    flip_filter: bool = False,
    gain: float = 1.0,
    separable: bool | None = None,
) -> Tensor:
    """Prepare a filter for `upfirdn2d`.

    Args:
        f: Taps [h, w], or [n] for both axes, or one number, or None (the identity).
        normalize: Divide by the sum, so that constant images stay as they are.
        flip_filter: Reverse the taps.
        gain: Factor for the image; a separable filter, applied twice, gets its square root.
        separable: Keep a 1-D filter 1-D; None keeps those of 8 taps or more.

    Returns:
        float32 [h, w], or [n] for a separable filter.

    Raises:
        ValueError: More than two dimensions, no taps, or `separable` with 2-D taps.
    """
    f = torch.as_tensor(1.0 if f is None else f, dtype=torch.float32)
    f = f.reshape(1) if f.ndim == 0 else f
    if f.ndim > 2 or f.numel() == 0:
        raise ValueError(f"a filter is [h, w] or [n] with at least one tap, got shape {tuple(f.shape)}")
    if separable is None:
        separable = f.ndim == 1 and f.numel() >= SEPARABLE_TAPS
    if separable and f.ndim == 2:
        raise ValueError(f"a separable filter is given as [n], got shape {tuple(f.shape)}")
    if f.ndim == 1 and not separable:
        f = f.outer(f)
    if normalize:
        f = f / f.sum()
    if flip_filter:
        f = f.flip(tuple(range(f.ndim)))
    return f * gain ** (f.ndim / 2)


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    *,
    up: int | Sequence[int] = 1,
    down: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
    added: Tensor | None = None,
) -> Tensor:
    """Zero-insert, pad or crop, filter, decimate, add.

    Args:
        x: [N, C, H, W], contiguous or channels_last, float16, bfloat16, float32 or float64.
        f: Taps float32 [h, w] or, for both axes, [n]; None for the identity. No gradient.
        up: Factor, or [x, y].
        down: Factor, or [x, y].
        padding: Pixels after zero insertion, for all sides, [x, y] or [x0, x1, y0, y1]; negative crops.
        flip_filter: False convolves, True correlates.
        gain: Factor for the result.
        added: Added to that, of the result's shape and dtype; None for nothing.

    Returns:
        [N, C, (H * up + y0 + y1 - h) // down + 1, (W * up + x0 + x1 - w) // down + 1] in x's dtype and memory format.

    Raises:
        ValueError: Wrong shapes, dtypes, devices or factors, or nothing left to filter.
    """
    return _run(*_checked(x, f, up, down, padding, flip_filter, gain, added))


def upfirdn2d_beside(
    x: Tensor,
    f: Tensor | None,
    *,
    up: int | Sequence[int] = 1,
    down: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """`upfirdn2d` of x, and x, for whatever else reads it: the gradients of the two are then summed while the first is made."""
    arguments = _checked(x, f, up, down, padding, flip_filter, gain, None)
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or in_functorch():
        return _run(*arguments), x
    return _Beside.apply(*arguments[:-1])


def _checked(
    x: Tensor,
    f: Tensor | None,
    up: int | Sequence[int],
    down: int | Sequence[int],
    padding: int | Sequence[int],
    flip_filter: bool,
    gain: float,
    added: Tensor | None,
) -> tuple[Any, ...]:
    """The arguments as the op takes them."""
    f = as_filter("upfirdn2d", x, f)
    up, down, padding = pair(up), pair(down), four_sides(padding)
    if min(*up, *down) < 1:
        raise ValueError(f"upfirdn2d needs factors of at least 1, got up={up}, down={down}")
    size = output_size(x.shape[2:], f, up, down, padding)
    if min(size) < 1:
        raise ValueError(f"padding {padding} leaves too little of x {tuple(x.shape)} for a filter {tuple(f.shape)}")
    fits = added is None or (added.shape, added.dtype, added.device) == ((*x.shape[:2], *size), x.dtype, x.device)
    if added is not None and not fits:
        raise ValueError(
            f"added {tuple(added.shape)}, {added.dtype} on {added.device} does not fit a result {(*x.shape[:2], *size)}, "
            f"{x.dtype} on {x.device}"
        )
    return x, f, up, down, padding, flip_filter, float(gain), added


def filter2d(
    x: Tensor, f: Tensor | None, *, padding: int | Sequence[int] = 0, flip_filter: bool = False, gain: float = 1.0
) -> Tensor:
    """Filter an image [N, C, H, W] and keep its size; `padding` is added to that. See `upfirdn2d`."""
    x0, x1, y0, y1 = four_sides(padding)
    w, h = filter_size(f)
    sides = [x0 + w // 2, x1 + (w - 1) // 2, y0 + h // 2, y1 + (h - 1) // 2]
    return upfirdn2d(x, f, padding=sides, flip_filter=flip_filter, gain=gain)


def upsample2d(
    x: Tensor,
    f: Tensor | None,
    *,
    up: int | Sequence[int] = 2,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
    added: Tensor | None = None,
) -> Tensor:
    """Enlarge [N, C, H, W] to [N, C, H * up, W * up], keeping the mean; `padding` is added. See `upfirdn2d`."""
    ux, uy = pair(up)
    sides = upsample_padding(f, up, padding)
    return upfirdn2d(x, f, up=up, padding=sides, flip_filter=flip_filter, gain=gain * ux * uy, added=added)


def downsample2d(
    x: Tensor,
    f: Tensor | None,
    *,
    down: int | Sequence[int] = 2,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> Tensor:
    """Reduce [N, C, H, W] to [N, C, H / down, W / down]; `padding` is added first. See `upfirdn2d`."""
    sides = downsample_padding(f, down, padding)
    return upfirdn2d(x, f, down=down, padding=sides, flip_filter=flip_filter, gain=gain)


def pair(value: int | Sequence[int]) -> list[int]:
    """A scalar for both axes, or [x, y], as a list of two."""
    both = _whole(value, copies=2)
    if both is None or len(both) != 2:
        raise ValueError(f"expected a whole number or [x, y], got {value!r}")
    return both


def four_sides(padding: int | Sequence[int]) -> list[int]:
    """A scalar, [x, y] or [x0, x1, y0, y1] as a list of four."""
    sides = _whole(padding, copies=4)
    if sides is not None and len(sides) == 2:
        sides = [sides[0], sides[0], sides[1], sides[1]]
    if sides is None or len(sides) != 4:
        raise ValueError(f"padding is a whole number, [x, y] or [x0, x1, y0, y1], got {padding!r}")
    return sides


def _whole(value: int | Sequence[int], copies: int) -> list[int] | None:
    """Whole numbers as a list, one number `copies` times; None where it is anything else, such as 1.5 or `same`."""
    numbers = [value] * copies if isinstance(value, int) else list(value) if isinstance(value, (list, tuple)) else []
    return numbers if all(isinstance(n, int) for n in numbers) and numbers else None


def filter_size(f: Tensor | None) -> tuple[int, int]:
    """Width and height of a filter in taps."""
    if f is not None and f.ndim not in (1, 2):
        raise ValueError(f"a filter is [h, w] or [n], got shape {tuple(f.shape)}")
    return (1, 1) if f is None else (f.shape[-1], f.shape[0])


def upsample_padding(f: Tensor | None, up: int | Sequence[int], padding: int | Sequence[int] = 0) -> list[int]:
    """`padding` plus what centres the filter's phases on the enlarged image, [x0, x1, y0, y1]."""
    (w, h), (ux, uy), (x0, x1, y0, y1) = filter_size(f), pair(up), four_sides(padding)
    return [x0 + (w + ux - 1) // 2, x1 + (w - ux) // 2, y0 + (h + uy - 1) // 2, y1 + (h - uy) // 2]


def downsample_padding(f: Tensor | None, down: int | Sequence[int], padding: int | Sequence[int] = 0) -> list[int]:
    """`padding` plus what centres the filter on groups of `down` pixels, [x0, x1, y0, y1]."""
    (w, h), (dx, dy), (x0, x1, y0, y1) = filter_size(f), pair(down), four_sides(padding)
    return [x0 + (w - dx + 1) // 2, x1 + (w - dx) // 2, y0 + (h - dy + 1) // 2, y1 + (h - dy) // 2]


def as_filter(op: str, x: Tensor, f: Tensor | None) -> Tensor:
    """`f` as the ops take it, float32 [h, w] or [n]; None is the identity. Raises a `ValueError` where x is no image or f
    does not fit it."""
    if x.ndim != 4 or x.dtype not in FLOATS:
        raise ValueError(f"{op} needs x [N, C, H, W] of real numbers, got {tuple(x.shape)}, {x.dtype}")
    if f is None:
        return torch.ones([1, 1], dtype=torch.float32, device=x.device)
    if not isinstance(f, Tensor):
        raise ValueError(f"{op} needs a filter that setup_filter made, got {f!r}")
    fits = f.ndim in (1, 2) and f.numel() > 0 and f.is_floating_point() and f.device == x.device
    if not fits or f.requires_grad:
        raise ValueError(
            f"{op} needs filters [h, w] or [n] on {x.device} that ask for no gradient, got "
            f"{tuple(f.shape)}, {f.dtype} on {f.device}{', with requires_grad' if f.requires_grad else ''}"
        )
    return f.to(torch.float32)  # a network may have been converted as a whole


def output_size(
    size: Sequence[int], f: Tensor, up: Sequence[int], down: Sequence[int], padding: Sequence[int]
) -> tuple[int, int]:
    """(H, W) of what `upfirdn2d` makes of an image of `size` = (H, W)."""
    (w, h), (x0, x1, y0, y1) = filter_size(f), padding
    return (
        (size[0] * up[1] + y0 + y1 - h) // down[1] + 1,
        (size[1] * up[0] + x0 + x1 - w) // down[0] + 1,
    )


def memory_format(x: Tensor) -> torch.memory_format:
    """channels_last where x [N, C, H, W] lies in memory so, else contiguous: the format that results are given."""
    nhwc = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if nhwc else torch.contiguous_format


@torch.library.custom_op("stylegan::upfirdn2d", mutates_args=())
def _upfirdn2d(
    x: Tensor,
    f: Tensor,
    up: list[int],
    down: list[int],
    padding: list[int],
    flip_filter: bool,
    gain: float,
    added: Tensor | None,
) -> Tensor:
    return upfirdn2d_reference(x, f, up, down, padding, flip_filter, gain, added)


def upfirdn2d_reference(
    x: Tensor,
    f: Tensor,
    up: list[int],
    down: list[int],
    padding: list[int],
    flip_filter: bool,
    gain: float,
    added: Tensor | None = None,
) -> Tensor:
    """The body of the op, in torch's own functions."""
    layout = memory_format(x)
    if x.numel() == 0:
        shape = [*x.shape[:2], *output_size(x.shape[2:], f, up, down, padding)]
        return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)
    dtype = compute_dtype(x)
    taps = f.to(dtype).flip(tuple(range(f.ndim))) if flip_filter else f.to(dtype)
    y = x.to(dtype)
    if f.ndim == 2:
        y = _filter(y, taps * gain, up, down, padding)
    else:
        y = _filter(y, taps[None, :] * gain, [up[0], 1], [down[0], 1], [*padding[:2], 0, 0])
        y = _filter(y, taps[:, None], [1, up[1]], [1, down[1]], [0, 0, *padding[2:]])
    y = y if added is None else y + added
    return y.to(x.dtype).contiguous(memory_format=layout)


@_upfirdn2d.register_fake
def _(x, f, up, down, padding, flip_filter, gain, added):
    shape = [x.shape[0], x.shape[1], *output_size(x.shape[2:], f, up, down, padding)]
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))


def _setup_upfirdn2d(ctx, inputs, output):
    x, f, ctx.up, ctx.down, ctx.padding, ctx.flip_filter, ctx.gain, *_ = inputs
    ctx.in_size, ctx.out_size = x.shape[2:], output.shape[2:]
    ctx.save_for_backward(f)


def _backward_upfirdn2d(ctx, dy):
    needs_x, needs_added = ctx.needs_input_grad[0], ctx.needs_input_grad[7]
    return _adjoint(ctx, dy) if needs_x else None, *[None] * 6, dy if needs_added else None


_run = differentiable(_upfirdn2d, _backward_upfirdn2d, _setup_upfirdn2d)


class _Beside(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        y = _run(*inputs, None)
        _setup_upfirdn2d(ctx, inputs, y)
        ctx.set_materialize_grads(False)
        return y, inputs[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        dy, dx = gradients
        return dx if dy is None else _adjoint(ctx, dy, dx), *[None] * 6


def _adjoint(ctx: Any, dy: Tensor, added: Tensor | None = None) -> Tensor:
    (f,) = ctx.saved_tensors
    (w, h), (ux, uy), (dx, dy_), (x0, _, y0, _) = filter_size(f), ctx.up, ctx.down, ctx.padding
    # The adjoint must give back the input's size: what the far sides need follows from the near ones.
    padding = [
        w - 1 - x0,
        ctx.in_size[1] * ux - ctx.out_size[1] * dx + x0 - ux + 1,
        h - 1 - y0,
        ctx.in_size[0] * uy - ctx.out_size[0] * dy_ + y0 - uy + 1,
    ]
    return _run(dy, f, ctx.down, ctx.up, padding, not ctx.flip_filter, ctx.gain, added)


def _filter(x: Tensor, taps: Tensor, up: list[int], down: list[int], padding: list[int]) -> Tensor:
    """2-D taps as a depthwise (transposed) convolution; in channels_last that takes about as long as two copies."""
    c, (h, w), (x0, x1, y0, y1) = x.shape[1], taps.shape, padding
    if up == [1, 1]:
        kernel = taps.flip([0, 1]).expand(c, 1, h, w)  # conv2d correlates
        if x0 == x1 >= 0 and y0 == y1 >= 0:
            return F.conv2d(x, kernel, stride=(down[1], down[0]), padding=(y0, x0), groups=c)
        return F.conv2d(F.pad(x, padding), kernel, stride=(down[1], down[0]), groups=c)
    # A transposed convolution pads by w - 1 on both sides, but leaves out the up - 1 zeros after the last pixel.
    rest = [x0 - (w - 1), x1 - (w - up[0]), y0 - (h - 1), y1 - (h - up[1])]
    crop_x, crop_y = max(min(-rest[0], -rest[1]), 0), max(min(-rest[2], -rest[3]), 0)
    kernel = taps.expand(c, 1, h, w)
    y = F.conv_transpose2d(x, kernel, stride=(up[1], up[0]), padding=(crop_y, crop_x), groups=c)
    rest = [rest[0] + crop_x, rest[1] + crop_x, rest[2] + crop_y, rest[3] + crop_y]
    y = F.pad(y, rest) if any(rest) else y
    return y[:, :, :: down[1], :: down[0]]

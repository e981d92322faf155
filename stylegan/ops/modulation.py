"""Gradients of features that a style scales, in one pass over memory; differentiable once more.

    y = x * s        (StyleGAN2, section 2.2: the input of a modulated convolution, s a factor per image and channel)

The product itself is torch's own. Its two gradients are dy times s, and a sum over the pixels of dy times x: as separate ops
these go six times through a layer's largest tensors, as one op three times. Path length regularisation differentiates both.
Where the product is wanted again, for the gradient by the weights that it is convolved with, the same pass writes it: it has
just read x, and saves reading it once more. So does the pass that adds what else x has as a gradient.

Schemas (the bodies below are the reference that compiled kernels must equal; s and sums are in the compute type, which is
float32 for half types):

    stylegan::modulation_grad(dy, x, s, want_y, more?) -> (dx, ds, y)
        dx = dy * s + more,  ds[n, c] = sum of dy * x,  y = x * s
    stylegan::modulation_grad2(ddx?, dds?, dy, x, s, wanted) -> (d_dy, d_x, d_s)                   wanted: of the three
        d_dy = ddx * s + dds * x,  d_x = dds * dy,  d_s[n, c] = sum of ddx * dy

What is not wanted is an empty tensor. The kernels are those of `stylegan.ops.modulated_epilogue`'s gradients, which compute
the same for an epilogue of nothing but d, and are told that what they are given is x, not the result.
"""

import torch
from torch import Tensor

from stylegan.ops.autograd import differentiable, refuse_third_order
from stylegan.ops.bias_act import FLOATS, compute_dtype
from stylegan.ops.needed import needed
from stylegan.ops.upfirdn2d import memory_format


def modulation_grad(
    dy: Tensor, x: Tensor, s: Tensor, want_y: bool = False, more: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x * s by x and by s, and the product once more.

    Args:
        dy: That of the product, [N, C, H, W], of x's dtype.
        x: [N, C, H, W], contiguous or channels_last; float16, bfloat16, float32 or float64.
        s: Factors [N, C], which may be zero; of any real dtype.
        want_y: Whether to give the product.
        more: Added to the gradient by x, of x's shape and dtype; None for nothing.

    Returns:
        dx, in dtype and memory format as x, ds [N, C] in the dtype of s, and the product, as dx, or an empty tensor. The sums
        are made in float32 where x is of a half type, and the product is rounded once: it is torch's where s fits x's dtype.
        All have a gradient; one more, which were the third of x * s, raises.

    Raises:
        ValueError: Shapes, dtypes or devices that do not fit.
    """
    if x.ndim != 4 or x.dtype not in FLOATS:
        raise ValueError(f"modulation_grad needs x [N, C, H, W] of real numbers, got {tuple(x.shape)}, {x.dtype}")
    for name, t, shape, fits in (
        ("dy", dy, x.shape, dy.dtype == x.dtype),
        ("s", s, x.shape[:2], s.is_floating_point()),
        ("more", more, x.shape, more is None or more.dtype == x.dtype),
    ):
        if t is None:
            continue
        if t.shape != shape or t.device != x.device or not fits:
            raise ValueError(
                f"{name} {tuple(t.shape)}, {t.dtype} on {t.device} does not fit x {tuple(x.shape)}, {x.dtype} on {x.device}"
            )
    dx, ds, y = _run_grad(dy, x, s.to(compute_dtype(x)), want_y, more)
    return dx, ds.to(s.dtype), y


@torch.library.custom_op("stylegan::modulation_grad", mutates_args=())
def _modulation_grad(
    dy: Tensor, x: Tensor, s: Tensor, want_y: bool, more: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    up, scales = dy.to(s.dtype), s[:, :, None, None]
    y = _image(x, x * scales) if want_y else x.new_empty(0)
    dx = up * scales if more is None else up * scales + more
    return _image(x, dx), (up * x).sum([2, 3]), y


@_modulation_grad.register_fake
def _(dy, x, s, want_y, more):
    return _empty(x), s.new_empty(s.shape), _empty(x) if want_y else x.new_empty(0)


@torch.library.custom_op("stylegan::modulation_grad2", mutates_args=())
def _modulation_grad2(
    ddx: Tensor | None, dds: Tensor | None, dy: Tensor, x: Tensor, s: Tensor, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    zero = torch.zeros_like(x, dtype=s.dtype)
    by_x = zero if ddx is None else ddx.to(s.dtype)
    by_s = torch.zeros_like(s) if dds is None else dds
    by_s = by_s[:, :, None, None]
    d_dy = _image(x, by_x * s[:, :, None, None] + by_s * x) if wanted[0] else x.new_empty(0)
    d_x = _image(x, by_s * dy) if wanted[1] else x.new_empty(0)
    d_s = (by_x * dy).sum([2, 3]) if wanted[2] else s.new_empty(0)
    return d_dy, d_x, d_s


@_modulation_grad2.register_fake
def _(ddx, dds, dy, x, s, wanted):
    d_dy, d_x = (_empty(x) if w else x.new_empty(0) for w in wanted[:2])
    return d_dy, d_x, s.new_empty(s.shape) if wanted[2] else s.new_empty(0)


def _setup_grad(ctx, inputs, output):
    ctx.set_materialize_grads(False)
    *tensors, ctx.want_y, more = inputs
    ctx.tensors = [0, 1, 2] if more is None else [0, 1, 2, 4]
    ctx.save_for_backward(*tensors)


def _backward_grad(ctx, ddx, dds, d_y):
    dy, x, s = ctx.saved_tensors
    by_dy, by_x, by_s, *by_more = needed(ctx, ctx.tensors)
    wanted = [by_dy and not (ddx is None and dds is None), by_x and dds is not None, by_s and ddx is not None]
    d_dy = d_x = d_s = None
    if any(wanted):
        got = _run_grad2(ddx, dds, dy, x, s, wanted)
        d_dy, d_x, d_s = (t if w else None for t, w in zip(got, wanted, strict=True))
    if ctx.want_y and d_y is not None and (by_x or by_s):
        d_x, more_s, _ = _run_grad(d_y, x, s, False, d_x)
        d_s = more_s if d_s is None else d_s + more_s
    return d_dy, d_x, d_s, None, ddx if any(by_more) else None


_run_grad = differentiable(_modulation_grad, _backward_grad, _setup_grad)
_run_grad2 = differentiable(_modulation_grad2, refuse_third_order("modulation"))


def _empty(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))


def _image(x: Tensor, t: Tensor) -> Tensor:
    """In dtype and memory format as x."""
    return _empty(x).copy_(t)

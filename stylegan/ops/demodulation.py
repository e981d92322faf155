"""Inverse norms of modulated weights (StyleGAN2, equation 3) in one op, differentiable twice.

    d[n, o] = (sum over i and k of (s[n, i] w[o, i, k])^2 + epsilon)^-1/2

The sum is a product of s^2 with the sums over k of w^2, so that no weights per image are made. In torch's own functions these
are six ops for each layer, 13 for their gradients, and many more for those of path length regularisation.

Schemas (the bodies below are the reference that compiled kernels must equal):

    stylegan::demodulation(s, w, epsilon) -> d
    stylegan::demodulation_grad(dd, s, w, d, wanted) -> (ds, dw)
    stylegan::demodulation_grad2(dds?, ddw?, dd, s, w, d, wanted) -> (d_dd, d_s, d_w)

`wanted` says which of ds and dw, or of d_s and d_w, are; what is not is an empty tensor. With q[o, i] the sum over k of
w^2, and u = dd d^3, one has ds = -s (u q) and dw = -w (u^T s^2). Both gradients contain d, which is given, yet depends on s
and w: the second order counts that in.
"""

import torch
from torch import Tensor

from stylegan.ops.autograd import differentiable, refuse_third_order
from stylegan.ops.bias_act import FLOATS, compute_dtype
from stylegan.ops.needed import needed
from stylegan.ops.upfirdn2d import memory_format

EPSILON = 1e-8


def demodulation(s: Tensor, w: Tensor) -> Tensor:
    """Inverse norms of every image's weights.

    Args:
        s: Styles [N, I]; float16, bfloat16, float32 or float64.
        w: Weights [O, I, kh, kw] of the same dtype, contiguous or channels_last.

    Returns:
        [N, O] in the dtype of s, computed in float32 for half types. First and second order gradients with respect to both. A
        third order raises.

    Raises:
        ValueError: Shapes, dtypes or devices that do not fit.
    """
    if s.ndim != 2 or w.ndim != 4 or s.shape[1] != w.shape[1] or s.dtype not in FLOATS:
        raise ValueError(
            f"demodulation needs styles [N, I] of real numbers and weights [O, I, kh, kw], got {tuple(s.shape)}, {s.dtype} "
            f"and {tuple(w.shape)}"
        )
    if s.dtype != w.dtype or s.device != w.device:
        raise ValueError(f"styles {s.dtype} on {s.device} do not fit weights {w.dtype} on {w.device}")
    dtype = compute_dtype(s)
    return _run(s.to(dtype), w.to(dtype), EPSILON).to(s.dtype)


@torch.library.custom_op("stylegan::demodulation", mutates_args=())
def _demodulation(s: Tensor, w: Tensor, epsilon: float) -> Tensor:
    return (s.square() @ w.square().sum([2, 3]).t() + epsilon).rsqrt()


@_demodulation.register_fake
def _(s, w, epsilon):
    return s.new_empty(s.shape[0], w.shape[0])


@torch.library.custom_op("stylegan::demodulation_grad", mutates_args=())
def _demodulation_grad(dd: Tensor, s: Tensor, w: Tensor, d: Tensor, wanted: list[bool]) -> tuple[Tensor, Tensor]:
    u = dd * d**3
    ds = s * -(u @ w.square().sum([2, 3])) if wanted[0] else s.new_empty(0)
    dw = _like(w, w * -(u.t() @ s.square())[:, :, None, None]) if wanted[1] else s.new_empty(0)
    return ds, dw


@_demodulation_grad.register_fake
def _(dd, s, w, d, wanted):
    return torch.empty_like(s) if wanted[0] else s.new_empty(0), _empty(w) if wanted[1] else s.new_empty(0)


@torch.library.custom_op("stylegan::demodulation_grad2", mutates_args=())
def _demodulation_grad2(
    dds: Tensor | None, ddw: Tensor | None, dd: Tensor, s: Tensor, w: Tensor, d: Tensor, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    # The gradients are -sum of u v, with v = s^2 r^T + p q^T as below; and d(d)/d(sum) = -d^3 / 2.
    q, u, square = w.square().sum([2, 3]), dd * d**3, s.square()
    r = torch.zeros_like(q) if ddw is None else (ddw * w).sum([2, 3])
    p = torch.zeros_like(s) if dds is None else dds * s
    v = square @ r.t() + p @ q.t()
    by_sum = 1.5 * v * dd * d**5
    none = s.new_empty(0)
    d_s = d_w = none
    if wanted[0]:
        d_s = 2 * s * (by_sum @ q - u @ r)
        d_s = d_s if dds is None else d_s - dds * (u @ q)
    if wanted[1]:
        d_w = 2 * w * (by_sum.t() @ square - u.t() @ p)[:, :, None, None]
        d_w = _like(w, d_w if ddw is None else d_w - ddw * (u.t() @ square)[:, :, None, None])
    return -v * d**3, d_s, d_w


@_demodulation_grad2.register_fake
def _(dds, ddw, dd, s, w, d, wanted):
    none = s.new_empty(0)
    return torch.empty_like(dd), torch.empty_like(s) if wanted[0] else none, _empty(w) if wanted[1] else none


def _setup(ctx, inputs, output):
    s, w, _ = inputs
    ctx.save_for_backward(s, w, output)


def _backward(ctx, dd):
    # d is handed on as a constant: the second order knows how it depends on s and w.
    s, w, d = ctx.saved_tensors
    wanted = needed(ctx, [0, 1])
    ds, dw = _run_grad(dd.contiguous(), s, w, d.detach(), wanted)
    return ds if wanted[0] else None, dw if wanted[1] else None, None


def _setup_grad(ctx, inputs, output):
    dd, s, w, d, ctx.wanted = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(dd, s, w, d)


def _backward_grad(ctx, dds, ddw):
    ups = [up if wanted else None for up, wanted in zip((dds, ddw), ctx.wanted, strict=True)]
    if ups == [None, None]:
        return None, None, None, None, None
    dd, s, w, d = ctx.saved_tensors
    wanted = [bool(w) for w in ctx.needs_input_grad[1:3]]
    d_dd, d_s, d_w = _run_grad2(*ups, dd, s, w, d, wanted)
    return d_dd, d_s if wanted[0] else None, d_w if wanted[1] else None, None, None


_run = differentiable(_demodulation, _backward, _setup)
_run_grad = differentiable(_demodulation_grad, _backward_grad, _setup_grad)
_run_grad2 = differentiable(_demodulation_grad2, refuse_third_order("demodulation"))


def _empty(w: Tensor) -> Tensor:
    return torch.empty(w.shape, dtype=w.dtype, device=w.device, memory_format=memory_format(w))


def _like(w: Tensor, t: Tensor) -> Tensor:
    return t.contiguous(memory_format=memory_format(w))

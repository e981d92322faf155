"""Bias, activation, gain and clamp in one op, differentiable twice.

    y = clamp(gain * act(x + b), -clamp, clamp)

`gain` keeps the variance of activations near 1 (sqrt 2 for ReLU-like ones: the equalised layers of Karras et al. 2018,
section 4.1); `clamp` bounds what reduced precision can hold (StyleGAN2-ADA, appendix B). R1 and path length
regularisation differentiate gradients, therefore the backward pass is an op of its own with a backward pass.

Schemas (`clamp` = inf means none; the bodies below are the reference that compiled kernels must equal):

    stylegan::bias_act(x, b?, act, alpha, gain, clamp, dim) -> y
    stylegan::bias_act_grad(dy, ref, b?, act, alpha, gain, clamp, dim) -> dx          dx = dy * y'
    stylegan::bias_act_grad2(ddx, dy, x, b?, act, alpha, gain, clamp, dim) -> dx2     dx2 = ddx * dy * y''

`ref` is y for the piecewise linear activations (their sign and clamp can be read off the result, so that x need not
be kept), and x for the smooth ones. The last op is for the smooth ones only.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from stylegan.ops.autograd import differentiable, refuse_third_order

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
SELU_SCALE = 1.0507009873554805  # Klambauer et al. 2017, section 2
SELU_ALPHA = 1.6732632423543772


@dataclass(frozen=True)
class Activation:
    """Defaults of one activation.

    Attributes:
        alpha: Default slope for negative inputs; used by `lrelu` only.
        gain: Default gain.
        piecewise: Piecewise linear through zero, so that the second derivative vanishes.
    """

    alpha: float = 0.0
    gain: float = 1.0
    piecewise: bool = False


ACTIVATIONS = {
    "linear": Activation(piecewise=True),
    "relu": Activation(gain=math.sqrt(2), piecewise=True),
    "lrelu": Activation(alpha=0.2, gain=math.sqrt(2), piecewise=True),
    "tanh": Activation(),
    "sigmoid": Activation(),
    "elu": Activation(),
    "selu": Activation(),
    "softplus": Activation(),
    "swish": Activation(gain=math.sqrt(2)),
}


def bias_act(
    x: Tensor,
    b: Tensor | None = None,
    *,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """Add a bias, apply an activation, scale, clamp.

    Args:
        x: Any shape and memory format; float16, bfloat16, float32 or float64 (half types are computed in float32).
        b: Bias [x.shape[dim]] of x's dtype, or None.
        dim: The dimension of x that `b` runs along.
        act: A name in `ACTIVATIONS`.
        alpha: Negative slope of `lrelu`; None for the activation's default.
        gain: Factor after the activation; None for the activation's default.
        clamp: Bound on the absolute value of the result, after the gain; None for no bound.

    Returns:
        Same shape, dtype and memory format as x. First and second order gradients with respect to x and b. A third
        raises for the smooth activations; the piecewise linear ones have gradients of any order.

    Raises:
        ValueError: Unknown activation, bias that does not fit x, alpha or clamp below zero.
    """
    if act not in ACTIVATIONS:
        raise ValueError(f"unknown activation {act!r}; there are: {', '.join(ACTIVATIONS)}")
    defaults = ACTIVATIONS[act]
    alpha = defaults.alpha if alpha is None else float(alpha)
    gain = defaults.gain if gain is None else float(gain)
    clamp = math.inf if clamp is None else float(clamp)
    if not (alpha >= 0 and clamp >= 0):
        raise ValueError(f"bias_act needs alpha >= 0 and clamp >= 0, got alpha={alpha}, clamp={clamp}")
    if x.dtype not in FLOATS:
        raise ValueError(f"bias_act knows float16, bfloat16, float32 and float64, not {x.dtype}")
    if b is not None:
        fits = -x.ndim <= dim < x.ndim and b.shape == (x.shape[dim],)
        if not fits or b.dtype != x.dtype or b.device != x.device:
            raise ValueError(
                f"bias {tuple(b.shape)}, {b.dtype} on {b.device} does not fit dimension {dim} of "
                f"x {tuple(x.shape)}, {x.dtype} on {x.device}"
            )
    if act == "linear" and b is None and gain == 1 and clamp == math.inf:
        return x
    return _run(x, b, act, alpha, gain, clamp, dim)


@torch.library.custom_op("stylegan::bias_act", mutates_args=())
def _bias_act(x: Tensor, b: Tensor | None, act: str, alpha: float, gain: float, clamp: float, dim: int) -> Tensor:
    y = torch.empty_like(x, dtype=compute_dtype(x))
    # Positive factors pass through piecewise linear functions: scaling while adding the bias saves a pass over memory.
    early = gain if ACTIVATIONS[act].piecewise and gain > 0 else 1.0
    if b is None:
        torch.mul(x, early, out=y)
    else:
        torch.add(_along(b, x, dim).to(y.dtype) * early, x.to(y.dtype), alpha=early, out=y)
    _activate_(y, act, alpha)
    if early != gain:
        y.mul_(gain)
    if clamp != math.inf:
        y.clamp_(-clamp, clamp)
    return y.to(x.dtype)


@_bias_act.register_fake
def _(x, b, act, alpha, gain, clamp, dim):
    return torch.empty_like(x)


@torch.library.custom_op("stylegan::bias_act_grad", mutates_args=())
def _bias_act_grad(
    dy: Tensor, ref: Tensor, b: Tensor | None, act: str, alpha: float, gain: float, clamp: float, dim: int
) -> Tensor:
    dtype = compute_dtype(ref)
    dx = torch.empty_like(ref, dtype=dtype)
    if ACTIVATIONS[act].piecewise:
        y = ref.to(dtype)
        if act == "linear":
            torch.mul(dy, gain, out=dx)
        else:
            # y has the sign of the activation's input if the gain is positive.
            slope = alpha if act == "lrelu" else 0.0
            signed = y if gain > 0 else -y
            torch.ops.aten.leaky_relu_backward.grad_input(dy.to(dtype), signed, slope, True, grad_input=dx)
            dx.mul_(gain)
        if clamp != math.inf:
            torch.ops.aten.hardtanh_backward.grad_input(dx, y, -clamp, clamp, grad_input=dx)
    else:
        value, first, _ = _derivatives(_biased(ref, b, dim, dtype), act)
        torch.mul(dy.to(dtype), first.mul_(gain), out=dx)
        if clamp != math.inf:
            dx.masked_fill_(value.mul_(gain).abs_() >= clamp, 0)
    return dx.to(ref.dtype)


@_bias_act_grad.register_fake
def _(dy, ref, b, act, alpha, gain, clamp, dim):
    return torch.empty_like(ref)


@torch.library.custom_op("stylegan::bias_act_grad2", mutates_args=())
def _bias_act_grad2(
    ddx: Tensor, dy: Tensor, x: Tensor, b: Tensor | None, act: str, alpha: float, gain: float, clamp: float, dim: int
) -> Tensor:
    dtype = compute_dtype(x)
    dx2 = torch.empty_like(x, dtype=dtype)
    value, _, second = _derivatives(_biased(x, b, dim, dtype), act)
    torch.mul(ddx.to(dtype), dy.to(dtype), out=dx2)
    dx2.mul_(second).mul_(gain)
    if clamp != math.inf:
        dx2.masked_fill_(value.mul_(gain).abs_() >= clamp, 0)
    return dx2.to(x.dtype)


@_bias_act_grad2.register_fake
def _(ddx, dy, x, b, act, alpha, gain, clamp, dim):
    return torch.empty_like(x)


def _setup_bias_act(ctx, inputs, output):
    x, b, act, *ctx.arguments, ctx.dim = inputs
    ctx.act = act
    if ACTIVATIONS[act].piecewise:
        ctx.save_for_backward(output, None)
    else:
        ctx.save_for_backward(x, b)


def _backward_bias_act(ctx, dy):
    ref, b = ctx.saved_tensors
    if ctx.act == "linear":
        ref = ref.detach()  # the slope does not depend on x: an absent second derivative rather than zeros
    dx = _run_grad(dy, ref, b, ctx.act, *ctx.arguments, ctx.dim)
    db = _sum_except(dx, ctx.dim) if ctx.needs_input_grad[1] else None
    return dx, db, None, None, None, None, None


def _setup_bias_act_grad(ctx, inputs, output):
    dy, ref, b, act, *ctx.arguments, ctx.dim = inputs
    ctx.act = act
    ctx.save_for_backward(None if ACTIVATIONS[act].piecewise else dy, ref, b)


def _backward_bias_act_grad(ctx, ddx):
    dy, ref, b = ctx.saved_tensors
    d_dy = d_ref = d_b = None
    if ctx.needs_input_grad[0]:
        d_dy = _run_grad(ddx, ref, b, ctx.act, *ctx.arguments, ctx.dim)
    if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
        if ACTIVATIONS[ctx.act].piecewise:
            # Zero almost everywhere, but present: an optimizer skips absent gradients and counts zero ones as a step.
            d_ref = ddx.new_zeros(()).expand_as(ref)
        else:
            d_ref = _run_grad2(ddx, dy, ref, b, ctx.act, *ctx.arguments, ctx.dim)
            d_b = _sum_except(d_ref, ctx.dim) if ctx.needs_input_grad[2] else None
    return d_dy, d_ref, d_b, None, None, None, None, None


_run = differentiable(_bias_act, _backward_bias_act, _setup_bias_act)
_run_grad = differentiable(_bias_act_grad, _backward_bias_act_grad, _setup_bias_act_grad)
_run_grad2 = differentiable(_bias_act_grad2, refuse_third_order("bias_act"))


def compute_dtype(x: Tensor) -> torch.dtype:
    """The type in which ops compute what is stored in x's."""
    return torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype


def _along(b: Tensor, x: Tensor, dim: int) -> Tensor:
    return b.reshape([-1 if i == dim % x.ndim else 1 for i in range(x.ndim)])


def _biased(x: Tensor, b: Tensor | None, dim: int, dtype: torch.dtype) -> Tensor:
    return x.to(dtype) if b is None else x.to(dtype) + _along(b, x, dim).to(dtype)


def _sum_except(x: Tensor, dim: int) -> Tensor:
    return x.sum([i for i in range(x.ndim) if i != dim % x.ndim])


def _activate_(t: Tensor, act: str, alpha: float) -> None:
    """Replace t by act(t)."""
    match act:
        case "relu":
            t.relu_()
        case "lrelu":
            F.leaky_relu_(t, alpha)
        case "tanh":
            t.tanh_()
        case "sigmoid":
            t.sigmoid_()
        case "elu":
            F.elu_(t)
        case "selu":
            F.selu_(t)
        case "softplus":
            t.copy_(F.softplus(t))
        case "swish":
            F.silu(t, inplace=True)


def _derivatives(t: Tensor, act: str) -> tuple[Tensor, Tensor, Tensor]:
    """A smooth activation at t: value, first and second derivative."""
    match act:
        case "tanh":
            y = t.tanh()
            first = 1 - y * y
            return y, first, -2 * y * first
        case "sigmoid":
            y = t.sigmoid()
            first = y * (1 - y)
            return y, first, first * (1 - 2 * y)
        case "elu" | "selu":
            scale, a = (SELU_SCALE, SELU_ALPHA) if act == "selu" else (1.0, 1.0)
            grown = scale * a * t.clamp(max=0).exp()
            below = t < 0
            first = torch.where(below, grown, scale)
            return torch.where(below, grown - scale * a, scale * t), first, torch.where(below, grown, 0)
        case "softplus":
            s = t.sigmoid()
            return F.softplus(t), s, s * (1 - s)
        case "swish":
            s = t.sigmoid()
            y = t * s
            first = s + y * (1 - s)
            return y, first, s * (1 - s) * (2 + t * (1 - 2 * s))
    raise ValueError(f"{act!r} is not a smooth activation")

"""What follows the convolution of a modulated layer, in one op: demodulation, noise, bias, activation, gain and clamp.

    t = x * d + noise + b        y = clamp(gain * act(t), -clamp, clamp)

(StyleGAN2, figure 2 and equation 3; the order of the operations is that of the papers' networks.) As separate ops these are
five passes over a layer's largest tensors, and more backwards. First and second order gradients are ops of their own.

Schemas (the bodies below are the reference that compiled kernels must equal; act is linear or lrelu, clamp = inf means none):

    stylegan::modulated_epilogue(x, d?, noise?, b?, act, alpha, gain, clamp) -> (y, link)
    stylegan::modulated_epilogue_grad(dy, y, link, dlink?, d?, noise?, b?, act, alpha, gain, clamp, wanted)
        -> (dx, dd, dnoise, db)                                            dx holds dlink; wanted: of the last three
    stylegan::modulated_epilogue_grad2(ddx?, ddd?, ddnoise?, ddb?, dy, y, d?, noise?, b?, act, alpha, gain, clamp, wanted)
        -> (d_dy, d_x, d_d)                                                wanted: of the three

What is not wanted is an empty tensor. x is not kept for the backward pass: y is in memory anyway, as the next layer's
input, and where gradients pass, x = (y / y' - noise - b) / d. (d is an inverse norm and never zero.) What remains to
keep is x's place in the graph, since the gradient of d depends on x: `link` has x's shape, no memory (all strides are
zero), and takes the gradients that belong to x.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from stylegan.ops.autograd import differentiable, refuse_third_order
from stylegan.ops.bias_act import ACTIVATIONS, FLOATS, compute_dtype

EPILOGUE_ACTIVATIONS = ("linear", "lrelu")


def modulated_epilogue(
    x: Tensor,
    d: Tensor | None = None,
    noise: Tensor | None = None,
    b: Tensor | None = None,
    *,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """Scale channels, add noise and bias, apply an activation, scale, clamp.

    Args:
        x: Convolved features [N, C, H, W], contiguous or channels_last; float16, bfloat16, float32 or float64.
        d: Factors [N, C], none of them zero; None for 1.
        noise: [H, W] or [N, 1, H, W], already scaled; None for none.
        b: Bias [C]; None for none.
        act: `linear` or `lrelu`.
        alpha: Negative slope of `lrelu`; None for 0.2.
        gain: Factor after the activation, above 0; None for the activation's default.
        clamp: Bound on the absolute value of the result; None for none.

    Returns:
        Same shape, dtype and memory format as x. First and second order gradients with respect to x, d, noise and b,
        which are computed in float32 where x is of a half type, and may be given so. A third order raises.

    Raises:
        ValueError: Shapes, dtypes or devices that do not fit, unknown activation, gain not above 0, alpha or clamp below 0.
    """
    if act not in EPILOGUE_ACTIVATIONS:
        raise ValueError(f"modulated_epilogue knows the activations {', '.join(EPILOGUE_ACTIVATIONS)}, not {act!r}")
    alpha = ACTIVATIONS[act].alpha if alpha is None else float(alpha)
    gain = ACTIVATIONS[act].gain if gain is None else float(gain)
    clamp = math.inf if clamp is None else float(clamp)
    if not (alpha >= 0 and gain > 0 and clamp >= 0):
        raise ValueError(
            f"modulated_epilogue needs alpha >= 0, gain > 0 and clamp >= 0, got {alpha=}, {gain=}, {clamp=}"
        )
    if x.ndim != 4 or x.dtype not in FLOATS:
        raise ValueError(f"modulated_epilogue needs x [N, C, H, W] of real numbers, got {tuple(x.shape)}, {x.dtype}")
    n, c, height, width = x.shape
    shapes = {"d": [(n, c)], "noise": [(height, width), (n, 1, height, width)], "b": [(c,)]}
    given = {"d": d, "noise": noise, "b": b}
    for name, t in given.items():
        if t is None:
            continue
        if tuple(t.shape) not in shapes[name] or t.device != x.device or not t.is_floating_point():
            raise ValueError(
                f"{name} {tuple(t.shape)}, {t.dtype} on {t.device} does not fit x {tuple(x.shape)}, {x.dtype} on {x.device}"
            )
        given[name] = t.to(compute_dtype(x))
    if d is None and noise is None and b is None and act == "linear" and gain == 1 and clamp == math.inf:
        return x
    y, _ = _run(x, given["d"], given["noise"], given["b"], act, alpha, gain, clamp)
    return y


@torch.library.custom_op("stylegan::modulated_epilogue", mutates_args=())
def _modulated_epilogue(
    x: Tensor,
    d: Tensor | None,
    noise: Tensor | None,
    b: Tensor | None,
    act: str,
    alpha: float,
    gain: float,
    clamp: float,
) -> tuple[Tensor, Tensor]:
    t = x.to(compute_dtype(x))
    t = t if d is None else t * d[:, :, None, None]
    t = t if noise is None else t + noise
    t = t if b is None else t + b[:, None, None]
    y = (F.leaky_relu(t, alpha) if act == "lrelu" else t) * gain
    y = y if clamp == math.inf else y.clamp(-clamp, clamp)
    return torch.empty_like(x).copy_(y), _link(x)


@_modulated_epilogue.register_fake
def _(x, d, noise, b, act, alpha, gain, clamp):
    return torch.empty_like(x), _link(x)


@torch.library.custom_op("stylegan::modulated_epilogue_grad", mutates_args=())
def _modulated_epilogue_grad(
    dy: Tensor,
    y: Tensor,
    link: Tensor,
    dlink: Tensor | None,
    d: Tensor | None,
    noise: Tensor | None,
    b: Tensor | None,
    act: str,
    alpha: float,
    gain: float,
    clamp: float,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    m, x = _slope_and_argument(y, d, noise, b, act, alpha, gain, clamp)
    dt = dy.to(m.dtype) * m
    dx = dt if d is None else dt * d[:, :, None, None]
    dx = dx if dlink is None else dx + dlink
    dd = (dt * x).sum([2, 3]) if wanted[0] else dt.new_empty(0)
    dnoise = dt.new_empty(0)
    if wanted[1] and noise is not None:
        dnoise = dt.sum(1, keepdim=True) if noise.ndim == 4 else dt.sum([0, 1])
    db = dt.sum([0, 2, 3]) if wanted[2] else dt.new_empty(0)
    return torch.empty_like(y).copy_(dx), dd, dnoise.contiguous(), db


@_modulated_epilogue_grad.register_fake
def _(dy, y, link, dlink, d, noise, b, act, alpha, gain, clamp, wanted):
    small = [t.new_empty(t.shape) if w else _none(y) for t, w in zip((d, noise, b), wanted, strict=True)]
    return torch.empty_like(y), *small


@torch.library.custom_op("stylegan::modulated_epilogue_grad2", mutates_args=())
def _modulated_epilogue_grad2(
    ddx: Tensor | None,
    ddd: Tensor | None,
    ddnoise: Tensor | None,
    ddb: Tensor | None,
    dy: Tensor,
    y: Tensor,
    d: Tensor | None,
    noise: Tensor | None,
    b: Tensor | None,
    act: str,
    alpha: float,
    gain: float,
    clamp: float,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    m, x = _slope_and_argument(y, d, noise, b, act, alpha, gain, clamp)
    dt, total = dy.to(m.dtype) * m, torch.zeros_like(m)
    ddx = None if ddx is None else ddx.to(m.dtype)
    if ddx is not None:
        total = total + (ddx if d is None else ddx * d[:, :, None, None])
    if ddd is not None:
        total = total + x * ddd[:, :, None, None]
    if ddnoise is not None:
        total = total + ddnoise
    if ddb is not None:
        total = total + ddb[:, None, None]
    zero = torch.zeros_like(m)
    d_dy = torch.empty_like(y).copy_(m * total) if wanted[0] else y.new_empty(0)
    d_x = zero if ddd is None else dt * ddd[:, :, None, None]
    d_x = torch.empty_like(y).copy_(d_x) if wanted[1] else y.new_empty(0)
    d_d = (zero if ddx is None else dt * ddx).sum([2, 3]) if wanted[2] else m.new_empty(0)
    return d_dy, d_x, d_d


@_modulated_epilogue_grad2.register_fake
def _(ddx, ddd, ddnoise, ddb, dy, y, d, noise, b, act, alpha, gain, clamp, wanted):
    d_dy, d_x = (torch.empty_like(y) if w else y.new_empty(0) for w in wanted[:2])
    return d_dy, d_x, d.new_empty(d.shape) if wanted[2] else _none(y)


def _setup(ctx, inputs, output):
    _, d, noise, b, *ctx.arguments = inputs
    ctx.set_materialize_grads(False)
    y, link = output
    ctx.save_for_backward(y, link, d, noise, b)


def _backward(ctx, dy, dlink):
    y, link, d, noise, b = ctx.saved_tensors
    if dy is None:  # nothing but the second order's gradient of x
        return dlink, *[None] * 7
    # What y contributes to these gradients, its sign, is constant almost everywhere; what depends on x goes by `link`.
    wanted = [bool(w) for w in ctx.needs_input_grad[1:4]]
    if d is None and ctx.arguments[0] == "linear":
        # A constant factor: dx depends on nothing but dy, which may be a constant, too.
        link, noise, b = (None if t is None else t.detach() for t in (link, noise, b))
    dx, *small = _run_grad(dy, y.detach(), link, dlink, d, noise, b, *ctx.arguments, wanted)
    return dx, *(t if w else None for t, w in zip(small, wanted, strict=True)), *[None] * 4


def _setup_grad(ctx, inputs, output):
    dy, y, _, _, d, noise, b, *ctx.arguments, ctx.wanted = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(None if d is None else dy, y, d, noise, b)


def _backward_grad(ctx, ddx, ddd, ddnoise, ddb):
    dy, y, d, noise, b = ctx.saved_tensors
    ups = [ddx, *(up if w else None for up, w in zip((ddd, ddnoise, ddb), ctx.wanted, strict=True))]
    needs_dy, _, needs_x, needs_dlink, needs_d, needs_noise, needs_b = ctx.needs_input_grad[:7]
    wanted = [bool(needs_dy), bool(needs_x and ups[1] is not None), bool(needs_d and ddx is not None)]
    # Without d nothing but dy's own slope is asked for, which does not depend on dy: any tensor of its kind will do.
    dy = y if dy is None else dy
    d_dy, d_x, d_d = _run_grad2(*ups, dy, y, d, noise, b, *ctx.arguments, wanted)
    got = [t if w else None for t, w in zip((d_dy, d_x, d_d), wanted, strict=True)]
    zeros = [None, None]
    if ctx.arguments[0] == "lrelu":
        # Zero almost everywhere, but present: an optimizer skips absent gradients and counts zero ones as a step.
        zeros = [t.new_zeros(()).expand(t.shape) if w else None for t, w in ((noise, needs_noise), (b, needs_b))]
    return got[0], None, got[1], ddx if needs_dlink else None, got[2], *zeros, *[None] * 5


_run = differentiable(_modulated_epilogue, _backward, _setup)
_run_grad = differentiable(_modulated_epilogue_grad, _backward_grad, _setup_grad)
_run_grad2 = differentiable(_modulated_epilogue_grad2, refuse_third_order("modulated_epilogue"))


def _link(x: Tensor) -> Tensor:
    return x.new_zeros(()).expand(x.shape)


def _none(y: Tensor) -> Tensor:
    return y.new_empty(0, dtype=compute_dtype(y))


def _slope_and_argument(
    y: Tensor,
    d: Tensor | None,
    noise: Tensor | None,
    b: Tensor | None,
    act: str,
    alpha: float,
    gain: float,
    clamp: float,
) -> tuple[Tensor, Tensor]:
    """y' at every element, and x where y' is not zero."""
    y = y.to(compute_dtype(y))
    m = torch.full_like(y, gain)
    m = torch.where(y > 0, m, m * alpha) if act == "lrelu" else m
    m = m if clamp == math.inf else m.masked_fill(y.abs() >= clamp, 0)
    x = y / m.masked_fill(m == 0, 1)
    x = x if noise is None else x - noise
    x = x if b is None else x - b[:, None, None]
    return m, x if d is None else x / d[:, :, None, None]

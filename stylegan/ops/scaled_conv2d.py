"""Convolutions whose input and weight have factors, which keep input and weight for the backward pass, not the products.

    scaled_conv2d(x, w, s, gain)[n, o] = sum over i of conv(s[n, i] x[n, i], gain w[o, i])

x is in memory anyway, as the result of the layer before, and w is a parameter: what is kept for gradients by a network that
scales styles into its features (StyleGAN2, section 2.2) and learning rates into its weights (Karras et al. 2018, section 4.1)
falls by a sixth. The products are made again where the gradient by w, or the one by the input, asks for them: that of x and s
in the pass over memory that makes the gradients by both, where there is one.

It is a composition of `stylegan.ops.conv2d`'s ops, differentiable to any order; with s, where the gradients by x and by s are
made together (`stylegan.ops.modulation`), twice: a third order raises.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stylegan.ops import conv2d
from stylegan.ops.modulation import modulation_grad
from stylegan.ops.needed import needed


def scaled_conv2d(
    x: Tensor,
    w: Tensor,
    s: Tensor | None = None,
    gain: float = 1.0,
    *,
    transpose: bool = False,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    groups: int = 1,
) -> Tensor:
    """`conv2d` or `conv_transpose2d` of x times s and w times gain.

    Args:
        x: [N, I, H, W].
        w: As the two take it, also in float32 where x is of a half type: it is rounded after scaling.
        s: Factors [N, I]; None for 1.
        gain: Factor of w.
        transpose: Which of the two.
        stride, padding, groups: As there.

    Returns:
        What they return, in x's dtype.
    """
    return scaled_conv2d_beside(x, w, s, gain, transpose=transpose, stride=stride, padding=padding, groups=groups)[0]


def scaled_conv2d_beside(
    x: Tensor,
    w: Tensor,
    s: Tensor | None = None,
    gain: float = 1.0,
    *,
    transpose: bool = False,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    groups: int = 1,
) -> tuple[Tensor, Tensor]:
    """`scaled_conv2d`, and x, for what else reads it: the gradients of the two are then summed while the first is made."""
    strides, paddings = ([value] * 2 if isinstance(value, int) else list(value) for value in (stride, padding))
    if w.dtype == x.dtype and s is None and gain == 1:
        return _convolve(x, w, transpose, None, strides, paddings, groups), x
    x, _ = conv2d._autocast(x, x)
    return _scaled(x, w, s, gain, (transpose, None, strides, paddings, groups))


def _scaled(x: Tensor, w: Tensor, s: Tensor | None, gain: float, options: Any) -> tuple[Tensor, Tensor]:
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return _convolve(_features(x, s), _weights(w, gain, x.dtype), *options), x
    return _Scaled.apply(x, w, s, gain, options)


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, s: Tensor | None, gain: float, options: Any) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, w, s)
        ctx.gain, ctx.options = gain, options
        return _convolve(_features(x, s), _weights(w, gain, x.dtype), *options), x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        dy, more = gradients
        if dy is None:
            return more, None, None, None, None
        x, w, s = ctx.saved_tensors
        transpose, _, *rest = ctx.options
        needs_x, needs_w, *needs_s = needed(ctx, [0, 1] if s is None else [0, 1, 2])
        dy, dx, dw, ds, features = conv2d._like(dy, x), None, None, None, None
        if needs_x or any(needs_s):
            dx, _ = _scaled(dy, w, None, ctx.gain, (not transpose, x.shape[2:], *rest))  # the adjoint
            dx, ds, features = _unscaled(dx, x, s, more, needs_x, any(needs_s), needs_w)
        if needs_w:
            features = _features(x, s) if features is None else features
            pair = (features, dy) if transpose else (dy, features)
            dw = conv2d._run_weight(*pair, w.shape[2:], *rest).to(w.dtype)
            dw = dw if ctx.gain == 1 else dw * ctx.gain
        return dx, dw, ds, None, None


def _unscaled(
    dy: Tensor, x: Tensor, s: Tensor | None, more: Tensor | None, needs_x: bool, needs_s: bool, needs_features: bool
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients by x and s of the features that are convolved, and these where they are needed and come with the two.
    `more` is x's gradient from elsewhere."""
    if s is not None and needs_x and needs_s:
        rounded = s.to(x.dtype).to(s.dtype)  # as the features were
        dx, ds, features = modulation_grad(dy, x, rounded, needs_features, more)
        return dx, ds, features if needs_features else None
    ds = (dy * x).sum([2, 3]).to(s.dtype) if s is not None and needs_s else None
    dx = _features(dy, s) if needs_x else None
    return dx if dx is None or more is None else dx + more, ds, None


def _convolve(
    x: Tensor, w: Tensor, transpose: bool, size: Any, stride: list[int], padding: list[int], groups: int
) -> Tensor:
    """`size`: height and width of the result; None for what follows from the other arguments."""
    if transpose and size is not None:
        return conv2d._run_input(x, w, size, stride, padding, groups)
    function = conv2d.conv_transpose2d if transpose else conv2d.conv2d
    return function(x, w, stride=stride, padding=padding, groups=groups)


def _features(x: Tensor, s: Tensor | None) -> Tensor:
    return x if s is None else x * s[:, :, None, None].to(x.dtype)


def _weights(w: Tensor, gain: float, dtype: torch.dtype) -> Tensor:
    w = w if gain == 1 else w * gain
    # A transposed weight is laid out on the way: tensor cores want channels_last, and would have it copied.
    return w if w.dtype == dtype else w.to(dtype, memory_format=torch.channels_last)

"""Convolution with per-image modulated weights (StyleGAN2, section 2.2), a differentiable composition.

    w'[n, o, i] = s[n, i] * w[o, i]                              modulation, equation 1
    w''[n, o, i] = w'[n, o, i] / sqrt(sum_{i, k} w'[n, o, i, k]^2 + eps)      demodulation, equation 3

Either the weights are made per image and applied as one grouped convolution, or, which is the same, the channels of the
input are scaled by s and those of the output by the inverse norms. The second keeps one dense convolution. Of a 1x1
convolution the weights per image are small beside the features, and it is a matrix product with them: nothing is scaled.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.linalg import vector_norm

from stylegan.ops.bias_act import FLOATS
from stylegan.ops.conv2d_resample import conv2d_resample, conv2d_resample_beside
from stylegan.ops.demodulation import demodulation
from stylegan.ops.modulated_epilogue import modulated_epilogue
from stylegan.ops.upfirdn2d import four_sides, memory_format


def modulated_conv2d(
    x: Tensor,
    w: Tensor,
    s: Tensor,
    *,
    noise: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    f: Tensor | None = None,
    demodulate: bool = True,
    flip_weight: bool = True,
    fused_modconv: bool = False,
) -> Tensor:
    """Convolve each image with its own weights.

    For x in float16 or bfloat16, w, s and noise may be float32, which is better: they are scaled so that products with x
    cannot overflow, and demodulation is computed, before they are rounded.

    Args:
        x: [N, I, H, W].
        w: [O, I, kh, kw].
        s: Styles [N, I].
        noise: Added to the result: [H', W'] or [N, 1, H', W'], already scaled; None for none.
        up: Factor of up-sampling, see `conv2d_resample`.
        down: Factor of down-sampling.
        padding: With respect to the up-sampled image.
        f: Low-pass filter for resampling.
        demodulate: Scale every output channel's weights to unit norm.
        flip_weight: True correlates, False convolves.
        fused_modconv: True makes weights per image and runs one convolution of N groups; False scales activations,
            which is several times faster on a CPU. Without meaning for a 1x1 convolution that does not resample.

    Returns:
        [N, O, H', W'] in x's dtype.

    Raises:
        ValueError: Shapes, dtypes, devices or numbers that do not fit.
    """
    _check(x, w, s)
    resample = {"up": up, "down": down, "padding": padding, "f": f, "flip_weight": flip_weight}
    plain = up == down == 1 and w.shape[2:] == (1, 1) and not any(four_sides(padding))
    if not (fused_modconv or plain):
        y, d, _ = modulated_only(x, w, s, demodulate=demodulate, **resample)
        return modulated_epilogue(y, d, noise)
    w, s = _bounded(w, s, x.dtype) if demodulate else (w, s)
    d = _demodulation(s, w) if demodulate else None
    n = x.shape[0]
    per_image = w[None] * s[:, None, :, None, None]
    per_image = per_image if d is None else per_image * d[:, :, None, None, None]
    if plain:
        x = _mix_channels(x, per_image.flatten(2).to(x.dtype))
    else:  # rounded there, for each use anew: so their gradients of first and second order are not added in 16 bits
        x = conv2d_resample(x.reshape(1, -1, *x.shape[2:]), per_image.flatten(0, 1), groups=n, **resample)
        x = x.reshape(n, -1, *x.shape[2:])
    return x if noise is None else x + noise.to(x.dtype)


def normalized_modulated_conv2d(
    x: Tensor,
    w: Tensor,
    s: Tensor,
    *,
    padding: int | Sequence[int] = 0,
    demodulate: bool = True,
    input_gain: Tensor | None = None,
    per_image: bool = False,
) -> Tensor:
    """StyleGAN3's variant: weights and styles are normalised before they are multiplied, and x has a gain of its own.

    With `demodulate`, every output channel's weights are scaled to a mean square of one, and so are the styles. Demodulation
    takes both factors out again: what stays is that its epsilon, and reduced precision, meet numbers of order one. The papers'
    code normalises the styles of the whole batch by one factor, which lets an image depend on the rest of its batch.

    Args:
        x: [N, I, H, W].
        w: [O, I, kh, kw].
        s: Styles [N, I].
        padding: For all sides, or [y, x].
        demodulate: Normalise, and scale every output channel's weights to unit norm.
        input_gain: Factor of x: [], [I] or [N, I]; None for 1. Demodulation does not see it.
        per_image: Normalise every image's styles by themselves, not those of the batch.

    Returns:
        [N, O, H', W'] in x's dtype. Gradients of first and second order.

    Raises:
        ValueError: Shapes, dtypes, devices or numbers that do not fit.
    """
    _check(x, w, s)
    if demodulate:
        w = w * w.square().mean([1, 2, 3], keepdim=True).rsqrt()
        s = s * s.square().mean(1 if per_image else None, keepdim=True).rsqrt()
    w, s = _bounded(w, s, x.dtype) if demodulate else (w, s)
    d = _demodulation(s, w) if demodulate else None
    s = s if input_gain is None else s * input_gain
    y_pad, x_pad = [padding] * 2 if isinstance(padding, int) else padding
    if w.shape[2:] == (1, 1) and y_pad == x_pad == 0:
        per_image_w = w.flatten(2).squeeze(2) * s[:, None]
        per_image_w = per_image_w if d is None else per_image_w * d[:, :, None]
        return _mix_channels(x, per_image_w.to(x.dtype))
    y = conv2d_resample(x, w, s=s, padding=[x_pad, y_pad])
    return y if d is None else modulated_epilogue(y, d)


def _check(x: Tensor, w: Tensor, s: Tensor) -> None:
    half = x.dtype in (torch.float16, torch.bfloat16)
    mixes = half or (x.device.type != "meta" and torch.is_autocast_enabled(x.device.type))
    fits = x.ndim == w.ndim == 4 and s.shape == (x.shape[0], x.shape[1]) and w.shape[1] == x.shape[1]
    real = all(t.dtype in FLOATS and t.device == x.device for t in (x, w, s))
    if not (fits and real and (mixes or s.dtype == w.dtype)):
        given = ", ".join(
            f"{name} {tuple(t.shape)} {t.dtype} on {t.device}" for name, t in zip("xws", (x, w, s), strict=True)
        )
        raise ValueError(
            f"modulated_conv2d needs x [N, I, H, W], w [O, I, kh, kw] and s [N, I], real, on one device, w and s of one "
            f"dtype, got {given}"
        )


def modulated_only(
    x: Tensor, w: Tensor, s: Tensor, *, demodulate: bool = True, **resample: Any
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Convolve the channels of x scaled by s.

    Args:
        x: [N, I, H, W].
        w: [O, I, kh, kw].
        s: Styles [N, I].
        demodulate: Whether factors for demodulation are wanted.
        resample: Options of `conv2d_resample`.

    Returns:
        The result [N, O, H', W'] in x's dtype, the factors [N, O] that its channels still have to be multiplied with, and x,
        for what else reads it, see `conv2d_resample_beside`.
    """
    w, s = _bounded(w, s, x.dtype) if demodulate else (w, s)
    y, x = conv2d_resample_beside(x, w, s=s, **resample)
    # After the convolution: its gradient by w then comes first, and that of a transposed convolution, which lies otherwise in
    # memory than w, is added to it rather than the other way round.
    return y, _demodulation(s, w) if demodulate else None, x


def _mix_channels(x: Tensor, w: Tensor) -> Tensor:
    """Every pixel of x [N, I, H, W] times its image's w [N, O, I], in x's memory format: [N, O, H, W]."""
    pixels = x.flatten(2)
    channels_last = memory_format(x) is torch.channels_last
    y = torch.bmm(pixels.mT, w.mT).mT if channels_last else torch.bmm(w, pixels)
    return y.unflatten(2, x.shape[2:])


def _bounded(w: Tensor, s: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """w and s to be demodulated, such that products with activations of `dtype` cannot overflow.

    For half types all of an output channel's weights are brought into +-1 / sqrt(I kh kw), and s of every image into +-1, both
    float32. A sum over I kh kw products with activations in +-256 is then at most 256 sqrt(I kh kw), which float16 can hold
    (StyleGAN2-ADA, appendix D, "Mixed-precision training"). Demodulation takes the factors out again, whatever they are:
    they count as constants.
    """
    if dtype not in (torch.float16, torch.bfloat16):
        return w, s
    w, s = w.float(), s.float()
    tiny = torch.finfo(torch.float32).tiny
    largest_w = vector_norm(w.detach(), math.inf, dim=[1, 2, 3], keepdim=True).clamp(min=tiny)
    largest_s = vector_norm(s.detach(), math.inf, dim=1, keepdim=True).clamp(min=tiny)
    return w / (largest_w * math.sqrt(w[0].numel())), s / largest_s


def _demodulation(s: Tensor, w: Tensor) -> Tensor:
    return demodulation(s, w.to(s.dtype))

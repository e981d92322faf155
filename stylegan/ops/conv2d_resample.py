"""2-D convolution joined with up- or down-sampling (StyleGAN2, appendix B), a differentiable composition.

What is computed is always: up-sample with `f`, pad, convolve, down-sample with `f`. The order of the steps is chosen so
that the expensive one, the convolution, works at the lower resolution.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from stylegan.ops.scaled_conv2d import scaled_conv2d, scaled_conv2d_beside
from stylegan.ops.upfirdn2d import downsample_padding, four_sides, upfirdn2d, upsample_padding


def conv2d_resample(
    x: Tensor,
    w: Tensor,
    f: Tensor | None = None,
    *,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    groups: int = 1,
    flip_weight: bool = True,
    flip_filter: bool = False,
    s: Tensor | None = None,
    w_gain: float = 1.0,
) -> Tensor:
    """Convolve at another resolution.

    Args:
        x: [N, I, H, W].
        w: [O, I / groups, kh, kw], in x's dtype or, to be rounded after scaling, in float32.
        f: Low-pass filter from `setup_filter`, None for none. Not used where up = down = 1.
        up: Factor before the convolution.
        down: Factor after the convolution.
        padding: With respect to the enlarged image: a number, [x, y] or [x0, x1, y0, y1].
        groups: Groups of channels.
        flip_weight: True correlates (what torch's convolutions do), False convolves.
        flip_filter: The same for `f`, with False for convolution.
        s: Factors of x's channels [N, I]; None for 1.
        w_gain: Factor of w.

    Returns:
        [N, O, H * up / down, W * up / down] where the padding is half the kernel.

    Raises:
        ValueError: Shapes, dtypes, devices or numbers that do not fit.
    """
    return _resample(x, w, f, up, down, padding, groups, flip_weight, flip_filter, s, w_gain)[0]


def conv2d_resample_beside(x: Tensor, w: Tensor, f: Tensor | None = None, **options: Any) -> tuple[Tensor, Tensor]:
    """`conv2d_resample`, and x, for what else reads it, as of `scaled_conv2d_beside` where the resolution grows."""
    return _resample(x, w, f, **options)


def _resample(
    x: Tensor,
    w: Tensor,
    f: Tensor | None,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    groups: int = 1,
    flip_weight: bool = True,
    flip_filter: bool = False,
    s: Tensor | None = None,
    w_gain: float = 1.0,
) -> tuple[Tensor, Tensor]:
    if x.ndim != 4 or w.ndim != 4 or not (isinstance(up, int) and isinstance(down, int) and up >= 1 and down >= 1):
        raise ValueError(
            f"conv2d_resample needs x [N, I, H, W], w [O, I / groups, kh, kw] and whole up, down >= 1, got "
            f"{tuple(x.shape)}, {tuple(w.shape)}, {up=}, {down=}"
        )
    factors: dict[str, Any] = {"s": s, "gain": w_gain, "groups": groups}
    if up == 1 and down == 1:
        return _convolve(x, w, four_sides(padding), flip_weight, factors), x
    sides = four_sides(padding)
    sides = upsample_padding(f, up, sides) if up > 1 else sides
    sides = downsample_padding(f, down, sides) if down > 1 else sides
    pointwise = w.shape[2:] == (1, 1)
    gain = float(up * up)
    if up == 1:
        # The factor of w goes to the filter, where it costs nothing.
        factors["gain"] = 1.0
        low = upfirdn2d(x, f, down=down if pointwise else 1, padding=sides, flip_filter=flip_filter, gain=w_gain)
        if pointwise:
            return _convolve(low, w, [0] * 4, flip_weight, factors), x
        return scaled_conv2d(low, _oriented(w, flip_weight), stride=down, **factors), x
    if pointwise and down == 1:
        y = _convolve(x, w, [0] * 4, flip_weight, factors)
        return upfirdn2d(y, f, up=up, padding=sides, flip_filter=flip_filter, gain=gain), x
    y, x, sides = _convolve_spread(x, w, up=up, sides=sides, flip_weight=flip_weight, factors=factors)
    y = upfirdn2d(y, f, padding=sides, flip_filter=flip_filter, gain=gain)
    return upfirdn2d(y, f, down=down, flip_filter=flip_filter) if down > 1 else y, x


def _convolve_spread(
    x: Tensor, w: Tensor, *, up: int, sides: list[int], flip_weight: bool, factors: dict[str, Any]
) -> tuple[Tensor, Tensor, list[int]]:
    """Convolve the zero-inserted x, everywhere that x has an influence; x, and what padding is left to do afterwards."""
    kh, kw = w.shape[2:]
    # The transposed convolution pads kw - 1 on both sides, but leaves away the up - 1 zeros after the last pixel.
    left = [sides[0] - (kw - 1), sides[1] - (kw - up), sides[2] - (kh - 1), sides[3] - (kh - up)]
    crop_x, crop_y = max(min(-left[0], -left[1]), 0), max(min(-left[2], -left[3]), 0)
    # Its weight is [I, O / groups, kh, kw], and it convolves where conv2d correlates.
    groups = factors["groups"]
    w = w.reshape(groups, w.shape[0] // groups, *w.shape[1:]).transpose(1, 2).flatten(0, 1)
    w = _oriented(w, not flip_weight)
    y, x = scaled_conv2d_beside(x, w, transpose=True, stride=up, padding=(crop_y, crop_x), **factors)
    return y, x, [left[0] + crop_x, left[1] + crop_x, left[2] + crop_y, left[3] + crop_y]


def _convolve(x: Tensor, w: Tensor, sides: list[int], flip_weight: bool, factors: dict[str, Any]) -> Tensor:
    x0, x1, y0, y1 = sides
    w = _oriented(w, flip_weight)
    if x0 == x1 >= 0 and y0 == y1 >= 0:
        return scaled_conv2d(x, w, padding=(y0, x0), **factors)
    if min(x.shape[3] + min(x0, 0) + min(x1, 0), x.shape[2] + min(y0, 0) + min(y1, 0)) < 0:
        raise ValueError(f"padding {sides} crops more than there is of x {tuple(x.shape)}")
    return scaled_conv2d(F.pad(x, sides), w, **factors)


def _oriented(w: Tensor, keep: bool) -> Tensor:
    return w if keep or w.shape[2:] == (1, 1) else w.flip([2, 3])

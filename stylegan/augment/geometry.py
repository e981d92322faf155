"""Pixel blits and general geometric transformations as one affine map per image, carried out by one good resampling.

Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", appendix B: the maps of all enabled
transformations are multiplied, then the image is enlarged by two with an orthogonal wavelet filter, sampled bilinearly and
reduced again. Shifts by whole pixels give them back unchanged, as the wavelet's enlarging and reducing cancel. The wavelet is
only nearly symmetric: flips and quarter turns come out a tenth of a pixel off, as they do in the papers' code.
"""

from collections.abc import Sequence
from functools import cache
from math import ceil, pi

import torch
from torch import Tensor

from stylegan.augment.draws import Draws
from stylegan.augment.grid_sample import affine_grid, grid_sample
from stylegan.augment.strengths import Strengths
from stylegan.ops.upfirdn2d import downsample2d, setup_filter, upsample2d

# Low-pass filter of the wavelet sym6 (Daubechies 1992, "Ten Lectures on Wavelets", table 6.3).
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
LARGEST_NORMAL = 6.8  # `stylegan.rng.normal` gives none beyond
REACH = len(SYM6) // 4  # pixels of the image that the filter needs on each side, at twice the resolution


def sample_geometry(config: Strengths, draws: Draws, size: tuple[int, int]) -> Tensor:
    """The map of each image, from places in the result to places in the source, in pixels about the centre.

    Args:
        config: Which transformations, and how strong.
        draws: The random numbers.
        size: (H, W).

    Returns:
        float64 [n, 3, 3] for column vectors (x, y, 1); the identity to the bit for images to which nothing happens.
    """
    flip = 1 - 2 * (draws.uniforms("xflip")[0] * 2).floor()
    quarters = (draws.uniforms("rotate90")[0] * 4).floor()
    sides = _pair(size[1], size[0], flip.device)[:, None]
    shift = (_symmetric(draws.uniforms("xint")) * config.xint_max * sides).round()
    zoom = (draws.normals("scale")[0] * config.scale_std).exp2()
    turns = [_symmetric(draws.uniforms(name)[0]) * (pi * config.rotate_max) for name in ("rotate", "rotate_again")]
    stretch = (draws.normals("aniso")[0] * config.aniso_std).exp2()
    slide = draws.normals("xfrac") * config.xfrac_std * sides
    # The last transformation of the image is the first one of the way back: each inverse goes to the right.
    # Sine and cosine of quarter turns are exactly 0 and 1.
    sin, cos = 1 - (quarters - 1).abs(), (quarters - 2).abs() - 1
    linear = torch.stack([flip * cos, flip * -sin, sin, cos]).view(2, 2, -1)
    offset = -_applied(linear, shift)
    linear = _turned(linear * (1 / zoom), turns[0])
    linear = _turned(linear * torch.stack([1 / stretch, stretch]), turns[1])
    offset = offset - _applied(linear, slide)
    inverse = torch.cat([linear, offset[:, None]], dim=1).movedim(2, 0)
    last_row = torch.eye(3, dtype=inverse.dtype, device=inverse.device)[2:]
    return torch.cat([inverse, last_row.expand(len(inverse), 1, 3)], dim=1)


def largest_margins(config: Strengths, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """What `margins` never exceeds, whatever is drawn."""
    H, W = size
    cx, cy = (W - 1) / 2, (H - 1) / 2
    x, y = cx, cy
    if config.xfrac:
        x, y = (c + LARGEST_NORMAL * config.xfrac_std * side for c, side in ((x, W), (y, H)))
    if config.rotate:
        x = y = (x**2 + y**2) ** 0.5
    stretches = [config.aniso_std * (config.aniso > 0), config.scale_std * (config.scale > 0)]
    x, y = (c * 2 ** min(LARGEST_NORMAL * sum(stretches), 500) for c in (x, y))  # the sides bound it in any case
    if config.xint:
        x, y = (c + round(config.xint_max * side) for c, side in ((x, W), (y, H)))
    if config.rotate90:
        x = y = max(x, y)
    most_x, most_y = (max(side - 1, 2 * REACH) for side in (W, H))
    left, top = min(ceil(x - cx) + 2 * REACH, most_x), min(ceil(y - cy) + 2 * REACH, most_y)
    return left, left, top, top


def margins(inverse: Tensor, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """How far the maps [n, 3, 3] reach out of images of `size` (H, W), filter included: left, right, top, bottom in pixels.

    Never more than the side less one, so that a mirror image of the image suffices (appendix B); in images below 7 pixels
    what the filter needs.
    """
    H, W = size
    cx, cy = (W - 1) / 2, (H - 1) / 2
    corners = inverse.new_tensor([[-cx, cx, cx, -cx], [-cy, -cy, cy, cy], [1, 1, 1, 1]])
    x, y, _ = (inverse @ corners).unbind(dim=1)
    reach = [-x.min() - cx, x.max() - cx, -y.min() - cy, y.max() - cy]
    most = [max(side - 1, 2 * REACH) for side in (W, W, H, H)]
    left, right, top, bottom = (min(max(ceil(r + 2 * REACH), 0), m) for r, m in zip(reach, most, strict=True))
    return left, right, top, bottom


def transform(images: Tensor, inverse: Tensor, margin: tuple[int, int, int, int]) -> Tensor:
    """Carry the maps out.

    Args:
        images: [n, C, H, W].
        inverse: As `sample_geometry` gives it, on the images' device.
        margin: As `margins` gives it for these or more maps.

    Returns:
        [n, C, H, W].
    """
    H, W = images.shape[2:]
    left, right, top, bottom = margin
    filter_ = wavelet(images.device)
    padded = reflect_pad(images, margin)
    large = upsample2d(padded, filter_, up=2)
    # In half pixels; the filter's centre lies half of one of these off the pixels' centres.
    linear, offset = inverse[:, :2, :2], inverse[:, :2, 2:]
    if left != right or top != bottom:
        offset = offset + _pair((left - right) / 2, (top - bottom) / 2, inverse.device)[:, None]
    offset = offset * 2 - 0.5 + (linear * 0.5).sum(dim=2, keepdim=True)
    # Then in shares of the sizes.
    h, w = (H + 2 * REACH) * 2, (W + 2 * REACH) * 2
    rows = _pair(2 / large.shape[3], 2 / large.shape[2], inverse.device)[:, None]
    theta = torch.cat([linear * rows * _pair(w / 2, h / 2, inverse.device), offset * rows], dim=2)
    places = affine_grid(theta.to(images.dtype), h, w)
    return downsample2d(grid_sample(large, places), filter_, down=2, padding=-2 * REACH, flip_filter=True)


@cache
def wavelet(device: torch.device) -> Tensor:
    """The low-pass filter, float32 [12] with sum 1."""
    return setup_filter(SYM6).to(device)


def reflect_pad(images: Tensor, margin: Sequence[int]) -> Tensor:
    """Continue [n, C, H, W] by mirror images, as often as needed; border pixels are not repeated. Differentiable twice."""
    left, right, top, bottom = margin
    images = images.index_select(3, _mirrored(images.shape[3], left, right, images.device))
    return images.index_select(2, _mirrored(images.shape[2], top, bottom, images.device))


def _mirrored(side: int, before: int, after: int, device: torch.device) -> Tensor:
    """0 .. side - 1 continued on both ends by going back and forth."""
    period = max(2 * side - 2, 1)
    place = torch.arange(-before, side + after, device=device) % period
    return torch.minimum(place, period - place) if side > 1 else torch.zeros_like(place)


def _symmetric(uniform: Tensor) -> Tensor:
    return uniform * 2 - 1


def _applied(linear: Tensor, vectors: Tensor) -> Tensor:
    """Maps [2, 2, n] of vectors [2, n]."""
    return (linear * vectors).sum(dim=1)


def _turned(linear: Tensor, angle: Tensor) -> Tensor:
    """Maps [2, 2, n] after rotations by angles [n]."""
    sin, cos = angle.sin(), angle.cos()
    return linear[:, :1] * torch.stack([cos, -sin]) + linear[:, 1:] * torch.stack([sin, cos])


def _pair(x: float, y: float, device: torch.device) -> Tensor:
    """float64 [2], made on the device: a list of numbers would be copied there."""
    pair = torch.full([2], x, dtype=torch.float64, device=device)
    if y != x:
        pair[1].fill_(y)
    return pair

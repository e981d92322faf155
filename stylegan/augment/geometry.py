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
from torch.nn.functional import affine_grid

from stylegan.augment.draws import Draws
from stylegan.augment.grid_sample import grid_sample
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
REACH = len(SYM6) // 4  # pixels of the image that the filter needs on each side, at twice the resolution


def sample_geometry(config: Strengths, draws: Draws, p: float, n: int, size: tuple[int, int]) -> Tensor:
    """The map of each image, from places in the result to places in the source, in pixels about the centre.

    Args:
        config: Which transformations, and how strong.
        draws: The random numbers.
        p: Overall probability.
        n: How many images.
        size: (H, W).

    Returns:
        float64 [n, 3, 3] for column vectors (x, y, 1); the identity to the bit for images to which nothing happens.
    """
    H, W = size
    one, zero = torch.ones(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    # 1 - sqrt(1 - p) twice is p once: the two rotations, before and after stretching, share the probability (appendix B).
    rotates = 1 - max(1 - min(config.rotate * p, 1), 0) ** 0.5

    def when(name: str, probability: float, value: Tensor, otherwise: Tensor) -> Tensor:
        return torch.where(draws.happens(name, probability), value, otherwise)

    flip = when("xflip", config.xflip * p, 1 - 2 * (draws.uniform("xflip") * 2).floor(), one)
    quarters = when("rotate90", config.rotate90 * p, (draws.uniform("rotate90") * 4).floor(), zero)
    shift = [_symmetric(draws.uniform("xint", axis)) * config.xint_max * side for axis, side in enumerate((W, H))]
    shift = [when("xint", config.xint * p, s.round(), zero) for s in shift]
    zoom = when("scale", config.scale * p, (draws.normal("scale") * config.scale_std).exp2(), one)
    turn = [_symmetric(draws.uniform(name)) * pi * config.rotate_max for name in ("rotate", "rotate_again")]
    turn = [when(name, rotates, t, zero) for name, t in zip(("rotate", "rotate_again"), turn, strict=True)]
    stretch = when("aniso", config.aniso * p, (draws.normal("aniso") * config.aniso_std).exp2(), one)
    slide = [draws.normal("xfrac", axis) * config.xfrac_std * side for axis, side in enumerate((W, H))]
    slide = [when("xfrac", config.xfrac * p, s, zero) for s in slide]
    inverse = torch.eye(3, dtype=torch.float64).expand(n, 3, 3)
    # The last transformation of the image is the first one of the way back: each inverse goes to the right.
    for step in (
        _scale(flip, one),
        _quarter_turns(quarters.long()),
        _translate(-shift[0], -shift[1]),
        _scale(1 / zoom, 1 / zoom),
        _rotate(turn[0]),
        _scale(1 / stretch, stretch),
        _rotate(turn[1]),
        _translate(-slide[0], -slide[1]),
    ):
        inverse = inverse @ step
    return inverse


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
    n, channels, H, W = images.shape
    left, right, top, bottom = margin
    filter_ = wavelet(images.device)
    padded = reflect_pad(images, margin)
    large = upsample2d(padded, filter_, up=2)
    # From here on lengths are half pixels; the filter's centre lies half of one of these off the pixels' centres.
    inverse = _constant_translation((left - right) / 2, (top - bottom) / 2, inverse) @ inverse
    inverse = _constant_scale(2, 2, inverse) @ inverse @ _constant_scale(0.5, 0.5, inverse)
    inverse = _constant_translation(-0.5, -0.5, inverse) @ inverse @ _constant_translation(0.5, 0.5, inverse)
    h, w = (H + 2 * REACH) * 2, (W + 2 * REACH) * 2
    inverse = (
        _constant_scale(2 / large.shape[3], 2 / large.shape[2], inverse)
        @ inverse
        @ _constant_scale(w / 2, h / 2, inverse)
    )
    grid = affine_grid(inverse[:, :2].to(images.dtype), [n, channels, h, w], align_corners=False)
    return downsample2d(grid_sample(large, grid), filter_, down=2, padding=-2 * REACH, flip_filter=True)


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


def _matrix(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(list(row), dim=-1) for row in rows], dim=-2)


def _translate(x: Tensor, y: Tensor) -> Tensor:
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return _matrix([[one, zero, x], [zero, one, y], [zero, zero, one]])


def _scale(x: Tensor, y: Tensor) -> Tensor:
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return _matrix([[x, zero, zero], [zero, y, zero], [zero, zero, one]])


def _rotate(angle: Tensor) -> Tensor:
    one, zero, s, c = torch.ones_like(angle), torch.zeros_like(angle), angle.sin(), angle.cos()
    return _matrix([[c, -s, zero], [s, c, zero], [zero, zero, one]])


def _quarter_turns(count: Tensor) -> Tensor:
    """Rotations by `count` quarter turns, int64 [n], with sine and cosine exactly 0 and 1."""
    one, zero = torch.ones([], dtype=torch.float64), torch.zeros([], dtype=torch.float64)
    s = torch.stack([zero, one, zero, -one])[count]
    c = torch.stack([one, zero, -one, zero])[count]
    return _matrix(
        [[c, -s, zero.expand_as(c)], [s, c, zero.expand_as(c)], [zero.expand_as(c)] * 2 + [one.expand_as(c)]]
    )


def _constant_translation(x: float, y: float, like: Tensor) -> Tensor:
    return like.new_tensor([[1, 0, x], [0, 1, y], [0, 0, 1]])


def _constant_scale(x: float, y: float, like: Tensor) -> Tensor:
    return like.new_tensor([[x, 0, 0], [0, y, 0], [0, 0, 1]])

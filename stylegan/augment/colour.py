"""Colour transformations as one affine map of RGB per image (ADA, appendix B, "Color transformations")."""

from dataclasses import dataclass
from functools import cache
from math import pi

import torch
from torch import Tensor

from stylegan.augment.draws import Draws
from stylegan.augment.strengths import Strengths


def sample_colour(config: Strengths, draws: Draws) -> Tensor:
    """The map of each image.

    Args:
        config: Which transformations, and how strong.
        draws: The random numbers.

    Returns:
        float64 [n, 4, 4] for column vectors (r, g, b, 1); the identity to the bit for images to which nothing happens.
    """

    def normal(name: str) -> Tensor:
        return draws.normals(name)[0, :, None, None]

    def uniform(name: str) -> Tensor:
        return draws.uniforms(name)[0, :, None, None]

    brightness = normal("brightness") * config.brightness_std
    contrast = (normal("contrast") * config.contrast_std).exp2()
    flip = (uniform("lumaflip") * 2).floor()
    angle = (uniform("hue") * 2 - 1) * (pi * config.hue_max)
    saturation = (normal("saturation") * config.saturation_std).exp2()
    m = _matrices(angle.device)
    colour = m.one.expand(len(angle), 4, 4)
    colour = _changed(colour, brightness != 0, m.one + m.shift * brightness)
    colour = _changed(colour, contrast != 1, m.rgb * contrast + m.last)
    # A reflection at the plane across the grey axis.
    colour = _changed(colour, flip != 0, m.one - 2 * m.grey * flip)
    # A rotation about the grey axis (Rodrigues).
    s, c = angle.sin(), angle.cos()
    colour = _changed(colour, angle != 0, c * m.rgb + s * m.cross + (1 - c) * m.grey + m.last)
    return _changed(colour, saturation != 1, m.grey + m.colours * saturation)


def recolour(images: Tensor, colour: Tensor) -> Tensor:
    """Carry the maps out; a fourth channel, alpha, stays as it is.

    Args:
        images: [n, 1, 3 or 4, H, W]. Grey ones are treated as three equal channels, and averaged.
        colour: [n, 4, 4].

    Returns:
        [n, C, H, W].
    """
    colour = colour.to(images.dtype)
    n, channels, H, W = images.shape
    if channels == 1:
        row = colour[:, :3].mean(dim=1)
        return images * row[:, :3].sum(dim=1)[:, None, None, None] + row[:, 3, None, None, None]
    rgb = colour[:, :3, :3] @ images[:, :3].reshape(n, 3, H * W) + colour[:, :3, 3:]
    rgb = rgb.reshape(n, 3, H, W)
    return rgb if channels == 3 else torch.cat([rgb, images[:, 3:]], dim=1)


def _changed(colour: Tensor, which: Tensor, by: Tensor) -> Tensor:
    """Follow a map by another one for some of the images; a product with the identity would leave rounding errors."""
    return torch.where(which, by @ colour, colour)


@dataclass(frozen=True)
class _Matrices:
    """What maps are made of, float64 [4, 4]: the identity, its part for red, green and blue and the one for the last row; a
    shift of all three; the projection onto the grey axis, what it leaves, and the cross product with that axis."""

    one: Tensor
    rgb: Tensor
    last: Tensor
    shift: Tensor
    grey: Tensor
    colours: Tensor
    cross: Tensor


@cache
def _matrices(device: torch.device) -> _Matrices:
    axis = 3**-0.5
    one, last, shift, cross = torch.eye(4, dtype=torch.float64), *torch.zeros(3, 4, 4, dtype=torch.float64)
    last[3, 3] = 1
    shift[:3, 3] = 1
    grey = torch.tensor([axis, axis, axis, 0], dtype=torch.float64)
    grey = grey.outer(grey)
    for row, column in ((1, 0), (2, 1), (0, 2)):
        cross[row, column], cross[column, row] = axis, -axis
    return _Matrices(*(m.to(device) for m in (one, one - last, last, shift, grey, one - grey, cross)))

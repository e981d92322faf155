"""Colour transformations as one affine map of RGB per image (ADA, appendix B, "Color transformations")."""

from math import pi

import torch
from torch import Tensor

from stylegan.augment.draws import Draws
from stylegan.augment.strengths import Strengths

GREY_AXIS = (3**-0.5, 3**-0.5, 3**-0.5, 0.0)


def sample_colour(config: Strengths, draws: Draws, p: float, n: int) -> Tensor:
    """The map of each image.

    Args:
        config: Which transformations, and how strong.
        draws: The random numbers.
        p: Overall probability.
        n: How many images.

    Returns:
        float64 [n, 4, 4] for column vectors (r, g, b, 1); the identity to the bit for images to which nothing happens.
    """
    one, zero = torch.ones(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    eye = torch.eye(4, dtype=torch.float64)
    axis = torch.tensor(GREY_AXIS, dtype=torch.float64)
    onto_grey = axis.outer(axis)

    def when(name: str, value: Tensor, otherwise: Tensor) -> Tensor:
        return torch.where(draws.happens(name, getattr(config, name) * p), value, otherwise)

    brightness = when("brightness", draws.normal("brightness") * config.brightness_std, zero)
    contrast = when("contrast", (draws.normal("contrast") * config.contrast_std).exp2(), one)
    flip = when("lumaflip", (draws.uniform("lumaflip") * 2).floor(), zero)
    angle = when("hue", (draws.uniform("hue") * 2 - 1) * pi * config.hue_max, zero)
    saturation = when("saturation", (draws.normal("saturation") * config.saturation_std).exp2(), one)
    colour = eye.expand(n, 4, 4)
    colour = _changed(colour, brightness != 0, eye + _last_column(brightness))
    colour = _changed(colour, contrast != 1, torch.diag_embed(torch.stack([contrast] * 3 + [one], dim=-1)))
    # A reflection at the plane across the grey axis.
    colour = _changed(colour, flip != 0, eye - 2 * onto_grey * flip[:, None, None])
    colour = _changed(colour, angle != 0, _about_grey(angle))
    return _changed(colour, saturation != 1, onto_grey + (eye - onto_grey) * saturation[:, None, None])


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
    return torch.where(which[:, None, None], by @ colour, colour)


def _last_column(value: Tensor) -> Tensor:
    column = torch.zeros(len(value), 4, 4, dtype=value.dtype)
    column[:, :3, 3] = value[:, None]
    return column


def _about_grey(angle: Tensor) -> Tensor:
    """Rotations about the grey axis (Rodrigues)."""
    v = torch.tensor(GREY_AXIS[:3], dtype=angle.dtype)
    cross = torch.zeros(3, 3, dtype=angle.dtype)
    cross[0, 1], cross[0, 2], cross[1, 2] = -v[2], v[1], -v[0]
    cross = cross - cross.T
    s, c = angle.sin()[:, None, None], angle.cos()[:, None, None]
    result = torch.eye(4, dtype=angle.dtype).repeat(len(angle), 1, 1)
    result[:, :3, :3] = c * torch.eye(3, dtype=angle.dtype) + s * cross + (1 - c) * v.outer(v)
    return result

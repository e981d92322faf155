"""A picture as the cues are measured on it."""

import torch
from torch import Tensor

from stylegan.errors import UserError

SMALLEST = 16  # pixels of a side: a border of two, and rings of frequencies enough


def colours(image: Tensor) -> Tensor:
    """A picture's colours from 0 to 1, float64 [1 or 3, H, W]; what is clear becomes white.

    Args:
        image: uint8 or floating point [C, H, W] of values from 0 to 255, with C = 1 (grey), 3 (RGB) or 4 (RGBA).

    Raises:
        UserError: Something else, or a side of less than 16 pixels.
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3, 4) or min(image.shape[1:]) < SMALLEST:
        raise UserError(
            f"cues are measured on a picture [C, H, W] with 1, 3 or 4 channels and sides of at least {SMALLEST} pixels, "
            f"got {list(image.shape)}"
        )
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise UserError(f"cues are measured on uint8 or float, got {str(image.dtype).removeprefix('torch.')}")
    x = image.detach().cpu().double() / 255
    if not bool(((x >= 0) & (x <= 1)).all()):  # NaN, too
        raise UserError("cues are measured on values from 0 to 255; some lie outside or are no numbers")
    return x if len(x) < 4 else x[:3] * x[3:] + (1 - x[3:])

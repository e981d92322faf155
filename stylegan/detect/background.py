"""How smooth what lies behind a face is."""

import torch
from torch import Tensor

from stylegan.detect.picture import colours
from stylegan.detect.regions import border, face_region

_LEAST = 1 / 255  # a face smoother than one step of 8 bits from pixel to pixel is none


def background_smoothness(image: Tensor) -> float:
    """The mean gradient in the outer eighth of a picture, in those of the face: 0 is flat, 1 as rough as the face is.

    Args:
        image: uint8 or floating point [C, H, W], 0 to 255, of an aligned face.

    Returns:
        At least 0, and finite: a flat face counts as one step of 8 bits a pixel.

    Raises:
        UserError: It is no such picture.
    """
    down, right = torch.gradient(colours(image), dim=(1, 2))
    steep = (down.square() + right.square()).sqrt().mean(dim=0)
    height, width = steep.shape
    outer = border(height, width)
    outer[[0, -1]] = outer[:, [0, -1]] = False  # at the edges a neighbour is missing, and noise would count more
    return float(steep[outer].mean()) / max(float(steep[face_region(height, width)].mean()), _LEAST)

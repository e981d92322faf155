"""Where things lie in a picture of a face that was aligned as FFHQ is.

`stylegan.data.align` gives the square: half its side is twice the distance of the eyes and 1.8 times the way from them to the
mouth, and its centre lies a tenth of that way below the eyes.
"""

import torch
from torch import Tensor

EYES = ((0.375, 0.472), (0.625, 0.472))  # x, y of the eye at the left and of the one at the right, in fractions
_TOP, _BOTTOM, _SIDE = 0.3, 0.85, 0.25  # from the brows to the chin (the mouth lies at 0.75), without ears
_BORDER = 1 / 8


def face_region(height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the face, in pixels; as far from the left as from the right."""
    side = round(_SIDE * width)
    return slice(round(_TOP * height), round(_BOTTOM * height)), slice(side, width - side)


def border(height: int, width: int) -> Tensor:
    """Where the outer eighth of a picture is, bool [height, width]: mostly background, and clothes at the bottom."""
    mask = torch.ones(height, width, dtype=torch.bool)
    rows, columns = int(_BORDER * height), int(_BORDER * width)
    mask[rows : height - rows, columns : width - columns] = False
    return mask

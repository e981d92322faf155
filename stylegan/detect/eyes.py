"""Where the eyes of a face lie, by an optional detector.

Networks trained on aligned faces put the eyes where the alignment has them (`EYES` of `regions`); in photographs that were
cropped in another way they lie elsewhere.
"""

import sys
from functools import cache
from importlib.util import find_spec

import torch
from PIL import Image
from torch import Tensor

from stylegan.data.landmarks import INSTALL, MTCNN, PACKAGE, Landmarks, open_landmarks
from stylegan.detect.picture import colours
from stylegan.detect.regions import EYES
from stylegan.errors import UserError


def eyes_available() -> bool:
    """Whether the detector is installed; it is not imported for that."""
    return (PACKAGE in sys.modules and sys.modules[PACKAGE] is not None) or find_spec(PACKAGE) is not None


def eye_positions(image: Tensor) -> Tensor | None:
    """The eye at the left and the one at the right as seen in the picture, float64 [2, 2]: x and y in fractions of its sides.

    MTCNN (Zhang et al. 2016, "Joint face detection and alignment using multitask cascaded convolutional networks"); the
    largest face counts.

    Args:
        image: uint8 or floating point [C, H, W], 0 to 255; see `colours`.

    Returns:
        None where no face was found.

    Raises:
        UserError: The detector is not installed, or the picture is no such picture.
    """
    x = (colours(image) * 255).round().to(torch.uint8)
    if not eyes_available():
        raise UserError(f"finding eyes needs the detector of the package facenet-pytorch: {INSTALL}")
    pixels = Image.fromarray(x.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy())
    try:
        points = _detector()("", pixels)
    except ValueError:  # how it says that there is no face
        return None
    return (torch.from_numpy(points[:2]).double() + 0.5) / torch.tensor([pixels.width, pixels.height])


def distance_from_aligned(eyes: Tensor) -> float:
    """How far eyes lie from where aligned faces have them, in fractions of the picture: the mean of both.

    Args:
        eyes: [2, 2], as `eye_positions` gives them.
    """
    return float((eyes - torch.tensor(EYES, dtype=eyes.dtype)).norm(dim=1).mean())


@cache
def _detector() -> Landmarks:
    return open_landmarks(MTCNN, [], "")

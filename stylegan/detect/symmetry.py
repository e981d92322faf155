"""How far the two halves of a face differ."""

from torch import Tensor

from stylegan.detect.picture import colours
from stylegan.detect.regions import face_region


def left_right_map(image: Tensor) -> Tensor:
    """The absolute difference between a picture and its mirror image, averaged over the channels, float64 [H, W], 0 to 1.

    Args:
        image: uint8 or floating point [C, H, W], 0 to 255; see `colours`.

    Raises:
        UserError: It is no such picture.
    """
    x = colours(image)
    return (x - x.flip(2)).abs().mean(dim=0)


def left_right_difference(image: Tensor) -> float:
    """The mean of `left_right_map` over the face, 0 to 1: 0 where its left half mirrors its right one.

    Generated faces may have two unlike eyes (Matern et al. 2019, "Exploiting visual artifacts to expose deepfakes and face
    manipulations", section 3); a turned head and light from a side count as well.

    Args:
        image: uint8 or floating point [C, H, W], 0 to 255, of an aligned face.

    Raises:
        UserError: It is no such picture.
    """
    differences = left_right_map(image)
    rows, columns = face_region(differences.shape[0], differences.shape[1])
    return float(differences[rows, columns].mean())

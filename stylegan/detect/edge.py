"""What a network's padding leaves at the edge of a picture.

Convolutions take what lies beyond the edge for zeros, so that the outermost pixels are made otherwise than the rest. Karras et
al. 2021, "Alias-free generative adversarial networks", section 3.2, compute a margin around the picture instead, since padding
tells a network where it is.
"""

from torch import Tensor

from stylegan.detect.picture import colours

_LEAST = 0.1 / 255  # mean step; what changes less is flat
_FURTHER_IN = 3


def edge_step(image: Tensor) -> float:
    """The mean step from the outermost pixels to the next ones, in those of the three steps further in; of all four sides.

    Args:
        image: uint8 or floating point [C, H, W], 0 to 255; see `colours`.

    Returns:
        At least 0, and finite: about 1 where the edge is like the rest, 0 where the outermost pixels repeat the next ones.
        Steps further in count as at least a tenth of a step of 8 bits.

    Raises:
        UserError: It is no such picture.
    """
    x = colours(image)
    from_edge = [x.transpose(1, 2), x.transpose(1, 2).flip(1), x, x.flip(1)]

    def step(depth: int) -> float:
        return sum(float((side[:, depth] - side[:, depth + 1]).abs().mean()) for side in from_edge) / len(from_edge)

    further_in = sum(step(1 + i) for i in range(_FURTHER_IN)) / _FURTHER_IN
    return step(0) / max(further_in, _LEAST)

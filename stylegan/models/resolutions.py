"""The sizes of images that networks of blocks can make: small numbers, doubled some times."""

import math

SMALLEST = range(4, 8)  # the longer side of the first block
LARGEST_EXPONENT = 12


def nearest_resolutions(resolution: tuple[int, int], count: int = 3) -> list[tuple[int, int]]:
    """The sizes (H, W) nearest to `resolution` that `block_shapes` accepts, nearest first."""
    log_h, log_w = (math.log(max(side, 1)) for side in resolution)
    sides = range(1, SMALLEST[-1] + 1)
    sizes = {
        (h << k, w << k) for h in sides for w in sides if max(h, w) in SMALLEST for k in range(LARGEST_EXPONENT + 1)
    }
    return sorted(sizes, key=lambda size: (math.log(size[0]) - log_h) ** 2 + (math.log(size[1]) - log_w) ** 2)[:count]

"""Near-duplicates: the same picture twice, stored, scaled or brightened otherwise."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

BITS = 256
NEAR = 10  # of the 256 bits may differ
_NOISE = 2  # a step of up to 2 of 255 is taken for none: in even areas compression alone decides its sign
_BITS_SET = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1).astype(np.uint16)


def picture_hash(pixels: np.ndarray) -> np.ndarray:
    """Of an image, uint8 [H, W, C], a hash, uint8 [32], which a change of size or brightness leaves nearly as it is.

    A difference hash: the image is averaged to 17x16 grey cells; each bit tells whether a cell is brighter than its left
    neighbour.
    """
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("L")
    cells = np.asarray(image.resize((17, 16), Image.Resampling.BOX), np.int16)
    return np.packbits((cells[:, 1:] - cells[:, :-1] > _NOISE).ravel())


def near_duplicates(hashes: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """For each image that is near to an earlier one, its number and the earlier one's.

    Near: at most `NEAR` bits differ, and at most a tenth of those that are set in either. The latter is for pictures that
    are mostly even, such as clothes on black, in which few bits tell anything.

    Exact: of `NEAR` + 1 parts of a hash, two near ones share at least one, so that only images which share a part are
    compared. The time grows with the number of images that share parts: many alike or nearly empty pictures take longest.
    """
    if len(hashes) < 2:
        return []
    table = np.stack(list(hashes))
    bits = np.unpackbits(table, axis=1)
    earlier = np.full(len(table), -1)
    for part in (np.arange(first, BITS, NEAR + 1) for first in range(NEAR + 1)):  # each from all over the picture
        keys = bits[:, part].astype(np.int64) @ (1 << np.arange(len(part), dtype=np.int64))
        order = np.argsort(keys, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
            for position in range(1, len(group)):
                index = group[position]
                if earlier[index] < 0:
                    differing = _BITS_SET[table[group[:position]] ^ table[index]].sum(1)
                    close = np.flatnonzero(differing <= NEAR)
                    either = _BITS_SET[table[group[close]] | table[index]].sum(1)
                    close = close[10 * differing[close] <= either]
                    if len(close):
                        earlier[index] = group[close[differing[close].argmin()]]
    return [(int(index), int(earlier[index])) for index in np.flatnonzero(earlier >= 0)]

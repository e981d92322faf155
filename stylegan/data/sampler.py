"""The order in which images are shown: a function of (seed, nimg) alone, whatever the number of ranks and workers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from stylegan.rng import generator


def image_index(size: int, seed: int, position: int, other: int = 0) -> int:
    """Which image stands at `position` of the endless stream of epochs, each a permutation of all `size` images.

    Args:
        size: Images in the data set.
        seed: The run's seed.
        position: Images shown before this one (nimg).
        other: 1 for the stream of second images: in every epoch those that lie half an epoch ahead, so that batches of up to
            half the data set hold no image of the first stream at the same positions.
    """
    epoch, place = divmod(position, size)
    return int(_permutation(size, seed, epoch)[(place + other * (size // 2)) % size])


def image_indices(
    size: int, seed: int, course: Iterable[tuple[int, int]], places: Mapping[int, Sequence[int]], sets: int = 1
) -> Iterator[Tensor]:
    """One rank's share of the stream, global batch by global batch.

    Args:
        size: Images in the data set.
        seed: The run's seed.
        course: For every iteration the images shown before it (nimg), and those of its global batch over all ranks.
        places: By the size of a batch, which of its places this rank uses, in its order; each in 0 .. size - 1.
        sets: 1, or 2 for the second images as well.

    Yields:
        Indices int64 [sets * places], all first images before all second ones.

    Raises:
        ValueError: There are no images, or a place is outside of the batch.
    """
    for nimg, batch_size in course:
        mine = places[batch_size]
        if size < 1 or nimg < 0 or not mine or not all(0 <= j < batch_size for j in mine):
            raise ValueError(f"cannot draw places {list(mine)} of batches of {batch_size} from {size} images at {nimg}")
        epoch, first = divmod(nimg, size)
        if first + batch_size <= size:
            order, at = _permutation(size, seed, epoch), torch.tensor(mine) + first
            yield torch.cat([order[(at + other * (size // 2)) % size] for other in range(sets)]).long()
        else:  # the batch spans epochs
            yield torch.tensor([image_index(size, seed, nimg + j, other) for other in range(sets) for j in mine])


# A global batch spans two epochs at most, unless the data set is smaller than a batch: then permutations are cheap.
@lru_cache(maxsize=2)
def _permutation(size: int, seed: int, epoch: int) -> Tensor:
    """The images in the order of one epoch, int32 or int64 [size]."""
    dtype = torch.int32 if size <= 2**31 else torch.int64
    return torch.randperm(size, generator=generator(seed, "data", epoch)).to(dtype)

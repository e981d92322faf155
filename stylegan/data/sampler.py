"""The order in which images are shown: a function of (seed, nimg) alone, whatever the number of ranks and workers."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.data import Sampler

from stylegan.rng import generator


def image_index(size: int, seed: int, position: int) -> int:
    """Which image stands at `position` of the endless stream of epochs, each a permutation of all `size` images.

    Args:
        size: Images in the data set.
        seed: The run's seed.
        position: Images shown before this one (nimg).
    """
    epoch, place = divmod(position, size)
    return int(_permutation(size, seed, epoch)[place])


class InfiniteSampler(Sampler[int]):
    """One rank's share of the stream, global batch by global batch, without end.

    Hand it to `DataLoader(dataset, batch_size=len(local_indices), sampler=...)`: each batch of that loader is this
    rank's part of one global batch.

    Args:
        size: Images in the data set.
        seed: The run's seed.
        start: Images shown before the first batch (nimg): a resumed run goes on where it stopped.
        batch_size: Images in a global batch, over all ranks.
        local_indices: Which places of a global batch this rank uses, in its order; each in 0 .. batch_size - 1.

    Raises:
        ValueError: There are no images, or a place is outside of the batch.
    """

    def __init__(self, size: int, seed: int, *, start: int, batch_size: int, local_indices: Sequence[int]) -> None:
        if size < 1 or start < 0 or not local_indices or not all(0 <= j < batch_size for j in local_indices):
            raise ValueError(
                f"cannot draw places {list(local_indices)} of batches of {batch_size} from {size} images at {start}"
            )
        self.size = size
        self.seed = seed
        self.start = start
        self.batch_size = batch_size
        self.local_indices = tuple(local_indices)

    def __iter__(self) -> Iterator[int]:
        nimg = self.start
        while True:
            for j in self.local_indices:
                yield image_index(self.size, self.seed, nimg + j)
            nimg += self.batch_size

    def batches(self) -> Iterator[Tensor]:
        """The same stream, a batch of indices at a time: int64 [len(local_indices)], without end."""
        places = torch.tensor(self.local_indices)
        nimg = self.start
        while True:
            epoch, first = divmod(nimg, self.size)
            if first + self.batch_size <= self.size:
                yield _permutation(self.size, self.seed, epoch)[places + first].long()
            else:  # the batch spans epochs
                yield torch.tensor([image_index(self.size, self.seed, nimg + j) for j in self.local_indices])
            nimg += self.batch_size


# A global batch spans two epochs at most, unless the data set is smaller than a batch: then permutations are cheap.
@lru_cache(maxsize=2)
def _permutation(size: int, seed: int, epoch: int) -> Tensor:
    """The images in the order of one epoch, int32 or int64 [size]."""
    dtype = torch.int32 if size <= 2**31 else torch.int64
    return torch.randperm(size, generator=generator(seed, "data", epoch)).to(dtype)

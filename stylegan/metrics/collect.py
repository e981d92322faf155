"""What is kept of a stream of images: sums where a metric allows it, one row an image where it needs all of them.

A collector sees batches in any order and on any rank; `reduce` makes the ranks' parts one, the same on all of them.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from stylegan import distributed
from stylegan.errors import UserError
from stylegan.memory import check_memory

Tensors = dict[str, Tensor]


class Batch(NamedTuple):
    """Images with consecutive numbers, and what a feature network made of them.

    Attributes:
        start: The number of the first image.
        images: uint8 [n, C, H, W].
        features, logits: float [n, D] and [n, classes]; empty where there is no network.
    """

    start: int
    images: Tensor
    features: Tensor
    logits: Tensor

    def first(self, count: int) -> "Batch":
        """The part of the batch whose numbers are below `count`."""
        n = max(count - self.start, 0)
        return self if n >= len(self.images) else Batch(self.start, *(part[:n] for part in self[1:]))


class Collector(Protocol):
    """Takes batches one by one."""

    def add(self, batch: Batch) -> None:
        """Count a batch."""
        ...

    def reduce(self, device: torch.device) -> Tensors:
        """What all ranks collected, on the CPU; `device` is where ranks can talk."""
        ...


class RowsCollector:
    """One row an image: memory grows with their number, and on several ranks each holds the rows of all.

    Args:
        count: How many images there will be.
        row: From a batch to its rows, float [n, D].
    """

    def __init__(self, count: int, row: Callable[[Batch], Tensor]) -> None:
        self._count, self._row = count, row
        self._table: Tensor | None = None

    def add(self, batch: Batch) -> None:
        rows = self._row(batch).float().cpu()
        if self._table is None:
            what = f"the features of {self._count} images"
            check_memory(self._count * rows.shape[1] * 4, what, "measure fewer, such as kid50k")
            self._table = torch.zeros(self._count, rows.shape[1])
        self._table[batch.start : batch.start + len(rows)] = rows

    def reduce(self, device: torch.device) -> Tensors:
        # Ranks fill different rows and leave the others 0, so that the sum is exact. One without a batch learns the width.
        width = torch.tensor(0 if self._table is None else self._table.shape[1])
        width = int(distributed.gather(width[None].to(device)).max())
        table = torch.zeros(self._count, width) if self._table is None else self._table
        return {"rows": distributed.sum_over_ranks(table, device)}


def rank_starts(count: int, batch: int) -> range:
    """Where this rank's batches of 0 .. count - 1 begin. The batches themselves are the same for any number of ranks."""
    return range(distributed.rank() * batch, count, distributed.world_size() * batch)


def check_finite(tensors: Tensors, what: str) -> None:
    """Raise `UserError` where a network or its features broke down: a number made of NaN says nothing."""
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise UserError(f"the features of the {what} images are not finite; look at the images that the network makes")

"""Sums of what the losses report, over iterations and over ranks."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from stylegan import distributed


class Totals:
    """Adds up values on every rank, and at the end of every interval over all ranks.

    All ranks must call `add` for every iteration, since the end of an interval is a collective.
    """

    def __init__(self, interval_kimg: float, nimg: int, total_nimg: int, device: torch.device):
        """Start an interval.

        Args:
            interval_kimg: Thousands of images from one report to the next.
            nimg: Images so far.
            total_nimg: Images at the end, where an interval ends in any case.
            device: Where ranks exchange numbers.
        """
        self.nimg, self.total_nimg = nimg, total_nimg
        self._interval = round(interval_kimg * 1000)
        self._device = device
        self._first = True
        self._sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros(2, dtype=torch.float64))

    def start(self, nimg: int) -> None:
        """Begin anew at so many images, without what was added since the last interval's end."""
        self.nimg = nimg
        self._sums.clear()

    def add(self, stats: Mapping[str, Sequence[Tensor]], nimg: int) -> dict[str, float] | None:
        """Add the values of one iteration.

        Args:
            stats: By name; each tensor holds the values of some images of this rank.
            nimg: Images so far, after that iteration.

        Returns:
            Where an interval ends, the mean of every value over the interval and all ranks (of `nonfinite/...` the sum over the
            interval), sorted by name; else None.
        """
        first, self._first = self._first, False
        for name, values in stats.items():
            if first and name.startswith("seconds/"):  # the first iteration of a sitting warms up caches
                continue
            value = torch.cat([v.detach().flatten() for v in values]).to("cpu", torch.float64)
            self._sums[name] += torch.stack([value.sum(), torch.tensor(float(value.numel()), dtype=torch.float64)])
        before, self.nimg = self.nimg, nimg
        if nimg // self._interval <= before // self._interval and nimg < self.total_nimg:
            return None
        # All ranks report the same names: losses do not depend on the rank, and gradients are looked at after their reduction.
        names = sorted(self._sums)
        sums = distributed.sum_over_ranks(torch.stack([self._sums[name] for name in names]), self._device)
        self._sums.clear()
        means = {name: float(total / count) for name, (total, count) in zip(names, sums.tolist(), strict=True) if count}
        for name, (total, _) in zip(names, sums.tolist(), strict=True):
            if name.startswith("nonfinite/"):  # every rank counts the same, reduced gradients
                means[name] = total / distributed.world_size()
        return means

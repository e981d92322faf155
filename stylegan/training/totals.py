"""Sums of what an iteration tells, over iterations and over ranks."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import torch
from torch import Tensor

from stylegan import distributed


@dataclass(frozen=True)
class Values:
    """Values of some images by name, in one tensor: adding them up takes one op.

    Attributes:
        names: Each name with the number of its values.
        flat: Those values in order, [n], on the device that made them.
    """

    names: tuple[tuple[str, int], ...]
    flat: Tensor

    @classmethod
    def of(cls, stats: Mapping[str, Sequence[Tensor]]) -> "Values":
        """Of lists of tensors by name."""
        names = tuple((name, sum(value.numel() for value in values)) for name, values in stats.items())
        return cls(names, torch.cat([value.detach().flatten() for values in stats.values() for value in values]))

    def split(self) -> dict[str, Tensor]:
        """By name."""
        parts = self.flat.split([count for _, count in self.names])
        return {name: part for (name, _), part in zip(self.names, parts, strict=True)}


class Lap:
    """The seconds from its making to `end`: of the device's own clock where that is a GPU, for which nobody has to wait."""

    def __init__(self, device: torch.device) -> None:
        cuda = device.type == "cuda"
        self._events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if cuda else []
        self._start = self._seconds = perf_counter()
        if self._events:
            self._events[0].record()

    def end(self) -> "Lap":
        """Stop it."""
        self._seconds = perf_counter() - self._start
        if self._events:
            self._events[1].record()
        return self

    @property
    def seconds(self) -> float:
        """Asked for when the device has come past its end."""
        return self._events[0].elapsed_time(self._events[1]) / 1000 if self._events else self._seconds


@dataclass
class Report:
    """What an iteration tells.

    Attributes:
        values: What was made on the device, of one phase each.
        numbers: What the host knows.
        laps: Durations.
    """

    values: list[Values] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)
    laps: dict[str, Lap] = field(default_factory=dict)


class Totals:
    """Adds up reports on every rank, without looking at what is on the device, and at the end of every interval over all ranks.

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
        self.start(nimg)

    def start(self, nimg: int, sums: Mapping[str, tuple[float, float]] | None = None) -> None:
        """Begin anew at so many images, without what was added since the last interval's end.

        Args:
            nimg: Images so far.
            sums: What `sums` gave there in an earlier sitting, the same on all ranks; the interval began with it.
        """
        self.nimg = nimg
        # All ranks know the names, one counts the values.
        self._earlier = {k: v if distributed.is_main() else (0.0, 0.0) for k, v in (sums or {}).items()}
        self._values: dict[tuple[tuple[str, int], ...], tuple[Tensor, int]] = {}
        self._numbers: dict[str, list[float]] = defaultdict(list)
        self._laps: dict[str, list[Lap]] = defaultdict(list)

    def add(self, report: Report, nimg: int) -> dict[str, float] | None:
        """Add one iteration.

        Args:
            report: Of this rank.
            nimg: Images so far, after that iteration.

        Returns:
            Where an interval ends, the mean of every value over the interval and all ranks, sorted by name; else None.
        """
        for values in report.values:
            sums, times = self._values.get(values.names, (torch.zeros_like(values.flat, dtype=torch.float64), 0))
            self._values[values.names] = sums.add_(values.flat), times + 1
        for name, number in report.numbers.items():
            self._numbers[name].append(number)
        if not self._first:  # the first iteration of a sitting warms up caches
            for name, lap in report.laps.items():
                self._laps[name].append(lap)
        self._first = False
        before, self.nimg = self.nimg, nimg
        if nimg // self._interval <= before // self._interval and nimg < self.total_nimg:
            return None
        sums = self.sums()
        self.start(nimg)
        return {name: total / count for name, (total, count) in sums.items() if count}

    def sums(self) -> dict[str, tuple[float, float]]:
        """Sum and number of values over all ranks since the interval began, by name in order. A collective."""
        # All ranks report the same names: losses do not depend on the rank.
        mine = self._read()
        names = sorted(mine)
        if not names:
            return {}
        totals = distributed.sum_over_ranks(torch.tensor([mine[n] for n in names], dtype=torch.float64), self._device)
        return {name: (total, count) for name, (total, count) in zip(names, totals.tolist(), strict=True)}

    def _read(self) -> dict[str, tuple[float, float]]:
        """Sum and number of values by name. Here, and only here, the host waits for the device."""
        found = dict(self._earlier)
        for names, (sums, times) in self._values.items():
            for (name, count), total in zip(names, _sums_of_parts(sums, [count for _, count in names]), strict=True):
                before = found.get(name, (0.0, 0.0))
                found[name] = before[0] + total, before[1] + count * times
        laps = {name: [lap.seconds for lap in laps] for name, laps in self._laps.items()}
        for name, values in {**self._numbers, **laps}.items():
            before = found.get(name, (0.0, 0.0))
            found[name] = before[0] + sum(values), before[1] + len(values)
        return found


def _sums_of_parts(values: Tensor, counts: Sequence[int]) -> list[float]:
    return [float(part.sum()) for part in values.cpu().split(list(counts))]

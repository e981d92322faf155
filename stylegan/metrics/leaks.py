"""Did augmentations leak? Compare what augmentations change in generated and in real images, as numbers and as a picture.

An augmentation leaks when the generator makes augmented images (Karras et al. 2020, "Training Generative Adversarial Networks
with Limited Data", section 2.2): faces that lie on their side, wrong colours, borders of padding. Each statistic here is a
distribution that such images shift; its distance between generated and real images says whether they do, and the distance
between two halves of the real images how large it is by chance.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import pi
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stylegan import distributed
from stylegan.errors import UserError
from stylegan.metrics.collect import Batch, Collector, Tensors
from stylegan.metrics.metric import Detail, Outcome, Output, PixelMetric

if TYPE_CHECKING:
    from PIL import Image, ImageDraw
    from rich.table import Table

BINS = 36
REAL, FAKE = (150, 150, 150), (200, 30, 30)


@dataclass(frozen=True)
class Statistic:
    """A distribution that some augmentation shifts.

    Attributes:
        name: Under which it is reported.
        shows: Which augmentation changes it.
        low, high: Range of its histogram; values outside count at its ends.
        circular: Whether the ends of the range are the same, as with angles.
        measure: From images [n, 3, H, W] in 0..1 to values [n, m] and their weights [n, m], which sum to one per image, or to
            zero where an image has nothing to say.
        colour: Whether it needs images in colour.
    """

    name: str
    shows: str
    low: float
    high: float
    circular: bool
    measure: Callable[[Tensor], tuple[Tensor, Tensor]]
    colour: bool = False


@dataclass(frozen=True)
class Comparison:
    """One statistic of generated and real images.

    Attributes:
        statistic: What was measured.
        real: Histogram of the real images [36], float64, sum 1 (0 where no image had anything to say).
        fake: The same of the generated ones.
        distance: Earth mover's distance of the two as a share of the range: 0 for equal ones; 0.01 means that the average value
            moved by a hundredth of the range. On a circle the way round the shorter side counts.
        floor: The distance between the even and the odd real images: what chance does at half their number.
    """

    statistic: Statistic
    real: Tensor
    fake: Tensor
    distance: float
    floor: float


@dataclass(frozen=True)
class LeakReport:
    """What `leaks` found.

    Attributes:
        comparisons: One a statistic.
        reals, fakes: How many images were compared.
    """

    comparisons: tuple[Comparison, ...]
    reals: int
    fakes: int

    @property
    def numbers(self) -> dict[str, float]:
        """`leak_NAME` (distance between generated and real) and `leak_NAME_floor` (between halves of the real images)."""
        pairs = [(f"leak_{c.statistic.name}", c) for c in self.comparisons]
        return {k: v for name, c in pairs for k, v in ((name, c.distance), (f"{name}_floor", c.floor))}

    @property
    def distance(self) -> float:
        """The largest distance in excess of what chance does; 0 where none is."""
        return max(0.0, *(c.distance - c.floor for c in self.comparisons))

    def table(self) -> "Table":
        """The numbers."""
        from rich.table import Table

        table = Table(title=f"leaks: {self.fakes} generated and {self.reals} real images")
        for name in ("statistic", "distance", "by chance", "shows"):
            table.add_column(name)
        for c in self.comparisons:
            table.add_row(c.statistic.name, f"{c.distance:.4f}", f"{c.floor:.4f}", c.statistic.shows)
        return table

    def picture(self) -> "Image.Image":
        """The histograms, one a panel: real images as grey bars, generated ones as a red line."""
        from PIL import Image, ImageDraw

        width, height, columns = 300, 170, 3
        rows = -(-len(self.comparisons) // columns)
        image = Image.new("RGB", (columns * width, rows * height + 20), "white")
        draw = ImageDraw.Draw(image)
        for i, comparison in enumerate(self.comparisons):
            _panel(draw, comparison, (i % columns) * width, (i // columns) * height, width, height)
        draw.text((8, rows * height + 2), f"grey: {self.reals} real images", fill=REAL)
        draw.text((width + 8, rows * height + 2), f"red: {self.fakes} generated images", fill=FAKE)
        return image


def leaks(real: Iterable[Tensor], fake: Iterable[Tensor]) -> LeakReport:
    """Compare orientation, hue, saturation, brightness, contrast and borders of generated and real images.

    Args:
        real: Batches uint8 [n, C, H, W] with C = 1, 3 or 4; alpha is not looked at. They are read once and not kept.
        fake: The same of generated images, of equal C, H and W.

    Raises:
        UserError: Fewer than two real images or no generated one, images below 8x8, or of different shapes.
    """
    sums = Sums(), Sums()
    for side, batches, whose in zip(sums, (real, fake), ("real", "generated"), strict=True):
        side.shape = sums[0].shape
        for batch in batches:
            side.add(batch, int(side.count), whose)
    return report(*sums)


class Sums:
    """Histograms of even and of odd images; they add up over batches and ranks, in memory of one size.

    Attributes:
        table: Weights by parity, statistic and bin, float64 [2, len(STATISTICS), BINS].
        count: Images, int64 [].
        grey: Images of one channel, int64 [].
        shape: Of the images, [C, H, W]; None before the first.
    """

    def __init__(self) -> None:
        self.table = torch.zeros(2, len(STATISTICS), BINS, dtype=torch.float64)
        self.count, self.grey = torch.zeros((), dtype=torch.int64), torch.zeros((), dtype=torch.int64)
        self.shape: torch.Size | None = None

    def add(self, batch: Tensor, start: int, whose: str) -> None:
        """Count images, uint8 [n, C, H, W], with the numbers start, start + 1, ...

        Raises:
            UserError: They are no such images, or of another shape than those before.
        """
        shape = self.shape = batch.shape[1:] if self.shape is None else self.shape
        if batch.dtype != torch.uint8 or batch.shape[1:] != shape or shape[0] not in (1, 3, 4) or min(shape[1:]) < 8:
            raise UserError(
                f"leaks compares uint8 images of one shape, 1, 3 or 4 channels and at least 8x8 pixels; the {whose} ones "
                f"are {str(batch.dtype).removeprefix('torch.')} {list(batch.shape[1:])}, the first ones {list(shape)}"
            )
        images = (batch[:, :3].float() / 255).expand(-1, 3, -1, -1)
        parity = (torch.arange(len(batch)) + start) % 2
        self.count += len(batch)
        self.grey += len(batch) * (shape[0] == 1)
        for i, s in enumerate(STATISTICS):
            values, weights = s.measure(images)
            scaled = (values - s.low) / (s.high - s.low) * BINS
            bins = scaled.floor().long() % BINS if s.circular else scaled.floor().long().clamp(0, BINS - 1)
            for half in range(2):
                chosen = (parity == half).to(bins.device)
                taken, weight = bins[chosen].flatten().cpu(), weights[chosen].flatten().double().cpu()
                self.table[half, i].index_add_(0, taken, weight)


def report(real: Sums, fake: Sums) -> LeakReport:
    """What `leaks` tells, from sums. Raises `UserError` where there are too few images."""
    reals, fakes = int(real.count), int(fake.count)
    if reals < 2 or fakes < 1:
        raise UserError(f"leaks compares at least 2 real images with 1 generated one, got {reals} and {fakes}")
    comparisons = []
    for i, s in enumerate(STATISTICS):
        if s.colour and int(real.grey) > 0:
            continue
        even, odd = real.table[:, i]
        a, b = _share(even + odd), _share(fake.table[:, i].sum(0))
        floor = _distance(_share(even), _share(odd), s.circular)
        comparisons.append(Comparison(s, a, b, _distance(a, b, s.circular), floor))
    return LeakReport(tuple(comparisons), reals, fakes)


class LeakCollector:
    """Histograms; memory of one size."""

    def __init__(self) -> None:
        self._sums = Sums()

    def add(self, batch: Batch) -> None:
        """See `Collector`."""
        self._sums.add(batch.images, batch.start, "compared")

    def reduce(self, device: torch.device) -> Tensors:
        """See `Collector`."""
        parts = {name: getattr(self._sums, name) for name in ("table", "count", "grey")}
        return {name: distributed.sum_over_ranks(part, device) for name, part in parts.items()}


class Leaks(PixelMetric):
    """`leaks`."""

    name = "leaks"
    help = "what augmentation leaked into the images"
    outputs = (Output("leaks", higher=False),)
    count = 5000

    def collector(self, reader: None, count: int) -> Collector:
        """Collects `Sums`."""
        return LeakCollector()

    def compare(self, real: Tensors, fake: Tensors, *, seed: int, device: torch.device) -> Outcome:
        """See `report`."""
        sums = Sums(), Sums()
        for side, parts in zip(sums, (real, fake), strict=True):
            vars(side).update(parts)
        found = report(*sums)
        return Outcome({"leaks": found.distance}, Detail("leaks", found.table, found.picture))


def _share(histogram: Tensor) -> Tensor:
    return histogram / histogram.sum().clamp(min=1e-300)


def _distance(a: Tensor, b: Tensor, circular: bool) -> float:
    """Earth mover's distance of two histograms over a range of length 1.

    On the circle the flow is known up to a constant, and the median makes it least (Rabin, Delon, Gousseau 2011,
    "Transportation distances on the circle"). Where one is empty (no colour at all) and the other is not, it is the largest
    possible: 1/2 of a circle, 1 of a range.
    """
    if (float(a.sum()) == 0) != (float(b.sum()) == 0):
        return 0.5 if circular else 1.0
    flow = (a - b).cumsum(0)
    if circular:
        flow = flow - flow.median()
    return float(flow.abs().mean())


def _luma(x: Tensor) -> Tensor:
    """Brightness [n, H, W] by the weights of ITU-R BT.601."""
    return (x * x.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=1)


def _one(values: Tensor) -> tuple[Tensor, Tensor]:
    """One value an image."""
    return values[:, None], torch.ones_like(values[:, None])


def _per_image(weights: Tensor) -> Tensor:
    total = weights.sum(dim=1, keepdim=True)
    return torch.where(total > 1e-6, weights / total.clamp(min=1e-6), 0.0)


def _orientation(x: Tensor) -> tuple[Tensor, Tensor]:
    """Direction of the brightness gradient in turns, weighted by its size."""
    y = _luma(x)
    dx, dy = y[:, 1:-1, 2:] - y[:, 1:-1, :-2], y[:, 2:, 1:-1] - y[:, :-2, 1:-1]
    return torch.atan2(dy, dx).flatten(1) / (2 * pi), _per_image(torch.hypot(dx, dy).flatten(1))


def _halves(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Brightness of the first half of an axis minus that of the second."""
    y = _luma(x)
    size = y.shape[dim]
    first, second = y.narrow(dim, 0, size // 2), y.narrow(dim, size - size // 2, size // 2)
    return _one(first.mean(dim=(1, 2)) - second.mean(dim=(1, 2)))


def _chroma(x: Tensor) -> Tensor:
    return x.amax(dim=1) - x.amin(dim=1)


def _hue(x: Tensor) -> tuple[Tensor, Tensor]:
    """Angle about the grey axis in turns, 0 for red, weighted by how colourful a pixel is."""
    r, g, b = x.unbind(dim=1)
    return torch.atan2(3**0.5 * (g - b), 2 * r - g - b).flatten(1) / (2 * pi), _per_image(_chroma(x).flatten(1))


def _edges(x: Tensor) -> list[Tensor]:
    """The images with each of their sides in turn at the left, [n, lines, length]."""
    y = _luma(x)
    return [y, y.flip(2), y.transpose(1, 2), y.transpose(1, 2).flip(2)]


def _flat(x: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the border's pixels that equal, within 2 of 255, both the next one of the border and the one inside."""
    shares = []
    for y in _edges(x):
        along = (y[:, 1:, 0] - y[:, :-1, 0]).abs()
        inward = (y[:, :-1, 0] - y[:, :-1, 1]).abs()
        shares.append((torch.maximum(along, inward) <= 2.5 / 255).float().mean(dim=1))
    return _one(torch.stack(shares).mean(dim=0))


def _mirror(x: Tensor) -> tuple[Tensor, Tensor]:
    """How much more alike the two sides of the best mirror line near a border are than those of other lines: 0 for a perfect
    mirror, as reflecting padding makes it, about 1 for none."""
    found = []
    for y in _edges(x):
        reach = max(y.shape[2] // 6, 3)
        lines = [
            (y[:, :, :k].flip(2) - y[:, :, k + 1 : 2 * k + 1]).abs().mean(dim=(1, 2))
            for k in range(2, min(reach, (y.shape[2] - 1) // 2) + 1)
        ]
        difference = torch.stack(lines)
        found.append((difference.amin(dim=0) + 1 / 255) / (difference.mean(dim=0) + 1 / 255))
    return _one(torch.stack(found).amin(dim=0))


STATISTICS = (
    Statistic("orientation", "rotations, flips", -0.5, 0.5, True, _orientation),
    Statistic("top_bottom", "rotations by 90 and 180 degrees", -0.5, 0.5, False, lambda x: _halves(x, 1)),
    Statistic("left_right", "flips, rotations", -0.5, 0.5, False, lambda x: _halves(x, 2)),
    Statistic("hue", "hue, luma flip", -0.5, 0.5, True, _hue, colour=True),
    Statistic("saturation", "saturation", 0, 1, False, lambda x: _one(_chroma(x).mean(dim=(1, 2))), colour=True),
    Statistic("brightness", "brightness, luma flip", 0, 1, False, lambda x: _one(_luma(x).mean(dim=(1, 2)))),
    Statistic("contrast", "contrast, filter, noise", 0, 0.5, False, lambda x: _one(_luma(x).flatten(1).std(dim=1))),
    Statistic("border_flat", "cutout, translation with zeros", 0, 1, False, _flat),
    Statistic("border_mirror", "translation, scaling down", 0, 1, False, _mirror),
)


def _panel(draw: "ImageDraw.ImageDraw", c: Comparison, x: int, y: int, width: int, height: int) -> None:
    """One pair of histograms with its title at (x, y)."""
    left, right, top, bottom = x + 10, x + width - 10, y + 34, y + height - 18
    draw.text((left, y + 4), f"{c.statistic.name}: {c.distance:.4f} (by chance {c.floor:.4f})", fill="black")
    draw.text((left, y + 17), c.statistic.shows, fill=REAL)
    peak = max(float(c.real.max()), float(c.fake.max()), 1e-9)
    step = (right - left) / BINS
    line = []
    for i, (a, b) in enumerate(zip(c.real.tolist(), c.fake.tolist(), strict=True)):
        low, high = left + i * step, left + (i + 1) * step
        draw.rectangle((low, bottom - (bottom - top) * a / peak, high, bottom), fill=REAL)
        level = bottom - (bottom - top) * b / peak
        line += [(low, level), (high, level)]
    draw.line(line, fill=FAKE, width=2)
    draw.text((left, bottom + 3), f"{c.statistic.low:g}", fill="black")
    draw.text((right, bottom + 3), f"{c.statistic.high:g}", fill="black", anchor="ra")

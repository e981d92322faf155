"""Which people a generator makes: the attributes of its faces against those of real ones, as read by `attribute_network.py`.

Both sides are read by the same network, so that its errors are the same on both. The distance of a number is the area between
the two distribution functions (Wasserstein-1) in standard deviations of the real faces; that of words is the share of faces
that would have to change theirs (total variation). Cells are combinations of sex, ancestry and age: one that many real and
few generated faces are in is a mode that the generator has dropped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stylegan.metrics.attribute_network import ATTRIBUTES, AttributeNetwork, Choice, Scalar, load_attributes, places
from stylegan.metrics.collect import Collector, RowsCollector, Tensors
from stylegan.metrics.metric import Detail, ImageMetric, Loading, Outcome, Output

if TYPE_CHECKING:
    from PIL import Image
    from rich.table import Table

BINS = 20
AGES = (30, 45, 60)  # where the age groups part
SEXES, AGE_GROUPS = ("female", "male"), ("under 30", "30 to 44", "45 to 59", "60 and over")
ANCESTRIES = next(a.values for a in ATTRIBUTES if isinstance(a, Choice) and a.name == "ancestry")
CELLS = [(sex, ancestry, age) for sex in SEXES for ancestry in ANCESTRIES for age in AGE_GROUPS]
COMMON = 0.005  # a cell with a smaller share of the real faces is not looked at
MISSING = 0.2  # a cell is missing where generated faces are in it less than this many times as often as real ones


@dataclass(frozen=True)
class Attribute:
    """One attribute of real and generated faces.

    Attributes:
        name: See `ATTRIBUTES`.
        distance: See the module.
        real, fake: For a number its mean; for words the share of the commonest among the real faces.
        labels: Of the histogram's bars: the two ends of the range, or the words.
        real_shares, fake_shares: The histogram, float64 [bars], sum 1.
    """

    name: str
    distance: float
    real: float
    fake: float
    labels: tuple[str, ...]
    real_shares: Tensor
    fake_shares: Tensor


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        attributes: One by one.
        real_cells, fake_cells: The share of faces in each of `CELLS`, float64 [24].
        looked_at: Which of the cells are common enough among the real faces, bool [24].
        reached: Which of these are not missing, bool [24].
        reals, fakes: How many faces were compared.
    """

    attributes: tuple[Attribute, ...]
    real_cells: Tensor
    fake_cells: Tensor
    looked_at: Tensor
    reached: Tensor
    reals: int
    fakes: int

    @property
    def distance(self) -> float:
        """The mean of the attributes' distances."""
        return sum(attribute.distance for attribute in self.attributes) / len(self.attributes)

    @property
    def coverage(self) -> float:
        """The share of the common cells that are not missing."""
        return float(self.reached.sum()) / max(int(self.looked_at.sum()), 1)

    @property
    def missing(self) -> list[str]:
        """The missing cells, the commonest among the real faces first."""
        order = self.real_cells.argsort(descending=True).tolist()
        return [" ".join(CELLS[i]) for i in order if self.looked_at[i] and not self.reached[i]]


def compare(real: Tensor, fake: Tensor) -> Comparison:
    """Compare attributes as `AttributeNetwork.read` gives them, float [N, 20] and [M, 20]."""
    attributes = []
    for attribute, place in zip(ATTRIBUTES, places().values(), strict=True):
        one = _compare_number if isinstance(attribute, Scalar) else _compare_words
        attributes.append(one(attribute, real[:, place].double(), fake[:, place].double()))  # pyright: ignore[reportArgumentType]
    real_cells, fake_cells = (_cells(side) for side in (real, fake))
    looked_at = real_cells >= COMMON
    reached = looked_at & (fake_cells >= MISSING * real_cells)
    return Comparison(tuple(attributes), real_cells, fake_cells, looked_at, reached, len(real), len(fake))


def wasserstein(a: Tensor, b: Tensor) -> float:
    """The area between the distribution functions of two samples, float64 [N] and [M]."""
    points = torch.cat([a, b]).sort().values
    below = [torch.searchsorted(side.sort().values, points[:-1], right=True) / len(side) for side in (a, b)]
    return float(((below[0] - below[1]).abs() * points.diff()).sum())


def attribute_table(found: Comparison) -> "Table":
    """Attributes of real and generated faces, and which cells are missing."""
    from rich.table import Table

    missing = ", ".join(found.missing) or "none"
    count = int(found.looked_at.sum())
    caption = f"cells of sex x ancestry x age: {found.coverage:.0%} of {count} reached; missing: {missing}"
    table = Table(title=f"attributes of {found.fakes} generated and {found.reals} real faces", caption=caption)
    table.add_column("attribute")
    for name in ("real", "generated", "distance"):
        table.add_column(name, justify="right")
    for a in found.attributes:
        if len(a.labels) == 2:
            real, fake = f"{a.real:.3g}", f"{a.fake:.3g}"
        else:
            word = a.labels[int(a.real_shares.argmax())]
            real, fake = f"{word} {a.real:.1%}", f"{word} {a.fake:.1%}"
        table.add_row(a.name, real, fake, f"{a.distance:.3f}")
    return table


@dataclass(frozen=True)
class AttributeReader:
    """The network that reads attributes, with the SHA-256 of its file."""

    network: AttributeNetwork
    weights: Mapping[str, str]
    name: str = ""


class AttributeDistance(ImageMetric[AttributeReader]):
    """`attributes`."""

    name = "attributes"
    help = "sex, age, ancestry ... of faces: distances, and which people are missing"
    outputs = (Output("attributes", higher=False), Output("attributes_coverage", higher=True))
    weight_names = ("attributes",)
    least = 20
    count = 5000

    def load(self, loading: Loading, features: str) -> AttributeReader:
        """The network that comes with the project, or the one that the user gives."""

        def load() -> AttributeReader:
            network, digest, _ = load_attributes(loading.device, loading.files.get("attributes"))
            return AttributeReader(network, {"attributes": digest})

        return loading.once("attributes", load)

    def collector(self, reader: AttributeReader, count: int) -> Collector:
        """Collects the attributes [N, 20] of all images as `rows`."""
        return RowsCollector(count, lambda batch: reader.network.read(batch.images))

    def compare(self, real: Tensors, fake: Tensors, *, seed: int, device: torch.device) -> Outcome:
        """See `compare`."""
        found = compare(real["rows"], fake["rows"])
        values = {"attributes": found.distance, "attributes_coverage": found.coverage}
        return Outcome(values, Detail("attributes", lambda: attribute_table(found), lambda: _plot(found)))

    def notes(self, reader: AttributeReader, fakes: int, reals: int) -> list[str]:
        """Few faces leave cells empty."""
        size = min(fakes, reals)
        few = f"some cells hold fewer than 5 of {size} faces: which ones are missing is chance in part"
        return [few] if size * COMMON < 5 else []


def _plot(found: Comparison) -> "Image.Image":
    from stylegan.metrics.attribute_plot import attribute_plot

    return attribute_plot(found)


def _compare_number(attribute: Scalar, real: Tensor, fake: Tensor) -> Attribute:
    span = attribute.high - attribute.low
    spread = max(float(real.std()), 0.01 * span)  # an attribute that no real face has is no division by zero
    distance = wasserstein(real[:, 0], fake[:, 0]) / spread
    shares = [torch.histc(side, BINS, attribute.low, attribute.high) / len(side) for side in (real, fake)]
    unit = f" {attribute.unit}".rstrip()
    labels = (f"{attribute.low:g}", f"{attribute.high:g}{unit}")
    return Attribute(attribute.name, distance, float(real.mean()), float(fake.mean()), labels, *shares)


def _compare_words(attribute: Choice, real: Tensor, fake: Tensor) -> Attribute:
    shares = [_share(side.argmax(1), attribute.size) for side in (real, fake)]
    distance = float((shares[0] - shares[1]).abs().sum()) / 2
    common = int(shares[0].argmax())
    return Attribute(
        attribute.name, distance, float(shares[0][common]), float(shares[1][common]), attribute.values, *shares
    )


def _cells(read: Tensor) -> Tensor:
    """The share of faces in each of `CELLS`."""
    at = places()
    sex = (read[:, at["sex"]][:, 0] >= 0.5).long()
    ancestry = read[:, at["ancestry"]].argmax(1)
    age = torch.bucketize(read[:, at["age"]][:, 0].contiguous(), torch.tensor(AGES, dtype=read.dtype), right=True)
    return _share((sex * len(ANCESTRIES) + ancestry) * len(AGE_GROUPS) + age, len(CELLS))


def _share(numbers: Tensor, count: int) -> Tensor:
    return torch.bincount(numbers, minlength=count).double() / len(numbers)

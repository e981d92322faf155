"""The metrics that compare two sets of images: what each collects of them, and how it makes numbers of that."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from rich.table import Table

from stylegan import distributed
from stylegan.metrics import leaks
from stylegan.metrics.attribute_network import load_attributes
from stylegan.metrics.attribute_plot import attribute_plot
from stylegan.metrics.attributes import COMMON, attribute_table, compare
from stylegan.metrics.collect import Batch, Collector, MomentsCollector, RowsCollector, ScoresCollector, Tensors
from stylegan.metrics.features import FeatureNetwork
from stylegan.metrics.fid import Moments, frechet_distance
from stylegan.metrics.inception_score import SPLITS
from stylegan.metrics.kid import SUBSET_SIZE, kernel_distance
from stylegan.metrics.names import Request
from stylegan.metrics.precision_recall import density_coverage, precision_recall
from stylegan.rng import generator


@dataclass(frozen=True)
class Detail:
    """More about a result than a number says.

    Attributes:
        name: The metric's.
        table: Makes a table of it.
        picture: Draws it.
    """

    name: str
    table: Callable[[], Table]
    picture: Callable[[], Image.Image]


@dataclass(frozen=True)
class Outcome:
    """What a comparison found.

    Attributes:
        values: In the order of the metric's outputs.
        detail: More about it, or None.
    """

    values: list[float]
    detail: Detail | None = None


class ImageMetric(Protocol):
    """One metric, with what it needs.

    Attributes:
        request: As asked for.
        feature_name: What the result's name says about features; empty: nothing.
        weights: The SHA-256 of files in use, by network.
        uses_reals: Whether it looks at real images at all.
        collected: Names what it collects; two metrics with the same name and network share it.
    """

    request: Request
    feature_name: str
    weights: dict[str, str]
    uses_reals: bool
    collected: str

    @property
    def features(self) -> FeatureNetwork | None:
        """The network of its features, or None."""
        ...

    def collector(self, count: int) -> Collector:
        """An empty collector for so many images."""
        ...

    def compare(self, real: Tensors, fake: Tensors, seed: int) -> Outcome:
        """The result, from what was collected of both sides."""
        ...

    def notes(self, fakes: int, reals: int) -> list[str]:
        """What the reader of the number should know, for so many images."""
        ...


@dataclass
class _OnFeatures:
    """What metrics on features have in common."""

    request: Request
    features: FeatureNetwork
    device: torch.device
    collected: str = "features"
    uses_reals: bool = True
    feature_name: str = field(init=False)
    weights: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.feature_name = self.features.name
        self.weights = {self.features.name: self.features.weights_sha256}

    def collector(self, count: int) -> Collector:
        return RowsCollector(count, lambda batch: batch.features)

    def notes(self, fakes: int, reals: int) -> list[str]:
        return []


class FrechetMetric(_OnFeatures):
    """`fid`."""

    def collector(self, count: int) -> Collector:
        return MomentsCollector(self.features.dim)

    def compare(self, real: Tensors, fake: Tensors, seed: int) -> Outcome:
        return Outcome([frechet_distance(Moments(**real), Moments(**fake))])

    def notes(self, fakes: int, reals: int) -> list[str]:
        if min(fakes, reals) >= self.features.dim:
            return []
        return [
            f"{self.request.name}: {min(fakes, reals)} images for {self.features.dim} features: so few bias FID upwards; "
            "compare it only with FID of as many, or use kid, which has no such bias"
        ]


class KernelMetric(_OnFeatures):
    """`kid`."""

    def compare(self, real: Tensors, fake: Tensors, seed: int) -> Outcome:
        return Outcome([kernel_distance(real["rows"], fake["rows"], generator(seed, "metrics/kid"))])

    def notes(self, fakes: int, reals: int) -> list[str]:
        size = min(fakes, reals)
        few = f"{self.request.name}: subsets of {size} images, where the papers take {SUBSET_SIZE}"
        return [few] if size < SUBSET_SIZE else []


class NeighbourMetric(_OnFeatures):
    """`pr` and `dc`."""

    def compare(self, real: Tensors, fake: Tensors, seed: int) -> Outcome:
        function = precision_recall if self.request.kind.name == "pr" else density_coverage
        return Outcome([*function(real["rows"].to(self.device), fake["rows"].to(self.device))])


class ScoreMetric(_OnFeatures):
    """`is`."""

    def collector(self, count: int) -> Collector:
        return ScoresCollector(count, self.features.classes)

    def compare(self, real: Tensors, fake: Tensors, seed: int) -> Outcome:
        return Outcome([float(fake["mean"]), float(fake["std"])])

    def notes(self, fakes: int, reals: int) -> list[str]:
        few = f"{self.request.name}: fewer than ten images in each of its {SPLITS} parts"
        return [few] if fakes < 10 * SPLITS else []


class AttributeMetric:
    """`attributes`: see `stylegan.metrics.attributes`."""

    features = None
    feature_name = ""
    uses_reals = True
    collected = "attributes"

    def __init__(self, request: Request, device: torch.device, given: Path | None) -> None:
        self.request = request
        self._network, digest, _ = load_attributes(device, given)
        self.weights = {"attributes": digest}

    def collector(self, count: int) -> Collector:
        return RowsCollector(count, lambda batch: self._network.read(batch.images))

    def compare(self, real: Tensors, fake: Tensors, seed: int) -> Outcome:
        found = compare(real["rows"], fake["rows"])
        detail = Detail("attributes", lambda: attribute_table(found), lambda: attribute_plot(found))
        return Outcome([found.distance, found.coverage], detail)

    def notes(self, fakes: int, reals: int) -> list[str]:
        size = min(fakes, reals)
        few = f"{self.request.name}: some cells hold fewer than 5 of {size} faces: which ones are missing is chance in part"
        return [few] if size * COMMON < 5 else []


class LeakCollector:
    """Histograms for `leaks`; memory of one size."""

    def __init__(self) -> None:
        self._sums = leaks.Sums()

    def add(self, batch: Batch) -> None:
        self._sums.add(batch.images, batch.start, "compared")

    def reduce(self, device: torch.device) -> Tensors:
        parts = {name: getattr(self._sums, name) for name in ("table", "count", "grey")}
        return {name: distributed.sum_over_ranks(part, device) for name, part in parts.items()}


class LeakMetric:
    """`leaks`: see `stylegan.metrics.leaks`."""

    features = None
    feature_name = ""
    uses_reals = True
    collected = "leaks"

    def __init__(self, request: Request) -> None:
        self.request = request
        self.weights: dict[str, str] = {}

    def collector(self, count: int) -> Collector:
        return LeakCollector()

    def compare(self, real: Tensors, fake: Tensors, seed: int) -> Outcome:
        sums = leaks.Sums(), leaks.Sums()
        for side, parts in zip(sums, (real, fake), strict=True):
            vars(side).update(parts)
        found = leaks.report(*sums)
        return Outcome([found.distance], Detail("leaks", found.table, found.picture))

    def notes(self, fakes: int, reals: int) -> list[str]:
        return []


def image_metric(
    request: Request, networks: Mapping[str, FeatureNetwork], device: torch.device, files: Mapping[str, Path]
) -> ImageMetric:
    """The metric that is asked for.

    Args:
        request: One that compares images.
        networks: Feature networks by name as asked for.
        device: Where networks compute.
        files: Files of weights by network's name.

    Raises:
        UserError: Weights cannot be had or do not fit.
    """
    match request.kind.name:
        case "fid":
            return FrechetMetric(request, networks[request.features], device, "moments")
        case "kid":
            return KernelMetric(request, networks[request.features], device)
        case "is":
            return ScoreMetric(request, networks[request.features], device, "scores", uses_reals=False)
        case "attributes":
            return AttributeMetric(request, device, files.get("attributes"))
        case "leaks":
            return LeakMetric(request)
        case _:
            return NeighbourMetric(request, networks[request.features], device)

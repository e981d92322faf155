"""What a metric is. Its class, in a module of its own, says all about it; a line of `table.METRICS` makes it known.

An `ImageMetric` compares two sets of images: it says what is collected of each, and what follows from both. A `NetworkMetric`
moves a generator's inputs and looks at what that does to its images. Metrics hold no state: what they work with is handed in.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from stylegan.metrics.collect import Collector, RowsCollector, Tensors, rank_starts
from stylegan.metrics.features import INCEPTION, FeatureNetwork, load_features
from stylegan.models.base import Generator
from stylegan.rng import choices, normal, uniform

if TYPE_CHECKING:
    from PIL import Image
    from rich.table import Table

_T = TypeVar("_T")


@dataclass(frozen=True)
class Output:
    """One result of a metric.

    Attributes:
        name: What it is called, before the number of images: `precision` of `precision50k`.
        higher: Whether more is better.
    """

    name: str
    higher: bool


@dataclass(frozen=True)
class Detail:
    """More about a result than a number says.

    Attributes:
        name: The metric's.
        table: Makes a table of it.
        picture: Draws it.
    """

    name: str
    table: "Callable[[], Table]"
    picture: "Callable[[], Image.Image]"


@dataclass(frozen=True)
class Outcome:
    """What a metric found.

    Attributes:
        values: By name of each of its outputs, in their order.
        detail: More about it, or None.
    """

    values: dict[str, float]
    detail: Detail | None = None


class Reader(Protocol):
    """A trained network that a metric reads images with.

    Attributes:
        name: What the names of results say about it; empty: nothing.
        weights: The SHA-256 of the files in use, by network.
    """

    @property
    def name(self) -> str: ...

    @property
    def weights(self) -> Mapping[str, str]: ...


ReaderT = TypeVar("ReaderT", bound=Reader | None)


class Loading:
    """Where metrics get their readers: each is loaded once, and shared by all that ask for it.

    Args:
        device: Where readers compute.
        files: Files of weights by network's name, as the user gave them.

    Attributes:
        device, files: As given.
    """

    def __init__(self, device: torch.device, files: Mapping[str, Path]) -> None:
        self.device, self.files = device, files
        self._loaded: dict[str, Any] = {}

    def once(self, key: str, load: Callable[[], _T]) -> _T:
        """What `load` makes; at the second call with this key, what it made at the first."""
        if key not in self._loaded:
            self._loaded[key] = load()
        return self._loaded[key]


class Metric(ABC, Generic[ReaderT]):
    """A metric, of either kind.

    Attributes:
        name: METRIC of its names (see `stylegan.metrics.names`): small letters and underscores.
        help: What it tells, in a few words.
        outputs: Its results. No two metrics have one in common.
        features: The feature network of the papers; empty where none can be chosen.
        weight_names: The names by which users may give files of weights, other than those of feature networks.
        least: Images of each side that it needs at least.
        count: How many fakes where the name does not say; 0: it must say.
    """

    name: str
    help: str
    outputs: tuple[Output, ...]
    features: str = ""
    weight_names: tuple[str, ...] = ()
    least: int = 2
    count: int = 0

    @abstractmethod
    def load(self, loading: Loading, features: str) -> ReaderT:
        """The network that images are read with, or None where there is none.

        Args:
            loading: Where it comes from.
            features: The feature network that was asked for; empty where none can be chosen.

        Raises:
            UserError: Weights cannot be had or do not fit.
        """


class ImageMetric(Metric[ReaderT]):
    """A metric that compares two sets of images.

    Attributes:
        collected: Names what `collector` collects; metrics with the same name and reader share it. Empty: it is the metric's
            own. What is collected of real images is kept on disk under this name: another content needs another name.
        uses_reals: Whether it looks at real images at all.
    """

    collected: str = ""
    uses_reals: bool = True

    @abstractmethod
    def collector(self, reader: ReaderT, count: int) -> Collector:
        """An empty collector for so many images."""

    @abstractmethod
    def compare(self, real: Tensors, fake: Tensors, *, seed: int, device: torch.device) -> Outcome:
        """The results.

        Args:
            real: What was collected of the real images; empty where the metric does not use them.
            fake: What was collected of the others.
            seed: Of whatever is drawn.
            device: Where to compute what takes long.
        """

    def notes(self, reader: ReaderT, fakes: int, reals: int) -> list[str]:
        """What the reader of the number should know, for so many images."""
        return []


class PixelMetric(ImageMetric[None]):
    """A metric that looks at the images themselves."""

    def load(self, loading: Loading, features: str) -> None:
        """None: it needs no network."""


class FeatureMetric(ImageMetric[FeatureNetwork]):
    """A metric of the features of images; unless it says otherwise, it takes those of all images together."""

    features = INCEPTION
    collected = "features"

    def load(self, loading: Loading, features: str) -> FeatureNetwork:
        """The feature network."""
        return loading.once(features, lambda: load_features(features, loading.device, loading.files))

    def collector(self, reader: FeatureNetwork, count: int) -> Collector:
        """Collects the features [N, D] of all images as `rows`."""
        return RowsCollector(count, lambda batch: batch.features)


@dataclass(frozen=True)
class Drawn:
    """What is drawn for some images: every number is a function of seed, purpose and the number of its image.

    Attributes:
        seed: Of the measurement.
        stream: The metric.
        indices: The numbers of the images.
        device: Where numbers are made.
    """

    seed: int
    stream: str
    indices: range
    device: torch.device

    def normal(self, purpose: str, *shape: int) -> Tensor:
        """Standard normal, float32 [n, *shape]."""
        return normal(self.seed, f"{self.stream}/{purpose}", self.indices, shape, self.device)

    def uniform(self, purpose: str, *shape: int) -> Tensor:
        """Uniform in [0, 1), float32 [n, *shape]."""
        return uniform(self.seed, f"{self.stream}/{purpose}", self.indices, shape, self.device)

    def rows(self, purpose: str, table: Tensor) -> Tensor:
        """Rows of a table [M, D] on the CPU, drawn at random: [n, D] on the device."""
        chosen = choices(self.seed, f"{self.stream}/{purpose}", self.indices, len(table))
        return table[chosen].to(self.device)


@dataclass(frozen=True)
class Draws:
    """What the inputs of a network are drawn from.

    Attributes:
        count: How many images, or pairs of them.
        seed: Of latents, noise and movements.
        batch: Images at once.
        labels: Labels that are drawn from, float32 [M, c_dim], or None.
        device: Where the network is, and ranks can talk.
        advance: To be called with how many more are done.
    """

    count: int
    seed: int
    batch: int
    labels: Tensor | None
    device: torch.device
    advance: Callable[[int], None]

    def batches(self, stream: str, size: int) -> Iterator[Drawn]:
        """What is drawn for this rank's share, `size` images at a time."""
        for start in rank_starts(self.count, size):
            n = min(size, self.count - start)
            yield Drawn(self.seed, stream, range(start, start + n), self.device)
            self.advance(n)

    def label(self, drawn: Drawn) -> Tensor | None:
        """Draw labels [n, c_dim], on the device; None for an unconditional network."""
        return None if self.labels is None else drawn.rows("c", self.labels)


class NetworkMetric(Metric[ReaderT]):
    """A metric that moves the inputs of a generator. It gets the network itself, not its images."""

    def check(self, G: Generator, asked: str) -> None:
        """Raise `UserError` where the network cannot be measured.

        Args:
            G: The network.
            asked: The metric's name as asked for, to begin the message with.
        """

    @abstractmethod
    def measure(self, G: Generator, reader: ReaderT, draws: Draws) -> Outcome:
        """The results, the same on all ranks.

        Args:
            G: In eval mode; it passes `check`.
            reader: What images are read with.
            draws: What its inputs are drawn from, and how many.
        """

"""Measuring a generator: which metrics, of which data set, under the papers' protocol; several metrics share each pass.

Protocol: as many fakes as the name says, drawn from `seed` with random layer noise and without truncation, rounded to uint8;
all real images, unmirrored. A call with the same settings gives the same numbers to the bit, on one machine with one number of
threads; the number of ranks changes the order of sums only.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from stylegan import distributed
from stylegan.data.archive import ImageDataset
from stylegan.errors import UserError
from stylegan.inference import class_label
from stylegan.metrics.collect import Tensors, check_finite
from stylegan.metrics.features import FeatureNetwork
from stylegan.metrics.metric import Detail, Draws, ImageMetric, Loading, Metric, NetworkMetric, Outcome, Reader
from stylegan.metrics.names import Request
from stylegan.metrics.reference import cached, reference_path
from stylegan.metrics.stream import Sampler, Want, collect, generated, progress_of, sampler_of, stored
from stylegan.models.base import Generator
from stylegan.rng import generator
from stylegan.values import COUNT, COUNT_OR_NONE, SEED, check_values

MetricT = TypeVar("MetricT", bound=Metric[Any])


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        seed: Of latents, noise and subsets.
        batch: Images at once, of generator and feature networks.
        class_idx: Only this class of a conditional network, and only the real images of it.
        real_vs_real: Let a random half of the real images stand for the fakes: what a perfect generator would get.
        weights: Files of weights by network's name.
        progress: Show progress bars, on a terminal's stderr.
    """

    seed: int = field(default=0, metadata={"range": SEED})
    batch: int = field(default=64, metadata={"range": COUNT})
    class_idx: int | None = field(default=None, metadata={"range": COUNT_OR_NONE})
    real_vs_real: bool = False
    weights: Mapping[str, Path] = field(default_factory=dict)
    progress: bool = True

    def __post_init__(self) -> None:
        check_values(self)


@dataclass(frozen=True)
class Measured:
    """Results of one seed.

    Attributes:
        values: By full name, such as `kid5k_mobilenet_v2`; on the first rank only.
        fakes, reals: How many images were compared.
        details: More about some of them.
    """

    values: dict[str, float]
    fakes: int
    reals: int
    details: list[Detail] = field(default_factory=list)


@dataclass(frozen=True)
class _Ready(Generic[MetricT]):
    """A metric as asked for, and the network that it reads images with."""

    request: Request
    metric: MetricT
    reader: Reader | None

    @property
    def feature_name(self) -> str:
        """What the result's name says about the reader; empty: nothing."""
        return self.reader.name if self.reader else ""

    @property
    def weights(self) -> Mapping[str, str]:
        """The SHA-256 of files in use, by network."""
        return self.reader.weights if self.reader else {}

    @property
    def features(self) -> FeatureNetwork | None:
        """The reader, if images go through it once for all metrics that read with it."""
        return self.reader if isinstance(self.reader, FeatureNetwork) else None


class Evaluator:
    """Metrics of one data set, ready to measure any number of generators: names and weights are checked already.

    Args:
        requests: Which metrics.
        dataset: The real images, unmirrored, with labels in use for conditional networks.
        settings: How.
        device: Where networks compute.

    Attributes:
        networks: The feature networks in use, by name as asked for.
        weights: The SHA-256 of the files in use, by network.
        notes: What the reader of the numbers should know.

    Raises:
        UserError: Weights cannot be had or do not fit, or there are too few real images.
    """

    def __init__(
        self, requests: Sequence[Request], dataset: ImageDataset, settings: Settings, device: torch.device
    ) -> None:
        self.requests, self.dataset, self.settings, self.device = list(requests), dataset, settings, device
        self._content_hash = distributed.same_everywhere(dataset.content_hash if distributed.is_main() else "")
        self._rows = self._real_rows()
        for request in self.requests:
            if settings.real_vs_real and isinstance(request.metric, NetworkMetric):
                raise UserError(
                    f"{request.name} moves the inputs of a network, which real images do not have; leave out "
                    f"--real-vs-real or {request.name}"
                )
            if len(self._rows) < request.metric.least * (2 if settings.real_vs_real else 1):
                raise UserError(
                    f"{request.name} needs at least {request.metric.least} real images, and {dataset.path} gives "
                    f"{len(self._rows)}{' for two halves' if settings.real_vs_real else ''}"
                )
        loading = Loading(device, settings.weights)
        self._comparing: list[_Ready[ImageMetric[Any]]] = []
        self._moving: list[_Ready[NetworkMetric[Any]]] = []
        for request in self.requests:
            metric, reader = request.metric, request.metric.load(loading, request.features)
            if isinstance(metric, ImageMetric):
                self._comparing.append(_Ready(request, metric, reader))
            elif isinstance(metric, NetworkMetric):
                self._moving.append(_Ready(request, metric, reader))
        self.networks = {ready.request.features: ready.features for ready in self._comparing if ready.features}
        self.weights = {name: digest for ready in self._ready for name, digest in ready.weights.items()}
        fakes, reals = self._counts(max((ready.request.count for ready in self._comparing), default=0))
        self.notes = [
            f"{ready.request.name}: {note}"
            for ready in self._comparing
            for note in ready.metric.notes(ready.reader, min(ready.request.count, fakes), reals)
        ]

    def check(self, G: Generator) -> None:
        """Raise `UserError` where this network cannot be measured: its images, classes or inputs do not fit."""
        (H, W), (h, w) = G.resolution, self.dataset.resolution
        if (H, W, G.channels) != (h, w, self.dataset.channels):
            raise UserError(
                f"the network makes images of {W}x{H} with {G.channels} channel(s), {self.dataset.path} holds {w}x{h} with "
                f"{self.dataset.channels}: they cannot be compared; `stylegan prepare SOURCE DEST --resolution {W}x{H} "
                f"--channels {G.channels}` makes an archive that fits"
            )
        if self.settings.class_idx is not None:
            class_label(G, self.settings.class_idx)
        if G.c_dim != self.dataset.label_dim and G.c_dim > 0:
            raise UserError(
                f"the network takes labels of length {G.c_dim}, those of {self.dataset.path} have "
                f"{self.dataset.label_dim}: give the data set it was trained on"
            )
        for ready in self._moving:
            ready.metric.check(G, ready.request.name)

    def measure(self, G: Generator, seed: int | None = None) -> Measured:
        """Measure a generator in eval mode. On several ranks all of them call it.

        Args:
            G: The network; it passes `check`.
            seed: Instead of the settings' own.
        """
        self.check(G)
        seed = self.settings.seed if seed is None else seed
        labels = self._labels(G)
        counts = (0, 0)
        outcomes: list[tuple[_Ready[Any], Outcome]] = []
        if self._comparing:
            fakes, reals, counts = self._both_sides(sampler_of(G, labels), seed)
            for ready in self._comparing if distributed.is_main() else []:
                sides = reals.get(_key(ready), {}), fakes[_key(ready, counts[0])]
                outcomes.append((ready, ready.metric.compare(*sides, seed=seed, device=self.device)))
        if self._moving:
            with self._progress("moving", sum(ready.request.count for ready in self._moving)) as advance:
                for ready in self._moving:
                    draws = Draws(ready.request.count, seed, self.settings.batch, labels, self.device, advance)
                    outcomes.append((ready, ready.metric.measure(G, ready.reader, draws)))
        values = {name: value for found in outcomes for name, value in self._named(*found).items()}
        return Measured(values, *counts, [outcome.detail for _, outcome in outcomes if outcome.detail])

    def _named(self, ready: _Ready[Any], outcome: Outcome) -> dict[str, float]:
        """What a metric found, by full name."""
        names = [output.name for output in ready.metric.outputs]
        if list(outcome.values) != names:
            raise TypeError(f"{type(ready.metric).__name__} promises {names} and found {list(outcome.values)}")
        return {self._full_name(ready, name): value for name, value in outcome.values.items()}

    def _full_name(self, ready: _Ready[Any], output: str) -> str:
        """The name of an output as the weights in use, class and other side make it."""
        return ready.request.output(output, ready.feature_name) + self._side

    @property
    def _ready(self) -> list[_Ready[Any]]:
        return [*self._comparing, *self._moving]

    @property
    def _side(self) -> str:
        """The end of every result's name: which class was measured, and whether real images stood for the fakes."""
        of_class = "" if self.settings.class_idx is None else f"@class{self.settings.class_idx}"
        return f"{of_class}@reals" if self.settings.real_vs_real else of_class

    @property
    def higher_is_better(self) -> dict[str, bool]:
        """Whether more is better, by full name of each result."""
        return {self._full_name(ready, o.name): o.higher for ready in self._ready for o in ready.metric.outputs}

    def _real_rows(self) -> list[int]:
        rows = list(range(len(self.dataset)))
        if self.settings.class_idx is None:
            return rows
        if not self.dataset.labels_are_classes:
            raise UserError(
                f"class_idx={self.settings.class_idx}: a metric of one class needs a conditional network and an archive with "
                f"classes; {self.dataset.path} gives none here"
            )
        of_class = self.dataset.labels(torch.tensor(rows)).argmax(1) == self.settings.class_idx
        return of_class.nonzero()[:, 0].tolist()

    def _labels(self, G: Generator) -> Tensor | None:
        """The labels that a conditional network is given: drawn from those of the real images."""
        return None if G.c_dim == 0 else self.dataset.labels(torch.tensor(self._rows))

    def _counts(self, asked: int) -> tuple[int, int]:
        """How many fakes and reals are compared where `asked` fakes are asked for."""
        if not self.settings.real_vs_real:
            return asked, len(self._rows)
        fakes = min(asked, len(self._rows) // 2)
        return fakes, len(self._rows) - fakes

    def _both_sides(self, sample: Sampler, seed: int) -> tuple[dict[str, Tensors], dict[str, Tensors], tuple[int, int]]:
        """What is collected of fakes and of reals by `_key`, and how many of each there are."""
        counts = self._counts(max(ready.request.count for ready in self._comparing))
        batch, rows, others = self.settings.batch, self._rows, list[int]()
        if self.settings.real_vs_real:
            order = torch.randperm(len(rows), generator=generator(seed, "metrics/floor")).tolist()
            shuffled = [rows[i] for i in order]
            others, rows = shuffled[: counts[0]], shuffled[counts[0] :]
        reals = self._collect_reals(rows)
        with self._progress("fakes", counts[0]) as advance:
            images = (
                stored(self.dataset, others, batch, advance)
                if self.settings.real_vs_real
                else generated(sample, counts[0], batch, seed, advance)
            )
            fakes = collect(images, self._wants(counts[0]), self.device)
        for side, what in ((fakes, "generated"), (reals, "real")):
            for tensors in side.values():
                check_finite(tensors, what)
        return fakes, reals, counts

    def _wants(self, fakes: int) -> list[Want]:
        """What is collected of so many fakes, each thing once."""
        wants = {}
        for ready in self._comparing:
            key, count = _key(ready, fakes), min(ready.request.count, fakes)
            wants[key] = self._want(ready, key, count)
        return list(wants.values())

    def _collect_reals(self, rows: list[int]) -> dict[str, Tensors]:
        """What is collected of the real images `rows`: read from the cache, or computed and written there."""
        metrics = {_key(ready): ready for ready in self._comparing if ready.metric.uses_reals}

        def make(missing: list[str]) -> dict[str, Tensors]:
            wants = [self._want(metrics[key], key, len(rows)) for key in missing]
            with self._progress("reals", len(rows)) as advance:
                return collect(stored(self.dataset, rows, self.settings.batch, advance), wants, self.device)

        if not metrics:
            return {}
        if self.settings.real_vs_real:
            return make(list(metrics))
        return cached({key: reference_path(self._cache_key(ready)) for key, ready in metrics.items()}, make)

    def _progress(self, title: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        return progress_of(title, total, self.settings.progress)

    @staticmethod
    def _want(ready: _Ready[ImageMetric[Any]], key: str, count: int) -> Want:
        return Want(key, ready.features, count, lambda: ready.metric.collector(ready.reader, count))

    def _cache_key(self, ready: _Ready[ImageMetric[Any]]) -> dict[str, Any]:
        """All that what is collected of the real images depends on, in every bit."""
        whole = len(self.dataset) == self.dataset.shape[0]
        return {
            "collected": _collected(ready.metric),
            "weights": dict(ready.weights),
            "resize": ready.features.resize if ready.features else "",
            "content_hash": self._content_hash,
            "rows": "all" if whole else self.dataset.rows.tolist(),
            "class_idx": self.settings.class_idx,
            "batch": self.settings.batch,
            "threads": torch.get_num_threads(),
            "device": self.device.type,
        }


def _collected(metric: ImageMetric[Any]) -> str:
    return metric.collected or metric.name


def _key(ready: _Ready[ImageMetric[Any]], fakes: int | None = None) -> str:
    """Names what a metric collects of the reals, or of so many fakes; metrics that collect the same share it."""
    of = "reals" if fakes is None else str(min(ready.request.count, fakes))
    return f"{_collected(ready.metric)}/{ready.feature_name}/{of}"

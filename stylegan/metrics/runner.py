"""Measuring a generator: which metrics, of which data set, under the papers' protocol; several metrics share each pass.

Protocol: as many fakes as the name says, drawn from `seed` with random layer noise and without truncation, rounded to uint8;
all real images, unmirrored. A call with the same settings gives the same numbers to the bit, on one machine with one number of
threads; the number of ranks changes the order of sums only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stylegan import distributed
from stylegan.data.archive import ImageDataset
from stylegan.errors import UserError
from stylegan.inference import class_label
from stylegan.metrics.collect import Tensors, check_finite
from stylegan.metrics.features import FeatureNetwork, load_features
from stylegan.metrics.image_metrics import Detail, ImageMetric, image_metric
from stylegan.metrics.names import Request
from stylegan.metrics.network_metrics import NetworkMetrics, check_movable
from stylegan.metrics.reference import cached, reference_path
from stylegan.metrics.stream import Sampler, Want, collect, generated, progress_of, sampler_of, stored
from stylegan.rng import generator


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        seed: Of latents, noise and subsets.
        batch: Images at once, of generator and feature networks.
        class_idx: Only this class of a conditional network, and only the real images of it.
        real_vs_real: Let a random half of the real images stand for the fakes: what a perfect generator would get.
        weights: Files of weights by network's name.
    """

    seed: int = 0
    batch: int = 64
    class_idx: int | None = None
    real_vs_real: bool = False
    weights: Mapping[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UserError(f"batch={self.batch} must be at least 1")


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


class Evaluator:
    """Metrics of one data set, ready to measure any number of generators: names and weights are checked already.

    Args:
        requests: Which metrics.
        dataset: The real images, unmirrored, with labels in use for conditional networks.
        settings: How.
        device: Where networks compute.

    Attributes:
        networks: The feature networks in use, by name as asked for.
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
            if settings.real_vs_real and request.kind.of_network:
                raise UserError(
                    f"{request.name} moves the inputs of a network, which real images do not have; leave out "
                    f"--real-vs-real or {request.name}"
                )
            if len(self._rows) < request.kind.least * (2 if settings.real_vs_real else 1):
                raise UserError(
                    f"{request.name} needs at least {request.kind.least} real images, and {dataset.path} gives "
                    f"{len(self._rows)}{' for two halves' if settings.real_vs_real else ''}"
                )
        names = dict.fromkeys(request.features for request in self.requests if request.kind.features)
        self.networks: dict[str, FeatureNetwork] = {n: load_features(n, device, settings.weights) for n in names}
        compared = [request for request in self.requests if not request.kind.of_network]
        self._metrics = [image_metric(request, self.networks, device, settings.weights) for request in compared]
        moving = [request for request in self.requests if request.kind.of_network]
        self._moving = NetworkMetrics(moving, settings.weights, device) if moving else None
        self.weights: dict[str, str] = dict(self._moving.weights) if self._moving else {}
        for metric in self._metrics:
            self.weights |= metric.weights
        fakes = self._counts(max((request.count for request in compared), default=0))
        self.notes = [n for m in self._metrics for n in m.notes(min(m.request.count, fakes[0]), fakes[1])]

    def check(self, G: Any) -> None:
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
        for request in self.requests:
            if request.kind.of_network:
                check_movable(G, request)

    def measure(self, G: nn.Module, seed: int | None = None) -> Measured:
        """Measure a generator in eval mode. On several ranks all of them call it.

        Args:
            G: The network; it passes `check`.
            seed: Instead of the settings' own.
        """
        self.check(G)
        seed = self.settings.seed if seed is None else seed
        labels = self._labels(G)
        values: dict[str, float] = {}
        details: list[Detail] = []
        counts = (0, 0)
        if self._metrics:
            fakes, reals, counts = self._both_sides(sampler_of(G, labels), seed)
            for metric in self._metrics if distributed.is_main() else []:
                outcome = metric.compare(reals.get(_key(metric), {}), fakes[_key(metric, counts[0])], seed)
                names = [
                    self.output(metric.request, output, metric.feature_name) for output in metric.request.kind.outputs
                ]
                values |= dict(zip(names, outcome.values, strict=True))
                details += [outcome.detail] if outcome.detail else []
        if self._moving is not None:
            with progress_of("moving", self._moving.total) as advance:
                moved = self._moving.measure(G, labels, seed, self.settings.batch, advance)
            values |= {f"{name}{self._side}": value for name, value in moved.items()}
        return Measured(values, *counts, details)

    def output(self, request: Request, name: str, feature_name: str) -> str:
        """The full name of an output, as its weights, class and other side make it."""
        return request.output(name, feature_name) + self._side

    @property
    def _side(self) -> str:
        """The end of every result's name: which class was measured, and whether real images stood for the fakes."""
        of_class = "" if self.settings.class_idx is None else f"@class{self.settings.class_idx}"
        return f"{of_class}@reals" if self.settings.real_vs_real else of_class

    @property
    def higher_is_better(self) -> dict[str, bool]:
        """Whether more is better, by full name of each result."""
        named = [(metric.request, metric.feature_name) for metric in self._metrics]
        if self._moving is not None:
            named += [(request, self._moving.feature_name(request)) for request in self._moving.requests]
        return {self.output(r, o, name): better for r, name in named for o, better in r.kind.outputs.items()}

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

    def _labels(self, G: Any) -> Tensor | None:
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
        counts = self._counts(max(metric.request.count for metric in self._metrics))
        batch, rows, others = self.settings.batch, self._rows, list[int]()
        if self.settings.real_vs_real:
            order = torch.randperm(len(rows), generator=generator(seed, "metrics/floor")).tolist()
            shuffled = [rows[i] for i in order]
            others, rows = shuffled[: counts[0]], shuffled[counts[0] :]
        reals = self._collect_reals(rows)
        with progress_of("fakes", counts[0]) as advance:
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
        for metric in self._metrics:
            key, count = _key(metric, fakes), min(metric.request.count, fakes)
            wants[key] = Want(key, metric.features, count, metric.collector)
        return list(wants.values())

    def _collect_reals(self, rows: list[int]) -> dict[str, Tensors]:
        """What is collected of the real images `rows`: read from the cache, or computed and written there."""
        metrics = {_key(metric): metric for metric in self._metrics if metric.uses_reals}

        def make(missing: list[str]) -> dict[str, Tensors]:
            wants = [Want(key, metrics[key].features, len(rows), metrics[key].collector) for key in missing]
            with progress_of("reals", len(rows)) as advance:
                return collect(stored(self.dataset, rows, self.settings.batch, advance), wants, self.device)

        if not metrics:
            return {}
        if self.settings.real_vs_real:
            return make(list(metrics))
        return cached({key: reference_path(self._cache_key(metric)) for key, metric in metrics.items()}, make)

    def _cache_key(self, metric: ImageMetric) -> dict[str, Any]:
        """All that what is collected of the real images depends on, in every bit."""
        whole = len(self.dataset) == self.dataset.shape[0]
        return {
            "collected": metric.collected,
            "weights": metric.weights,
            "resize": metric.features.resize if metric.features else "",
            "content_hash": self._content_hash,
            "rows": "all" if whole else self.dataset.rows.tolist(),
            "class_idx": self.settings.class_idx,
            "batch": self.settings.batch,
            "threads": torch.get_num_threads(),
            "device": self.device.type,
        }


def _key(metric: ImageMetric, fakes: int | None = None) -> str:
    """Names what a metric collects of the reals, or of so many fakes; metrics that collect the same share it."""
    of = "reals" if fakes is None else str(min(metric.request.count, fakes))
    return f"{metric.collected}/{metric.feature_name}/{of}"

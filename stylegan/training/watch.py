"""Measuring a run while it trains: metrics of G_ema at snapshots, and which snapshot was the best so far."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from stylegan import distributed
from stylegan import run_dir as layout
from stylegan.data.archive import ImageDataset
from stylegan.errors import UserError, nearest
from stylegan.files import open_below
from stylegan.interop.snapshot import read_snapshot
from stylegan.interop.snapshot_writer import add_provenance
from stylegan.models.base import Generator
from stylegan.values import COUNT, check_values

if TYPE_CHECKING:  # a run without metrics need not wait for what measures
    import torch

    from stylegan.metrics.runner import Evaluator


@dataclass
class MetricsConfig:
    """What is measured during training."""

    names: list[str] = field(
        default_factory=list, metadata={"help": "metrics of G_ema, such as [fid50k] or [kid5k_mobilenet_v2,attributes]"}
    )
    every: int = field(default=1, metadata={"help": "snapshots from one measurement to the next", "range": COUNT})
    best: str | None = field(
        default=None, metadata={"help": "the metric whose best snapshot is kept by name; null: the first"}
    )
    weights: list[str] = field(
        default_factory=list, metadata={"help": "files with weights of feature networks: ['NAME=FILE']"}
    )
    batch: int = field(default=64, metadata={"help": "images at once while measuring", "range": COUNT})

    def __post_init__(self) -> None:
        check_values(self, "metrics")


class Watch:
    """Measures the networks of one run and keeps the records; all ranks hold one.

    Args:
        evaluator: What measures.
        config: How often, and by what the best is chosen.
        run_dir: The run's folder.

    Raises:
        UserError: `metrics.best` is none of the results.
    """

    def __init__(self, evaluator: "Evaluator", config: MetricsConfig, run_dir: Path) -> None:
        self._evaluator, self._every, self._run_dir = evaluator, config.every, run_dir
        better = evaluator.higher_is_better
        self._best = config.best or next(iter(better))
        if self._best not in better:
            raise UserError(f"metrics.best={self._best} is not measured; {nearest(self._best, better)}")
        self._higher = better[self._best]

    def due(self, snapshot: int) -> bool:
        """Whether the run's snapshot of this number, counted from 1, is measured."""
        return snapshot % self._every == 0

    def measure(self, G_ema: Generator, nimg: int) -> dict[str, float]:
        """Measure the network whose snapshot was just written; the first rank notes it down and copies the best.

        Returns:
            The results by name; on the first rank only.
        """
        started = perf_counter()
        measured = self._evaluator.measure(G_ema)
        if not distributed.is_main():
            return {}
        # JSON has no NaN, and what is none is never the best.
        values = {name: value if isfinite(value) else None for name, value in measured.values.items()}
        value = values[self._best]
        earlier = [r["results"].get(self._best) for r in layout.read_metrics(self._run_dir) if r["nimg"] != nimg]
        known = [old for old in earlier if old is not None and isfinite(old)]
        is_best = value is not None and all(value > old if self._higher else value < old for old in known)
        record = {
            "nimg": nimg,
            "results": values,
            "fakes": measured.fakes,
            "reals": measured.reals,
            "seconds": round(perf_counter() - started, 1),
            "best": self._best if is_best else None,
        }
        self._tell_snapshot(record)
        if is_best:
            layout.keep_best(self._run_dir, self._best, nimg)
        with open_below(self._run_dir, layout.METRICS, "a") as file:
            file.write(json.dumps(record) + "\n")
        return measured.values

    def complete(self, G_ema: Generator, nimg: int) -> dict[str, float]:
        """As `measure`, unless the records hold all that is asked for: then only what follows from them is mended."""
        results = self._evaluator.higher_is_better.keys()
        found: dict[str, Any] | None = None
        if distributed.is_main():
            records = [
                r for r in layout.read_metrics(self._run_dir) if r["nimg"] == nimg and results <= r["results"].keys()
            ]
            found = records[-1] if records else None
        if distributed.same_everywhere(found is None):
            return self.measure(G_ema, nimg)
        if found is not None:
            self._tell_snapshot(found)
            if (best := found.get("best")) and not layout.best_snapshot_path(self._run_dir, best).exists():
                layout.keep_best(self._run_dir, best, nimg)
        return {}

    def _tell_snapshot(self, record: Mapping[str, Any]) -> None:
        """Write a record's numbers into its snapshot, which may leave this folder, and metrics.jsonl stay behind."""
        snapshot = layout.snapshot_path(self._run_dir, record["nimg"])
        measured = {"metrics": {name: record[name] for name in ("results", "fakes", "reals")}}
        if snapshot.exists() and not measured.items() <= read_snapshot(snapshot).metadata.get("provenance", {}).items():
            add_provenance(snapshot, measured)


def build_watch(
    config: MetricsConfig, dataset: ImageDataset, G: Generator, seed: int, device: "torch.device", run_dir: Path
) -> Watch | None:
    """What measures a run, or None where nothing is asked for. Names and weights are checked here, before training starts.

    Args:
        config: What is asked for.
        dataset: The training images; measured against are all of the archive's, unmirrored.
        G: A network like those that will be measured.
        seed: Of latents and noise; the same for every snapshot.
        device: Where networks compute.
        run_dir: The run's folder.

    Raises:
        UserError: A name is unknown, weights cannot be had, or a metric does not fit the network or the data.
    """
    if not config.names:
        return None
    from stylegan.metrics.evaluate import open_reals, weight_files
    from stylegan.metrics.names import parse_all
    from stylegan.metrics.runner import Evaluator, Settings

    requests = parse_all(config.names)
    reals = open_reals(dataset.path, G.c_dim > 0)
    reals.info = dataset.info  # its content hash is known
    settings = Settings(seed=seed, batch=config.batch, weights=weight_files(config.weights))
    evaluator = Evaluator(requests, reals, settings, device)
    evaluator.check(G)
    return Watch(evaluator, config, run_dir)

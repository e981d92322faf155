"""Which network of a run is its best, and what the last one's records must hold."""

import json
from math import inf, nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stylegan import run_dir as layout
from stylegan.interop.snapshot import read_snapshot
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.training.watch import MetricsConfig, Watch
from tests.unit.tiny import tiny_pair

G = tiny_pair()[0]


class Results:
    """In the place of what measures: it finds given values, one after another, of `fid` and a second metric."""

    def __init__(self, *values: float, higher: bool = False) -> None:
        self.values, self.higher_is_better = list(values), {"fid": higher, "is": True}

    def measure(self, network: Any) -> Any:
        return SimpleNamespace(values={"fid": self.values.pop(0), "is": 2.0}, fakes=20, reals=22)


def watched(run_dir: Path, evaluator: Any) -> Watch:
    return Watch(evaluator, MetricsConfig(names=["fid"]), run_dir)


def measure(run_dir: Path, *values: float, higher: bool = False) -> list[int]:
    """Measure networks at 10, 20, ... images; which became the best."""
    watch = watched(run_dir, Results(*values, higher=higher))
    for nimg in range(10, 10 * len(values) + 1, 10):
        save_snapshot(layout.snapshot_path(run_dir, nimg), G, provenance={"nimg": nimg})
        watch.measure(G, nimg)
    return [record["nimg"] for record in layout.read_metrics(run_dir) if record["best"] == "fid"]


@pytest.mark.parametrize("nothing", [nan, inf, -inf])
@pytest.mark.parametrize(("higher", "best"), [(False, [20, 40]), (True, [20, 50])])
def test_what_is_no_number_is_never_the_best(tmp_path: Path, nothing: float, higher: bool, best: list[int]) -> None:
    assert measure(tmp_path, nothing, 3.0, nothing, 2.0, 4.0, higher=higher) == best
    kept = layout.best_snapshot_path(tmp_path, "fid")
    assert kept.read_bytes() == layout.snapshot_path(tmp_path, best[-1]).read_bytes()
    for line in (tmp_path / layout.METRICS).read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_none_is_the_best_while_nothing_is_a_number(tmp_path: Path) -> None:
    assert measure(tmp_path, nan) == [] and not layout.best_snapshot_path(tmp_path, "fid").exists()


def test_a_record_of_an_older_version_is_not_the_best_for_ever(tmp_path: Path) -> None:
    """They wrote NaN, and held it for the best."""
    (tmp_path / layout.METRICS).write_text('{"nimg": 5, "results": {"fid": NaN, "is": 1.0}, "best": "fid"}\n')
    assert measure(tmp_path, 3.0) == [5, 10]


def test_what_stands_in_the_records_is_not_measured_again(tmp_path: Path) -> None:
    measure(tmp_path, 3.0)
    watch = watched(tmp_path, Results())
    snapshot, best = layout.snapshot_path(tmp_path, 10), layout.best_snapshot_path(tmp_path, "fid")
    before = snapshot.stat().st_ino
    assert watch.complete(G, 10) == {} and snapshot.stat().st_ino == before
    save_snapshot(snapshot, G, provenance={"nimg": 10})
    best.unlink()
    assert watch.complete(G, 10) == {}
    told = {"results": {"fid": 3.0, "is": 2.0}, "fakes": 20, "reals": 22}
    assert read_snapshot(snapshot).metadata["provenance"] == {"nimg": 10, "metrics": told}
    assert best.read_bytes() == snapshot.read_bytes()
    assert len(layout.read_metrics(tmp_path)) == 1


@pytest.mark.parametrize(
    "record", ["", '{"nimg": 10, "results": {"is": 2.0}}\n', '{"nimg": 9, "results": {"fid": 1, "is": 2}}\n']
)
def test_what_is_missing_in_the_records_is_measured(tmp_path: Path, record: str) -> None:
    """No record at all, one without the metric, one of another network."""
    (tmp_path / layout.METRICS).write_text(record)
    assert watched(tmp_path, Results(5.0)).complete(G, 10) == {"fid": 5.0, "is": 2.0}
    assert layout.read_metrics(tmp_path)[-1]["results"] == {"fid": 5.0, "is": 2.0}

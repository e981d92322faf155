"""The day on a GPU, at tiny size on the CPU: typing errors must not cost the time on a real one."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from stylegan.ops._build import compiler_available
from stylegan.ops.backend import Backend, activate
from tests.gpu import day
from tests.gpu.steps.record import Record

pytestmark = pytest.mark.skipif(not compiler_available(), reason="no C++ compiler")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = before
    activate(Backend.reference, torch.device("cpu"))


@pytest.mark.parametrize("name", ["syncs", "speed_of_ops", "speed_of_training", "speed_of_use"])
def test_what_is_measured(name: str, tmp_path: Path) -> None:
    record = Record(tmp_path / "result.json", torch.device("cpu"), tiny=True, seconds=600)
    importlib.import_module(f"tests.gpu.steps.{name}").step(record)
    assert record.results and not record.failed, record.results
    assert json.loads(record.path.read_text()) == record.results


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--device", "cpu", "--tiny", "--minutes", "5", "--out", str(tmp_path)]
    assert day.main([*arguments, "--steps", "1,2"]) == 0
    assert day.main([*arguments, "--steps", "6"]) == 0
    runs = json.loads((tmp_path / "day.json").read_text())["runs"]
    assert [(run["step"], run["status"]) for run in runs] == [(1, "done"), (2, "done"), (6, "done")]
    assert runs[2]["results"]["debug"]["stop and go on"]["equal"], runs[2]
    assert "step 6" in capsys.readouterr().out.splitlines()[-6]


def test_steps_that_fail_or_hang_cost_only_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {1: day.Step("no_such_step", "fails", 1), 2: day.Step("hangs", "hangs", 1)}
    monkeypatch.setattr(day, "STEPS", steps)
    monkeypatch.setattr(day, "ROOT", tmp_path)
    folder = tmp_path / "tests" / "gpu" / "steps"
    folder.mkdir(parents=True)
    (folder / "hangs.py").write_text("import time\nprint('before', flush=True)\ntime.sleep(60)\n")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert day.main(["--minutes", "0.1", "--out", str(tmp_path), "--device", "cpu"]) == 1
    runs = json.loads((tmp_path / "day.json").read_text())["runs"]
    assert [run["status"] for run in runs] == ["failed", "killed"]
    out = capsys.readouterr().out
    assert "no_such_step" in out and "before" in out and sys.executable in runs[0]["command"]


def test_time_over_starts_nothing(tmp_path: Path) -> None:
    record = Record(tmp_path / "result.json", torch.device("cpu"), tiny=True, seconds=0)
    record.attempt("late", lambda: pytest.fail("ran"))
    assert record.results == {"late": {"skipped": "no time left"}}

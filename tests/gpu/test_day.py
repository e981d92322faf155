"""The day on a GPU, at tiny size on the CPU: typing errors must not cost the time on a real one."""

import importlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from stylegan.ops._build import compiler_available
from stylegan.ops.backend import Backend, activate
from tests.gpu import day, keep
from tests.gpu.steps import resume
from tests.gpu.steps.record import Record

pytestmark = pytest.mark.skipif(not compiler_available(), reason="no C++ compiler")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    activate(Backend.reference, torch.device("cpu"))


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "result.json", torch.device("cpu"), tiny=True, seconds=600)


@pytest.mark.parametrize("name", ["correctness", "syncs", "speed_of_ops", "speed_of_training", "speed_of_use"])
def test_what_is_measured(name: str, record: Record) -> None:
    importlib.import_module(f"tests.gpu.steps.{name}").step(record)
    assert record.results and not record.failed, record.results
    assert json.loads(record.path.read_text()) == record.results


def test_bits_of_resumed_runs(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    class Here:
        """A run in this process: another one would import torch again."""

        def __init__(self, settings: tuple[str, ...], deterministic: bool) -> None:
            monkeypatch.setattr(sys, "argv", ["train.py", *settings, "training.grid_images=1"])
            importlib.import_module("train").main()

        def finish(self, limit: float) -> None:
            pass

        def kill(self) -> None:
            pass

    monkeypatch.setattr(resume, "Run", Here)
    resume.step(record)
    found = record.results["debug"]
    assert found["stop and go on"]["equal"] and found["once more"]["equal"] and found["once more"]["compared"] > 50


def test_a_run_that_fails() -> None:
    with pytest.raises(RuntimeError, match=r"exit code 2: .*kimg"):
        resume.Run(("experiment=debug", "training.kimg=x"), deterministic=True).finish(60)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--device", "cpu", "--tiny", "--minutes", "5", "--out", str(tmp_path), "--steps", "1:90"]
    assert day.main([*arguments, "--commit", "abc"]) == 0
    (found,) = json.loads((tmp_path / "day.json").read_text())["runs"]
    assert (found["step"], found["status"], found["limit"], found["commit"]) == (1, "done", 90, "abc")
    assert found["results"]["cpu"]["seconds"] > 0 and found["machine"]["torch"] == torch.__version__
    assert "step 1 the ops compile: done" in capsys.readouterr().out


def test_steps_that_fail_or_hang_cost_only_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["no_such_step", "works", "hangs"]
    monkeypatch.setattr(day, "STEPS", {i: day.Step(name, name, 1) for i, name in enumerate(names)})
    monkeypatch.setattr(day, "ROOT", tmp_path)
    monkeypatch.setattr(day, "describe_machine", dict)
    folder = tmp_path / "tests" / "gpu" / "steps"
    folder.mkdir(parents=True)
    (folder / "works.py").write_text("import sys; open(sys.argv[-1], 'w').write('{\"a\": 1}')\n")
    (folder / "hangs.py").write_text("import time\nprint('before', flush=True)\ntime.sleep(60)\n")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    arguments = ["--minutes", "0.03", "--out", str(tmp_path), "--device", "cpu"]
    assert day.main([*arguments, "--steps", "0"]) == 1
    assert day.main([*arguments, "--steps", "1,2"]) == 1
    runs = json.loads((tmp_path / "day.json").read_text())["runs"]
    assert [run["status"] for run in runs] == ["failed", "done", "killed"]
    assert runs[1]["results"] == {"a": 1} and sys.executable in runs[0]["command"]
    out = capsys.readouterr().out
    assert "no_such_step" in out and "before" in out


def test_nothing_is_started_without_the_time_that_it_needs(record: Record) -> None:
    record.started = time.monotonic() - 530  # of 600, a tenth of which is kept back
    record.attempt("short", lambda: 1, needs=5)
    record.attempt("long", lambda: pytest.fail("ran"), needs=15)
    assert record.results == {"short": 1, "long": {"skipped": "no time left"}}


def test_what_was_killed_is_told(record: Record) -> None:
    record.put("before", 1)

    def killed() -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        record.attempt("hangs", killed)
    assert json.loads(record.path.read_text()) == {"before": 1, "hangs": {"unfinished": "killed while it ran"}}


def test_what_is_kept_of_a_day(tmp_path: Path) -> None:
    run = {"step": 3, "machine": {"card": "X", "free_gb": 1.0}, "status": "done", "seconds": 1.0, "limit": 2}
    run |= {"commit": "main", "command": "python", "log": ["long"]}
    run |= {"results": {"a": {"ms": 1.23456, "longest": [1] * 30}, "b": {}}}
    (tmp_path / "day.json").write_text(json.dumps({"runs": [run]}))
    kept = tmp_path / "results" / "x.json"
    for commit in ("abc", "def"):
        keep.main([str(kept), str(tmp_path / "day.json"), "--commit", commit])
    first, second = json.loads(kept.read_text())["runs"]
    assert (first.pop("commit"), second.pop("commit")) == ("abc", "def") and first == second
    assert first["results"] == {"a": {"ms": 1.235, "longest": [1] * 10}, "b": {}}
    assert first["machine"] == {"card": "X"} and "log" not in first and "command" not in first


def test_kept_results_are_of_a_card() -> None:
    for path in (Path(__file__).parent / "results").glob("*.json"):
        runs = json.loads(path.read_text())["runs"]
        assert runs and all(run["machine"]["card"] and run["commit"] for run in runs), path

"""A few cases of every program that reads odd files; `python -m tests.unit.fuzz_NAME --count N --seed S` runs more."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stylegan.errors import UserError
from tests.unit import fuzzing

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "count", "outcomes"),
    [
        ("fuzz_networks", 150, {"read": 10, "refused": 75}),
        ("fuzz_latents", 300, {"read": 10, "refused": 150}),
        ("fuzz_pickles", 600, {"read": 10, "refused": 300}),
        ("fuzz_checkpoints", 60, {"from the newest": 2, "from the one before": 30}),
        ("fuzz_archives", 150, {"read": 3, "partly read": 30, "refused": 40}),
        ("fuzz_runs", 80, {"read": 10, "partly read": 20, "refused": 2}),
        ("fuzz_uploads", 500, {"read": 80, "refused": 200}),
        ("fuzz_requests", 120, {"200": 30, "422": 15}),
    ],
)
def test_odd_files_are_read_or_refused(name: str, count: int, outcomes: dict[str, int]) -> None:
    command = [sys.executable, "-W", "ignore", "-m", f"tests.unit.{name}", "--count", str(count)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    found = json.loads(done.stdout)
    assert all(found[outcome] >= least for outcome, least in outcomes.items()), found


def crash() -> None:
    raise KeyError("x")


def forge() -> None:
    raise UserError("a\x1b[31m")


def hang() -> None:
    while True:
        pass


def grow() -> None:
    fuzzing._peak = lambda: 2**40


@pytest.mark.parametrize(
    ("case", "found"), [(crash, "KeyError"), (forge, "message"), (hang, "seconds"), (grow, "bytes")]
)
def test_the_judge_sees_what_goes_wrong(
    case: Callable[[], None], found: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--count", "1"])
    monkeypatch.setattr(fuzzing, "SECONDS", 1)
    monkeypatch.setattr(fuzzing, "_peak", fuzzing._peak)  # put back afterwards

    def prepare(folder: Path) -> Callable[[random.Random], Callable[[], None]]:
        return lambda rng: case

    with pytest.raises(SystemExit) as ended:
        fuzzing.judge("x", prepare)
    assert ended.value.code == 1 and found in capsys.readouterr().out

"""Step 6: train, stop and go on; are the bits those of an unbroken run, and those of the same run once more?"""

import importlib.util
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from stylegan import run_dir as layout
from stylegan.training.checkpoint import read_checkpoint
from tests.gpu.steps.record import Record, run
from tests.unit.test_checkpoint import flat

ROOT = Path(__file__).parents[3]
DEMO = ["experiment=demo", "data.count=400", "training.checkpoint_kimg=1", "training.snapshot_kimg=1"]


def step(record: Record) -> None:
    """`debug`, then faces at 64 pixels."""
    missing = [name for name in ("hydra", "omegaconf", "antlr4") if importlib.util.find_spec(name) is None]
    if missing:
        record.put("skipped", {"skipped": f"train.py needs {', '.join(missing)}"})
        return
    record.attempt("debug", lambda: three_runs(record, ["experiment=debug"], 0.032))
    if not record.tiny:
        record.attempt("faces3d at 64 pixels", lambda: three_runs(record, DEMO, 0.6))
        record.attempt("the same, reference ops", lambda: three_runs(record, [*DEMO, "ops.backend=reference"], 0.6))
        record.attempt("the same in bf16", lambda: three_runs(record, [*DEMO, *_in("bf16")], 0.6))


def _in(precision: str) -> list[str]:
    return [f"model.{network}.precision={precision}" for network in "GD"]


def three_runs(record: Record, settings: list[str], kimg: float) -> dict[str, Any]:
    """2N kimg at once, the same again, and N and N; all at a time."""
    settings = [*settings, f"device={record.device.type}", "data.workers=1"]
    with TemporaryDirectory() as folder, ExitStack() as stack:
        place = Path(folder)
        whole, again, parts = (place / name for name in ("whole", "again", "parts"))

        def start(*settings: str) -> subprocess.Popen[str]:
            process = _start(*settings)
            stack.callback(process.kill)  # where another fails
            return process

        running = [start(*settings, f"run_dir={d}", f"training.kimg={2 * kimg}") for d in (whole, again)]
        _finish(start(*settings, f"run_dir={parts}", f"training.kimg={kimg}"), record)
        for process in [start(f"run_dir={parts}", f"training.kimg={2 * kimg}"), *running]:
            _finish(process, record)
        nimg = round(2000 * kimg)
        last = layout.read_stats(whole)[-1]
        return {
            "stop and go on": _compare(layout.checkpoint_path(whole, nimg), layout.checkpoint_path(parts, nimg)),
            "once more": _compare(layout.checkpoint_path(whole, nimg), layout.checkpoint_path(again, nimg)),
            "last record": {k: v for k, v in last.items() if isinstance(v, (int, float)) and "grad" not in k},
        }


def _start(*settings: str) -> subprocess.Popen[str]:
    command = [sys.executable, "train.py", *settings]
    print("$", *command, flush=True)
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _finish(process: "subprocess.Popen[str]", record: Record) -> None:
    started, limit = time.monotonic(), max(record.left, 1)
    try:
        text, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        raise RuntimeError(f"killed after {time.monotonic() - started:.0f} s") from None
    print(text[-4000:], flush=True)
    if process.returncode:
        raise RuntimeError(f"train.py ended with exit code {process.returncode}: {text[-300:]}")


def _compare(one: Path, other: Path) -> dict[str, Any]:
    """Whether two states are equal, and how far apart tensors are if not."""
    a, b = (flat(read_checkpoint(path).state) for path in (one, other))
    differing = []
    for key in sorted(a.keys() | b.keys()):
        x, y = a.get(key), b.get(key)
        if key == "/elapsed":
            continue
        if isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor):
            if not torch.equal(x, y):
                differing.append((key, float((x.double() - y.double()).norm() / y.double().norm().clamp(min=1e-30))))
        elif x != y:
            differing.append((key, float("inf")))
    worst = sorted(differing, key=lambda pair: -pair[1])[:8]
    return {"equal": not differing, "compared": len(a), "differing": len(differing), "worst_relative": worst}


if __name__ == "__main__":
    run(step)

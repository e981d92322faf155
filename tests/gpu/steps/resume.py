"""Step 6: train, stop and go on; are the bits those of an unbroken run, and those of the same run once more?"""

import importlib.util
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from stylegan import run_dir as layout
from stylegan.training.checkpoint import read_checkpoint
from tests.gpu.steps.record import Record, run
from tests.unit.test_checkpoint import flat

ROOT = Path(__file__).parents[3]
NEEDS = {"debug": 18.0, "demo": 36.0}  # seconds, by experiment
DEMO = ["experiment=demo", "data.count=400", "training.checkpoint_kimg=1", "training.snapshot_kimg=1"]
DEBUG = ["experiment=debug"]
BF16 = ["model.G.precision=bf16", "model.D.precision=bf16"]
REFERENCE = ["ops.backend=reference"]
# train.py, but cuDNN neither chooses algorithms by their time nor takes those that do not give the same bits each time
DETERMINISTIC = """
import stylegan.assemble, torch, train
def settings(*, tf32: bool = False) -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
assert stylegan.assemble.compute_exactly
stylegan.assemble.compute_exactly = settings
train.main()
"""


def step(record: Record) -> None:
    """`debug`, and what makes its bits differ where they do; then faces at 64 pixels."""
    missing = [name for name in ("hydra", "omegaconf", "antlr4") if importlib.util.find_spec(name) is None]
    if missing:
        record.put("skipped", {"skipped": f"train.py needs {', '.join(missing)}"})
        return
    record.attempt("debug", lambda: three_runs(record, DEBUG, 0.032))
    if record.tiny:
        return
    deterministic = lambda: three_runs(record, DEBUG, 0.032, deterministic=True)  # noqa: E731
    record.attempt("debug, cuDNN deterministic", deterministic, NEEDS["debug"])
    record.attempt("debug, reference ops", lambda: three_runs(record, [*DEBUG, *REFERENCE], 0.032), NEEDS["debug"])
    record.attempt("faces3d at 64 pixels", lambda: three_runs(record, DEMO, 0.6), NEEDS["demo"])
    record.attempt("the same in bf16", lambda: three_runs(record, [*DEMO, *BF16], 0.6), NEEDS["demo"])
    record.attempt("the same, reference ops", lambda: three_runs(record, [*DEMO, *REFERENCE], 0.6), NEEDS["demo"])


def three_runs(record: Record, settings: list[str], kimg: float, *, deterministic: bool = False) -> dict[str, Any]:
    """2N kimg at once, the same again, and N and N; all at a time."""
    settings = [*settings, f"device={record.device.type}", "data.workers=1"]
    with TemporaryDirectory() as folder, ExitStack() as stack:
        place = Path(folder)
        whole, again, parts = (place / name for name in ("whole", "again", "parts"))

        def start(*settings: str) -> Run:
            running = Run(settings, deterministic)
            stack.callback(running.kill)  # where another fails
            return running

        running = [start(*settings, f"run_dir={d}", f"training.kimg={2 * kimg}") for d in (whole, again)]
        start(*settings, f"run_dir={parts}", f"training.kimg={kimg}").finish(record.left)
        for one in [start(f"run_dir={parts}", f"training.kimg={2 * kimg}"), *running]:
            one.finish(record.left)
        nimg = round(2000 * kimg)
        last = layout.read_stats(whole)[-1]
        return {
            "stop and go on": _compare(layout.checkpoint_path(whole, nimg), layout.checkpoint_path(parts, nimg)),
            "once more": _compare(layout.checkpoint_path(whole, nimg), layout.checkpoint_path(again, nimg)),
            "last record": {k: v for k, v in last.items() if isinstance(v, (int, float)) and "grad" not in k},
        }


@dataclass
class Run:
    """train.py in a process of its own, begun at once."""

    settings: tuple[str, ...]
    deterministic: bool = False

    def __post_init__(self) -> None:
        program = ["-c", DETERMINISTIC] if self.deterministic else ["train.py"]
        print("$ train.py", *self.settings, flush=True)
        self._process = subprocess.Popen(
            [sys.executable, *program, *self.settings],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, limit: float) -> None:
        """Wait for its end.

        Raises:
            RuntimeError: It took longer than `limit` seconds, or failed.
        """
        started = time.monotonic()
        try:
            text, _ = self._process.communicate(timeout=max(limit, 1))
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"killed after {time.monotonic() - started:.0f} s") from None
        print(text[-4000:], flush=True)
        if self._process.returncode:
            raise RuntimeError(f"train.py ended with exit code {self._process.returncode}: {text[-300:]}")

    def kill(self) -> None:
        """End it, if it has not."""
        self._process.kill()


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

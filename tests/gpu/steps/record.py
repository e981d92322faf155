"""What every step of the day shares: its options, a record on disk that outlives it, and a clock for the device."""

import argparse
import gc
import json
import shlex
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from stylegan.files import atomic_write

RESERVE = 0.1  # share of a step's time in which it starts nothing new


@dataclass
class Record:
    """Results of one step by name, written to disk after each: what a killed step had found is not lost.

    Attributes:
        path: The JSON file.
        device: Where to compute.
        tiny: Whether sizes are those of a test on a CPU.
        seconds: The step's time limit.
        results: By name; errors as {"error": text}.
    """

    path: Path
    device: torch.device
    tiny: bool
    seconds: float
    results: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds in which something new may be started."""
        return self.seconds * (1 - RESERVE) - (time.monotonic() - self.started)

    def put(self, name: str, value: Any) -> None:
        """Note a result, and print it."""
        self.results[name] = value
        self._write(self.results)
        print(f"{time.monotonic() - self.started:.1f} s: {name}: {json.dumps(value)[:600]}", flush=True)

    def _write(self, results: dict[str, Any]) -> None:
        atomic_write(self.path, json.dumps(results, indent=1) + "\n")

    def attempt(self, name: str, measure: Callable[[], Any], needs: float = 0.0) -> None:
        """Note what `measure` returns, or its error; not at all where fewer than the seconds that it needs are left."""
        if self.left <= needs:
            self.put(name, {"skipped": "no time left"})
            return
        self._write({**self.results, name: {"unfinished": "killed while it ran"}})
        try:
            value = measure()
        except Exception as error:  # one failure must not cost the other measurements
            traceback.print_exc()
            value = {"error": f"{type(error).__name__}: {error}"[:500]}
        self.put(name, value)

    def median(self, call: Callable[[], object], *, budget: float = 0.3, most: int = 30, warm_up: int = 2) -> float:
        """Median seconds of a call, after some to warm up, in about `budget` seconds and at least three repetitions."""
        if self.tiny:
            return seconds(self.device, call)
        for _ in range(warm_up):
            call()
        synchronize(self.device)
        once = seconds(self.device, call)
        repeats = min(most, max(3, int(budget / max(once, 1e-6))))
        return statistics.median(seconds(self.device, call) for _ in range(repeats))

    @property
    def failed(self) -> list[str]:
        """Names of the results that are errors."""
        return [name for name, value in self.results.items() if isinstance(value, dict) and "error" in value]


def run(step: Callable[[Record], None]) -> None:
    """What each step's file does as a program; exit code 1 where a result is an error."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--result", type=Path, required=True)
    options = parser.parse_args()
    record = Record(options.result, torch.device(options.device), options.tiny, options.seconds)
    print("$", shlex.join(sys.argv), flush=True)
    step(record)
    if record.failed:
        print("failed:", ", ".join(record.failed))
        raise SystemExit(1)


def synchronize(device: torch.device) -> None:
    """Wait for all that the device has to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(device: torch.device, call: Callable[[], object]) -> float:
    """Of one call, by the device's own clock."""
    if device.type != "cuda":
        started = time.perf_counter()
        call()
        return time.perf_counter() - started
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


@contextmanager
def torch_settings(*, tf32: bool = False, benchmark: bool = False, deterministic: bool = False) -> Iterator[None]:
    """torch's switches inside of the body, those of cuDNN among them; without TF32, which torch has on for convolutions."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    wanted: list[tuple[Any, str, bool]] = [
        (cudnn, "allow_tf32", tf32),
        (matmul, "allow_tf32", tf32),
        (cudnn, "benchmark", benchmark),
        (cudnn, "deterministic", deterministic),
    ]
    before = [(place, name, getattr(place, name)) for place, name, _ in wanted]
    for place, name, value in wanted:
        setattr(place, name, value)
    try:
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)


def free_memory(device: torch.device) -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()

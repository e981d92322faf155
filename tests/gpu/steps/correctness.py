"""Step 2: the tests of kernels, gradients and golden files on the device, and compute-sanitizer on one call per kernel."""

import shutil
import subprocess
import sys
import time
from importlib.util import find_spec

from tests.gpu.steps.record import Record, run

SUITES = {
    "kernels and gradients": ["tests/gpu/test_gpu.py"],
    "iterations, eager and captured": ["tests/gpu/test_iterations.py"],
    "golden files": ["tests/gpu/test_golden.py"],
}
TINY = {"kernels and gradients": ["tests/gpu/test_gpu.py::test_another_stream"]}  # skipped without a GPU
PYTEST = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short"]
FOUND = 86  # exit code for what compute-sanitizer finds


def step(record: Record) -> None:
    """All at once: they are about results, not time."""
    suites = TINY if record.tiny else SUITES
    parallel = ["-n", "5"] if find_spec("xdist") and not record.tiny else []
    commands = {name: [sys.executable, *PYTEST, *parallel, *arguments] for name, arguments in suites.items()}
    sanitizer = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    small = [sys.executable, "-m", "tests.gpu.sanitized", record.device.type]
    if record.device.type == "cpu":
        commands["memcheck"] = small
    elif sanitizer is None:
        record.put("memcheck", {"skipped": "no compute-sanitizer"})
    else:
        commands["memcheck"] = [sanitizer, "--tool", "memcheck", "--error-exitcode", str(FOUND), *small]
    started = time.monotonic()
    logs = {name: record.path.with_suffix(f".{name.replace(' ', '-')}.log") for name in commands}
    running = {}
    for name, command in commands.items():
        with logs[name].open("w") as log:
            running[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    while running and record.left > 0:
        for name, process in list(running.items()):
            if process.poll() is not None:
                del running[name]
                _note(record, name, logs[name].read_text(), process.returncode, time.monotonic() - started)
        time.sleep(0.2)
    for name, process in running.items():
        process.kill()
        process.wait()
        _note(record, name, logs[name].read_text(), None, time.monotonic() - started)


def _note(record: Record, name: str, text: str, code: int | None, seconds: float) -> None:
    print(f"--- {name}\n{text}")
    found = {"last line": (text.strip().splitlines() or [""])[-1], "seconds": round(seconds, 1)}
    failed = [line[:300] for line in text.splitlines() if line.startswith(("FAILED", "ERROR", "========= Invalid"))]
    if code != 0:
        found["error"] = "killed for time" if code is None else f"exit code {code}"
    record.put(name, {**found, "failed": failed[:40]} if failed else found)


if __name__ == "__main__":
    run(step)

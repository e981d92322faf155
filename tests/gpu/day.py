"""The first hour on a GPU as one command: `python -m tests.gpu.day [--minutes 8] [--steps 1,4:20] [--out DIR]`.

Seven steps, the cheapest and most important first, each in a process of its own with a log in DIR and a share of the time; what
a step leaves over goes to those after it, what runs past its share is killed and said to be. DIR/day.json collects the results
of all calls. A short table comes last.
"""

import argparse
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stylegan.files import atomic_write

ROOT = Path(__file__).parents[2]
GRACE = 3.0  # seconds between asking a step to end and killing it
LONGEST_TABLE = 11500  # characters


@dataclass(frozen=True)
class Step:
    """One part of the day.

    Attributes:
        module: In tests/gpu/steps.
        title: For people.
        share: Of the time, in proportion to the others'; about the seconds that it takes on an H200.
    """

    module: str
    title: str
    share: float


STEPS = {
    1: Step("build", "the ops compile", 45),
    2: Step("correctness", "kernels, gradients, golden files, memcheck", 50),
    3: Step("syncs", "waits for the host, kernels of an iteration", 30),
    4: Step("speed_of_ops", "ops against torch's and the device's peaks", 60),
    5: Step("speed_of_training", "an iteration: s/kimg and memory", 130),
    6: Step("resume", "stop, go on, compare bits", 60),
    7: Step("speed_of_use", "sampling and evaluation", 35),
}


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; 1 where a step failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=8.0, help="for all steps together")
    parser.add_argument(
        "--steps", default=",".join(map(str, STEPS)), help="numbers, with commas; 4:20 gives step 4 at most 20 s"
    )
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu"), help="folder of logs and day.json")
    parser.add_argument("--commit", default=checked_out(), help="what is run, to be noted with the results")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes of a test on a CPU")
    options = parser.parse_args(arguments)
    wanted = [_asked(text) for text in options.steps.split(",") if text]
    unknown = [number for number, _ in wanted if number not in STEPS]
    if unknown:
        parser.error(f"there are no steps {unknown}; choose from {sorted(STEPS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    collected = options.out / "day.json"
    runs: list[dict[str, Any]] = json.loads(collected.read_text())["runs"] if collected.exists() else []
    machine = describe_machine()
    end = time.monotonic() + 60 * options.minutes
    made = []
    for position, (number, most) in enumerate(wanted):
        shares = [min(STEPS[later].share, at_most) for later, at_most in wanted[position:]]
        limit = min(max((end - time.monotonic()) * shares[0] / sum(shares), 1.0), most)
        about = {"step": number, "commit": options.commit, "machine": machine}
        made.append({**about, **run_step(STEPS[number], options, limit)})
        atomic_write(collected, json.dumps({"runs": [*runs, *made]}, indent=1) + "\n")
        print(f"step {number}: {made[-1]['status']} after {made[-1]['seconds']:.0f} s", flush=True)
    print(table(made, machine)[-LONGEST_TABLE:])
    return int(any(run["status"] not in ("done", "skipped") for run in made))


def _asked(text: str) -> tuple[int, float]:
    """A step's number and the most seconds for it."""
    number, _, most = text.partition(":")
    return int(number), float(most or "inf")


def checked_out() -> str | None:
    """The commit of this working tree; None where it is no checkout."""
    asked = ["git", "rev-parse", "HEAD"]
    try:
        return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def describe_machine() -> dict[str, Any]:
    """What the numbers belong to; asked in a process of its own, for a driver may crash."""
    code = (
        "import json, torch; cuda = torch.cuda.is_available(); p = torch.cuda.get_device_properties(0) if cuda else None\n"
        "print(json.dumps({'torch': torch.__version__, 'cuda': torch.version.cuda, 'cudnn': torch.backends.cudnn.version(),"
        " 'card': p.name if p else None, 'capability': f'{p.major}.{p.minor}' if p else None,"
        " 'multiprocessors': p.multi_processor_count if p else None,"
        " 'free_gb': round(torch.cuda.mem_get_info()[0] / 1e9, 1) if p else None}))"
    )
    asked = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    found = json.loads(asked.stdout) if asked.returncode == 0 else {"error": asked.stderr[-500:]}
    try:
        driver = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True, text=True, check=False, timeout=30,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        driver = ""
    return {**found, "driver": driver or None, "python": platform.python_version(), "cpus": os.cpu_count()}


def run_step(step: Step, options: argparse.Namespace, limit: float) -> dict[str, Any]:
    """Run one step; its status is done, failed, killed or skipped, and its results are what it wrote until then."""
    log = (options.out / f"{step.module}.log").resolve()
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", f"tests.gpu.steps.{step.module}", "--device", options.device]
        command += ["--seconds", f"{limit:.0f}", "--result", str(result), *["--tiny"] * options.tiny]
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
        started = time.monotonic()
        with log.open("w") as out:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end(process)
        results = json.loads(result.read_text()) if result.exists() else {}
    status = "killed" if code is None else "failed" if code else "skipped" if [*results] == ["skipped"] else "done"
    ended = {"status": status, "seconds": round(time.monotonic() - started, 1), "limit": round(limit)}
    last_lines = [line[:400] for line in log.read_text(errors="replace").splitlines()[-25:]]
    return {**ended, "command": shlex.join(command), "results": results, **({"log": last_lines} if code != 0 else {})}


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a step and all that it started, which shares its process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            continue


def table(runs: list[dict[str, Any]], machine: dict[str, Any]) -> str:
    """What a person wants to see of this call's steps; long lists come first, where they may be cut off."""
    lines = []
    for run in sorted(runs, key=lambda run: -len(run["results"])):
        step = STEPS[run["step"]]
        lines += ["", f"step {run['step']} {step.title}: {run['status']}, {run['seconds']:.0f} of {run['limit']} s"]
        ratios = {name: value for name, value in run["results"].items() if isinstance(value, dict) and "ratio" in value}
        lines += _ratios(ratios)
        lines += [f"  {name}: {_short(value)}" for name, value in run["results"].items() if name not in ratios]
    lines += ["", f"machine: {json.dumps(machine)}"]
    for run in runs:
        if run["status"] in ("failed", "killed"):
            lines += ["", f"last lines of step {run['step']}:", *(f"  {line[:200]}" for line in run["log"][-12:])]
    return "\n".join(lines)


def _ratios(results: dict[str, dict[str, float]]) -> list[str]:
    """A line an op: milliseconds, how many times as long the reference takes, per cent of bandwidth, for each dtype."""
    rows: dict[str, list[str]] = {}
    for name, value in results.items():
        op, dtype = name.rsplit(" ", 1)
        share = f" {value['of_bandwidth']:.0%}" if "of_bandwidth" in value else ""
        kind = dtype.replace("float", "f")
        rows.setdefault(op, []).append(f"{kind} {value['ms']:.3g} x{value['ratio']:.2g}{share}")
    return [f"  {op}: {'; '.join(cells)}" for op, cells in rows.items()]


def _short(value: Any) -> str:
    """A result in one line: without its lists, which day.json keeps."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not isinstance(v, list) and k not in ("published", "gb")}
        if "failed" in value:
            kept["failed"] = len(value["failed"])
        value = kept
    return json.dumps(value).replace('"', "")[:260]


if __name__ == "__main__":
    raise SystemExit(main())

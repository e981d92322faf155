"""What is kept of days on GPUs: `python -m tests.gpu.keep tests/gpu/results/CARD.json DAY.json ... [--commit C]`.

Adds the runs of day.json files to a card's file, without logs and commands, each result on a line of its own.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from stylegan.files import atomic_write
from tests.gpu.day import STEPS

KERNELS = 10  # of the longest


def main(arguments: list[str] | None = None) -> None:
    """Read, shorten, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kept", type=Path)
    parser.add_argument("days", type=Path, nargs="+")
    parser.add_argument("--commit", help="what was run, whatever a day says: a branch, or nothing")
    options = parser.parse_args(arguments)
    runs = json.loads(options.kept.read_text())["runs"] if options.kept.exists() else []
    for path in options.days:
        runs += [shortened(run, options.commit) for run in json.loads(path.read_text())["runs"]]
    options.kept.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(options.kept, written(runs))


def shortened(run: dict[str, Any], commit: str | None) -> dict[str, Any]:
    """A step's run with what a reader can use."""
    machine = {k: v for k, v in run["machine"].items() if k not in ("free_gb", "capability")}
    kept = {"step": run["step"], "title": STEPS[run["step"]].title, "commit": commit or run.get("commit")}
    kept |= {name: run[name] for name in ("status", "seconds", "limit")}
    return {**kept, "machine": machine, "results": {k: _rounded(v) for k, v in run["results"].items()}}


def _rounded(value: Any) -> Any:
    """Four digits of each number, the first of a list, and of the files' logs nothing."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items() if k not in ("published", "last record")}
    return [_rounded(v) for v in value[:KERNELS]] if isinstance(value, list) else value


def written(runs: list[dict[str, Any]]) -> str:
    """JSON that is read and compared by lines."""
    texts = []
    for run in runs:
        head = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in run.items() if k != "results"]
        results = [f"   {json.dumps(k)}: {json.dumps(v)}" for k, v in run["results"].items()]
        body = ",\n".join(results)
        texts.append("  {" + ",\n   ".join([*head, f'"results": {{\n{body}\n  }}']) + "}")
    return '{"runs": [\n' + ",\n".join(texts) + "\n]}\n"


if __name__ == "__main__":
    main()

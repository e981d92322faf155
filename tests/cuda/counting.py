"""What the kernels cost, in PTX: the numbers of counts.json.

`python -m tests.cuda.counting REASON` measures anew and writes the file; a number that rises is given the reason.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from stylegan.ops._build import nvcc
from tests.cuda.calls import counted_calls
from tests.cuda.nvcc import CI_ARCHITECTURE, ptx
from tests.cuda.ptx.parse import parse
from tests.cuda.ptx.recorded import launches, run
from tests.cuda.record import counted
from tests.cuda.record import main as record

FILE = Path(__file__).parent / "counts.json"
WARP = 32


def nvcc_version() -> str:
    """Such as `13.0.88`: another compiler writes other PTX."""
    text = subprocess.run([str(nvcc()), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"V(\d+\.\d+\.\d+)", text)
    return found[1] if found else "unknown"


def measure(folder: Path) -> dict[str, dict[str, float]]:
    """Cost of every counted call, per element of its first result.

    Args:
        folder: Where the recordings are.

    Returns:
        By call: `instructions` (warp instructions x 32), `bytes` (distinct sectors, at least to be moved), `sectors` (asked
        for by warps) and `wavefronts` (passes of shared memory, x 32).
    """
    costs = {}
    for i, (name, call) in enumerate(counted_calls().items()):
        source = name.split(" ")[0].removesuffix("_grad")
        listed = list(launches(counted(folder, i)))
        compiled = parse(ptx(source).read_text(), {launch.kernel for launch in listed})
        counts = [run(launch, compiled[launch.kernel])[0] for launch in listed]
        outputs = call.reference()[0].numel()
        costs[name] = {
            "instructions": round(sum(c.instructions for c in counts) * WARP / outputs, 2),
            "bytes": round(sum(c.bytes_moved for c in counts) / outputs, 2),
            "sectors": round(sum(c.sectors for c in counts) / outputs, 3),
            "wavefronts": round(sum(c.wavefronts for c in counts) * WARP / outputs, 2),
        }
    return costs


def main(reason: str) -> None:
    """Measure, and write the file."""
    known = json.loads(FILE.read_text())["calls"] if FILE.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        record(Path(folder), thorough=False)
        costs: dict[str, Any] = measure(Path(folder))
    for name, cost in costs.items():
        before = known.get(name, {})
        rises = [key for key, value in cost.items() if value > before.get(key, value)]
        if rises or "reason" in before:
            cost["reason"] = f"{', '.join(rises)}: {reason}" if rises else before["reason"]
    about = "Per output element, float16; see tests/cuda/counting.py. Counts of PTX are no evidence of speed."
    content = {"about": about, "nvcc": nvcc_version(), "architecture": f"sm_{CI_ARCHITECTURE}", "calls": costs}
    FILE.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m tests.cuda.counting REASON")
    main(sys.argv[1])

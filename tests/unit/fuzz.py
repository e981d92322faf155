"""All fuzzers, one after another: `python -m tests.unit.fuzz --count 100000 --seed 1`, about an hour on one core.

Each is a process of its own, in which it tries its share of the cases; those whose cases take longer get fewer. One line a
fuzzer says what came of it, and the exit code is 1 where any case failed. Many cases write small files: TMPDIR may name a
folder in memory, such as /dev/shm.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

SHARES = {
    "pickles": 0.42,
    "networks": 0.25,
    "latents": 0.05,
    "archives": 0.08,
    "command_lines": 0.07,
    "checkpoints": 0.05,
    "runs": 0.05,
    "uploads": 0.02,
    "requests": 0.01,
}


def main() -> int:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="cases of all fuzzers together")
    parser.add_argument("--seed", type=int, default=0, help="another number, other cases")
    options = parser.parse_args()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    failed = 0
    for name, share in SHARES.items():
        count, start = round(options.count * share), time.monotonic()
        command = [sys.executable, "-W", "ignore", "-m", f"tests.unit.fuzz_{name}"]
        command += ["--count", str(count), "--seed", str(options.seed)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        failed += done.returncode != 0
        print(f"{name}: {count} cases in {time.monotonic() - start:.0f} s: {done.stdout.strip()}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Step 1: compile the ops for the visible architecture, both libraries at once."""

import subprocess
import sys
import time

from tests.gpu.steps.record import Record, run


def step(record: Record) -> None:
    """Each library in a process of its own, which also loads it."""
    started = time.monotonic()
    kinds = ["cpu"] if record.device.type == "cpu" else ["cuda", "cpu"]
    code = "import sys; from stylegan.ops.backend import load; print(load(sys.argv[1]))"
    building = {
        kind: subprocess.Popen(
            [sys.executable, "-c", code, kind], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for kind in kinds
    }
    for kind, process in building.items():
        text, _ = process.communicate()
        print(text)
        took = {"seconds": round(time.monotonic() - started, 1)}
        record.put(kind, took if process.returncode == 0 else {"error": text[-1500:], **took})


if __name__ == "__main__":
    run(step)

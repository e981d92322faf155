"""Record the launches of `calls.py` to files: a program of its own, since it replaces torch's allocator.

`python -m tests.cuda.record FOLDER [--thorough]` writes FOLDER/{bias_act,...}-{dtype}-{format}.launches.
"""

import sys
from pathlib import Path

import torch

from tests.cuda.building import KERNELS
from tests.cuda.calls import calls, counted_calls
from tests.cuda.emulated import emulated_ops, recording, track_allocations

DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32, "f64": torch.float64}


def recorded(folder: Path, kernel: str, dtype: str, nhwc: bool) -> Path:
    """The file of one kind of calls."""
    return folder / f"{kernel}-{dtype}-{'nhwc' if nhwc else 'nchw'}.launches"


def counted(folder: Path, index: int) -> Path:
    """The file of one of `counted_calls`."""
    return folder / f"count{index}.launch"


def main(folder: Path, thorough: bool) -> None:
    """Write all files."""
    torch.set_num_threads(1)
    track_allocations()
    with emulated_ops():
        for name, dtype in DTYPES.items():
            for nhwc in (False, True):
                listed = list(calls(dtype, nhwc, thorough))
                for kernel in KERNELS:
                    with recording(recorded(folder, kernel, name, nhwc)):
                        for call in listed:
                            if call.name.startswith(kernel):
                                call.run()
        for i, call in enumerate(counted_calls().values()):
            with recording(counted(folder, i)):
                call.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--thorough" in sys.argv)

"""Mistakes that are easily made in a kernel, each planted in a copy of the sources: the test of the tests."""

from dataclasses import dataclass
from pathlib import Path

from stylegan.ops.libraries import CSRC

KERNEL = "filtered_lrelu"  # has barriers, shared memory, and writes that only one of several blocks may make


@dataclass(frozen=True)
class Fault:
    """One mistake.

    Attributes:
        file: Where it is made.
        right: Text that occurs once there.
        wrong: What takes its place.
        caught: Which replay notices (a key of `SANITIZERS`), and a part of what it says then.
        ptx: A part of what the PTX interpreter says.
    """

    file: str
    right: str
    wrong: str
    caught: dict[str, str]
    ptx: str


FAULTS = {
    "missing barrier after writing": Fault(
        "filtered_lrelu.cu",
        "in_x + i % S::IN_W);\n    __syncthreads();",
        "in_x + i % S::IN_W);",
        {"tsan": "data race"},
        "race for shared memory",
    ),
    "missing barrier before writing again": Fault(
        "filtered_lrelu.cu",
        "S::GRID_W / S::STRIP_UP);\n    __syncthreads();",
        "S::GRID_W / S::STRIP_UP);",
        {"tsan": "data race"},
        "race for shared memory",
    ),
    "shared memory too small": Fault(
        "filtered_lrelu.cu",
        "SHARED_ARRAY(A, second, [S::SECOND]);",
        "SHARED_ARRAY(A, second, [S::SECOND - S::GRID_W]);",
        {"asan": "heap-buffer-overflow"},
        "",
    ),
    "one pixel past the image": Fault(
        "filtered_lrelu.cu",
        "static_cast<unsigned>(column) < static_cast<unsigned>(p.in_w);",
        "static_cast<unsigned>(column) <= static_cast<unsigned>(p.in_w);",
        {"asan": "heap-buffer-overflow"},
        "out of bounds",
    ),
    "padding not set to zero": Fault(
        "filtered_lrelu.cu",
        "first[i] = input(p, in_y + i / S::IN_W, in_x + i % S::IN_W);",
        "if (in_x + i % S::IN_W >= 0) first[i] = input(p, in_y + i / S::IN_W, in_x + i % S::IN_W);",
        {"asan": "MISMATCH"},
        "never written",
    ),
    "two blocks write the same codes": Fault(
        "filtered_lrelu.cu",
        "activate(p, codes, owned, grid_y + row + j, grid_x + column, u[j]);",
        "activate(p, codes, true, grid_y + row + j, grid_x + column, u[j]);",
        {"tsan": "data race"},
        "blocks race for global memory",
    ),
    "threads leave before a barrier": Fault(
        "filtered_lrelu.cu",
        "    const LreluInput<T> input(p, t);\n    for (int i = threadIdx.x; i < S::IN_H",
        "    if (t.x + static_cast<int>(threadIdx.x) % 32 >= p.out_w) return;\n"
        "    const LreluInput<T> input(p, t);\n    for (int i = threadIdx.x; i < S::IN_H",
        {"asan": "divergent barrier"},
        "divergent barrier",
    ),
    "misaligned vectors": Fault(
        "fir_tile.cuh",
        "load<4>(in + (group * STEP + r) * pitch + column, v);",
        "load<4>(in + (group * STEP + r) * pitch + column + 1, v);",
        {"asan": "misaligned address"},
        "misaligned access",
    ),
}


def plant(fault: Fault, folder: Path) -> Path:
    """Copy the CUDA sources to a folder, with the mistake in them."""
    folder.mkdir()
    for path in [*CSRC.glob("*.cu"), *CSRC.glob("*.cuh"), *CSRC.glob("*.h")]:
        text = path.read_text()
        if path.name == fault.file:
            assert text.count(fault.right) == 1, f"{fault.right!r} must occur once in {fault.file}"
            text = text.replace(fault.right, fault.wrong)
        (folder / path.name).write_text(text)
    return folder

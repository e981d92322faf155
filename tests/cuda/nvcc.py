"""What nvcc and ptxas make of the kernels: PTX for the interpreter, registers, shared memory, spills, occupancy.

`python -m tests.cuda.nvcc` compiles for all architectures and prints the table of RESOURCES.md.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stylegan.ops._build import cache_root, compiler, cuda_home, nvcc
from stylegan.ops.libraries import CSRC
from tests.cuda.building import KERNELS

ARCHITECTURES = ("75", "80", "86", "89", "90", "100", "120")
CI_ARCHITECTURE = "90"
# As libraries.cuda_library: what is checked must be what is built.
FLAGS = ("-std=c++17", "-O3")
WORKERS = 2


@dataclass(frozen=True)
class Resources:
    """What ptxas reports of one kernel on one architecture; sizes in bytes."""

    kernel: str
    architecture: str
    threads: int
    registers: int
    shared: int
    stack: int
    spill_stores: int
    spill_loads: int

    @property
    def spills(self) -> bool:
        """Whether anything lives in local memory."""
        return bool(self.stack or self.spill_stores or self.spill_loads)


@cache
def _version() -> str:
    return subprocess.run([str(nvcc()), "--version"], capture_output=True, text=True, check=True).stdout


def ptx(name: str, architecture: str = CI_ARCHITECTURE, flags: Sequence[str] = (), csrc: Path = CSRC) -> Path:
    """The PTX of one source, compiled unless the cache holds it.

    Args:
        name: Of the `.cu` file, without its ending.
        architecture: Such as `90`.
        flags: More flags for nvcc.
        csrc: The folder that it is in; a test of faults has a copy.

    Raises:
        RuntimeError: nvcc refuses the source.
    """
    digest = hashlib.sha256(repr((_version(), architecture, FLAGS, tuple(flags))).encode())
    for path in sorted([*csrc.glob("*.cu"), *csrc.glob("*.cuh"), *csrc.glob("*.h")]):
        digest.update(path.read_bytes())
    target = cache_root() / "ptx" / f"{name}-{architecture}-{digest.hexdigest()[:24]}.ptx"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as aside:
            made = Path(aside) / "made.ptx"
            command = [str(nvcc()), *FLAGS, *flags, f"-arch=compute_{architecture}", "-ptx", str(csrc / f"{name}.cu")]
            _checked([*command, "-o", str(made)])
            made.replace(target)
    return target


def resources(path: Path, architecture: str) -> Iterator[Resources]:
    """Let ptxas assemble a PTX file, and parse what it says of every kernel.

    Raises:
        RuntimeError: ptxas refuses the file.
    """
    threads = dict(re.findall(r"\.entry (\w+)\([^{]*?\.maxntid (\d+)", path.read_text(), re.S))
    with tempfile.TemporaryDirectory() as aside:
        command = [str(cuda_home() / "bin" / "ptxas"), "-v", f"-arch=sm_{architecture}", str(path)]
        report = _checked([*command, "-o", f"{aside}/made.cubin"])
    entry = re.compile(
        r"entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
        r".*?Used (\d+) registers([^\n]*)",
        re.S,
    )
    for kernel, stack, stores, loads, registers, rest in entry.findall(report):
        shared = re.search(r"(\d+) bytes smem", rest)
        numbers = int(registers), int(shared[1]) if shared else 0, int(stack), int(stores), int(loads)
        yield Resources(kernel, architecture, int(threads[kernel]), *numbers)


def all_resources(architectures: Iterable[str]) -> list[Resources]:
    """Every kernel on every one of the architectures."""
    jobs = [(name, architecture) for architecture in architectures for name in KERNELS]
    with ThreadPoolExecutor(WORKERS) as pool:
        done = pool.map(lambda job: list(resources(ptx(*job), job[1])), jobs)
        return [row for rows in done for row in rows]


def occupancy(rows: Sequence[Resources]) -> list[float]:
    """Theoretical occupancy in percent: warps that fit on a multiprocessor at once, of those that it has room for.

    NVIDIA's own header computes it, on the host.
    """
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "occupancy"
        source = Path(__file__).parent / "occupancy.cpp"
        _checked([*compiler(), "-std=c++17", f"-I{cuda_home() / 'include'}", str(source), "-o", str(program)])
        lines = "".join(f"{r.architecture} {r.registers} {r.shared} {r.threads}\n" for r in rows)
        result = subprocess.run([str(program)], input=lines, capture_output=True, text=True, check=True)
    return [float(line) for line in result.stdout.split()]


def demangled(names: Sequence[str]) -> list[str]:
    """Readable names: without namespace and parameters."""
    program = shutil.which("c++filt") or "c++filt"
    result = subprocess.run([program], input="\n".join(names), capture_output=True, text=True, check=True)
    shorter = {"void ": "", "stylegan::": "", "__nv_bfloat16": "bf16", "__half": "f16"}
    # A template ends with ">" before its parameters.
    signatures = [line.partition(">(" if ">(" in line else "(") for line in result.stdout.splitlines()]
    names = [re.sub(r"\(\w+\)", "", name + end.removesuffix("(")) for name, end, _ in signatures]
    return [re.sub("|".join(shorter), lambda m: shorter[m[0]], name) for name in names]


def table(rows: Sequence[Resources]) -> str:
    """Markdown: one line per kernel, registers and occupancy on every architecture."""
    architectures = sorted({row.architecture for row in rows}, key=int)
    percent = dict(zip(((r.kernel, r.architecture) for r in rows), occupancy(rows), strict=True))
    by_kernel = {
        name: {r.architecture: r for r in rows if r.kernel == name} for name in dict.fromkeys(r.kernel for r in rows)
    }
    lines = ["| kernel | threads | shared | " + " | ".join(f"sm_{a}" for a in architectures) + " |"]
    lines.append("|---|---|---|" + "---|" * len(architectures))
    for name, readable in zip(by_kernel, demangled(list(by_kernel)), strict=True):
        found = by_kernel[name]
        cells = [f"{found[a].registers} / {percent[name, a]:.0f} %" for a in architectures]
        one = next(iter(found.values()))
        lines.append(f"| `{readable}` | {one.threads} | {one.shared} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _checked(command: Sequence[str]) -> str:
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stdout}")
    return result.stdout


def main() -> None:
    """Print the table for all architectures, or those named on the command line."""
    rows = all_resources(sys.argv[1:] or ARCHITECTURES)
    for row in rows:
        if row.spills:
            raise SystemExit(f"{row.kernel} uses local memory on sm_{row.architecture}: {row}")
    print(table(rows), end="")


if __name__ == "__main__":
    main()

"""Recorded launches run again in a program of their own, plain or under a sanitizer."""

import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from stylegan.ops._build import compiler
from stylegan.ops.libraries import CSRC
from tests.cuda.building import EMULATOR, HOST_FLAGS, KERNELS

SANITIZERS = {
    "plain": (),
    "asan": ("-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"),
    "tsan": ("-fsanitize=thread",),
}
# A race is found or not whatever the program does next; an error must not be answered by more of them.
ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
    "TSAN_OPTIONS": "halt_on_error=1",
    "UBSAN_OPTIONS": "print_stacktrace=0",
}


@dataclass(frozen=True)
class Outcome:
    """How a replay ended: exit code and all that it printed."""

    code: int
    text: str

    @property
    def passed(self) -> bool:
        """Every launch ran, and left every byte as recorded."""
        return self.code == 0


def build_replay(
    folder: Path, sanitizer: str, kernels: Sequence[str] = KERNELS, csrc: Path = CSRC, flags: Sequence[str] = ()
) -> Path:
    """Compile replay.cpp with some of the kernels.

    Args:
        folder: Where the program goes.
        sanitizer: A key of `SANITIZERS`.
        kernels: `.cu` files without their ending.
        csrc: The folder that they are in; a test of faults has a copy.
        flags: More compiler flags.

    Raises:
        RuntimeError: The compiler refuses a source.
    """
    common = [
        *compiler(),
        *HOST_FLAGS,
        "-O1",
        "-g1",
        "-w",
        *SANITIZERS[sanitizer],
        *flags,
        f"-I{EMULATOR}",
        f"-I{csrc}",
    ]
    objects = {
        f"{folder}/{sanitizer}-{name}.o": [f'-DSTYLEGAN_KERNEL="{name}.cu"', str(EMULATOR / "kernel.cpp")]
        for name in kernels
    }
    objects[f"{folder}/{sanitizer}-replay.o"] = [str(EMULATOR / "replay.cpp")]
    with ThreadPoolExecutor(2) as pool:
        commands = [[*common, "-c", *arguments, "-o", target] for target, arguments in objects.items()]
        for result in pool.map(lambda c: subprocess.run(c, capture_output=True, text=True, check=False), commands):
            if result.returncode != 0:
                raise RuntimeError(result.stderr)
    program = folder / f"replay-{sanitizer}"
    # The names of the kernels must be found at run time.
    link = [*compiler(), *SANITIZERS[sanitizer], "-rdynamic", *objects, "-ldl", "-o", str(program)]
    subprocess.run(link, check=True, capture_output=True)
    return program


def replay(program: Path, recorded: Path, **environment: str) -> Outcome:
    """Run all launches of a recording; `environment` adds variables such as EMULATION_ORDER."""
    result = subprocess.run(
        [str(program), str(recorded)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, **ENVIRONMENT, **environment},
    )
    return Outcome(result.returncode, result.stdout)

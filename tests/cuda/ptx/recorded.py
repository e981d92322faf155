"""Launches that `recording.h` wrote, run as PTX."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.cuda.ptx.counts import Counts
from tests.cuda.ptx.machine import Machine
from tests.cuda.ptx.memory import GlobalMemory
from tests.cuda.ptx.parse import Kernel


@dataclass(frozen=True)
class Buffer:
    """A pointer among the parameters, and what its allocation held before and after the launch."""

    offset: int
    allocation: int
    inner: int
    before: bytes
    after: bytes


@dataclass(frozen=True)
class Launch:
    """One recorded launch."""

    kernel: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    parameters: bytes
    buffers: tuple[Buffer, ...]


def launches(path: Path) -> Iterator[Launch]:
    """All launches of a recording."""
    with path.open("rb") as file:
        while line := file.readline():
            _, name, *numbers = line.decode().split()
            gx, gy, gz, bx, by, bz, _, size, count = map(int, numbers)
            parameters = file.read(size)
            buffers = []
            for _ in range(count):
                offset, allocation, inner, length = map(int, file.readline().split()[1:])
                buffers.append(Buffer(offset, allocation, inner, file.read(length), file.read(length)))
            yield Launch(name, (gx, gy, gz), (bx, by, bz), parameters, tuple(buffers))


def run(launch: Launch, kernel: Kernel) -> tuple[Counts, list[tuple[np.ndarray, np.ndarray]]]:
    """Run a launch; returns its cost, and per allocation the bytes that it left and those recorded.

    Raises:
        PtxError: The kernel does what it must not.
    """
    content: dict[int, Buffer] = {}
    for buffer in launch.buffers:
        content.setdefault(buffer.allocation, buffer)
    memory = GlobalMemory([content[i].before for i in range(len(content))])
    parameters = bytearray(launch.parameters)
    for buffer in launch.buffers:
        address = memory.begins[buffer.allocation] + buffer.inner
        parameters[buffer.offset : buffer.offset + 8] = address.to_bytes(8, "little")
    counts = Machine(kernel, memory, launch.grid, launch.block, bytes(parameters[: kernel.parameter_bytes])).run()
    results = []
    for i, buffer in content.items():
        got = np.frombuffer(memory.content(i, len(buffer.after)), np.uint8)
        results.append((got, np.frombuffer(buffer.after, np.uint8)))
    return counts, results

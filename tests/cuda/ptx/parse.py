"""Reading the PTX that nvcc writes: kernels, their parameters, registers, shared memory and instructions."""

import re
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

import numpy as np

DTYPES: dict[str, Any] = {
    **{f"{kind}{bits}": np.dtype(f"u{bits // 8}") for kind in "ub" for bits in (8, 16, 32, 64)},
    **{f"s{bits}": np.dtype(f"i{bits // 8}") for bits in (8, 16, 32, 64)},
    "f16": np.dtype(np.float16),
    "bf16": np.dtype("u2"),  # numpy has none: bits
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
    "pred": np.dtype(bool),
}


class PtxError(RuntimeError):
    """The kernel does what no GPU would forgive, or what this interpreter does not know."""


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        guard: Predicate register that it depends on, or None.
        negated: Whether it runs where the guard is false.
        op: Its name, such as `ld`.
        modifiers: What follows the name, such as `("global", "v4", "u32")`.
        operands: As written.
        text: All of it, for messages.
    """

    guard: str | None
    negated: bool
    op: str
    modifiers: tuple[str, ...]
    operands: tuple[str, ...]
    text: str

    @property
    def dtype(self) -> np.dtype:
        """The type that it computes in: the last modifier that is one."""
        return next(DTYPES[m] for m in reversed(self.modifiers) if m in DTYPES)


@dataclass
class Kernel:
    """One entry.

    Attributes:
        name: Mangled.
        parameters: Offset of every parameter in the bytes that a launch hands over.
        parameter_bytes: How many these are.
        registers: Declared type of every register.
        shared: Offset of every array in shared memory.
        shared_bytes: How much of that there is.
        code: The instructions.
        labels: Positions in `code`.
    """

    name: str
    parameters: dict[str, int] = field(default_factory=dict)
    parameter_bytes: int = 0
    registers: dict[str, np.dtype] = field(default_factory=dict)
    shared: dict[str, int] = field(default_factory=dict)
    shared_bytes: int = 0
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)


def parse(text: str, wanted: Container[str] | None = None) -> dict[str, Kernel]:
    """The kernels of a PTX file, by mangled name; all, or only those wanted, which is quicker.

    Raises:
        PtxError: A directive that is not known.
    """
    text = re.sub(r"/\*.*?\*/", "", re.sub(r"//[^\n]*", "", text), flags=re.S)
    kernels = {}
    for entry in re.finditer(r"\.entry\s+([\w$]+)\(\s*(.*?)\)\s*((?:\.\w+[^\n{]*\n)*)\{", text, re.S):
        if wanted is not None and entry[1] not in wanted:
            continue
        kernel = Kernel(entry[1])
        _parameters(kernel, entry[2])
        for statement in text[entry.end() : _closing(text, entry.end())].split(";"):
            _statement(kernel, statement)
        kernels[kernel.name] = kernel
    return kernels


def _closing(text: str, begin: int) -> int:
    """Where the brace that is open at `begin` closes."""
    depth = 1
    for brace in re.compile(r"[{}]").finditer(text, begin):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.start()
    raise PtxError("a brace is never closed")


def _parameters(kernel: Kernel, text: str) -> None:
    for p in re.finditer(r"\.param\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+([\w$]+)(?:\[(\d+)\])?", text):
        size = int(p[4] or DTYPES[p[2]].itemsize)
        align = int(p[1] or size)
        offset = -(-kernel.parameter_bytes // align) * align
        kernel.parameters[p[3]] = offset
        kernel.parameter_bytes = offset + size


def _statement(kernel: Kernel, text: str) -> None:
    text = text.strip().lstrip("{} \t\n")
    while label := re.match(r"(\$?[\w$]+):\s*", text):
        kernel.labels[label[1]] = len(kernel.code)
        text = text[label.end() :].lstrip("{} \t\n")
    if not text or text.startswith((".pragma", ".loc", ".file")):
        return
    if declared := re.match(r"\.reg\s+\.(\w+)\s+(.*)", text, re.S):
        for name in declared[2].split(","):
            several = re.match(r"\s*(%[\w$]+)<(\d+)>", name)
            names = [f"{several[1]}{i}" for i in range(int(several[2]))] if several else [name.strip()]
            kernel.registers.update((name, DTYPES[declared[1]]) for name in names)
    elif array := re.match(r"\.shared\s+\.align\s+(\d+)\s+\.b8\s+([\w$]+)\[(\d+)\]", text):
        align = int(array[1])
        kernel.shared[array[2]] = -(-kernel.shared_bytes // align) * align
        kernel.shared_bytes = kernel.shared[array[2]] + int(array[3])
    elif text.startswith("."):
        raise PtxError(f"unknown directive: {text[:80]}")
    else:
        parts = re.match(r"(?:@(!?)([%\w]+)\s+)?([\w.:]+)\s*(.*)", text, re.S)
        if parts is None:
            raise PtxError(f"not an instruction: {text[:80]}")
        op, *modifiers = parts[3].split(".")
        operands = tuple(o.strip() for o in re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*", parts[4]))
        kernel.code.append(
            Instruction(parts[2], parts[1] == "!", op, tuple(modifiers), operands, " ".join(text.split()))
        )

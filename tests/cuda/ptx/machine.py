"""Running a kernel's PTX on the CPU: all threads of a grid in step, as numpy arrays over lanes.

The lanes whose program counter is lowest go first, so that diverged ones meet again as they do on a GPU. A register is
one array over all lanes; instructions write the entries of the active ones.
"""

import re
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.cuda.ptx.arithmetic import BINARY, COMPARE, UNARY, convert, insert_bits, multiply, permute_bytes, shift
from tests.cuda.ptx.counts import WARP, Counts
from tests.cuda.ptx.memory import Access, GlobalMemory, SharedMemory
from tests.cuda.ptx.parse import DTYPES, Instruction, Kernel, PtxError

Array = np.ndarray


class Machine:
    """One launch.

    Attributes:
        counts: What it cost so far.
    """

    def __init__(
        self, kernel: Kernel, memory: GlobalMemory, grid: tuple[int, ...], block: tuple[int, ...], parameters: bytes
    ) -> None:
        if len(parameters) != kernel.parameter_bytes:
            raise PtxError(f"{kernel.name} takes {kernel.parameter_bytes} bytes of parameters, not {len(parameters)}")
        self.kernel, self.memory, self.parameters = kernel, memory, parameters
        self.counts = Counts()
        self.threads, self.blocks = int(np.prod(block)), int(np.prod(grid))
        lanes = np.arange(self.threads * self.blocks)
        self.thread, self.block = lanes % self.threads, lanes // self.threads
        self.warp = self.block * -(-self.threads // WARP) + self.thread // WARP
        self.special = {
            **_three("tid", self.thread, block),
            **_three("ctaid", self.block, grid),
            **{f"%ntid.{a}": np.full(lanes.size, n, np.uint32) for a, n in zip("xyz", block, strict=True)},
            **{f"%nctaid.{a}": np.full(lanes.size, n, np.uint32) for a, n in zip("xyz", grid, strict=True)},
        }
        self.registers = {name: np.zeros(lanes.size, dtype) for name, dtype in kernel.registers.items()}
        self.shared = SharedMemory(self.blocks, max(kernel.shared_bytes, 1))
        self.counter = np.zeros(lanes.size, np.int64)
        self.waiting, self.done = np.zeros(lanes.size, bool), np.zeros(lanes.size, bool)
        self.epoch = np.zeros(self.blocks, np.int32)

    def run(self) -> Counts:
        """Run to the end.

        Raises:
            PtxError: The kernel does what it must not.
        """
        while True:
            active = np.flatnonzero(~self.done & ~self.waiting)
            if active.size:
                at = self.counter[active].min()
                self._step(self.kernel.code[at], active[self.counter[active] == at])
            elif self.done.all():
                return self.counts
            else:
                self._release_barriers()

    def _release_barriers(self) -> None:
        waiting = np.bincount(self.block, self.waiting, self.blocks)
        partly = (waiting > 0) & (waiting < self.threads)
        if partly.any():
            raise PtxError(f"divergent barrier: {int(waiting[partly][0])} of {self.threads} threads wait in a block")
        counters = self.counter.reshape(self.blocks, self.threads)
        if (counters != counters[:, :1])[waiting > 0].any():
            raise PtxError("divergent barrier: threads of a block wait at different ones")
        self.epoch[waiting > 0] += 1
        self.counter[self.waiting] += 1
        self.waiting[:] = False

    def _step(self, ins: Instruction, lanes: Array) -> None:
        if ins.op == "bra":
            return self._branch(ins, lanes)
        self.counts.issue(ins.op, self.warp[lanes])
        if ins.guard is not None:
            runs = self.registers[ins.guard][lanes] ^ ins.negated
            self.counter[lanes[~runs]] += 1
            lanes = lanes[runs]
        if not lanes.size:
            return None
        if ins.op in ("ret", "exit"):
            self.done[lanes] = True
        elif ins.op in ("bar", "barrier"):
            self.waiting[lanes] = True
        else:
            handler = _HANDLERS.get(ins.op)
            if handler is None:
                raise PtxError(f"unknown instruction: {ins.text}")
            with np.errstate(all="ignore"):
                handler(self, ins, lanes)
            self.counter[lanes] += 1
        return None

    def _branch(self, ins: Instruction, lanes: Array) -> None:
        self.counts.issue(ins.op, self.warp[lanes])
        taken = np.ones(lanes.size, bool) if ins.guard is None else self.registers[ins.guard][lanes] ^ ins.negated
        self.counter[lanes] = np.where(taken, self.kernel.labels[ins.operands[0]], self.counter[lanes] + 1)

    # -----------------------------------------------------------------------------------------------------------------

    def read(self, operand: str, lanes: Array, dtype: np.dtype) -> Array:
        """An operand's value [lanes] as `dtype`: a register's bits, or a constant."""
        if operand in self.registers or operand in self.special:
            value = (self.registers.get(operand) if operand in self.registers else self.special[operand])[lanes]  # type: ignore[index]
            return _bits(value, dtype)
        place = self.kernel.shared.get(operand, self.kernel.parameters.get(operand))
        if place is not None:  # an address
            return np.full(lanes.size, place, dtype)
        if operand.startswith(("0f", "0d")):
            number = struct.unpack(">f" if operand[1] == "f" else ">d", bytes.fromhex(operand[2:]))[0]
            return np.full(lanes.size, number, dtype)
        try:
            number = int(operand.rstrip("U"), 0)
        except ValueError:
            raise PtxError(f"unknown operand {operand}") from None
        if dtype.kind == "b":
            return np.full(lanes.size, bool(number))
        unsigned = np.dtype(f"u{dtype.itemsize}")
        return np.full(lanes.size, number & ((1 << 8 * dtype.itemsize) - 1), unsigned).view(dtype)

    def write(self, operand: str, lanes: Array, value: Array) -> None:
        """Set a register's bits; wider ones extend by the value's sign."""
        if operand != "_":
            register = self.registers[operand]
            register[lanes] = _bits(value, register.dtype)

    def _address(self, operand: str, lanes: Array) -> Array:
        parts = re.fullmatch(r"\[([%\w$]+)(?:\+(-?\d+))?\]", operand)
        if parts is None:
            raise PtxError(f"unknown address {operand}")
        place = self.kernel.shared.get(parts[1], self.kernel.parameters.get(parts[1]))
        base = (
            self.registers[parts[1]][lanes].astype(np.int64) if place is None else np.full(lanes.size, place, np.int64)
        )
        return base + int(parts[2] or 0)

    def _memory(self, ins: Instruction, lanes: Array, store: bool) -> Callable[[Array | None], Array]:
        """Check the access of a load or store; returns what moves the bytes [lanes, size]."""
        size = ins.dtype.itemsize * _vector(ins)
        address = self._address(ins.operands[0 if store else 1], lanes)
        block = self.block[lanes]
        access = Access(address, size, store, block, self.thread[lanes], self.epoch[block], ins.text)
        if "shared" in ins.modifiers:
            at: Any = self.shared.check(access)
            self.counts.shared_access(self.warp[lanes], at[1])
            raw = self.shared.raw
        else:
            at = self.memory.check(access)
            self.counts.global_access(self.warp[lanes], at, store)
            raw = self.memory.raw

        def move(values: Array | None) -> Array:
            if values is not None:
                raw[at] = values
            return raw[at]

        return move

    def load(self, ins: Instruction, lanes: Array) -> None:
        """ld.param, ld.global, ld.shared, with vectors."""
        width, names = ins.dtype.itemsize, re.findall(r"[%\w]+", ins.operands[0])
        if "param" in ins.modifiers:
            where = self._address(ins.operands[1], lanes)[:, None] + np.arange(width * len(names))
            data = np.frombuffer(self.parameters, np.uint8)[where]
        else:
            data = self._memory(ins, lanes, False)(None)
        for i, name in enumerate(names):
            part = np.ascontiguousarray(data[:, i * width : (i + 1) * width])
            self.write(name, lanes, part.view(ins.dtype).reshape(-1))

    def store(self, ins: Instruction, lanes: Array) -> None:
        """st.global, st.shared, with vectors."""
        move = self._memory(ins, lanes, True)
        names = re.findall(r"[%\w.]+", ins.operands[1]) if ins.operands[1].startswith("{") else [ins.operands[1]]
        values = [self.read(name, lanes, ins.dtype) for name in names]
        move(np.concatenate([v.view(np.uint8).reshape(lanes.size, -1) for v in values], axis=1))

    def move(self, ins: Instruction, lanes: Array) -> None:
        """mov, also between a register and its parts."""
        target, source = ins.operands
        if target.startswith("{"):
            names = re.findall(r"[%\w]+", target)
            parts = self.read(source, lanes, ins.dtype).view(f"u{ins.dtype.itemsize // len(names)}")
            for name, part in zip(names, parts.reshape(lanes.size, -1).T, strict=True):
                self.write(name, lanes, np.ascontiguousarray(part))
        elif source.startswith("{"):
            names = re.findall(r"[%\w]+", source)
            width = np.dtype(f"u{ins.dtype.itemsize // len(names)}")
            parts = np.stack([self.read(name, lanes, width) for name in names], axis=1)
            self.write(target, lanes, parts.view(ins.dtype).reshape(-1))
        else:
            self.write(target, lanes, self.read(source, lanes, ins.dtype))

    def convert(self, ins: Instruction, lanes: Array) -> None:
        """cvt; into packed halves the first operand goes up."""
        to, source = [m for m in ins.modifiers if m in DTYPES or m in ("f16x2", "bf16x2")][-2:]
        values = [self.read(name, lanes, DTYPES[source]) for name in ins.operands[1:]]
        if to.endswith("x2"):
            self._write_halves(ins.operands[0], lanes, to, values[::-1])
        else:
            self.write(ins.operands[0], lanes, convert(values[0], to, source, ins.modifiers))

    def _halves(self, operand: str, lanes: Array, packed: str) -> list[Array]:
        """The lower and the upper number of a register, as float32."""
        bits = self.read(operand, lanes, DTYPES["u32"]).view(np.uint16).reshape(-1, 2)
        kind = packed.removesuffix("x2")
        return [convert(np.ascontiguousarray(part).view(DTYPES[kind]), "f32", kind, ()) for part in bits.T]

    def _write_halves(self, operand: str, lanes: Array, packed: str, values: Sequence[Array]) -> None:
        kind = packed.removesuffix("x2")
        low, high = (convert(v, kind, "f32", ("rn",)).view(np.uint16) for v in values)
        self.write(operand, lanes, low.astype(np.uint32) | high.astype(np.uint32) << np.uint32(16))

    def compare(self, ins: Instruction, lanes: Array) -> None:
        """setp; of packed halves with a predicate for each."""
        if packed := _packed(ins):
            a, b = (self._halves(name, lanes, packed) for name in ins.operands[1:3])
            for target, x, y in zip(ins.operands[0].split("|"), a, b, strict=True):
                self.write(target, lanes, COMPARE[ins.modifiers[0]](x, y))
            return
        a, b = (self.read(name, lanes, ins.dtype) for name in ins.operands[1:3])
        self.write(ins.operands[0], lanes, COMPARE[ins.modifiers[0]](a, b))

    def select(self, ins: Instruction, lanes: Array) -> None:
        """selp."""
        a, b = (self.read(name, lanes, ins.dtype) for name in ins.operands[1:3])
        self.write(ins.operands[0], lanes, np.where(self.read(ins.operands[3], lanes, np.dtype(bool)), a, b))

    def unary(self, ins: Instruction, lanes: Array) -> None:
        """One operand."""
        value = UNARY[ins.op](self.read(ins.operands[1], lanes, ins.dtype))
        self.write(ins.operands[0], lanes, _saturated(value, ins).astype(ins.dtype))

    def binary(self, ins: Instruction, lanes: Array) -> None:
        """Two operands of one type."""
        if packed := _packed(ins):
            a, b = (self._halves(name, lanes, packed) for name in ins.operands[1:3])
            function = BINARY[f"{ins.op}.NaN" if "NaN" in ins.modifiers else ins.op]
            self._write_halves(ins.operands[0], lanes, packed, [function(x, y) for x, y in zip(a, b, strict=True)])
            return
        a, b = (self.read(name, lanes, ins.dtype) for name in ins.operands[1:3])
        name = f"{ins.op}.NaN" if "NaN" in ins.modifiers else ins.op
        if ins.op in ("div", "rem") and ins.dtype.kind in "iu" and (b == 0).any():
            raise PtxError(f"division by zero: {ins.text}")
        self.write(ins.operands[0], lanes, _saturated(BINARY[name](a, b), ins).astype(ins.dtype))

    def multiply(self, ins: Instruction, lanes: Array) -> None:
        """mul, and mad of integers."""
        a, b = (self.read(name, lanes, ins.dtype) for name in ins.operands[1:3])
        product = multiply(a, b, ins.modifiers)
        if ins.op == "mad":
            product = product + self.read(ins.operands[3], lanes, product.dtype)
        self.write(ins.operands[0], lanes, product)

    def fma(self, ins: Instruction, lanes: Array) -> None:
        """Rounded once, but for rare ties of the wider type."""
        wide = np.float64 if ins.dtype.itemsize <= 4 else np.longdouble
        a, b, c = (self.read(name, lanes, ins.dtype).astype(wide) for name in ins.operands[1:4])
        total = a * b + c
        if "rm" in ins.modifiers:
            rounded = total.astype(ins.dtype)
            total = np.where(rounded > total, np.nextafter(rounded, ins.dtype.type(-np.inf)), rounded)
        self.write(ins.operands[0], lanes, _saturated(total, ins).astype(ins.dtype))

    def shift(self, ins: Instruction, lanes: Array) -> None:
        """shl, shr."""
        count = self.read(ins.operands[2], lanes, np.dtype(np.uint32))
        self.write(ins.operands[0], lanes, shift(ins.op, self.read(ins.operands[1], lanes, ins.dtype), count))

    def permute(self, ins: Instruction, lanes: Array) -> None:
        """prmt."""
        a, b, selector = (self.read(name, lanes, np.dtype(np.uint32)) for name in ins.operands[1:4])
        self.write(ins.operands[0], lanes, permute_bytes(a, b, selector))

    def insert(self, ins: Instruction, lanes: Array) -> None:
        """bfi of 32 bits."""
        a, b, start, length = (self.read(name, lanes, np.dtype(np.uint32)) for name in ins.operands[1:5])
        self.write(ins.operands[0], lanes, insert_bits(a, b, start, length))

    def shuffle(self, ins: Instruction, lanes: Array) -> None:
        """shfl.sync.bfly, all lanes of a warp."""
        if "bfly" not in ins.modifiers:
            raise PtxError(f"unknown shuffle: {ins.text}")
        value = self.read(ins.operands[1], lanes, np.dtype(np.uint32))
        partner = lanes ^ self.read(ins.operands[2], lanes, np.dtype(np.int64))
        position = np.full(self.thread.size, -1)
        position[lanes] = np.arange(lanes.size)
        if (position[partner] < 0).any():
            raise PtxError(f"shuffle with a lane that is not there: {ins.text}")
        self.write(ins.operands[0].partition("|")[0], lanes, value[position[partner]])

    def vote(self, ins: Instruction, lanes: Array) -> None:
        """vote.sync.all, all lanes of a warp."""
        if "all" not in ins.modifiers:
            raise PtxError(f"unknown vote: {ins.text}")
        value = self.read(ins.operands[1], lanes, np.dtype(bool))
        warps, index, size = np.unique(self.warp[lanes], return_inverse=True, return_counts=True)
        if (size != WARP).any():
            raise PtxError(f"vote without a lane that is asked: {ins.text}")
        self.write(ins.operands[0], lanes, (np.bincount(index, value, warps.size) == WARP)[index])


_HANDLERS: dict[str, Callable[[Machine, Instruction, Array], None]] = {
    "ld": Machine.load,
    "st": Machine.store,
    "mov": Machine.move,
    "cvta": Machine.move,
    "cvt": Machine.convert,
    "setp": Machine.compare,
    "selp": Machine.select,
    "mul": Machine.multiply,
    "mad": Machine.multiply,
    "fma": Machine.fma,
    "shl": Machine.shift,
    "shr": Machine.shift,
    "prmt": Machine.permute,
    "bfi": Machine.insert,
    "shfl": Machine.shuffle,
    "vote": Machine.vote,
    **dict.fromkeys(UNARY, Machine.unary),
    **dict.fromkeys({name for name in BINARY if "." not in name}, Machine.binary),
}


def _three(name: str, linear: Array, shape: tuple[int, ...]) -> dict[str, Array]:
    x, y = shape[0], shape[1]
    parts = zip("xyz", (linear % x, linear // x % y, linear // (x * y)), strict=True)
    return {f"%{name}.{axis}": part.astype(np.uint32) for axis, part in parts}


def _packed(ins: Instruction) -> str | None:
    return next((m for m in ins.modifiers if m in ("f16x2", "bf16x2")), None)


def _vector(ins: Instruction) -> int:
    return next((int(m[1]) for m in ins.modifiers if m in ("v2", "v4")), 1)


def _saturated(value: Array, ins: Instruction) -> Array:
    return np.clip(np.nan_to_num(value, nan=0.0), 0, 1) if "sat" in ins.modifiers else value


def _bits(value: Array, dtype: np.dtype) -> Array:
    """The same bits as another type; cut off, or filled by the sign where the value has one."""
    if value.dtype == dtype:
        return value
    if value.dtype.kind == "b" or dtype.kind == "b":
        return value.astype(dtype)
    if value.dtype.itemsize == dtype.itemsize:
        return value.view(dtype)
    integers = value if value.dtype.kind in "iu" else value.view(f"u{value.dtype.itemsize}")
    return integers.astype(f"{integers.dtype.kind}{dtype.itemsize}").view(dtype)

"""What PTX instructions compute, on numpy arrays (PTX ISA, section "Instruction set")."""

from collections.abc import Callable, Sequence

import numpy as np

from tests.cuda.ptx.parse import DTYPES

Array = np.ndarray
Function = Callable[..., Array]


def _unordered(function: Function) -> Function:
    return lambda a, b: function(a, b) | np.isnan(a) | np.isnan(b)


COMPARE: dict[str, Function] = {
    **{name: getattr(np, long) for name, long in {"lt": "less", "le": "less_equal", "gt": "greater"}.items()},
    **{"ge": np.greater_equal, "eq": np.equal, "lo": np.less, "ls": np.less_equal},
    **{"hi": np.greater, "hs": np.greater_equal},
    # Unlike numpy's, a comparison with NaN is false, unless it is one of the unordered ones.
    "ne": lambda a, b: (a != b) & ~(np.isnan(a) | np.isnan(b)),
    "num": lambda a, b: ~(np.isnan(a) | np.isnan(b)),
    "nan": lambda a, b: np.isnan(a) | np.isnan(b),
}
COMPARE |= {f"{name}u": _unordered(COMPARE[name]) for name in ("lt", "le", "gt", "ge", "eq", "ne")}


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return a / b
    if a.dtype.kind == "u":
        return a // b
    quotient = np.abs(a) // np.abs(b)  # towards zero
    return np.where((a < 0) != (b < 0), -quotient, quotient)


UNARY: dict[str, Function] = {
    "abs": np.abs,
    "neg": np.negative,
    "not": np.invert,
    "sqrt": np.sqrt,
    "ex2": lambda a: np.exp2(a.astype(np.float64)),
    "lg2": lambda a: np.log2(a.astype(np.float64)),
    "rcp": lambda a: 1 / a,
    "rsqrt": lambda a: 1 / np.sqrt(a),
    "tanh": np.tanh,
}
BINARY: dict[str, Function] = {
    "add": np.add,
    "sub": np.subtract,
    "div": _divide,
    "rem": lambda a, b: a - _divide(a, b) * b,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "min": np.fmin,
    "max": np.fmax,
    "min.NaN": np.minimum,
    "max.NaN": np.maximum,
    "copysign": lambda a, b: np.copysign(b, a),
}


def multiply(a: Array, b: Array, modifiers: Sequence[str]) -> Array:
    """The whole product of integers (`wide`), its upper half (`hi`) or its lower; of floats the product."""
    if a.dtype.kind == "f":
        return a * b
    kind, size = a.dtype.kind, a.dtype.itemsize
    if "wide" in modifiers:
        return a.astype(f"{kind}{2 * size}") * b.astype(f"{kind}{2 * size}")
    if "hi" in modifiers:
        if size == 8:
            return np.array([int(x) * int(y) >> 64 for x, y in zip(a, b, strict=True)], a.dtype)
        return ((a.astype(f"{kind}8") * b.astype(f"{kind}8")) >> 8 * size).astype(a.dtype)
    return a * b


def shift(op: str, a: Array, count: Array) -> Array:
    """shl or shr; counts beyond the width move everything out."""
    width = 8 * a.dtype.itemsize
    within = np.minimum(count, width - 1).astype(a.dtype)
    moved = a << within if op == "shl" else a >> within
    out = a >> a.dtype.type(width - 1) if op == "shr" and a.dtype.kind == "i" else np.zeros_like(a)
    return np.where(count >= width, out, moved).astype(a.dtype)


def permute_bytes(a: Array, b: Array, selector: Array) -> Array:
    """prmt without sign replication: each nibble of the selector names one of eight bytes."""
    both = a.astype(np.uint64) | b.astype(np.uint64) << np.uint64(32)
    result = np.zeros_like(a)
    for i in range(4):
        which = (selector >> np.uint32(4 * i)) & np.uint32(7)
        byte = both >> (which.astype(np.uint64) * np.uint64(8)) & np.uint64(0xFF)
        result |= byte.astype(np.uint32) << np.uint32(8 * i)
    return result


def insert_bits(a: Array, b: Array, start: Array, length: Array) -> Array:
    """bfi: b with its bits from `start` replaced by the lowest `length` ones of a, as far as both numbers reach."""
    mask = ((np.uint64(1) << np.minimum(length, 32).astype(np.uint64)) - np.uint64(1)) << np.minimum(start, 32).astype(
        np.uint64
    )
    moved = a.astype(np.uint64) << np.minimum(start, 32).astype(np.uint64)
    return (b.astype(np.uint64) & ~mask | moved & mask).astype(np.uint32)


_ROUND: dict[str, Function] = {
    **{"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil},
}


def convert(a: Array, to: str, source: str, modifiers: Sequence[str]) -> Array:
    """cvt: between floats, integers and bfloat16, which is kept as bits."""
    if source == "bf16":
        a = (a.astype(np.uint32) << np.uint32(16)).view(np.float32)
    rounding = next((_ROUND[m] for m in modifiers if m in _ROUND), None)
    if rounding is not None:
        a = rounding(a)
    if to == "bf16":
        bits = a.astype(np.float32).view(np.uint32)
        rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        return np.where(np.isnan(a), 0x7FFF, rounded).astype(np.uint16)
    if a.dtype.kind == "f" and DTYPES[to].kind in "iu":
        limits = np.iinfo(DTYPES[to])
        return np.clip(np.nan_to_num(a.astype(np.float64)), limits.min, limits.max).astype(DTYPES[to])
    a = np.clip(np.nan_to_num(a, nan=0.0), 0, 1) if "sat" in modifiers else a
    return a.astype(DTYPES[to])

"""Calls of the ops below their wrappers: every kernel, every branch of its launcher, sizes of 0, 1, primes and tiles.

`tests/ops/cases.py` calls the ops as users do. This list aims at the CUDA kernels, and is also what sanitizers and the PTX
interpreter see.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stylegan.ops import (
    bias_act,
    demodulation,
    filtered_lrelu,
    modulated_epilogue,
    modulation,
    normal,
    update,
    upfirdn2d,
)
from stylegan.ops.bias_act import ACTIVATIONS, compute_dtype
from stylegan.ops.torch_private import body
from stylegan.ops.upfirdn2d import setup_filter

CLAMP = 0.75  # exact in every type, so that all agree on which side of it a number lies


@dataclass(frozen=True)
class Call:
    """One call of a dispatched op.

    Attributes:
        name: What is called, for messages.
        op: The `custom_op`; `body(op)` is its reference.
        args: Its arguments.
        exact: Whether the result is that of the reference in every bit.
    """

    name: str
    op: Any
    args: tuple
    exact: bool = False

    def run(self) -> list[Tensor]:
        """The results of whatever implements the op."""
        return _as_list(self.op(*self.args))

    def reference(self) -> list[Tensor]:
        """The results of the reference in float64."""
        return _as_list(body(self.op)(*(_widened(a) for a in self.args)))


class Update(Call):
    """A call of an op that writes into lists: it is given copies, and what they hold then comes before what it returns."""

    def run(self) -> list[Tensor]:
        """See there."""
        return _run_on_copies(self.op, self.args)

    def reference(self) -> list[Tensor]:
        """See there. Steps are counted in float32."""
        lists = [a if i == STEPS else _widened(a) for i, a in enumerate(self.args)]
        return [t.double() for t in _run_on_copies(body(self.op), lists)]


STEPS = 4  # which argument of adam_


class Maker:
    """Makes tensors of one dtype and memory format; the same numbers for every dtype but for rounding."""

    def __init__(self, dtype: torch.dtype, nhwc: bool) -> None:
        self.dtype, self.nhwc = dtype, nhwc
        self.generator = torch.Generator().manual_seed(1)

    def image(self, *shape: int, bound: float = math.inf) -> Tensor:
        """[N, C, H, W] in the memory format."""
        t = torch.randn(shape, generator=self.generator, dtype=torch.float64).clamp(-bound, bound).to(self.dtype)
        return t.contiguous(memory_format=torch.channels_last) if self.nhwc else t

    def vector(self, *shape: int) -> Tensor:
        """A small tensor of the images' dtype."""
        return torch.randn(shape, generator=self.generator, dtype=torch.float64).to(self.dtype)

    def compute(self, *shape: int) -> Tensor:
        """A small tensor of the dtype that is computed in, clear of zero."""
        t = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        return (t + t.sign()).to(compute_dtype(self.vector(0)))

    def taps(self, *shape: int) -> Tensor:
        """A filter."""
        return torch.randn(shape, generator=self.generator)


def calls(dtype: torch.dtype, nhwc: bool, thorough: bool = True) -> Iterator[Call]:
    """The list for one dtype and memory format; not `thorough`: one call per kernel, for slow checkers."""
    make = Maker(dtype, nhwc)
    yield from _bias_act_calls(make, thorough)
    yield from _upfirdn2d_calls(make, thorough)
    yield from _filtered_lrelu_calls(make, thorough)
    yield from _epilogue_calls(make, thorough)
    yield from _modulation_calls(make, thorough)
    yield from _demodulation_calls(make, thorough)
    yield from _normal_calls(thorough)
    yield from _update_calls(make, thorough)


def counted_calls() -> dict[str, Call]:
    """The calls in float16 whose cost is kept in counts.json: large enough that borders do not matter much."""
    planar, last = Maker(torch.float16, False), Maker(torch.float16, True)
    low_pass, twelve = setup_filter([1, 3, 3, 1]), planar.taps(12) / 6
    blur = (low_pass, [1, 1], [1, 1], [1, 1, 1, 1], False, 1.0)  # after a transposed convolution: 129 -> 128 pixels
    enlarge = (low_pass, [2, 2], [1, 1], [2, 1, 2, 1], False, 4.0)
    reduce = (low_pass, [1, 1], [2, 2], [1, 1, 1, 1], False, 1.0)
    bias = (planar.vector(16), "lrelu", 0.2, 1.5, 256.0, 1)
    lrelu = (planar.vector(1), twelve, twelve, 2, 2, [11, 10, 11, 10], 1.5, 0.2, 256.0, False, True)
    epilogue = (planar.compute(1, 16), planar.compute(64, 64), planar.compute(16), "lrelu", 0.2, 1.5, 256.0)
    dy = planar.image(1, 16, 64, 64)
    product = (dy, planar.image(1, 16, 64, 64), planar.compute(1, 16), False, None)
    product_last = (last.image(1, 64, 32, 32), last.image(1, 64, 32, 32), last.compute(1, 64))
    added = (last.image(1, 16, 32, 32), last.image(1, 16, 64, 64))
    norm = (planar.compute(8, 256), planar.compute(16, 256, 3, 3).contiguous(memory_format=torch.channels_last))
    norm_grad = (planar.compute(8, 16), *norm, planar.compute(8, 16), [True, True])
    listed = [
        Call("bias_act", bias_act._bias_act, (planar.image(1, 16, 64, 64), *bias)),
        Call("bias_act channels_last", bias_act._bias_act, (last.image(1, 16, 64, 64), *bias)),
        Call("bias_act_grad", bias_act._bias_act_grad, (dy, planar.image(1, 16, 64, 64), *bias)),
        Call("upfirdn2d 1:1", upfirdn2d._upfirdn2d, (planar.image(1, 2, 129, 129), *blur, None)),
        Call("upfirdn2d 1:1 channels_last", upfirdn2d._upfirdn2d, (last.image(1, 16, 65, 65), *blur, None)),
        Call("upfirdn2d up 2", upfirdn2d._upfirdn2d, (planar.image(1, 2, 64, 64), *enlarge, None)),
        Call("upfirdn2d up 2 channels_last", upfirdn2d._upfirdn2d, (last.image(1, 16, 32, 32), *enlarge, None)),
        Call("upfirdn2d up 2 channels_last added", upfirdn2d._upfirdn2d, (added[0], *enlarge, added[1])),
        Call("upfirdn2d down 2", upfirdn2d._upfirdn2d, (planar.image(1, 2, 128, 128), *reduce, None)),
        Call("filtered_lrelu 2-2", filtered_lrelu._filtered_lrelu, (planar.image(1, 1, 64, 64), *lrelu)),
        Call("modulated_epilogue", modulated_epilogue._modulated_epilogue, (planar.image(1, 16, 64, 64), *epilogue)),
        Call("modulated_epilogue modulation_grad", modulation._modulation_grad, product),
        Call(
            "modulated_epilogue modulation_grad channels_last",
            modulation._modulation_grad,
            (*product_last, False, None),
        ),
        Call(
            "modulated_epilogue modulation_grad with y channels_last",
            modulation._modulation_grad,
            (*product_last, True, None),
        ),
        Call("demodulation", demodulation._demodulation, (*norm, 1e-8)),
        Call("demodulation_grad", demodulation._demodulation_grad, norm_grad),
        Call("normal", normal._normal, (1, torch.arange(4), 4096), exact=True),
        Call("normal uniform", normal._uniform, (1, torch.arange(4), 4096), exact=True),
        adam_call("update adam", planar, [(48, 1024)], beta1=0.0),
        adam_call("update adam with a first moment", planar, [(48, 1024)], beta1=0.9),
        lerp_call("update lerp", planar, [(48, 1024)], 0.001),
    ]
    return {call.name: call for call in listed}


def _bias_act_calls(make: Maker, thorough: bool) -> Iterator[Call]:
    shapes = [(2, 8, 4, 8), (1, 3, 7, 5)]
    shapes += [(0, 3, 2, 2), (1, 1, 1, 1), (2, 5, 13, 3), (5, 16, 1, 1), (3, 40, 5, 8)] if thorough else []
    for i, shape in enumerate(shapes):
        for act in ACTIVATIONS if i == 0 and thorough else ("lrelu", "swish"):
            x, dy, ddx = (make.image(*shape) for _ in range(3))
            b = None if i == 3 else make.vector(shape[1])
            rest = (act, 0.2, 1.5 if i != 1 else -1.5, CLAMP if i % 2 == 0 else math.inf, 1)
            name = f"bias_act {act} {shape}"
            yield Call(name, bias_act._bias_act, (x, b, *rest))
            ref = x.clamp(-CLAMP, CLAMP) if ACTIVATIONS[act].piecewise else x
            yield Call(f"{name} grad", bias_act._bias_act_grad, (dy, ref, b, *rest))
            if not ACTIVATIONS[act].piecewise:
                yield Call(f"{name} grad2", bias_act._bias_act_grad2, (ddx, dy, x, b, *rest))


def _upfirdn2d_calls(make: Maker, thorough: bool) -> Iterator[Call]:
    low_pass = setup_filter([1, 3, 3, 1])
    crooked, long, twelve = make.taps(2, 3), make.taps(5), make.taps(12)
    factors = {"1:1": (1, 1), "up 2": (2, 1), "down 2": (1, 2)}
    for name, (up, down) in factors.items():
        settings: list[tuple[tuple[int, ...], Tensor, list[int], bool]] = [
            ((1, 8, 9, 21), low_pass, [2, 1, 2, 1], False),
            ((1, 2, 11, 13), twelve, [6, 5, 7, 6], True),
        ]
        if thorough:
            settings += [
                ((2, 16, 64 // up, 32), low_pass, [1, 1, 1, 1] if down == 2 else [2, 1, 2, 1], True),
                ((1, 3, 7, 5), crooked, [1, 3, 3, -2], False),
                ((2, 1, 1, 1), low_pass, [3, 3, 2, 4], False),
                ((0, 3, 8, 8), low_pass, [2, 1, 2, 1], False),
                ((1, 3, 37, 41), long, [3, 1, -1, 4], False),
                ((1, 1, 70, 67), twelve, [5, 6, 5, 6], False),
            ]
        for shape, f, sides, flip in settings:
            args = (make.image(*shape), f, [up, up], [down, down], sides, flip, 1.25, None)
            call = Call(f"upfirdn2d {name} {shape} f{tuple(f.shape)}", upfirdn2d._upfirdn2d, args)
            yield call
            added = make.image(*body(call.op)(*args).shape)
            yield Call(f"{call.name} added", call.op, (*args[:-1], added))
    for shape in [(1, 3, 6, 7), (2, 1, 1, 11)][: 2 if thorough else 1]:
        for f in (crooked, long):
            args = (make.image(*shape), f, [2, 3], [3, 2], [4, 3, 5, 2], False, 0.7, None)
            call = Call(f"upfirdn2d generic {shape} f{tuple(f.shape)}", upfirdn2d._upfirdn2d, args)
            yield call
            added = make.image(*body(call.op)(*args).shape)
            yield Call(f"{call.name} added", call.op, (*args[:-1], added))


def _filtered_lrelu_calls(make: Maker, thorough: bool) -> Iterator[Call]:
    twelve, twice, square, one = make.taps(12), make.taps(24), make.taps(5, 4), torch.ones(1, 1)
    scale = 1 / 6  # keeps sums of that many taps near 1
    settings: list[tuple[str, tuple[int, ...], Tensor, Tensor, int, int, list[int]]] = [
        ("2-2", (1, 2, 19, 21), twelve * scale, twelve * scale, 2, 2, [11, 10, 9, 12]),
        ("2-2 2d", (1, 2, 9, 8), square * scale, square * scale, 2, 2, [4, 5, 3, 6]),
    ]
    if thorough:
        settings += [
            ("4-2", (1, 2, 18, 11), twice * scale, twelve * scale, 4, 2, [15, 18, 13, 20]),
            ("2-4", (1, 2, 37, 40), twelve * scale, twice * scale, 2, 4, [14, 13, 16, 11]),
            ("no filters", (2, 3, 8, 10), one, one, 1, 1, [0, 0, 0, 0]),
            ("down past the filter", (1, 1, 7, 9), one, one, 1, 4, [1, -1, 2, 0]),
            ("3-1", (1, 3, 5, 7), make.taps(7), square * scale, 3, 1, [-1, 9, 8, 4]),
            ("empty", (0, 3, 19, 21), twelve * scale, twelve * scale, 2, 2, [11, 10, 9, 12]),
        ]
    for i, (name, shape, fu, fd, up, down, sides) in enumerate(settings):
        x, b = make.image(*shape), make.vector(shape[1])
        clamp, flip = CLAMP if i % 2 == 0 else math.inf, i % 3 == 1
        for write in (True, False) if thorough else (True,):
            args = (x, None if i == 4 else b, fu, fd, up, down, sides, 1.5, 0.2, clamp, flip, write)
            yield Call(f"filtered_lrelu {name} {shape} codes {write}", filtered_lrelu._filtered_lrelu, args)
        grid_h, grid_w = filtered_lrelu._grid_size(x, fu, up, sides)
        for offset in ([0, 0], [-5, 6], [3, -2])[: 3 if thorough else 2]:
            codes = torch.randint(
                0, 256, (*shape[:2], grid_h, grid_w // 4), generator=make.generator, dtype=torch.uint8
            )
            if make.nhwc:
                codes = codes.contiguous(memory_format=torch.channels_last)
            masked = (x, codes, fu, fd, up, down, sides, offset, 1.5, 0.2, flip)
            yield Call(f"filtered_lrelu_masked {name} {offset}", filtered_lrelu._filtered_lrelu_masked, masked)


def _epilogue_calls(make: Maker, thorough: bool) -> Iterator[Call]:
    shapes = [(2, 8, 4, 8), (2, 3, 5, 7)]
    shapes += (
        [(0, 3, 2, 2), (1, 1, 1, 1), (2, 5, 23, 29), (1, 40, 9, 16), (2, 264, 3, 3), (1, 16, 32, 40)]
        if thorough
        else []
    )
    for i, (n, c, h, w) in enumerate(shapes):
        x, y, dy, link, ddx = (make.image(n, c, h, w, bound=CLAMP if k == 1 else math.inf) for k in range(5))
        d, b, ddd, ddb = make.compute(n, c), make.compute(c), make.compute(n, c), make.compute(c)
        noise, ddnoise = (make.compute(*((n, 1, h, w) if i % 2 == 0 else (h, w))) for _ in range(2))
        rest = ("lrelu" if i != 3 else "linear", 0.2, 1.5, CLAMP if i % 2 == 0 else math.inf)
        name = f"modulated_epilogue {(n, c, h, w)}"
        for some in (True, False) if thorough else (True,):
            ops: tuple[Tensor | None, ...] = (d, noise, b) if some else (None, noise, None)
            yield Call(name, modulated_epilogue._modulated_epilogue, (x, *ops, *rest))
            grad = (dy, y, torch.zeros(()), link if some else None, *ops, *rest, [some, True, some])
            yield Call(f"{name} grad {some}", modulated_epilogue._modulated_epilogue_grad, grad)
            up: tuple[Tensor | None, ...] = (ddx, ddd, ddnoise, ddb) if some else (ddx, None, None, None)
            grad2 = (*up, dy, y, *ops, *rest, [True, some, some])
            yield Call(f"{name} grad2 {some}", modulated_epilogue._modulated_epilogue_grad2, grad2)


def _modulation_calls(make: Maker, thorough: bool) -> Iterator[Call]:
    """They run the kernels of the epilogue's gradients, after which they are called. Every other style is zero."""
    shapes = [(2, 8, 4, 8), (2, 3, 5, 7)]
    shapes += [(0, 3, 2, 2), (2, 0, 3, 3), (1, 1, 1, 1), (2, 40, 23, 29), (2, 264, 3, 3)] if thorough else []
    for n, c, h, w in shapes:
        dy, x, ddx = (make.image(n, c, h, w) for _ in range(3))
        s, dds = make.compute(n, c), make.compute(n, c)
        s[:, 1::2] = 0
        name = f"modulated_epilogue modulation_grad {(n, c, h, w)}"
        for want_y in (True, False) if thorough else (True,):
            yield Call(f"{name} {want_y}", modulation._modulation_grad, (dy, x, s, want_y, None))
            yield Call(f"{name} {want_y} more", modulation._modulation_grad, (dy, x, s, want_y, ddx))
        for up, wanted in [
            ((ddx, dds), [True, True, True]),
            ((None, dds), [True, False, False]),
            ((ddx, None), [False, True, True]),
        ][: 3 if thorough else 1]:
            yield Call(f"{name} of second order {wanted}", modulation._modulation_grad2, (*up, dy, x, s, wanted))


def _demodulation_calls(make: Maker, thorough: bool) -> Iterator[Call]:
    """In the type that the images are computed in. The second one has more input channels than a tile, and odd ones."""
    shapes = [(2, 5, 7, 3, 3), (3, 2, 523, 1, 2)]
    shapes += (
        [(0, 3, 2, 1, 1), (2, 0, 3, 3, 3), (2, 3, 0, 3, 3), (1, 1, 1, 1, 1), (11, 37, 40, 3, 3)] if thorough else []
    )
    for n, o, i, kh, kw in shapes:
        s, dds, dd, d = make.compute(n, i), make.compute(n, i), make.compute(n, o), make.compute(n, o)
        w, ddw = (make.compute(o, i, kh, kw) for _ in range(2))
        if make.nhwc:
            w, ddw = (t.contiguous(memory_format=torch.channels_last) for t in (w, ddw))
        name = f"demodulation {(n, o, i, kh, kw)}"
        yield Call(name, demodulation._demodulation, (s, w, 1e-8))
        for wanted in ([True, True], [True, False], [False, True])[: 3 if thorough else 1]:
            yield Call(f"{name} grad {wanted}", demodulation._demodulation_grad, (dd, s, w, d, wanted))
            for up in ((dds, ddw), (None, ddw), (dds, None))[: 3 if thorough else 2]:
                args = (*up, dd, s, w, d, wanted)
                yield Call(f"{name} grad2 {wanted}", demodulation._demodulation_grad2, args)


def _normal_calls(thorough: bool) -> Iterator[Call]:
    """The same ones for every dtype. Rows of whole vectors and others, and more than a block of threads."""
    sizes = [(3, 64), (2, 41)]
    sizes += [(0, 4), (3, 0), (5, 1), (1, 2), (7, 3), (2, 1100), (3, 1026)] if thorough else []
    indices = torch.tensor([0, -1, 1 << 62, -(1 << 63), 5_000_000_000, 3, 2])
    for i, (n, size) in enumerate(sizes):
        for op in (normal._normal, normal._uniform):
            yield Call(f"normal {op._name} {(n, size)}", op, (0x0123456789ABCDEF - i, indices[:n], size), exact=True)


def adam_call(
    name: str,
    make: Maker,
    shapes: list[tuple[int, ...]],
    *,
    beta1: float,
    skip: bool = False,
    broken: int | None = None,
    first: bool = True,
) -> Update:
    """A step, in the type that images are computed in: `broken` says in which gradient something is not finite."""
    params, grads, moments, squares = ([_tensor(make, shape) for shape in shapes] for _ in range(4))
    if broken is not None:
        for i, value in enumerate((math.nan, math.inf, -math.inf)[: grads[broken].numel()]):
            grads[broken].view(-1)[-1 - 5 * i if grads[broken].numel() > 10 else i] = value
    steps = [torch.tensor(float(i % 5 * 1000)) for i in range(len(shapes))]
    counts = [torch.tensor(7 * i) for i in range(len(shapes))]
    rates = torch.tensor([0.01, beta1, 0.99, 1e-8], dtype=torch.float64)
    squares = [t.square() for t in squares]
    args = (params, grads, moments if first else [], squares, steps, rates, counts, skip)
    return Update(name, update._adam_, args)


def lerp_call(name: str, make: Maker, shapes: list[tuple[int, ...]], weight: float) -> Update:
    """A step of a moving average."""
    averages, targets = ([_tensor(make, shape) for shape in shapes] for _ in range(2))
    return Update(name, update._lerp_, (averages, targets, torch.tensor(weight, dtype=torch.float64)))


def _update_calls(make: Maker, thorough: bool) -> Iterator[Call]:
    """One with tensors of whole vectors and others, of no element, one and more than a block's; one with several launches."""
    mixed: list[tuple[int, ...]] = [(3, 8), (), (0,), (5, 7), (2, 4100), (0, 4)]
    many = [(1 + i % 3,) for i in range(150)]
    settings = [(0.0, None, False), (0.9, 4, False), (0.9, 4, True)]
    if thorough:
        settings = list(itertools.product((0.0, 0.9), (None, 0, 1, 3, 4), (False, True)))
    for shapes in (mixed, many) if thorough else (mixed,):
        for beta1, broken, skip in settings:
            name = f"update adam {len(shapes)} {beta1} broken {broken} skip {skip}"
            yield adam_call(name, make, shapes, beta1=beta1, skip=skip, broken=broken)
        for weight in (0.0, 0.3, 0.999, 1.0) if thorough else (0.3,):
            yield lerp_call(f"update lerp {len(shapes)} {weight}", make, shapes, weight)
    yield adam_call("update adam without first moments", make, mixed, beta1=0.9, first=False)
    yield adam_call("update adam of nothing", make, [(0,)], beta1=0.9)
    if thorough:
        for shape in ((8191,), (8192,), (8193,), (16384 + 4,), (4096 * 5 + 2,)):
            yield adam_call(f"update adam {shape}", make, [shape, (3,)], beta1=0.9, broken=0)


def _tensor(make: Maker, shape: tuple[int, ...]) -> Tensor:
    return make.compute(*shape).clamp(-50, 50)


def _run_on_copies(function: Any, args: Any) -> list[Tensor]:
    args = [[t.clone() for t in a] if isinstance(a, list) else a for a in args]
    result = function(*args)
    written = [t for i, a in enumerate(args) if isinstance(a, list) and i != 1 for t in a]  # not gradients and targets
    return [*written, *([] if result is None else [result.nan_to_num(nan=-1.0)])]  # NaN equals nothing


def _as_list(result: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    return list(result) if isinstance(result, tuple) else [result]


def _widened(argument: Any) -> Any:
    """Images and what belongs to them in float64; filters are float32 in every call."""
    if isinstance(argument, list):
        return [_widened(a) for a in argument]
    return argument.double() if isinstance(argument, Tensor) and argument.is_floating_point() else argument

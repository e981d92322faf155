"""Calls of the ops with arguments made up by hypothesis: an error is fine, a crash or a wrong size is not.

As a script it loads the library that it is given, which may have been compiled with sanitizers: `fuzz.py LIBRARY EXAMPLES`.
"""

import sys
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stylegan.ops.bias_act import ACTIVATIONS, bias_act
from stylegan.ops.demodulation import demodulation
from stylegan.ops.filtered_lrelu import filtered_lrelu
from stylegan.ops.modulated_epilogue import modulated_epilogue
from stylegan.ops.modulation import modulation_grad
from stylegan.ops.normal import normal, uniform
from stylegan.ops.upfirdn2d import upfirdn2d

DTYPES = st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16])
SIDES, FACTORS, PADS = st.integers(0, 9), st.integers(0, 4), st.integers(-6, 9)
GAINS = st.sampled_from([1.0, -0.5, 2.0])
CLAMPS = st.sampled_from([None, 0.0, 0.3])
REFUSED = (ValueError, RuntimeError)


@st.composite
def images(draw: Any) -> torch.Tensor:
    """[N, C, H, W] of any size from 0, any type, and contiguous, channels_last, expanded, or a slice."""
    n, c, h, w = draw(st.integers(0, 3)), draw(st.integers(0, 20)), draw(SIDES), draw(SIDES)
    x = torch.randn(n, c, h, w, dtype=torch.float64).to(draw(DTYPES))
    match draw(st.integers(0, 3)):
        case 0:
            return x.contiguous(memory_format=torch.channels_last)
        case 1:
            return x[:, :, ::2, 1:]
        case 2:
            return x[:, :, :1, :1].expand(-1, -1, h, w) if h and w else x
    return x


@st.composite
def filters(draw: Any) -> torch.Tensor | None:
    """[h, w], [n], None, and sometimes something that is no filter."""
    shape = draw(st.lists(st.integers(0, 7), max_size=3))
    return torch.randn(shape) if shape else None


def backward(y: torch.Tensor, *inputs: torch.Tensor | None) -> None:
    leaves = [t for t in inputs if t is not None]
    first = torch.autograd.grad(y.sum() * 1.0 + y.square().sum(), leaves, create_graph=True, allow_unused=True)
    total = sum(g.square().sum() for g in first if g is not None)
    if isinstance(total, torch.Tensor) and total.requires_grad:
        torch.autograd.grad(total, leaves, allow_unused=True)


@given(images(), st.booleans(), st.sampled_from([*ACTIVATIONS, "none"]), GAINS, CLAMPS, st.integers(-5, 5))
def fuzz_bias_act(x: torch.Tensor, bias: bool, act: str, gain: float, clamp: float | None, dim: int) -> None:
    b = torch.randn(x.shape[dim % 4], dtype=x.dtype, requires_grad=True) if bias else None
    x.requires_grad_()
    try:
        y = bias_act(x, b, act=act, gain=gain, clamp=clamp, dim=dim)
    except REFUSED:
        return
    assert y.shape == x.shape
    backward(y, x, b)


@given(
    images(),
    filters(),
    st.lists(FACTORS, min_size=2, max_size=2),
    st.lists(FACTORS, min_size=2, max_size=2),
    st.lists(PADS, min_size=4, max_size=4),
    st.booleans(),
    GAINS,
)
def fuzz_upfirdn2d(
    x: torch.Tensor, f: torch.Tensor | None, up: list[int], down: list[int], padding: list[int], flip: bool, gain: float
) -> None:
    x.requires_grad_()
    try:
        y = upfirdn2d(x, f, up=up, down=down, padding=padding, flip_filter=flip, gain=gain)
    except REFUSED:
        return
    assert y.shape[:2] == x.shape[:2]
    backward(y, x)


@given(
    images(),
    filters(),
    filters(),
    st.booleans(),
    FACTORS,
    FACTORS,
    st.lists(PADS, min_size=4, max_size=4),
    CLAMPS,
    st.booleans(),
)
def fuzz_filtered_lrelu(
    x: torch.Tensor,
    fu: torch.Tensor | None,
    fd: torch.Tensor | None,
    bias: bool,
    up: int,
    down: int,
    padding: list[int],
    clamp: float | None,
    flip: bool,
) -> None:
    b = torch.randn(x.shape[1], dtype=x.dtype, requires_grad=True) if bias else None
    x.requires_grad_()
    try:
        y = filtered_lrelu(x, fu, fd, b, up=up, down=down, padding=padding, clamp=clamp, flip_filter=flip)
    except REFUSED:
        return
    assert y.shape[:2] == x.shape[:2]
    backward(y, x, b)


@given(
    images(), st.sampled_from(["lrelu", "linear", "relu"]), st.lists(st.integers(0, 2), min_size=3, max_size=3), CLAMPS
)
def fuzz_modulated_epilogue(x: torch.Tensor, act: str, given_: list[int], clamp: float | None) -> None:
    n, c, h, w = x.shape
    shapes: list[list[tuple[int, ...]]] = [[(n, c), (n, c + 1)], [(h, w), (n, 1, h, w)], [(c,), (c, 1)]]
    d, noise, b = (torch.rand(s[k - 1], requires_grad=True) if k else None for s, k in zip(shapes, given_, strict=True))
    x.requires_grad_()
    try:
        y = modulated_epilogue(x, d, noise, b, act=act, clamp=clamp)
    except REFUSED:
        return
    assert y.shape == x.shape
    backward(y, x, d, noise, b)


@given(images(), st.booleans(), st.booleans(), st.booleans())
def fuzz_modulation(x: torch.Tensor, zero: bool, last: bool, want_y: bool) -> None:
    s = torch.full(x.shape[:2], 0.0 if zero else 2.0, requires_grad=True)
    dy = torch.randn_like(x, memory_format=torch.channels_last if last else torch.contiguous_format)
    for t in (dy, x):
        t.requires_grad_()
    dx, ds, y = modulation_grad(dy, x, s, want_y)
    assert dx.shape == x.shape and ds.shape == s.shape and y.shape == (x.shape if want_y else (0,))
    first = torch.autograd.grad(dx.square().sum() + ds.square().sum() + y.square().sum(), [dy, x, s])
    assert [g.shape for g in first] == [t.shape for t in (dy, x, s)]


@given(images(), st.integers(0, 3))
def fuzz_demodulation(w: torch.Tensor, n: int) -> None:
    s = torch.randn(n, w.shape[1]).to(w.dtype).requires_grad_()
    w.requires_grad_()
    d = demodulation(s, w)
    assert d.shape == (n, w.shape[0])
    backward(d, s, w)


@given(
    st.sampled_from([normal, uniform]),
    st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=5),
    st.integers(-1, 300),
)
def fuzz_normal(draw: Any, indices: list[int], size: int) -> None:
    rows = torch.tensor(indices, dtype=torch.int64).repeat_interleave(2)[::2]
    try:
        numbers = draw(1, rows, size)
    except REFUSED:
        return
    assert numbers.shape == (len(indices), size)


@given(
    images(),
    images(),
    filters(),
    filters(),
    st.lists(st.integers(-3, 3), max_size=5),
    st.lists(PADS, max_size=5),
    st.booleans(),
)
def fuzz_below_the_checks(
    x: torch.Tensor,
    y: torch.Tensor,
    f: torch.Tensor | None,
    g: torch.Tensor | None,
    up: list[int],
    padding: list[int],
    flag: bool,
) -> None:
    """What the Python functions would have refused, given to the ops themselves."""
    f, g = torch.ones(1) if f is None else f, torch.ones(1, 1) if g is None else g
    ops, codes = torch.ops.stylegan, y.to(torch.uint8)
    calls = [
        lambda: ops.bias_act(x, f, "lrelu", 0.2, 1.0, 1.0, 1),
        lambda: ops.bias_act_grad(x, y, None, "tanh", 0.2, 1.0, 1.0, 1),
        lambda: ops.bias_act_grad2(x, x, y, None, "swish", 0.2, 1.0, 1.0, 1),
        lambda: ops.upfirdn2d(x, f, up, up, padding, flag, 1.0, y if flag else None),
        lambda: ops.filtered_lrelu(x, None, f, g, 2, 2, padding, 1.0, 0.2, 1.0, flag, True),
        lambda: ops.filtered_lrelu_masked(x, codes, f, g, 2, 1, padding, up, 1.0, 0.2, flag),
        lambda: ops.modulated_epilogue(x, g, f, f, "lrelu", 0.2, 1.0, 1.0),
        lambda: ops.modulated_epilogue_grad(x, y, x, None, None, f, None, "lrelu", 0.2, 1.0, 1.0, [flag] * 3),
        lambda: ops.modulated_epilogue_grad2(
            None, None, None, None, x, y, None, f, None, "lrelu", 0.2, 1.0, 1.0, [flag, False, False]
        ),
        lambda: ops.modulation_grad(x, y, g, flag, x),
        lambda: ops.modulation_grad2(None, g, x, y, x[:, :, 0, 0].float(), [flag, True, flag]),
        lambda: ops.modulation_grad2(y, None, x, x, x[:, :, 0, 0].float(), [flag, True]),
        lambda: ops.normal(1, x, up[0] if up else -1),
        lambda: ops.uniform(1, codes[0, 0, 0].long(), -1 if flag else 5),
        lambda: ops.demodulation(g, x, 1e-8),
        lambda: ops.demodulation_grad(g, g, x, g, [flag, True]),
        lambda: ops.demodulation_grad2(g, x, g, g, y, g, [True, flag]),
    ]
    for call in calls:
        try:
            call()
        except (*REFUSED, IndexError):
            continue


FUZZERS = (
    fuzz_bias_act,
    fuzz_upfirdn2d,
    fuzz_filtered_lrelu,
    fuzz_modulated_epilogue,
    fuzz_modulation,
    fuzz_demodulation,
    fuzz_normal,
    fuzz_below_the_checks,
)


SLOW_IS_FINE = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)


def run(examples: int) -> None:
    """Every fuzzer with that many examples, the same ones each time."""
    options = settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=SLOW_IS_FINE
    )
    for fuzzer in FUZZERS:
        options(fuzzer)()


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.ops.load_library(sys.argv[1])
    run(int(sys.argv[2]))
    print("no crash")

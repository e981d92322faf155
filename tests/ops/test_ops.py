"""Every op x sample: values, gradients, dtypes, memory formats, empty batches, and torch's own checks of custom ops."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from stylegan.ops import bias_act as bias_act_module
from stylegan.ops import demodulation as demodulation_module
from stylegan.ops import filtered_lrelu as filtered_lrelu_module
from stylegan.ops import modulated_epilogue as modulated_epilogue_module
from stylegan.ops import modulation as modulation_module
from stylegan.ops import upfirdn2d as upfirdn2d_module
from stylegan.ops.bias_act import ACTIVATIONS, bias_act
from stylegan.ops.conv2d import conv2d
from stylegan.ops.conv2d_resample import conv2d_resample
from stylegan.ops.demodulation import demodulation
from stylegan.ops.filtered_lrelu import filtered_lrelu
from stylegan.ops.modulated_conv2d import modulated_conv2d
from stylegan.ops.modulated_epilogue import modulated_epilogue
from stylegan.ops.modulation import modulation_grad
from stylegan.ops.torch_private import TorchDispatchMode
from stylegan.ops.upfirdn2d import downsample2d, setup_filter, upfirdn2d, upfirdn2d_beside
from tests.ops.cases import CASES, SAMPLES, inputs, pick

IMAGES = [entry for entry in SAMPLES if len(pick(entry)[1].shape) == 4]
EVERY = pytest.mark.parametrize("entry", SAMPLES, ids=lambda entry: f"{entry[0]}-{entry[1]}")
FORMATS = (torch.contiguous_format, torch.channels_last)
RTOL = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


@EVERY
def test_values_in_every_dtype_and_memory_format(entry: tuple[str, int]) -> None:
    case, sample = pick(entry)
    for dtype, rtol in RTOL.items():
        rounded = {name: t.double() for name, t in inputs(case, sample, dtype).items()}
        want = case.reference(**rounded, **sample.kwargs)
        for memory_format in FORMATS[: 2 if len(sample.shape) == 4 else 1]:
            got = case.op(**inputs(case, sample, dtype, memory_format), **sample.kwargs)
            assert got.dtype == dtype
            assert got.is_contiguous(memory_format=memory_format)
            atol = rtol * float(want.abs().max()) if want.numel() else 0.0
            torch.testing.assert_close(got.double(), want, rtol=rtol, atol=atol)


@EVERY
def test_half_types_are_computed_in_float32(entry: tuple[str, int]) -> None:
    case, sample = pick(entry)
    for dtype in (torch.bfloat16, torch.float16):
        args = inputs(case, sample, dtype)
        want = case.op(**{name: t.float() for name, t in args.items()}, **sample.kwargs).to(dtype)
        assert torch.equal(case.op(**args, **sample.kwargs), want)


@EVERY
def test_gradients_of_first_and_second_order(entry: tuple[str, int]) -> None:
    case, sample = pick(entry)
    args = {name: t.requires_grad_() for name, t in inputs(case, sample).items()}

    def call(*tensors: Tensor) -> Tensor:
        return case.op(**dict(zip(args, tensors, strict=True)), **sample.kwargs)

    assert torch.autograd.gradcheck(call, list(args.values()), fast_mode=True)
    assert torch.autograd.gradgradcheck(call, list(args.values()), fast_mode=True)


@EVERY
def test_gradients_equal_those_of_the_reference(entry: tuple[str, int]) -> None:
    case, sample = pick(entry)
    results = []
    for function in (case.op, case.reference):
        args = {name: t.requires_grad_() for name, t in inputs(case, sample).items()}
        leaves = list(args.values())
        y = function(**args, **sample.kwargs)
        first = torch.autograd.grad(y.square().sum(), leaves, create_graph=True)
        total = torch.stack([(g * (i + 1)).square().sum() for i, g in enumerate(first)]).sum()
        second = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
        results.append([y, *first, *second])
    for got, want in zip(*results, strict=True):
        scale = float(want.detach().abs().max()) if want.numel() else 0.0
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10 * (1 + scale))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("entry", IMAGES, ids=str)
def test_gradients_keep_the_memory_format(entry: tuple[str, int], dtype: torch.dtype) -> None:
    """And those of neighbouring formats are equal, also in the types in which networks are trained."""
    case, sample = pick(entry)
    results = []
    for memory_format in FORMATS:
        args = {name: t.requires_grad_() for name, t in inputs(case, sample, dtype, memory_format).items()}
        y = case.op(**args, **sample.kwargs)
        grads = torch.autograd.grad(y, list(args.values()), torch.ones_like(y))
        assert grads[0].is_contiguous(memory_format=memory_format)
        results.append(grads)
    rtol = 1e-4 if dtype == torch.float32 else 2e-2
    for a, b in zip(*results, strict=True):
        scale = float(a.abs().max()) if a.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=rtol, atol=rtol * scale)


@EVERY
def test_empty_batch(entry: tuple[str, int]) -> None:
    case, sample = pick(entry)
    args = inputs(case, sample)
    full = case.op(**args, **sample.kwargs)
    n = sample.shape[0]
    empty = {
        name: t[:0] if name in ("d", "s", "added") or (name == "noise" and t.ndim == 4) else t
        for name, t in args.items()
    }
    x = args["x"].detach()[:0].requires_grad_()
    y = case.op(**{**empty, "x": x}, **sample.kwargs)
    assert full.shape[0] == n and y.shape == (0, *full.shape[1:])
    y.sum().backward()
    assert x.grad is not None and x.grad.shape == x.shape


class Recorder(TorchDispatchMode):
    """Keeps every call of our ops."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, tuple[Any, tuple]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "stylegan":
            self.calls.setdefault(str(func), (func, args))
        return func(*args, **(kwargs or {}))


class Additions(TorchDispatchMode):
    """Counts the additions of tensors that torch makes."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += str(func).startswith("aten.add")
        return func(*args, **(kwargs or {}))


def recorded(entry: tuple[str, int], memory_format: torch.memory_format) -> list[tuple[Any, tuple]]:
    """The ops that a sample calls for its result and the gradients of both orders, with their arguments."""
    case, sample = pick(entry)
    with Recorder() as recorder:
        args = inputs(case, sample, torch.float32, memory_format)
        leaves = [t.requires_grad_() for t in args.values()]
        y = case.op(**args, **sample.kwargs)
        first = torch.autograd.grad(y.square().sum(), leaves, create_graph=True)
        total = torch.stack([g.square().sum() for g in first]).sum()
        torch.autograd.grad(total, leaves, allow_unused=True)
    return list(recorder.calls.values())


def differentiable(func: Any, args: tuple) -> tuple:
    """The arguments as leaves; those ask for a gradient that the op has one for."""
    last = str(func).endswith("grad2.default")  # no third order
    filters = 2 if "filtered" in str(func) or "upfirdn2d" in str(func) else len(args)

    def leaf(i: int, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        wanted = value.is_floating_point() and not last and i < filters and value.ndim != 2
        if "upfirdn2d" in str(func) or "masked" in str(func):
            wanted = i in (0, 7)
        return value.detach().clone().requires_grad_(wanted)

    return tuple(leaf(i, value) for i, value in enumerate(args))


CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
# Registration does not depend on the arguments.
CHECKED = [
    (name, i) for name, case in CASES.items() for i in range(0, len(case.samples), 9 if name == "bias_act" else 4)
]


@pytest.mark.parametrize("entry", CHECKED, ids=str)
@pytest.mark.parametrize("memory_format", FORMATS, ids=["nchw", "nhwc"])
def test_opcheck(entry: tuple[str, int], memory_format: torch.memory_format) -> None:
    func, args = recorded(entry, memory_format)[0]
    torch.library.opcheck(func, differentiable(func, args), test_utils=CHECKS)


@pytest.mark.parametrize(
    "entry",
    [
        ("bias_act", 3),
        ("bias_act", 12),
        ("filtered_lrelu", 0),
        ("modulated_epilogue", 3),
        ("modulation", 0),
        ("modulation", 1),
        ("demodulation", 2),
    ],
    ids=str,
)
def test_opcheck_of_the_gradient_ops(entry: tuple[str, int]) -> None:
    found = recorded(entry, torch.channels_last)[1:]
    assert found
    for func, args in found:
        torch.library.opcheck(func, differentiable(func, args), test_utils=CHECKS)


def test_gradients_of_demodulation_lie_in_memory_as_the_weights() -> None:
    """Otherwise every optimiser step would copy them."""
    s, w = torch.rand(2, 3, requires_grad=True), torch.rand(4, 3, 3, 3)
    for memory_format in FORMATS:
        weights = w.contiguous(memory_format=memory_format).requires_grad_()
        (ds,) = torch.autograd.grad(demodulation(s, weights).sum(), s, create_graph=True)
        (dw,) = torch.autograd.grad(ds.square().sum() + demodulation(s, weights).sum(), weights)
        assert dw.stride() == weights.stride()


@pytest.mark.parametrize("memory_format", FORMATS, ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", RTOL, ids=str)
def test_every_choice_of_the_second_gradients_of_a_product(dtype: torch.dtype, memory_format: Any) -> None:
    """Against the formulas in float64, also where an upstream gradient is missing or a style is zero."""
    draw = torch.Generator().manual_seed(0)
    dy, x, ddx = (torch.randn(2, 5, 7, 3, generator=draw).to(dtype) for _ in range(3))
    dy, x, ddx = (t.contiguous(memory_format=memory_format) for t in (dy, x, ddx))
    s, dds = (torch.randn(2, 5, generator=draw).to(torch.promote_types(dtype, torch.float32)) for _ in range(2))
    s[:, 1::2] = 0
    for up in ((ddx, dds), (ddx, None), (None, dds), (None, None)):
        by_x, by_s = (torch.zeros(()) if t is None else t.double() for t in up)
        scales, by_s = (t[:, :, None, None] if t.ndim else t for t in (s.double(), by_s))
        want = [by_x * scales + by_s * x.double(), by_s * dy.double(), (by_x * dy.double()).sum([2, 3])]
        for wanted in ([True] * 3, [True, False, False], [False, True, False], [False, False, True]):
            got = torch.ops.stylegan.modulation_grad2(*up, dy, x, s, wanted)
            for a, b, given in zip(got, want, wanted, strict=True):
                if given:
                    full = b.expand(a.shape).double()
                    torch.testing.assert_close(a.double(), full, rtol=RTOL[dtype], atol=10 * RTOL[dtype])
                    assert a.ndim == 2 or a.is_contiguous(memory_format=memory_format)
                else:
                    assert a.numel() == 0


@pytest.mark.parametrize("memory_format", FORMATS, ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", RTOL, ids=str)
def test_the_product_beside_its_gradients_is_that_of_torch(dtype: torch.dtype, memory_format: Any) -> None:
    """To the bit: features are the same in the gradient as they were when convolved. And asking for it changes nothing else."""
    draw = torch.Generator().manual_seed(0)
    for shape in ((2, 5, 7, 3), (2, 16, 8, 8)):
        dy, x = (torch.randn(shape, generator=draw).to(dtype).contiguous(memory_format=memory_format) for _ in range(2))
        s = torch.randn(shape[:2], generator=draw).to(dtype)
        wide = s.to(torch.promote_types(dtype, torch.float32))
        *grads, y = modulation_grad(dy, x, wide, True)
        *alone, none = modulation_grad(dy, x, wide)
        assert torch.equal(y, x * s[:, :, None, None]) and y.dtype == dtype and none.shape == (0,)
        assert y.is_contiguous(memory_format=memory_format)
        assert all(torch.equal(a, b) for a, b in zip(grads, alone, strict=True))


@pytest.mark.parametrize("memory_format", FORMATS, ids=["nchw", "nhwc"])
@pytest.mark.parametrize("want_y", [False, True])
@pytest.mark.parametrize("dtype", RTOL, ids=str)
def test_another_gradient_is_added_to_that_of_a_product(dtype: torch.dtype, want_y: bool, memory_format: Any) -> None:
    draw = torch.Generator().manual_seed(0)
    dy, x, more = (torch.randn(2, 16, 5, 3, generator=draw).to(dtype) for _ in range(3))
    dy, x = (t.contiguous(memory_format=memory_format) for t in (dy, x))
    s = torch.randn(2, 16, generator=draw).to(torch.promote_types(dtype, torch.float32))
    dx, *rest = modulation_grad(dy, x, s, want_y, more)
    want = dy.double() * s[:, :, None, None] + more.double()
    torch.testing.assert_close(dx.double(), want, rtol=RTOL[dtype], atol=RTOL[dtype])
    for a, b in zip(rest, modulation_grad(dy, x, s, want_y)[1:], strict=True):
        assert torch.equal(a, b)
    if dtype is torch.float64:
        leaves = [t.requires_grad_() for t in (dy, x, s, more)]
        assert torch.autograd.gradcheck(
            lambda dy, x, s, more: modulation_grad(dy, x, s, want_y, more), leaves, fast_mode=True
        )


@pytest.mark.parametrize(("up", "down"), [(2, 1), (1, 2)])
def test_what_reads_a_filtered_image_beside_the_filter(up: int, down: int) -> None:
    """Gradients of three orders are those of two readers, and are summed without an op of their own."""
    x, f = torch.randn(2, 3, 6, 4, dtype=torch.float64, requires_grad=True), setup_filter([1, 3, 3, 1])
    resample: dict[str, Any] = {"up": up, "down": down, "padding": [2, 1, 2, 1], "gain": 1.5}
    found = []
    for y, other in (upfirdn2d_beside(x, f, **resample), (upfirdn2d(x, f, **resample), x)):
        total, grads = y.sin().sum() + other.cos().sum(), []
        for _ in range(3):
            grads.append(torch.autograd.grad(total, x, create_graph=True)[0])
            total = grads[-1].square().sum()
        found.append((y, *grads))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)
    y, other = upfirdn2d_beside(x, f, **resample)
    with Additions() as additions:
        torch.autograd.grad([y, other], x, [torch.ones_like(y), torch.ones_like(x)], retain_graph=True)
    assert additions.count == 0
    for given, zero in ((y, False), (other, True)):  # only one of the two goes on
        (dx,) = torch.autograd.grad(given.sum(), x, retain_graph=True)
        assert torch.equal(dx, torch.ones_like(x)) is zero


def test_gradients_of_a_product_with_what_is_not_finite() -> None:
    """The gradient by x does not depend on x, whatever that is; the one by s shows that training broke."""
    x = torch.tensor([math.inf, -math.inf, math.nan, 1.0]).reshape(1, 4, 1, 1).expand(1, 4, 1, 5).contiguous()
    s = torch.tensor([[2.0, 0.0, 3.0, 4.0]])
    dx, ds, y = modulation_grad(torch.ones_like(x), x, s, True)
    assert torch.equal(dx, s[:, :, None, None].expand_as(x))
    assert torch.equal(y.isnan(), (x * s[:, :, None, None]).isnan()) and torch.equal(y[:, 0], x[:, 0])
    torch.testing.assert_close(ds, torch.tensor([[math.inf, -math.inf, math.nan, 5.0]]), equal_nan=True)


def test_third_order_of_demodulation_raises() -> None:
    s, w = (torch.rand(shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 3), (4, 3, 1, 1)))
    first = torch.autograd.grad(demodulation(s, w).sum(), [s, w], create_graph=True)
    second = torch.autograd.grad([g.square().sum() for g in first], [s, w], create_graph=True)
    with pytest.raises(RuntimeError, match="first and second order"):
        torch.autograd.grad([g.sum() for g in second], s)


def test_third_order_of_the_epilogue_raises() -> None:
    x, d = (torch.rand(shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 3, 4, 4), (2, 3)))
    first = torch.autograd.grad(modulated_epilogue(x, d, act="lrelu").square().sum(), [x, d], create_graph=True)
    second = torch.autograd.grad([g.square().sum() for g in first], [x, d], create_graph=True)
    with pytest.raises(RuntimeError, match="first and second order"):
        torch.autograd.grad([g.sum() for g in second], x)


@EVERY
def test_third_order_is_right_or_raises(entry: tuple[str, int]) -> None:
    """Linear and piecewise linear ops have gradients of any order; the others refuse, for zeros would pass unseen."""
    case, sample = pick(entry)
    refuses = entry[0] in ("modulated_epilogue", "modulation", "demodulation", "demodulation-nhwc") or (
        entry[0] == "bias_act" and not ACTIVATIONS[sample.kwargs["act"]].piecewise
    )
    results = []
    for function in (case.op, case.reference):
        leaves = [t.requires_grad_() for t in inputs(case, sample).values()]
        total = function(**dict(zip(sample.shapes, leaves, strict=True)), **sample.kwargs).pow(3).sum()
        for _ in range(2):
            grads = torch.autograd.grad(total, leaves, create_graph=True)
            total = torch.stack([g.square().sum() for g in grads]).sum()
        if function is case.op and refuses:
            with pytest.raises(RuntimeError, match="first and second order"):
                torch.autograd.grad(total, leaves)
            return
        results.append(torch.autograd.grad(total, leaves))
    for got, want in zip(*results, strict=True):
        scale = float(want.abs().max()) if want.numel() else 0.0
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-9 * (1 + scale))


def test_third_order_of_convolutions() -> None:
    x, w = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((2, 3, 5, 4), (4, 3, 3, 3)))
    results = []
    for function in (conv2d, F.conv2d):
        total = function(x, w, stride=2, padding=1).pow(3).sum()
        for _ in range(2):
            grads = torch.autograd.grad(total, [x, w], create_graph=True)
            total = torch.stack([g.square().mean() for g in grads]).sum()
        results.append(torch.autograd.grad(total, [x, w]))
    torch.testing.assert_close(*results, rtol=1e-9, atol=0)


@pytest.mark.parametrize("entry", IMAGES, ids=str)
def test_odd_strides(entry: tuple[str, int]) -> None:
    """A slice of something larger, transposed, and expanded."""
    case, sample = pick(entry)
    args = inputs(case, sample)
    want = case.op(**args, **sample.kwargs)
    x = args["x"]
    larger = x.new_full([size * 2 for size in x.shape], math.nan)
    larger[::2, ::2, ::2, ::2] = x
    turned = x.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0)
    for odd in (larger[::2, ::2, ::2, ::2], turned):
        torch.testing.assert_close(case.op(**{**args, "x": odd}, **sample.kwargs), want)


def test_second_derivative_of_piecewise_linear_is_zero_but_present() -> None:
    """An optimizer counts a zero gradient as a step and skips an absent one: they are not the same."""
    x, b = torch.randn(2, 3, 4, 4, requires_grad=True), torch.randn(3, requires_grad=True)
    (dx,) = torch.autograd.grad(bias_act(x, b, act="lrelu").sum(), x, create_graph=True)
    gx, gb = torch.autograd.grad(dx.sum(), [x, b])
    assert not gx.any() and not gb.any()


def test_identity_is_no_copy() -> None:
    x = torch.randn(2, 3)
    assert bias_act(x) is x


@pytest.mark.parametrize(
    "call",
    [
        lambda x: bias_act(x, act="leaky"),
        lambda x: bias_act(x, torch.zeros(5)),
        lambda x: bias_act(x, torch.zeros(3, dtype=torch.float64)),
        lambda x: bias_act(x, act="lrelu", alpha=-1),
        lambda x: bias_act(x, clamp=-1),
        lambda x: bias_act(x, clamp=math.nan),
        lambda x: upfirdn2d(x, torch.ones(9, 9)),
        lambda x: upfirdn2d(x, torch.ones(2, 2), up=0),
        lambda x: upfirdn2d(x, torch.ones(2, 2), padding=[1, 2, 3]),
        lambda x: upfirdn2d(x, torch.ones(2, 2, requires_grad=True)),
        lambda x: upfirdn2d(x[0], torch.ones(2, 2)),
        lambda x: upfirdn2d(x, torch.ones(2, 2, 2)),
        lambda x: upfirdn2d(x, torch.ones(2, 2, device="meta")),
        lambda x: upfirdn2d(x.int(), torch.ones(2, 2)),
        lambda x: upfirdn2d(x, torch.ones(2, 2), up=1.5),  # pyright: ignore[reportArgumentType]
        lambda x: upfirdn2d(x, torch.ones(2, 2), down=[1.5, 2]),  # pyright: ignore[reportArgumentType]
        lambda x: upfirdn2d(x, torch.ones(2, 2), padding="same"),  # pyright: ignore[reportArgumentType]
        lambda x: upfirdn2d(x, [1, 3, 3, 1]),  # pyright: ignore[reportArgumentType]
        lambda x: downsample2d(x, torch.tensor(1.0)),
        lambda x: upfirdn2d(x, torch.ones(2, 2), padding=-3),
        lambda x: upfirdn2d(x, torch.ones(2, 2), added=x),
        lambda x: upfirdn2d(x, None, added=x.double()),
        lambda x: bias_act(x, torch.zeros(3, device="meta")),
        lambda x: bias_act(x.int()),
        lambda x: bias_act(x, torch.zeros(3), dim=7),
        lambda x: filtered_lrelu(x, torch.ones(9), up=1),
        lambda x: filtered_lrelu(x, torch.ones(2), up=0),
        lambda x: filtered_lrelu(x, b=torch.zeros(3).half()),
        lambda x: filtered_lrelu(x, b=torch.zeros(3, device="meta")),
        lambda x: filtered_lrelu(x, slope=-1),
        lambda x: filtered_lrelu(x, slope=math.nan),
        lambda x: filtered_lrelu(x, clamp=math.nan),
        lambda x: filtered_lrelu(x, up=[2, 2]),  # pyright: ignore[reportArgumentType]
        lambda x: modulated_epilogue(x, torch.ones(3, 2)),
        lambda x: modulated_epilogue(x, noise=torch.ones(4)),
        lambda x: modulated_epilogue(x, b=torch.ones(3, device="meta")),
        lambda x: modulated_epilogue(x, act="tanh"),
        lambda x: modulated_epilogue(x, gain=0),
        lambda x: modulated_epilogue(x[0]),
        lambda x: modulation_grad(x, x, torch.ones(3, 2)),
        lambda x: modulation_grad(x, x, torch.ones(2, 3, device="meta")),
        lambda x: modulation_grad(x, x, torch.ones(2, 3).int()),
        lambda x: modulation_grad(x[:, :, 1:], x, torch.ones(2, 3)),
        lambda x: modulation_grad(x.double(), x, torch.ones(2, 3)),
        lambda x: modulation_grad(x[0], x[0], torch.ones(2, 3)),
        lambda x: modulation_grad(x.int(), x.int(), torch.ones(2, 3)),
        lambda x: modulation_grad(x, x, torch.ones(2, 3), more=x[:, :, 1:]),
        lambda x: conv2d(x, torch.ones(2, 3, 3, 3), stride=1.5),  # pyright: ignore[reportArgumentType]
        lambda x: conv2d(x, torch.ones(2, 3, 0, 3)),
        lambda x: conv2d_resample(x, torch.ones(2, 3, 3, 3), up=0),
        lambda x: conv2d_resample(x, torch.ones(3, 3, 3)),
        lambda x: conv2d_resample(x, torch.ones(2, 3, 1, 1), padding=-9),
        lambda x: modulated_conv2d(x, torch.ones(2, 3, 3, 3), torch.ones(2, 2)),
        lambda x: modulated_conv2d(x, torch.ones(2, 3, 3, 3), torch.ones(1, 3)),
        lambda x: modulated_conv2d(x, torch.ones(2, 3, 3), torch.ones(2, 3)),
        lambda x: modulated_conv2d(x[0], torch.ones(2, 3, 3, 3), torch.ones(2, 3)),
        lambda x: modulated_conv2d(x, torch.ones(2, 3, 3, 3), torch.ones(2, 3).double()),
        lambda x: modulated_conv2d(x, torch.ones(2, 3, 3, 3), torch.ones(2, 3).int()),
        lambda x: modulated_conv2d(x, torch.ones(2, 3, 3, 3), torch.ones(2, 3, device="meta")),
        lambda x: demodulation(x[0, 0], x),
        lambda x: demodulation(x, x),
        lambda x: demodulation(torch.ones(2, 3).half(), x),
        lambda x: demodulation(torch.ones(2, 3, device="meta"), x),
        lambda x: demodulation(torch.ones(2, 3).int(), x),
    ],
)
def test_wrong_arguments_are_refused(call: Any) -> None:
    with pytest.raises(ValueError):
        call(torch.randn(2, 3, 4, 4))


def test_modules_name_their_schemas() -> None:
    for module in (
        bias_act_module,
        upfirdn2d_module,
        filtered_lrelu_module,
        modulated_epilogue_module,
        modulation_module,
        demodulation_module,
    ):
        assert module.__doc__ is not None and "stylegan::" in module.__doc__

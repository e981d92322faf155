"""Every op x sample: values, gradients, dtypes, memory formats, empty batches, and torch's own checks of custom ops."""

from typing import Any

import pytest
import torch
from torch import Tensor

from stylegan.ops import bias_act as bias_act_module
from stylegan.ops import upfirdn2d as upfirdn2d_module
from stylegan.ops.bias_act import ACTIVATIONS, bias_act
from stylegan.ops.upfirdn2d import upfirdn2d
from tests.ops.cases import SAMPLES, inputs, pick

IMAGES = [entry for entry in SAMPLES if len(pick(entry)[1].shape) == 4]
EVERY = pytest.mark.parametrize("entry", SAMPLES, ids=lambda entry: f"{entry[0]}-{entry[1]}")
FORMATS = (torch.contiguous_format, torch.channels_last)
RTOL = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


@EVERY
def test_values_in_every_dtype_and_memory_format(entry: tuple[str, int]) -> None:
    case, sample = pick(entry)
    want = case.reference(*inputs(sample), **sample.kwargs)
    for dtype, rtol in RTOL.items():
        for memory_format in FORMATS[: 2 if len(sample.shape) == 4 else 1]:
            args = inputs(sample, dtype, memory_format)
            got = case.op(*args, **sample.kwargs)
            assert got.dtype == dtype
            assert got.is_contiguous(memory_format=memory_format)
            torch.testing.assert_close(got.double(), want, rtol=rtol, atol=rtol * float(want.abs().max()))


@EVERY
def test_half_types_are_computed_in_float32(entry: tuple[str, int]) -> None:
    case, sample = pick(entry)
    for dtype in (torch.bfloat16, torch.float16):
        args = inputs(sample, dtype)
        want = case.op(*[a.float() for a in args], **sample.kwargs).to(dtype)
        assert torch.equal(case.op(*args, **sample.kwargs), want)


@EVERY
def test_gradients_of_first_and_second_order(entry: tuple[str, int]) -> None:
    case, sample = pick(entry)
    args = [a.requires_grad_() for a in inputs(sample)]
    assert torch.autograd.gradcheck(lambda *a: case.op(*a, **sample.kwargs), args, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda *a: case.op(*a, **sample.kwargs), args, fast_mode=True)


@EVERY
def test_gradients_equal_those_of_the_reference(entry: tuple[str, int]) -> None:
    case, sample = pick(entry)
    results = []
    for function in (case.op, case.reference):
        x, *rest = [a.requires_grad_() for a in inputs(sample)]
        y = function(x, *rest, **sample.kwargs)
        (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        second = torch.autograd.grad(dx.square().sum(), [x, *rest], allow_unused=True)
        results.append(
            [y, dx, *[torch.zeros_like(a) if g is None else g for a, g in zip([x, *rest], second, strict=True)]]
        )
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("entry", IMAGES, ids=str)
def test_gradients_keep_the_memory_format(entry: tuple[str, int]) -> None:
    case, sample = pick(entry)
    x, *rest = inputs(sample, torch.float32, torch.channels_last)
    x.requires_grad_()
    y = case.op(x, *rest, **sample.kwargs)
    (dx,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert dx.is_contiguous(memory_format=torch.channels_last)


@EVERY
def test_empty_batch(entry: tuple[str, int]) -> None:
    case, sample = pick(entry)
    args = [a.requires_grad_() for a in inputs(sample)]
    full = case.op(*args, **sample.kwargs)
    x = args[0].detach()[:0].requires_grad_()
    y = case.op(x, *args[1:], **sample.kwargs)
    assert y.shape == (0, *full.shape[1:])
    y.sum().backward()
    assert x.grad is not None and x.grad.shape == x.shape


def dispatched_arguments(name: str, sample: Any, x: Tensor, *rest: Tensor) -> tuple:
    """The arguments of the op below the wrapper."""
    k = dict(sample.kwargs)
    if name == "bias_act":
        act = k.get("act", "linear")
        alpha, gain = k.get("alpha", ACTIVATIONS[act].alpha), k.get("gain", ACTIVATIONS[act].gain)
        return (x, rest[0] if rest else None, act, alpha, gain, k.get("clamp", float("inf")), k.get("dim", 1))
    f = torch.ones(1, 1) if k["f"] is None else k["f"]
    sides = upfirdn2d_module.four_sides(k.get("padding", 0))
    up, down = upfirdn2d_module.pair(k.get("up", 1)), upfirdn2d_module.pair(k.get("down", 1))
    return (x, f, up, down, sides, k.get("flip_filter", False), float(k.get("gain", 1)))


@pytest.mark.parametrize("entry", SAMPLES[::3], ids=str)  # registration does not depend on the arguments
@pytest.mark.parametrize("memory_format", FORMATS, ids=["nchw", "nhwc"])
def test_opcheck(entry: tuple[str, int], memory_format: torch.memory_format) -> None:
    case, sample = pick(entry)
    args = [a.requires_grad_() for a in inputs(sample, torch.float32, memory_format)]
    torch.library.opcheck(
        getattr(torch.ops.stylegan, case.dispatched).default, dispatched_arguments(entry[0], sample, *args)
    )


@pytest.mark.parametrize("act", ["lrelu", "swish"])
def test_opcheck_of_the_gradient_ops(act: str) -> None:
    x, dy, ddx = (torch.randn(2, 3, 4, 4, requires_grad=True) for _ in range(3))
    b = torch.randn(3, requires_grad=True)
    rest = (act, 0.2, 1.4, 0.9, 1)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(torch.ops.stylegan.bias_act_grad.default, (dy, x, b, *rest), test_utils=checks)
    if act == "swish":
        args = (ddx.detach(), dy.detach(), x.detach(), b.detach(), *rest)
        torch.library.opcheck(torch.ops.stylegan.bias_act_grad2.default, args)


@pytest.mark.parametrize("act", [name for name, a in ACTIVATIONS.items() if not a.piecewise])
def test_third_order_raises(act: str) -> None:
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(bias_act(x, act=act).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="first and second order"):
        torch.autograd.grad(second.sum(), x)


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
        lambda x: upfirdn2d(x, torch.ones(9, 9)),
        lambda x: upfirdn2d(x, torch.ones(2, 2), up=0),
        lambda x: upfirdn2d(x, torch.ones(2, 2), padding=[1, 2, 3]),
        lambda x: upfirdn2d(x, torch.ones(2, 2, requires_grad=True)),
        lambda x: upfirdn2d(x[0], torch.ones(2, 2)),
    ],
)
def test_wrong_arguments_are_refused(call: Any) -> None:
    with pytest.raises(ValueError):
        call(torch.randn(2, 3, 4, 4))


def test_modules_name_their_schemas() -> None:
    for module in (bias_act_module, upfirdn2d_module):
        assert module.__doc__ is not None and "stylegan::" in module.__doc__

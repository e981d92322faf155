"""Convolutions with factors of features and weights: the same as convolving the products, with less kept for gradients."""

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from stylegan.ops.conv2d import conv2d, conv_transpose2d
from stylegan.ops.scaled_conv2d import scaled_conv2d, scaled_conv2d_beside
from tests.ops.test_ops import Additions, Recorder


def leaves(dtype: torch.dtype, transpose: bool) -> tuple[Tensor, Tensor, Tensor]:
    """x [N, I, H, W], w and s."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 6, 7, generator=draw, dtype=dtype).contiguous(memory_format=torch.channels_last)
    w = torch.randn((5, 4, 3, 3) if transpose else (4, 5, 3, 3), generator=draw, dtype=dtype)
    return x.requires_grad_(), w.requires_grad_(), torch.randn(2, 5, generator=draw, dtype=dtype).requires_grad_()


def convolve(x: Tensor, w: Tensor, s: Tensor | None, gain: float, transpose: bool, stride: int) -> Tensor:
    """What it is."""
    function = conv_transpose2d if transpose else conv2d
    return function(x if s is None else x * s[:, :, None, None], w * gain, stride=stride, padding=1)


def gradients(y: Tensor, inputs: list[Tensor], orders: int) -> list[Tensor]:
    """y and its gradients of so many orders."""
    results, total = [y], y.sin().sum()
    for _ in range(orders):
        grads = torch.autograd.grad(total, inputs, create_graph=True)
        results += grads
        total = sum((g.square().sum() for g in grads), y.new_zeros([]))
    return results


@pytest.mark.parametrize("stride", [1, 2])  # at 2, one row and column of x have no influence on y
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize(("styles", "gain"), [(True, 1.0), (False, 0.3), (True, -1.7)])
def test_values_and_gradients(styles: bool, gain: float, transpose: bool, stride: int) -> None:
    x, w, s = leaves(torch.float64, transpose)
    with torch.no_grad():
        s[0, 1] = 0
    factors, inputs, orders = (s, [x, w, s], 2) if styles else (None, [x, w], 3)
    got = gradients(scaled_conv2d(x, w, factors, gain, transpose=transpose, stride=stride, padding=1), inputs, orders)
    want = gradients(convolve(x, w, factors, gain, transpose, stride), inputs, orders)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11 * float(b.detach().abs().max()))


def test_a_third_order_with_styles_raises() -> None:
    x, w, s = leaves(torch.float64, False)
    with pytest.raises(RuntimeError, match="modulation has gradients of first and second order"):
        gradients(scaled_conv2d(x, w, s, padding=1), [x, w, s], 3)


def test_gradients_in_half_types_are_those_of_the_rounded_features() -> None:
    """Styles in float32 keep their type, and the sums over pixels are not rounded on the way."""
    x, w, s = leaves(torch.float32, False)
    half = x.detach().bfloat16().requires_grad_()
    dx, ds = torch.autograd.grad(scaled_conv2d(half, w, s, padding=1).float().sum(), [half, s])
    rounded = s.detach().bfloat16().requires_grad_()
    scaled = (half * rounded[:, :, None, None]).detach().requires_grad_()
    (up,) = torch.autograd.grad(conv2d(scaled, w.bfloat16(), padding=1).float().sum(), scaled)
    assert torch.equal(dx, up * rounded[:, :, None, None]) and dx.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ds, (up.double() * half).sum([2, 3]).float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("transpose", [False, True])
def test_second_gradients_by_way_of_the_weights(transpose: bool) -> None:
    """The gradient by w depends on x and s through the features that come with their gradients."""
    x, w, s = leaves(torch.float64, transpose)

    def call(x: Tensor, w: Tensor, s: Tensor) -> Tensor:
        return scaled_conv2d(x, w, s, 0.7, transpose=transpose, padding=1)

    assert torch.autograd.gradgradcheck(call, (x, w, s), fast_mode=True)
    *_, dw, _ = gradients(call(x, w, s), [x, w, s], 1)
    *_, wanted, _ = gradients(convolve(x, w, s, 0.7, transpose, 1), [x, w, s], 1)
    for got, want in zip(*(torch.autograd.grad(g.square().sum(), [x, s]) for g in (dw, wanted)), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-11 * float(want.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_features_in_the_weights_gradient_are_those_that_were_convolved(dtype: torch.dtype) -> None:
    x, w, s = leaves(torch.float32, False)
    x = x.detach().to(dtype).requires_grad_()
    alone, together = (
        dict(zip("wxs", torch.autograd.grad(scaled_conv2d(x, w, s, padding=1).sin().sum(), inputs), strict=False))
        for inputs in ([w], [w, x, s])
    )
    assert torch.equal(alone["w"], together["w"])


@pytest.mark.parametrize("styles", [False, True])
@pytest.mark.parametrize("transpose", [False, True])
def test_what_reads_the_features_beside_the_convolution(transpose: bool, styles: bool) -> None:
    """Gradients of both orders are those of two readers; with styles they are summed without an op of their own."""
    x, w, s = leaves(torch.float64, transpose)
    factors, inputs, found = (s, [x, w, s], []) if styles else (None, [x, w], [])
    for y, other in (
        scaled_conv2d_beside(x, w, factors, 0.7, transpose=transpose, padding=1),
        (convolve(x, w, factors, 0.7, transpose, 1), x),
    ):
        found.append(gradients(torch.cat([y.flatten(), other.flatten()]), inputs, 2))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11 * float(b.detach().abs().max()))
    y, other = scaled_conv2d_beside(x, w, factors, 0.7, transpose=transpose, padding=1)
    with Additions() as additions:
        torch.autograd.grad([y, other], inputs, [torch.ones_like(y), torch.ones_like(x)], retain_graph=True)
    assert additions.count == (0 if styles else 1)
    assert torch.equal(torch.autograd.grad(other.sum(), x)[0], torch.ones_like(x))


def test_features_and_styles_share_one_pass_where_both_are_wanted() -> None:
    """And the features, where the gradient by w needs them once more."""
    x, w, s = leaves(torch.float32, False)
    for inputs, shared in (([x, w, s], [True]), ([x, s], [False]), ([x], []), ([s], []), ([w], []), ([x, w], [])):
        y = scaled_conv2d(x, w, s, padding=1)
        with Recorder() as recorder:
            torch.autograd.grad(y.sum(), inputs)
        assert [args[3] for name, (_, args) in recorder.calls.items() if "modulation_grad" in name] == shared


@pytest.mark.parametrize("frozen", range(3))
def test_what_asks_for_no_gradient_gets_none(frozen: int) -> None:
    tensors = [t.detach().requires_grad_(i != frozen) for i, t in enumerate(leaves(torch.float64, False))]
    asking = [t for t in tensors if t.requires_grad]
    x, w, s = tensors
    got = torch.autograd.grad(scaled_conv2d(x, w, s, padding=1).square().sum(), asking)
    want = torch.autograd.grad(convolve(x, w, s, 1.0, False, 1).square().sum(), asking)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


def test_weights_in_float32_are_rounded_after_scaling() -> None:
    x, w, s = leaves(torch.float32, False)
    x, gain = x.detach().bfloat16(), 1 / 3
    y = scaled_conv2d(x, w, s, gain, padding=1)
    assert torch.equal(y, conv2d(x * s[:, :, None, None].bfloat16(), (w * gain).bfloat16(), padding=1))
    dw, ds = torch.autograd.grad(y.float().sum(), [w, s])
    assert dw.dtype is ds.dtype is torch.float32


def test_products_are_not_kept() -> None:
    x, w, s = leaves(torch.float32, False)
    own = {t.untyped_storage().data_ptr() for t in (x, w, s)}
    kept: list[int] = []

    def note(t: Tensor) -> Tensor:
        kept.append(t.untyped_storage().data_ptr())
        return t

    with saved_tensors_hooks(note, lambda t: t):
        y = scaled_conv2d(x, w, s, 0.5, padding=1)
        assert set(kept) == own
        kept.clear()
        torch.autograd.grad(y.sum(), x, create_graph=True)
        assert w.untyped_storage().data_ptr() in kept

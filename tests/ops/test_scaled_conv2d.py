"""Convolutions with factors of features and weights: the same as convolving the products, with less kept for gradients."""

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from stylegan.ops.conv2d import conv2d, conv_transpose2d
from stylegan.ops.scaled_conv2d import scaled_conv2d


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


def three_orders(y: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    first = torch.autograd.grad(y.sin().sum(), inputs, create_graph=True)
    second = torch.autograd.grad(sum((g.square().sum() for g in first), y.new_zeros([])), inputs, create_graph=True)
    third = torch.autograd.grad(sum((g.square().sum() for g in second), y.new_zeros([])), inputs)
    return [y, *first, *second, *third]


@pytest.mark.parametrize("stride", [1, 2])  # at 2, one row and column of x have no influence on y
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize(("styles", "gain"), [(True, 1.0), (False, 0.3), (True, -1.7)])
def test_values_and_gradients(styles: bool, gain: float, transpose: bool, stride: int) -> None:
    x, w, s = leaves(torch.float64, transpose)
    factors, inputs = (s, [x, w, s]) if styles else (None, [x, w])
    got = three_orders(scaled_conv2d(x, w, factors, gain, transpose=transpose, stride=stride, padding=1), inputs)
    want = three_orders(convolve(x, w, factors, gain, transpose, stride), inputs)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11 * float(b.detach().abs().max()))


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

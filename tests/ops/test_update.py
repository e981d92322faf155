"""Adam, the moving average and the norm over lists of parameters, against torch, compiled and as reference."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from stylegan.ops.update import adam_, lerp_, total_norm
from stylegan.training.adam import Adam

SHAPES = ([], [1], [17], [32, 16, 3, 3], [0], [300, 211])  # the last one is more than a thread takes at once


def tensors(seed: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    made = [torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype) for shape in SHAPES]
    return [t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for t in made]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_steps_are_those_of_torch(beta1: float, dtype: torch.dtype) -> None:
    """With a parameter whose gradients begin later, and one whose gradient lies in memory in another order."""
    ours = [t.requires_grad_() for t in tensors(0, dtype)]
    theirs = [t.requires_grad_() for t in tensors(0, dtype)]
    options = {"lr": 0.01, "betas": (beta1, 0.99), "eps": 1e-8}
    mine, torchs = Adam(ours, **options), torch.optim.Adam(theirs, foreach=False, fused=False, **options)
    for step in range(4):
        for i, (p, q, g) in enumerate(zip(ours, theirs, tensors(step + 1, dtype), strict=True)):
            late = i == 2 and step < 2
            p.grad = None if late else g.contiguous().clone()
            q.grad = None if late else g.clone()
        mine.step()
        torchs.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=5e-7)
    got, want = mine.state_dict()["state"], torchs.state_dict()["state"]
    assert got.keys() == want.keys()
    for i, state in want.items():
        assert state.keys() == got[i].keys() and got[i]["step"] == state["step"]
        for name in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(got[i][name], state[name], rtol=1e-6, atol=5e-7)


@pytest.mark.parametrize("weight", [0.0, 0.001, 0.9, 1.0])
@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_averages_move_in_the_same_pass(beta1: float, weight: float) -> None:
    """Also those of parameters that have no gradient: equal in every bit to a step and a move."""

    def start() -> tuple[list[Tensor], list[Tensor], Adam]:
        params = [t.requires_grad_() for t in tensors(0)]
        for i, (p, g) in enumerate(zip(params, tensors(1), strict=True)):
            p.grad = None if i == 3 else g
        return params, tensors(2), Adam(params, lr=0.01, betas=(beta1, 0.99), eps=1e-8)

    params, averages, optimizer = start()
    optimizer.step(averages=dict(zip(params, averages, strict=True)), weight=weight)
    apart, want, other = start()
    other.step()
    with torch.no_grad():
        lerp_(want, apart, weight)
    assert all(torch.equal(a, b) for a, b in zip([*params, *averages], [*apart, *want], strict=True))
    assert weight == 0 or not torch.equal(averages[3], tensors(2)[3])


def test_a_graph_notices_that_a_parameter_was_changed() -> None:
    p = torch.ones(3, requires_grad=True)
    loss = p.square().sum()
    p.grad = torch.ones(3)
    Adam([p], lr=0.01, betas=(0.0, 0.99), eps=1e-8).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_going_on_from_a_state_dict_is_exact(beta1: float) -> None:
    def fresh() -> tuple[list[Tensor], Adam]:
        params = [t.requires_grad_() for t in tensors(0)]
        return params, Adam(params, lr=0.01, betas=(beta1, 0.99), eps=1e-8)

    def advance(params: list[Tensor], optimizer: Adam, step: int) -> None:
        for p, g in zip(params, tensors(step + 1), strict=True):
            p.grad = g
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    whole, optimizer = fresh()
    saved: tuple = ()
    for step in range(4):
        if step == 2:
            saved = copy.deepcopy((optimizer.state_dict(), [p.detach().clone() for p in whole]))
        advance(whole, optimizer, step)
    resumed, optimizer = fresh()
    for state in saved[0]["state"].values():  # a version that laid weights out otherwise may have saved it
        state["exp_avg_sq"] = state["exp_avg_sq"].contiguous()
    optimizer.load_state_dict(saved[0])
    with torch.no_grad():
        for p, value in zip(resumed, saved[1], strict=True):
            p.copy_(value)
    for step in range(2, 4):
        advance(resumed, optimizer, step)
    assert all(torch.equal(p, q) for p, q in zip(whole, resumed, strict=True))


@pytest.mark.parametrize("weight", [0.0, 0.001, 0.5, 0.9, 1.0])
def test_lerp(weight: float) -> None:
    averages, targets = tensors(0), tensors(1)
    want = [a.lerp(t, weight) for a, t in zip(averages, targets, strict=True)]
    lerp_(averages, [t.contiguous() for t in targets], weight)  # one lies in memory in another order
    for got, expected in zip(averages, want, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
        assert weight not in (0.0, 1.0) or torch.equal(got, expected)


def test_norm_of_all_elements() -> None:
    values = [*tensors(0), torch.randn(6, 5)[:, ::2], torch.ones(1).expand(9)]
    want = torch.cat([v.flatten().double() for v in values]).norm()
    torch.testing.assert_close(total_norm(values), want.float(), rtol=1e-7, atol=0)
    assert total_norm([]) == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_the_norm_shows_what_is_not_finite(bad: float) -> None:
    for i in (2, 3, 5):
        values = tensors(0)
        values[i][..., -1] = bad
        assert not total_norm(values).isfinite()


def test_the_norm_of_large_numbers_is_finite() -> None:
    assert total_norm([torch.full([100], 1e30)]) == pytest.approx(1e31)


@pytest.mark.parametrize("other", [torch.zeros(4), torch.zeros(3).double(), torch.zeros(3, device="meta")], ids=str)
def test_tensors_that_do_not_go_together_are_refused(other: Tensor) -> None:
    t, step = torch.zeros(3), torch.zeros([])
    rates: dict[str, Any] = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8}
    for lists in ((other, t, t, t), (t, other, t, t), (t, t, other, t), (t, t, t, other)):
        grad, first, second, average = ([x] for x in lists)
        with pytest.raises(ValueError, match="adam_ needs lists of alike tensors, but number 0"):
            adam_([t], grad, first, second, [step], average, **rates)
    with pytest.raises(ValueError, match="adam_ counts steps in float32"):
        adam_([t], [t], [t], [t], [step.int()], **rates)
    with pytest.raises(ValueError, match="lerp_ needs lists of alike tensors, but number 1"):
        lerp_([t, t], [t, other], 0.5)
    assert step == 0


def test_lists_of_different_lengths_are_refused() -> None:
    a = tensors(0)
    with pytest.raises(ValueError, match="two lists"):
        lerp_(a, a[:1], 0.5)
    with pytest.raises(ValueError, match="lists of one length"):
        adam_(a, a[:1], a, a, a, lr=1, beta1=0, beta2=0, eps=1)
    with pytest.raises(ValueError, match="lists of one length"):
        adam_(a, a, a, a, a, a[1:], lr=1, beta1=0, beta2=0, eps=1)


def test_opcheck() -> None:
    steps = [torch.zeros([]) for _ in SHAPES]
    checks = ("test_schema", "test_faketensor")
    lists = (tensors(0), tensors(1), tensors(2), [t.square() for t in tensors(3)], steps)
    torch.library.opcheck(torch.ops.stylegan.adam_.default, (*lists, [], 0.1, 0.9, 0.99, 1e-8, 0.0), test_utils=checks)
    rates = (0.1, 0.9, 0.99, 1e-8, 0.3)
    torch.library.opcheck(torch.ops.stylegan.adam_.default, (*lists, tensors(4), *rates), test_utils=checks)
    torch.library.opcheck(torch.ops.stylegan.lerp_.default, (tensors(0), tensors(1), 0.3), test_utils=checks)
    torch.library.opcheck(torch.ops.stylegan.square_sum.default, (tensors(0),), test_utils=checks)

"""Adam, the moving average and the norm over lists of parameters, against torch, compiled and as reference."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from stylegan.ops.update import adam_, clamp_nonfinite_, lerp_, total_norm
from stylegan.training.adam import Adam

SHAPES = ([], [1], [17], [32, 16, 3, 3], [0], [300, 211])  # the last one is more than a thread takes at once


def tensors(seed: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    made = [torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype) for shape in SHAPES]
    return [t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for t in made]


def adam(params: list[Tensor], beta1: float = 0.0) -> Adam:
    optimizer = Adam(params, eps=1e-8)
    optimizer.set_rates(0.01, beta1, 0.99)
    return optimizer


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_steps_are_those_of_torch(beta1: float, dtype: torch.dtype) -> None:
    """With a parameter whose gradients begin later, and one whose gradient lies in memory in another order."""
    ours = [t.requires_grad_() for t in tensors(0, dtype)]
    theirs = [t.requires_grad_() for t in tensors(0, dtype)]
    options = {"lr": 0.01, "betas": (beta1, 0.99), "eps": 1e-8}
    mine, torchs = adam(ours, beta1), torch.optim.Adam(theirs, foreach=False, fused=False, **options)
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


def with_broken(grads: list[Tensor]) -> list[Tensor]:
    """All that is not finite, in tensors of no, one, few and many elements; others stay as they are."""
    grads[0].fill_(math.nan)
    grads[2][-1] = math.inf
    grads[3][7, 3, 1, 2], grads[3][7, 3, 1, 1] = -math.inf, math.nan
    grads[5][0, :5], grads[5][299, 210] = math.nan, -math.inf
    return grads


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_a_step_with_what_is_not_finite_is_one_with_clamped_gradients(beta1: float, dtype: torch.dtype) -> None:
    """Equal in every bit, moments, too, and the gradients are left as they came, to be reported."""

    def after(clamp_first: bool) -> tuple[list[Tensor], float]:
        params = [t.requires_grad_() for t in tensors(0, dtype)]
        optimizer = adam(params, beta1)
        norm = torch.zeros([])
        for step in range(3):
            for p, g in zip(params, with_broken(tensors(step + 3, dtype)), strict=True):
                p.grad = g.contiguous()  # one lies in memory in another order than its parameter
            grads = [p.grad for p in params if p.grad is not None]
            came = copy.deepcopy(grads)
            if clamp_first:
                for g in grads:
                    clamp_nonfinite_(g)
            norm = optimizer.step()
            grads = [p.grad for p in params if p.grad is not None]
            if not clamp_first:
                assert all(
                    torch.allclose(g, c, rtol=0, atol=0, equal_nan=True) for g, c in zip(grads, came, strict=True)
                )
                for g in grads:
                    clamp_nonfinite_(g)
        moments = [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
        return [*params, *moments], float(norm)

    (got, norm), (want, clamped_norm) = after(False), after(True)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    assert all(t.isfinite().all() for t in got)
    assert math.isnan(norm) and clamped_norm > 1e5


def test_what_is_clamped() -> None:
    """As the papers' code: NaN is 0, infinities are +-1e5; what is finite stays, however large."""
    values = torch.tensor([math.nan, math.inf, -math.inf, 3e38, -3e38, 2e5, 1e-45, -0.0])
    clamp_nonfinite_(values)
    assert values.tolist() == torch.tensor([0.0, 1e5, -1e5, 3e38, -3e38, 2e5, 1e-45, -0.0]).tolist()


@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_a_step_returns_the_norm_of_its_gradients(beta1: float) -> None:
    """The same in every bit as `total_norm`, of those that there are, with any number of threads."""
    norms, threads = [], torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            params = [t.requires_grad_() for t in tensors(0)]
            for i, (p, g) in enumerate(zip(params, tensors(1), strict=True)):
                p.grad = None if i == 2 else g
            norms.append(adam(params, beta1).step())
    finally:
        torch.set_num_threads(threads)
    there = [g for i, g in enumerate(tensors(1)) if i != 2]
    assert [float(norm) for norm in norms] == [float(total_norm(there))] * 3
    torch.testing.assert_close(
        norms[0], torch.cat([g.flatten() for g in there]).double().norm().float(), rtol=1e-7, atol=0
    )
    idle = adam([torch.ones(3, requires_grad=True)], beta1)
    assert idle.step() == 0


@pytest.mark.parametrize(
    "change", [lambda p: adam([p]).step(), lambda p: lerp_([p], [p.grad], 0.5)], ids=["adam_", "lerp_"]
)
def test_a_graph_notices_that_a_parameter_was_changed(change: Callable[[Tensor], object]) -> None:
    p = torch.ones(3, requires_grad=True)
    loss = p.square().sum()
    p.grad = torch.ones(3)
    with torch.no_grad():
        change(p)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_going_on_from_a_state_dict_is_exact(beta1: float) -> None:
    def fresh() -> tuple[list[Tensor], Adam]:
        params = [t.requires_grad_() for t in tensors(0)]
        return params, adam(params, beta1)

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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weight", [0.0, 0.001, 0.5, 0.9, 1.0])
def test_lerp(weight: float, dtype: torch.dtype) -> None:
    averages, targets = tensors(0, dtype), tensors(1, dtype)
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
    for lists in ((other, t, t), (t, other, t), (t, t, other)):
        grad, first, second = ([x] for x in lists)
        with pytest.raises(ValueError, match="adam_ needs lists of alike tensors, but number 0"):
            adam_([t], grad, first, second, [step], **rates)
    with pytest.raises(ValueError, match="adam_ counts steps in float32"):
        adam_([t], [t], [t], [t], [step.int()], **rates)
    with pytest.raises(ValueError, match="lerp_ needs lists of alike tensors, but number 1"):
        lerp_([t, t], [t, other], 0.5)
    assert step == 0


def test_lists_of_different_lengths_are_refused() -> None:
    a = tensors(0)
    with pytest.raises(ValueError, match="two lists"):
        lerp_(a, a[:1], 0.5)
    steps = [torch.zeros([]) for _ in a]
    for lists in ((a[:1], a, a, steps), (a, a[:1], a, steps), (a, a, a[:1], steps), (a, a, a, steps[:1])):
        with pytest.raises(ValueError, match="lists of one length"):
            adam_(a, *lists, lr=1, beta1=0.9, beta2=0, eps=1)
    for first, beta1 in ((a, 0.0), ([], 0.9)):
        with pytest.raises(ValueError, match="first moments where beta1 is not 0, and only there"):
            adam_(a, a, first, a, steps, lr=1, beta1=beta1, beta2=0, eps=1)
    assert not any(steps)


def test_opcheck() -> None:
    steps = [torch.zeros([]) for _ in SHAPES]
    checks = ("test_schema", "test_faketensor")
    grads, second = tensors(1), [t.square() for t in tensors(3)]
    for first, beta1 in ((tensors(2), 0.9), ([], 0.0)):
        lists = (tensors(0), grads, first, second, steps)
        rates = (0.1, beta1, 0.99, 1e-8)
        torch.library.opcheck(torch.ops.stylegan.adam_.default, (*lists, *rates), test_utils=checks)
    torch.library.opcheck(torch.ops.stylegan.lerp_.default, (tensors(0), tensors(1), 0.3), test_utils=checks)
    torch.library.opcheck(torch.ops.stylegan.square_sum.default, (tensors(0),), test_utils=checks)

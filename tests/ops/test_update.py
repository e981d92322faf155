"""Adam and the moving average over lists of parameters, against torch and the paper, compiled and as reference."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from stylegan.ops.torch_private import TorchDispatchMode, foreach_norm
from stylegan.ops.update import _step_by_tensors, adam_, clamp_nonfinite_, lerp_
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


class NothingIsRead(TorchDispatchMode):
    """Inside of the body a value that goes to the host, or a shape that depends on one, is an error."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        reads = ("_local_scalar_dense", "nonzero", "masked_select", "equal")
        assert func.overloadpacket.__name__ not in reads, func
        return func(*args, **(kwargs or {}))


def without_reading(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    steps: list[Tensor],
    rates: Tensor,
    nonfinite: list[Tensor],
    *,
    skip: bool = False,
) -> Tensor:
    """`adam_` as the reference does it on a GPU."""
    square_sum = torch.stack(foreach_norm(grads, dtype=torch.float64)).square().sum()
    with NothingIsRead():
        _step_by_tensors(params, grads, first, second, steps, rates, nonfinite, square_sum, skip)
    return square_sum


EITHER_WAY = pytest.mark.parametrize("step", [adam_, without_reading])


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def scalars(dtype: torch.dtype) -> list[Tensor]:
    return [torch.zeros([], dtype=dtype) for _ in SHAPES]


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
    """Equal in every bit, moments, too. Gradients are left as they came unless they have become the first moments."""

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
                for c in came if beta1 == 0 else ():
                    clamp_nonfinite_(c)
                torch.testing.assert_close(grads, came, rtol=0, atol=0, equal_nan=True)
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
    """Of those that there are; the same in every bit with any number of threads."""
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
    assert norms[0] == norms[1] == norms[2]
    torch.testing.assert_close(
        norms[0], torch.cat([g.flatten() for g in there]).double().norm().float(), rtol=1e-7, atol=0
    )
    idle = adam([torch.ones(3, requires_grad=True)], beta1)
    assert idle.step() == 0


@pytest.mark.parametrize(
    "change", [lambda p: adam([p]).step(), lambda p: lerp_([p], [p.grad], scalar(0.5))], ids=["adam_", "lerp_"]
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
    lerp_(averages, [t.contiguous() for t in targets], scalar(weight))  # one lies in memory in another order
    for got, expected in zip(averages, want, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
        assert weight not in (0.0, 1.0) or torch.equal(got, expected)


@EITHER_WAY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("moments", [True, False])
def test_the_formulas_of_the_paper(moments: bool, dtype: torch.dtype, step: Callable[..., Tensor]) -> None:
    """Algorithm 1 as it stands, in float64, with rates that change from step to step, beta1 from and to 0."""
    params, first, second = ([t * factor for t in tensors(0, dtype)] for factor in (1, 0, 0))
    want = [(t.double(), 0 * t.double(), 0 * t.double()) for t in tensors(0, dtype)]
    steps, counts = scalars(torch.float32), scalars(torch.int64)
    settings = [(0.01, 0.9, 0.99), (0.02, 0.5, 0.9), (0.001, 0.0, 0.999), (0.01, 0.9, 0.5), (0.01, 0.9, 0.99)]
    for t, (lr, beta1, beta2) in enumerate(settings, 1):
        grads = with_broken(tensors(t, dtype)) if t == 2 else tensors(t, dtype)
        got = step(params, grads, first if moments else [], second, steps, numbers(lr, beta1, beta2, 1e-8), counts)
        square_sum = torch.cat([g.flatten() for g in grads]).double().square().sum()
        torch.testing.assert_close(got, square_sum, rtol=1e-6, atol=0, equal_nan=True)
        decay1 = beta1 if moments else 0.0
        decays = (decay1**t, beta2**t)
        for i, g in enumerate(g.double().nan_to_num(0.0, 1e5, -1e5) for g in grads):
            p, m, v = want[i]
            m, v = decay1 * m + (1 - decay1) * g, beta2 * v + (1 - beta2) * g * g
            p = p - lr * (m / (1 - decays[0])) / ((v / (1 - decays[1])).sqrt() + 1e-8)
            want[i] = (p, m, v)
    close: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    for i, (p, m, v) in enumerate(want):
        torch.testing.assert_close(params[i].double(), p, **close)
        torch.testing.assert_close(second[i].double(), v, **close)
        if moments:
            torch.testing.assert_close(first[i].double(), m, **close)
    assert all(count == 5 for count in steps)


@EITHER_WAY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("moments", [True, False])
def test_a_step_that_is_skipped_leaves_every_bit(
    moments: bool, dtype: torch.dtype, step: Callable[..., Tensor]
) -> None:
    """And counts all the same; a step that is not skipped is the one without `skip`."""
    written = [tensors(0, dtype), tensors(1, dtype) if moments else [], [t.square() for t in tensors(2, dtype)]]
    steps, counts, rates = scalars(torch.float32), scalars(torch.int64), numbers(0.01, 0.9, 0.99, 1e-8)
    before = copy.deepcopy((written, steps))
    grads = with_broken(tensors(3, dtype))
    assert not step(written[0], grads, *written[1:], steps, rates, counts, skip=True).isfinite()
    for got, want in zip((*written, steps), (*before[0], before[1]), strict=True):
        assert all(torch.equal(g, w) for g, w in zip(got, want, strict=True))
    assert [int(count) for count in counts] == [1, 0, 1, 2, 0, 6]
    for skip, (lists, their_steps) in ((True, (written, steps)), (False, before)):
        step(lists[0], tensors(4, dtype), *lists[1:], their_steps, rates, counts, skip=skip)
    for got, want in zip((*written, steps), (*before[0], before[1]), strict=True):
        assert all(torch.equal(g, w) for g, w in zip(got, want, strict=True))
    assert all(count == 1 for count in steps) and [int(count) for count in counts] == [1, 0, 1, 2, 0, 6]


@EITHER_WAY
def test_what_is_not_finite_is_counted(step: Callable[..., Tensor]) -> None:
    """Added to what was counted before; as many as there are, in tensors of several pieces."""
    draw = torch.Generator().manual_seed(0)
    params, grads = ([torch.randn(n, generator=draw) for n in (100_001, 3, 70_000)] for _ in range(2))
    want = []
    for g in grads:
        where = torch.rand(g.shape, generator=draw) < 0.3
        g[where] = torch.tensor([math.nan, math.inf, -math.inf])[torch.arange(int(where.sum())) % 3]
        want.append(int(where.sum()))
    counts, steps = [torch.tensor(1000 * i) for i in range(3)], [torch.zeros([]) for _ in params]
    second = [torch.zeros_like(p) for p in params]
    step(params, grads, [], second, steps, numbers(0.1, 0.0, 0.9, 1e-8), counts)
    assert [int(count) - 1000 * i for i, count in enumerate(counts)] == want
    step(params, [torch.full_like(p, 3e38) for p in params], [], second, steps, numbers(0.1, 0.0, 0.9, 1e-8), counts)
    assert [int(count) - 1000 * i for i, count in enumerate(counts)] == want  # finite, though beyond the norm


def test_the_square_sum_of_large_numbers_is_finite() -> None:
    p = torch.zeros(100)
    optimizer = adam([p.requires_grad_()])
    p.grad = torch.full([100], 1e30)
    assert optimizer.step() == pytest.approx(1e31)


def test_an_adam_counts_by_parameter_until_it_is_asked() -> None:
    """With a parameter that has no gradient."""
    params = [t.requires_grad_() for t in tensors(0)]
    optimizer = adam(params)
    for _ in range(2):
        for i, (p, g) in enumerate(zip(params, with_broken(tensors(1)), strict=True)):
            p.grad = None if i == 2 else g
        optimizer.step()
    assert optimizer.nonfinite.tolist() == [2, 0, 0, 4, 0, 12]
    assert optimizer.take_nonfinite() == [2, 0, 0, 4, 0, 12] and optimizer.take_nonfinite() == [0] * 6
    for p, g in zip(params, with_broken(tensors(1)), strict=True):
        p.grad = g
    optimizer.step(skip=True)
    assert optimizer.take_nonfinite() == [1, 0, 1, 2, 0, 6]


@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_an_adam_that_skips_keeps_its_state(beta1: float) -> None:
    """Also the first moments that were gradients; they do not become those of the step that was skipped."""
    runs = []
    for skipped in (False, True):
        params = [t.requires_grad_() for t in tensors(0)]
        optimizer = adam(params, beta1)
        for seed in (1, 2, 3):
            if seed == 2 and not skipped:
                continue
            for p, g in zip(params, tensors(seed), strict=True):
                p.grad = g
            if seed == 2:
                with_broken([p.grad for p in params if p.grad is not None])
            assert bool(optimizer.step(skip=skipped).isfinite()) == (seed != 2)
            if seed == 2:
                assert params[0].grad is not None and params[0].grad.isnan()  # for a report
            optimizer.zero_grad(set_to_none=True)
        runs.append([*params, *(t for state in optimizer.state.values() for t in state.values())])
    assert len(runs[0]) == 24
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_a_step_on_a_device_needs_no_value_and_its_state_stays_where_it_is(beta1: float) -> None:
    """On the meta device, where there is none: what a CUDA graph has recorded goes on to be right."""
    params = [t.to("meta").requires_grad_() for t in tensors(0)]
    optimizer = Adam(params, eps=1e-8)

    def held() -> list[int]:
        state = [t for p in params for t in optimizer.state[p].values()]
        return [id(t) for t in (optimizer.rates, optimizer.nonfinite, *state)]

    saved, seen = copy.deepcopy(optimizer.state_dict()), []
    for i in range(4):
        for p in params:
            p.grad = torch.empty_like(p)
        optimizer.set_rates(0.01 / (i + 1), beta1, 0.99)
        norm = optimizer.step(skip=i % 2 == 0)
        assert norm.is_meta and norm.shape == () and norm.dtype == torch.float32
        seen.append(held())
        if i == 1:
            assert all(
                state["exp_avg"] is not p.grad and state["exp_avg"].shape == p.shape
                for p, state in optimizer.state.items()
            )
            optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        if i == 2:
            optimizer.load_state_dict(saved)  # from before the first step
    assert len(seen[0]) == 2 + 3 * len(params) and all(ids == seen[0] for ids in seen)
    with pytest.raises((RuntimeError, NotImplementedError)):
        optimizer.take_nonfinite()


def test_rates_are_where_a_step_and_a_checkpoint_look() -> None:
    p = torch.ones(3, requires_grad=True)
    optimizer = Adam([p], eps=1e-8, ratio=0.5)
    where = optimizer.rates.data_ptr()

    def rates() -> list[float]:
        (group,) = optimizer.state_dict()["param_groups"]
        assert isinstance(group["lr"], float) and group["fused"] is True
        assert optimizer.rates.tolist() == [group["lr"], *group["betas"], group["eps"]]
        return optimizer.rates.tolist()

    optimizer.set_rates(0.01, 0.25, 0.81)
    assert rates() == [0.005, 0.5, 0.9, 1e-8]
    saved = copy.deepcopy(optimizer.state_dict())
    version = optimizer.rates._version
    optimizer.set_rates(0.01, 0.25, 0.81)
    assert optimizer.rates._version == version  # nothing was copied
    optimizer.set_rates(0.02, 0.25, 0.81)
    assert rates()[0] == 0.01
    optimizer.load_state_dict(saved)
    assert rates() == [0.005, 0.5, 0.9, 1e-8] and optimizer.rates.data_ptr() == where
    assert saved["param_groups"][0].keys() == torch.optim.Adam([p]).state_dict()["param_groups"][0].keys()


@pytest.mark.parametrize("other", [torch.zeros(4), torch.zeros(3).double(), torch.zeros(3, device="meta")], ids=str)
def test_tensors_that_do_not_go_together_are_refused(other: Tensor) -> None:
    t, step, count, rates = torch.zeros(3), torch.zeros([]), torch.tensor(0), numbers(0.1, 0.9, 0.99, 1e-8)
    for lists in ((other, t, t), (t, other, t), (t, t, other)):
        grad, first, second = ([x] for x in lists)
        with pytest.raises(ValueError, match="adam_ needs lists of alike tensors, but number 0"):
            adam_([t], grad, first, second, [step], rates, [count])
    with pytest.raises(ValueError, match="adam_ counts steps in float32"):
        adam_([t], [t], [t], [t], [step.int()], rates, [count])
    with pytest.raises(ValueError, match="adam_ counts what is not finite in int64"):
        adam_([t], [t], [t], [t], [step], rates, [step])
    for wrong in (rates[:3], rates.float(), rates.to("meta")):
        with pytest.raises(ValueError, match="adam_ needs its rates as float64"):
            adam_([t], [t], [t], [t], [step], wrong, [count])
    with pytest.raises(ValueError, match="lerp_ needs lists of alike tensors, but number 1"):
        lerp_([t, t], [t, other], scalar(0.5))
    for wrong in (rates, scalar(0.5).float(), scalar(0.5).to("meta")):
        with pytest.raises(ValueError, match="lerp_ needs its weight as float64"):
            lerp_([t], [t], wrong)
    assert step == 0 and count == 0


def test_lists_of_different_lengths_are_refused() -> None:
    a = tensors(0)
    with pytest.raises(ValueError, match="two lists"):
        lerp_(a, a[:1], scalar(0.5))
    steps, counts, rates = scalars(torch.float32), scalars(torch.int64), numbers(1, 0.9, 0, 1)
    for i in range(5):
        lists = [a, a, a, steps, counts]
        lists[i] = lists[i][:1]
        with pytest.raises(ValueError, match="lists of one length"):
            adam_(a, lists[0], lists[1], lists[2], lists[3], rates, lists[4])
    assert not any(steps)


def test_lists_of_nothing() -> None:
    square_sum = adam_([], [], [], [], [], numbers(1, 0.9, 0, 1).to("meta"), [])
    assert square_sum.is_meta and square_sum.dtype == torch.float64
    assert adam_([], [], [], [], [], numbers(1, 0.9, 0, 1), []) == 0
    lerp_([], [], scalar(0.5))


def test_opcheck() -> None:
    checks = ("test_schema", "test_faketensor")
    grads, second, rates = tensors(1), [t.square() for t in tensors(3)], numbers(0.1, 0.9, 0.99, 1e-8)
    for first, skip in ((tensors(2), False), ([], True)):
        lists = (tensors(0), grads, first, second, scalars(torch.float32), rates, scalars(torch.int64), skip)
        torch.library.opcheck(torch.ops.stylegan.adam_.default, lists, test_utils=checks)
    torch.library.opcheck(torch.ops.stylegan.lerp_.default, (tensors(0), tensors(1), scalar(0.3)), test_utils=checks)

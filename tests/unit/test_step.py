"""Accumulated gradients equal the whole batch's; gradients that are not finite are found, named and handled."""

import copy
from collections import defaultdict
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stylegan.losses.base import Batch, LossOutput, Networks
from stylegan.training.batch import BatchMaker, split_positions
from stylegan.training.phases import LossConfig, OptimConfig, Phase, build_optimizers, build_phases, due
from stylegan.training.state import TrainState
from stylegan.training.step import (
    NonfiniteGradientsError,
    OnNonfinite,
    StepConfig,
    accumulate_gradients,
    guarded_step,
    train_step,
)
from tests.unit.tiny import tiny_pair


def make_phases(loss: LossConfig | None = None) -> tuple[Networks, list[Phase], TrainState]:
    G, D = tiny_pair()
    with torch.no_grad():  # biases and noise strengths start at zero, where some gradients would vanish
        for p in [*G.parameters(), *D.parameters()]:
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    loss = loss or LossConfig(r1_gamma=1.0)
    opts = build_optimizers(G, D, loss, OptimConfig(), (16, 16))
    pl_mean = torch.zeros([])
    state = TrainState(G, D, copy.deepcopy(G).requires_grad_(False), *opts, pl_mean, seed=0)
    return Networks(G, D), build_phases(G, D, *opts, pl_mean, loss, 1.0), state


def batches(networks: Networks, phase: str, ranks: int, micro: int) -> list[Batch]:
    maker = BatchMaker(seed=1, batch_size=8, style_mixing_prob=0.9, pl_batch_shrink=2)
    real = torch.randint(0, 256, [8, 3, 16, 16], dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    made = []
    for rounds in split_positions(8, ranks, micro, 4):
        flat = [p for chunk in rounds for p in chunk]
        made += maker.draw(phase, 0, networks.G, real[flat], torch.zeros(len(flat), 0), rounds)
    return made


def gradients(phase: Phase) -> dict[str, Tensor]:
    return {k: p.grad.double() for k, p in phase.module.named_parameters() if p.grad is not None}


def as_double(batch: Batch) -> Batch:
    tensors = {k: v.double() for k, v in vars(batch).items() if isinstance(v, Tensor) and v.is_floating_point()}
    return replace(batch, **tensors)


@pytest.mark.parametrize("name", ["Gmain", "Dmain", "Dreg"])
def test_rounds_give_the_gradient_of_the_whole_batch(name: str) -> None:
    networks, phases, _ = make_phases()
    networks = Networks(networks.G.double(), networks.D.double())
    phase = next(p for p in phases if p.name == name)

    found = []
    for micro in (8, 4):
        stats = {
            k: []
            for k in (
                "scores/fake",
                "scores/real",
                "signs/fake",
                "signs/real",
                "loss/G",
                "loss/D",
                "r1_penalty",
                "loss/D_reg",
            )
        }
        accumulate_gradients(phase, networks, [as_double(b) for b in batches(networks, name, 1, micro)], stats)
        found.append(gradients(phase))
    assert found[0].keys() == found[1].keys()
    for key, whole in found[0].items():
        torch.testing.assert_close(found[1][key], whole, rtol=1e-9, atol=1e-12)
    assert any(g.abs().max() > 1e-3 for g in found[0].values())


def test_the_network_that_stands_still_gets_no_gradient() -> None:
    networks, phases, state = make_phases()
    state.D_opt.zero_grad()
    accumulate_gradients(phases[0], networks, batches(networks, "Gmain", 1, 8), defaultdict(list))
    assert all(p.grad is None for p in networks.D.parameters())
    assert all(p.grad is not None for p in networks.G.parameters())


def test_phases_run_lazily() -> None:
    _, phases, _ = make_phases()
    ran = {p.name: [step for step in range(33) if p in due(phases, step)] for p in phases}
    assert ran["Gmain"] == ran["Dmain"] == list(range(33))
    assert ran["Greg"] == list(range(0, 33, 4))
    assert ran["Dreg"] == [0, 16, 32]


def test_lazy_adam_as_in_the_paper() -> None:
    """StyleGAN2, appendix B: with k = 16, lr, beta1 and beta2 go to lr * c, beta1 ** c, beta2 ** c, c = k / (k + 1)."""
    *_, state = make_phases(LossConfig(pl_weight=0, r1_gamma=1.0))
    D, G = state.D_opt.param_groups[0], state.G_opt.param_groups[0]
    assert D["lr"] == pytest.approx(0.0025 * 16 / 17)
    assert D["betas"] == pytest.approx((0, 0.99 ** (16 / 17)))
    assert (G["lr"], G["betas"]) == (0.0025, (0, 0.99))  # no path length: nothing to correct


class Breaks:
    """A loss whose gradient is not finite in one parameter."""

    def __init__(self, value: float):
        self.value = value

    def __call__(self, networks: Networks, batch: Batch) -> LossOutput:
        total = sum((p * 1e-3).sum() for p in networks.G.parameters())
        bad = networks.G.get_parameter("mapping.fc0.bias")[0]
        return LossOutput((total + bad * self.value).expand(8), {})


def broken(policy: OnNonfinite, value: float = float("nan")) -> tuple[Phase, dict[str, list[Tensor]]]:
    networks, phases, _ = make_phases()
    phase = Phase("Gmain", networks.G, phases[0].optimizer, 1, Breaks(value))
    accumulate_gradients(phase, networks, batches(networks, "Gmain", 1, 8), {})
    stats: dict[str, list[Tensor]] = defaultdict(list)
    assert guarded_step(phase, policy, stats) is (policy is OnNonfinite.clamp)
    return phase, stats


@pytest.mark.parametrize(("value", "becomes"), [(float("nan"), 0.0), (float("inf"), 1e5), (float("-inf"), -1e5)])
def test_clamp_counts_by_name_and_replaces(value: float, becomes: float) -> None:
    phase, stats = broken(OnNonfinite.clamp, value)
    parameter = phase.module.get_parameter("mapping.fc0.bias")
    assert parameter.grad is not None and parameter.grad[0] == becomes
    assert {k: float(v[0]) for k, v in stats.items() if k.startswith("nonfinite")} == {
        "nonfinite/Gmain/mapping.fc0.bias": 1.0
    }
    assert not stats["grad_norm/Gmain"][0].isfinite()
    kept = list(phase.optimizer.state[parameter].values())
    assert all(t.isfinite().all() for t in [*kept, *phase.parameters]) and len(kept) == 3


def test_skip_says_that_it_did_not_step() -> None:
    broken(OnNonfinite.skip)


@pytest.mark.parametrize("policy", OnNonfinite)
def test_every_policy_takes_the_same_step_with_finite_gradients(policy: OnNonfinite) -> None:
    stepped = []
    for guard in (OnNonfinite.clamp, policy):
        networks, phases, _ = make_phases()
        phase = phases[0]
        accumulate_gradients(phase, networks, batches(networks, "Gmain", 1, 8), defaultdict(list))
        want = torch.stack([g.double().square().sum() for g in phase.gradients]).sum().sqrt()
        before = [p.detach().clone() for p in phase.parameters]
        stats: dict[str, list[Tensor]] = defaultdict(list)
        assert guarded_step(phase, guard, stats)
        assert list(stats) == ["grad_norm/Gmain"]
        torch.testing.assert_close(stats["grad_norm/Gmain"][0], want.float(), rtol=1e-6, atol=0)
        assert not any(torch.equal(p, b) for p, b in zip(phase.parameters, before, strict=True))
        stepped.append([p.detach().clone() for p in phase.parameters])
    assert all(torch.equal(a, b) for a, b in zip(*stepped, strict=True))


@pytest.mark.parametrize("policy", [OnNonfinite.stop, OnNonfinite.rollback])
def test_stop_and_rollback_raise_with_the_parameters_name(policy: OnNonfinite) -> None:
    with pytest.raises(NonfiniteGradientsError, match=r"mapping\.fc0\.bias \(1\)"):
        broken(policy)


def test_skip_leaves_the_network_and_its_optimizer_alone() -> None:
    networks, _, state = make_phases()
    with torch.no_grad():
        for p in state.G_ema.parameters():
            p.zero_()
    before = copy.deepcopy(networks.G.state_dict())
    phase = Phase("Gmain", networks.G, state.G_opt, 1, Breaks(float("nan")))
    stats = train_step(
        state, [phase], {"Gmain": batches(networks, "Gmain", 1, 8)}, StepConfig(8, 1.0, None, OnNonfinite.skip)
    )
    assert all(torch.equal(v, before[k]) for k, v in networks.G.state_dict().items())
    assert not state.G_opt.state and (state.nimg, state.step) == (8, 1)
    assert "nonfinite/Gmain/mapping.fc0.bias" in stats
    for p, q in zip(state.G_ema.parameters(), networks.G.parameters(), strict=True):  # the average moves all the same
        torch.testing.assert_close(p, (1 - 0.5 ** (8 / 1000)) * q)

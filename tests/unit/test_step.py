"""Accumulated gradients equal the whole batch's; gradients that are not finite are found, named and handled."""

import copy
from dataclasses import replace
from math import isnan
from typing import Any

import pytest
import torch
from torch import Tensor

from stylegan.losses.base import Batch, LossOutput, Needs, Networks, Phase, UndeclaredError, seen_by_D
from stylegan.losses.logistic import LogisticConfig
from stylegan.losses.table import check_phases
from stylegan.models.stylegan3 import StyleGAN3Config
from stylegan.schedule import Now, Ramp
from stylegan.training.adam import OptimConfig, lazy_ratio
from stylegan.training.state import ema_decay
from stylegan.training.step import NonfiniteGradientsError, OnNonfinite, due
from tests.unit.tiny import tiny_pair
from tests.unit.training import Training, training_of


def make_training(loss: LogisticConfig | None = None, optim: OptimConfig | None = None) -> Training:
    G, D = tiny_pair()
    with torch.no_grad():  # biases and noise strengths start at zero, where some gradients would vanish
        for p in [*G.parameters(), *D.parameters()]:
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return training_of(G, D, loss, optim)


def batches(training: Training, phase: str, ranks: int, micro: int) -> list[Batch]:
    real = torch.randint(0, 256, [8, 3, 16, 16], dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    return [batch for made in training.draw(phase, real, ranks=ranks, micro=micro) for batch in made]


def as_double(batch: Batch) -> Batch:
    tensors = {k: v.double() for k, v in vars(batch).items() if isinstance(v, Tensor) and v.is_floating_point()}
    return Batch(**{**vars(batch), **tensors})


@pytest.mark.parametrize("name", ["Gmain", "Dmain", "Dreg"])
def test_rounds_give_the_gradient_of_the_whole_batch(name: str) -> None:
    training = make_training()
    training.state.G.double()
    training.state.D.double()
    phase, found = training.phase(name), []
    for micro in (8, 4):
        training.accumulate(phase, [as_double(b) for b in batches(training, name, 1, micro)])
        found.append(training.gradients(phase))
    assert found[0].keys() == found[1].keys()
    for key, whole in found[0].items():
        torch.testing.assert_close(found[1][key], whole, rtol=1e-9, atol=1e-12)
    assert any(g.abs().max() > 1e-3 for g in found[0].values())


def test_the_network_that_stands_still_gets_no_gradient() -> None:
    training = make_training()
    training.accumulate(training.phase("Gmain"), batches(training, "Gmain", 1, 8))
    assert all(p.grad is None for p in training.state.D.parameters())
    assert all(p.grad is not None for p in training.state.G.parameters())


def test_phases_run_lazily() -> None:
    phases = make_training().phases
    ran = {p.name: [step for step in range(33) if p in due(phases, step)] for p in phases}
    assert ran["Gmain"] == ran["Dmain"] == list(range(33))
    assert ran["Greg"] == list(range(0, 33, 4))
    assert ran["Dreg"] == [0, 16, 32]


def rates(training: Training, network: str) -> tuple[float, tuple[float, float]]:
    """lr and betas of a network's Adam after an iteration."""
    training.step({phase.name: batches(training, phase.name, 1, 8) for phase in training.phases})
    group = training.state.optimizer(network).param_groups[0]
    return group["lr"], group["betas"]


def test_lazy_adam_as_in_the_paper() -> None:
    """StyleGAN2, appendix B: with k = 16, lr, beta1 and beta2 go to lr * c, beta1 ** c, beta2 ** c, c = k / (k + 1)."""
    training = make_training(LogisticConfig(pl_weight=0, r1_gamma=1.0))
    lr, betas = rates(training, "D")
    assert lr == pytest.approx(0.0025 * 16 / 17)
    assert betas == pytest.approx((0, 0.99 ** (16 / 17)))
    assert rates(training, "G") == (0.0025, (0, 0.99))  # no path length: nothing to correct


def test_the_correction_follows_from_the_intervals_of_all_phases_of_a_network() -> None:
    assert lazy_ratio([1]) == 1 and lazy_ratio([1, 16]) == 16 / 17 and lazy_ratio([1, 4]) == 0.8
    assert lazy_ratio([1, 1, 4]) == pytest.approx(1 / 2.25)  # a network that takes nine steps in four iterations


@pytest.mark.parametrize("kind", ["stylegan2", "stylegan3"])
def test_path_length_is_a_step_of_the_parameters_that_it_is_a_step_of_in_the_papers_code(kind: str) -> None:
    """The golden files' `none_grad`: StyleGAN2's colours have linear biases, which Adam skips; StyleGAN3's, a leaky ReLU."""
    G, D = tiny_pair()
    if kind == "stylegan3":
        G = StyleGAN3Config(z_dim=4, w_dim=4, channel_base=16, channel_max=4, num_layers=3, num_critical=1).build(
            resolution=(16, 16), channels=3, c_dim=0
        )
    training = training_of(G, D, LogisticConfig(pl_weight=2.0, r1_gamma=1.0))
    phase, optimizer = training.phase("Greg"), training.state.G_opt
    optimizer.set_rates(0.0025, 0.0, 0.99)
    training.accumulate(phase, batches(training, "Greg", 1, 8))
    optimizer.step()
    steps = {name: int(optimizer.state[p]["step"]) if p in optimizer.state else 0 for name, p in G.named_parameters()}
    skipped = [name for name, step in steps.items() if step == 0]
    assert skipped == ([f"synthesis.b{side}.torgb.bias" for side in (4, 8, 16)] if kind == "stylegan2" else [])
    assert set(steps.values()) <= {0, 1}


def test_rates_follow_their_ramps() -> None:
    optim = OptimConfig(G_lr=Ramp(0.004, 0.002, 0.016), beta2=Ramp(0.9, 0.99, 0.016), D_lr=0.001)
    training = make_training(LogisticConfig(pl_weight=0, r1_gamma=0), optim)
    found = [rates(training, "G") for _ in range(3)]
    assert [lr for lr, _ in found] == pytest.approx([0.004, 0.003, 0.002])
    assert [betas[1] for _, betas in found] == pytest.approx([0.9, 0.945, 0.99])
    assert training.state.D_opt.param_groups[0]["lr"] == 0.001


def reads_reals(networks: Networks, batch: Batch, now: Now) -> LossOutput:
    return LossOutput(networks.D(batch.real, batch.real_c).flatten(), {})


def gives_signs(networks: Networks, batch: Batch, now: Now) -> LossOutput:
    logits = networks.D(seen_by_D(networks.G(batch.z, batch.c), batch.augment_fake, now), batch.c).flatten()
    return LossOutput(logits, {}, signs=logits.sign())


@pytest.mark.parametrize(
    ("phase", "says"),
    [
        (Phase("Dhinge", "D", reads_reals, Needs(fakes=True)), r"Dhinge reads batch\.real, which the needs"),
        (Phase("Gmain", "G", gives_signs, Needs(fakes=True)), "Gmain: `gives` must name signs if"),
        (
            Phase("Gother", "G", make_training().phase("Gmain").loss, Needs(fakes=True), gives=("means",)),
            "Gother: `gives` must name means if",
        ),
    ],
)
def test_what_was_not_declared_fails_at_once_by_name(phase: Phase, says: str) -> None:
    training = make_training()
    training.phases = [phase]
    with pytest.raises(UndeclaredError, match=says):
        training.accumulate(phase, batches(training, phase.name, 1, 8))


def shows_raw_images(networks: Networks, batch: Batch, now: Now) -> LossOutput:
    return LossOutput(networks.D(batch.real, batch.real_c).flatten(), {})


def forgets_to_flatten(networks: Networks, batch: Batch, now: Now) -> LossOutput:
    return LossOutput(networks.D(seen_by_D(batch.real, batch.augment_real, now), batch.real_c), {})


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (shows_raw_images, r"Dreg never reads batch\.augment_real: what D sees goes through `seen_by_D`"),
        (forgets_to_flatten, r"Dreg: its loss is of shape \[8, 1\], not a value per image"),
    ],
)
def test_losses_that_would_go_wrong_in_silence(loss: Any, says: str) -> None:
    training = make_training()
    phase = replace(training.phase("Dreg"), loss=loss)
    training.phases = [phase]
    with pytest.raises(UndeclaredError, match=says):
        training.accumulate(phase, batches(training, "Dreg", 1, 8))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"network": "X"}, "Gmain: network='X' must be G or D"),
        ({"interval": 0}, "Gmain: interval=0 must be a whole number"),
        ({"interval": 2.5}, "interval=2.5"),
        ({"gives": ("sings",)}, "names 'sings'; there are signs, means, pl_mean"),
    ],
)
def test_phases_that_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(make_training().phase("Gmain"), **options)


def without(phases: list[Phase], name: str, **changed: Any) -> list[Phase]:
    return [replace(phase, **changed) if phase.name == name else phase for phase in phases]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda phases: [*phases, phases[0]], "each needs a name of its own"),
        (lambda phases: [phase for phase in phases if phase.network == "D"], "none trains G"),
        (lambda phases: without(phases, "Dmain", then_average=False), "exactly one has then_average"),
        (lambda phases: without(phases, "Gmain", then_average=True), "exactly one has then_average"),
        (lambda phases: without(phases, "Dmain", gives=("signs",)), "none gives `means` in every iteration"),
        (lambda phases: without(phases, "Dmain", interval=2), "none gives `means` in every iteration"),
        (lambda phases: without(phases, "Dmain", gives=("means",)), "none gives `signs` in every iteration"),
    ],
)
def test_phases_that_leave_something_out(change: Any, says: str) -> None:
    training = make_training()
    check_phases(training.phases, training.state.G, adapts=True)
    with pytest.raises(ValueError, match=says):
        check_phases(change(training.phases), training.state.G, adapts=True)


def test_losses_change_no_state_and_the_step_applies_what_they_give() -> None:
    training = make_training()
    networks = training.networks
    state = {**{f"G.{k}": v for k, v in networks.G.state_dict().items()}, "pl_mean": networks.pl_mean}
    state |= {f"D.{k}": v for k, v in networks.D.state_dict().items()}
    before = copy.deepcopy(state)
    given = {p.name: p.loss(networks, batches(training, p.name, 1, 8)[0], training.present) for p in training.phases}
    assert all(torch.equal(value, before[name]) for name, value in state.items())
    assert {
        name: [k for k in ("signs", "means", "pl_mean") if getattr(out, k) is not None] for name, out in given.items()
    } == {
        "Gmain": [],
        "Greg": ["pl_mean"],
        "Dmain": ["signs", "means"],
        "Dreg": [],
    }
    training.phases = [training.phase("Greg"), training.phase("Dmain")]  # the first one sees the same networks
    training.step({p.name: batches(training, p.name, 1, 8) for p in training.phases})
    want = given["Greg"].pl_mean
    assert want is not None and torch.equal(training.state.pl_mean, want.detach())
    assert not torch.equal(state["G.mapping.w_avg"], before["G.mapping.w_avg"])


class Breaks:
    """A loss whose gradient is not finite in one parameter."""

    def __init__(self, value: float):
        self.value = value

    def __call__(self, networks: Networks, batch: Batch, now: Now) -> LossOutput:
        total = sum((p * 1e-3).sum() for p in networks.G.parameters())
        bad = networks.G.get_parameter("mapping.fc0.bias")[0]
        batch.used.add("augment_fake")
        return LossOutput((total + bad * self.value).expand(8), {})


def only_Gmain(loss: Any = None, **optim: Any) -> Training:
    training = make_training(optim=OptimConfig(**optim))
    training.phases = [Phase("Gmain", "G", loss or training.phase("Gmain").loss, Needs(fakes=True), then_average=True)]
    return training


def one_step(policy: OnNonfinite, loss: Any = None, **optim: Any) -> tuple[Training, dict[str, Tensor]]:
    """After an iteration of Gmain alone, and what it told."""
    training = only_Gmain(loss, **optim)
    with torch.no_grad():
        for p in training.state.G_ema.parameters():
            p.zero_()
    return training, training.step({"Gmain": batches(training, "Gmain", 1, 8)}, policy)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_clamp_counts_by_name_and_goes_on(value: float) -> None:
    training, told = one_step(OnNonfinite.clamp, Breaks(value))
    before, state = make_training().state.G, training.state
    assert not told["grad_norm/Gmain"].isfinite()
    moved = state.G.get_parameter("mapping.fc0.bias")[0] - before.get_parameter("mapping.fc0.bias")[0]
    assert moved == 0 if isnan(value) else moved * value < 0, "NaN counts as 0, and a step goes against infinity"
    kept = [t for moments in state.G_opt.state.values() for t in moments.values()]
    assert all(t.isfinite().all() for t in [*kept, *state.G.parameters()])
    assert state.take_nonfinite() == {"G.mapping.fc0.bias": 1}
    assert state.take_nonfinite() == {}, "they are told once"


@pytest.mark.parametrize("policy", OnNonfinite)
def test_every_policy_takes_the_same_step_with_finite_gradients(policy: OnNonfinite) -> None:
    want, found = (one_step(guard) for guard in (OnNonfinite.clamp, policy))
    assert torch.equal(want[1]["grad_norm/Gmain"], found[1]["grad_norm/Gmain"])
    networks = (training.state.G.parameters() for training in (want[0], found[0], make_training()))
    for a, b, start in zip(*networks, strict=True):
        assert torch.equal(a, b) and not torch.equal(a, start)
    assert found[0].state.take_nonfinite() == {}


def test_the_norm_is_that_of_all_gradients() -> None:
    training = only_Gmain()
    training.accumulate(training.phase("Gmain"), batches(training, "Gmain", 1, 8))
    want = torch.stack([g.double().square().sum() for g in training.state.G_opt.gradients]).sum().sqrt()
    _, told = one_step(OnNonfinite.clamp)
    torch.testing.assert_close(told["grad_norm/Gmain"][0], want.float(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("policy", [OnNonfinite.stop, OnNonfinite.rollback])
def test_stop_and_rollback_raise_with_the_parameters_name(policy: OnNonfinite) -> None:
    with pytest.raises(NonfiniteGradientsError, match=r"Gmain: .*G\.mapping\.fc0\.bias \(1\)"):
        one_step(policy, Breaks(float("nan")))


def test_skip_leaves_the_network_and_its_optimizer_alone() -> None:
    training, _ = one_step(OnNonfinite.skip, Breaks(float("nan")), ema_kimg=1.0, ema_rampup=0)
    state, before = training.state, make_training().state.G.state_dict()
    assert all(torch.equal(v, before[k]) for k, v in state.G.state_dict().items())
    assert all(not t.any() for moments in state.G_opt.state.values() for t in moments.values())
    assert (state.nimg, state.step) == (8, 1)
    assert state.take_nonfinite() == {"G.mapping.fc0.bias": 1}
    for p, q in zip(state.G_ema.parameters(), state.G.parameters(), strict=True):  # the average moves all the same
        torch.testing.assert_close(p, (1 - 0.5 ** (8 / 1000)) * q)


@pytest.mark.parametrize("policy", [OnNonfinite.clamp, OnNonfinite.skip])
def test_one_overflow_does_not_stay_in_the_averages(policy: OnNonfinite) -> None:
    training = make_training()
    Greg, Dmain = training.phase("Greg"), training.phase("Dmain")

    def path_lengths(networks: Networks, batch: Batch, now: Now) -> LossOutput:
        output = Greg.loss(networks, batch, now)
        return output._replace(pl_mean=output.pl_mean * float("inf")) if training.state.step == 0 else output  # pyright: ignore[reportOptionalOperand]

    def means(networks: Networks, batch: Batch, now: Now) -> LossOutput:
        output = Dmain.loss(networks, batch, now)
        return output._replace(means=output.means * float("nan")) if training.state.step == 0 else output  # pyright: ignore[reportOptionalOperand]

    training.phases = [replace(Greg, loss=path_lengths), replace(Dmain, loss=means)]
    state, before = training.state, make_training().state.G.get_buffer("mapping.w_avg")
    drawn = {name: batches(training, name, 1, 8) for name in ("Greg", "Dmain")}
    training.step(drawn, policy)
    assert state.pl_mean == 0 and torch.equal(state.G.get_buffer("mapping.w_avg"), before)
    for _ in range(Greg.interval):
        training.step(drawn, policy)
    assert state.pl_mean > 0
    for network in (state.G, state.G_ema):
        assert network.get_buffer("mapping.w_avg").isfinite().all()
        assert not torch.equal(network.get_buffer("mapping.w_avg"), before)


def test_the_average_moves_after_the_phase_that_says_so() -> None:
    """ProGAN's moves before G's step of the iteration: after D's, which comes first there."""
    training = make_training(optim=OptimConfig(ema_beta=0.25))
    state, (Gmain, Dmain) = training.state, (training.phase("Gmain"), training.phase("Dmain"))
    training.phases = [Dmain, replace(Gmain, then_average=False)]
    before, old = copy.deepcopy(state.G), copy.deepcopy(state.G_ema)
    training.step({name: batches(training, name, 1, 8) for name in ("Gmain", "Dmain")})
    for name, p in state.G_ema.named_parameters():
        torch.testing.assert_close(p, old.get_parameter(name) * 0.25 + before.get_parameter(name) * 0.75)
    assert not any(torch.equal(p, q) for p, q in zip(state.G.parameters(), before.parameters(), strict=True))
    buffers = [network.get_buffer("mapping.w_avg") for network in (state.G_ema, state.G)]
    assert torch.equal(*buffers), "buffers are copied"


def test_half_life_of_the_average() -> None:
    def decay(nimg: int, **optim: Any) -> float:
        training = make_training(optim=OptimConfig(**optim))
        return ema_decay(training.plan.moment(nimg, training.plan.stage(nimg)), training.config.optim.ema_rampup)

    assert decay(10**7, ema_kimg=10, ema_rampup=0) ** (10_000 / 8) == pytest.approx(0.5)
    assert decay(10_000, ema_kimg=10, ema_rampup=0.05) ** (500 / 8) == pytest.approx(0.5)
    assert decay(0, ema_kimg=10, ema_rampup=0.05) == 0.0
    assert decay(5000, ema_kimg=Ramp(10, 20, 10), ema_rampup=0) ** (15_000 / 8) == pytest.approx(0.5)
    assert decay(10_000, ema_beta=0.999) == 0.999

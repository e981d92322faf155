"""How often images are augmented: the adaptive controller, schedules, and what a configuration may ask for."""

from typing import Any

import pytest
import torch
from torch import Tensor

from stylegan.augment.ada import ADAController
from stylegan.augment.build import AugmentConfig, AugmentKind
from stylegan.augment.diffaugment import DiffAugment
from stylegan.augment.pipe import AugmentPipe
from stylegan.augment.strengths import PipeConfig
from stylegan.errors import UserError
from stylegan.rng import generator
from stylegan.schedule import Ramp
from tests.unit.test_step import as_double, batches, make_training


def controller(**options: Any) -> ADAController:
    return ADAController(**{"p": 0.5, "target": 0.6, "speed_kimg": 4.0, "interval": 4, "p_max": 1.0, **options})


def signs(positive: int, negative: int) -> Tensor:
    return torch.cat([torch.ones(positive), -torch.ones(negative)])


@pytest.mark.parametrize(("positive", "moves"), [(31, -0.01), (32, 0.0), (33, 0.01)])
def test_p_moves_towards_the_target_once_an_interval(positive: int, moves: float) -> None:
    """r_t = 0.6 is 32 positive signs of 40."""
    ada = controller()
    parts = signs(positive, 40 - positive).split(10)
    for part in parts[:3]:
        ada.update(part)
        assert ada.p == 0.5 and ada.r_t is None
    ada.update(parts[3])
    assert float(ada.p) == pytest.approx(0.5 + moves) and ada.r_t == pytest.approx((2 * positive - 40) / 40)
    assert (ada.signs, ada.count, ada.iterations) == (0, 0, 0)


def test_p_takes_speed_kimg_from_0_to_1_and_stays_within_its_bounds() -> None:
    step = 64 * 4 / 500_000
    ada = controller(p=0.0, speed_kimg=500)
    for _ in range(500_000 // 64 - 4):
        ada.update(signs(64, 0))
    assert 1 - 3 * step < ada.p < 1
    for p_max in (1.0, 0.3):
        ada = controller(p=p_max - 0.015, p_max=p_max, speed_kimg=3.2)
        for _ in range(40):
            ada.update(signs(8, 0))
        assert ada.p == p_max
        ada.interval = 1
        ada.update(signs(0, 32))
        assert float(ada.p) == pytest.approx(p_max - 0.01), "it comes back at once"
    ada = controller(p=0.015, speed_kimg=3.2)
    for _ in range(40):
        ada.update(signs(0, 8))
    assert ada.p == 0


def test_state_goes_on_in_the_middle_of_an_interval() -> None:
    whole, first = controller(), controller()
    parts = [signs(9, 1), signs(10, 0), signs(7, 3), signs(10, 0), signs(0, 10)]
    for part in parts:
        whole.update(part)
    for part in parts[:2]:
        first.update(part)
    second = controller(p=0.1)
    second.load_state_dict(first.state_dict())
    for part in parts[2:]:
        second.update(part)
    assert second.state_dict() == whole.state_dict() and whole.p == 0.51 and whole.iterations == 1


def test_p_is_that_of_plain_arithmetic() -> None:
    """Every step of a training at random, bit for bit, in place; the state is of plain numbers, as in older checkpoints."""
    ada, draws = controller(interval=3, speed_kimg=1.1, p=0.05, p_max=0.3), generator(0, "signs")
    tensor, p, r_t, total, count = ada.p, 0.05, None, 0.0, 0
    for i in range(1, 400):
        part = (torch.rand(10, generator=draws) < (0.95 if i % 150 < 90 else 0.6)).float() * 2 - 1
        ada.update(part)
        total, count = total + sum(part.tolist()), count + 10
        if i % 3 == 0:
            r_t = total / count
            direction = (r_t > 0.6) - (r_t < 0.6)
            p = min(max(p + direction * count / (1.1 * 1000), 0.0), 0.3)
            total, count = 0.0, 0
        assert ada.state_dict() == {"p": p, "r_t": r_t, "signs": total, "count": count, "iterations": i % 3}
    assert ada.p is tensor and tensor.dtype == torch.float64


@pytest.mark.parametrize("r_t", [None, 0.7])
def test_an_older_state_is_taken_as_it_is(r_t: float | None) -> None:
    ada = controller()
    state, tensor = {"p": 0.3, "r_t": r_t, "signs": 3.0, "count": 8, "iterations": 1}, ada.p
    ada.load_state_dict(state)
    assert ada.state_dict() == state and ada.p is tensor


def test_it_warns_where_p_is_at_its_maximum_and_d_still_overfits() -> None:
    ada = controller(p=0.49, p_max=0.5, interval=1)
    assert ada.warning() is None
    ada.update(signs(39, 1))
    assert ada.p == 0.5 and "augment.p_max=0.5" in str(ada.warning()) and "r_t +0.95, target 0.6" in str(ada.warning())
    ada.update(signs(32, 8))
    assert ada.p == 0.5 and ada.warning() is None, "on target"
    ada.load_state_dict({**ada.state_dict(), "p": 0.499, "r_t": 0.9})
    assert ada.warning() is None, "p can still rise"


def test_what_a_configuration_builds() -> None:
    shape: Any = {"channels": 3, "resolution": (8, 8)}
    none, fixed = AugmentConfig(), AugmentConfig(kind=AugmentKind.fixed, p=0.3)
    assert none.build(**shape) is None and none.build_controller() is None and none.p_at(0, None) is None
    assert fixed.p_at(0, None) == fixed.p_at(10**6, None) == 0.3
    ramp = AugmentConfig(kind=AugmentKind.fixed, p={"start": 0.2, "end": 0.8, "kimg": 2})  # pyright: ignore[reportArgumentType]
    assert ramp.p == Ramp(0.2, 0.8, 2) and ramp.p_at(1000, None) == pytest.approx(0.5)
    assert isinstance(fixed.build(**shape), AugmentPipe) and fixed.build_controller() is None
    ada = AugmentConfig(kind=AugmentKind.ada)
    wanted = ADAController(p=0, target=0.6, speed_kimg=500, interval=4, p_max=1, device="cpu")
    assert vars(ada.build_controller()) == vars(wanted)
    assert ada.p_at(0, None) is None
    controller_now = ada.build_controller()
    assert controller_now is not None and ada.p_at(0, controller_now) is controller_now.p
    for way in (True, False):
        pipe = ada.build(**shape, fixed=way)
        assert isinstance(pipe, AugmentPipe) and pipe.fixed == way
    assert isinstance(AugmentConfig(kind=AugmentKind.diffaugment).build(**shape), DiffAugment)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: PipeConfig(preset="bcg"), "did you mean"),
        (lambda: PipeConfig(xflip=-1), "augment.pipe.xflip=-1"),
        (lambda: PipeConfig(noise_std=-0.1), "noise_std=-0.1"),
        (lambda: PipeConfig(imgfilter_bands=[1, 1]), "four numbers"),
        (lambda: PipeConfig(preset=None).strengths(3), "nothing is switched on"),
        (lambda: PipeConfig(preset="blit", xflip=0, rotate90=0, xint=0).strengths(3), "nothing is switched on"),
        (lambda: PipeConfig(hue=1).strengths(1), "one channel have no hue"),
        (lambda: PipeConfig().strengths(2), "2 channels"),
        (lambda: AugmentConfig(p=1.5), "augment.p=1.5"),
        (lambda: AugmentConfig(p=float("nan")), "augment.p=nan"),
        (lambda: AugmentConfig(p_max=20), "augment.p_max=20"),
        (lambda: AugmentConfig(p=Ramp(0.1, 1.1, 5)), "augment.p=1.1"),
        (lambda: AugmentConfig(kind=AugmentKind.ada, p=Ramp(0, 1, 5)), "ada adapts p"),
        (lambda: AugmentConfig(kind=AugmentKind.ada, p=0.9, p_max=0.8), "above augment.p_max=0.8"),
        (lambda: AugmentConfig(target=1), "augment.target=1"),
        (lambda: AugmentConfig(speed_kimg=0), "augment.speed_kimg=0"),
        (lambda: AugmentConfig(interval=0), "augment.interval=0"),
        (lambda: AugmentConfig(policy=["colour"]), "did you mean 'color'"),
        (lambda: AugmentConfig(policy=[]), "augment.policy is empty"),
    ],
)
def test_what_cannot_be_is_refused(make: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        make()


def made(phase: str, micro: int, p: float = 0.8, preset: str = "bgcfnc") -> list[Any]:
    """Batches of the tiny networks with augmentations."""
    pipe = AugmentPipe(PipeConfig(preset=preset), channels=3, resolution=(16, 16))
    real = torch.randint(0, 256, [8, 3, 16, 16], dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    (batches,) = make_training().draw(phase, real, micro=micro, p=p, augment=pipe, nimg=16)
    return batches


def test_each_phase_augments_what_its_discriminator_sees_and_all_independently() -> None:
    seen = {phase: made(phase, 8)[0] for phase in ("Gmain", "Greg", "Dmain", "Dreg")}
    augmentations = {
        (phase, name): value
        for phase, batch in seen.items()
        for name, value in vars(batch).items()
        if name.startswith("augment") and hasattr(value, "inverse")
    }
    assert set(augmentations) == {
        ("Gmain", "augment_fake"),
        ("Dmain", "augment_real"),
        ("Dmain", "augment_fake"),
        ("Dreg", "augment_real"),
    }
    maps = [augmentation.inverse for augmentation in augmentations.values()]
    assert all(not torch.equal(maps[i], maps[j]) for i in range(4) for j in range(i))


@pytest.mark.parametrize("name", ["Gmain", "Dmain", "Dreg"])
def test_rounds_give_the_gradient_of_the_whole_batch_and_augmentation_changes_it(name: str) -> None:
    training = make_training()
    training.state.G.double()
    training.state.D.double()
    phase, found = training.phase(name), []
    for micro, p in ((8, 0.8), (4, 0.8), (8, 0.0)):
        training.accumulate(phase, [as_double(b) for b in made(name, micro, p)])
        found.append(training.gradients(phase))
    whole, parts, plain = found
    for key, gradient in whole.items():
        # A round pads its images as far as the widest of them needs: what is rounded differs in the last bits.
        torch.testing.assert_close(parts[key], gradient, rtol=1e-7, atol=1e-9)
    assert any(float((plain[key] - g).norm()) > 0.1 * float(g.norm()) > 0 for key, g in whole.items())


def test_an_iteration_updates_p_from_the_signs_of_all_micro_batches() -> None:
    training = make_training()
    state = training.state
    state.ada = controller(interval=1, target=-1.0, speed_kimg=0.8)
    stats = training.step({p.name: batches(training, p.name, 1, 4) for p in training.phases})
    seen = stats["signs/real"]
    assert seen.numel() == 8 and state.ada.r_t == float(seen.mean())
    assert float(stats["augment/r_t"][0]) == pytest.approx(float(seen.mean()))
    assert state.ada.p == (0.51 if float(seen.mean()) > -1 else 0.5)

"""How often images are augmented: the adaptive controller, schedules, and what a configuration may ask for."""

from collections import defaultdict
from typing import Any

import pytest
import torch
from torch import Tensor

from stylegan.augment.ada import ADAController, LinearStrength
from stylegan.augment.build import AugmentConfig, AugmentKind, build_augment, build_controller, build_strength
from stylegan.augment.diffaugment import DiffAugment
from stylegan.augment.pipe import AugmentPipe
from stylegan.augment.strengths import PipeConfig
from stylegan.errors import UserError
from stylegan.losses.base import Networks
from stylegan.training.batch import BatchMaker, split_positions
from stylegan.training.step import OnNonfinite, StepConfig, accumulate_gradients, train_step
from tests.unit.test_step import as_double, batches, gradients, make_phases
from tests.unit.tiny import tiny_pair


def controller(**options: Any) -> ADAController:
    return ADAController(**{"p": 0.5, "target": 0.6, "step": 0.01, "interval": 4, "p_max": 1.0, **options})


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
    assert ada.p == pytest.approx(0.5 + moves) and ada.r_t == pytest.approx((2 * positive - 40) / 40)
    assert (ada.signs, ada.count, ada.iterations) == (0, 0, 0)


def test_p_takes_speed_kimg_from_0_to_1_and_stays_within_its_bounds() -> None:
    step = ADAController.step_size(64, 4, 500)
    ada = controller(p=0.0, step=step)
    for _ in range(500_000 // 64 - 4):
        ada.update(signs(64, 0))
    assert 1 - 3 * step < ada.p < 1
    for p_max in (1.0, 0.3):
        ada = controller(p=p_max - 0.015, p_max=p_max)
        for _ in range(40):
            ada.update(signs(8, 0))
        assert ada.p == p_max
        ada.interval = 1
        ada.update(signs(0, 8))
        assert ada.p == pytest.approx(p_max - 0.01), "it comes back at once"
    ada = controller(p=0.015)
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
    assert second == whole and whole.p == 0.51 and whole.iterations == 1


def test_schedule() -> None:
    line = LinearStrength(0.2, 0.8, 2.0)
    assert [line.p(nimg) for nimg in (0, 1000, 2000, 9000)] == pytest.approx([0.2, 0.5, 0.8, 0.8])
    assert LinearStrength(0.2, 0.8, 0).p(0) == 0.8


def test_what_a_configuration_builds() -> None:
    shape: Any = {"channels": 3, "resolution": (8, 8)}
    none, fixed = AugmentConfig(), AugmentConfig(kind=AugmentKind.fixed, p=0.3)
    assert build_augment(none, **shape) is None and build_controller(none, 8) is None and build_strength(none) is None
    strength = build_strength(fixed)
    assert strength is not None and strength.p(0) == strength.p(10**6) == 0.3
    assert isinstance(build_augment(fixed, **shape), AugmentPipe) and build_controller(fixed, 8) is None
    ada = build_controller(AugmentConfig(kind=AugmentKind.ada), 32)
    assert ada == ADAController(p=0, target=0.6, step=32 * 4 / 500_000, interval=4, p_max=1)
    assert isinstance(build_augment(AugmentConfig(kind=AugmentKind.diffaugment), **shape), DiffAugment)


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
        (lambda: AugmentConfig(p_end=-0.1), "augment.p_end=-0.1"),
        (lambda: AugmentConfig(kind=AugmentKind.ada, p=0.9, p_max=0.8), "above augment.p_max=0.8"),
        (lambda: AugmentConfig(target=1), "augment.target=1"),
        (lambda: AugmentConfig(speed_kimg=0), "augment.speed_kimg=0"),
        (lambda: AugmentConfig(interval=0), "augment.interval=0"),
        (lambda: AugmentConfig(p_kimg=-1), "augment.p_kimg=-1"),
        (lambda: AugmentConfig(policy=["colour"]), "did you mean 'color'"),
        (lambda: AugmentConfig(policy=[]), "augment.policy is empty"),
    ],
)
def test_what_cannot_be_is_refused(make: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        make()


def made(phase: str, micro: int, p: float = 0.8, preset: str = "bgcfnc") -> list[Any]:
    """Batches of the tiny networks with augmentations."""
    G, _ = tiny_pair()
    pipe = AugmentPipe(PipeConfig(preset=preset), channels=3, resolution=(16, 16))
    maker = BatchMaker(1, 8, 0.9, 2, augment=pipe)
    real = torch.randint(0, 256, [8, 3, 16, 16], dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    (rounds,) = split_positions(8, 1, micro, 4)
    flat = [position for chunk in rounds for position in chunk]
    return maker.draw(phase, 16, G, real[flat], torch.zeros(8, 0), rounds, p)


def test_each_phase_augments_what_its_discriminator_sees_and_all_independently() -> None:
    seen = {phase: made(phase, 8)[0] for phase in ("Gmain", "Greg", "Dmain", "Dreg")}
    has = {phase: (b.augment_real is not None, b.augment_fake is not None) for phase, b in seen.items()}
    assert has == {"Gmain": (False, True), "Greg": (False, False), "Dmain": (True, True), "Dreg": (True, False)}
    maps = [a.inverse for b in seen.values() for a in (b.augment_real, b.augment_fake) if a is not None]
    assert all(not torch.equal(maps[i], maps[j]) for i in range(4) for j in range(i))


@pytest.mark.parametrize("name", ["Gmain", "Dmain", "Dreg"])
def test_rounds_give_the_gradient_of_the_whole_batch_and_augmentation_changes_it(name: str) -> None:
    networks, phases, _ = make_phases()
    networks = Networks(networks.G.double(), networks.D.double())
    phase = next(p for p in phases if p.name == name)
    found = []
    for micro, p in ((8, 0.8), (4, 0.8), (8, 0.0)):
        accumulate_gradients(phase, networks, [as_double(b) for b in made(name, micro, p)], defaultdict(list))
        found.append(gradients(phase))
    whole, parts, plain = found
    for key, gradient in whole.items():
        # A round pads its images as far as the widest of them needs: what is rounded differs in the last bits.
        torch.testing.assert_close(parts[key], gradient, rtol=1e-7, atol=1e-9)
    assert any(float((plain[key] - g).norm()) > 0.1 * float(g.norm()) > 0 for key, g in whole.items())


def test_an_iteration_updates_p_from_the_signs_of_all_micro_batches() -> None:
    networks, phases, state = make_phases()
    state.ada = controller(interval=1, target=-1.0)
    made_ = {p.name: batches(networks, p.name, 1, 4) for p in phases}
    stats = train_step(state, phases, made_, StepConfig(8, 1.0, None, OnNonfinite.stop))
    seen = torch.cat(stats["signs/real"])
    assert seen.numel() == 8 and state.ada.r_t == float(seen.mean())
    assert float(stats["augment/r_t"][0]) == pytest.approx(float(seen.mean()))
    assert state.ada.p == (0.51 if float(seen.mean()) > -1 else 0.5)

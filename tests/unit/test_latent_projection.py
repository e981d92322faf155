"""Projection and pivotal tuning against the numbers of the public programs."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.latent.distance import Distance
from stylegan.latent.projection import NOISE_WEIGHT, Projection, Schedule, Space, irregularity, spread_of_w
from stylegan.latent.tuning import Locality, Tuning, TuningOptions, around_pivot, locality_loss
from tests.golden.golden import Golden
from tests.golden.golden import load as load_golden
from tests.unit import test_models_golden

PROJECTOR, SCHEDULES, PTI = (load_golden(f"lat_{name}") for name in ("projector", "projector_schedule", "pti"))


def stand_in(golden: Golden, gain: float = 1.0) -> Distance:
    """The features that the recorded runs used instead of VGG16."""
    w1, b1, w2 = (golden.tensor(f"in/feat_{name}") for name in ("w1", "b1", "w2"))

    def features(img: Tensor) -> Tensor:
        x = F.leaky_relu(F.conv2d(img, w1, b1, stride=2, padding=1), 0.2)
        return (F.conv2d(x, w2, stride=2, padding=1) * 0.1 * gain).flatten(1)

    return Distance("stand-in", features)


@pytest.mark.parametrize("index", range(2))
def test_schedules_are_those_of_the_projector(index: int) -> None:
    schedule = Schedule(SCHEDULES.config["schedules"][index]["num_steps"])
    rates = torch.tensor([schedule.rate(i) for i in range(schedule.steps)], dtype=torch.float64)
    scales = torch.tensor([schedule.scale(i) for i in range(schedule.steps)], dtype=torch.float64)
    SCHEDULES.assert_close(f"f64/sched{index}/out/lr", rates)
    SCHEDULES.assert_close(f"f64/sched{index}/out/noise_scale_over_w_std", scales)


@pytest.mark.parametrize("index", range(3))
def test_irregularity_of_noise(index: int) -> None:
    case = SCHEDULES.config["noise_cases"][index]
    maps = [SCHEDULES.tensor(f"noise{index:02d}/in/buf{i}").requires_grad_(True) for i in range(len(case["sizes"]))]
    loss = case.get("weight", NOISE_WEIGHT) * irregularity(maps)
    SCHEDULES.assert_close(f"noise{index:02d}/out/loss", loss)
    for i, gradient in enumerate(torch.autograd.grad(loss, maps)):
        SCHEDULES.assert_close(f"noise{index:02d}/out/grad{i}", gradient)


def test_spread_of_w() -> None:
    G = test_models_golden.generator(load_golden(PROJECTOR.config["network"])).eval()
    for samples, end in ((PROJECTOR.config["w_avg_samples"], ""), (10_000, "_10000")):
        spread = spread_of_w(G, samples=samples)
        PROJECTOR.assert_close(f"f64/out/w_avg{end}", spread.mean)
        PROJECTOR.assert_close(f"f64/out/w_std{end}", torch.tensor(spread.deviation, dtype=torch.float64))


def test_ten_steps_of_the_projector() -> None:
    G = test_models_golden.generator(load_golden(PROJECTOR.config["network"])).eval().requires_grad_(False)
    spread = spread_of_w(G, samples=PROJECTOR.config["w_avg_samples"])
    names = PROJECTOR.config["noise_buffers"]
    noise = torch.cat([PROJECTOR.tensor(f"in/noise_init/{name}").flatten() for name in names])
    target = PROJECTOR.tensor("in/target")[None].float() / 127.5 - 1
    steps = PROJECTOR.config["steps"]
    projection = Projection(
        G,
        target,
        stand_in(PROJECTOR),
        spread.mean[None, None],
        Space.w,
        Schedule(steps),
        deviation=spread.deviation,
        noise=noise,
    )
    assert projection.noise is not None
    for step in range(steps):
        if step == steps - 1:
            for name, part in zip(names, projection._maps(projection.noise[0].detach()), strict=True):
                key = f"out/noise_before_last_step/{name}"
                if key in PROJECTOR.arrays:
                    PROJECTOR.assert_close(key, part)
        images = projection.advance(PROJECTOR.tensor("in/w_noise")[step][None, None])
        assert images.shape == (1, 3, 32, 32)
        assert projection.point.grad is not None and projection.noise.grad is not None
        if f"out/grad_w/{step}" in PROJECTOR.arrays:
            PROJECTOR.assert_close(f"out/grad_w/{step}", projection.point.grad[0, 0])
        if step == 0:
            for name, part in zip(names, projection._maps(projection.noise.grad[0]), strict=True):
                if f"out/grad_noise_step0/{name}" in PROJECTOR.config["tol"]:
                    PROJECTOR.assert_close(f"out/grad_noise_step0/{name}", part)
        tolerance = PROJECTOR.config["tol"]["out/w"]
        error = (projection.point[0, 0].detach() - PROJECTOR.tensor("out/w")[step]).abs().max()
        assert error <= tolerance["atol"] + tolerance["rtol"] * tolerance["absmax"]


@pytest.mark.parametrize("index", range(3))
def test_pivotal_tuning_is_that_of_the_paper(index: int) -> None:
    case, name = PTI.config["cases"][index], f"case{index:02d}"
    G = test_models_golden.generator(load_golden(PTI.config["network"])).eval().requires_grad_(False)
    before = copy.deepcopy(G.state_dict())
    hp = case["hp"]
    options = TuningOptions(
        steps=hp["max_pti_steps"],
        lr=hp.get("pti_learning_rate", 3e-4),
        threshold=hp.get("LPIPS_value_threshold", 0.06),
        locality=Locality() if hp.get("use_locality_regularization") else None,
    )
    assert {**PTI.config["defaults"], "max_pti_steps": 350} == {
        **PTI.config["defaults"],
        "max_pti_steps": TuningOptions().steps,
        "pti_learning_rate": TuningOptions().lr,
        "LPIPS_value_threshold": TuningOptions().threshold,
        "pt_l2_lambda": TuningOptions().squares,
        "pt_lpips_lambda": TuningOptions().distance,
        "regulizer_alpha": Locality().alpha,
        "regulizer_l2_lambda": Locality().squares,
        "regulizer_lpips_lambda": Locality().distance,
        "latent_ball_num_of_samples": Locality().samples,
        "locality_regularization_interval": Locality().interval,
    }
    random = np.random.RandomState(case.get("np_seed", 0))
    target, ws = (PTI.tensor(f"{name}/in/{key}") for key in ("target", "w"))
    tuning = Tuning(G, target, ws, perceptual(), options)
    seen: dict[str, list[float]] = {"loss": [], "l2": [], "lpips_like": []}
    while tuning.step < options.steps and not tuning.stopped:
        tuning.advance(torch.from_numpy(random.randn(1, G.z_dim)).float())
        for key, value in zip(seen, (tuning.loss, tuning.squares, tuning.away), strict=True):
            seen[key].append(value)
    assert tuning.step == case["evaluations"] and tuning.stopped == (index == 1)
    for key, values in seen.items():
        PTI.assert_close(f"{name}/out/{key}", torch.tensor(values))
    tuned = tuning.finish()
    PTI.assert_close(f"{name}/out/img", tuning.images(tuned))
    for key in PTI.keys(f"{name}/out/final/"):
        PTI.assert_close(key, tuned.state_dict()[key.removeprefix(f"{name}/out/final/")])
    changed = [key for key, value in tuned.named_parameters() if not torch.equal(value, before[key])]
    assert len(changed) == case["changed_params"] and not any("mapping" in key for key in changed)
    assert all(torch.equal(value, before[key]) for key, value in G.state_dict().items())


@pytest.mark.parametrize("index", range(2))
def test_locality(index: int) -> None:
    case, name = PTI.config["locality"][index], f"loc{index:02d}"
    G = test_models_golden.generator(load_golden(PTI.config["network"])).eval().requires_grad_(False)
    new = copy.deepcopy(G)
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.mul_(1.02)
    new.requires_grad_(True)
    samples = case["hp"].get("latent_ball_num_of_samples", 1)
    options = Locality(alpha=case["hp"].get("regulizer_alpha", 30.0), samples=samples)
    ws, z = PTI.tensor(f"{name}/in/w"), PTI.tensor(f"f64/{name}/in/z").float()
    PTI.assert_close(f"{name}/out/morphed_w", around_pivot(G, ws, z, options.alpha))
    loss = locality_loss(new, G, ws, z, options, perceptual())
    PTI.assert_close(f"{name}/out/loss", loss)
    loss.backward()
    for key in PTI.keys(f"{name}/out/grad/"):
        gradient = new.get_parameter(key.removeprefix(f"{name}/out/grad/")).grad
        assert gradient is not None
        PTI.assert_close(key, gradient)


def perceptual() -> Distance:
    """What the recorded tuning used for LPIPS: 50 times the mean of squared differences, [N, 5, 8, 8] features."""
    return stand_in(PTI, gain=(50 / 320) ** 0.5)

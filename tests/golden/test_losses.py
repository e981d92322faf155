"""Every phase of the loss: gradients of all parameters, values per image, pl_mean and w_avg, against recorded numbers."""

from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest
import torch

from stylegan.losses.base import Batch
from stylegan.losses.logistic import LogisticConfig
from stylegan.schedule import Ramp
from stylegan.training.step import Stats
from tests.golden.golden import Golden, load
from tests.golden.networks import build_pair
from tests.unit.training import training_of

# What the recorded files call the values that ours reports, by phase.
STATS = {
    "Gmain": {"scores/fake": "scores/fake", "G/loss": "loss/G"},
    "Greg": {"pl_penalty": "pl_penalty", "G/reg": "loss/G_reg"},
    "Dmain": {"scores/fake": "scores/fake", "scores/real": "scores/real", "D/loss": "loss/D"},
    "Dreg": {"r1_penalty": "r1_penalty", "D/reg": "loss/D_reg"},
}


def run(golden: Golden, *names: str, gain: float | None = None) -> tuple[dict[str, Any], Stats]:
    """Gradients that the named phases leave, summed, and what they report; each starts from the recorded state."""
    G, D = build_pair(golden)
    kwargs = golden.config["loss_kwargs"]
    loss = LogisticConfig(
        r1_gamma=kwargs["r1_gamma"],
        pl_weight=kwargs["pl_weight"],
        pl_decay=kwargs["pl_decay"],
        style_mixing_prob=kwargs["style_mixing_prob"],
        blur_sigma=Ramp(kwargs.get("blur_init_sigma", 0.0), 0.0, kwargs.get("blur_fade_kimg", 0.0)),
    )
    inputs = {key: golden.tensor(f"in/{key}") for key in ("real_img", "real_c", "gen_z", "gen_c", "pl_noise")}
    training = training_of(G, D, loss, batch_size=len(inputs["gen_z"]))
    state = training.state
    state.pl_mean.fill_(golden.config["pl_mean_before"])
    state.nimg = golden.config.get("cur_nimg", 0)
    drawn: dict[str, Any] = {
        "real": inputs["real_img"],
        "real_c": inputs["real_c"],
        "augment_real": None,
        "z_mix": None,
        "constant_noise": True,
        "augment_fake": None,
    }
    stats: Stats = defaultdict(list)
    total: dict[str, torch.Tensor | None] = {}
    for name in names:
        phase = training.phase(name)
        if gain is not None:
            phase = replace(phase, interval=gain)
        n = len(inputs["pl_noise"]) if name == "Greg" else None
        batch = Batch(name, z=inputs["gen_z"][:n], c=inputs["gen_c"][:n], path_noise=inputs["pl_noise"], **drawn)
        state.follow(training.accumulate(phase, [batch], stats))
        for key, parameter in getattr(state, phase.network).named_parameters():
            old = total.get(key)
            total[key] = parameter.grad if old is None else old if parameter.grad is None else old + parameter.grad
    return {"grad": total, "pl_mean": state.pl_mean, "G": dict(G.named_buffers())}, stats


CASES = [(name, phase) for name in ("loss_sg2_c0", "loss_sg2_c4") for phase in ("Gmain", "Greg", "Dmain", "Dreg")]
CASES += [("loss_sg3T_c0_blur", phase) for phase in ("Gmain", "Dmain", "Dreg")]


@pytest.mark.parametrize(("name", "phase"), CASES)
def test_phase(name: str, phase: str) -> None:
    golden = load(name)
    out, stats = run(golden, phase)
    for theirs, ours in STATS[phase].items():
        key = f"out/{phase}/stat/{theirs}"
        golden.assert_close(key, torch.cat(stats[ours]).view(golden.tensor(key).shape))
    for key in golden.keys(f"out/{phase}/grad/"):
        grad = out["grad"][key.removeprefix(f"out/{phase}/grad/")]
        assert grad is not None, f"{key}: no gradient"
        golden.assert_close(key, grad)
    absent = sorted(key for key, grad in out["grad"].items() if grad is None)
    assert absent == sorted(golden.config["none_grad"][phase])
    for key in golden.config["zero_grad"][phase]:
        assert not out["grad"][key].any(), f"{key} should be exactly zero"
    golden.assert_close(f"out/{phase}/pl_mean", out["pl_mean"])
    if phase == "Dmain":
        golden.assert_close(f"out/{phase}/w_avg", out["G"]["mapping.w_avg"])
        for key in golden.keys(f"out/{phase}/G_buffer/"):
            golden.assert_close(key, out["G"][key.removeprefix(f"out/{phase}/G_buffer/")])


@pytest.mark.parametrize(("both", "parts"), [("Gboth", ("Gmain", "Greg")), ("Dboth", ("Dmain", "Dreg"))])
def test_both_is_the_sum_of_main_and_regularisation(both: str, parts: tuple[str, str]) -> None:
    golden = load("loss_sg2_c0")
    out, _ = run(golden, *parts, gain=golden.config["gain"][both])
    for key in golden.keys(f"out/{both}/grad/"):
        golden.assert_close(key, out["grad"][key.removeprefix(f"out/{both}/grad/")])
    golden.assert_close(f"out/{both}/pl_mean", out["pl_mean"])

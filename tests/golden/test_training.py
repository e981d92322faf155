"""Twenty iterations of training reproduce a recorded run, with the reference and the compiled ops: all phases, both optimisers,
the moving averages."""

import copy
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stylegan.losses.base import Batch, LossOutput, Networks, Phase
from stylegan.losses.logistic import LogisticConfig
from stylegan.training import step as step_module
from stylegan.training.adam import Adam, OptimConfig
from stylegan.training.step import accumulate_gradients
from tests.golden.golden import Golden, assert_displacement, load
from tests.golden.networks import build_pair
from tests.unit.training import Training, training_of

LOGS = {"Gmain": "loss/G", "Greg": "loss/G_reg", "Dmain": "loss/D", "Dreg": "loss/D_reg"}


def start(golden: Golden) -> Training:
    cfg, kwargs, opt = golden.config, golden.config["loss_kwargs"], golden.config["opt"]
    loss = LogisticConfig(
        r1_gamma=kwargs["r1_gamma"],
        r1_interval=cfg["D_reg_interval"],
        pl_weight=kwargs["pl_weight"],
        pl_interval=cfg["G_reg_interval"],
        pl_decay=kwargs["pl_decay"],
        style_mixing_prob=0,
    )
    optim = OptimConfig(
        G_lr=opt["lr"],
        D_lr=opt["lr"],
        beta1=opt["betas"][0],
        beta2=opt["betas"][1],
        eps=opt["eps"],
        ema_kimg=cfg["ema_kimg"],
        ema_rampup=cfg["ema_rampup"] or 0,
    )
    return training_of(*build_pair(golden), loss, optim, batch_size=cfg["batch_size"])


def batches(golden: Golden, step: int) -> dict[str, list[Batch]]:
    """The recorded inputs of an iteration, in consecutive micro-batches as the recording took them."""
    real = golden.tensor("in/real_img_uint8")[step].float() / 127.5 - 1
    micro, made = golden.config["batch_gpu"], {}
    for number, phase in enumerate(golden.config["phase_order"]):
        made[phase] = []
        for k, start_at in enumerate(range(0, golden.config["batch_size"], micro)):
            part = slice(start_at, start_at + micro)
            drawn: dict[str, Any] = {"z_mix": None, "constant_noise": True, "augment_real": None, "augment_fake": None}
            drawn |= {"real": real[part], "real_c": golden.tensor("in/real_c")[step, part]}
            if phase == "Greg" and step % golden.config["G_reg_interval"] == 0:
                noise = golden.tensor("in/pl_noise")[step // golden.config["G_reg_interval"], k]
                drawn["path_noise"] = noise
                part = slice(start_at, start_at + len(noise))
            for name in ("z", "c"):
                drawn[name] = golden.tensor(f"in/gen_{name}")[step, number, part]
            made[phase].append(Batch(phase, **drawn))
    return made


def trained(network: torch.nn.Module) -> dict[str, Tensor]:
    """Parameters and w_avg: what a displacement is measured over."""
    return {k: v for k, v in network.state_dict().items() if not k.endswith(("resample_filter", "noise_const"))}


def compare(golden: Golden, when: str, name: str, network: torch.nn.Module, initial: dict[str, Tensor]) -> None:
    want = golden.state(f"out/{when}/{name}/")
    got = {k: v for k, v in trained(network).items() if k in want}
    assert got.keys() == want.keys()
    assert_displacement(f"{golden.name}: {when}/{name}", got, want, {k: initial[k] for k in want})


@pytest.mark.parametrize("name", ["train_sg2_c0_20it", "train_sg2_c0_20it_acc2"])
@pytest.mark.usefixtures("ops")
def test_twenty_iterations(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = load(name)
    if name.endswith("acc2"):  # this recording summed the gradients of its rounds

        def summed(
            phase: Phase, networks: Networks, optimizer: Adam, microbatches: Any, *args: Any
        ) -> list[LossOutput]:
            outputs = accumulate_gradients(phase, networks, optimizer, microbatches, *args)
            for gradient in optimizer.gradients:
                gradient.mul_(len(microbatches))  # two of them: exact
            return outputs

        monkeypatch.setattr(step_module, "accumulate_gradients", summed)
    training = start(golden)
    state = training.state
    initial = {"G": copy.deepcopy(trained(state.G)), "D": copy.deepcopy(trained(state.D))}
    initial["G_ema"] = initial["G"]
    logs: dict[str, list[float]] = defaultdict(list)
    for step in range(golden.config["iters"]):
        stats = training.step(batches(golden, step))
        for phase, key in LOGS.items():
            logs[phase].append(float(stats[key].mean()) if key in stats else float("nan"))
        if step == 0:
            assert all(torch.equal(a, b) for a, b in zip(state.G.parameters(), state.G_ema.parameters(), strict=True))
            for network in ("G", "D"):
                compare(golden, "iter1", network, getattr(state, network), initial[network])
    for phase, values in logs.items():
        key = f"nan/log/{phase}"
        want, tol = golden.arrays[key], golden.config["tol"][key]
        assert np.array_equal(np.isnan(values), np.isnan(want)), f"{phase} ran in other iterations"
        ran = ~np.isnan(want)
        error = np.abs(np.array(values)[ran] - want[ran])
        assert (error <= tol["atol"] + tol["rtol"] * np.abs(want[ran])).all(), f"{key}: {error.max():.3g}"
    for network in ("G", "D", "G_ema"):
        compare(golden, "final", network, getattr(state, network), initial[network])
    image = state.G_ema(golden.tensor("in/gen_z")[0, 0], golden.tensor("in/gen_c")[0, 0], noise_mode="const")
    golden.assert_close("out/final/img_ema", image)

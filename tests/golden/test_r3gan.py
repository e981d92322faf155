"""R3GAN's loss and twenty iterations of its training against recorded numbers of the authors' code, with both kinds of ops."""

import copy
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stylegan.losses.base import Batch
from stylegan.losses.relativistic import RelativisticConfig
from stylegan.schedule import Ramp, Shape
from stylegan.training.adam import OptimConfig
from stylegan.training.step import Stats
from tests.golden.golden import Golden, assert_displacement, load
from tests.golden.networks import by_our_names, r3gan_pair, recorded_names
from tests.unit.training import training_of

DRAWN: dict[str, Any] = {"z_mix": None, "constant_noise": True, "augment_real": None, "augment_fake": None}


@pytest.mark.parametrize("name", ["r3gan_loss_c0", "r3gan_loss_c4_acc2"])
@pytest.mark.parametrize("kind", ["D", "G"])
@pytest.mark.usefixtures("ops")
def test_loss(name: str, kind: str) -> None:
    golden = load(name)
    G, D = r3gan_pair(golden)
    inputs = {key: golden.tensor(f"in/{key}") for key in ("real", "z", "c")}
    training = training_of(G, D, RelativisticConfig(gamma=golden.config["gamma"]), batch_size=len(inputs["z"]))
    size = len(inputs["z"]) // golden.config["rounds"]
    batches = []
    for start in range(0, len(inputs["z"]), size):
        part = {key: value[start : start + size] for key, value in inputs.items()}
        batches.append(Batch(f"{kind}main", real=part["real"], real_c=part["c"], z=part["z"], c=part["c"], **DRAWN))
    stats: Stats = defaultdict(list)
    outputs = training.accumulate(training.phase(f"{kind}main"), batches, stats)
    found = {key: torch.cat(values) for key, values in stats.items()}
    told = {"adv": f"loss/{kind}", **({"r1": "r1_penalty", "r2": "r2_penalty"} if kind == "D" else {})}
    for theirs, ours in told.items():
        golden.assert_close(f"out/{kind}/stat/{theirs}", found[ours])
    golden.assert_close(f"out/{kind}/loss", torch.cat([output.loss for output in outputs]).mean())
    network: Any = D if kind == "D" else G
    names = recorded_names(network, golden.state(f"out/{kind}/grad/"))
    gradients = {key: p.grad for key, p in network.named_parameters()}
    assert set(names) == set(gradients)
    for ours, theirs in names.items():
        gradient = gradients[ours]
        assert gradient is not None
        golden.assert_close(f"out/{kind}/grad/{theirs}", gradient)


def ramp(golden: Golden, name: str) -> Ramp:
    course = golden.config["schedulers"][name]
    scale = 1000 if name == "ema" else 1  # of values: our half-life is in kimg
    return Ramp(course["base_value"] / scale, course["final_value"] / scale, course["total_nimg"] / 1000, Shape.cosine)


@pytest.mark.usefixtures("ops")
def test_twenty_iterations() -> None:
    golden = load("train_r3gan_c0_20it")
    G, D = r3gan_pair(golden)
    optim = OptimConfig(
        G_lr=ramp(golden, "lr"),
        D_lr=ramp(golden, "lr"),
        beta1=0.0,
        beta2=ramp(golden, "beta2"),
        eps=golden.config["adam"]["eps"],
        ema_kimg=ramp(golden, "ema"),
        ema_rampup=0,
    )
    loss = RelativisticConfig(gamma=ramp(golden, "gamma"))
    training = training_of(G, D, loss, optim, batch_size=golden.config["batch_size"])
    state = training.state
    initial = {name: copy.deepcopy(network.state_dict()) for name, network in (("G", G), ("D", D), ("G_ema", G))}
    logs: dict[str, list[float]] = defaultdict(list)
    for step in range(golden.config["iters"]):
        batches = {}
        for kind in ("D", "G"):
            real = golden.tensor(f"in/real_{kind}_uint8")[step].float() / 127.5 - 1
            z, c = golden.tensor(f"in/z_{kind}")[step], golden.tensor(f"in/c_{kind}")[step]
            batches[f"{kind}main"] = [Batch(f"{kind}main", real=real, real_c=c, z=z, c=c, **DRAWN)]
        stats = training.step(batches)
        told = {"D_adv": "loss/D", "D_r1": "r1_penalty", "D_r2": "r2_penalty", "G_adv": "loss/G"}
        told |= {"gradnorm_D": "grad_norm/Dmain", "gradnorm_G": "grad_norm/Gmain"}
        for theirs, ours in told.items():
            logs[theirs].append(float(stats[ours].mean()))
        if step == 0:
            compare(golden, "iter1", state, initial, ["G", "D"])
    for name, values in logs.items():
        golden.assert_close(f"out/log/{name}", torch.tensor(np.array(values)))
    compare(golden, "final", state, initial, ["G", "D", "G_ema"])
    image = state.G_ema(golden.tensor("in/z_G")[0], golden.tensor("in/c_G")[0])
    golden.assert_close("out/final/img_ema", image)


def compare(golden: Golden, when: str, state: Any, initial: dict[str, dict[str, Tensor]], names: list[str]) -> None:
    """How far networks have moved."""
    for name in names:
        network: nn.Module = getattr(state, name)
        want = by_our_names(golden, f"out/{when}/{name}/", network)
        got = {key: value for key, value in network.state_dict().items() if key in want}
        assert_displacement(f"{when}/{name}", got, want, {key: initial[name][key] for key in want})

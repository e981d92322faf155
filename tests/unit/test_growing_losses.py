"""Penalties of networks that grow: small images, as we train, and images of full size of which D sees the means, as the papers'
code does, are the same; and what the Wasserstein loss asks of networks."""

import copy
from collections import defaultdict
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from stylegan.errors import UserError
from stylegan.losses.base import Batch
from stylegan.losses.logistic import LogisticConfig
from stylegan.losses.relativistic import RelativisticConfig
from stylegan.losses.wgan_gp import WGANGPConfig
from stylegan.models.progan import ProGANConfig, ProGANDiscriminatorConfig
from stylegan.models.stylegan1 import StyleGAN1Config, StyleGAN1DiscriminatorConfig
from stylegan.schedule import Stage
from stylegan.training.adam import Adam
from stylegan.training.step import accumulate_gradients
from tests.unit.training import Training, training_of

SMALL: dict[str, Any] = {"channel_base": 64, "channel_max": 8}
SHAPE: dict[str, Any] = {"resolution": (32, 32), "channels": 3}
LOSSES = {
    "within": LogisticConfig(r1_gamma=3, r1_interval=0, pl_weight=0, style_mixing_prob=0),
    "apart": LogisticConfig(r1_gamma=3, r1_interval=4, pl_weight=0, style_mixing_prob=0),
    "relativistic": RelativisticConfig(gamma=3),
    "wgan_gp": WGANGPConfig(gp_target=0.7),
}


def training(loss: Any, c_dim: int = 0) -> Training:
    torch.manual_seed(0)
    G = ProGANConfig(z_dim=8, **SMALL).build(**SHAPE, c_dim=c_dim).double()
    D = ProGANDiscriminatorConfig(**SMALL).build(**SHAPE, c_dim=c_dim).double()
    return training_of(G, D, loss, batch_size=4)


@pytest.mark.parametrize("side", [4, 8, 16, 32])
@pytest.mark.parametrize("kind", LOSSES)
def test_penalties_are_those_by_images_of_full_size(kind: str, side: int) -> None:
    made = training(LOSSES[kind])
    stage = Stage((side, side), 0.3 if side > 4 else 1.0, 4)
    made.state.enter(stage)
    present, draw = made.shown(made.plan.moment(0, stage)), torch.Generator().manual_seed(1)
    real, z = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in ((4, 3, side, side), (4, 8)))
    u, none = torch.rand(4, generator=draw, dtype=torch.float64), torch.zeros(4, 0)
    given: dict[str, Any] = {"real": real, "real_c": none, "z": z, "c": none, "z_mix": None, "constant_noise": True}
    given |= {"augment_real": None, "augment_fake": None, "mixing_factor": u}
    stats: dict[str, list[Tensor]] = defaultdict(list)
    phase = made.phase("Dreg" if kind == "apart" else "Dmain")
    accumulate_gradients(phase, made.networks, made.state.D_opt, [Batch(phase.name, **given)], present, stats)
    D, factor = made.state.D, 32 // side

    def lengths(images: Tensor) -> Tensor:
        """Of the gradients by images of full size, of which D sees the means."""
        full = interpolate(images, scale_factor=factor).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(D(avg_pool2d(full, factor)).sum(), full)
        return gradient.square().sum(dim=[1, 2, 3]).sqrt()

    if kind == "wgan_gp":
        fake = made.state.G(z).detach()
        want = lengths(real + (fake - real) * u[:, None, None, None])
        close(stats["gradient_length"], want)
        close(stats["loss/D_gp"], 10 / 0.7**2 * (want - 0.7).square())
    else:
        close(stats["r1_penalty"], lengths(real).square())
        name = "loss/D_r1" if kind == "relativistic" else "loss/D_reg"
        close(stats[name], 3 / 2 * lengths(real).square())


def close(got: list[Tensor], want: Tensor) -> None:
    torch.testing.assert_close(got[0], want, rtol=1e-6, atol=0)


def test_R1_within_the_main_loss_is_the_sum_of_both() -> None:
    found = []
    for kind in ("within", "apart"):
        made = training(LOSSES[kind])
        images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        ((batch,),) = made.draw("Dmain", images)
        total: dict[str, Tensor] = defaultdict(lambda: torch.zeros([], dtype=torch.float64))
        for name in ("Dmain", "Dreg"):
            if name == "Dmain" or kind == "apart":
                phase = made.phase(name)
                double = {k: getattr(batch, k).double() for k in ("real", "z", "noise")}
                given = {"real_c": batch.real_c, "c": batch.c, "z_mix": None, "constant_noise": False, **double}
                made.accumulate(phase, [Batch(name, augment_real=None, augment_fake=None, **given)])
                for key, gradient in made.gradients(phase).items():
                    total[key] = total[key] + gradient / phase.interval
        found.append(total)
    assert found[0].keys() == found[1].keys()
    for key, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][key], rtol=1e-9, atol=1e-12)


def test_only_a_D_that_tells_classes_is_trained_on_them() -> None:
    c = torch.eye(3)[[0, 1, 2, 0]]
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for config, told in ((ProGANDiscriminatorConfig(**SMALL), True), (StyleGAN1DiscriminatorConfig(**SMALL), False)):
        torch.manual_seed(0)
        G = ProGANConfig(z_dim=8, **SMALL).build(**SHAPE, c_dim=3)
        made = training_of(G, config.build(**SHAPE, c_dim=3), WGANGPConfig(), batch_size=4)
        stats: dict[str, list[Tensor]] = defaultdict(list)
        given: dict[str, Any] = {"z": images[:, 0, 0, :8], "c": c, "z_mix": None, "constant_noise": True}
        made.accumulate(made.phase("Gmain"), [Batch("Gmain", augment_fake=None, **given)], stats)
        assert ("loss/G_classes" in stats) == told


def test_the_phases_of_stylegan1() -> None:
    G = StyleGAN1Config(z_dim=8, w_dim=8, **SMALL).build(**SHAPE, c_dim=0)
    given = LogisticConfig(r1_gamma=10, r1_interval=0, pl_weight=0, D_first=True, w_avg_twice=True, shared_cutoff=True)
    D, g = given.phases(G)
    assert (D.name, D.then_average, g.name, g.then_average) == ("Dmain", True, "Gmain", False)
    assert "means" in D.gives and "means" in g.gives and D.needs.shared_cutoff and g.needs.shared_cutoff


def test_a_batch_shares_its_cutoff_and_mixes_within_the_layers_in_use() -> None:
    G = StyleGAN1Config(z_dim=8, w_dim=8, **SMALL).build(**SHAPE, c_dim=0)
    D = StyleGAN1DiscriminatorConfig(**SMALL).build(**SHAPE, c_dim=0)
    images = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)
    for shared in (True, False):
        made = training_of(copy.deepcopy(G), D, LogisticConfig(r1_gamma=1, pl_weight=0, shared_cutoff=shared))
        found: list[set[int]] = []
        made.state.G.set_stage((8, 8), None)  # type: ignore[operator]
        for nimg in range(0, 400, 8):
            parts = made.draw("Gmain", images, ranks=2, nimg=nimg)
            found.append({int(n) for (batch,) in parts for n in batch.mixing_cutoff})
        assert set.union(*found) == {1, 2, 3, 4}, "layers of 4x4 and 8x8, and none"
        assert (max(map(len, found)) == 1) == shared


def test_style_mixing_needs_w() -> None:
    with pytest.raises(UserError, match=r"style mixing.*loss\.style_mixing_prob=0"):
        training(WGANGPConfig(style_mixing_prob=0.5))


@pytest.mark.parametrize("beta1", [0.0, 0.5])
@pytest.mark.usefixtures("ops")
def test_epsilon_of_tensorflow_and_forgetting(beta1: float) -> None:
    """x - lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps), with an eps that counts; t begins again."""
    lr, b2, eps, gradients = 0.01, 0.99, 0.05, torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    p = torch.zeros(5, requires_grad=True)
    adam = Adam([p], eps=eps, tensorflow_eps=True)
    adam.set_rates(lr, beta1, b2)
    want, m, v = torch.zeros(5, dtype=torch.float64), 0.0, 0.0
    for step, gradient in enumerate(gradients):
        if step == 3:
            adam.forget()
            m, v = 0.0, 0.0
        t, g = step % 3 + 1, gradient.double()
        m, v = beta1 * m + (1 - beta1) * g, b2 * v + (1 - b2) * g.square()
        want -= lr * (1 - b2**t) ** 0.5 / (1 - beta1**t) * m / (v.sqrt() + eps)
        p.grad = gradient.clone()
        adam.step()
    torch.testing.assert_close(p.detach().double(), want, rtol=1e-5, atol=1e-7)

"""StyleGAN2 networks against recorded results: names and shapes of the state, outputs, gradients, moving average."""

import pytest
import torch

from stylegan.models.build import (
    DiscriminatorConfig,
    StyleGAN2Config,
)
from stylegan.models.discriminator import StyleGAN2Discriminator
from stylegan.models.generator import StyleBased
from stylegan.models.layers import Architecture
from stylegan.models.mapping import MappingConfig
from tests.golden.golden import HERE, Golden, load

GENERATORS = sorted(path.stem for path in HERE.glob("sg2_g_*.npz"))
DISCRIMINATORS = sorted(path.stem for path in HERE.glob("sg2_d_*.npz"))


def common(k: dict) -> dict:
    return {"resolution": (k["img_resolution"],) * 2, "channels": k["img_channels"], "c_dim": k["c_dim"]}


def generator(golden: Golden, fused: bool = False) -> StyleBased:
    k = golden.config["kwargs"]
    config = StyleGAN2Config(
        z_dim=k["z_dim"],
        w_dim=k["w_dim"],
        channel_base=k["channel_base"],
        channel_max=k["channel_max"],
        architecture=Architecture[k.get("architecture", "skip")],
        conv_clamp=k.get("conv_clamp", 256),
        fused_modconv=fused,
        mapping=MappingConfig(**k["mapping_kwargs"]),
    )
    G = config.build(**common(k))
    golden.load_into(G)
    return G


def discriminator(golden: Golden) -> StyleGAN2Discriminator:
    k = golden.config["kwargs"]
    config = DiscriminatorConfig(
        channel_base=k["channel_base"],
        channel_max=k["channel_max"],
        architecture=Architecture[k.get("architecture", "resnet")],
        conv_clamp=k.get("conv_clamp", 256),
        minibatch_std_group=k["epilogue_kwargs"]["mbstd_group_size"],
        mapping=MappingConfig(**k.get("mapping_kwargs", {})),
    )
    D = config.build(**common(k))
    golden.load_into(D)
    return D


@pytest.mark.parametrize("name", GENERATORS + DISCRIMINATORS)
def test_names_and_shapes_of_the_state(name: str) -> None:
    golden = load(name)
    network = generator(golden) if name in GENERATORS else discriminator(golden)
    assert {k: v.shape for k, v in network.state_dict().items()} == {k: v.shape for k, v in golden.state().items()}
    assert sorted(k for k, _ in network.named_parameters()) == sorted(golden.config["params"])


@pytest.mark.parametrize("fused", [False, True], ids=["unfused", "fused"])
@pytest.mark.parametrize("name", GENERATORS)
def test_generator(name: str, fused: bool) -> None:
    golden = load(name)
    G = generator(golden, fused)
    config, z, c = golden.config, golden.tensor("in/z"), golden.tensor("in/c")
    ws = G.mapping(z, c)
    golden.assert_close("out/ws", ws)
    truncated = {"truncation_psi": config["psi"], "truncation_cutoff": config["cutoff"]}
    golden.assert_close("out/ws_trunc", G.mapping(z, c, **truncated))
    golden.assert_close("out/ws_trunc_all", G.mapping(z, c, 0.5))
    golden.assert_close("out/img_none", G(z, c, noise_mode="none"))
    golden.assert_close("out/img_trunc", G(z, c, **truncated, noise_mode="const"))
    half = G.num_ws // 2
    mixed = torch.cat([ws[:1, :half], ws[1:2, half:]], dim=1)
    golden.assert_close("out/img_mix", G.synthesis(mixed, noise_mode="const"))
    ws = ws.detach().requires_grad_()
    img = G.synthesis(ws, noise_mode="const")
    golden.assert_close("out/img_const", img)
    golden.assert_close("out/img_unfused", img)
    (dws,) = torch.autograd.grad((img * golden.tensor("in/r")).sum(), ws)
    golden.assert_close("out/dws", dws)
    G.mapping.update_w_avg(ws[:, 0].mean(dim=0))
    golden.assert_close("out/w_avg_after", G.mapping.w_avg)


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_discriminator(name: str) -> None:
    golden = load(name)
    D = discriminator(golden)
    img, c = golden.tensor("in/img").requires_grad_(), golden.tensor("in/c")
    logits = D(img, c)
    golden.assert_close("out/logits", logits)
    if "out/cmap" in golden.arrays:
        golden.assert_close("out/cmap", D.mapping(None, c))
    (dx,) = torch.autograd.grad(logits.sum(), img, create_graph=True)
    golden.assert_close("out/dx", dx)
    golden.assert_close("out/r1_penalty", dx.square().sum([1, 2, 3]))

"""ProGAN's and StyleGAN1's networks against recorded numbers of the authors' code, at every stage and within fades, with both
kinds of ops."""

import math
from typing import Any

import pytest
import torch

from stylegan.models.progan import ProGANConfig, ProGANDiscriminatorConfig
from stylegan.models.progressive import Layout, convolve
from stylegan.models.stylegan1 import StyleGAN1Config, StyleGAN1DiscriminatorConfig
from stylegan.training.batch import mixing_cutoffs
from tests.golden.golden import load
from tests.golden.growing import (
    compare_gradients,
    enlarged,
    gradients_of,
    lods,
    names_of,
    network_of,
    reduced,
    set_lod,
)


@pytest.mark.parametrize("name", ["pg_g_c0_r16", "pg_g_c3_r8", "sg1_g_c0_r16", "sg1_g_c3_r8"])
@pytest.mark.usefixtures("ops")
def test_generator(name: str) -> None:
    golden, compared = load(name), 0
    G, c = network_of(golden, golden.config["kwargs"], "param/"), golden.get("in/c")
    for lod, start in lods(golden):
        set_lod(G, lod)
        G.zero_grad()
        z = golden.tensor("in/z").requires_grad_()
        img = enlarged(G, G(z, c))
        golden.assert_close(f"{start}/img", img)
        (img * golden.tensor("in/r")).sum().backward()
        assert z.grad is not None
        golden.assert_close(f"{start}/dz", z.grad)
        compared += compare_gradients(golden, G, f"{start}/grad/", gradients_of(G))
    assert compared


@pytest.mark.parametrize("name", ["pg_d_c0_r16", "pg_d_c3_r8", "sg1_d_c0_r16", "sg1_d_c3_r8"])
@pytest.mark.usefixtures("ops")
def test_discriminator(name: str) -> None:
    golden, compared = load(name), 0
    D, c = network_of(golden, golden.config["kwargs"], "param/"), golden.get("in/c")
    for lod, start in lods(golden):
        set_lod(D, lod)
        D.zero_grad()
        img = golden.tensor("in/img").requires_grad_()
        small = reduced(D, img, lod)
        scores = D(small, c)
        golden.assert_close(f"{start}/scores", scores)
        (dx,) = torch.autograd.grad(scores.sum(), img, create_graph=True)
        golden.assert_close(f"{start}/dx", dx)
        golden.assert_close(f"{start}/norm2", dx.square().sum(dim=[1, 2, 3]))
        total = (scores * golden.tensor("in/q")).sum()
        if "in/ql" in golden.arrays:
            logits, classes = D.classify(small)
            assert torch.equal(logits, scores)
            golden.assert_close(f"{start}/labels", classes)
            total = total + (classes * golden.tensor("in/ql")).sum()
        total.backward()
        compared += compare_gradients(golden, D, f"{start}/grad/", gradients_of(D))
    assert compared


@pytest.mark.parametrize("name", ["sg1_g_c0_r16", "sg1_g_c3_r8"])
@pytest.mark.usefixtures("ops")
def test_stylegan1_truncation_noise_and_mixing(name: str) -> None:
    golden = load(name)
    G, z, c = network_of(golden, golden.config["kwargs"], "param/"), golden.tensor("in/z"), golden.get("in/c")
    ws = G.mapping(z, c)
    golden.assert_close("out/ws", ws)
    psi, cutoff = golden.config["psi"], golden.config["cutoff"]
    golden.assert_close("out/ws_trunc", G.mapping(z, c, psi, cutoff))
    golden.assert_close("out/img_trunc", G(z, c, truncation_psi=psi, truncation_cutoff=cutoff))
    golden.assert_close("out/img_trunc_all", G(z, c, truncation_psi=0.5))
    noise = torch.cat([golden.tensor(f"in/noise{i}").flatten(1) for i in range(G.num_ws)], dim=1)
    golden.assert_close("out/img_given_noise", G(z, c, noise_mode="random", noise=noise))
    stored = G.stored_noise().expand(len(z), -1)
    torch.testing.assert_close(G(z, c, noise_mode="random", noise=stored), G(z, c))
    fused = network_of(golden, golden.config["kwargs"], "param/", fused_from=0)
    golden.assert_close("out/img_fused", fused(z, c))
    second = G.mapping(golden.tensor("in/z2"), c)
    for case in golden.config["mixing"]:
        set_lod(G, case["lod"])
        assert G.layers_in_use == case["layers_in_use"]
        keep = torch.arange(G.num_ws)[:, None] < case["cutoff"]
        mixed = torch.where(keep, ws, second)
        golden.assert_close(f"out/{case['name']}/ws", mixed)
        golden.assert_close(f"out/{case['name']}/img", enlarged(G, G.synthesis(mixed)))
    G.mapping.update_w_avg(ws[:, 0].mean(dim=0))
    golden.assert_close("out/dlatent_avg_after", G.mapping.w_avg)


@pytest.mark.usefixtures("ops")
def test_a_fused_down_convolution_is_the_same_function() -> None:
    for name in ("sg1_d_c0_r16", "sg1_d_c3_r8"):
        golden = load(name)
        D = network_of(golden, golden.config["kwargs"], "param/")
        golden.assert_close("out/scores_fused", D(golden.tensor("in/img"), golden.get("in/c")))


@pytest.mark.usefixtures("ops")
def test_convolutions_that_resample_are_the_plain_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 6, 4, generator=generator, dtype=torch.float64)
    w = torch.randn(5, 3, 3, 3, generator=generator, dtype=torch.float64)
    plain = torch.nn.functional.conv2d(torch.nn.functional.interpolate(x, scale_factor=2), w, padding=1)
    torch.testing.assert_close(convolve(x, w, gain=math.sqrt(27), up=True), plain)
    plain = torch.nn.functional.avg_pool2d(torch.nn.functional.conv2d(x, w, padding=1), 2)
    torch.testing.assert_close(convolve(x, w, gain=math.sqrt(27), down=True), plain)


@pytest.mark.parametrize(("recorded", "G", "D"), [
    ("pg_counts", ProGANConfig(), ProGANDiscriminatorConfig()),
    ("sg1_counts", StyleGAN1Config(), StyleGAN1DiscriminatorConfig()),
])  # fmt: skip
def test_published_sizes(recorded: str, G: Any, D: Any) -> None:
    config = load(recorded).config
    for key, counts in config["counts"].items():
        side, labels = (int("".join(filter(str.isdigit, part))) for part in key.split("/"))
        shape: Any = {"resolution": (side, side), "channels": 3, "c_dim": labels}
        with torch.device("meta"):
            made = {"G": G.build(**shape), "D": D.build(**shape)}
        numbers = {name: sum(p.numel() for p in network.parameters()) for name, network in made.items()}
        assert numbers == {"G": counts.get("G", counts.get("G_trainable")), "D": counts["D"]}, key
        if "noise" in counts:
            assert made["G"].noise_size == counts["noise"]
            assert sum(p.numel() for p in made["G"].mapping.parameters()) == counts["mapping"]
    shape = {"resolution": (1024, 1024), "channels": 3, "c_dim": 0}
    torch.manual_seed(0)
    for name, network in (("G", G.build(**shape)), ("D", D.build(**shape))):
        theirs = {k: v for k, v in config["shapes_1024"][name].items() if k.split("/")[-1] != "lod"}
        tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        table = names_of(network, fused_from=128)
        assert {key for key, _, _ in table} - {"dlatent_avg"} == set(theirs) - {"dlatent_avg"}
        for key, layout, ours in table:
            if key == "dlatent_avg":
                continue
            shape_there, kind, std = theirs[key]
            got = tensors[ours].detach()
            assert layout.ours(torch.empty(shape_there, device="meta")).shape == got.shape, key
            if kind == "normal":
                assert got.std().item() == pytest.approx(std, rel=6 / math.sqrt(got.numel())), key
            else:
                assert bool((got == (kind == "ones")).all()), key


def test_the_kernel_of_a_fused_up_convolution_is_turned() -> None:
    w = torch.arange(18.0).view(3, 3, 1, 2)
    assert torch.equal(Layout.turned.ours(w), Layout.conv.ours(w).flip(2, 3))
    assert torch.equal(Layout.up.ours(w), Layout.conv.ours(w.transpose(2, 3)).flip(2, 3))


def test_mixing_takes_place_within_the_layers_in_use() -> None:
    draws = torch.tensor([[0.0, 0.1], [0.999, 0.1], [0.5, 0.95]], dtype=torch.float64)
    assert mixing_cutoffs(draws, 4, 0.9).tolist() == [1, 3, 4]

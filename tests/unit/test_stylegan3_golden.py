"""StyleGAN3 against recorded results: layer designs, names and shapes of the state, outputs, gradients, moving averages."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from stylegan.models.alias_free import LayerDesign
from stylegan.models.generator import StyleBased
from stylegan.models.layers import Precision
from stylegan.models.stylegan3 import SynthesisNetwork
from stylegan.ops.modulated_conv2d import normalized_modulated_conv2d
from tests.golden.golden import HERE, Golden, load
from tests.golden.networks import stylegan3_config

GENERATORS = sorted(path.stem for path in HERE.glob("sg3_g_*.npz"))
TABLES = json.loads(str(np.load(HERE / "sg3_design_tables.npz")["config"]))["tables"]


def generator(golden: Golden) -> StyleBased:
    k = golden.config["kwargs"]
    side = k["img_resolution"]
    G = stylegan3_config(k).build(resolution=(side, side), channels=k.get("img_channels", 3), c_dim=k.get("c_dim", 0))
    golden.load_into(G)
    return G


def synthesis(G: StyleBased) -> SynthesisNetwork:
    assert isinstance(G.synthesis, SynthesisNetwork)
    return G.synthesis


def assert_design(design: LayerDesign, want: dict[str, Any]) -> None:
    """Every number of a recorded layer that ours has too, and it has all but the precision."""
    pairs = {"channels": design.channels, "cutoff": design.cutoff, "half_width": design.half_width}
    pairs |= {"sampling_rate": design.sampling_rate, "size": design.size}
    got = {f"{side}_{name}": pair[i] for name, pair in pairs.items() for i, side in enumerate(("in", "out"))}
    got |= {"name": design.name, "is_critically_sampled": design.is_critical, "is_torgb": design.is_torgb}
    got |= {
        "up_factor": design.up,
        "down_factor": design.down,
        "up_taps": design.up_taps,
        "down_taps": design.down_taps,
    }
    got |= {"padding": design.padding, "conv_kernel": design.conv_kernel, "tmp_sampling_rate": design.fine_rate}
    got["down_radial"] = design.down_radial and design.down_taps > 1
    for name, value in want.items():
        if name != "use_fp16":
            side = value[0] if name in ("in_size", "out_size") and isinstance(value, list) else value
            assert got[name] == (pytest.approx(side, rel=1e-12) if isinstance(side, float) else side), name


@pytest.mark.parametrize("table", TABLES, ids=lambda t: f"{t['config']}{t['kwargs']['img_resolution']}")
def test_published_designs(table: dict[str, Any]) -> None:
    kwargs = dict(table["kwargs"])
    side = kwargs["img_resolution"]
    config = stylegan3_config(kwargs)
    with torch.device("meta"):
        network = SynthesisNetwork(config, resolution=(side, side), channels=kwargs["img_channels"])
    assert len(network.layers) == len(table["layers"])
    network.set_precision(Precision.fp16, config.reduced_blocks)
    for layer, want in zip(network.layers, table["layers"], strict=True):
        assert_design(layer.design, want)
        assert (layer.dtype is torch.float16) == want["use_fp16"]
    got = network.input
    want = table["input"]
    size = want["size"][0] if isinstance(want["size"], list) else want["size"]
    assert (got.size, got.sampling_rate, got.bandwidth, got.weight.shape[0]) == (
        size, want["sampling_rate"], want["bandwidth"], want["channels"],
    )  # fmt: skip


@pytest.mark.parametrize("name", GENERATORS)
def test_design_and_state(name: str) -> None:
    golden = load(name)
    G = generator(golden)
    for layer, want in zip(synthesis(G).layers, golden.config["design"], strict=True):
        assert_design(layer.design, want)
        for filter_name in ("up_filter", "down_filter"):
            key, f = f"param/synthesis.{want['name']}.{filter_name}", getattr(layer, filter_name)
            fresh = getattr(layer.design, filter_name)
            assert (f is None) == (key not in golden.arrays)
            if f is not None:
                torch.testing.assert_close(fresh, golden.tensor(key), atol=1e-7, rtol=1e-6)
    assert {k: v.shape for k, v in G.state_dict().items()} == {k: v.shape for k, v in golden.state().items()}
    assert sorted(k for k, _ in G.named_parameters()) == sorted(golden.config["params"])


@pytest.mark.parametrize("train", [True, False], ids=["batch", "image"])
@pytest.mark.parametrize("name", GENERATORS)
def test_generator(name: str, train: bool) -> None:
    golden = load(name)
    G = generator(golden).train(train)
    config, z, c = golden.config, golden.tensor("in/z"), golden.tensor("in/c")
    ws = G.mapping(z, c)
    golden.assert_close("out/ws", ws)
    golden.assert_close("out/ws_trunc", G.mapping(z, c, config["psi"], config["cutoff"]))
    x = synthesis(G).input(ws[:, 0])
    golden.assert_close("out/act/input", x[:1])
    for layer, s in zip(
        synthesis(G).layers, synthesis(G).styles(ws, [m.affine for m in synthesis(G).layers]), strict=True
    ):
        x = layer(x, s)
        golden.assert_close(f"out/act/{layer.design.name}", x[:1])
    ws = ws.detach().requires_grad_()
    img = synthesis(G)(ws)
    golden.assert_close("out/img", img)
    (dws,) = torch.autograd.grad((img * golden.tensor("in/r")).sum(), ws)
    golden.assert_close("out/dws", dws)
    for transform, suffix in (("transform", "rot_trans"), ("transform_zoom", "zoom")):
        synthesis(G).input.set_transform(golden.tensor(f"in/{transform}"))
        golden.assert_close(f"out/input_{suffix}", synthesis(G).input(ws[:, 0])[:1])
        golden.assert_close(f"out/img_{suffix}", synthesis(G)(ws))


@pytest.mark.parametrize("name", GENERATORS)
def test_moving_averages(name: str) -> None:
    golden = load(name)
    G = generator(golden)
    z, c = golden.tensor("in/z"), golden.tensor("in/c")
    track: list[torch.Tensor] = []
    ws = G.mapping(z, c)
    golden.assert_close("out/img_update_emas", synthesis(G)(ws, track=track))
    G.update_averages(torch.cat([ws[:, 0].mean(dim=0), torch.stack(track)]))
    golden.assert_close("out/w_avg_after", G.mapping.w_avg)
    for layer in synthesis(G).layers:
        golden.assert_close(f"out/magnitude_ema_after/{layer.design.name}", layer.magnitude_ema)


@pytest.mark.parametrize("name", ["modulated_conv2d_sg3", "modulated_conv2d_sg3_scale"])
def test_modulated_convolution(name: str) -> None:
    golden = load(name)
    for i, case in enumerate(golden.config["cases"]):
        key = f"case{i:02}/"
        x, w, s = (golden.tensor(f"{key}in/{n}").requires_grad_() for n in "xws")
        y = normalized_modulated_conv2d(x, w, s, input_gain=golden.get(f"{key}in/input_gain"), **case)
        golden.assert_close(f"{key}out/y", y)
        gradients = torch.autograd.grad(y, (x, w, s), golden.tensor(f"{key}in/dy"))
        for gradient, n in zip(gradients, "xws", strict=True):
            golden.assert_close(f"{key}out/d{n}", gradient)

"""rosinality's StyleGAN2: the same pictures and logits as its formulas, stated here once more, give for the same file."""

import math
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.errors import UserError
from stylegan.interop.networks import read_networks

SIZE, WIDTHS, LATENT, MAPPING = 16, {4: 12, 8: 12, 16: 6}, 10, 3
State = OrderedDict[str, Tensor]


def kernel(gain: float = 1.0) -> Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) / taps.sum() ** 2 * gain


def scaled_linear(in_features: int, out_features: int, name: str, lr: float = 1.0, bias: float = 0.0) -> State:
    return OrderedDict(
        {
            f"{name}.weight": torch.randn(out_features, in_features) / lr,
            f"{name}.bias": torch.full((out_features,), bias) + torch.randn(out_features) * 0.1 / lr,
        }
    )


def modulated(in_channels: int, out_channels: int, k: int, name: str) -> State:
    weight = {f"{name}.weight": torch.randn(1, out_channels, in_channels, k, k)}
    return OrderedDict({**weight, **scaled_linear(LATENT, in_channels, f"{name}.modulation", bias=1.0)})


def styled(in_channels: int, out_channels: int, name: str, up: bool = False) -> State:
    state = modulated(in_channels, out_channels, 3, f"{name}.conv")
    if up:
        state[f"{name}.conv.blur.kernel"] = kernel(4)
    state[f"{name}.noise.weight"] = torch.randn(1)
    state[f"{name}.activate.bias"] = torch.randn(out_channels) * 0.1
    return state


def to_rgb(channels: int, name: str, up: bool) -> State:
    state = modulated(channels, 3, 1, f"{name}.conv")
    state[f"{name}.bias"] = torch.randn(1, 3, 1, 1) * 0.1
    if up:
        state[f"{name}.upsample.kernel"] = kernel(4)
    return state


def generator_state() -> State:
    state: State = OrderedDict()
    for i in range(MAPPING):
        state |= scaled_linear(LATENT, LATENT, f"style.{i + 1}", lr=0.01)
    state["input.input"] = torch.randn(1, WIDTHS[4], 4, 4)
    state |= styled(WIDTHS[4], WIDTHS[4], "conv1") | to_rgb(WIDTHS[4], "to_rgb1", up=False)
    noises = [4]
    for i, side in enumerate([8, 16]):
        state |= styled(WIDTHS[side // 2], WIDTHS[side], f"convs.{2 * i}", up=True)
        state |= styled(WIDTHS[side], WIDTHS[side], f"convs.{2 * i + 1}")
        state |= to_rgb(WIDTHS[side], f"to_rgbs.{i}", up=True)
        noises += [side, side]
    return state | {f"noises.noise_{i}": torch.randn(1, 1, side, side) for i, side in enumerate(noises)}


def discriminator_state() -> State:
    state: State = OrderedDict()

    def conv(i: int, o: int, k: int, name: str) -> State:
        return OrderedDict({f"{name}.weight": torch.randn(o, i, k, k)})

    state |= conv(3, WIDTHS[16], 1, "convs.0.0") | {"convs.0.1.bias": torch.randn(WIDTHS[16]) * 0.1}
    for i, side in enumerate([16, 8], start=1):
        inner, outer = WIDTHS[side], WIDTHS[side // 2]
        state |= conv(inner, inner, 3, f"convs.{i}.conv1.0") | {f"convs.{i}.conv1.1.bias": torch.randn(inner) * 0.1}
        state |= {f"convs.{i}.conv2.0.kernel": kernel(), **conv(inner, outer, 3, f"convs.{i}.conv2.1")}
        state |= {f"convs.{i}.conv2.2.bias": torch.randn(outer) * 0.1, f"convs.{i}.skip.0.kernel": kernel()}
        state |= conv(inner, outer, 1, f"convs.{i}.skip.1")
    state |= conv(WIDTHS[4] + 1, WIDTHS[4], 3, "final_conv.0") | {"final_conv.1.bias": torch.randn(WIDTHS[4]) * 0.1}
    state |= scaled_linear(WIDTHS[4] * 16, WIDTHS[4], "final_linear.0")
    return state | scaled_linear(WIDTHS[4], 1, "final_linear.1")


def blur(x: Tensor, taps: Tensor, before: int, after: int) -> Tensor:
    """Pad and convolve every channel; the taps are symmetric."""
    n, c, h, w = x.shape
    x = F.pad(x.reshape(n * c, 1, h, w), [before, after, before, after])
    x = F.conv2d(x, taps.flip(0, 1)[None, None])
    return x.reshape(n, c, *x.shape[2:])


def double(x: Tensor, taps: Tensor) -> Tensor:
    spread = x.new_zeros(*x.shape[:2], x.shape[2] * 2, x.shape[3] * 2)
    spread[:, :, ::2, ::2] = x
    return blur(spread, taps, 2, 1)


def activate(x: Tensor, bias: Tensor) -> Tensor:
    return F.leaky_relu(x + bias.reshape(1, -1, *[1] * (x.ndim - 2)), 0.2) * math.sqrt(2)


def modulated_conv(
    x: Tensor, w: Tensor, state: State, name: str, *, demodulate: bool = True, up: bool = False
) -> Tensor:
    """One image at a time: scale the weight by the style, bring each filter to length one, convolve."""
    weight = state[f"{name}.weight"][0]
    _, i, k, _ = weight.shape
    style = F.linear(w, state[f"{name}.modulation.weight"] / math.sqrt(LATENT), state[f"{name}.modulation.bias"])
    results = []
    for image, s in zip(x, style, strict=True):
        own = weight / math.sqrt(i * k * k) * s[None, :, None, None]
        if demodulate:
            own = own * (own.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).rsqrt()
        if up:
            y = F.conv_transpose2d(image[None], own.transpose(0, 1), stride=2)
            y = blur(y, state[f"{name}.blur.kernel"], 1, 1)
        else:
            y = F.conv2d(image[None], own, padding=k // 2)
        results.append(y)
    return torch.cat(results)


def generate(state: State, z: Tensor, mean: Tensor, psi: float) -> Tensor:
    w = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
    for i in range(1, MAPPING + 1):
        w = F.linear(w, state[f"style.{i}.weight"] * (0.01 / math.sqrt(LATENT)))
        w = activate(w, state[f"style.{i}.bias"] * 0.01)
    w = mean + psi * (w - mean)

    def layer(x: Tensor, name: str, noise: int, up: bool = False) -> Tensor:
        x = modulated_conv(x, w, state, f"{name}.conv", up=up)
        x = x + state[f"{name}.noise.weight"] * state[f"noises.noise_{noise}"]
        return activate(x, state[f"{name}.activate.bias"])

    def colours(x: Tensor, name: str) -> Tensor:
        return modulated_conv(x, w, state, f"{name}.conv", demodulate=False) + state[f"{name}.bias"]

    x = layer(state["input.input"].repeat(len(z), 1, 1, 1), "conv1", 0)
    image = colours(x, "to_rgb1")
    for i in range(2):
        x = layer(layer(x, f"convs.{2 * i}", 2 * i + 1, up=True), f"convs.{2 * i + 1}", 2 * i + 2)
        image = double(image, state[f"to_rgbs.{i}.upsample.kernel"]) + colours(x, f"to_rgbs.{i}")
    return image


def judge(state: State, x: Tensor) -> Tensor:
    def conv(x: Tensor, name: str, stride: int = 1, padding: int = 0) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight / math.sqrt(weight[0].numel()), stride=stride, padding=padding)

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, state[f"{name}.weight"] / math.sqrt(x.shape[1]))

    x = activate(conv(x, "convs.0.0"), state["convs.0.1.bias"])
    for i in (1, 2):
        y = activate(conv(x, f"convs.{i}.conv1.0", padding=1), state[f"convs.{i}.conv1.1.bias"])
        y = blur(y, state[f"convs.{i}.conv2.0.kernel"], 2, 2)
        y = activate(conv(y, f"convs.{i}.conv2.1", stride=2), state[f"convs.{i}.conv2.2.bias"])
        skip = conv(blur(x, state[f"convs.{i}.skip.0.kernel"], 1, 1), f"convs.{i}.skip.1", stride=2)
        x = (y + skip) / math.sqrt(2)
    groups = x.reshape(4, -1, *x.shape[1:])  # image n, n + N/4, ... belong together
    deviation = (groups.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    x = torch.cat([x, deviation.repeat(4)[:, None, None, None].expand(-1, 1, *x.shape[2:])], dim=1)
    x = activate(conv(x, "final_conv.0", padding=1), state["final_conv.1.bias"]).flatten(1)
    x = activate(linear(x, "final_linear.0"), state["final_linear.0.bias"])
    return linear(x, "final_linear.1") + state["final_linear.1.bias"]


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    torch.manual_seed(0)
    return {
        "g": generator_state(),
        "d": discriminator_state(),
        "g_ema": generator_state(),
        "latent_avg": torch.randn(LATENT) * 0.3,
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_pictures_and_logits_are_those_of_the_formulas(tmp_path: Path, content: dict[str, Any], zipped: bool) -> None:
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    found = read_networks(tmp_path / "a.pt")
    assert list(found.networks) == ["G_ema", "G", "D"]
    assert "rosinality" in found.report[0] and "16x16 RGB" in found.report[1]
    z = torch.randn(8, LATENT)
    with torch.no_grad():
        for name, key in (("G_ema", "g_ema"), ("G", "g")):
            G = found.networks[name].eval()
            for psi in (1.0, 0.6):
                want = generate(content[key], z, content["latent_avg"], psi)
                got = G(z, truncation_psi=psi, noise_mode="const")
                assert want.std() > 0.5
                torch.testing.assert_close(got, want, atol=1e-4, rtol=0)
        images = torch.randn(8, 3, SIZE, SIZE)
        torch.testing.assert_close(found.networks["D"](images), judge(content["d"], images), atol=1e-4, rtol=0)


def test_a_mean_that_is_missing_is_measured(tmp_path: Path, content: dict[str, Any]) -> None:
    torch.save({"g_ema": content["g_ema"]}, tmp_path / "a.pt")
    found = read_networks(tmp_path / "a.pt")
    assert "no latent_avg" in found.report[-1]
    mapping = found.networks["G_ema"].get_submodule("mapping")
    with torch.no_grad():
        ws = mapping(torch.randn(10_000, LATENT))[:, 0]
    error = (mapping.get_buffer("w_avg") - ws.mean(dim=0)).abs()
    assert bool((error < 5 * ws.std(dim=0) * math.sqrt(2 / 10_000)).all())


def test_what_training_saves_besides_is_left_alone(tmp_path: Path, content: dict[str, Any]) -> None:
    from argparse import Namespace

    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(3))])
    more = {
        "g_optim": optimizer.state_dict(),
        "args": Namespace(size=16, iter=3, path="x"),
        "ada_aug_p": torch.zeros(()),
    }
    torch.save({**content, **more}, tmp_path / "a.pt")
    assert list(read_networks(tmp_path / "a.pt").networks) == ["G_ema", "G", "D"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.pop("convs.1.noise.weight"), r"lacks g_ema\.convs\.1\.noise\.weight"),
        (lambda g: g.update(extra=torch.zeros(2)), r"holds g_ema\.extra"),
        (lambda g: g.update({"style.2.bias": torch.zeros(3)}), r"mapping\.fc1\.bias as float32 \[3\]"),
        (
            lambda g: g.update({"convs.2.conv.blur.kernel": torch.zeros(3, 3)}),
            r"b16\.conv0\.resample_filter as float32 \[3, 3\]",
        ),
        (
            lambda g: g.update({"conv1.conv.weight": torch.zeros(12, 12, 3, 3)}),
            r"conv1\.conv\.weight with 4 dimensions",
        ),
    ],
)
def test_the_first_tensor_that_does_not_match_is_named(
    tmp_path: Path, content: dict[str, Any], change: Any, message: str
) -> None:
    g_ema = OrderedDict(content["g_ema"])
    change(g_ema)
    torch.save({"g_ema": g_ema}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=message):
        read_networks(tmp_path / "a.pt")


def test_a_tensor_without_numbers_is_named(tmp_path: Path) -> None:
    """Whichever it is, and whichever of its axes is of length 0."""
    for make, part in ((generator_state, "g_ema"), (discriminator_state, "d")):
        for name, tensor in make().items():
            for axis in range(tensor.ndim):
                state = make()
                state[name] = tensor.narrow(axis, 0, 0).clone()
                torch.save({"g_ema": generator_state(), part: state}, tmp_path / "a.pt")
                with pytest.raises(UserError, match=rf"{part}\.{re.escape(name)} of shape .*, without numbers"):
                    read_networks(tmp_path / "a.pt")

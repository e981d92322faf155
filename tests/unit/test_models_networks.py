"""Properties of the networks that recorded numbers do not show: shapes, noise, freezing, precision, wrong input."""

import copy
import dataclasses
import json
from typing import Any

import pytest
import torch
from torch import nn

from stylegan.errors import UserError
from stylegan.models.build import (
    DiscriminatorConfig,
    StyleGAN2Config,
    build_discriminator_from_metadata,
    build_from_metadata,
)
from stylegan.models.convolution import Conv2d, lrelu_then_filter
from stylegan.models.discriminator import StyleGAN2Discriminator, minibatch_std
from stylegan.models.generator import StyleBased
from stylegan.models.layers import (
    Architecture,
    FullyConnected,
    block_shapes,
    nearest_resolutions,
    normalize_second_moment,
)
from stylegan.models.mapping import MappingConfig, MappingNetwork
from stylegan.models.metadata import model_metadata
from stylegan.models.stylegan2 import SynthesisLayer, SynthesisNetwork, ToRGB
from stylegan.ops.upfirdn2d import setup_filter


def stylegan2(G: StyleBased) -> SynthesisNetwork:
    assert isinstance(G.synthesis, SynthesisNetwork)
    return G.synthesis


def tiny_G(resolution: tuple[int, int] = (8, 8), channels: int = 3, c_dim: int = 0, **options) -> StyleBased:
    torch.manual_seed(0)
    options = {
        "z_dim": 8,
        "w_dim": 6,
        "channel_base": 64,
        "channel_max": 8,
        "mapping": MappingConfig(num_layers=2),
    } | options
    G = StyleGAN2Config(**options).build(resolution=resolution, channels=channels, c_dim=c_dim)
    for name, parameter in G.named_parameters():  # at the start strengths and biases are zero, which hides mistakes
        if name.endswith(("noise_strength", "bias")):
            torch.nn.init.normal_(parameter, 0.3)
    return G


def tiny_D(
    resolution: tuple[int, int] = (8, 8), channels: int = 3, c_dim: int = 0, **options
) -> StyleGAN2Discriminator:
    torch.manual_seed(0)
    options = {"channel_base": 64, "channel_max": 8, "mapping": MappingConfig(num_layers=2)} | options
    return DiscriminatorConfig(**options).build(resolution=resolution, channels=channels, c_dim=c_dim)


@pytest.mark.parametrize("resolution", [(4, 4), (16, 8), (8, 16), (12, 12), (24, 20), (7, 7), (14, 2)])
@pytest.mark.parametrize("architecture", list(Architecture))
def test_shapes(resolution: tuple[int, int], architecture: Architecture) -> None:
    channels = {4: 1, 16: 3}.get(resolution[0], 4)
    G = tiny_G(resolution, channels, architecture=architecture)
    D = tiny_D(resolution, channels, architecture=architecture)
    img = G(torch.randn(2, 8))
    assert img.shape == (2, channels, *resolution)
    assert D(img).shape == (2, 1)
    blocks = block_shapes(resolution)
    assert G.num_ws == 2 * len(blocks)
    assert {k.split(".")[1] for k in G.state_dict() if k.startswith("synthesis")} == {f"b{max(s)}" for s in blocks}


def test_block_shapes() -> None:
    assert block_shapes((512, 256))[0] == (4, 2) and len(block_shapes((512, 256))) == 8
    assert block_shapes((192, 192))[0] == (6, 6)
    with pytest.raises(UserError, match=r"100x64.*nearest sizes are 96x64"):
        block_shapes((100, 64))
    with pytest.raises(UserError, match="3x3"):
        block_shapes((3, 3))
    assert nearest_resolutions((256, 250))[0] == (256, 256)
    for size in nearest_resolutions((1000, 333)):
        assert block_shapes(size)[-1] == size


def test_float32_agrees_with_float64() -> None:
    G = tiny_G((16, 16), c_dim=3)
    exact = copy.deepcopy(G).double()
    z, noise = torch.randn(200, 8, dtype=torch.float64), torch.randn(200, G.synthesis.noise_size, dtype=torch.float64)
    c = torch.nn.functional.one_hot(torch.arange(200) % 3, 3).double()
    with torch.no_grad():
        want = exact(z, c, noise_mode="random", noise=noise).flatten(1)
        got = G(z.float(), c.float(), noise_mode="random", noise=noise.float()).double().flatten(1)
    assert ((got - want).norm(dim=1) / want.norm(dim=1)).max() < 1e-4


def test_noise_is_sliced_layer_by_layer() -> None:
    G = tiny_G()
    ws = G.mapping(torch.randn(3, 8))
    layers = [layer for block in stylegan2(G).blocks for layer in block.layers]
    stored = torch.cat([layer.noise_const.flatten() for layer in layers]).repeat(3, 1)
    assert stored.shape == (3, G.synthesis.noise_size) == (3, 4 * 4 + 2 * 8 * 8)
    const = G.synthesis(ws)
    torch.testing.assert_close(G.synthesis(ws, noise_mode="random", noise=stored), const)
    other = stored.clone()
    other[1] = torch.randn_like(other[1])
    changed = G.synthesis(ws, noise_mode="random", noise=other)
    assert torch.equal(changed[[0, 2]], G.synthesis(ws, noise_mode="random", noise=stored)[[0, 2]])
    assert not torch.allclose(changed[1], const[1])
    drawn = G.synthesis(ws, noise_mode="random", generator=torch.Generator().manual_seed(3))
    noise = torch.randn(3, G.noise_size, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(drawn, G.synthesis(ws, noise_mode="random", noise=noise))


def test_a_network_repeats_itself() -> None:
    """Nothing is drawn from hidden state: noise is constant, or comes from an argument."""
    G = tiny_G(c_dim=2)
    z, c = torch.randn(3, 8), torch.eye(2)[[0, 1, 0]]
    for mode in (True, False):
        G.train(mode)
        assert torch.equal(G(z, c), G(z, c)) and torch.equal(G(z, c), G(z, c, noise_mode="const"))
        one, two, other = (
            G(z, c, noise_mode="random", generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
        )
        assert torch.equal(one, two) and not torch.allclose(one, other) and not torch.allclose(one, G(z, c))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise_mode": "constant"}, "did you mean 'const'"),
        ({"noise_mode": "random"}, r"either noise \(3, 144\) or generator="),
        ({"noise_mode": "random", "noise": torch.zeros(3, 144), "generator": torch.Generator()}, "either noise"),
        ({"noise_mode": "random", "noise": torch.zeros(3, 143)}, r"noise must be \(3, 144\), got \(3, 143\)"),
        ({"noise": torch.zeros(3, 144)}, "noise_mode='random'"),
        ({"noise_mode": "none", "generator": torch.Generator()}, "noise_mode='none' needs no noise"),
    ],
)
def test_noise_from_nowhere_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny_G()(torch.randn(3, 8), **arguments)


def test_an_image_does_not_depend_on_its_batch() -> None:
    G = tiny_G()
    z = torch.randn(4, 8)
    with torch.no_grad():
        torch.testing.assert_close(G(z, noise_mode="const")[2:3], G(z[2:3], noise_mode="const"))


@pytest.mark.parametrize("architecture", list(Architecture))
def test_fused_modulation_gives_the_same_gradients(architecture: Architecture) -> None:
    results = []
    G = tiny_G(architecture=architecture).double()
    ws = G.mapping(torch.randn(2, 8, dtype=torch.float64)).detach().requires_grad_()
    for fused in (False, True):
        for module in G.modules():
            if isinstance(module, SynthesisLayer | ToRGB):
                module.fused_modconv = fused
        img = G.synthesis(ws, noise_mode="const")
        (dws,) = torch.autograd.grad(img.cos().sum(), ws, create_graph=True)
        grads = torch.autograd.grad(dws.square().sum(), list(G.synthesis.parameters()))
        results.append([img, dws, *grads])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_gradients_of_networks_by_differences() -> None:
    D = tiny_D(c_dim=2).double()
    img, c = torch.randn(2, 3, 8, 8, dtype=torch.float64), torch.eye(2, dtype=torch.float64)

    def penalty(x: torch.Tensor) -> torch.Tensor:
        (dx,) = torch.autograd.grad(D(x, c).sum(), x, create_graph=True)
        return dx.square().sum()

    assert torch.autograd.gradcheck(penalty, img.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("count", range(8))
def test_freezing(count: int) -> None:
    order = ["b16.fromrgb", "b16.conv0", "b16.conv1", "b16.skip", "b8.conv0", "b8.conv1", "b8.skip"]
    D = tiny_D((16, 16), freeze_layers=count)
    D.requires_grad_(True)
    names = {name.rpartition(".")[0] for name, _ in D.named_parameters()}
    assert [layer for layer in order if layer in names] == order[count:]
    free = tiny_D((16, 16))
    assert list(free.state_dict()) != [] and set(free.state_dict()) == set(D.state_dict())
    D.load_state_dict(free.state_dict())
    img = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(D(img), free(img))
    if count == 7:
        with pytest.raises(UserError, match="7 layers to freeze"):
            tiny_D((16, 16), freeze_layers=8)


def test_minibatch_std_by_hand() -> None:
    x = torch.randn(6, 4, 3, 2)
    got = minibatch_std(x, group=3, channels=2)
    for image in range(6):
        members = x[image % 2 :: 2]  # images n, n + N/group, ...
        std = (members.var(dim=0, unbiased=False) + 1e-8).sqrt()
        for channel in range(2):
            want = std[2 * channel : 2 * channel + 2].mean()
            torch.testing.assert_close(got[image, channel], want.expand(3, 2))
    torch.testing.assert_close(minibatch_std(x, None, 1), minibatch_std(x, 6, 1))
    torch.testing.assert_close(minibatch_std(x, 50, 1), minibatch_std(x, 6, 1))
    small = 1e-4 * x  # so that the epsilon counts
    torch.testing.assert_close(minibatch_std(small / 8, 3, 1, scale=1 / 8), minibatch_std(small, 3, 1) / 8)
    with pytest.raises(UserError, match="groups of 4"):
        minibatch_std(x, 4, 1)


@pytest.mark.parametrize(("channels", "group"), [(0, 4), (1, None), (2, 2)])
def test_minibatch_std_in_the_network(channels: int, group: int | None) -> None:
    D = tiny_D(minibatch_std_channels=channels, minibatch_std_group=group)
    assert D.minibatch_group == (0 if channels == 0 else group)
    assert D.state_dict()["b4.conv.weight"].shape[1] == 8 + channels
    img = torch.randn(4, 3, 8, 8)
    logits, half = D(img), D(img[:2])
    assert torch.allclose(logits[:2], half) == (channels == 0)


@pytest.mark.parametrize("group", [2, 3, None])
def test_batches_in_one_pass_are_not_compared(group: int | None) -> None:
    """Real and generated images go through D together; the logits are those of two passes."""
    D = tiny_D(minibatch_std_group=group)
    one, two = torch.randn(6, 3, 8, 8), torch.randn(6, 3, 8, 8)
    apart, together = torch.cat([D(one), D(two)]), D(torch.cat([one, two]), batches=2)
    torch.testing.assert_close(together, apart)
    assert not torch.allclose(D(torch.cat([one, two])), apart, rtol=1e-4), "groups of both batches differ"


@pytest.mark.parametrize("architecture", list(Architecture))
def test_every_layer_gets_the_style_of_its_own_w(architecture: Architecture) -> None:
    """Layer i takes w i, an image layer the one after its block's (StyleGAN2's public networks count so)."""
    synthesis = stylegan2(tiny_G((16, 16), architecture=architecture, channel_base=128, channel_max=16))
    ws = torch.randn(3, synthesis.num_ws, 6)
    layers = [module for module in synthesis.modules() if isinstance(module, SynthesisLayer | ToRGB)]
    taken = [0, 1, 1, 2, 3, 3, 4, 5] if architecture is Architecture.skip else [0, 1, 2, 3, 4, 5]
    styles = synthesis.styles_of[-1](ws, synthesis.affines)
    assert len(styles) == len(layers) == len(taken)
    for layer, i, style in zip(layers, taken, styles, strict=True):
        torch.testing.assert_close(style, layer.affine(ws[:, i]))


def test_truncation_and_moving_average() -> None:
    mapping = MappingNetwork(MappingConfig(num_layers=2), z_dim=5, c_dim=0, w_dim=4, num_ws=6)
    mapping.w_avg.copy_(torch.randn(4))
    z = torch.randn(3, 5)
    ws = mapping(z)
    torch.testing.assert_close(mapping(z, None, 0.0), mapping.w_avg.expand(3, 6, 4))
    half = mapping(z, None, 0.5, 2)
    torch.testing.assert_close(half[:, :2], (ws[:, :2] + mapping.w_avg) / 2)
    assert torch.equal(half[:, 2:], ws[:, 2:])
    torch.testing.assert_close(mapping(z * 7), ws)  # only the direction of z matters
    before = mapping.w_avg.clone()
    mapping.update_w_avg(ws[:, 0].mean(dim=0))
    torch.testing.assert_close(mapping.w_avg, 0.998 * before + 0.002 * ws[:, 0].mean(dim=0).detach())


def test_epsilon_of_the_normalization() -> None:
    """1e-8 matters for latents of about 1e-4; recorded files have none."""
    z = torch.tensor([[3e-4, 4e-4]])
    torch.testing.assert_close(normalize_second_moment(z), z / (12.5e-8 + 1e-8) ** 0.5)


def test_equalized_learning_rate() -> None:
    layer = FullyConnected(64, 2000, lr_multiplier=0.01)
    assert layer.weight.std().item() == pytest.approx(100, rel=0.02)
    assert layer(torch.randn(50, 64)).std().item() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (FullyConnected(6, 5, activation="lrelu", lr_multiplier=0.1, bias_init=0.7), [4, 6]),
        (FullyConnected(6, 5, lr_multiplier=0.1, bias_init=0.7), [4, 6]),
        (FullyConnected(6, 5, bias_init=0.7), [4, 6]),
        (Conv2d(6, 5, 3, activation="lrelu", conv_clamp=0.5), [2, 6, 4, 4]),
        (Conv2d(6, 5, 3, activation="lrelu", down=2), [2, 6, 4, 4]),
        (Conv2d(6, 5, 1, bias=False, down=2), [2, 6, 4, 4]),
    ],
)
def test_a_layer_may_get_its_input_scaled_already(layer: FullyConnected | Conv2d, shape: list[int]) -> None:
    layer, x = layer.double(), torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(layer(x * layer.input_gain, 1.7, scaled=True), 1.7 * layer(x))


def test_fully_connected_by_hand() -> None:
    layer = FullyConnected(6, 5, activation="lrelu", lr_multiplier=0.1, bias_init=0.7).double()
    x = torch.randn(4, 6, dtype=torch.float64)
    linear = x @ (layer.weight * 0.1 / 6**0.5).t() + 0.07
    torch.testing.assert_close(layer(x), torch.where(linear > 0, linear, 0.2 * linear) * 2**0.5)


def test_activations_and_weights_are_channels_last() -> None:
    G, D = tiny_G(), tiny_D()
    seen = []
    for network in (G, D):
        for module in network.modules():
            if type(module).__name__ in ("SynthesisLayer", "Conv2d"):
                module.register_forward_hook(
                    lambda *call: seen.append(call[2][0] if isinstance(call[2], tuple) else call[2])
                )
    D(G(torch.randn(2, 8)))
    assert len(seen) == 7  # all but the skip of the discriminator, see `Conv2d.beside`
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in seen)
    assert stylegan2(G).blocks[1].conv0.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("clamp", [None, 0.5])
def test_two_layers_at_once_are_the_two_layers(clamp: float | None) -> None:
    """Results and gradients of both orders; also that R1 gives both biases a gradient, of zero."""
    first = Conv2d(5, 7, 3, activation="lrelu", conv_clamp=clamp).double()
    second = Conv2d(7, 6, 3, activation="lrelu", down=2, conv_clamp=clamp).double()
    parameters = [*first.parameters(), *second.parameters()]
    for parameter in parameters:
        nn.init.normal_(parameter)
    x = torch.randn(2, 5, 8, 6, dtype=torch.float64, requires_grad=True)
    found = []
    for y in (second(first(x), gain=0.7), second(first(x, followed_by=second), gain=0.7, filtered=True)):
        dx, *by_parameters = torch.autograd.grad(y.square().sum(), [x, *parameters], create_graph=True)
        second_order = torch.autograd.grad(dx.square().sum(), [x, *parameters], allow_unused=True)
        found.append([y, dx, *by_parameters, *second_order])
    together = second(first(x, followed_by=second), filtered=True)
    (slope,) = torch.autograd.grad(together.sum(), x, create_graph=True)
    assert all(t is not None for t in torch.autograd.grad(slope.square().sum(), parameters, allow_unused=True))
    for apart, together in zip(*found, strict=True):
        torch.testing.assert_close(together, apart)


@pytest.mark.parametrize("architecture", list(Architecture))
def test_metadata_round_trip(architecture: Architecture) -> None:
    for network, build in (
        (tiny_G((12, 8), 4, 3, architecture=architecture, conv_clamp=None), build_from_metadata),
        (tiny_D((12, 8), 4, 3, architecture=architecture, minibatch_std_group=None), build_discriminator_from_metadata),
    ):
        meta = json.loads(json.dumps(model_metadata(network)))
        twin = build(meta)
        assert twin.config == network.config
        twin.load_state_dict(network.state_dict())


def test_wrong_metadata() -> None:
    meta = model_metadata(tiny_G())
    wrong = [
        meta | {"kind": "stylegan9"},
        meta | {"config": meta["config"] | {"w_dimm": 3}},
        meta | {"config": meta["config"] | {"architecture": "ship"}},
        meta | {"config": meta["config"] | {"w_dim": "six"}},
        meta | {"config": meta["config"] | {"mapping": {"num_layers": 0}}},
        meta | {"config": 3},
        {key: value for key, value in meta.items() if key != "c_dim"},
        meta | {"channels": 2},
        meta | {"resolution": [100, 100]},
    ]
    messages = [
        "stylegan9",
        "w_dim'",
        "skip",
        "type int",
        "num_layers=0",
        "stylegan2=3",
        "c_dim",
        "2 channels",
        "96x96",
    ]
    for bad, message in zip(wrong, messages, strict=True):
        with pytest.raises(UserError, match=message):
            build_from_metadata(bad)
    with pytest.raises(UserError, match="Linear"):
        model_metadata(torch.nn.Linear(2, 2))


@pytest.mark.parametrize(
    "build",
    [
        lambda: StyleGAN2Config(z_dim=0),
        lambda: StyleGAN2Config(conv_clamp=-1.0),
        lambda: DiscriminatorConfig(channel_max=0),
        lambda: DiscriminatorConfig(freeze_layers=-1),
        lambda: DiscriminatorConfig(minibatch_std_group=0),
        lambda: MappingConfig(w_avg_beta=1.5),
        lambda: MappingConfig(lr_multiplier=0.0),
        lambda: tiny_D()(torch.randn(2, 3, 8, 4)),
        lambda: tiny_D(c_dim=2)(torch.randn(2, 3, 8, 8)),
        lambda: tiny_G()(torch.randn(2, 9)),
        lambda: tiny_G().synthesis(torch.randn(2, 3, 6)),
    ],
)
def test_wrong_input_is_refused(build) -> None:
    with pytest.raises(UserError):
        build()


def test_every_option_has_help() -> None:
    for config in (StyleGAN2Config, DiscriminatorConfig, MappingConfig):
        assert all(f.metadata.get("help") for f in dataclasses.fields(config))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("clamp", [0.8, None])
@pytest.mark.usefixtures("ops")
def test_a_leaky_relu_and_its_filter_are_the_same_as_one_op_and_as_two(bias: bool, clamp: float | None) -> None:
    """One on CPUs, two on GPUs."""
    x = torch.randn(2, 5, 9, 8, dtype=torch.float64, requires_grad=True)
    b = torch.randn(5, dtype=torch.float64, requires_grad=True) if bias else None
    f, inputs = setup_filter([1, 3, 3, 1]).double(), [x] if b is None else [x, b]
    found = []
    for one_op in (True, False):
        y = lrelu_then_filter(x, b, 1.3, clamp, f, [2, 1, 2, 1], setup_filter(None) if one_op else None)
        found.append((y, *torch.autograd.grad(y.sin().sum(), inputs)))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-13)

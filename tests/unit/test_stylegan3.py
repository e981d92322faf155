"""StyleGAN3 beyond its recorded results: equivariance, independence of batchmates, filters, precision, wrong settings."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from stylegan.errors import UserError
from stylegan.figures.scanline import Scanline, scanline, walk
from stylegan.inference import Sampling, sample
from stylegan.metrics.equivariance import Motion, decibels, squared_errors
from stylegan.models.alias_free import low_pass
from stylegan.models.build import build_from_metadata
from stylegan.models.generator import StyleBased
from stylegan.models.layers import Precision
from stylegan.models.metadata import model_metadata
from stylegan.models.stylegan3 import StyleGAN3Config, SynthesisNetwork
from tests.unit.tiny import tiny_pair

ROTATION = {"conv_kernel": 1, "radial_filters": True}


def tiny(resolution: int = 32, **options: Any) -> StyleBased:
    torch.manual_seed(0)
    defaults: dict[str, Any] = {"z_dim": 8, "w_dim": 8, "channel_base": 512, "channel_max": 16, "num_layers": 5}
    config = StyleGAN3Config(**(defaults | options))
    return config.build(resolution=(resolution, resolution), channels=3, c_dim=0).eval()


def synthesis(G: StyleBased) -> SynthesisNetwork:
    assert isinstance(G.synthesis, SynthesisNetwork)
    return G.synthesis


def equivariance(G: StyleBased, motion: Motion) -> float:
    """In decibels, of a few pictures scaled to the range of images."""
    network, ws = synthesis(G), G.mapping(torch.randn(4, G.z_dim, generator=torch.Generator().manual_seed(1)))
    with torch.no_grad():
        scale = 0.5 / network(ws).std()

    def render(transform: Tensor) -> Tensor:
        network.input.set_transform(transform)
        return network(ws) * scale

    amounts = torch.rand(4, 2, generator=torch.Generator().manual_seed(2))
    return decibels(sum((squared_errors(render, G.resolution, motion, two) for two in amounts), torch.zeros(2)))


def test_translation_and_rotation_move_the_picture() -> None:
    """The paper's networks reach 60 dB and more by translation, R 40 by rotation, T about 13 (table 1)."""
    T, R = tiny(), tiny(**ROTATION)
    assert equivariance(T, Motion()) > 70 and equivariance(R, Motion()) > 70
    assert equivariance(T, Motion(fraction=True)) > 50 and equivariance(R, Motion(fraction=True)) > 50
    turned_T, turned_R = equivariance(T, Motion(turn=True)), equivariance(R, Motion(turn=True))
    assert turned_R > 45 and turned_R > turned_T + 20


def test_without_filters_there_is_no_equivariance() -> None:
    """The test of the test above: sampling the same network without its low-pass filters aliases."""
    G = tiny()
    for layer in synthesis(G).layers[:-1]:
        for f, width in ((layer.up_filter, layer.design.up), (layer.down_filter, 1)):  # nearest neighbours
            assert f is not None
            first = (len(f) - width) // 2
            f.zero_()[first : first + width] = 1 / width
    assert equivariance(G, Motion(fraction=True)) < equivariance(tiny(), Motion(fraction=True)) - 20


def test_what_is_shown_moves_and_turns_while_it_is_sampled() -> None:
    G = tiny()
    plain = next(sample(G, [3], Sampling(batch=1)))
    moved = next(sample(G, [3], Sampling(batch=1, translate=(0.25, 0.0))))
    inner = (plain[:, 4:28, 4:20].int() - moved[:, 4:28, 12:28].int()).abs()
    assert inner.max() <= 2 and (plain.int() - moved.int()).abs().max() > 20
    G_R = tiny(**ROTATION)
    before = next(sample(G_R, [3], Sampling(batch=1)))
    after = next(sample(G_R, [3], Sampling(batch=1, rotate=90.0)))
    clockwise = before.flip(1).transpose(1, 2)
    assert (clockwise[:, 6:26, 6:26].int() - after[:, 6:26, 6:26].int()).abs().max() <= 8
    assert torch.equal(next(sample(G_R, [3], Sampling(batch=1))), before), "the network is as it was"


def test_a_picture_does_not_depend_on_its_batchmates() -> None:
    G = tiny()
    alone = [next(sample(G, [seed], Sampling(batch=1))) for seed in (5, 6, 7)]
    together = list(sample(G, [5, 6, 7, 8, 9], Sampling(batch=5)))
    other = list(sample(G, [7, 6, 5], Sampling(batch=3)))
    for i in range(3):
        assert (alone[i].int() - together[i].int()).abs().max() <= 1
        assert (alone[i].int() - other[2 - i].int()).abs().max() <= 1
    ws = G.mapping(torch.randn(2, G.z_dim))
    styles = synthesis(G).styles(ws, [layer.affine for layer in synthesis(G).layers])
    layer, s = synthesis(G).layers[0], torch.cat([styles[0][:1], styles[0][1:] * 1e5])
    x = synthesis(G).input(ws[:, 0])
    torch.testing.assert_close(layer(x, s)[:1], layer(x[:1], s[:1]))
    layer.train()
    assert not torch.allclose(layer(x, s)[:1], layer(x[:1], s[:1]), rtol=1e-3), "the papers' way depends on the batch"


def test_filters() -> None:
    """Gain one, symmetric, circular if radial, and half at the cut-off."""
    f, radial = low_pass(24, 4.0, 8.0, 64.0), low_pass(12, 4.0, 8.0, 32.0, radial=True)
    assert f is not None and radial is not None and low_pass(1, 1.0, 1.0, 1.0) is None
    for taps in (f, radial):
        assert taps.sum().item() == pytest.approx(1, abs=1e-6)
        torch.testing.assert_close(taps, taps.flip(0))
    torch.testing.assert_close(radial, radial.t())
    place = (torch.arange(24) - 11.5) / 64
    response = (f * torch.cos(2 * math.pi * 4.0 * place)).sum().item()
    assert response == pytest.approx(0.5, abs=0.02)
    separable = low_pass(12, 4.0, 8.0, 32.0)
    assert separable is not None

    def asymmetry(taps: Tensor) -> float:
        """How the response to a wave along an axis differs from that to one along a diagonal."""
        along = (torch.arange(12) - 5.5) / 32 * 2 * math.pi * 6.0
        diagonal = (along + along[:, None]) / math.sqrt(2)
        return abs(float((taps * diagonal.cos()).sum() - (taps.sum(0) * along.cos()).sum()))

    assert asymmetry(radial) < asymmetry(separable.outer(separable)) / 10
    odd = low_pass(11, 4.0, 8.0, 32.0, radial=True)
    assert odd is not None and bool(odd.isfinite().all()) and odd.argmax() == 60


@pytest.mark.parametrize("precision", [Precision.bf16, Precision.fp16])
def test_reduced_precision_stays_near(precision: Precision) -> None:
    G, z = tiny(**ROTATION), torch.randn(2, 8)
    exact = G(z)
    G.set_precision(precision)
    assert [layer.dtype for layer in synthesis(G).layers][-1] is precision.dtype
    got = G(z)
    assert got.dtype is torch.float32
    assert float((got - exact).detach().norm() / exact.detach().norm()) < (
        0.05 if precision is Precision.bf16 else 0.006
    )


def test_a_snapshot_describes_the_network() -> None:
    G = tiny(**ROTATION)
    again = build_from_metadata(model_metadata(G)).eval()
    again.load_state_dict(G.state_dict())
    z = torch.randn(2, 8)
    assert torch.equal(again(z), G(z))


def test_channels_and_resolutions() -> None:
    for channels in (1, 3, 4):
        G = StyleGAN3Config(z_dim=8, w_dim=8, channel_base=128, channel_max=4, num_layers=3, margin_size=2).build(
            resolution=(16, 16), channels=channels, c_dim=2,
        )  # fmt: skip
        assert G(torch.randn(1, 8), torch.eye(2)[:1]).shape == (1, channels, 16, 16)
    assert tiny(8, num_layers=3)(torch.randn(1, 8)).shape == (1, 3, 8, 8)


@pytest.mark.parametrize(
    ("resolution", "options", "message"),
    [
        ((48, 48), {}, "not 48; the nearest is 64"),
        ((64, 32), {}, "square images, not 64x32 .HxW.; the nearest is 64x64"),
        ((4, 4), {}, "not 4; the nearest is 8"),
        ((32, 32), {"num_layers": 2, "num_critical": 2}, "num_critical=2 and num_layers=3"),
        ((32, 32), {"num_layers": 2, "num_critical": 0}, "num_critical=1 and num_layers=2"),
        ((32, 32), {"first_cutoff": 5.0}, "above first_cutoff=5.0"),
        ((32, 32), {"first_cutoff": 20.0, "first_stopband": 30.0}, "at most 16"),
        ((32, 32), {"last_stopband_rel": 1.0}, "must be above 1"),
        ((32, 32), {"margin_size": 0, "filter_size": 20}, "the nearest that works is model.G.margin_size=2"),
    ],
)
def test_no_schedule(resolution: tuple[int, int], options: dict[str, Any], message: str) -> None:
    sizes: dict[str, Any] = {"z_dim": 8, "w_dim": 8, "channel_base": 64, "channel_max": 4}
    config = StyleGAN3Config(**(sizes | options))
    with pytest.raises(UserError, match=message):
        config.build(resolution=resolution, channels=3, c_dim=0)


@pytest.mark.parametrize(
    "options",
    [{"margin_size": -1}, {"magnitude_ema_beta": 1.5}, {"num_layers": 14, "conv_kernel": 0}, {"conv_clamp": 0.0}],
)
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(name for name in reversed(options))):
        StyleGAN3Config(**options)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (torch.eye(2), r"real \[3, 3\] matrix, got \(2, 2\)"),
        (torch.eye(3, dtype=torch.int64), "torch.int64"),
        (torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 1]]), "last row"),
        (torch.tensor([[1.0, 0, math.nan], [0, 1, 0], [0, 0, 1]]), "finite"),
        (torch.tensor([[1.0, 2, 0], [2, 4, 0], [0, 0, 1]]), "no inverse"),
    ],
)
def test_wrong_transforms(transform: Tensor, message: str) -> None:
    network = synthesis(tiny())
    with pytest.raises(UserError, match=message):
        network.input.set_transform(transform)
    assert torch.equal(network.input.transform, torch.eye(3))


def test_what_cannot_be_moved() -> None:
    with pytest.raises(UserError, match="a stylegan2 network starts from something that cannot be moved"):
        sample(tiny_pair()[0], [0], Sampling(translate=(0.1, 0.0)))
    for bad, says in (((0.1, math.inf), "translate is a number beyond"), ((0.1,), "translate=0.1: give two numbers")):
        with pytest.raises(UserError, match=says):
            Sampling(translate=bad)


def test_random_noise_is_refused_where_there_is_none() -> None:
    with pytest.raises(UserError, match="noise_mode=random: stylegan3 networks have no layer noise"):
        sample(tiny(), [0], Sampling(noise_mode="random"))


def test_a_walk_and_its_scan_line() -> None:
    ws = torch.randn(3, 4, 2)
    path = walk(ws, 5)
    assert path.shape == (11, 4, 2)
    torch.testing.assert_close(path[[0, 5, 10]], ws)
    torch.testing.assert_close(path[2], ws[0].lerp(ws[1], 0.4))
    images = torch.arange(20 * 3 * 8 * 8, dtype=torch.int64).remainder(251).to(torch.uint8).view(20, 3, 8, 8)
    picture = scanline(iter(images), 20, Scanline(column=0.5, top=0.25, bottom=0.75))
    assert picture.size == (20, 8 + 4)  # two whole images above the column's four pixels
    assert picture.getpixel((7, 8)) == tuple(images[7, :, 2, 4].tolist())
    assert picture.getpixel((9, 0)) == tuple(images[12, :, 0, 1].tolist())

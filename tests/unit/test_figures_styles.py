"""Figures about w and noise: mixing, truncation, noise, layers, blend. Right images in the right cells, and golden numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from stylegan.errors import UserError
from stylegan.figures.base import Figure, Picture, Request
from stylegan.figures.blend import Blend, blend_ws, blend_z
from stylegan.figures.layers import Layers, watched
from stylegan.figures.mixing import Mixing
from stylegan.figures.noise import Noise
from stylegan.figures.truncation import Truncation
from stylegan.inference import Sampling, latents, layer_noise, locate, render, sample, sample_ws, to_uint8
from stylegan.interop.latents import Latents
from stylegan.latent.layer_names import style_layers
from stylegan.models.generator import StyleBased
from stylegan.models.stylegan2 import StyleGAN2Config
from stylegan.models.stylegan3 import StyleGAN3Config
from tests.golden.golden import load as load_golden
from tests.unit import test_models_golden
from tests.unit.tiny import tiny_pair
from tests.unit.without_w import WithoutWConfig

MIXING = load_golden("fig_mixing")


@pytest.fixture(scope="module")
def G() -> StyleBased:
    G, _ = tiny_pair()
    G.requires_grad_(False).eval()
    for name, parameter in G.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.3)
    G.mapping.w_avg.copy_(torch.linspace(-1, 1, G.w_dim))
    return G


@pytest.fixture(scope="module")
def G3() -> StyleBased:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = StyleGAN3Config(z_dim=8, w_dim=8, channel_base=64, channel_max=4, num_layers=4, num_critical=1)
        return config.build(resolution=(16, 16), channels=3, c_dim=0).eval().requires_grad_(False)


def without_w() -> Any:
    return WithoutWConfig().build(resolution=(8, 8), channels=3, c_dim=0).eval()


def plain(figure: Figure, G: Any, *seeds: Any, **sampling: Any) -> Picture:
    """Without labels: cells of the size of the images, so that pixels can be compared."""
    figure.labels = False  # pyright: ignore[reportAttributeAccessIssue]
    drawn = figure.draw(G, Request(list(seeds), Sampling(**sampling)))
    assert isinstance(drawn, Picture)
    return drawn


def cell(picture: Picture, row: int, column: int, side: int = 16) -> Tensor:
    box = (column * side, row * side, (column + 1) * side, (row + 1) * side)
    return torch.from_numpy(np.array(picture.image.crop(box))).permute(2, 0, 1)


def alike(a: Tensor, b: Tensor) -> bool:
    """But for a grey level, by which batches differ."""
    return int((a.int() - b.int()).abs().max()) <= 1


@pytest.mark.parametrize("index", [0, 1])
def test_mixing_is_that_of_the_public_tools(index: int, ops: str) -> None:
    case = MIXING.config["cases"][index]
    network = test_models_golden.generator(load_golden(MIXING.config["network"])).eval().requires_grad_(False)
    figure = Mixing(rows=case["rows"], cols=case["cols"], layers=case["styles"])
    drawn = plain(figure, network, 0, truncation_psi=case["psi"])
    assert drawn.latents is not None and drawn.latents.ws is not None
    MIXING.assert_close(f"case{index:02d}/out/ws", drawn.latents.ws.view(2, 2, *drawn.latents.ws.shape[1:]))
    want = MIXING.tensor(f"case{index:02d}/out/grid_uint8").int()
    found = torch.from_numpy(np.array(drawn.image)).int()
    found[:32, :32] = 0  # our empty corner is paper
    assert (found - want).abs().max() <= 1
    share = MIXING.config["tol"][f"case{index:02d}/out/grid_uint8"]["max_fraction_differing"]
    assert (found != want).float().mean() <= share


def test_mixing_keeps_its_latents(G: StyleBased) -> None:
    drawn = plain(Mixing(rows="1-2", cols="5,6,7", layers="0-2"), G, 0)
    assert drawn.latents is not None and len(drawn.latents) == 6
    images = torch.stack(list(render(G, drawn.latents)))
    for i, image in enumerate(images):
        assert alike(cell(drawn, 1 + i // 3, 1 + i % 3), image)
    assert drawn.latents.names[4] == "seed 2 x seed 6"
    swapped = plain(Mixing(rows="5,6,7", cols="1-2", layers="3-5"), G, 0)
    assert alike(cell(drawn, 2, 3), cell(swapped, 3, 2))


def test_layers_by_name() -> None:
    networks = {
        side: StyleGAN2Config(z_dim=4, w_dim=4, channel_base=16, channel_max=4).build(
            resolution=(side, side), channels=3, c_dim=0
        )
        for side in (16, 128)
    }
    assert style_layers(networks[128], "coarse") == [0, 1, 2]  # 4: one, 8: two
    assert style_layers(networks[128], "middle") == [3, 4, 5, 6]
    assert style_layers(networks[128], "fine") == [7, 8, 9, 10, 11]
    assert style_layers(networks[16], "middle") == [3, 4, 5]
    assert style_layers(networks[128], "1,4-6,5,coarse") == [0, 1, 2, 4, 5, 6]
    assert style_layers(networks[128], "all") == list(range(12))
    with pytest.raises(UserError, match=r"has no fine layers; it has all \(0-5\), coarse \(0-2\), middle \(3-5\)"):
        style_layers(networks[16], "fine")
    for text, message in [
        ("0-12", "this network takes layers 0 to 11"),
        ("5-2", "runs backwards"),
        ("corse", "did you mean 'coarse'"),
        ("", "is no layer"),
        ("1,,2", "is no layer"),
    ]:
        with pytest.raises(UserError, match=message):
            style_layers(networks[128], text)


def test_layers_of_stylegan3_are_halves() -> None:
    config = StyleGAN3Config(z_dim=4, w_dim=4, channel_base=64, channel_max=4)
    G = config.build(resolution=(32, 32), channels=3, c_dim=0)
    assert G.num_ws == 16
    assert style_layers(G, "coarse") == list(range(7)) and style_layers(G, "fine") == list(range(7, 16))
    with pytest.raises(UserError, match="has no middle layers"):
        style_layers(G, "middle")


def test_mixing_of_stylegan3_says_that_it_is_not_trained_for_it(
    G3: StyleBased, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Any] = []
    monkeypatch.setattr(Mixing, "sheet", lambda self, sheet, *_: said.append(sheet.caption))
    Mixing(rows="0", cols="1").draw(G3, Request([0]))
    assert "StyleGAN3 is trained without style mixing." in said[0]


def test_truncation_columns_are_psi(G: StyleBased) -> None:
    figure = Truncation(psi=[-0.5, 0.0, 0.5, 1.0])
    drawn = plain(figure, G, 3, 4, batch=4)
    for column, psi in enumerate(figure.psi):
        for row, image in enumerate(sample(G, [3, 4], Sampling(truncation_psi=psi, batch=4))):
            assert alike(cell(drawn, row, column), image)
    assert torch.equal(cell(drawn, 0, 1), cell(drawn, 1, 1))
    cut = plain(Truncation(cutoffs=[0, 2, 6]), G, 3, truncation_psi=0.0)
    assert alike(cell(cut, 0, 0), next(sample(G, [3]))) and alike(cell(cut, 0, 2), cell(drawn, 0, 1))
    assert alike(cell(cut, 0, 1), next(sample(G, [3], Sampling(truncation_psi=0.0, truncation_cutoff=2))))
    to_seed = plain(Truncation(psi=[0.0, 1.0]), G, 3, truncation_center=85)
    assert alike(cell(to_seed, 0, 0), next(sample(G, [85]))) and alike(cell(to_seed, 0, 1), next(sample(G, [3])))


@pytest.mark.parametrize(
    ("figure", "sampling", "message"),
    [
        (Truncation(), {"truncation_psi": 0.5}, "truncation_psi is what the columns of this figure are"),
        (Truncation(cutoffs=[1]), {}, "figure.cutoffs needs truncation_psi other than 1"),
        (Truncation(psi=[]), {}, "there are no columns"),
        (Truncation(cutoffs=[99]), {"truncation_psi": 0.5}, "truncation_cutoff=99: this network takes 0 to 6"),
        (Noise(), {"noise_mode": "none"}, "this figure chooses noise by itself"),
        (Noise(samples=1), {}, "one drawing has no deviation"),
        (Mixing(layers="7"), {}, "this network takes layers 0 to 5"),
        (Mixing(), {"noise_mode": "random"}, "a mixed image has no seed of its noise"),
        (Mixing(rows="0-999999", cols="0-99"), {}, "of memory at least"),
        (Blend(weights=[1.0]), {}, "there are 2 seeds and latents; give a weight for each"),
        (Blend(weights=[1.0, -1.0]), {}, "they add up to 0"),
        (Blend(layers="coarse"), {}, "give layers for each"),
        (Layers(activations="b8.conv"), {}, "did you mean"),
    ],
)
def test_what_cannot_be_drawn(G: StyleBased, figure: Figure, sampling: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        figure.draw(G, Request([3, 4], Sampling(**sampling)))


@pytest.mark.parametrize(
    "make",
    [Mixing, Truncation, lambda: Noise(samples=0), lambda: Blend(layers="coarse;all")],
    ids=["mixing", "truncation", "noise", "blend"],
)
def test_without_w_these_are_refused_with_the_reason(make: Callable[[], Figure]) -> None:
    with pytest.raises(UserError, match=r"needs a network with w; without_w has none|have no layer noise"):
        make().draw(without_w(), Request([0, 1]))


def test_noise(G: StyleBased, G3: StyleBased) -> None:
    drawn = plain(Noise(count=2, noise_seed=7, samples=5, fine=8), G, 3, 4)
    kept = locate(G, [3, 4])

    def with_noise(noise: Tensor, row: int) -> Tensor:
        return next(render(G, Latents(("x",), ws=kept[row].ws, noise=noise[None])))

    own = G.stored_noise()
    lower = torch.cat([torch.full((side * side,), float(side < 8)) for side in (4, 8, 8, 16, 16)])
    for row in (0, 1):
        want = [own, layer_noise([7], G.noise_size)[0], layer_noise([8], G.noise_size)[0], None]
        want += [own * 0, own * lower, own * (1 - lower)]
        for column, noise in enumerate(want):
            if noise is not None:
                assert alike(cell(drawn, row, column), with_noise(noise, row)), column
        images = torch.stack([with_noise(layer_noise([7 + i], G.noise_size)[0], row) for i in range(5)]).double()
        deviation = images.var(dim=0, correction=0).mean(dim=0).sqrt()
        assert (cell(drawn, row, 3)[0].double() - deviation / deviation.max() * 255).abs().max() < 12
    assert alike(cell(drawn, 0, 0), next(sample(G, [3])))
    with pytest.raises(UserError, match="stylegan3 networks have no layer noise"):
        Noise().draw(G3, Request([0]))


def test_layers_of_skip_connections_add_up(G: StyleBased) -> None:
    drawn = plain(Layers(gain=1.0), G, 3)
    assert drawn.image.size == (48, 32)
    image = next(sample(G, [3], Sampling(batch=1)))
    assert torch.equal(cell(drawn, 0, 2), image)
    assert torch.equal(cell(drawn, 0, 0), cell(drawn, 1, 0))  # the first resolution adds all that there is
    assert (cell(drawn, 0, 0)[:, ::4, ::4].repeat_interleave(4, 1).repeat_interleave(4, 2) == cell(drawn, 0, 0)).all()


def test_layers_of_other_networks(G3: StyleBased) -> None:
    drawn = plain(Layers(), G3, 3, 4)
    assert drawn.image.size == (16 * G3.num_ws, 32)
    for row, seed in enumerate((3, 4)):
        assert alike(cell(drawn, row, G3.num_ws - 1), next(sample(G3, [seed])))
    ws = sample_ws(G3, [3])
    ws[:, 2:] = G3.mapping.w_avg
    assert alike(cell(drawn, 0, 1), next(render(G3, ws)))
    flat = plain(Layers(), without_w(), 1)
    assert flat.image.size == (16, 8)  # two convolutions of 8 pixels


def test_activations_are_those_of_the_layer(G: StyleBased) -> None:
    seen = watched(G, locate(G, [3]), Request([3]))
    assert set(seen) >= {"b4.conv1", "b8.conv0", "b16.torgb"}
    before = {name: len(module._forward_hooks) for name, module in G.named_modules()}
    drawn = Layers(activations="b16.conv1", channels=3, labels=False).draw(G, Request([3]))
    assert {name: len(module._forward_hooks) for name, module in G.named_modules()} == before
    maps = seen["b16.conv1"][0]
    order = maps.flatten(1).std(dim=1).argsort(descending=True)[:3]
    assert list(drawn.facts["channels"]) == order.tolist()
    grey = maps[order[1]]
    want = ((grey - grey.min()) / (grey.max() - grey.min()) * 255).round()
    assert np.abs(np.array(drawn.image.convert("L"))[:, 16:32] - want.numpy()).max() <= 1


def test_blend(G: StyleBased) -> None:
    ws = sample_ws(G, [3, 4])
    drawn = plain(Blend(weights=[3.0, 1.0]), G, 3, 4)
    assert drawn.latents is not None and drawn.latents.ws is not None and drawn.facts["weights"] == [0.75, 0.25]
    torch.testing.assert_close(drawn.latents.ws[0], 0.75 * ws[0] + 0.25 * ws[1])
    assert alike(cell(drawn, 0, 2), next(render(G, drawn.latents)))
    assert alike(cell(drawn, 0, 1), next(sample(G, [4])))
    assert torch.equal(blend_ws(ws, torch.tensor([1.0, 0.0])), ws[0])
    layered = blend_ws(ws, torch.tensor([0.5, 0.5]), [[0, 1], [1, 2]])
    assert (
        torch.equal(layered[0], ws[0, 0]) and torch.equal(layered[2], ws[1, 2]) and torch.equal(layered[3:], ws[0, 3:])
    )
    torch.testing.assert_close(layered[1], ws[:, 1].mean(dim=0))


def test_blend_without_w_stays_on_the_sphere() -> None:
    z = latents([1, 2], 8)
    mixed = blend_z(z, torch.tensor([0.5, 0.5], dtype=torch.float64))
    torch.testing.assert_close(mixed.norm(), z.norm(dim=1).mean())
    torch.testing.assert_close(blend_z(z, torch.tensor([1.0, 0.0], dtype=torch.float64)), z[0])
    drawn = plain(Blend(), without_w(), 1, 2)
    assert drawn.latents is not None and drawn.latents.ws is None
    assert alike(cell(drawn, 0, 2, side=8), to_uint8(without_w()(mixed[None]))[0]) or drawn.image.size == (24, 8)


@pytest.mark.parametrize(
    "make",
    [Mixing, Truncation, lambda: Noise(samples=4), Layers, Blend],
    ids=["mixing", "truncation", "noise", "layers", "blend"],
)
def test_the_same_again_with_labels_in_any_batch(G: StyleBased, make: Callable[[], Figure]) -> None:
    first, again, other = (
        make().draw(G, Request([3, 4], Sampling(batch=batch))).image  # pyright: ignore[reportAttributeAccessIssue]
        for batch in (16, 16, 3)
    )
    assert isinstance(first, Image.Image) and first.tobytes() == again.tobytes()
    if make not in (Mixing, Truncation, Blend):
        return
    assert np.abs(np.array(first).astype(int) - np.array(other).astype(int)).max() <= 1

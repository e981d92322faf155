"""Directions in latent space against the numbers of the papers' programs."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stylegan.errors import UserError
from stylegan.figures.base import Request
from stylegan.figures.edit import Edit
from stylegan.inference import Sampling, render, sample, sample_ws
from stylegan.latent.directions import (
    IncrementalComponents,
    boundary,
    factorised,
    principal_components,
    separating_plane,
    without,
)
from stylegan.latent.named import Directions, attribute_columns
from stylegan.metrics.attribute_network import load_attributes
from stylegan.models.generator import StyleBased
from stylegan.models.stylegan3 import StyleGAN3Config
from tests.golden.golden import load as load_golden
from tests.unit import test_models_golden
from tests.unit.tiny import tiny_pair
from tests.unit.without_w import WithoutWConfig

SEFA, GANSPACE, INTERFACE = (load_golden(f"lat_{name}") for name in ("sefa", "ganspace", "interfacegan"))


def assert_alike(found: Tensor, wanted: Tensor, least: float) -> None:
    """Row by row, up to the sign."""
    cosines = torch.nn.functional.cosine_similarity(found.double(), wanted.double(), dim=1).abs()
    assert cosines.min() >= least, cosines


@pytest.mark.parametrize("index", range(5))
def test_factorisation_is_that_of_the_paper(index: int) -> None:
    case, name = SEFA.config["cases"][index], f"case{index:02d}"
    if case["network"]:
        maps = test_models_golden.generator(load_golden(case["network"])).synthesis.style_maps
        matrices = [maps[i].weight.detach() for i in case["layers_used"]]
    elif case["kind"] == "stylegan":
        matrices = [SEFA.tensor(f"{name}/in/style{i}") for i in case["layers_used"]]
        matrices = [m if m.shape[1] == case["w_dim"] else m.T for m in matrices]
    else:
        matrices = [SEFA.tensor(f"{name}/in/dense").T]
    values, vectors = factorised(matrices)
    SEFA.assert_close(f"f64/{name}/out/values", values)
    assert_alike(
        vectors, SEFA.tensor(f"f64/{name}/out/vectors"), SEFA.config["tol"][f"f64/{name}/out/vectors"]["min_abs_cosine"]
    )


@pytest.mark.parametrize("index", range(3))
def test_components_are_those_of_the_paper(index: int) -> None:
    case, name = GANSPACE.config["cases"][index], f"case{index:02d}"
    points = GANSPACE.tensor(f"{name}/in/x")
    if case["est"] == "pca":
        found = principal_components(points, case["k"])
    else:
        incremental = IncrementalComponents(case["k"])
        for batch in points.split(case["batch"]):
            incremental.add(batch)
        found = incremental.components()
    assert_alike(found.vectors, GANSPACE.tensor(f"{name}/out/components"), 0.9999)
    GANSPACE.assert_close(f"{name}/out/stdev", found.stdev)
    GANSPACE.assert_close(f"{name}/out/var_ratio", found.share)
    GANSPACE.assert_close(f"{name}/out/mean", found.mean[None])
    coordinates = (GANSPACE.tensor(f"{name}/in/w").double() - found.mean) @ found.vectors.T
    GANSPACE.assert_close(f"{name}/out/lat_stdev", coordinates.std(dim=0, correction=0))


@pytest.mark.parametrize("index", range(3))
def test_boundaries_are_those_of_the_paper(index: int) -> None:
    case, name = INTERFACE.config["cases"][index], f"case{index:02d}"
    codes, scores = INTERFACE.tensor(f"{name}/in/codes"), INTERFACE.tensor(f"{name}/in/scores")[:, 0].clone()
    if "invalid" in case:
        scores[scores == case["invalid"]] = float("nan")
    found = boundary(codes, scores, share=case.get("ratio", 0.02), split=case.get("split", 0.7), seed=case["np_seed"])
    cosine = torch.nn.functional.cosine_similarity(found[None], INTERFACE.tensor(f"{name}/out/boundary").double())
    assert (
        cosine >= INTERFACE.config["tol"][f"{name}/out/boundary"]["min_cosine"]
    )  # theirs stops at a tolerance of 1e-3
    high, low = (codes[INTERFACE.tensor(f"{name}/aux/train_{kind}")] for kind in ("positive", "negative"))
    torch.testing.assert_close(found, separating_plane(high, low))


@pytest.mark.parametrize("count", range(5))
def test_a_direction_without_others(count: int) -> None:
    rows = INTERFACE.tensor("proj/in/boundaries")
    found = without(rows[0], list(rows[1 : 1 + count]))
    INTERFACE.assert_close(f"proj/out/given{count}", found[None])


def test_a_plane_lies_in_the_middle_of_what_can_be_parted() -> None:
    high, low = torch.tensor([[2.0, 0.0], [3.0, 5.0]]), torch.tensor([[0.0, 0.0], [-1.0, -4.0]])
    found = separating_plane(high, low, cost=100.0)
    margins = (high.double() @ found).min() - (low.double() @ found).max()
    for angle in torch.linspace(-1.5, 1.5, 61, dtype=torch.float64):
        other = torch.stack([angle.cos(), angle.sin()])
        assert (high.double() @ other).min() - (low.double() @ other).max() <= margins + 1e-6
    with pytest.raises(UserError, match="3 scores are too few"):
        boundary(torch.zeros(4, 2), torch.tensor([1.0, 2.0, 3.0, float("nan")]))


def test_maps_of_the_styles_of_stylegan3() -> None:
    config = StyleGAN3Config(z_dim=4, w_dim=6, channel_base=64, channel_max=4, num_layers=4, num_critical=1)
    G = config.build(resolution=(16, 16), channels=3, c_dim=0)
    assert len(G.synthesis.style_maps) == G.num_ws
    assert all(affine.weight.shape[1] == 6 for affine in G.synthesis.style_maps)


@pytest.fixture
def G(monkeypatch: pytest.MonkeyPatch) -> StyleBased:
    monkeypatch.setattr("stylegan.latent.named.SAMPLES", 200)
    monkeypatch.setattr("stylegan.latent.named.SCORED", 100)
    return tiny_pair()[0].eval().requires_grad_(False)


def test_a_row_goes_along_its_direction(G: StyleBased) -> None:
    figure = Edit(directions=["pca:0", "sefa:1", "age"], steps=5, reach=3.0, layers="0-2", labels=False)
    drawn = figure.draw(G, Request([7, 8], Sampling(batch=4)))
    assert drawn.image.size == (5 * 16, 6 * 16) and drawn.latents is not None and drawn.latents.ws is not None
    ws = drawn.latents.ws.view(2, 3, 5, G.num_ws, G.w_dim)
    known = Directions(G, Sampling(batch=4))
    for row, seed in enumerate((7, 8)):
        own = sample_ws(G, [seed])[0]
        for i, name in enumerate(figure.directions):
            direction = known.find(name, [0, 1, 2])
            for step, amount in enumerate((-3.0, -1.5, 0.0, 1.5, 3.0)):
                torch.testing.assert_close(ws[row, i, step, :3], own[:3] + amount * direction.stdev * direction.vector)
                torch.testing.assert_close(ws[row, i, step, 3:], own[3:])
    middle = np.array(drawn.image.crop((2 * 16, 0, 3 * 16, 16))).astype(int)
    assert np.abs(middle - next(sample(G, [7])).permute(1, 2, 0).numpy()).max() <= 1
    assert drawn.latents.names[0] == "seed 7, pca:0 -3"


def test_deviations_are_those_of_w(G: StyleBased) -> None:
    w = sample_ws(G, range(200), Sampling(batch=16))[:, 0].double()
    known = Directions(G, Sampling())
    first, second = known.find("pca:0", [0]), known.find("pca:1", [0])
    covariance = torch.cov(w.T, correction=0)
    assert first.stdev == pytest.approx(float(torch.linalg.eigvalsh(covariance)[-1]) ** 0.5, rel=1e-4)
    assert first.stdev > second.stdev and abs(float(first.vector @ second.vector)) < 1e-4
    assert first.vector[first.vector.abs().argmax()] > 0
    free = known.find("sefa:0", [0], given=["pca:0", "age"])
    assert abs(float(free.vector @ first.vector)) < 1e-5 and float(free.vector.norm()) == pytest.approx(1)


def test_an_attribute_grows_along_its_direction(G: StyleBased) -> None:
    network, _, _ = load_attributes(torch.device("cpu"))
    drawn = Edit(directions=["skin_tone"], steps=3, reach=3.0).draw(G, Request(range(30)))
    assert drawn.latents is not None
    images = torch.stack(list(render(G, drawn.latents))).view(30, 3, 3, 16, 16)
    tone = [float(network.read(images[:, i])[:, attribute_columns()["skin_tone"]].mean()) for i in range(3)]
    assert tone[0] < tone[1] < tone[2]


def test_directions_that_there_are_not(G: StyleBased) -> None:
    for options, message in [
        ({"directions": ["agge"]}, "there is no direction agge; did you mean 'age'"),
        ({"directions": ["pca:8"]}, "pca:8: this network has the directions pca:0 to pca:7"),
        ({"directions": []}, "there is nothing to move along"),
        ({"directions": ["pca:0"], "given": ["x"]}, "there is no direction x"),
        ({"layers": "fine"}, "has no fine layers"),
    ]:
        with pytest.raises(UserError, match=message):
            Edit(**options).draw(G, Request([1]))
    without_w = WithoutWConfig().build(resolution=(8, 8), channels=3, c_dim=0).eval()
    with pytest.raises(UserError, match="this network has no w; take sefa:0"):
        Edit().draw(without_w, Request([1]))
    with pytest.raises(UserError, match=r"figure\.layers=0-1 needs a network with w"):
        Edit(directions=["sefa:0"], layers="0-1").draw(without_w, Request([1]))

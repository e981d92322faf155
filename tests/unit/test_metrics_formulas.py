"""Metrics against brute force and against what must hold whatever the data."""

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stylegan.metrics import equivariance
from stylegan.metrics.equivariance import Equivariance, Motion
from stylegan.metrics.fid import Moments, frechet_distance, trace_of_root
from stylegan.metrics.kid import kernel_distance
from stylegan.metrics.lpips import Lpips
from stylegan.metrics.metric import Drawn, Draws
from stylegan.metrics.ppl import Path, path_lengths
from stylegan.metrics.precision_recall import density_coverage, precision_recall
from stylegan.metrics.table import METRICS
from stylegan.models.generator import StyleBased
from stylegan.rng import generator
from tests.unit.tiny import tiny_pair


def normal(n: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(n, dim, generator=generator(seed, "test"), dtype=torch.float64)


def test_root_of_the_product_where_images_are_few() -> None:
    """Covariances of lower rank than features, where a general matrix root gets lost."""
    a, b = normal(5, 12), normal(7, 12, 1)
    a, b = a.T @ a, b.T @ b
    eigenvalues = torch.linalg.eigvals(a @ b).real.clamp(min=0)
    assert float(trace_of_root(a, b)) == pytest.approx(float(eigenvalues.sqrt().sum()), rel=1e-6)
    assert float(trace_of_root(a, a)) == pytest.approx(float(a.trace()), rel=1e-6)


def test_fid_of_shifted_and_scaled_normals() -> None:
    x = normal(500, 6)
    shifted = x + torch.arange(6)
    assert frechet_distance(Moments.of(x), Moments.of(shifted)) == pytest.approx(0 + 1 + 4 + 9 + 16 + 25)
    wider = x * 2  # tr(C + 4C - 2 * 2C) = tr(C), and the mean is twice the mean
    want = x.var(0, correction=0).sum() + x.mean(0).square().sum()
    assert frechet_distance(Moments.of(x), Moments.of(wider)) == pytest.approx(float(want))
    assert frechet_distance(Moments.of(x), Moments.of(x)) == pytest.approx(0, abs=1e-9)


def test_kid_is_unbiased_and_repeatable() -> None:
    a, b, other = normal(300, 8, 2), normal(300, 8, 3), normal(300, 8, 4) + 1
    same = kernel_distance(a, b, generator(0, "kid"), subset_size=100)
    assert abs(same) < 0.05 < kernel_distance(a, other, generator(0, "kid"), subset_size=100)
    assert same == kernel_distance(a, b, generator(0, "kid"), subset_size=100)
    assert same != kernel_distance(a, b, generator(1, "kid"), subset_size=100)


def test_balls_against_brute_force() -> None:
    real, fake = normal(60, 3), normal(50, 3, 1) * 0.7 + 0.2
    k = 4

    def radius(side: Tensor, i: int) -> float:
        return float((side - side[i]).norm(dim=1).sort().values[k])

    def inside(point: Tensor, side: Tensor) -> list[bool]:
        return [float((point - side[i]).norm()) <= radius(side, i) for i in range(len(side))]

    hits = torch.tensor([inside(point, real) for point in fake])
    backwards = torch.tensor([inside(point, fake) for point in real])
    got = precision_recall(real, fake, k=k, half=False)
    assert got == pytest.approx([float(side.any(1).double().mean()) for side in (hits, backwards)])
    density, coverage = density_coverage(real, fake, k=k)
    assert density == pytest.approx(float(hits.sum()) / (k * len(fake)))
    assert coverage == pytest.approx(float(hits.any(0).double().mean()))


FREQUENCIES = torch.tensor(
    [[1.0, 2.0], [-3.0, 1.5], [2.5, 2.5], [0.5, -3.5]]
)  # periods a picture, far from the limit of 16


class FirstW(nn.Module):
    """z as the only w."""

    def forward(self, z: Tensor, c: Tensor | None) -> Tensor:
        return z[:, None]


class Waves(StyleBased):
    """A generator of smooth pictures whose input can be moved and turned exactly: sums of plane waves.

    Args:
        snap: Rounds the input's shift to pixels, a fault that only fractions show.
        stuck: Does not move at all.
    """

    def __init__(self, *, snap: bool = False, stuck: bool = False) -> None:
        nn.Module.__init__(self)
        self.resolution, self.z_dim, self.c_dim = (32, 32), len(FREQUENCIES), 0
        self.parameter = nn.Parameter(torch.zeros(1))
        self.mapping: Any = FirstW()
        self.synthesis: Any = WaveSynthesis(snap, stuck)


class WaveSynthesis:
    def __init__(self, snap: bool, stuck: bool) -> None:
        self.snap, self.stuck = snap, stuck
        self.input = SimpleNamespace(transform=torch.eye(3))

    def __call__(self, ws: Tensor, noise_mode: str) -> Tensor:
        m = torch.eye(3) if self.stuck else self.input.transform.clone()
        if self.snap:
            m[:2, 2] = (m[:2, 2] * 32).round() / 32
        line = (torch.arange(32) + 0.5) / 32 - 0.5
        y, x = torch.meshgrid(line, line, indexing="ij")
        points = torch.stack([x, y, torch.ones_like(x)], -1) @ m[:2].T  # [32, 32, 2]
        phases = points @ FREQUENCIES.T + ws[:, 0, None, None]  # [N, 32, 32, waves]
        return torch.cos(2 * math.pi * phases).mean(3)[:, None]


def measure(G: Any, name: str) -> float:
    metric, draws = METRICS[name], Draws(8, 0, 4, None, torch.device("cpu"), lambda n: None)
    assert isinstance(metric, Equivariance)
    metric.check(G, name)
    return metric.measure(G, None, draws).values[name]


@pytest.mark.parametrize(("name", "least"), [("eqt", 60), ("eqt_frac", 35), ("eqr", 35)])
def test_equivariant_generators_score_high(name: str, least: float) -> None:
    assert measure(Waves(), name) > least
    assert measure(Waves(stuck=True), name) < 15


def test_whole_pixels_and_fractions_are_told_apart() -> None:
    assert measure(Waves(snap=True), "eqt") > 60
    assert measure(Waves(snap=True), "eqt_frac") < 30 < measure(Waves(), "eqt_frac")


def test_the_input_is_left_as_it_was() -> None:
    G = Waves()
    measure(G, "eqr")
    assert torch.equal(G.synthesis.input.transform, torch.eye(3))


def test_moved_off_the_picture() -> None:
    picture, mask = equivariance.integer_translation(torch.ones(1, 1, 4, 4), 1.0, 0.0)
    assert not picture.any() and not mask.any()


def test_decibels() -> None:
    assert equivariance.decibels(torch.tensor([0.01, 1.0])) == pytest.approx(20 * math.log10(2 / 0.1))
    render = equivariance.squared_errors(lambda _: torch.zeros(1, 1, 8, 8), (8, 8), Motion(), torch.tensor([0.7, 0.2]))
    assert float(render[0]) == 0 < float(render[1])


class Pixels(Lpips):
    """Squared difference in place of LPIPS."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a.double() - b.double()).square().sum((1, 2, 3))


class LinearSynthesis:
    noise_size = 1

    def __call__(self, ws: Tensor, noise_mode: str, noise: Tensor) -> Tensor:
        return ws[:, 0, :, None, None]


class Linear(StyleBased):
    """A generator whose pictures are its latents, so that path lengths are known."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.z_dim, self.noise_size = 3, 1
        self.parameter = nn.Parameter(torch.zeros(1))
        self.mapping: Any = FirstW()
        self.synthesis: Any = LinearSynthesis()

    def forward(self, z: Tensor, c: Tensor | None = None, **noise: Any) -> Tensor:
        return self.synthesis(self.mapping(z, c), **noise)


@pytest.mark.parametrize("ends", [True, False])
def test_path_length_of_a_linear_generator(ends: bool) -> None:
    """In W a step is epsilon times the distance of the ends; on the unit sphere of Z it is epsilon times the angle."""
    drawn, G = Drawn(3, "ppl", range(5), torch.device("cpu")), Linear()
    a, b = drawn.normal("z", 2, 3).unbind(1)
    got = path_lengths(G, Pixels(), Path(True, ends, False), None, drawn)
    assert got.tolist() == pytest.approx((a - b).square().sum(1).tolist(), rel=0.02)  # float32 latents, steps of 1e-4
    angle = torch.nn.functional.cosine_similarity(a, b).acos()
    got = path_lengths(G, Pixels(), Path(False, ends, False), None, drawn)
    assert got.tolist() == pytest.approx(angle.square().tolist(), rel=0.02)


def test_what_is_drawn_for_an_image_does_not_depend_on_the_batch() -> None:
    def drawn(*borders: int) -> list[Tensor]:
        shares = [Drawn(3, "ppl", range(a, b), torch.device("cpu")) for a, b in pairwise(borders)]
        table = torch.arange(50).view(25, 2)
        made = [(d.normal("z", 2, 3), d.uniform("t", 1), d.rows("c", table)) for d in shares]
        return [torch.cat(parts) for parts in zip(*made, strict=True)]

    assert all(torch.equal(a, b) for a, b in zip(drawn(0, 8), drawn(0, 3, 7, 8), strict=True))


def test_path_length_of_a_network_with_cropping() -> None:
    G, _ = tiny_pair(resolution=(64, 64))
    for crop in (True, False):
        lengths = path_lengths(
            G.eval(), Pixels(), Path(True, True, crop), None, Drawn(0, "ppl", range(3), torch.device("cpu"))
        )
        assert lengths.shape == (3,) and bool((lengths > 0).all())

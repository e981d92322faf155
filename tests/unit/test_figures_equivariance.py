"""The figure `equivariance`: what is moved goes where it should, and differences are those of the pictures shown."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stylegan.errors import UserError
from stylegan.figures.base import Request
from stylegan.figures.equivariance import Equivariance, compare
from stylegan.inference import Sampling, locate, render
from stylegan.models.generator import StyleBased
from stylegan.models.stylegan3 import StyleGAN3Config
from tests.unit.tiny import tiny_pair
from tests.unit.without_w import WithoutWConfig


@pytest.fixture(scope="module")
def G() -> StyleBased:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = StyleGAN3Config(z_dim=8, w_dim=8, channel_base=256, channel_max=8, num_layers=5)
        G = config.build(resolution=(32, 32), channels=3, c_dim=0)
    return G.eval().requires_grad_(False)


def row(G: StyleBased, **options: Any) -> tuple[list[np.ndarray], list[float]]:
    request = Request([3])
    images, ratios = compare(G, locate(G, request.seeds), request, Equivariance(**options))
    return [np.asarray(image).astype(int) for image in images], ratios


def test_cells_are_the_pictures_of_moved_inputs(G: StyleBased) -> None:
    cells, _ = row(G, move=[0.25, -0.125], turn=20.0)
    ws = locate(G, [3])
    for index, sampling in [
        (0, Sampling(batch=1)),
        (1, Sampling(translate=[0.25, -0.125], batch=1)),
        (4, Sampling(rotate=20.0, batch=1)),
    ]:
        assert np.array_equal(cells[index], next(render(G, ws, sampling)).permute(1, 2, 0).numpy())


def test_a_move_by_whole_pixels_moves_the_picture(G: StyleBased) -> None:
    (plain, moved_input, moved_picture, difference, *_), ratios = row(G, move=[0.25, 0.125], gain=4.0)
    inner = np.s_[10:30, 12:28]  # where the filter that moves fractions reaches no border
    assert np.abs(moved_picture[inner] - plain[6:26, 4:20]).max() <= 1
    error = (moved_input - moved_picture)[inner]
    assert np.abs(difference[inner] - np.abs(error) * 4).max() <= 8  # four times the rounding of both
    assert ratios[0] > 30


def test_moving_by_nothing_differs_in_nothing(G: StyleBased) -> None:
    cells, (moved, turned) = row(G, move=[0.0, 0.0], turn=0.0)
    assert np.array_equal(cells[0], cells[1]) and np.array_equal(cells[0], cells[4])
    assert moved > 100 and turned > 20
    assert not cells[3][8:24, 8:24].any()


def test_turning_goes_clockwise_in_both(G: StyleBased) -> None:
    right, wrong = (row(G, turn=turn) for turn in (90.0, -90.0))
    want = np.rot90(right[0][0], -1)  # clockwise
    inner = np.s_[12:20, 12:20]
    assert np.abs(right[0][5][inner] - want[inner]).mean() < np.abs(wrong[0][5][inner] - want[inner]).mean() / 3


def test_the_figure(G: StyleBased) -> None:
    request = Request([3, 4], Sampling(batch=4))
    picture = Equivariance().draw(G, request)
    assert [fact["seed"] for fact in picture.facts["equivariance"]] == ["seed 3", "seed 4"]
    assert all(math.isfinite(fact["move_db"]) for fact in picture.facts["equivariance"])
    assert picture.latents is not None and picture.latents.names == ("seed 3", "seed 4")
    assert picture.image.tobytes() == Equivariance().draw(G, request).image.tobytes()
    plain = Equivariance(labels=False).draw(G, request).image
    assert plain.size == (7 * 32 + 6, 2 * 32 + 1)
    second = compare(G, locate(G, [4]), request, Equivariance())[0][6]
    found = plain.crop((6 * 33, 33, 6 * 33 + 32, 65))
    assert isinstance(second, Image.Image)
    assert np.abs(np.asarray(found).astype(int) - np.asarray(second)).max() <= 4  # one grey level, times the gain


def test_what_cannot_be_moved_is_refused(G: StyleBased) -> None:
    for network in (tiny_pair()[0], WithoutWConfig().build(resolution=(8, 8), channels=3, c_dim=0)):
        with pytest.raises(UserError, match="cannot be moved"):
            Equivariance().draw(network, Request([0]))
    with pytest.raises(UserError, match="this figure moves by itself"):
        Equivariance().draw(G, Request([0], Sampling(rotate=5.0)))
    for bad, message in [
        ({"move": [0.1]}, "give two numbers"),
        ({"move": [0.1, 2.0]}, r"figure.move=2"),
        ({"turn": math.nan}, r"figure.turn=nan"),
        ({"gain": 0.0}, r"figure.gain=0"),
        ({"width_cm": 0.1}, r"figure.width_cm=0.1"),
    ]:
        with pytest.raises(UserError, match=message):
            Equivariance(**bad)
    with pytest.raises(UserError, match=r"take .* of memory at least"):
        Equivariance().draw(G, Request(range(1_000_000)))

"""Random numbers are a function of seed, stream and index."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from stylegan.rng import generator, normal, uniform

DRAWS = pytest.mark.parametrize("draw", [normal, uniform])
Draw = Callable[..., Tensor]


def test_equal_arguments_give_equal_numbers_and_others_do_not() -> None:
    draws = {}
    for key in itertools.product([0, 1], ["z/Gmain", "z/Dmain"], [0, 1]):
        first, second = (torch.randn(8, generator=generator(*key)) for _ in range(2))
        assert torch.equal(first, second)
        draws[key] = tuple(first.tolist())
    assert len(set(draws.values())) == len(draws)


def test_the_global_generator_is_not_touched() -> None:
    before = torch.get_rng_state()
    torch.randn(8, generator=generator(0, "z"))
    assert torch.equal(before, torch.get_rng_state())


def test_streams_that_could_run_together_are_apart() -> None:
    a, b = (torch.randn(4, generator=generator(*key)) for key in [(1, "z", 12), (1, "z/1", 2)])
    assert not torch.equal(a, b)


@DRAWS
def test_numbers_of_images_in_any_company(draw: Draw) -> None:
    """As a range, a list or a tensor; in any order; some of them; of a shape or as many in a row."""
    whole = draw(1, "z", range(5, 11), [2, 3], "cpu")
    assert whole.shape == (6, 2, 3) and whole.dtype == torch.float32
    assert torch.equal(draw(1, "z", list(range(5, 11)), [6], "cpu"), whole.flatten(1))
    assert torch.equal(draw(1, "z", torch.tensor([9, 5]), [2, 3], torch.device("cpu")), whole[[4, 0]])
    assert torch.equal(draw(1, "z", range(10, 4, -2), [2, 3], "cpu"), whole[[5, 3, 1]])
    assert draw(1, "z", [], [2], "cpu").shape == (0, 2) and draw(1, "z", [3], [], "cpu").shape == (1,)


@DRAWS
def test_seeds_streams_and_images_are_apart(draw: Draw) -> None:
    keys = itertools.product([0, 1, 2**40], ["z/Gmain", "z/Dmain", "z"])
    rows = torch.cat([draw(seed, stream, [0, 1, 2**40], [4], "cpu") for seed, stream in keys])
    assert rows.flatten().unique().numel() == rows.numel()


@DRAWS
def test_on_meta_there_is_only_the_shape(draw: Draw) -> None:
    for indices in ([1, 2], range(2), torch.arange(2)):
        t = draw(0, "z", indices, [3, 4], "meta")
        assert t.shape == (2, 3, 4) and t.dtype == torch.float32 and t.device.type == "meta"


NORMALS = [-0.9735762476921082, -0.1507217437028885, -0.12292993068695068, -0.5362158417701721, 0.19613608717918396]
UNIFORMS = [0.6155224442481995, 0.5244450569152832, 0.8595729470252991, 0.7141327857971191, 0.45414602756500244]


@pytest.mark.parametrize(("draw", "want"), [(normal, NORMALS), (uniform, UNIFORMS)])
def test_numbers_stay_what_they_are(draw: Any, want: list[float], ops: str) -> None:
    """Runs could not be repeated if these changed."""
    assert draw(7, "z/Gmain", [1_000_000], [5], "cpu")[0].tolist() == want

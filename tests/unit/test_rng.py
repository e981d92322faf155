"""Random numbers are a function of seed, stream and index."""

import itertools

import torch

from stylegan.rng import generator


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

"""The moving average of the generator."""

import copy

import pytest
import torch

from stylegan.training.ema import MovingAverage, ema_decay
from tests.unit.tiny import tiny_pair


def test_half_life() -> None:
    assert ema_decay(32, 10**7, ema_kimg=10, rampup=None) ** (10_000 / 32) == pytest.approx(0.5)
    assert ema_decay(32, 10_000, ema_kimg=10, rampup=0.05) ** (500 / 32) == pytest.approx(0.5)
    assert ema_decay(32, 0, ema_kimg=10, rampup=0.05) == 0.0


def test_parameters_move_and_buffers_are_copied() -> None:
    G, _ = tiny_pair()
    G_ema = copy.deepcopy(G).requires_grad_(False)
    with torch.no_grad():
        for tensor in [*G.parameters(), *G.buffers()]:
            tensor.add_(1)
    before = copy.deepcopy(G_ema)
    average = MovingAverage(G_ema, G)
    average.move_parameters(0.25)
    average.copy_buffers()
    for name, p in G_ema.named_parameters():
        torch.testing.assert_close(p, before.get_parameter(name) * 0.75 + G.get_parameter(name) * 0.25)
    assert all(torch.equal(a, b) for a, b in zip(G_ema.buffers(), G.buffers(), strict=True))

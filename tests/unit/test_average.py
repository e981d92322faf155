"""The moving average of the generator."""

import copy

import pytest
import torch
from torch import nn

from stylegan.training.state import MovingAverage
from tests.ops.test_update import NothingIsRead
from tests.unit.tiny import tiny_pair


@pytest.mark.parametrize("weight", [0.0, 0.001, 0.75, 1.0])
def test_parameters_move_by_the_share_that_was_set_and_buffers_are_copied(weight: float) -> None:
    G, _ = tiny_pair()
    G_ema = copy.deepcopy(G)
    with torch.no_grad():
        for t in (*G_ema.parameters(), *G_ema.buffers()):
            t.copy_(torch.randn(t.shape))
    before = copy.deepcopy(G_ema)
    average = MovingAverage(G_ema, G)
    average.set_weight(0.3)
    average.set_weight(weight)
    average.move()
    for name, p in G_ema.named_parameters():
        old, new = before.get_parameter(name), G.get_parameter(name)
        torch.testing.assert_close(p, old + weight * (new - old))
        assert weight not in (0, 1) or torch.equal(p, old if weight == 0 else new)
    buffers = list(zip(G_ema.buffers(), G.buffers(), strict=True))
    assert len(buffers) > 3 and all(torch.equal(a, b) for a, b in buffers)


@pytest.mark.parametrize("buffers", [0, 2])
def test_a_move_needs_no_value(buffers: int) -> None:
    """On the meta device, where there are none; with and without buffers."""
    G = nn.Linear(3, 4, device="meta")
    for i in range(buffers):
        G.register_buffer(f"buffer{i}", torch.zeros(5, device="meta"))
    average = MovingAverage(copy.deepcopy(G), G)  # type: ignore[arg-type]
    for weight in (0.25, 0.5):
        average.set_weight(weight)
        with NothingIsRead():
            average.move()

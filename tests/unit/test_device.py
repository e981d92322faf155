"""How a process computes on a GPU is set by scripts, and as the papers' code has it; numbers that go to a device."""

from collections.abc import Iterator

import pytest
import torch

from stylegan.ops.device import compute_exactly, send


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark
    yield
    (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark) = before


@pytest.mark.parametrize("tf32", [False, True])
def test_tf32_is_off_unless_asked_for(tf32: bool) -> None:
    torch.backends.cudnn.allow_tf32 = True  # torch's default
    compute_exactly(tf32=tf32)
    assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is tf32
    assert not torch.backends.cudnn.benchmark


def test_numbers_are_sent_to_where_a_tensor_is() -> None:
    rates, weight = torch.zeros(2, dtype=torch.float64), torch.zeros([])
    there = rates.data_ptr(), weight.data_ptr()
    send((0.1, 1e-300), rates)
    send(0.25, weight)
    assert rates.tolist() == [0.1, 1e-300] and weight == 0.25
    assert (rates.data_ptr(), weight.data_ptr()) == there
    send(0.5, torch.zeros([], device="meta"))
    with pytest.raises(RuntimeError):
        send((1.0, 2.0, 3.0), rates)

"""How a process computes on a GPU is set by scripts, and as the papers' code has it."""

from collections.abc import Iterator

import pytest
import torch

from stylegan.ops.device import compute_exactly


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

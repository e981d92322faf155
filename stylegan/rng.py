"""Randomness as a pure function: every number drawn depends on (seed, stream, index) and on nothing else.

No generator lives longer than one draw, so there is no generator state to save: a resumed run, another number of ranks or
another number of data workers sees the same numbers.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def generator(seed: int, stream: str, index: int = 0, device: str | torch.device = "cpu") -> torch.Generator:
    """A fresh generator for one purpose at one point of a run.

    Args:
        seed: The run's seed.
        stream: What the numbers are for, such as `"z/Gmain"`. Different streams are independent.
        index: Where in the stream, usually an image count (nimg) or an epoch.
        device: Where the numbers are drawn. CPU and CUDA generators give different numbers for the same seed.

    Returns:
        A `torch.Generator` seeded with 63 bits of SHA-256 of the three, so that neighbouring seeds or indices share nothing.
    """
    digest = hashlib.sha256(f"{seed}/{stream}/{index}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def normal(shape: Sequence[int], seed: int, stream: str, index: int, device: torch.device) -> Tensor:
    """Standard normal float32 numbers, drawn on the CPU; for the device `meta` only their shape."""
    if device.type == "meta":
        return torch.empty(shape, device=device)
    return torch.randn(shape, generator=generator(seed, stream, index))


def uniform(shape: Sequence[int], seed: int, stream: str, index: int, device: torch.device) -> Tensor:
    """The same, uniform in [0, 1)."""
    if device.type == "meta":
        return torch.empty(shape, device=device)
    return torch.rand(shape, generator=generator(seed, stream, index))

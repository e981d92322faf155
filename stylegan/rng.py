"""Randomness as a pure function: every number drawn depends on (seed, stream, index) and on nothing else.

No generator lives longer than one draw, so there is no generator state to save: a resumed run, another number of ranks or
another number of data workers sees the same numbers.
"""

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stylegan.ops import normal as ops
from stylegan.ops.device import on_device


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


def normal(
    seed: int, stream: str, indices: Sequence[int] | Tensor, shape: Sequence[int], device: str | torch.device
) -> Tensor:
    """Standard normal numbers for each of some images, made on the device that needs them.

    Every number depends on seed, stream, index and its position in the shape alone: the same in every bit on every device,
    in any order of indices, and whatever else is drawn at once.

    Args:
        seed: The run's seed.
        stream: What the numbers are for, such as `"z/Gmain"`. Different streams are independent.
        indices: Which images, usually image counts (nimg and on); a range is made on the device, a list is copied there.
        shape: Of the numbers of one image.
        device: Where they are needed; on `meta` there is only the shape.

    Returns:
        float32 [n, *shape] on the device.
    """
    return ops.normal(_key(seed, stream), _placed(indices, device), math.prod(shape)).view(len(indices), *shape)


def uniform(
    seed: int, stream: str, indices: Sequence[int] | Tensor, shape: Sequence[int], device: str | torch.device
) -> Tensor:
    """The same, uniform in [0, 1)."""
    return ops.uniform(_key(seed, stream), _placed(indices, device), math.prod(shape)).view(len(indices), *shape)


def choices(seed: int, stream: str, indices: Sequence[int] | Tensor, count: int) -> Tensor:
    """For each of some images one of 0 .. count - 1, all alike likely; int64 [n] on the CPU. Arguments as for `normal`."""
    return (uniform(seed, stream, indices, [], "cpu").double() * count).long()


def _key(seed: int, stream: str) -> int:
    """64 bits of SHA-256 as a signed number, which is how torch holds them."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stream}".encode()).digest()[:8], "little", signed=True)


def _placed(indices: Sequence[int] | Tensor, device: str | torch.device) -> Tensor:
    if isinstance(indices, Tensor):
        return indices.to(device)
    if isinstance(indices, range):
        return torch.arange(indices.start, indices.stop, indices.step, device=device)
    return on_device(torch.tensor(indices, dtype=torch.int64, device="cpu"), torch.device(device))

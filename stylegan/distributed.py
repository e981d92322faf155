"""Many processes as one: start-up from torchrun's environment, tensors summed and gathered, state kept equal on all ranks.

Without torchrun every function here is the identity, so that the training loop has one form for one rank and for many.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from stylegan.ops.torch_private import chatter_on_stderr

_T = TypeVar("_T")
PREPARING = timedelta(days=1)  # how long the other ranks wait while the first renders a data set or reads all of one


@contextmanager
def process_group(device: torch.device, timeout: timedelta = timedelta(minutes=30)) -> Iterator[None]:
    """Join the process group that torchrun describes in the environment, and leave it at the end.

    After an error it is not left but abandoned: were the connections closed at once, the others would fail, too, before
    `one_voice` has noted who was first.

    Args:
        device: `cuda` talks over nccl, anything else over gloo.
        timeout: How long a rank waits in a collective before it gives up. It bounds what the first rank may do alone while
            training (checkpoint, snapshot, pictures); work of hours goes through `from_main`.
    """
    if "RANK" not in os.environ:
        yield
        return
    with chatter_on_stderr():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timeout)
    yield
    dist.destroy_process_group()


@contextmanager
def one_voice() -> Iterator[None]:
    """Let only the first of all ranks that fail tell why; the others end silently with exit code 2.

    A rank that fails breaks the connections of those that wait for it, and a mistake in the command line is found by all
    of them: without this, every rank would print something of its own.
    """
    try:
        yield
    except SystemExit:
        raise
    except BaseException:
        if "RANK" not in os.environ or _store().add("failures", 1) == 1:
            raise
        raise SystemExit(2) from None


def from_main(key: str, make: Callable[[], str]) -> str:
    """Let the first rank make a text while the others wait for it, a day if need be, and give it to all.

    Args:
        key: Names this exchange; to be used once in a process's life.
        make: Called on the first rank only.
    """
    if world_size() == 1:
        return make()
    store = _store()
    if is_main():
        store.set(key, make())
    store.wait([key], PREPARING)
    return store.get(key).decode()


def _store() -> dist.Store:  # pyright: ignore[reportPrivateImportUsage]
    """torchrun's table of keys and values, which outlives the ranks."""
    store, _, _ = next(rendezvous("env://"))
    return store


def rank() -> int:
    """This process's number among all, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process is the one that writes files and prints."""
    return rank() == 0


def barrier() -> None:
    """Wait until all ranks are here."""
    if dist.is_initialized():
        dist.barrier()


def sum_(tensor: Tensor) -> None:
    """Replace a tensor by its sum over ranks, in place."""
    if world_size() > 1:
        dist.all_reduce(tensor)


def sum_over_ranks(tensor: Tensor, device: torch.device) -> Tensor:
    """The sum over ranks of a CPU tensor of equal shape on all of them, on the CPU; `device` is where ranks can talk."""
    if world_size() == 1:
        return tensor
    total = tensor.to(device)
    sum_(total)
    return total.cpu()


def average(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its mean over ranks, in place."""
    for tensor in tensors:
        sum_(tensor)
        tensor.div_(world_size())


def gather(tensor: Tensor) -> Tensor:
    """Concatenate a tensor of equal shape on all ranks along its first axis, in rank order: [n, ...] -> [ranks * n, ...]."""
    if world_size() == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether `flag` is true on at least one rank; all ranks get the same answer."""
    if world_size() == 1:
        return flag
    value = torch.tensor(float(flag), device=device)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return bool(value)


def same_everywhere(value: _T) -> _T:
    """The first rank's `value`, a small picklable object, on all ranks."""
    if world_size() == 1:
        return value
    shared = [value]
    dist.broadcast_object_list(shared, src=0)
    return shared[0]

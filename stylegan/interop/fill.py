"""From a description and tensors to a network of ours: all of them match, or there is no network.

What a file says of its network is not believed. It is built in no more steps, and of no more numbers, than the tensors allow
that the file holds by name and shape; what asks for more is refused before that is taken.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from stylegan.errors import UnreadableError, UserError
from stylegan.models.base import Network
from stylegan.models.build import DISCRIMINATORS, build_discriminator_from_metadata, build_from_metadata

MOST_TENSORS = 10_000  # published networks have up to 200
MOST_DIMENSIONS = 8
SLACK = 2**20  # numbers of tables that networks keep besides, and of small tensors that may share theirs
_STEPS = 20  # calls of torch for each tensor; networks take up to 7
_FEWEST_STEPS = 100
_FACTORIES = {torch.randn, torch.rand, torch.zeros, torch.ones, torch.empty, torch.full}
_NetworkT = TypeVar("_NetworkT", bound=Network)


@dataclass(frozen=True)
class Layout:
    """What is known of a tensor before it is read.

    Attributes:
        dtype: The name of its type, such as `float32`.
        shape: Its shape.
    """

    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> "Layout":
        """That of a tensor."""
        return cls(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))

    def __str__(self) -> str:
        """`float32 [3, 3]`."""
        shown = list(self.shape) if len(self.shape) <= MOST_DIMENSIONS else f"of {len(self.shape)} dimensions"
        return f"{self.dtype} {shown}"


def build_any(meta: dict[str, Any]) -> Network:
    """The generator or discriminator that was described; see `stylegan.models.build`."""
    return build_discriminator_from_metadata(meta) if meta.get("kind") in DISCRIMINATORS else build_from_metadata(meta)


def build_for(
    meta: dict[str, Any], layouts: Mapping[str, Layout], make: Callable[[dict[str, Any]], _NetworkT]
) -> _NetworkT:
    """The network of an architecture, if these are its parameters and buffers. Weights are whatever was in memory.

    Args:
        meta: The architecture, as `stylegan.models.metadata.model_metadata` describes it.
        layouts: Of each tensor that a file holds for it, by name.
        make: What builds it.

    Raises:
        UnreadableError: The architecture does not exist, or a tensor is missing, left over, or of another shape or type; names
            the first.
    """
    if len(layouts) > MOST_TENSORS:
        raise UnreadableError(f"holds a network of {len(layouts)} tensors; none has more than {MOST_TENSORS}")
    numbers = sum(math.prod(layout.shape) for layout in layouts.values())
    try:
        with _AtMost(_STEPS * len(layouts) + _FEWEST_STEPS, numbers):
            network = make(meta)
    except UnreadableError:
        raise
    except (UserError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # All but UserError: of numpy and torch, for sizes that they cannot count.
        raise UnreadableError(f"describes a network that cannot be built: {str(error)[:400]}") from None
    if problem := first_mismatch(layouts, {name: Layout.of(t) for name, t in network.state_dict().items()}):
        raise UnreadableError(problem)
    return network


def build_and_fill(meta: dict[str, Any], tensors: Mapping[str, Tensor]) -> Network:
    """The network of an architecture with these parameters and buffers, bit by bit.

    Raises:
        UnreadableError: As `build_for`; or the tensors share their numbers, so that a small file asks for a large network.
    """
    check_shared(tensors.values())
    network = build_for(meta, {name: Layout.of(tensor) for name, tensor in tensors.items()}, build_any)
    network.load_state_dict(dict(tensors))
    return network


def check_shared(tensors: Iterable[Tensor]) -> None:
    """Raise `UnreadableError` where tensors take more memory, each on its own, than the numbers that they are made of."""
    tensors = list(tensors)
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    needed, held = sum(tensor.nbytes for tensor in tensors), sum(storages.values())
    if needed > held + 4 * SLACK:
        raise UnreadableError(f"has tensors that share their numbers: {needed} bytes are made of {held}")


def first_mismatch(found: Mapping[str, Layout], expected: Mapping[str, Layout]) -> str | None:
    """What is wrong with the first tensor that is missing, left over, or of another type or shape; None if all match."""
    for name in (*expected, *found):
        if name not in found:
            return f"lacks the tensor {name}"
        if name not in expected:
            return f"holds a tensor {name[:100]} that its architecture does not have"
        if found[name] != expected[name]:
            return f"holds {name} as {found[name]}, where its architecture has {expected[name]}"
    return None


class _AtMost(TorchFunctionMode):
    """Within it torch is called no more often, and gives no more numbers, than this. None of them are drawn."""

    def __init__(self, calls: int, numbers: int):
        super().__init__()
        self.calls, self.held, self.left = calls, numbers, numbers + SLACK

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls -= 1
        if self.calls < 0:
            raise UnreadableError("describes a network of more tensors than it holds")
        if func in _FACTORIES:
            sizes = args or ((kwargs or {}).get("size", ()),)
            self.left -= math.prod(sizes if isinstance(sizes[0], int) else sizes[0])
            if self.left < 0:
                raise UnreadableError(f"describes a network larger than the {self.held} numbers it holds")
        if func in (torch.randn, torch.rand):
            func = torch.empty
        return func(*args, **(kwargs or {}))

"""From a description and tensors to a network of ours: all of them match, or nothing is built.

What a file says of its network is not believed. The network is first described without numbers, in no more steps than its
tensors by name allow; only where every name, shape and type agrees with them is memory taken, as much as the file holds.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from stylegan.errors import UnreadableError, UserError
from stylegan.models.base import Network
from stylegan.models.build import DISCRIMINATORS, build_discriminator_from_metadata, build_from_metadata

MOST_TENSORS = 10_000  # published networks have up to 200
MOST_DIMENSIONS = 8
SLACK = 2**22  # bytes of small tensors, such as filters, that may share their numbers
_STEPS = 20  # calls of torch for each tensor; networks take up to 7
_FEWEST_STEPS = 100
_NetworkT = TypeVar("_NetworkT", bound=Network)

# On the meta device these are programs in Python, whose import takes a second; the others give the same shapes.
_SAME_SHAPE: dict[Any, Any] = {
    torch.randn: torch.empty,
    torch.rand: torch.empty,
    Tensor.__truediv__: Tensor.__mul__,
    Tensor.div: Tensor.mul,
}


def build_any(meta: dict[str, Any]) -> Network:
    """The generator or discriminator that was described; see `stylegan.models.build`."""
    return build_discriminator_from_metadata(meta) if meta.get("kind") in DISCRIMINATORS else build_from_metadata(meta)


def build_for(
    meta: dict[str, Any], layouts: Mapping[str, str], make: Callable[[dict[str, Any]], _NetworkT]
) -> _NetworkT:
    """The network of an architecture with random weights, if these are its parameters and buffers.

    Args:
        meta: The architecture, as `stylegan.models.metadata.model_metadata` describes it.
        layouts: `layout` of each tensor that a file holds for it, by name.
        make: What builds it.

    Raises:
        UnreadableError: The architecture does not exist, or a tensor is missing, left over, or of another shape or type; names
            the first.
    """
    describe_for(meta, layouts, make)
    return _built(make, meta)


def describe_for(
    meta: dict[str, Any], layouts: Mapping[str, str], make: Callable[[dict[str, Any]], _NetworkT]
) -> _NetworkT:
    """What `build_for` would build, without its numbers: on torch's meta device. Arguments and errors are the same."""
    network = _described(meta, len(layouts), make)
    if problem := first_mismatch(layouts, {name: layout(t) for name, t in network.state_dict().items()}):
        raise UnreadableError(problem)
    return network


def _described(meta: dict[str, Any], tensors: int, make: Callable[[dict[str, Any]], _NetworkT]) -> _NetworkT:
    """A network of up to so many tensors without numbers: on the meta device, where they take no memory."""
    if tensors > MOST_TENSORS:
        raise UnreadableError(f"holds a network of {tensors} tensors; none has more than {MOST_TENSORS}")
    with torch.device("meta"), _AtMost(_STEPS * tensors + _FEWEST_STEPS):
        return _built(make, meta)


def build_and_fill(meta: dict[str, Any], tensors: Mapping[str, Tensor]) -> Network:
    """The network of an architecture with these parameters and buffers, bit by bit.

    Raises:
        UnreadableError: As `build_for`; or the tensors share their numbers, so that a small file asks for a large network.
    """
    check_shared(tensors.values())
    network = build_for(meta, {name: layout(tensor) for name, tensor in tensors.items()}, build_any)
    network.load_state_dict(dict(tensors))
    return network


def check_shared(tensors: Iterable[Tensor]) -> None:
    """Raise `UnreadableError` where tensors take more memory, each on its own, than the numbers that they are made of."""
    tensors = list(tensors)
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    needed, held = sum(tensor.nbytes for tensor in tensors), sum(storages.values())
    if needed > held + SLACK:
        raise UnreadableError(f"has tensors that share their numbers: {needed} bytes are made of {held}")


def first_mismatch(found: Mapping[str, str], expected: Mapping[str, str]) -> str | None:
    """What is wrong with the first tensor that is missing, left over, or of another `layout`; None if all match."""
    for name in (*expected, *found):
        if name not in found:
            return f"lacks the tensor {name}"
        if name not in expected:
            return f"holds a tensor {name[:100]} that its architecture does not have"
        if found[name] != expected[name]:
            return f"holds {name} as {found[name]}, where its architecture has {expected[name]}"
    return None


def layout(tensor: Tensor) -> str:
    """Type and shape of a tensor: `float32 [3, 3]`."""
    return layout_of(str(tensor.dtype).removeprefix("torch."), tensor.shape)


def layout_of(dtype: str, shape: Iterable[int]) -> str:
    """The same of what is known by name only; unlike any of ours where it has more dimensions than ours."""
    shape = list(shape)
    return f"{dtype} {shape if len(shape) <= MOST_DIMENSIONS else f'of {len(shape)} dimensions'}"


class _AtMost(TorchFunctionMode):
    """Within it torch is called no more often than this: a description cannot ask for layers without end."""

    def __init__(self, calls: int):
        super().__init__()
        self.left = calls

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.left -= 1
        if self.left < 0:
            raise UnreadableError("describes a network of more tensors than it holds")
        return _SAME_SHAPE.get(func, func)(*args, **(kwargs or {}))


def _built(make: Callable[[dict[str, Any]], _NetworkT], meta: dict[str, Any]) -> _NetworkT:
    try:
        return make(meta)
    except UnreadableError:
        raise
    except (UserError, ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        # All but UserError: sizes beyond what torch and numpy can count.
        raise UnreadableError(f"describes a network that cannot be built: {str(error)[:400]}") from None

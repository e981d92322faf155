"""Weights of others into a network of ours: all of them match, or nothing is taken."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from stylegan.errors import UnreadableError, UserError
from stylegan.interop.snapshot import first_mismatch
from stylegan.models.base import Network
from stylegan.models.build import DISCRIMINATORS, build_discriminator_from_metadata, build_from_metadata

SLACK = 2**20  # tables that networks keep besides
_FACTORIES = {torch.randn, torch.rand, torch.zeros, torch.ones, torch.empty}


def build_and_fill(meta: dict[str, Any], tensors: Mapping[str, Tensor]) -> Network:
    """The network of an architecture with these parameters and buffers, bit by bit.

    Args:
        meta: The architecture, as `stylegan.models.metadata.model_metadata` describes it.
        tensors: By name.

    Raises:
        UnreadableError: The architecture does not exist, is larger than the tensors, or a tensor is missing, left over, or of
            another shape or type; names the first.
    """
    with _AtMost(sum(tensor.numel() for tensor in tensors.values()) + SLACK):
        network = _build(meta)
    problem = first_mismatch(tensors, network.state_dict())
    if problem is not None:
        raise UnreadableError(problem)
    network.load_state_dict(dict(tensors))
    return network


class _AtMost(TorchFunctionMode):
    """Within it no more numbers can be drawn than this: a description cannot ask for a network that fills the memory."""

    def __init__(self, numbers: int):
        super().__init__()
        self.numbers, self.left = numbers, numbers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _FACTORIES:
            sizes = args[0] if len(args) == 1 and not isinstance(args[0], int) else args
            self.left -= math.prod(sizes)
            if self.left < 0:
                raise UnreadableError(f"describes a network larger than the {self.numbers - SLACK} numbers it holds")
        return func(*args, **(kwargs or {}))


def _build(meta: dict[str, Any]) -> Network:
    try:
        return build_discriminator_from_metadata(meta) if meta["kind"] in DISCRIMINATORS else build_from_metadata(meta)
    except UserError as error:
        raise UnreadableError(f"describes a network that cannot be built: {error}") from None

"""Weights of others into a network of ours: all of them match, or nothing is taken."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from stylegan.errors import UserError
from stylegan.interop.unpickle import UnreadableError
from stylegan.models.build import DISCRIMINATORS, build_discriminator_from_metadata, build_from_metadata


def build_and_fill(meta: dict[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    """The network of an architecture with these parameters and buffers, bit by bit.

    It is first built without memory and compared, so that a file cannot ask for more than it holds.

    Args:
        meta: The architecture, as `stylegan.models.build.model_metadata` describes it.
        tensors: By name.

    Raises:
        UnreadableError: The architecture does not exist, or a tensor is missing, left over, or of another shape or type;
            names the first.
    """
    with torch.device("meta"):
        _check_match(_build(meta).state_dict(), tensors)
    network = _build(meta)
    network.load_state_dict(dict(tensors))
    return network


def _build(meta: dict[str, Any]) -> nn.Module:
    try:
        return build_discriminator_from_metadata(meta) if meta["kind"] in DISCRIMINATORS else build_from_metadata(meta)
    except UserError as error:
        raise UnreadableError(f"describes a network that cannot be built: {error}") from None


def _check_match(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    for name in (*expected, *found):
        if name not in found:
            problem = f"lacks {name}"
        elif name not in expected:
            problem = f"holds {name[:100]}, which the architecture found does not have"
        elif (theirs := layout(found[name])) != (ours := layout(expected[name])):
            problem = f"holds {name} as {theirs}, where the architecture found has {ours}"
        else:
            continue
        raise UnreadableError(problem)


def layout(tensor: Tensor) -> str:
    """Type and shape, for messages: `float32 [3, 16]`."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"

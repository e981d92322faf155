"""A network in a line, for people."""

import dataclasses
from collections.abc import Iterator
from enum import Enum
from typing import Any

from stylegan.models.base import Network


def summary(network: Network) -> str:
    """A network in a line: kind, size of images, options that are not as usual, number of parameters."""
    height, width = network.resolution
    colours = {1: "grey", 3: "RGB", 4: "RGBA"}[network.channels]
    labels = [f"{network.c_dim} classes"] if network.c_dim else []
    head = [network.config.kind, f"{height}x{width} {colours}", *labels, *_unusual(network.config)]
    count = sum(tensor.numel() for tensor in network.parameters())
    buffers = sum(1 for _ in network.buffers())
    return (
        f"{', '.join(head)}; {count:,} parameters in {sum(1 for _ in network.parameters())} tensors and {buffers} buffers, "
        "all matched"
    )


def _unusual(config: Any, where: str = "") -> Iterator[str]:
    """`name=value` of the options that are not at their defaults."""
    usual = type(config)()
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            yield from _unusual(value, f"{where}{f.name}.")
        elif value != getattr(usual, f.name):
            yield f"{where}{f.name}={value.name if isinstance(value, Enum) else value}"

"""All architectures by name, and from the metadata of a snapshot to a network. Nothing here runs code named by a file."""

import dataclasses
import enum
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from stylegan.errors import UserError, nearest
from stylegan.models.base import Discriminator, Generator, Network, NetworkConfig
from stylegan.models.discriminator import DiscriminatorConfig
from stylegan.models.growing import at_stage
from stylegan.models.progan import ProGANConfig, ProGANDiscriminatorConfig
from stylegan.models.r3gan import R3GANConfig, R3GANDiscriminatorConfig
from stylegan.models.stylegan1 import StyleGAN1Config, StyleGAN1DiscriminatorConfig
from stylegan.models.stylegan2 import StyleGAN2Config
from stylegan.models.stylegan3 import StyleGAN3Config

NetworkT = TypeVar("NetworkT", bound=Network)
# Numbers in a file beyond those of any network: nothing is computed from them.
LARGEST = 2**20
LARGEST_SIDE = 2**15
LARGEST_OF = {"num_layers": 1000, "margin_size": 256, "filter_size": 64, "lrelu_upsampling": 16, "conv_kernel": 32}
LARGEST_OF |= {"first_cutoff": LARGEST_SIDE / 2, "first_stopband": LARGEST_SIDE, "last_stopband_rel": 16}

# A new architecture is a line here; its options, and how it is built, stand beside it.
_GENERATORS = (StyleGAN2Config, StyleGAN3Config, R3GANConfig, ProGANConfig, StyleGAN1Config)
_DISCRIMINATORS = (
    DiscriminatorConfig,
    R3GANDiscriminatorConfig,
    ProGANDiscriminatorConfig,
    StyleGAN1DiscriminatorConfig,
)
GENERATORS: dict[str, type[NetworkConfig[Generator]]] = {config.kind: config for config in _GENERATORS}
DISCRIMINATORS: dict[str, type[NetworkConfig[Discriminator]]] = {config.kind: config for config in _DISCRIMINATORS}


def build_from_metadata(meta: dict[str, Any]) -> Generator:
    """The generator that `stylegan.models.metadata` described, with random weights.

    Raises:
        UserError: Unknown kind, or fields that are missing, unknown or out of range.
    """
    return _built(meta, GENERATORS)


def build_discriminator_from_metadata(meta: dict[str, Any]) -> Discriminator:
    """The same for a discriminator."""
    return _built(meta, DISCRIMINATORS)


def _built(meta: dict[str, Any], kinds: Mapping[str, type[NetworkConfig[NetworkT]]]) -> NetworkT:
    network = config_from_metadata(meta, kinds).build(**_dimensions(meta))
    return at_stage(network, meta["stage"]) if "stage" in meta else network


def config_from_metadata(
    meta: dict[str, Any], kinds: Mapping[str, type[NetworkConfig[NetworkT]]]
) -> NetworkConfig[NetworkT]:
    """The options of the network that was described; those that an older version did not know are at their defaults.

    Raises:
        UserError: None of `kinds`, or fields that are unknown or out of range.
    """
    kind = meta.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise UserError(f"unknown kind of network {_short(kind)}; {nearest(_short(kind), kinds)}")
    return _from_json(kinds[kind], meta.get("config", {}), kind)


def _dimensions(meta: dict[str, Any]) -> dict[str, Any]:
    shape = meta.get("resolution")
    if not isinstance(shape, list | tuple) or len(shape) != 2 or not all(_is_whole(n, LARGEST_SIDE) for n in shape):
        raise UserError(f"the network's metadata lacks a valid resolution: {_short(shape)} is not [height, width]")
    for name in ("channels", "c_dim"):
        if not _is_whole(meta.get(name), LARGEST):
            raise UserError(f"the network's metadata lacks valid {name}: {_short(meta.get(name))}")
    return {"resolution": (shape[0], shape[1]), "channels": meta["channels"], "c_dim": meta["c_dim"]}


def _is_whole(value: Any, largest: int) -> bool:
    return type(value) is int and 0 <= value <= largest


def _short(value: Any) -> str:
    """A value of a file as a message may show it."""
    if isinstance(value, dict | list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _from_json(target: Any, value: Any, where: str) -> Any:
    """Rebuild a value of the annotated type `target` from JSON."""
    if typing.get_origin(target) in (types.UnionType, typing.Union):
        if value is None:
            return None
        target = next(t for t in typing.get_args(target) if t is not type(None))
    if isinstance(target, type) and dataclasses.is_dataclass(target):
        hints = typing.get_type_hints(target)
        if not isinstance(value, dict):
            raise UserError(f"the network's metadata has {where}={_short(value)} instead of fields by name")
        for name in sorted(set(value) - set(hints)):
            raise UserError(
                f"the network's metadata has an unknown field {where}.{name[:80]}; {nearest(name[:80], hints)}"
            )
        return target(**{name: _from_json(hints[name], item, f"{where}.{name}") for name, item in value.items()})
    if isinstance(target, type) and issubclass(target, enum.Enum):
        if not isinstance(value, str) or value not in target.__members__:
            near = nearest(_short(value), target.__members__)
            raise UserError(f"the network's metadata has {where}={_short(value)}; {near}")
        return target[value]
    if isinstance(value, bool) != (target is bool) or not isinstance(
        value, (int, float) if target is float else target
    ):
        raise UserError(f"the network's metadata has {where}={_short(value)}, which is not of type {target.__name__}")
    if isinstance(value, int | float) and not (
        math.isfinite(value) and abs(value) <= LARGEST_OF.get(where.rsplit(".", 1)[-1], LARGEST)
    ):
        raise UserError(f"the network's metadata has {where}={_short(value)}, which is larger than that of any network")
    return target(value)

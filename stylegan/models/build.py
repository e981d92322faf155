"""All architectures by name, and from the metadata of a snapshot to a network. Nothing here runs code named by a file."""

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from stylegan.errors import UserError, nearest
from stylegan.models.base import Discriminator, Generator, Network, NetworkConfig
from stylegan.models.discriminator import DiscriminatorConfig
from stylegan.models.stylegan2 import StyleGAN2Config
from stylegan.models.stylegan3 import StyleGAN3Config

NetworkT = TypeVar("NetworkT", bound=Network)

# A new architecture is a line here; its options, and how it is built, stand beside it.
GENERATORS: dict[str, type[NetworkConfig[Generator]]] = {
    config.kind: config for config in (StyleGAN2Config, StyleGAN3Config)
}
DISCRIMINATORS: dict[str, type[NetworkConfig[Discriminator]]] = {
    config.kind: config for config in (DiscriminatorConfig,)
}


def build_from_metadata(meta: dict[str, Any]) -> Generator:
    """The generator that `stylegan.models.metadata` described, with random weights.

    Raises:
        UserError: Unknown kind, or fields that are missing, unknown or out of range.
    """
    return config_from_metadata(meta, GENERATORS).build(**_dimensions(meta))


def build_discriminator_from_metadata(meta: dict[str, Any]) -> Discriminator:
    """The same for a discriminator."""
    return config_from_metadata(meta, DISCRIMINATORS).build(**_dimensions(meta))


def config_from_metadata(
    meta: dict[str, Any], kinds: Mapping[str, type[NetworkConfig[NetworkT]]]
) -> NetworkConfig[NetworkT]:
    """The options of the network that was described; those that an older version did not know are at their defaults.

    Raises:
        UserError: None of `kinds`, or fields that are unknown or out of range.
    """
    kind = meta.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise UserError(f"unknown kind of network {kind!r}; {nearest(str(kind), kinds)}")
    return _from_json(kinds[kind], meta.get("config", {}), kind)


def _dimensions(meta: dict[str, Any]) -> dict[str, Any]:
    try:
        height, width = meta["resolution"]
        return {"resolution": (int(height), int(width)), "channels": int(meta["channels"]), "c_dim": int(meta["c_dim"])}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the network's metadata lacks a valid resolution, channels or c_dim ({error})") from None


def _from_json(target: Any, value: Any, where: str) -> Any:
    """Rebuild a value of the annotated type `target` from JSON."""
    if typing.get_origin(target) in (types.UnionType, typing.Union):
        if value is None:
            return None
        target = next(t for t in typing.get_args(target) if t is not type(None))
    if isinstance(target, type) and dataclasses.is_dataclass(target):
        hints = typing.get_type_hints(target)
        if not isinstance(value, dict):
            raise UserError(f"the network's metadata has {where}={value!r} instead of fields by name")
        for name in sorted(set(value) - set(hints)):
            raise UserError(f"the network's metadata has an unknown field {where}.{name}; {nearest(name, hints)}")
        return target(**{name: _from_json(hints[name], item, f"{where}.{name}") for name, item in value.items()})
    if isinstance(target, type) and issubclass(target, enum.Enum):
        if value not in target.__members__:
            raise UserError(f"the network's metadata has {where}={value!r}; {nearest(str(value), target.__members__)}")
        return target[value]
    if isinstance(value, bool) != (target is bool) or not isinstance(
        value, (int, float) if target is float else target
    ):
        raise UserError(f"the network's metadata has {where}={value!r}, which is not of type {target.__name__}")
    return target(value)

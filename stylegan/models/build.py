"""All architectures by name, and from the metadata of a snapshot to a network. Nothing here runs code named by a file."""

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import nn

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


def model_metadata(network: nn.Module) -> dict[str, Any]:
    """All that is needed to build a network again, as JSON: kind, config, resolution [H, W], channels, c_dim.

    Raises:
        UserError: A network of no known kind.
    """
    if not isinstance(network, Network) or type(network.config) not in {*GENERATORS.values(), *DISCRIMINATORS.values()}:
        raise UserError(
            f"cannot describe a {type(network).__name__}: none of the tables in stylegan.models.build has it"
        )
    return {
        "kind": network.config.kind,
        "config": {name: value for name, value in _to_json(network.config).items() if name != "kind"},
        "resolution": list(network.resolution),
        "channels": network.channels,
        "c_dim": network.c_dim,
    }


def build_from_metadata(meta: dict[str, Any]) -> Generator:
    """The generator that `model_metadata` described, with random weights.

    Raises:
        UserError: Unknown kind, or fields that are missing, unknown or out of range.
    """
    return _config(meta, GENERATORS).build(**_dimensions(meta))


def build_discriminator_from_metadata(meta: dict[str, Any]) -> Discriminator:
    """The same for a discriminator."""
    return _config(meta, DISCRIMINATORS).build(**_dimensions(meta))


def weights_architecture(meta: dict[str, Any], *, alike: bool = False) -> dict[str, Any]:
    """`model_metadata` as far as weights depend on it. Options that an older version did not know are at their defaults.

    Args:
        meta: The metadata.
        alike: Leave out, too, the options whose other values still mean the same to trained weights.

    Raises:
        UserError: Unknown kind, or fields that are unknown or out of range.
    """
    left_out = {"any", "alike"} if alike else {"any"}
    return {**meta, "config": _weights_options(_config(meta, {**GENERATORS, **DISCRIMINATORS}), left_out)}


def _weights_options(config: Any, left_out: set[str]) -> dict[str, Any]:
    """A config as JSON, without its kind and the options whose `weights` (see `NetworkConfig`) are among `left_out`."""
    kept = [f for f in dataclasses.fields(config) if f.name != "kind" and f.metadata.get("weights") not in left_out]
    values = {f.name: getattr(config, f.name) for f in kept}
    return {
        name: _weights_options(value, left_out) if dataclasses.is_dataclass(value) else _to_json(value)
        for name, value in values.items()
    }


def _config(meta: dict[str, Any], kinds: Mapping[str, type[NetworkConfig[NetworkT]]]) -> NetworkConfig[NetworkT]:
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


def _to_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value.name if isinstance(value, enum.Enum) else value


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


def build_generator(cfg: Any, **shape: Any) -> Any:
    """`cfg.build(...)`; goes when assemble and bench call that."""
    return cfg.build(**shape)


build_discriminator = build_generator

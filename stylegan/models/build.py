"""From a configuration, or from the metadata of a snapshot, to a network. Nothing here runs code named by a file."""

import dataclasses
import enum
import types
import typing
from typing import Any

from torch import nn

from stylegan.errors import UserError, nearest
from stylegan.models.discriminator import Discriminator, DiscriminatorConfig
from stylegan.models.generator import Generator
from stylegan.models.stylegan2 import StyleGAN2Config
from stylegan.models.stylegan2 import SynthesisNetwork as StyleGAN2Synthesis
from stylegan.models.stylegan3 import StyleGAN3Config
from stylegan.models.stylegan3 import SynthesisNetwork as StyleGAN3Synthesis

GeneratorConfig = StyleGAN2Config | StyleGAN3Config

GENERATORS: dict[str, type] = {"stylegan2": StyleGAN2Config, "stylegan3": StyleGAN3Config}
DISCRIMINATORS: dict[str, type] = {"stylegan2_discriminator": DiscriminatorConfig}
CHANNELS = (1, 3, 4)
HOW_IT_COMPUTES = ("precision", "reduced_blocks")  # options that weights do not depend on


def build_generator(cfg: GeneratorConfig, *, resolution: tuple[int, int], channels: int, c_dim: int) -> Generator:
    """A new generator with random weights.

    Args:
        cfg: Its options.
        resolution: (H, W) of the images: for StyleGAN2 H0 * 2^k by W0 * 2^k with the longer of H0, W0 from 4 to 7, for
            StyleGAN3 a power of two for both.
        channels: 1, 3 or 4.
        c_dim: Size of a label, 0 for none.

    Raises:
        UserError: A resolution or number of channels that it cannot make.
    """
    _check_channels(channels)
    match cfg:
        case StyleGAN2Config():
            synthesis = StyleGAN2Synthesis(cfg, resolution=resolution, channels=channels)
        case StyleGAN3Config():
            synthesis = StyleGAN3Synthesis(cfg, resolution=resolution, channels=channels)
        case _:
            raise UserError(f"no generator for {type(cfg).__name__}; there are: {', '.join(GENERATORS)}")
    return Generator(cfg, cfg.mapping, synthesis, resolution=resolution, channels=channels, c_dim=c_dim)


def build_discriminator(
    cfg: DiscriminatorConfig, *, resolution: tuple[int, int], channels: int, c_dim: int
) -> Discriminator:
    """A new discriminator with random weights; arguments and errors as `build_generator`."""
    _check_channels(channels)
    match cfg:
        case DiscriminatorConfig():
            return Discriminator(cfg, resolution=resolution, channels=channels, c_dim=c_dim)
    raise UserError(f"no discriminator for {type(cfg).__name__}; there are: {', '.join(DISCRIMINATORS)}")


def model_metadata(network: nn.Module) -> dict[str, Any]:
    """All that is needed to build a network again, as JSON: kind, config, resolution [H, W], channels, c_dim.

    Raises:
        UserError: A network of no known kind.
    """
    kinds = {config_type: kind for kind, config_type in (GENERATORS | DISCRIMINATORS).items()}
    if isinstance(network, Generator | Discriminator) and type(network.config) in kinds:
        return {
            "kind": kinds[type(network.config)],
            "config": _to_json(network.config),
            "resolution": list(network.resolution),
            "channels": network.channels,
            "c_dim": network.c_dim,
        }
    raise UserError(f"cannot describe a {type(network).__name__}: it was not built by stylegan.models.build")


def build_from_metadata(meta: dict[str, Any]) -> Generator:
    """The generator that `model_metadata` described, with random weights.

    Raises:
        UserError: Unknown kind, or fields that are missing, unknown or out of range.
    """
    return build_generator(_config(meta, GENERATORS), **_dimensions(meta))


def build_discriminator_from_metadata(meta: dict[str, Any]) -> Discriminator:
    """The same for a discriminator."""
    return build_discriminator(_config(meta, DISCRIMINATORS), **_dimensions(meta))


def weights_architecture(meta: dict[str, Any]) -> dict[str, Any]:
    """`model_metadata` as far as weights depend on it. Options that an older version did not know are at their defaults.

    Raises:
        UserError: Unknown kind, or fields that are unknown or out of range.
    """
    config = _to_json(_config(meta, GENERATORS | DISCRIMINATORS))
    return {**meta, "config": {name: value for name, value in config.items() if name not in HOW_IT_COMPUTES}}


def _check_channels(channels: int) -> None:
    if channels not in CHANNELS:
        raise UserError(f"images of {channels} channels cannot be made; convert them to 1 (grey), 3 (RGB) or 4 (RGBA)")


def _config(meta: dict[str, Any], kinds: dict[str, type]) -> Any:
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

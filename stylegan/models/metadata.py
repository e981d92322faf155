"""An architecture as JSON: what a file must say so that a network can be built again, and what of it weights depend on."""

import dataclasses
import enum
from typing import Any

from torch import nn

from stylegan.errors import UserError
from stylegan.models.base import Network
from stylegan.models.build import DISCRIMINATORS, GENERATORS, config_from_metadata
from stylegan.models.growing import Growing


def model_metadata(network: nn.Module) -> dict[str, Any]:
    """All that is needed to build a network again, as JSON: kind, config, resolution [H, W], channels, c_dim; and where it has
    not grown to its end, the stage.

    Raises:
        UserError: A network of no known kind.
    """
    if not isinstance(network, Network) or type(network.config) not in {*GENERATORS.values(), *DISCRIMINATORS.values()}:
        raise UserError(
            f"cannot describe a {type(network).__name__}: none of the tables in stylegan.models.build has it"
        )
    described: dict[str, Any] = {
        "kind": network.config.kind,
        "config": {name: value for name, value in _to_json(network.config).items() if name != "kind"},
        "resolution": list(network.resolution),
        "channels": network.channels,
        "c_dim": network.c_dim,
    }
    if isinstance(network, Growing):
        resolution, alpha = network.stage()
        if resolution != network.resolution or alpha is not None:
            described["stage"] = {"resolution": list(resolution), "alpha": 1.0 if alpha is None else float(alpha)}
    return described


def weights_architecture(meta: dict[str, Any], *, alike: bool = False) -> dict[str, Any]:
    """`model_metadata` as far as weights depend on it, which a stage is no part of. Options that an older version did not know
    are at their defaults.

    Args:
        meta: The metadata.
        alike: Leave out, too, the options whose other values still mean the same to trained weights.

    Raises:
        UserError: Unknown kind, or fields that are unknown or out of range.
    """
    left_out = {"any", "alike"} if alike else {"any"}
    whole = {name: value for name, value in meta.items() if name != "stage"}
    return {**whole, "config": _weights_options(config_from_metadata(meta, {**GENERATORS, **DISCRIMINATORS}), left_out)}


def _weights_options(config: Any, left_out: set[str]) -> dict[str, Any]:
    """A config as JSON, without its kind and the options whose `weights` (see `NetworkConfig`) are among `left_out`."""
    kept = [f for f in dataclasses.fields(config) if f.name != "kind" and f.metadata.get("weights") not in left_out]
    values = {f.name: getattr(config, f.name) for f in kept}
    return {
        name: _weights_options(value, left_out) if dataclasses.is_dataclass(value) else _to_json(value)
        for name, value in values.items()
    }


def _to_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value.name if isinstance(value, enum.Enum) else value

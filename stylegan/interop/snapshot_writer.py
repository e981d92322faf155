"""Writing snapshots; `stylegan.interop.snapshot` says what is in them."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

import stylegan
from stylegan.files import atomic_path
from stylegan.interop.header import FORMAT, KEY, SEPARATOR
from stylegan.interop.snapshot import read_tensors, weights_sha256
from stylegan.models.base import Generator, Network
from stylegan.models.metadata import model_metadata


def save_snapshot(
    path: str | Path,
    G_ema: Generator,
    *,
    provenance: Mapping[str, Any],
    companions: Mapping[str, Network] | None = None,
) -> None:
    """Write a generator with its architecture and provenance, whole or not at all.

    Args:
        path: The file to write, `*.safetensors`; one that exists is replaced.
        G_ema: The generator whose weights and buffers are saved, bit by bit, in their own dtypes.
        provenance: Where the network comes from, as JSON types only: it is published with the file.
        companions: Networks of the same training by name, `G` and `D`, for those who want to train on.

    Raises:
        UserError: The file cannot be written.
        TypeError, ValueError: `provenance` is not JSON (NaN and infinity are not).
    """
    tensors = _tensors(G_ema)
    metadata: dict[str, Any] = {
        "format": FORMAT,
        "software": f"stylegan {stylegan.__version__}",
        "weights_sha256": weights_sha256(tensors),
        "model": model_metadata(G_ema),
        "provenance": dict(provenance),
    }
    for name, network in (companions or {}).items():
        own = _tensors(network)
        description = {"weights_sha256": weights_sha256(own), "model": model_metadata(network)}
        metadata.setdefault("companions", {})[name] = description
        tensors |= {f"{name}{SEPARATOR}{key}": tensor for key, tensor in own.items()}
    _write(path, tensors, metadata)


def add_provenance(path: str | Path, more: Mapping[str, Any]) -> None:
    """Write into a snapshot what became known of its network later, such as what it was measured at; weights stay as they are.

    Args:
        path: The snapshot.
        more: Goes into its provenance, in the place of what has the same names there.

    Raises:
        UserError: As `read_snapshot` and `save_snapshot`.
        TypeError, ValueError: As `save_snapshot`.
    """
    metadata, tensors = read_tensors(Path(path))
    _write(path, tensors, {**metadata, "provenance": {**metadata.get("provenance", {}), **more}})


def _tensors(network: Network) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}


def _write(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    text = json.dumps(metadata, sort_keys=True, allow_nan=False)
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={KEY: text})
        except SafetensorError as error:
            # It tells the system's error number in its text only, and by that a full disk is known.
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error)) from None

"""Writing snapshots; `stylegan.interop.snapshot` says what is in them."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

import stylegan
from stylegan.errors import UserError
from stylegan.files import atomic_path
from stylegan.interop.header import FORMAT, KEY, SEPARATOR, widened
from stylegan.interop.snapshot import read_tensors, weights_sha256
from stylegan.models.base import Generator, Network
from stylegan.models.metadata import model_metadata

CONVOLUTION = 4  # dimensions of its weight


def save_snapshot(
    path: str | Path,
    G_ema: Generator,
    *,
    provenance: Mapping[str, Any],
    companions: Mapping[str, Network] | None = None,
    half: bool = False,
) -> None:
    """Write a generator with its architecture and provenance, whole or not at all.

    Args:
        path: The file to write, `*.safetensors`; one that exists is replaced.
        G_ema: The generator whose weights and buffers are saved, bit by bit, in their own dtypes.
        provenance: Where the network comes from, as JSON types only: it is published with the file.
        companions: Networks of the same training by name, `G` and `D`, for those who want to train on.
        half: Keep the weights of convolutions as float16: not much over half the size, and pictures that differ by a grey
            level. What makes w and styles stays float32, since its errors would move whole pictures.

    Raises:
        UserError: The file cannot be written, or a parameter is too large for float16.
        TypeError, ValueError: `provenance` is not JSON (NaN and infinity are not).
    """
    tensors = _tensors(G_ema, half)
    metadata: dict[str, Any] = {
        "format": FORMAT,
        "software": f"stylegan {stylegan.__version__}",
        "weights_sha256": weights_sha256({key: widened(tensor) for key, tensor in tensors.items()}),
        "model": model_metadata(G_ema),
        "provenance": dict(provenance),
    }
    for name, network in (companions or {}).items():
        own = _tensors(network, half)
        own_sha256 = weights_sha256({key: widened(tensor) for key, tensor in own.items()})
        description = {"weights_sha256": own_sha256, "model": model_metadata(network)}
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


def _tensors(network: Network, half: bool) -> dict[str, Tensor]:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    if not half:
        return tensors
    for name in (name for name, parameter in network.named_parameters() if parameter.ndim == CONVOLUTION):
        narrow = tensors[name].half()
        if not torch.equal(narrow.isfinite(), tensors[name].isfinite()):
            largest = tensors[name].abs().max().item()
            raise UserError(
                f"{name} holds {largest:.4g}, more than float16 can (65504); keep this network without half"
            )
        tensors[name] = narrow
    return tensors


def _write(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    text = json.dumps(metadata, sort_keys=True, allow_nan=False)
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={KEY: text})
        except SafetensorError as error:
            # It tells the system's error number in its text only, and by that a full disk is known.
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error)) from None

"""What a snapshot is, and reading one: the network to give away, in a safetensors file of numbers and JSON that runs no code.

The file's only metadata key, `stylegan`, holds one JSON object::

    {"format": 1, "software": "stylegan 0.1.0", "weights_sha256": "...",
     "model": {what models/build.py needs to build the network again},
     "provenance": {data set, its content hash and licence, nimg, configuration, ...}}

A file converted from another tool's may bring companions, the G and D of the training, as tensors `G/...` and `D/...`, and in
the metadata `"companions": {"G": {"weights_sha256": "...", "model": {...}}, ...}`.

One key and sorted JSON make the file's bytes a function of the network and its provenance alone.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stylegan.errors import UserError
from stylegan.interop.refusal import why_no_snapshot
from stylegan.models.base import Generator, Network
from stylegan.models.build import build_discriminator_from_metadata, build_from_metadata

FORMAT = 1
KEY = "stylegan"
SEPARATOR = "/"  # between the name of a companion and that of its tensor
_NetworkT = TypeVar("_NetworkT", bound=Network)


@dataclass(frozen=True)
class Snapshot:
    """A network read from a file.

    Attributes:
        G: The generator, on the CPU, as it was saved (G_ema of a run).
        metadata: The JSON object shown at the top of this module.
    """

    G: Generator
    metadata: dict[str, Any]


def read_snapshot(path: str | Path) -> Snapshot:
    """Build the network that a snapshot describes and load its weights, every bit of them.

    Raises:
        UserError: There is no such file; it is something else (a pickle, a checkpoint, a safetensors file of another
            program); it is damaged; a newer version wrote it; or its tensors do not fit its own architecture.
    """
    path = Path(path)
    metadata, tensors = read_tensors(path, lambda name: SEPARATOR not in name)
    return Snapshot(
        _filled(path, _build(path, metadata["model"], build_from_metadata), tensors, metadata["weights_sha256"]),
        metadata,
    )


def read_companions(path: str | Path) -> dict[str, Network]:
    """The networks that came along with a snapshot's, `G` and `D`, by name; none in a snapshot of a run.

    Raises:
        UserError: As `read_snapshot`.
    """
    path = Path(path)
    metadata, tensors = read_tensors(path, lambda name: SEPARATOR in name)
    described = metadata.get("companions", {})
    if not isinstance(described, dict) or not all(_describes_network(item) for item in described.values()):
        raise UserError(f"{path}: the metadata that describes the network is damaged; copy or download the file again")
    companions = {}
    for name, description in described.items():
        start = f"{name}{SEPARATOR}"
        own = {key.removeprefix(start): tensor for key, tensor in tensors.items() if key.startswith(start)}
        make: Callable[..., Network] = build_discriminator_from_metadata if name == "D" else build_from_metadata
        network = _build(path, description["model"], make)
        companions[name] = _filled(path, network, own, description["weights_sha256"])
    return companions


def read_tensors(path: Path, wanted: Callable[[str], bool]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metadata, and the tensors with a wanted name, unchecked but for the file's form.

    Raises:
        UserError: It is no snapshot, is damaged, or a newer version wrote it.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = _parse(path, file.metadata())
            return metadata, {name: file.get_tensor(name) for name in file.keys() if wanted(name)}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise UserError(why_no_snapshot(path, error)) from None


def _filled(path: Path, network: _NetworkT, tensors: dict[str, Tensor], checksum: str) -> _NetworkT:
    """The network with these weights, if they are those of the checksum."""
    if problem := first_mismatch(tensors, network.state_dict()):
        raise UserError(f"{path} {problem}; the file was changed after it was saved: get it again")
    if weights_sha256(tensors) != checksum:
        raise UserError(f"{path} is damaged: its weights do not match their SHA-256; copy or download it again")
    network.load_state_dict(tensors)
    return network


def _describes_network(metadata: Any) -> bool:
    return (
        isinstance(metadata, dict)
        and isinstance(metadata.get("weights_sha256"), str)
        and isinstance(metadata.get("model"), dict)
    )


def _parse(path: Path, header: dict[str, str] | None) -> dict[str, Any]:
    """The metadata of a safetensors header, checked down to the keys that reading needs."""
    text = (header or {}).get(KEY)
    if text is None:
        raise UserError(f"{path} was not written by stylegan: it lacks the metadata that describes the network")
    damaged = UserError(f"{path}: the metadata that describes the network is damaged; copy or download the file again")
    try:
        metadata = json.loads(text)
    except json.JSONDecodeError:
        raise damaged from None
    if not isinstance(metadata, dict) or not isinstance(version := metadata.get("format"), int):
        raise damaged
    if version > FORMAT:
        software = metadata.get("software", "a newer stylegan")
        raise UserError(f"{path} has format {version} ({software}); this version reads {FORMAT}: update stylegan")
    if not _describes_network(metadata):
        raise damaged
    return metadata


def _build(path: Path, model: dict[str, Any], make: Callable[[dict[str, Any]], _NetworkT]) -> _NetworkT:
    try:
        return make(model)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def first_mismatch(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str | None:
    """What is wrong with the first tensor that is missing, left over, or of another shape or type; None if all match."""
    for name in (*expected, *found):
        if name not in found:
            return f"lacks the tensor {name}"
        if name not in expected:
            return f"holds a tensor {name[:100]} that its architecture does not have"
        if (theirs := _layout(found[name])) != (ours := _layout(expected[name])):
            return f"holds {name} as {theirs}, where its architecture has {ours}"
    return None


def _layout(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """The hash of names and bits of a network's `state_dict`, by which it is known whatever file it is in.

    Safetensors has no checksum of its own: a flipped bit in a weight would load without a word.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()

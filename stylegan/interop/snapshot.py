"""What a snapshot is, and reading one: the network to give away, in a safetensors file of numbers and JSON that runs no code.

The file's only metadata key, `stylegan`, holds one JSON object::

    {"format": 1, "software": "stylegan 0.1.0", "weights_sha256": "...",
     "model": {what models/build.py needs to build the network again},
     "provenance": {data set, its content hash and licence, nimg, configuration, ...}}

A file converted from another tool's may bring companions, the G and D of the training, as tensors `G/...` and `D/...`, and in
the metadata `"companions": {"G": {"weights_sha256": "...", "model": {...}}, ...}`.

Weights of convolutions may be kept as float16 (`stylegan convert --half`): the network has them as float32, and the SHA-256 is
of what the network has.

One key and sorted JSON make the file's bytes a function of the network and its provenance alone.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from stylegan.errors import UnreadableError
from stylegan.interop.fill import build_for
from stylegan.interop.header import COMPANIONS, SEPARATOR, layout_of, opened, widened
from stylegan.models.base import Generator, Network
from stylegan.models.build import build_from_metadata

# What is read of the provenance of a run's snapshots, by its form.
_PARTS = ("data", "loss", "optim", "augment", "metrics")
_NUMBERS = ("nimg", "seconds", "augment_p")
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

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the network comes from; without what has another form than in the snapshots of a run."""
        found = self.metadata.get("provenance", {})
        return {name: value for name, value in found.items() if _has_form(name, value)}


def read_snapshot(path: str | Path) -> Snapshot:
    """Build the network that a snapshot describes and load its weights, every bit of them.

    Raises:
        UserError: There is no such file; it is something else (a pickle, a checkpoint, a safetensors file of another
            program); it is damaged; a newer version wrote it; or its tensors do not fit its own architecture.
    """
    with opened(Path(path)) as (file, metadata):
        names = {name: name for name in file.keys() if SEPARATOR not in name}  # noqa: SIM118 (no mapping)
        return Snapshot(_network(file, names, metadata, build_from_metadata), metadata)


def read_companions(path: str | Path) -> dict[str, Network]:
    """The networks that came along with a snapshot's, `G` and `D`, by name; none in a snapshot of a run.

    Raises:
        UserError: As `read_snapshot`.
    """
    with opened(Path(path)) as (file, metadata):
        described = metadata.get("companions", {})
        companions = {}
        for name, description in described.items():
            start = f"{name}{SEPARATOR}"
            names = {key.removeprefix(start): key for key in file.keys() if key.startswith(start)}  # noqa: SIM118
            companions[name] = _network(file, names, description, COMPANIONS[name])
        return companions


def read_tensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metadata and all tensors, unchecked but for the file's form.

    Raises:
        UserError: It is no snapshot, is damaged, or a newer version wrote it.
    """
    with opened(path) as (file, metadata):
        return metadata, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)


def _network(
    file: Any, names: Mapping[str, str], description: Mapping[str, Any], make: Callable[[dict[str, Any]], _NetworkT]
) -> _NetworkT:
    """One network of a file: built only if the header names its tensors, and given these if they are those of the checksum.

    Args:
        file: As safetensors opens it.
        names: Of its tensors there, by their names in the network.
        description: Its `model` and `weights_sha256`.
        make: What builds it.
    """
    layouts = {ours: layout_of(file, theirs) for ours, theirs in names.items()}
    try:
        network = build_for(description["model"], layouts, make)
    except UnreadableError as error:
        raise UnreadableError(f"{error}; the file was changed after it was saved: get it again") from None
    tensors = {ours: widened(file.get_tensor(theirs)) for ours, theirs in names.items()}
    if weights_sha256(tensors) != description["weights_sha256"]:
        raise UnreadableError("is damaged: its weights do not match their SHA-256; copy or download it again")
    network.load_state_dict(tensors)
    return network


def _has_form(name: str, value: Any) -> bool:
    if name in _PARTS:
        return isinstance(value, dict)
    return name not in _NUMBERS or (type(value) in (int, float) and 0 <= value < 2**63)


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """The hash of names and bits of a network's `state_dict`, by which it is known whatever file it is in.

    Safetensors has no checksum of its own: a flipped bit in a weight would load without a word.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()

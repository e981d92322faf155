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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stylegan.errors import UnreadableError, UserError
from stylegan.interop.fill import MOST_TENSORS, Layout, build_for
from stylegan.interop.refusal import printable, why_no_snapshot
from stylegan.models.base import Generator, Network
from stylegan.models.build import build_discriminator_from_metadata, build_from_metadata
from stylegan.opening import require_regular_file

FORMAT = 1
KEY = "stylegan"
SEPARATOR = "/"  # between the name of a companion and that of its tensor
COMPANIONS: dict[str, Callable[[dict[str, Any]], Network]] = {
    "G": build_from_metadata,
    "D": build_discriminator_from_metadata,
}
LONGEST_HEADER = 2**24  # bytes; those of published networks have 20 thousand
LONGEST_METADATA = 2**21  # characters
# How the format calls the types that networks are made of.
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_DTYPES |= {"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"}
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
    with _opened(Path(path)) as (file, metadata):
        names = {name: name for name in file.keys() if SEPARATOR not in name}  # noqa: SIM118 (no mapping)
        return Snapshot(_network(file, names, metadata, build_from_metadata), metadata)


def read_companions(path: str | Path) -> dict[str, Network]:
    """The networks that came along with a snapshot's, `G` and `D`, by name; none in a snapshot of a run.

    Raises:
        UserError: As `read_snapshot`.
    """
    with _opened(Path(path)) as (file, metadata):
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
    with _opened(path) as (file, metadata):
        return metadata, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The file, and its metadata, checked. Whatever goes wrong with it in the body becomes the one refusal of this format."""
    require_regular_file(path, "network file")
    try:
        with path.open("rb") as raw:
            length = int.from_bytes(raw.read(8), "little")
            if raw.read(1) == b"{" and LONGEST_HEADER < length < path.stat().st_size:
                raise UnreadableError(f"has a header of {length} bytes, longer than that of any network")
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = _parse(file.metadata())
            companions = tuple(name + SEPARATOR for name in metadata.get("companions", {}))
            names = file.keys()
            if len(names) > 3 * MOST_TENSORS:
                raise UnreadableError(f"holds {len(names)} tensors, more than any network")
            for name in names:
                if SEPARATOR in name and not name.startswith(companions):
                    raise UnreadableError(f"holds a tensor {name[:100]} that belongs to none of its networks")
            yield file, metadata
    except UnreadableError as error:
        raise UserError(f"{path} {printable(str(error), 600)}") from None
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:  # of safetensors and torch
        raise UserError(why_no_snapshot(path, error)) from None


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
    layouts = {}
    for ours, theirs in names.items():
        entry = file.get_slice(theirs)
        dtype = str(entry.get_dtype())
        layouts[ours] = Layout(_DTYPES.get(dtype, dtype), tuple(entry.get_shape()))
    try:
        network = build_for(description["model"], layouts, make)
    except UnreadableError as error:
        raise UnreadableError(f"{error}; the file was changed after it was saved: get it again") from None
    tensors = {ours: file.get_tensor(theirs) for ours, theirs in names.items()}
    if weights_sha256(tensors) != description["weights_sha256"]:
        raise UnreadableError("is damaged: its weights do not match their SHA-256; copy or download it again")
    network.load_state_dict(tensors)
    return network


def _parse(header: dict[str, str] | None) -> dict[str, Any]:
    """The metadata of a safetensors header, checked down to the keys that reading needs."""
    text = (header or {}).get(KEY)
    if text is None:
        raise UnreadableError("was not written by stylegan: it lacks the metadata that describes the network")
    try:
        if len(text) > LONGEST_METADATA:
            raise ValueError("they are longer than those of any network")
        metadata = json.loads(text, parse_constant=_no_number)
        json.dumps(metadata, ensure_ascii=False).encode()  # halves of characters cannot be shown or written
        _check(metadata)
    except (ValueError, RecursionError):
        raise UnreadableError(
            "is damaged: its metadata do not describe a network; copy or download the file again"
        ) from None
    if metadata["format"] > FORMAT:
        software = metadata.get("software", "a newer stylegan")
        raise UnreadableError(
            f"has format {metadata['format']} ({str(software)[:80]}); this version reads {FORMAT}: update stylegan"
        )
    return metadata


def _check(metadata: Any) -> None:
    """Raise `ValueError` for metadata of another form than stands at the top of this module."""
    if not isinstance(metadata, dict) or type(metadata.get("format")) is not int:
        raise ValueError
    if metadata["format"] > FORMAT:
        return
    companions, provenance = metadata.get("companions", {}), metadata.get("provenance", {})
    if not isinstance(companions, dict) or not set(companions) <= set(COMPANIONS):
        raise ValueError
    for description in (metadata, *companions.values()):
        if not isinstance(description, dict) or not isinstance(description.get("weights_sha256"), str):
            raise ValueError
        if not isinstance(description.get("model"), dict):
            raise ValueError
    if not isinstance(provenance, dict):
        raise ValueError


def _has_form(name: str, value: Any) -> bool:
    if name in _PARTS:
        return isinstance(value, dict)
    return name not in _NUMBERS or (type(value) in (int, float) and 0 <= value < 2**63)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """The hash of names and bits of a network's `state_dict`, by which it is known whatever file it is in.

    Safetensors has no checksum of its own: a flipped bit in a weight would load without a word.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()

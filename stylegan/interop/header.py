"""The header of a snapshot, checked: what it says is not believed before it was compared with what it can be."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stylegan.errors import UnreadableError, UserError, shown
from stylegan.interop.fill import MOST_TENSORS, Layout
from stylegan.interop.refusal import why_no_snapshot
from stylegan.models.base import Network
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


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The file, as safetensors opens it, and its metadata. Whatever goes wrong in the body becomes the format's one refusal.

    Raises:
        UserError: It is no snapshot, is damaged, or a newer version wrote it.
    """
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
        raise UserError(f"{path} {shown(error, 600)}") from None
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:  # of safetensors and torch
        raise UserError(why_no_snapshot(path, error)) from None


def layout_of(file: Any, name: str) -> Layout:
    """What the header says of a tensor, as `widened` will have it; nothing of it is read."""
    entry = file.get_slice(name)
    dtype = str(entry.get_dtype())
    return Layout("float32" if dtype == "F16" else _DTYPES.get(dtype, dtype), tuple(entry.get_shape()))


def widened(tensor: Tensor) -> Tensor:
    """A tensor of a file as its network has it: float32 for float16, else itself."""
    return tensor.float() if tensor.dtype == torch.float16 else tensor


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
    """Raise `ValueError` for metadata of another form than stands at the top of `stylegan.interop.snapshot`."""
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


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")

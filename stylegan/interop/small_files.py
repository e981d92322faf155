"""What the small safetensors files of this project have in common: one metadata key, and under it one JSON object."""

import json
from typing import Any

from stylegan.interop.header import LONGEST_HEADER

KINDS = {
    "stylegan": "a network",
    "stylegan_latents": "latents",
    "stylegan_difference": "a file of weight differences",
    "stylegan_directions": "directions",
    "stylegan_attributes": "a network of attributes",
}


class OtherFileError(ValueError):
    """What a file is instead of what it should be, or why it is not read, to stand after its name."""


def described(content: bytes, key: str, newest: int, writes: str) -> dict[str, Any]:
    """The JSON object of a file's metadata.

    Args:
        content: The whole file.
        key: One of `KINDS`.
        newest: The newest format that is read.
        writes: What writes such files, for messages.

    Raises:
        OtherFileError: It is another of the `KINDS`, something else of safetensors, or of a newer format.
        ValueError, KeyError, TypeError, RecursionError: It is damaged, or nothing of the kind.
    """
    length = int.from_bytes(content[:8], "little")
    if not 2 <= length <= min(LONGEST_HEADER, len(content) - 8):
        raise ValueError
    header = json.loads(content[8 : 8 + length])["__metadata__"]
    if not isinstance(header, dict):
        raise ValueError
    if key not in header:
        other = next((kind for known, kind in KINDS.items() if known in header), None)
        what = f"is {other}, not {KINDS[key]}" if other else f"holds no {KINDS[key].removeprefix('a ')} of stylegan"
        raise OtherFileError(f"{what}; {writes}")
    about = json.loads(header[key])
    if not isinstance(about, dict) or type(about.get("format")) is not int:
        raise ValueError
    if about["format"] > newest:
        raise OtherFileError(f"has another format than {newest}, which this version reads: update stylegan")
    return about

"""Seeds as people write them, `0-31`, `5`, `0-3,10`; and wherever a seed may stand, a latent file: `0-3,me.safetensors`."""

import re
from collections.abc import Sequence
from typing import Any

from stylegan.errors import UserError
from stylegan.inference import check_seed
from stylegan.interop.latents import SUFFIX, Latents, read_latents
from stylegan.values import at_home

MAX_SEEDS = 1_000_000
_HOW = (
    "write 5, 0-31, or 0,3,10-12; me.safetensors for a latent that was kept, me.safetensors:0-3 for some of its latents"
)
_FILE = re.compile(rf"(.+{re.escape(SUFFIX)})(?::([0-9]{{1,9}})(?:-([0-9]{{1,9}}))?)?", re.IGNORECASE | re.DOTALL)


def parse_seeds(value: Any, name: str = "seeds") -> list[int | Latents]:
    """The seeds and latents that a value names, in its order, one item each; what is named twice comes twice.

    Args:
        value: A whole number, `Latents`, a string of numbers, ranges (both ends belong) and files parted by commas, or a
            list of these.
        name: What the value is called in error messages, such as `figure.rows`.

    Raises:
        UserError: It names no seeds, something that is not a seed, one above 2^32 - 1, or more than `MAX_SEEDS`; or a file
            cannot be read.
    """
    found: list[int | Latents] = []
    for part in _parts(value):
        if isinstance(part, Latents):
            found.extend(part)
        elif match := _FILE.fullmatch(part):
            found.extend(_of_file(match, f"{name}={part}"))
        else:
            found.extend(_range(part, len(found), f"{name}={value}"))
        if len(found) > MAX_SEEDS:
            raise UserError(f"{name}={value}: more than {MAX_SEEDS} seeds; ask for fewer at a time")
    if not found:
        raise UserError(f"{name}={value}: there are no seeds; {_HOW}")
    return found


def _range(part: str, before: int, option: str) -> range:
    match = re.fullmatch(r"([0-9]{1,20})(?:-([0-9]{1,20}))?", part)
    if not match:
        raise UserError(f"{option}: {part!r} is neither a seed nor a range of seeds; {_HOW}")
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise UserError(f"{option}: the range {part} runs backwards; write {last}-{first}")
    check_seed(last, option)
    if before + last - first >= MAX_SEEDS:
        raise UserError(f"{option}: more than {MAX_SEEDS} seeds; ask for fewer at a time")
    return range(first, last + 1)


def _of_file(match: re.Match[str], option: str) -> Latents:
    kept = read_latents(at_home(match[1]))
    if match[2] is None:
        return kept
    first, last = int(match[2]), int(match[3] or match[2])
    if not first <= last < len(kept):
        raise UserError(f"{option}: {match[1]} holds {len(kept)} latents, from 0 to {len(kept) - 1}")
    return kept[first : last + 1]


def _parts(value: Any) -> list[str | Latents]:
    if isinstance(value, Latents):
        return [value]
    if isinstance(value, Sequence) and not isinstance(value, str):
        # In a list, a name of a file may have commas.
        return [
            part
            for item in value
            for part in ([item] if _is_file(item) else _parts(item) if _flat(item) else [str(item)])
        ]
    return [part.strip() for part in str(value).split(",")]


def _is_file(item: Any) -> bool:
    return isinstance(item, str) and bool(_FILE.fullmatch(item)) and not re.match(r"[0-9]+(-[0-9]+)?,", item)


def _flat(item: Any) -> bool:
    return isinstance(item, str | int | Latents)

"""Seeds as people write them: `0-31`, `5`, `0,3,7`, `0-3,10`."""

import re
from collections.abc import Sequence
from typing import Any

from stylegan.errors import UserError
from stylegan.inference import check_seed

MAX_SEEDS = 1_000_000
_HOW = "write 5, 0-31, or 0,3,10-12"


def parse_seeds(value: Any, name: str = "seeds") -> list[int]:
    """The seeds that a value names, in its order; a seed named twice comes twice.

    Args:
        value: A whole number, a string of numbers and ranges (both ends belong) parted by commas, or a list of these.
        name: What the value is called in error messages, such as `figure.rows`.

    Raises:
        UserError: It names no seeds, something that is not a seed, one above 2^32 - 1, or more than `MAX_SEEDS`.
    """
    seeds: list[int] = []
    for part in _parts(value):
        match = re.fullmatch(r"([0-9]{1,20})(?:-([0-9]{1,20}))?", part)
        if not match:
            raise UserError(f"{name}={value}: {part!r} is neither a seed nor a range of seeds; {_HOW}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UserError(f"{name}={value}: the range {part} runs backwards; write {last}-{first}")
        check_seed(last, f"{name}={value}")
        if len(seeds) + last - first >= MAX_SEEDS:
            raise UserError(f"{name}={value}: more than {MAX_SEEDS} seeds; ask for fewer at a time")
        seeds.extend(range(first, last + 1))
    if not seeds:
        raise UserError(f"{name}={value}: there are no seeds; {_HOW}")
    return seeds


def _parts(value: Any) -> list[str]:
    items = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [part.strip() for item in items for part in str(item).split(",")]

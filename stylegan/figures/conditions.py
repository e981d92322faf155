"""What attributes images must have, as people write it: `{sex:female,age:"50-",hair_colour:black|brown}`."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from stylegan.errors import UserError, nearest
from stylegan.metrics.attribute_network import ATTRIBUTES, Choice, Scalar, places

_WORDS: dict[str, tuple[str, str]] = {"sex": ("female", "male")}  # below and from the split on
_NUMBER = r"[+-]?[0-9]+(?:\.[0-9]+)?"
_HOW = "write name:value with commas between, such as {sex:female,age:50-}"


@dataclass(frozen=True)
class Condition:
    """One attribute that an image must have.

    Attributes:
        name: Of the attribute.
        value: As it was written.
        holds: From what the network read, float32 [N, 20], to bool [N].
    """

    name: str
    value: str
    holds: Callable[[Tensor], Tensor]


def parse_conditions(text: str, option: str = "figure.where") -> list[Condition]:
    """The conditions that a text names.

    Numbers take ranges: `20-40`, `50-` and more, `-40` and less; with two dots where numbers are negative: `-20..-5`, `..-5`.
    Sex is `female` or `male`; beard and glasses are `yes` or `no`. Words may be several: `black|brown`.

    Raises:
        UserError: There is no such attribute or value, with the nearest, or nothing is named.
    """
    inner = text.strip()
    if inner.startswith("{") and inner.endswith("}"):
        inner = inner[1:-1]
    known = {attribute.name: attribute for attribute in ATTRIBUTES}
    found: dict[str, Condition] = {}
    for part in inner.split(","):
        name, colon, value = (piece.strip() for piece in part.partition(":"))
        value = value.strip("\"'").strip()
        if not name or not colon or not value:
            raise UserError(f"{option}={text}: {part.strip()!r} is no condition; {_HOW}")
        if name not in known:
            raise UserError(f"{option}={text}: there is no attribute {name}; {nearest(name, known)}")
        if name in found:
            raise UserError(f"{option}={text}: {name} is named twice; give it one value, words with | between")
        attribute, place = known[name], places()[name]
        make = _of_words if isinstance(attribute, Choice) else _of_number
        found[name] = Condition(name, value, make(attribute, place.start, value, f"{option}={text}"))  # pyright: ignore[reportArgumentType]
    return list(found.values())


def _of_words(attribute: Choice, start: int, value: str, where: str) -> Callable[[Tensor], Tensor]:
    wanted = [word.strip() for word in value.split("|")]
    for word in wanted:
        if word not in attribute.values:
            raise UserError(f"{where}: {attribute.name} is never {word!r}; {nearest(word, attribute.values)}")
    numbers = [attribute.values.index(word) for word in wanted]
    return lambda read: sum(read[:, start : start + attribute.size].argmax(dim=1) == n for n in numbers).bool()  # pyright: ignore[reportAttributeAccessIssue]


def _of_number(attribute: Scalar, start: int, value: str, where: str) -> Callable[[Tensor], Tensor]:
    words = _WORDS.get(attribute.name, ("no", "yes"))
    split = attribute.split
    if split is not None and value in words:
        return lambda read: (read[:, start] >= split) == (value == words[1])
    match = re.fullmatch(rf"({_NUMBER})?\s*(?:-|\.\.)\s*({_NUMBER})?", value)
    if not match or not any(match.groups()):
        words_too = f"{words[0]}, {words[1]}, " if split is not None else ""
        raise UserError(
            f"{where}: {attribute.name} takes {words_too}or a range in {attribute.low:g} to {attribute.high:g}: "
            f"LOW-HIGH, LOW- or -HIGH, and with .. where numbers are negative; not {value!r}"
        )
    low, high = float(match[1] or -math.inf), float(match[2] or math.inf)
    if low > high or low > attribute.high or high < attribute.low:
        raise UserError(
            f"{where}: {attribute.name} is between {attribute.low:g} and {attribute.high:g}, never in {value}"
        )
    return lambda read: (read[:, start] >= low) & (read[:, start] <= high)

"""What a setting may be: the range of a number, what a text may hold. Every configuration is checked here as it is made.

The metadata of a dataclass's field say its range: `field(default=4, metadata={"help": "...", "range": COUNT})`.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import Field, dataclass, fields
from numbers import Integral, Real
from typing import Any, get_args

from stylegan.errors import UserError

LONGEST_TEXT = 4096  # what a path may have on Linux
LONGEST_NAME = 255  # bytes, of a file in a folder


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`.

    Attributes:
        low, high: Both finite.
        above, below: Whether `low` and `high` themselves are left out.
    """

    low: float
    high: float
    above: bool = False
    below: bool = False

    def check(self, number: float, name: str) -> None:
        """Raise a `UserError` that names the setting where a number is not finite or lies outside."""
        if abs(number) >= 10**30:  # also infinity; Python refuses to write whole numbers of thousands of digits
            raise UserError(f"{name} is a number beyond 10^30: no finite number of use here")
        shown = f"{name}={number if isinstance(number, Integral) else f'{number:g}'}"
        if math.isnan(number):
            raise UserError(f"{shown} is no finite number")
        if number < self.low or (self.above and number == self.low):
            raise UserError(f"{shown} {self._rule()}")
        if number > self.high or (self.below and number == self.high):
            raise UserError(f"{shown} {self._rule() if self._narrow else f'must be at most {int(self.high)}'}")

    @property
    def _narrow(self) -> bool:
        """Whether both ends say something; else the high one only keeps nonsense out."""
        return self.high < 1000

    def _rule(self) -> str:
        if self._narrow:
            first, last = "above " if self.above else "from ", "below " if self.below else ""
            return f"must be {first}{self.low:g} to {last}{self.high:g}"
        if self.low == 0:
            return "must be positive" if self.above else "must not be negative"
        return f"must be at least {self.low:g}"


LARGEST = 2.0**63  # above any number that means something here; products of two of them are finite
COUNT = Range(1, 2**53)
COUNT_OR_NONE = Range(0, 2**53)
SEED = Range(0, 2**63 - 1)
SEED32 = Range(0, 2**32 - 1)  # of a picture, as NumPy takes them
POSITIVE = Range(0, LARGEST, above=True)
NOT_NEGATIVE = Range(0, LARGEST)
FINITE = Range(-LARGEST, LARGEST)
SHARE = Range(0, 1)
KIMG = Range(0.001, 1e12)  # from one image on
KIMG_OR_NONE = Range(0, 1e12)
LAYERS = Range(1, 100)
DECAY = Range(0, 1, below=True)
_BY_TYPE = {int: Range(-(2**53), 2**53), float: FINITE}


def check_values(config: Any, group: str = "") -> None:
    """Check the numbers and texts of a configuration, without those of configurations within it and of schedules.

    Args:
        config: A dataclass. Where a number's field has no `range`, it is bounded by its type.
        group: Its name on the command line, such as `optim`.

    Raises:
        UserError: A number is of the wrong type, not finite or out of range, or a text is none that a setting can be.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        name = f"{group}.{field.name}" if group else field.name
        if field.metadata.get("schedule") or value is None:
            continue
        for item in value if isinstance(value, list | tuple) else [value]:
            kinds = _kinds(field.type)
            if isinstance(item, str) and (not kinds or str in get_args(field.type)):
                check_text(item, name)
            elif kinds:
                _check_number(field, kinds, item, name)


def _check_number(field: Field[Any], kinds: Sequence[type], value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UserError(f"{name}={value!r} is no number")
    if float not in kinds and not isinstance(value, Integral):
        raise UserError(f"{name}={value} is no whole number")
    bound: Range = field.metadata.get("range") or _BY_TYPE[kinds[0]]
    bound.check(value, name)  # pyright: ignore[reportArgumentType]


def _kinds(annotation: Any) -> Sequence[type]:
    """Which of `int` and `float` an annotation names: itself, or in a list or a union."""
    inner = [kind for part in get_args(annotation) for kind in _kinds(part)]
    return [annotation] if annotation in (int, float) else inner


def check_text(text: str, name: str) -> None:
    """Raise a `UserError` for a text that no setting can be: empty, longer than paths are, or not to be written down.

    Args:
        text: Of a setting or an option.
        name: What it is called there, such as `run_dir` or `--out`.
    """
    if not text:
        raise UserError(f"{name} is empty; give it a value, or leave it out")
    if len(text) > LONGEST_TEXT:
        raise UserError(f"{name} is a text of {len(text)} characters; {LONGEST_TEXT} are the most")
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise UserError(f"{name}={text!r} holds bytes that are no text in UTF-8; rename the file, or link to it")
    if "${" in text:
        raise UserError(f"{name}={text}: settings hold values, ${{...}} is not looked up; write what it stands for")
    if any(len(part.encode()) > LONGEST_NAME for part in text.split("/")):
        raise UserError(f"{name}={text[:40]}...: a name in it has more than {LONGEST_NAME} bytes, too many for a file")


def at_home(text: str) -> str:
    """A path with a leading `~`, or `~user`, as that home folder; where there is no such user, as it is."""
    return os.path.expanduser(text)  # noqa: PTH111 (pathlib raises where there is no such user)

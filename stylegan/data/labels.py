"""What labels may be, and whose they are: one set of rules for archives' `dataset.json`, users' files and names of folders."""

import json
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import product, takewhile
from typing import Any

import numpy as np

from stylegan.errors import UserError

Labels = list[int] | list[list[float]]

LABEL_FORMS = '{"labels": [[image name, label], ...]}, such a list alone, or {image name: label, ...}'
_ALWAYS_FIT = 1000  # classes; more than these need as many images
_DEEPEST = 10  # folders around all names that are looked through
_TOLD = 20  # classes or entries of a vector that a line lists
_LARGEST = float(np.finfo(np.float32).max)


def name_key(name: str) -> str:
    """An image's name as it is compared: `/` between its parts, no `./`, accents as one character with their letter (some
    systems take them apart)."""
    return posixpath.normpath(unicodedata.normalize("NFC", name.replace("\\", "/")))


def wrapping_folder(names: Collection[str]) -> str:
    """The innermost folder in which all of the names lie, with a slash at its end; empty where there is none."""
    ends = [name.split("/")[:-1] for name in (min(names), max(names))] if names else []
    common = takewhile(lambda parts: len(set(parts)) == 1, zip(*ends, strict=False))  # all others lie between the two
    return "".join(f"{parts[0]}/" for parts in common)


def leading_folders(folder: str) -> list[str]:
    """No folder (an empty text), then the outermost part of a folder, and so on to itself, but not without end."""
    parts = folder.split("/")[:-1]
    return ["".join(f"{part}/" for part in parts[:depth]) for depth in range(min(len(parts), _DEEPEST) + 1)]


def find_names(names: Sequence[str], table: Collection[str]) -> tuple[list[str | None], str]:
    """What each image is called in a table: by its own name, else below or without a folder that all of one side lie in.

    Args:
        names: The images' names.
        table: Names as `name_key` gives them.

    Returns:
        The table's name of each image, or None; and a clause that says which folder was looked through, if one was.
    """
    keys = [name_key(name) for name in names]
    some = keys[:: max(len(keys) // 1000, 1)]
    best: list[str | None] = [None] * len(keys)
    most, told = 0, ""
    for without, below in product(leading_folders(wrapping_folder(keys)), leading_folders(wrapping_folder(table))):
        if not any(below + key.removeprefix(without) in table for key in some):
            continue
        found = [below + key.removeprefix(without) for key in keys]
        count = sum(key in table for key in found)
        if count > most:
            best, most = [key if key in table else None for key in found], count
            told = " and ".join(
                [f"without {without} of the images' names"] * bool(without) + [f"below its {below}"] * bool(below)
            )
        if count == len(keys):
            break
    return best, told


def parse_json(content: bytes) -> Any:
    """The content of a JSON file in UTF-8. One key twice with two values is refused: other readers would take the last.

    Raises:
        ValueError: It is none; the message says why.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8; save it as UTF-8") from None
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: unambiguous(pairs, "key"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def unambiguous(pairs: Sequence[tuple[str, Any]], what: str) -> dict[str, Any]:
    """A table of pairs. Raises `ValueError` where a name stands there with two different values."""
    table = dict(reversed(pairs))  # the first value of each
    if len(table) < len(pairs):
        for name, value in pairs:
            if table[name] != value:
                raise ValueError(f"the {what} {name!r} stands there twice, with {table[name]!r} and with {value!r}")
    return dict(pairs)  # in the file's order


def label_pairs(data: Any) -> list[tuple[str, Any]]:
    """Names and labels in the content of a JSON file. Raises `ValueError` where it has none of the `LABEL_FORMS`."""
    found = data.get("labels", data) if isinstance(data, dict) else data
    if data and found in (None, {}):
        return []
    pairs = list(found.items()) if isinstance(found, dict) else found
    if (
        not isinstance(pairs, list)
        or not data
        or not all(isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs)
    ):
        raise ValueError(f"it should be {LABEL_FORMS}")
    return [(name, label) for name, label in pairs]


def label_table(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Labels by `name_key`. Raises `ValueError` where an image has two different labels."""
    return unambiguous([(name_key(name), label) for name, label in pairs], "image")


def check_labels(
    names: Sequence[str],
    labels: Sequence[Any],
    where: object,
    place: Callable[[str], str],
    *,
    images_per_class: float = 0,
) -> tuple[Labels, tuple[str, ...]]:
    """Labels all of one kind: classes (whole numbers from 0, or names), or vectors of one length.

    Names of classes are numbered, see `number_classes`. Numbers that are not all whole and from 0 are vectors of length 1.

    Args:
        names: Of the images; in some sources two have the same.
        labels: Theirs.
        where: What holds them, for messages.
        place: Where the label of an image stands, for messages.
        images_per_class: Refuse more than 1000 classes with fewer images for each; 0: any number that int64 holds.

    Returns:
        The labels, and the names of the classes where labels are names.

    Raises:
        UserError: A label is none, they are of several kinds, or there are more classes than fit the images.
    """
    first: dict[str, int] = {}
    for i, label in enumerate(labels):
        try:
            first.setdefault(_kind(label), i)
        except ValueError as error:
            raise UserError(f"{place(names[i])}: the label of {names[i]}, {label!r}, {error}") from None
    if len(first) > 1:
        told = " and ".join(f"{labels[i]!r} for {names[i]} ({place(names[i])})" for i in list(first.values())[:2])
        raise UserError(
            f"labels of mixed kinds in {where}: {told}; give all images a class (a whole number or a name), or all a vector "
            "of numbers of one length"
        )
    if "name" in first:
        return number_classes([label.strip() for label in labels], where, images_per_class=images_per_class)
    if "number" not in first:
        return list(labels), ()
    if not all(isinstance(label, int) and label >= 0 for label in labels):
        return [[float(label)] for label in labels], ()
    largest, most = max(labels), _most_classes(len(labels), images_per_class)
    if largest >= most:
        name = names[labels.index(largest)]
        raise UserError(
            f"{place(name)}: {name} has the class {largest}, so that there are {largest + 1} classes from 0 on, where {most} "
            f"fit {len(labels)} images; {len(set(labels))} distinct values are in use. Number classes from 0 without gaps, "
            "or give names instead, which are numbered so; quantities and dates are vectors if written with decimals (1.0)"
        )
    return list(labels), ()


def number_classes(
    of_images: Sequence[str], where: object, *, images_per_class: float = 0
) -> tuple[list[int], tuple[str, ...]]:
    """The number of each image's class, and the names of the classes: first numbers in their order, then others in theirs.

    Raises:
        UserError: There are too many, see `check_labels`; or two names are one number, such as `01` and `1`.
    """
    found = sorted(set(of_images))
    most = _most_classes(len(of_images), images_per_class)
    if len(found) > most:
        raise UserError(
            f"{where}: {len(found)} distinct classes for {len(of_images)} images, where {most} fit; are these names of "
            "classes? What is different for almost every image (dates, file names) is none"
        )
    numerals = [name for name in found if is_numeral(name)]
    refuse_two_spellings(numerals, where)
    numerals.sort(key=lambda name: (len(name.lstrip("0")), name.lstrip("0")))  # digits may be too many for an int
    found = [*numerals, *(name for name in found if not is_numeral(name))]
    number = {name: i for i, name in enumerate(found)}
    return [number[name] for name in of_images], tuple(found)


def is_numeral(text: str) -> bool:
    """Whether a text is a whole number from 0, in digits alone."""
    return text.isascii() and text.isdecimal()


def refuse_two_spellings(numerals: Iterable[str], where: object) -> None:
    """Raise `UserError` where a number is written in two ways, such as `01` and `1`."""
    spelt: dict[str, str] = {}
    for numeral in numerals:
        other = spelt.setdefault(numeral.lstrip("0"), numeral)
        if other != numeral:
            raise UserError(
                f"{where} has the classes {other!r} and {numeral!r}, one number in two ways; are they one class? "
                "Write both alike, or give one another name"
            )


def described(
    labels: Sequence[int | list[float]],
    class_names: Sequence[str] = (),
    entry_names: Sequence[str] = (),
    *,
    label_dim: int = 0,
) -> str:
    """What there is, in a line: classes with the number of images of each, or the ranges of a vector's entries.

    Args:
        labels: Of some images.
        class_names, entry_names: What classes and entries are called; those without a name go by their number.
        label_dim: The number of classes, where it may be more than these labels show.
    """
    classes = [label for label in labels if isinstance(label, int)]
    if not classes:
        table = np.asarray(labels, np.float32)
        names = list(entry_names) or list(map(str, range(table.shape[1])))
        told = [f"{name} {low:g}..{high:g}" for name, low, high in zip(names, table.min(0), table.max(0), strict=False)]
        return f"vectors of {table.shape[1]}: {_first(told)}"
    counts, number = Counter(classes), max(label_dim, max(classes) + 1)
    names = [*class_names[:number], *map(str, range(len(class_names), number))]
    text = f"{number} class{'es' * (number != 1)}: {_first([f'{names[i]} ({counts[i]})' for i in sorted(counts)])}"
    empty = [name for i, name in enumerate(names) if i not in counts]
    return f"{text}; without any image: {_first(empty)}" if empty else text


def _first(told: list[str]) -> str:
    return ", ".join(told[:_TOLD]) + f", ... ({len(told)} in all)" * (len(told) > _TOLD)


def _most_classes(images: int, images_per_class: float) -> int:
    return max(_ALWAYS_FIT, int(images / images_per_class)) if images_per_class else 2**63


def _kind(label: object) -> str:
    """`name`, `number` or `vector of D`. Raises `ValueError` with what is wrong about what can be no label."""
    if isinstance(label, str):
        if not label.strip():
            raise ValueError("is empty; give a class or a number")
        return "name"
    numbers: list[Any] = label if isinstance(label, list) else [label]
    if not numbers or isinstance(label, bool) or not all(isinstance(value, int | float) for value in numbers):
        raise ValueError("is no label; give a class (a whole number or a name), or numbers")
    if not all(abs(value) <= _LARGEST for value in numbers):  # false for NaN, too
        raise ValueError("is not finite in float32; give another number, or leave the image out")
    return f"vector of {len(label)}" if isinstance(label, list) else "number"

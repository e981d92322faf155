"""Labels for a source's images: from its sub-folders, from a JSON or CSV file, or those that it brings along."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stylegan.data.archive import match_labels
from stylegan.data.sources import Source
from stylegan.errors import UserError, nearest, refusal
from stylegan.files import read_file

LABEL_BYTES = 2**29  # of a file; FFHQ's of 70,000 images, with all it tells about them, has 2**28
Label = int | list[float]


@dataclass(frozen=True)
class Labelling:
    """A label or None for each image, in the source's order; names of the classes, or of a vector's entries."""

    labels: Sequence[Label | None]
    class_names: tuple[str, ...] = ()
    entry_names: tuple[str, ...] = ()


def label_images(source: Source, *, from_folders: bool, file: Path | None) -> Labelling:
    """The labels of a source's images.

    Args:
        source: The images.
        from_folders: The first folder of an image's name is its class.
        file: A JSON or CSV file; see `read_labels`. With neither, what the source brings along stays.

    Raises:
        UserError: An image has no label, labels are of mixed kinds, the file cannot be used, or both are given.
    """
    if from_folders and file is not None:
        raise UserError(f"labels come from sub-folders (--labels) or from {file}; give one of the two")
    if from_folders:
        return _from_folders(source)
    if file is not None:
        table, entry_names = read_labels(file, source.names[0])
        missing = [name for name in source.names if name not in table]
        if missing:
            raise UserError(
                f"{len(missing)} of the {len(source.names)} images in {source.path} have no label in {file}, the first is "
                f"{missing[0]}; names there are relative to the source: {nearest(missing[0], list(table)[:1000])}"
            )
        labels, class_names = _of_one_kind({name: table[name] for name in source.names}, file)
        return Labelling(labels, class_names, entry_names)
    if source.metadata.get("labels"):
        return Labelling(match_labels(source.metadata["labels"], source.names, source.path), source.info.class_names)
    return Labelling(source.labels or [None] * len(source.names), source.info.class_names)


def read_labels(file: Path, an_image: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Label by image name as a file tells: a number, a class's name, or a list; and the names of a list's entries.

    JSON: `{"labels": [[name, label], ...]}`, such a list alone, or `{name: label, ...}`. CSV (comma, semicolon or tab):
    a row per image, its name and then one or more columns; a first row with none but names of columns is left out.

    Args:
        file: The file.
        an_image: Some image's name, to tell a first row with names of columns from an image's.

    Raises:
        UserError: The file is missing or none of these.
    """
    with refusal(f"the labels {file} cannot be used", "mend the file"):
        return _parse(file, an_image)


def _parse(file: Path, an_image: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    try:
        text = read_file(file, LABEL_BYTES, "file of labels").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"the labels {file} cannot be read ({error}); give a JSON or CSV file") from None
    if file.suffix.lower() == ".csv" or file.suffix.lower() == ".tsv":
        return _read_csv(file, text, an_image)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the labels {file} are no JSON ({error}); mend it, or name a CSV file .csv") from None
    pairs = data.get("labels", data) if isinstance(data, dict) else data
    pairs = list(pairs.items()) if isinstance(pairs, dict) else pairs
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs
    ):
        raise UserError(
            f'the labels {file} must be {{"labels": [[image name, label], ...]}} or {{image name: label, ...}}'
        )
    return {name.replace("\\", "/"): label for name, label in pairs}, ()


def _read_csv(file: Path, text: str, an_image: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    width = len(rows[0]) if rows else 0
    for number, row in enumerate(rows, 1):
        if len(row) != width or width < 2:
            raise UserError(
                f"row {number} of {file} has {len(row)} columns, the first one {width}; every row holds an image's name "
                "and its label, one or more columns"
            )
    entry_names: tuple[str, ...] = ()
    suffix = Path(an_image).suffix.lower()
    if (
        rows
        and Path(rows[0][0]).suffix.lower() != suffix
        and not all(_number(cell) is not None for cell in rows[0][1:])
    ):
        entry_names = tuple(rows.pop(0)[1:]) if width > 2 else tuple(rows.pop(0)[:0])
    table: dict[str, Any] = {}
    for row in rows:
        values = [_number(cell) for cell in row[1:]]
        if width == 2:
            table[row[0].replace("\\", "/")] = row[1].strip() if values[0] is None else values[0]
        elif None in values:
            raise UserError(f"{row[0]} in {file} has the label {row[1:]}; with several columns all must be numbers")
        else:
            table[row[0].replace("\\", "/")] = values
    return table, entry_names


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _of_one_kind(table: dict[str, Any], file: Path) -> tuple[list[Label], tuple[str, ...]]:
    """Labels all of one kind: classes (whole numbers, or names, numbered in sorted order), or vectors of one length.

    Numbers that are not all whole and from 0 are vectors of length 1.
    """
    by_kind: dict[str, str] = {}
    for name, label in table.items():
        by_kind.setdefault(_kind(label), name)
    if len(by_kind) > 1 or "" in by_kind:
        told = " and ".join(f"{table[name]!r} for {name}" for name in list(by_kind.values())[:2])
        raise UserError(
            f"labels of mixed or unknown kind in {file}: {told}; give all images a class (a whole number or a name), or "
            "all a vector of numbers of one length"
        )
    labels = list(table.values())
    kind = next(iter(by_kind))
    if kind == "name":
        class_names = sorted(set(labels))
        number = {name: i for i, name in enumerate(class_names)}
        return [number[label] for label in labels], tuple(class_names)
    if kind == "number" and not all(isinstance(label, int) and label >= 0 for label in labels):
        return [[float(label)] for label in labels], ()
    return labels, ()


def _kind(label: object) -> str:
    if isinstance(label, str):
        return "name"
    if isinstance(label, int | float) and not isinstance(label, bool):
        return "number"
    if isinstance(label, list) and label and all(isinstance(value, int | float) for value in label):
        return f"vector of {len(label)}"
    return ""


def _from_folders(source: Source) -> Labelling:
    loose = [name for name in source.names if "/" not in name]
    if loose:
        raise UserError(
            f"{loose[0]} lies in {source.path} itself: with --labels every image lies in a sub-folder, whose name is its "
            "class"
        )
    class_names = tuple(sorted({name.split("/")[0] for name in source.names}))
    number = {name: i for i, name in enumerate(class_names)}
    return Labelling([number[name.split("/")[0]] for name in source.names], class_names)

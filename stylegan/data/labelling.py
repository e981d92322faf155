"""Labels for a source's images: from its sub-folders, from a JSON or CSV file, or those that it brings along."""

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from stylegan.data.archive import METADATA, ArchiveInfo, match_labels
from stylegan.data.image_files import is_image_name
from stylegan.data.labels import (
    LABEL_FORMS,
    Labels,
    check_labels,
    described,
    find_names,
    is_numeral,
    label_pairs,
    label_table,
    name_key,
    number_classes,
    parse_json,
    refuse_two_spellings,
    wrapping_folder,
)
from stylegan.data.sources import Source
from stylegan.errors import UserError, nearest, refusal
from stylegan.files import read_file

Label = int | list[float]

LABEL_BYTES = 2**29  # of a file; FFHQ's of 70,000 images, with all it tells about them, has 2**28
_IMAGES_PER_CLASS = 2  # on the average, where there are more than 1000 classes
_LOOKED_AT = 100  # lines that tell what a table's columns are parted by


@dataclass(frozen=True)
class Labelling:
    """A label or None for each image, in the source's order; names of the classes, or of a vector's entries.

    Attributes:
        labels, class_names, entry_names: As above.
        notes: What the user should know: which labels there are, what was looked through, what lies unused.
    """

    labels: Sequence[Label | None]
    class_names: tuple[str, ...] = ()
    entry_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class NamedValues:
    """What a file says about images: a value for each name.

    Attributes:
        file: The file.
        values: By `name_key`. From JSON any value; from a table a number, a text, or a list of numbers.
        entry_names: The names of a list's entries, where a table's heading or our own `dataset.json` has them.
        lines: Of a table, the line of each name.
        class_names: What our own `dataset.json` calls the classes.
    """

    file: Path
    values: Mapping[str, Any]
    entry_names: tuple[str, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()

    def place(self, name: str) -> str:
        """The file and the line in which a name stands."""
        line = self.lines.get(name) or _line_in_json(self.file, name)
        return f"{self.file}, line {line}" if line else str(self.file)

    def nearest(self, name: str) -> str:
        """A clause to end a message with that says which names there are, or the one most like an image's."""
        return nearest(name_key(name), [known for known in islice(self.values, 1000) if len(known) < 256])


def label_images(source: Source, *, from_folders: bool, file: Path | None) -> Labelling:
    """The labels of a source's images.

    Args:
        source: The images.
        from_folders: The first folder of an image's name is its class; folders that hold all images are looked through.
        file: A JSON or CSV file, or a list such as CelebA's; see `read_named`. With neither, what the source brings along
            stays.

    Raises:
        UserError: An image has no label or two, labels are of mixed kinds or none, there are more classes than fit the
            images, the file cannot be used, or both are given.
    """
    if from_folders and file is not None:
        raise UserError(f"labels come from sub-folders (--labels) or from {file}; give one of the two")
    own = source.metadata.get("labels")
    unused = (f"the labels in {METADATA} of {source.path} lie unused",) if own and (from_folders or file) else ()
    if from_folders:
        labels, names, told = _from_folders(source)
        return Labelling(labels, names, notes=(*told, f"labels: {described(labels, names)}", *unused))
    if file is not None:
        return _from_file(source, file, unused)
    if own:
        labels, names = match_labels(own, source.names, source.path, images_per_class=_IMAGES_PER_CLASS)
        names, entry_names = names or source.info.class_names, tuple(source.info.made_with.get("label_names") or ())
        return Labelling(labels, names, entry_names, (f"labels: {described(labels, names, entry_names)}",))
    if source.labels is not None:
        labels = source.labels[: len(source.names)]
        names = source.info.class_names
        return Labelling(labels, names, notes=(f"labels: {described(labels, names)}",))
    return Labelling([None] * len(source.names), source.info.class_names, notes=_folders_unused(source))


def read_named(file: Path, names: Sequence[str], translate: Callable[[Any], Any] = lambda data: data) -> NamedValues:
    """What a file says about images: a number, a class's name, or a list.

    JSON: `{"labels": [[name, label], ...]}`, such a list alone, or `{name: label, ...}`. Else a table (comma, semicolon, tab,
    or spaces), a row per image: its name and then one or more columns. A first row with none but names of columns is left
    out, as is the count that begins CelebA's lists.

    Args:
        file: The file.
        names: The images' names, to tell a first row with names of columns from an image's.
        translate: Turns JSON of another form, if it is, into one of these; it may raise `ValueError`.

    Raises:
        UserError: The file is missing or none of these, or says two different things about one image.
    """
    with refusal(f"{file} cannot be used", "mend it"):
        return _parsed(file, read_bytes(file), names, translate)


def _parsed(file: Path, content: bytes, names: Sequence[str], translate: Callable[[Any], Any]) -> NamedValues:
    if _is_json(file, content):
        try:
            data = translate(parse_json(content))
            info = ArchiveInfo.from_json(data) if isinstance(data, dict) else ArchiveInfo()
            pairs = label_pairs(data)
            if not pairs:
                raise ValueError(f"it is empty; give {LABEL_FORMS}")
            entry_names = tuple(info.made_with.get("label_names") or ())
            return NamedValues(file, label_table(pairs), entry_names, class_names=info.class_names)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{file} is no JSON of what belongs to images: {error}; mend it, or give a CSV file"
            ) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file} is not UTF-8 (byte {error.start + 1}): save it as UTF-8; spreadsheets call that `CSV UTF-8`"
        ) from None
    return _read_table(file, text, names)


def read_bytes(file: Path) -> bytes:
    """The content of a file that a user named. Raises `UserError` where it cannot be read."""
    return read_file(file, LABEL_BYTES, "file of labels or landmarks")


def _is_json(file: Path, content: bytes) -> bool:
    suffix = file.suffix.lower()
    return suffix == ".json" or (
        suffix not in (".csv", ".tsv") and content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"[", b"{")
    )


def _from_file(source: Source, file: Path, unused: tuple[str, ...]) -> Labelling:
    found = read_named(file, source.names)
    keys, through = find_names(source.names, found.values)
    missing = [name for name, key in zip(source.names, keys, strict=True) if key is None]
    if missing:
        raise UserError(
            f"{len(missing)} of the {len(source.names)} images in {source.path} have no label in {file}, the first is "
            f"{missing[0]}; names there are relative to the source: {found.nearest(missing[0])}"
        )
    used = [key for key in keys if key is not None]
    labels = [found.values[key] for key in used]
    labels, names = check_labels(used, labels, file, found.place, images_per_class=_IMAGES_PER_CLASS)
    names = names or found.class_names
    notes = [f"names in {file} are looked up {through}"] if through else []
    notes.append(f"labels: {described(labels, names, found.entry_names)}")
    unused_here = len(found.values) - len(set(used))
    if unused_here:
        notes.append(f"{unused_here} labels in {file} lie unused: they belong to none of the images")
    return Labelling(labels, names, found.entry_names, (*notes, *unused))


def _from_folders(source: Source) -> tuple[Labels, tuple[str, ...], tuple[str, ...]]:
    """Classes, their names, and what was looked through."""
    wrapper = wrapping_folder(source.names)
    inside = [name.removeprefix(wrapper) for name in source.names]
    loose = next((name for name, rest in zip(source.names, inside, strict=True) if "/" not in rest), None)
    if wrapper and not any("/" in rest for rest in inside):  # all in one folder: it is the class
        *above, folder = wrapper[:-1].split("/")
        wrapper = "".join(f"{part}/" for part in above)
        inside = [f"{folder}/{rest}" for rest in inside]
    elif loose is not None:
        raise UserError(
            f"{loose} lies in {wrapper or source.path} itself: with --labels every image lies in a sub-folder, whose name is "
            "its class"
        )
    labels, names = number_classes(
        [name.split("/")[0] for name in inside], source.path, images_per_class=_IMAGES_PER_CLASS
    )
    told = (f"all images lie in {wrapper}, so the classes are its sub-folders",) if wrapper else ()
    return labels, names, told


def _folders_unused(source: Source) -> tuple[str, ...]:
    """That folders might be classes; those of an archive of ours are only there to keep folders small."""
    if source.info.content_hash:
        return ()
    wrapper = wrapping_folder(source.names)
    folders = {name.removeprefix(wrapper).split("/")[0] for name in source.names if "/" in name.removeprefix(wrapper)}
    return (f"no labels: {len(folders)} sub-folders; --labels makes them classes",) if len(folders) > 1 else ()


def _read_table(file: Path, text: str, names: Sequence[str]) -> NamedValues:
    known = {name_key(name).rpartition("/")[2] for name in names}
    rows, entry_names = _without_heading(_rows(file, text), known)
    width = len(rows[0][1]) if rows else 0
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for line, row in rows:
        place = f"line {line} of {file}"
        if len(row) != width or width < 2:
            other = f", line {rows[0][0]} has {width}" * (len(row) != width)
            raise UserError(
                f"{place} has {len(row)} column{'s' * (len(row) != 1)}{other}; every row holds an image's name and its label, "
                "one or more columns"
            )
        key, found = name_key(row[0]), [_value(cell, place) for cell in row[1:]]
        if width > 2 and any(isinstance(value, str) for value in found):
            raise UserError(f"{place}: {row[0]} has the label {row[1:]}; with several columns all must be numbers")
        value = found if width > 2 else found[0]
        if key in values and values[key] != value:
            raise UserError(
                f"{place}: {key} has {value!r}, but {values[key]!r} in line {lines[key]}; leave one of the two"
            )
        values[key], lines[key] = value, line
    if width == 2:
        numerals = [row[1].strip() for _, row in rows]
        if all(map(is_numeral, numerals)):
            refuse_two_spellings(dict.fromkeys(numerals), file)
    return NamedValues(file, values, entry_names, lines)


def _without_heading(
    rows: list[tuple[int, list[str]]], known: set[str]
) -> tuple[list[tuple[int, list[str]]], tuple[str, ...]]:
    """The rows of images, and what a heading calls their columns but the first, where these are several."""
    widths = [len(row) for _, row in rows[:3]]
    if widths and widths[0] == 1 < widths[-1] and is_numeral(rows[0][1][0].strip()):
        rows, widths = rows[1:], widths[1:]  # CelebA's lists begin with the number of images
    if not rows or _is_image(rows[0][1][0], known):
        return rows, ()
    unnamed_first = len(widths) > 1 and widths[0] == widths[1] - 1  # and name only the columns behind the image's name
    columns = rows[0][1][0 if unnamed_first else 1 :]
    if all(_number(cell) is not None for cell in columns):
        return rows, ()
    return rows[1:], tuple(cell.strip() for cell in columns) if len(columns) > 1 else ()


def _is_image(cell: str, known: set[str]) -> bool:
    return is_image_name(cell.replace("\\", "/")) or name_key(cell).rpartition("/")[2] in known


def _rows(file: Path, text: str) -> list[tuple[int, list[str]]]:
    """The rows that are not empty, each with the number of its last line."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    try:
        if not any(mark in line for line in lines[:_LOOKED_AT] for mark in "\t;,"):
            return [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
        delimiter = next((mark for mark in "\t;," if _parts_evenly(lines[:_LOOKED_AT], mark)), None)
        reader = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter or max(",;\t", key=lines[0].count))
        return [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise UserError(f"{file} is no readable CSV ({error}); save it again") from None


def _parts_evenly(lines: list[str], delimiter: str) -> bool:
    """Whether all rows have as many columns, at least two."""
    widths = {len(row) for row in csv.reader(lines, delimiter=delimiter) if row}
    return len(widths) == 1 and min(widths) > 1


def _value(cell: str, place: str) -> int | float | str:
    number = _number(cell)
    if number is None and re.fullmatch(r"[+-]?\d+,\d+", cell.strip(), re.ASCII):
        raise UserError(f"{place}: {cell} has a comma; write decimals with a point")
    return cell.strip() if number is None else number


def _number(cell: str) -> int | float | None:
    """The number in a cell; None where there is a text."""
    cell = cell.strip()
    if re.fullmatch(r"[+-]?\d{1,400}", cell, re.ASCII):
        return int(cell)
    if re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|[+-]?(nan|inf|infinity)", cell, re.ASCII | re.IGNORECASE):
        return float(cell)  # of more digits: infinite
    return None


def _line_in_json(file: Path, name: str) -> int:
    """The line in which a name stands first, found by looking for it, since JSON is read without places; 0 if it is not."""
    text = read_bytes(file).decode("utf-8-sig", "replace")
    place = max(text.find(f'{name}"'), text.find(json.dumps(name)[1:]))
    return text.count("\n", 0, place) + 1 if place >= 0 else 0

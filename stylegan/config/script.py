"""What an entry script can be told: its settings by name with the kind of each, and its groups, found in the dataclasses."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from stylegan.schedule import Ramp


class Kind(Enum):
    """How a setting is written on the command line."""

    text = auto()
    """As it is."""
    texts = auto()
    """Texts with commas between them."""
    seeds = auto()
    """Numbers and ranges of them with commas between."""
    scalars = auto()
    """Numbers, or settings in braces, with commas between them."""
    scalar = auto()
    """A number, a switch, one of some names, or a ramp."""


@dataclass(frozen=True)
class Script:
    """What an entry script can be told.

    Attributes:
        name: Of its file.
        settings: All that it has with some choice of groups: the kind of each.
        owners: For a setting that only some choices have, those, such as `model/G=stylegan3`.
        groups: The names that may be chosen, by group.
        kinds: Of a setting that several choices have and write in different ways, such as `figure.rows`: by choice.
        defaults: The choices that hold where none is made, such as `figure=grid`.
    """

    name: str
    settings: Mapping[str, Kind]
    owners: Mapping[str, list[str]]
    groups: Mapping[str, list[str]]
    kinds: Mapping[str, Mapping[str, Kind]] = field(default_factory=dict)
    defaults: Sequence[str] = ()

    def kind_of(self, key: str, chosen: Iterable[str]) -> Kind:
        """How a setting is written where these choices are made, such as `figure=mixing`."""
        by_choice = self.kinds.get(key, {})
        return next((by_choice[choice] for choice in chosen if choice in by_choice), self.settings[key])

    def __contains__(self, name: str) -> bool:
        return name in self.settings

    def nodes(self) -> set[str]:
        """What holds settings, and is none itself, such as `model.G`."""
        return {name[:end] for name in self.settings for end in _dots(name)}


def script_of(
    name: str,
    root: type[Any],
    tables: Mapping[str, Mapping[str, type[Any]]],
    files: Mapping[str, Iterable[str]],
    defaults: Sequence[str] = (),
) -> Script:
    """Find the settings of a script.

    Args:
        name: Of its file.
        root: The dataclass of its configuration.
        tables: What may stand in one of its places, by group and name, such as `model/G`.
        files: Names of YAML files that may be chosen, by group.
        defaults: The choices that hold where none is made.
    """
    settings: dict[str, Kind] = {}
    owners: dict[str, list[str]] = {}
    kinds: dict[str, dict[str, Kind]] = {}
    for key, kind, owner in _walk(root, tables, "", ""):
        settings.setdefault(key, kind)
        if owner:
            owners.setdefault(key, []).append(owner)
            kinds.setdefault(key, {})[owner] = kind
    everywhere = {key for key, by in owners.items() if len(by) == len(tables[by[0].partition("=")[0]])}
    groups = {**{group: sorted(table) for group, table in tables.items()}, **{k: sorted(v) for k, v in files.items()}}
    some = {key: by for key, by in owners.items() if key not in everywhere}
    return Script(
        name, settings, some, groups, {key: by for key, by in kinds.items() if len(set(by.values())) > 1}, defaults
    )


def names_in(folder: Path) -> dict[str, list[str]]:
    """The YAML files of a folder of configurations by group: the path of their folder in it."""
    found: dict[str, list[str]] = {}
    for path in folder.glob("*/**/*.yaml"):
        found.setdefault(path.parent.relative_to(folder).as_posix(), []).append(path.stem)
    return found


def _walk(
    kind: type[Any], tables: Mapping[str, Mapping[str, type[Any]]], prefix: str, owner: str
) -> Iterator[tuple[str, Kind, str]]:
    """Name, kind and owner of every setting of a dataclass."""
    hints = get_type_hints(kind)
    for item in dataclasses.fields(kind):
        key, hint = f"{prefix}{item.name}", hints[item.name]
        group = key.replace(".", "/")
        if group in tables:
            for name, chosen in tables[group].items():
                yield from _walk(chosen, tables, f"{key}.", f"{group}={name}")
        elif dataclasses.is_dataclass(hint):
            yield from _walk(hint, tables, f"{key}.", owner)  # pyright: ignore[reportArgumentType]
        else:
            yield key, _kind_of(item, hint), owner
            if item.metadata.get("schedule"):
                yield from ((f"{key}.{part.name}", Kind.scalar, owner) for part in dataclasses.fields(Ramp))


def _kind_of(field: dataclasses.Field[Any], hint: Any) -> Kind:
    if field.metadata.get("seeds"):
        return Kind.seeds
    if get_origin(hint) is list:
        return Kind.texts if get_args(hint) == (str,) else Kind.scalars
    return Kind.text if hint is str or str in get_args(hint) else Kind.scalar


def _dots(name: str) -> Iterator[int]:
    return (position for position, character in enumerate(name) if character == ".")

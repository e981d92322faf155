"""Which files of a folder or an archive are images, and a count, by reason, of what is not taken.

Nothing is left out in silence: whoever does not take a candidate hands it to `Tally.leave` with the reason.
"""

import os
import re
import stat
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stylegan.data.image_files import is_hidden, why_no_image
from stylegan.data.labels import leading_folders, wrapping_folder

METADATA = "dataset.json"
_TOLD = 8  # reasons in a line; the report holds all
_EXAMPLES = 1000  # names in the report, of each reason
_UNCLEAN = re.compile(r"(^|/)\.{0,2}(/|$)|\\|^[A-Za-z]:")
_LONGEST_CHAIN = 40  # links that lead to links, as many as Linux follows


@dataclass
class _Group:
    count: int = 0
    examples: list[dict[str, str]] = field(default_factory=list)


class Tally:
    """What was not taken, and what is worth saying of what was, counted by reason."""

    def __init__(self) -> None:
        self._left: dict[str, _Group] = {}
        self._noted: dict[str, _Group] = {}

    def leave(self, reason: str, name: str, detail: str = "") -> None:
        """Count something that is not taken.

        Args:
            reason: What can follow a number of such: `3 hidden`.
            name: Of the file, folder or member.
            detail: What else there is to say about this one.
        """
        _add(self._left, reason, name, detail)

    def note(self, what: str, name: str, detail: str = "") -> None:
        """Count an image that is taken, of which there is something to say: `3 enlarged`. Arguments as of `leave`."""
        _add(self._noted, what, name, detail)

    @property
    def left(self) -> dict[str, int]:
        """How many were not taken, by reason."""
        return {reason: group.count for reason, group in self._left.items()}

    @property
    def noted(self) -> dict[str, int]:
        """How many were taken with a note, by what it says."""
        return {what: group.count for what, group in self._noted.items()}

    def told_left(self) -> str:
        """`3 hidden, 1 named .txt`, the most frequent first; empty where all was taken."""
        return _told(self.left)

    def told_noted(self) -> str:
        """`3 enlarged`; empty where there are no notes."""
        return _told(self.noted)

    def report(self) -> dict[str, Any]:
        """All of it as JSON types: `not_taken` and `notes`, lists of reason, count and the first names."""
        return {
            "not_taken": [{"reason": reason, **vars(group)} for reason, group in self._left.items()],
            "notes": [{"what": what, **vars(group)} for what, group in self._noted.items()],
        }


def image_names(files: Iterable[str], tally: Tally) -> list[str]:
    """Those of the files that are images, in order. Only the `dataset.json` that is read is neither taken nor counted."""
    names: list[str] = []
    others: dict[str, str] = {}
    for name in files:
        reason = why_no_image(name)
        if not reason:
            names.append(name)
        else:
            others[name] = reason
    used = next((place for place in metadata_places(names) if place in others), None)
    for name, reason in others.items():
        if name != used:
            tally.leave(reason, name)
    return names


def metadata_places(names: Collection[str]) -> list[str]:
    """Where `dataset.json` may be: at the top, or in a folder around all images, as a packed folder has one."""
    return [folder + METADATA for folder in leading_folders(wrapping_folder(names))]


def files_below(folder: Path, tally: Tally) -> list[str]:
    """Names of all files below a folder, relative to it with forward slashes, in no particular order.

    Links are followed. Each folder is entered once, by its own name before those of links to it, so that loops end. Hidden
    folders are not entered, and neither are archives that lie within: they hold what was made of other images.
    """
    found: list[str] = []
    entered = {_identity(above) for above in folder.resolve().parents}
    own: deque[str] = deque([""])
    linked: deque[str] = deque()
    while own or linked:
        within = (own or linked).popleft()
        path = folder / within
        try:
            identity = _identity(path)
            with os.scandir(path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            tally.leave("folders that cannot be read", within or str(folder), error.strerror or str(error))
            continue
        if identity in entered:
            tally.leave("links to folders that are taken already or hold the source", within)
            continue
        entered.add(identity)
        if within and _is_archive(path):
            tally.leave("archives within", within)
            continue
        for entry in entries:
            name = f"{within}/{entry.name}" if within else entry.name
            if entry.is_file(follow_symlinks=False):  # known without asking the disk
                found.append(name)
                continue
            try:
                mode = entry.stat().st_mode
            except OSError as error:
                reason = "links that lead nowhere" if entry.is_symlink() else "that cannot be read"
                tally.leave(reason, name, error.strerror or str(error))
                continue
            if stat.S_ISDIR(mode):
                if is_hidden(entry.name):
                    tally.leave("hidden", f"{name}/")
                else:
                    (linked if entry.is_symlink() else own).append(name)
            elif stat.S_ISREG(mode):
                found.append(name)
            else:
                tally.leave("neither files nor folders", name)
    return found


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a ZIP or TAR.

    Attributes:
        name: As it is stored.
        link: Where it leads to, if it is a link.
        hard: It leads to a member that is stored before it, by that one's name; else it is a path as seen from its folder.
        other: It is neither a file, a folder nor a link.
    """

    name: str
    link: str | None = None
    hard: bool = False
    other: bool = False


def files_among(members: Iterable[Member], tally: Tally, *, backslashes: bool = False) -> dict[str, int]:
    """The files of an archive: clean name -> number of the member that holds its bytes.

    As unpacking would have it: `./`, a leading `/` and a drive are dropped from names, of members of one name the last one
    counts, a link to a file is a file. What leads out of the archive is not taken.

    Args:
        members: All but folders, in their order.
        tally: Counts what is not taken.
        backslashes: They separate the parts of a name, as some programs for Windows write it.
    """
    files: dict[str, int] = {}
    links: dict[str, str] = {}
    for number, member in enumerate(members):
        name = clean_name(member.name, backslashes=backslashes)
        if name is None:
            tally.leave("with names that lead out of the archive", member.name)
            continue
        if name in files or name in links:
            tally.leave("earlier members of the same name", member.name)
            files.pop(name, None)
            links.pop(name, None)
        if member.other:
            tally.leave("neither files nor folders", member.name)
        elif member.link is None:
            files[name] = number
        elif not member.hard:
            links[name] = member.link
        else:
            holder = files.get(clean_name(member.link, backslashes=backslashes) or "")
            if holder is None:
                tally.leave("links to what is no file of the archive", member.name, member.link)
            else:
                files[name] = holder
    for name, link in links.items():
        holder = _end_of_links(name, links, files)
        if holder is None:
            tally.leave("links to what is no file of the archive", name, link)
        else:
            files[name] = holder
    return files


def clean_name(name: str, *, backslashes: bool = False) -> str | None:
    """A member's name as a path relative to the archive, or None where it leads out of it. See `files_among`."""
    if not _UNCLEAN.search(name):
        return name
    if backslashes:
        name = re.sub(r"^[A-Za-z]:(?=/)", "", name.replace("\\", "/"))
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts) or None


def _end_of_links(name: str, links: dict[str, str], files: dict[str, int]) -> int | None:
    """The number of the member to which a link leads, through other links; None where it leads to none."""
    at: str | None = name
    for _ in range(_LONGEST_CHAIN):
        if at is None or at not in links:
            break
        at = None if links[at].startswith("/") else clean_name(f"{at.rpartition('/')[0]}/{links[at]}")
    return None if at is None else files.get(at)


def _is_archive(folder: Path) -> bool:
    """Whether a folder is laid out as `stylegan prepare` and the public tools write it."""
    return (folder / METADATA).is_file() and (folder / "00000" / "img00000000.png").is_file()


def _identity(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_dev, state.st_ino


def _add(groups: dict[str, _Group], reason: str, name: str, detail: str) -> None:
    group = groups.setdefault(reason, _Group())
    group.count += 1
    if len(group.examples) < _EXAMPLES:
        group.examples.append({"name": name, **({"detail": detail} if detail else {})})


def _told(counts: dict[str, int]) -> str:
    frequent = sorted(counts.items(), key=lambda item: -item[1])
    told = [f"{count} {reason}" for reason, count in frequent[:_TOLD]]
    others = sum(count for _, count in frequent[_TOLD:])
    return ", ".join([*told, *([f"{others} for {len(frequent) - _TOLD} other reasons"] if others else [])])

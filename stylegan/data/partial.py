"""An archive in the making: a folder beside it, which an interrupted run leaves and the next one takes up.

    .NAME.partial/  journal.jsonl   first what the archive is made from, then a line per image of the source
                    archive         the ZIP, or the folder, that becomes the archive

A line is written after its image. What it says about the image (place, size, CRC-32) is checked before it is taken up,
and everything behind the first line that does not hold is dropped: a crash costs the last few images, never more.
"""

import contextlib
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Protocol

from filelock import Timeout

from stylegan.data.image_files import IMAGE_BYTES
from stylegan.errors import UserError
from stylegan.files import file_lock, open_below, read_file, refuse_link, refuse_links, remove_unfinished

_JOURNAL_BYTES = 2**30
_ZIP_HEADER = 30  # bytes of a member's header before its name


@dataclass(frozen=True)
class Plan:
    """What tells whether an interrupted run can go on.

    Attributes:
        made_from: Source and options, as JSON types; a run with others does not take it up.
        items: Name and signature of each of the source's images. Those before the first that changed are taken up.
    """

    made_from: Mapping[str, Any]
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Entry:
    """A line of the journal: what became of one of the source's images.

    Attributes:
        item, signature: As in `Plan.items`.
        reason: Why it was left out; empty where it was not.
        kind: The reason for which such are counted together.
        notes: Of one that was not, what is said of it: pairs of the words for which such are counted together, and more.
        name, size, crc: The image in the archive: its name there, number of bytes and CRC-32.
        attributes: As given to `ArchiveWriter.add`.
    """

    item: str
    signature: str
    reason: str = ""
    name: str = ""
    size: int = 0
    crc: int = 0
    attributes: Mapping[str, Any] | None = None
    kind: str = ""
    notes: Sequence[Sequence[str]] = ()


class PartialArchive:
    """The folder beside `dest`, held by one process at a time.

    Args:
        dest: The archive to be.
        plan: What it is made from; None: there is no going on.
        replace_other: Drop what was made from something else, instead of refusing.

    Attributes:
        folder: The folder.
        entries: What was taken up, and then what was added.

    Raises:
        UserError: Another process holds it, it holds something else or links, or it cannot be written.
    """

    def __init__(self, dest: Path, plan: Plan | None, *, replace_other: bool) -> None:
        self.folder = dest.with_name(f".{dest.name}.partial")
        self.dest = dest
        self.plan = plan
        self.entries: list[Entry] = []
        self._result = self.folder / "archive"
        refuse_link(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = file_lock(self.folder / "lock")
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"another process is writing {dest}; wait until it is done, or give another name") from None
        try:
            refuse_links(self.folder)
            remove_unfinished(dest.parent, report_path(dest).name)
            self._restore()
            self._take_up(replace_other)
            images = [entry for entry in self.entries if not entry.reason]
            self._data: _Data = _ZipData(self._result, images) if _zipped(dest) else _FolderData(self._result, images)
            self._journal = self._open_journal()
        except BaseException:
            self._lock.release()
            raise

    def write(
        self, name: str, data: bytes, attributes: Mapping[str, Any] | None = None, notes: Sequence[Sequence[str]] = ()
    ) -> None:
        """Store an image, the plan's next one."""
        self._data.write(name, data)
        item, signature = self._next_item()
        self._note(Entry(item, signature, "", name, len(data), zlib.crc32(data), attributes, notes=notes))

    def skip(self, reason: str, kind: str) -> None:
        """Note that the plan's next image was left out."""
        self._note(replace(Entry(*self._next_item()), reason=reason, kind=kind))

    def read(self, entry: Entry) -> bytes:
        """The bytes of an image that was taken up. May be called in any thread."""
        return self._data.read(entry)

    def finish(self, name: str, data: bytes) -> None:
        """Store the last file, flush all to disk, and rename the result to its name."""
        self._data.write(name, data)
        self._data.close()
        if self._result.is_dir() and self.dest.exists():
            self.dest.replace(self.folder / "replaced")
        self._result.replace(self.dest)
        self._journal.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()

    def leave(self) -> bool:
        """Stop; another run may go on if there is a plan and an image. Returns whether it may."""
        with contextlib.suppress(OSError, ValueError):
            self._data.close()
        with contextlib.suppress(OSError):
            self._journal.close()
        self._restore()
        keep = self.plan is not None and any(not entry.reason for entry in self.entries)
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()
        return keep

    def _restore(self) -> None:
        """Undo the first of the two renames that replace a folder, if the second did not happen."""
        replaced = self.folder / "replaced"
        if replaced.exists() and not self.dest.exists():
            replaced.replace(self.dest)
        shutil.rmtree(replaced, ignore_errors=True)

    def _next_item(self) -> tuple[str, str]:
        return self.plan.items[len(self.entries)] if self.plan else ("", "")

    def _note(self, entry: Entry) -> None:
        if self.plan is not None:
            self._journal.write(json.dumps(asdict(entry)) + "\n")
            self._journal.flush()
        self.entries.append(entry)

    def _take_up(self, replace_other: bool) -> None:
        """Fill `entries` with what an earlier run left and still holds."""
        lines = _lines(self.folder / "journal.jsonl")
        if not lines or self.plan is None:
            return
        made_from = json.loads(json.dumps(self.plan.made_from))
        if lines[0] != made_from:
            if replace_other or not isinstance(lines[0], dict):
                return
            changed = [key for key in made_from if lines[0].get(key) != made_from[key]]
            was = ", ".join(f"{key}={lines[0].get(key)!r} (now {made_from[key]!r})" for key in changed)
            raise UserError(
                f"an interrupted run left part of {self.dest} in {self.folder}, made with other settings: {was}; give "
                "the same ones to go on, or --overwrite to begin anew"
            )
        images: list[Entry] = []
        for line, item in zip(lines[1:], self.plan.items, strict=False):
            entry = _entry(line, image_name(len(images)))
            if entry is None or (entry.item, entry.signature) != tuple(item):
                break
            self.entries.append(entry)
            images += [] if entry.reason else [entry]
        good = (_good_in_zip if _zipped(self.dest) else _good_in_folder)(self._result, images)
        if good < len(images):
            del self.entries[self.entries.index(images[good]) :]

    def _open_journal(self) -> IO[str]:
        journal = open_below(self.folder, "journal.jsonl", "w")
        if self.plan is not None:
            lines = [dict(self.plan.made_from), *(asdict(entry) for entry in self.entries)]
            journal.writelines(json.dumps(line) + "\n" for line in lines)
            journal.flush()
        return journal


class _Data(Protocol):
    def write(self, name: str, data: bytes) -> None: ...
    def read(self, entry: Entry) -> bytes: ...
    def close(self) -> None: ...


class _ZipData:
    """A ZIP that goes on after `images`, which it holds already; whatever is behind them is cut off."""

    def __init__(self, path: Path, images: list[Entry]) -> None:
        open_below(path.parent, path.name, "ab").close()  # now it is there
        self._path = path
        self._offsets: dict[str, int] = {}
        members: list[zipfile.ZipInfo] = []
        end = 0
        for entry in images:
            member = zipfile.ZipInfo(entry.name)
            member.header_offset = end
            member.CRC, member.file_size, member.compress_size = entry.crc, entry.size, entry.size
            member.external_attr = 0o600 << 16  # as zipfile gives to what it writes
            members.append(member)
            self._offsets[entry.name] = end + _ZIP_HEADER + len(entry.name)
            end += _ZIP_HEADER + len(entry.name) + entry.size
        self._file = open_below(path.parent, path.name, "r+b")
        self._file.truncate(end)
        # Without a directory at its end this is no ZIP yet: mode "a" then begins one behind what is there.
        self._zip = zipfile.ZipFile(self._file, "a", zipfile.ZIP_STORED)
        self._zip.filelist.extend(members)
        self._zip.NameToInfo.update({member.filename: member for member in members})

    def write(self, name: str, data: bytes) -> None:
        # A ZipInfo of our own has a fixed date: the same images give the same bytes.
        self._zip.writestr(zipfile.ZipInfo(name), data)

    def read(self, entry: Entry) -> bytes:
        with self._path.open("rb") as file:  # of its own: threads read while one writes
            file.seek(self._offsets[entry.name])
            return file.read(entry.size)

    def close(self) -> None:
        try:
            self._zip.close()
            self._file.flush()
            os.fsync(self._file.fileno())
        finally:
            self._file.close()


class _FolderData:
    """A folder that holds `images` already."""

    def __init__(self, path: Path, images: list[Entry]) -> None:
        self._path = path
        keep = {path / entry.name for entry in images}
        for file in [file for file in path.rglob("*") if file.is_file() and file not in keep]:
            file.unlink()
        path.mkdir(exist_ok=True)

    def write(self, name: str, data: bytes) -> None:
        with open_below(self._path.parent, f"{self._path.name}/{name}", "xb") as file:
            file.write(data)

    def read(self, entry: Entry) -> bytes:
        return (self._path / entry.name).read_bytes()

    def close(self) -> None:
        pass


def image_name(index: int) -> str:
    """The name of an archive's image, counted from 0: a folder per thousand."""
    number = f"{index:08d}"
    return f"{number[:-3]}/img{number}.png"


def report_path(dest: Path) -> Path:
    """The file beside an archive that lists what was left out."""
    return dest.with_name(f"{dest.name}.report.json")


def _entry(line: Any, name: str) -> Entry | None:
    """A line of the journal; None where it is none, or not of the image that comes next, which is called `name`."""
    try:
        entry = Entry(**line)
    except TypeError:
        return None
    texts: list[Any] = [entry.item, entry.signature, entry.reason, entry.name, entry.kind]
    numbers, pairs = (entry.size, entry.crc), isinstance(entry.notes, list | tuple)
    for note in entry.notes if pairs else ():
        pairs = pairs and isinstance(note, list) and len(note) == 2
        texts += note if pairs else ()
    right = all(isinstance(text, str) for text in texts) and all(type(number) is int for number in numbers)
    if not right or not pairs or not isinstance(entry.attributes, dict | None):
        return None
    return entry if entry.reason or (entry.name == name and 0 < entry.size <= IMAGE_BYTES) else None


def _zipped(dest: Path) -> bool:
    return dest.suffix.lower() == ".zip"


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal, up to the first that was cut short."""
    lines: list[dict[str, Any]] = []
    if path.is_file():
        for line in read_file(path, _JOURNAL_BYTES, "journal").splitlines():
            try:
                lines.append(json.loads(line))
            except (ValueError, RecursionError):
                break
    return lines


def _good_in_zip(path: Path, images: list[Entry]) -> int:
    """How many of `images` stand one after the other at the beginning of a ZIP."""
    if not path.is_file():
        return 0
    size = path.stat().st_size
    with path.open("rb") as file:
        for position, entry in enumerate(images):
            header = file.read(_ZIP_HEADER + len(entry.name))
            right = header[:4] == b"PK\x03\x04" and header[_ZIP_HEADER:] == entry.name.encode() and entry.size <= size
            if not right or zlib.crc32(file.read(entry.size)) != entry.crc:
                return position
    return len(images)


def _good_in_folder(path: Path, images: list[Entry]) -> int:
    """How many of `images`, from the first on, a folder holds."""
    for position, entry in enumerate(images):
        file = path / entry.name
        if not file.is_file() or file.stat().st_size != entry.size or zlib.crc32(file.read_bytes()) != entry.crc:
            return position
    return len(images)

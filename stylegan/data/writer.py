"""Writing one archive, image by image, whole or not at all."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stylegan.data.archive import METADATA, ArchiveInfo, label_bytes, match_labels
from stylegan.data.partial import Entry, PartialArchive, Plan, image_name
from stylegan.errors import UserError


class ArchiveWriter:
    """Writes one archive, whole or not at all: a ZIP where `dest` ends in .zip, else a folder. A context manager.

    Images are named `00000/img00000000.png` and so on, a folder per thousand. Until the end everything lies in a folder
    beside `dest` (see `stylegan.data.partial`); `dataset.json` is written last. The bytes of a ZIP depend on what is in
    it only. With a plan, what an interrupted run left is taken up: `taken_up` says what became of the plan's first
    images; each of those that is in the archive has to be handed to `retain`, in order, before others are added.

    Args:
        dest: The archive's path.
        info: What to record; count, resolution, channels, content hash and attributes are filled in here.
        overwrite: Replace an archive that is there. A folder is replaced only if it is an archive or empty.
        plan: What the archive is made from, image by image; None: a run that fails leaves nothing.

    Raises:
        UserError: `dest` is there or cannot be written, another process writes it, the disk is full, or no image was
            added until the end.
    """

    def __init__(
        self, dest: str | Path, info: ArchiveInfo, *, overwrite: bool = False, plan: Plan | None = None
    ) -> None:
        self.dest = Path(dest)
        self.info = info
        self.overwrite = overwrite
        self.plan = plan
        self.shape: tuple[int, int, int] | None = None
        self.taken_up: tuple[Entry, ...] = ()
        self._digest = hashlib.sha256()
        self._names: list[str] = []
        self._labels: list[Any] = []
        self._attributes: list[Mapping[str, Any]] = []

    def __enter__(self) -> "ArchiveWriter":
        _check_destination(self.dest, self.overwrite)
        try:
            self._partial = PartialArchive(self.dest, self.plan, replace_other=self.overwrite)
        except OSError as error:
            raise self._cannot_write(error) from None
        try:
            _check_destination(self.dest, self.overwrite)  # again: another process may have written it meanwhile
        except UserError:
            self._partial.leave()
            raise
        self.taken_up = tuple(self._partial.entries)
        self._retained = iter([entry for entry in self.taken_up if not entry.reason])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        if error is not None:
            self._leave(error)
            return
        try:
            self._finish()
        except OSError as failure:
            error = self._cannot_write(failure)
            self._leave(error)
            raise error from None
        except BaseException as failure:
            self._leave(failure)
            raise

    def _leave(self, error: BaseException) -> None:
        """Stop because of `error`, which then tells whether another run may go on."""
        if self._partial.leave():
            note = f"what is done is kept in {self._partial.folder}: the same command goes on"
            if isinstance(error, UserError):
                error.args = (f"{error}; {note}",)
            else:
                error.add_note(note)

    def __len__(self) -> int:
        return len(self._names)

    def add(
        self,
        pixels: np.ndarray,
        encoded: bytes,
        label: int | list[float] | None = None,
        attributes: Mapping[str, Any] | None = None,
        notes: Sequence[Sequence[str]] = (),
    ) -> None:
        """Add one image: the plan's next.

        Args:
            pixels: uint8 [H, W, C], as all others.
            encoded: The same image as PNG (see `encode_png`), made by the caller since that is the slow part.
            label: A class, a vector, or None; for all images of one kind.
            attributes: What else is known about the image, as JSON can hold it; for all images or none.
            notes: What is said of it; see `Entry`.

        Raises:
            ValueError: The image is not like the first one.
            UserError: The disk is full.
        """
        self._check_alike(pixels)
        try:
            self._partial.write(image_name(len(self)), encoded, attributes, notes)
        except OSError as error:
            raise self._cannot_write(error) from None
        self._count(pixels, label, attributes)

    def retain(self, pixels: np.ndarray, label: int | list[float] | None = None) -> None:
        """Count an image that an interrupted run left, with its pixels and label. Raises `ValueError` like `add`."""
        self._check_alike(pixels)
        self._count(pixels, label, next(self._retained).attributes)

    def skip(self, reason: str, kind: str) -> None:
        """Leave the plan's next image out; see `Entry`. Raises `UserError` where the disk is full."""
        try:
            self._partial.skip(reason, kind)
        except OSError as error:
            raise self._cannot_write(error) from None

    def read(self, entry: Entry) -> bytes:
        """The PNG bytes of an image that an interrupted run left. May be called in any thread."""
        return self._partial.read(entry)

    def _check_alike(self, pixels: np.ndarray) -> None:
        self.shape = self.shape or (pixels.shape[0], pixels.shape[1], pixels.shape[2])
        if pixels.shape != self.shape or pixels.dtype != np.uint8:
            raise ValueError(f"an image is {pixels.dtype} {pixels.shape}, the first one was uint8 {self.shape}")

    def _count(self, pixels: np.ndarray, label: int | list[float] | None, attributes: Mapping[str, Any] | None) -> None:
        self._digest.update(pixels.tobytes())
        self._names.append(image_name(len(self)))
        if label is not None:
            self._labels.append(label)
        if attributes is not None:
            self._attributes.append(attributes)

    def _cannot_write(self, error: OSError) -> UserError:
        return UserError(
            f"cannot write {self.dest}: {error.strerror or error}; free some space, mend the folder's permissions or "
            "choose another place"
        )

    def _finish(self) -> None:
        if self.shape is None:
            raise UserError(f"no image could be used, so {self.dest} was not written; see the reasons above")
        if len(self._attributes) not in (0, len(self)) or len(self._labels) not in (0, len(self)):
            raise ValueError(f"{len(self)} images, {len(self._labels)} labels, {len(self._attributes)} attributes")
        pairs = [[name, label] for name, label in zip(self._names, self._labels, strict=False)] or None
        if pairs:
            self._digest.update(label_bytes(match_labels(pairs, self._names, self.dest)[0]))
        info = dataclasses.replace(
            self.info,
            count=len(self._names),
            resolution=self.shape[:2],
            channels=self.shape[2],
            content_hash=self._digest.hexdigest(),
            attributes=tuple(self._attributes),
        )
        self._partial.finish(METADATA, json.dumps({"labels": pairs, **info.to_json()}).encode())


def _check_destination(dest: Path, overwrite: bool) -> None:
    if not dest.exists():
        return
    if not overwrite:
        raise UserError(f"{dest} is there already; choose another name, or give --overwrite to replace it")
    zipped = dest.suffix.lower() == ".zip"
    if zipped != dest.is_file() or (not zipped and any(dest.iterdir()) and not (dest / METADATA).is_file()):
        raise UserError(f"{dest} is there and no archive, so it is not replaced; choose another name")

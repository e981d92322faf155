"""Writing one archive, image by image, whole or not at all."""

import contextlib
import dataclasses
import hashlib
import json
import secrets
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from stylegan.data.archive import METADATA, ArchiveInfo, label_bytes, match_labels
from stylegan.errors import UserError
from stylegan.files import atomic_path


class ArchiveWriter:
    """Writes one archive, whole or not at all: a ZIP where `dest` ends in .zip, else a folder. A context manager.

    Images are named `00000/img00000000.png` and so on, a folder per thousand. Until the end everything lies under a
    temporary name beside `dest`; `dataset.json` is written last. The bytes of a ZIP depend on what is in it only.

    Args:
        dest: The archive's path.
        info: What to record; count, resolution, channels, content hash and attributes are filled in here.
        overwrite: Replace an archive that is there. A folder is replaced only if it is an archive or empty.

    Raises:
        UserError: `dest` is there or cannot be written, or no image was added until the end.
    """

    def __init__(self, dest: str | Path, info: ArchiveInfo, *, overwrite: bool = False) -> None:
        self.dest = Path(dest)
        self.info = info
        self.overwrite = overwrite
        self.shape: tuple[int, int, int] | None = None
        self._digest = hashlib.sha256()
        self._names: list[str] = []
        self._labels: list[Any] = []
        self._attributes: list[Mapping[str, Any]] = []
        self._stack = contextlib.ExitStack()
        self._write: Callable[[str, bytes], None]

    def __enter__(self) -> "ArchiveWriter":
        _check_destination(self.dest, self.overwrite)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._open())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> bool | None:
        if error is not None:
            return self._stack.__exit__(kind, error, traceback)
        with self._stack:
            self._finish()
        return None

    def __len__(self) -> int:
        return len(self._names)

    def add(
        self,
        pixels: np.ndarray,
        encoded: bytes,
        label: int | list[float] | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Add one image.

        Args:
            pixels: uint8 [H, W, C], as all others.
            encoded: The same image as PNG (see `encode_png`), made by the caller since that is the slow part.
            label: A class, a vector, or None; for all images of one kind.
            attributes: What else is known about the image, as JSON can hold it; for all images or none.

        Raises:
            ValueError: The image is not like the first one.
        """
        self.shape = self.shape or (pixels.shape[0], pixels.shape[1], pixels.shape[2])
        if pixels.shape != self.shape or pixels.dtype != np.uint8:
            raise ValueError(f"an image is {pixels.dtype} {pixels.shape}, the first one was uint8 {self.shape}")
        index = f"{len(self._names):08d}"
        name = f"{index[:-3]}/img{index}.png"
        self._write(name, encoded)
        self._digest.update(pixels.tobytes())
        self._names.append(name)
        if label is not None:
            self._labels.append(label)
        if attributes is not None:
            self._attributes.append(attributes)

    def _finish(self) -> None:
        if self.shape is None:
            raise UserError(f"no image could be used, so {self.dest} was not written; see the reasons above")
        if len(self._attributes) not in (0, len(self)) or len(self._labels) not in (0, len(self)):
            raise ValueError(f"{len(self)} images, {len(self._labels)} labels, {len(self._attributes)} attributes")
        pairs = [[name, label] for name, label in zip(self._names, self._labels, strict=False)] or None
        if pairs:
            self._digest.update(label_bytes(match_labels(pairs, self._names, self.dest)))
        info = dataclasses.replace(
            self.info,
            count=len(self._names),
            resolution=self.shape[:2],
            channels=self.shape[2],
            content_hash=self._digest.hexdigest(),
            attributes=tuple(self._attributes),
        )
        self._write(METADATA, json.dumps({"labels": pairs, **info.to_json()}).encode())

    @contextmanager
    def _open(self) -> Iterator[None]:
        if self.dest.suffix.lower() == ".zip":
            with atomic_path(self.dest) as path, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
                # A ZipInfo of our own has a fixed date: the same images give the same bytes.
                self._write = lambda name, data: archive.writestr(zipfile.ZipInfo(name), data)
                yield
        else:
            with _atomic_folder(self.dest) as folder:
                self._write = lambda name, data: _write_file(folder / name, data)
                yield


def _check_destination(dest: Path, overwrite: bool) -> None:
    if not dest.exists():
        return
    if not overwrite:
        raise UserError(f"{dest} is there already; choose another name, or give --overwrite to replace it")
    zipped = dest.suffix.lower() == ".zip"
    if zipped != dest.is_file() or (not zipped and any(dest.iterdir()) and not (dest / METADATA).is_file()):
        raise UserError(f"{dest} is there and no archive, so it is not replaced; choose another name")


def _write_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@contextmanager
def _atomic_folder(dest: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `dest`; when the body ends well, rename it to `dest`, else remove it."""
    mark = secrets.token_hex(4)
    folder, replaced = (dest.with_name(f".{dest.name}.{mark}{end}") for end in ("", ".old"))
    try:
        folder.mkdir(parents=True)
        yield folder
        if dest.exists():
            dest.replace(replaced)
        folder.replace(dest)
    except OSError as error:
        raise UserError(
            f"cannot write {dest}: {error.strerror or error}; choose another place or mend its permissions"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)

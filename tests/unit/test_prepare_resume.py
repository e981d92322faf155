"""Runs that were interrupted, killed, without space or two at a time."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stylegan.data import prepare
from stylegan.data.archive import ArchiveInfo, ImageDataset
from stylegan.data.convert import ResizeFilter
from stylegan.data.prepare import FacesOptions, ImageOptions, prepare_faces3d, prepare_images
from stylegan.data.writer import ArchiveWriter
from stylegan.errors import UserError

OPTIONS = ImageOptions((16, 16), workers=1)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Thirty images; the third one is broken."""
    folder = tmp_path / "in"
    folder.mkdir()
    for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)):
        Image.fromarray(image).save(folder / f"{i:02}.png")
    (folder / "02.png").write_bytes(b"broken")
    return folder


def content(path: Path) -> dict[str, bytes] | bytes:
    if path.is_file():
        return path.read_bytes()
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@contextmanager
def interrupted_after(count: int) -> Iterator[None]:
    add = ArchiveWriter.add

    def interrupted(self: ArchiveWriter, *arguments: Any, **options: Any) -> None:
        add(self, *arguments, **options)
        if len(self) == count:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ArchiveWriter, "add", interrupted)
        yield


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many images are converted."""
    calls: list[int] = []
    convert = prepare.convert_pixels

    def converted(*arguments: Any) -> Image.Image:
        calls.append(1)
        return convert(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "convert_pixels", converted)
        yield calls


@pytest.mark.parametrize("dest", ["out.zip", "out"])
@pytest.mark.parametrize("there", [False, True])
def test_an_interrupted_run_goes_on(
    tmp_path: Path, source: Path, dest: str, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ImageOptions((16, 16), workers=1, overwrite=there)
    whole = prepare_images(source, tmp_path / "whole" / dest, OPTIONS)
    if there:
        prepare_images(source, tmp_path / dest, ImageOptions((16, 16), count=5))
    for count in (10, 20):
        with interrupted_after(count):
            prepare_images(source, tmp_path / dest, options)
        assert (tmp_path / dest).exists() == there
        assert not there or len(ImageDataset(tmp_path / dest)) == 4
    with counted(monkeypatch) as calls:
        result = prepare_images(source, tmp_path / dest, options)
    assert len(calls) == 9  # of 30 images: 20 are done, and one is noted as broken
    assert (result.count, result.skipped) == (29, whole.skipped) and len(whole.skipped) == 1
    assert content(tmp_path / dest) == content(tmp_path / "whole" / dest)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("dest", ["out.zip", "out"])
@pytest.mark.parametrize("damage", ["journal", "data", "source", "lost"])
def test_only_what_still_holds_is_taken_up(tmp_path: Path, source: Path, dest: str, damage: str) -> None:
    with interrupted_after(20):
        prepare_images(source, tmp_path / dest, OPTIONS)
    partial = tmp_path / f".{dest}.partial"
    journal, archive = partial / "journal.jsonl", partial / "archive"
    data = archive if archive.is_file() else archive / "00000" / "img00000007.png"
    if damage == "journal":
        journal.write_bytes(journal.read_bytes()[:-20])
    elif damage == "data":
        changed = bytearray(data.read_bytes())
        changed[len(changed) // 2] ^= 1
        data.write_bytes(changed)
    elif damage == "lost":
        data.write_bytes(data.read_bytes()[:500])
    else:
        Image.new("RGB", (16, 16), "red").save(source / "05.png")
    prepare_images(source, tmp_path / dest, OPTIONS)
    prepare_images(source, tmp_path / "whole" / dest, OPTIONS)
    assert content(tmp_path / dest) == content(tmp_path / "whole" / dest)


def test_other_options_do_not_take_it_up(tmp_path: Path, source: Path) -> None:
    with interrupted_after(20):
        prepare_images(source, tmp_path / "out.zip", OPTIONS)
    box = ImageOptions((16, 16), filter=ResizeFilter.BOX, channels=1)
    with pytest.raises(UserError, match=r"filter='lanczos' \(now 'box'\), channels=3 \(now 1\).*--overwrite"):
        prepare_images(source, tmp_path / "out.zip", box)
    assert (tmp_path / ".out.zip.partial").is_dir()
    anew = ImageOptions((16, 16), filter=ResizeFilter.BOX, channels=1, overwrite=True)
    assert prepare_images(source, tmp_path / "out.zip", anew).count == 29
    assert ImageDataset(tmp_path / "out.zip").channels == 1


@pytest.mark.parametrize("dest", ["out.zip", "out"])
def test_a_full_disk(tmp_path: Path, source: Path, dest: str) -> None:
    """Files may not grow beyond some bytes: the ZIP stops in the middle, the folder at the journal."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(
            UserError, match=r"cannot write .*: File too large; free some space.*the same command goes on"
        ):
            prepare_images(source, tmp_path / dest, OPTIONS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / dest).exists()
    prepare_images(source, tmp_path / dest, OPTIONS)
    prepare_images(source, tmp_path / "whole" / dest, OPTIONS)
    assert content(tmp_path / dest) == content(tmp_path / "whole" / dest)


def test_a_disk_that_is_full_at_the_very_end(tmp_path: Path, source: Path) -> None:
    size = prepare_images(source, tmp_path / "whole.zip", OPTIONS).path.stat().st_size
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 100, hard))
    try:
        with pytest.raises(UserError, match="File too large"):
            prepare_images(source, tmp_path / "out.zip", OPTIONS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "out.zip").exists()
    prepare_images(source, tmp_path / "out.zip", OPTIONS)
    assert content(tmp_path / "out.zip") == content(tmp_path / "whole.zip")


def test_a_killed_process(tmp_path: Path, source: Path) -> None:
    slow = "Image.save = lambda *a, save=Image.save, **k: (time.sleep(0.05), save(*a, **k))"
    program = f"import time\nfrom PIL.Image import Image\n{slow}\nfrom stylegan.cli import main; main()"
    arguments = ["prepare", str(source), str(tmp_path / "out.zip"), "--resolution", "16", "--workers", "1"]
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=root, stderr=subprocess.DEVNULL)
    journal = tmp_path / ".out.zip.partial" / "journal.jsonl"
    while process.poll() is None and not (journal.is_file() and journal.read_bytes().count(b"\n") > 8):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "out.zip").exists()
    prepare_images(source, tmp_path / "out.zip", OPTIONS)
    prepare_images(source, tmp_path / "whole.zip", OPTIONS)
    assert content(tmp_path / "out.zip") == content(tmp_path / "whole.zip")
    assert not list(tmp_path.glob(".*"))


def test_two_processes_on_one_destination(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = threading.Event(), threading.Event()
    add = ArchiveWriter.add

    def waiting(self: ArchiveWriter, *arguments: Any, **options: Any) -> None:
        began.set()
        go_on.wait(10)
        add(self, *arguments, **options)

    monkeypatch.setattr(ArchiveWriter, "add", waiting)
    first = threading.Thread(target=lambda: prepare_images(source, tmp_path / "out.zip", OPTIONS))
    first.start()
    assert began.wait(10)
    with pytest.raises(UserError, match="another process is writing"):
        prepare_images(source, tmp_path / "out.zip", OPTIONS)
    go_on.set()
    first.join()
    assert len(ImageDataset(tmp_path / "out.zip")) == 29


def test_a_replaced_folder_survives_a_crash_between_two_renames(tmp_path: Path, source: Path) -> None:
    prepare_images(source, tmp_path / "out", ImageOptions((16, 16), count=5))
    before = content(tmp_path / "out")
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    (tmp_path / "out").replace(partial / "replaced")
    with pytest.raises(UserError, match="is there already"):
        prepare_images(source, tmp_path / "out", OPTIONS)
    assert content(tmp_path / "out") == before


def test_rendered_faces_go_on(tmp_path: Path) -> None:
    options = FacesOptions(resolution=16, count=4, workers=1)
    prepare_faces3d(tmp_path / "whole.zip", options)
    with interrupted_after(2):
        prepare_faces3d(tmp_path / "out.zip", options)
    prepare_faces3d(tmp_path / "out.zip", options)
    assert content(tmp_path / "out.zip") == content(tmp_path / "whole.zip")


def test_without_a_plan_nothing_is_left(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ZeroDivisionError), ArchiveWriter(tmp_path / "out", ArchiveInfo()) as writer:
        writer.add(image, b"png")
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_journal_is_readable(tmp_path: Path, source: Path) -> None:
    with interrupted_after(3):
        prepare_images(source, tmp_path / "out", OPTIONS)
    first, *entries = map(json.loads, (tmp_path / ".out.partial/journal.jsonl").read_text().splitlines())
    assert first["resolution"] == [16, 16]
    assert [entry["item"] for entry in entries] == ["00.png", "01.png", "02.png", "03.png"]
    assert [bool(entry["reason"]) for entry in entries] == [False, False, True, False]

"""The cache of decoded images: the same batches as from the archive, made once, true to the archive, never half."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors.numpy import load_file
from torch import Tensor

from stylegan.data import cache as cache_module
from stylegan.data.archive import METADATA, ImageDataset
from stylegan.data.cache import PixelCache, cache_of
from stylegan.data.loader import DataConfig, image_batches, open_cache
from stylegan.errors import UserError
from tests.integration.command import ROOT
from tests.integration.images import write_archive

Batches = list[tuple[Tensor, Tensor]]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "noise.zip", count=23, size=8, labels=3)


def batches(dataset: ImageDataset, *, cached: bool, workers: int = 0, nimg: int = 12) -> Batches:
    """Enough of rank 1's batches to see two epochs."""
    cache, _ = open_cache(DataConfig(cache=cached), dataset)
    assert (cache is not None) == cached
    stream = image_batches(
        dataset,
        cache,
        seed=3,
        course=((first, 6) for first in count(nimg, 6)),
        places={6: [1, 4, 5]},
        workers=workers,
        device=torch.device("cpu"),
    )
    return [batch for (batch,) in islice(stream, 2 * len(dataset) // 6 + 2)]


def caches(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "use",
    [{}, {"xflip": True, "use_labels": True, "max_images": 7}, {"xflip": True}, {"max_images": 9, "use_labels": True}],
)
def test_batches_equal_those_decoded_from_the_archive(archive: Path, use: dict[str, Any], workers: int) -> None:
    dataset = ImageDataset(archive, **use)
    pairs = zip(batches(dataset, cached=True), batches(dataset, cached=False, workers=workers), strict=True)
    for (images, labels), (expected_images, expected_labels) in pairs:
        assert images.dtype == expected_images.dtype and torch.equal(images, expected_images)
        assert labels.dtype == expected_labels.dtype and torch.equal(labels, expected_labels)


@pytest.mark.parametrize(("mode", "kind"), [("L", "folder"), ("RGBA", "zip"), ("RGB", "folder")])
def test_channels_and_folders(tmp_path: Path, mode: str, kind: str) -> None:
    archive = write_archive(tmp_path / "images.zip", count=5, size=8, mode=mode)
    if kind == "folder":
        shutil.unpack_archive(archive, tmp_path / "images")
        archive = tmp_path / "images"
    dataset = ImageDataset(archive)
    images, labels = cache_of(dataset).batch(torch.tensor([4, 0, 0]))
    assert torch.equal(images, torch.stack([dataset[i][0] for i in (4, 0, 0)])) and labels.shape == (3, 0)


def test_the_cache_is_a_safetensors_file_of_all_images(archive: Path) -> None:
    dataset = ImageDataset(archive)
    cache = cache_of(ImageDataset(archive, max_images=2, xflip=True))
    stored = load_file(cache.path)["images"]
    assert np.array_equal(stored, np.stack([dataset[i][0].numpy() for i in range(23)]))


def test_a_batch_is_memory_of_its_own(archive: Path) -> None:
    cache = cache_of(ImageDataset(archive))
    first, _ = cache.batch(torch.tensor([3]))
    kept = first.clone()
    first.zero_()
    assert torch.equal(cache.batch(torch.tensor([3]))[0], kept)


def test_it_is_made_once_and_shared(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = cache_of(ImageDataset(archive)).path
    before = path.stat()
    assert "decoding" in capsys.readouterr().err
    dataset = ImageDataset(archive)
    assert cache_of(dataset).path == path and path.stat() == before and capsys.readouterr().err == ""
    fresh = ImageDataset(archive)
    fresh.verify()
    assert dataset.content_hash == fresh.content_hash, "an archive without a hash of its own gets it from the cache"


def test_two_processes_make_it_once(archive: Path) -> None:
    script = textwrap.dedent("""
        import sys
        from stylegan.data.archive import ImageDataset
        from stylegan.data.cache import cache_of
        dataset = ImageDataset(sys.argv[1])
        print("ready", flush=True)
        sys.stdin.readline()
        cache_of(dataset)
    """)
    command = [sys.executable, "-c", script, str(archive)]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    both = [subprocess.Popen(command, cwd=ROOT, text=True, **pipes) for _ in range(2)]
    for process in both:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    said = ""
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in both:
        said += process.communicate(timeout=60)[1]
        assert process.returncode == 0, said
    assert said.count("decoding") == 1 and len(caches(archive.parent)) == 1


def test_whoever_waits_takes_what_the_other_made(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = cache_of(ImageDataset(archive)).path
    made = other.rename(other.with_name("made"))
    opened = cache_module._open

    def late(path: Path, dataset: ImageDataset) -> PixelCache | None:
        """Nothing at the first look; then the file appears, as if another process had held the lock."""
        found = opened(path, dataset)
        if found is None:
            made.rename(path)
        return found

    monkeypatch.setattr(cache_module, "_open", late)
    monkeypatch.setattr(cache_module, "_make", lambda *_: pytest.fail("it was made a second time"))
    assert cache_of(ImageDataset(archive)).path == other


@pytest.mark.parametrize("damage", ["cut", "garbage", "another shape"])
def test_a_damaged_cache_is_made_anew(archive: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    dataset = ImageDataset(archive)
    path = cache_of(dataset).path
    good = path.read_bytes()
    smaller = write_archive(archive.parent / "small.zip", count=4, size=8)
    bad = {"cut": good[:-1], "garbage": b"\0" * 64, "another shape": cache_of(ImageDataset(smaller)).path.read_bytes()}
    path.write_bytes(bad[damage])
    assert torch.equal(cache_of(dataset).batch(torch.tensor([5]))[0][0], dataset[5][0])
    assert path.read_bytes() == good and "made anew" in capsys.readouterr().err


def test_a_changed_archive_gets_a_new_cache_and_the_old_one_goes(archive: Path) -> None:
    dataset = ImageDataset(archive)
    old = cache_of(dataset)
    killed = archive.parent / f".{old.path.name}.abc.safetensors"
    killed.write_bytes(b"what a killed process left")
    bystander = archive.parent / "other.zip.cache-0.safetensors"
    bystander.write_bytes(b"of another archive")
    before = old.batch(torch.tensor([0]))[0]
    write_archive(archive, count=24, size=8)
    new = cache_of(ImageDataset(archive))
    assert caches(archive.parent) == sorted([new.path, bystander]) and new.path != old.path and not killed.exists()
    assert torch.equal(old.batch(torch.tensor([0]))[0], before), "a run in progress keeps what it has opened"


def lying(archive: Path) -> Path:
    """The archive with another picture under an old name, and a dataset.json that says what was true before."""
    dataset = ImageDataset(archive, use_labels=True)
    liar = archive.with_name("liar.zip")
    info = {**dataset.info.to_json(), "count": 23, "resolution": [8, 8], "channels": 3}
    metadata = {"labels": dataset._raw_labels, **info, "content_hash": dataset.content_hash}
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(liar, "w") as target:
        names = [name for name in source.namelist() if name != METADATA]
        for name in names:
            target.writestr(name, source.read(names[0] if name == names[1] else name))
        target.writestr(METADATA, json.dumps(metadata))
    return liar


def test_an_archive_that_lies_about_its_content_is_refused(archive: Path) -> None:
    liar = lying(archive)
    with pytest.raises(UserError, match=r"liar\.zip was changed since it was prepared.*prepare it again"):
        cache_of(ImageDataset(liar))
    with pytest.raises(UserError, match="was changed since"):
        ImageDataset(liar).verify()
    assert not caches(archive.parent) and not list(archive.parent.glob(".*.safetensors"))


def test_the_fingerprint_tells_files_apart(archive: Path, tmp_path: Path) -> None:
    first = ImageDataset(archive).fingerprint
    copy = Path(shutil.copyfile(archive, tmp_path / "copy.zip"))
    assert ImageDataset(copy).fingerprint == first
    assert ImageDataset(lying(archive)).fingerprint != first
    shutil.unpack_archive(archive, tmp_path / "folder")
    one = next((tmp_path / "folder").rglob("*.png"))
    before = ImageDataset(tmp_path / "folder").fingerprint
    assert ImageDataset(tmp_path / "folder").fingerprint == before
    os.utime(one, ns=(0, 0))
    assert ImageDataset(tmp_path / "folder").fingerprint != before


def test_a_broken_image_is_named_and_nothing_is_left(archive: Path) -> None:
    with zipfile.ZipFile(archive) as good, zipfile.ZipFile(archive.with_name("bad.zip"), "w") as bad:
        for name in good.namelist():
            content = good.read(name)
            bad.writestr(name, content[: len(content) // 2 + 20] if name.endswith("07.png") else content)
    with pytest.raises(UserError, match=r"img00000007\.png"):
        cache_of(ImageDataset(archive.with_name("bad.zip")))
    assert not caches(archive.parent) and not list(archive.parent.glob(".*.safetensors"))


@pytest.mark.parametrize("left", [0, 1, 5000])
def test_a_cache_that_is_cut_while_it_is_used_is_told(archive: Path, left: int) -> None:
    """A mapped file would kill the process (SIGBUS)."""
    write_archive(archive, count=23, size=32)
    dataset = ImageDataset(archive)
    cache = cache_of(dataset)
    os.truncate(cache.path, left)
    with pytest.raises(
        UserError, match=r"cannot be read any more \(it was cut short meanwhile\); a new start makes it anew"
    ):
        cache.batch(torch.tensor([0, 22]))
    assert torch.equal(cache_of(dataset).batch(torch.tensor([22]))[0][0], dataset[22][0])


class Usage:
    free = 23 * 8 * 8 * 3  # the cache would fit, but fill the disk


def test_a_small_disk_turns_it_off_with_one_sentence(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage)
    cache, note = open_cache(DataConfig(workers=3), ImageDataset(archive))
    assert cache is None and "GiB are free" in note and "3 processes" in note and str(archive) in note
    assert not caches(archive.parent)


def test_off_where_asked_or_where_the_folder_is_read_only(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, note = open_cache(DataConfig(cache=False, workers=0), ImageDataset(archive))
    assert cache is None and "data.cache=false" in note and "the trainer itself" in note

    def refuse(*_: object, **__: object) -> Iterator[None]:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    cache, note = open_cache(DataConfig(), ImageDataset(archive))
    assert cache is None and "Read-only file system" in note

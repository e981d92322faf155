"""What others may have put beside an archive that is made, or into it: links, names, and images that are programs."""

import io
import json
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from stylegan.data.archive import METADATA, ImageDataset
from stylegan.data.cache import cache_of
from stylegan.data.image_files import FORMATS, IMAGE_SUFFIXES, open_image
from stylegan.data.inspection import describe
from stylegan.data.prepare import FacesOptions, ImageOptions, ensure_faces3d, prepare_faces3d, prepare_images
from stylegan.errors import UserError
from tests.integration.images import write_archive

OPTIONS = ImageOptions((16, 16), workers=1)
EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 16 16
%%EndComments
%%EOF
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)):
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder that nobody asked to change."""
    (tmp_path / "victim/00000").mkdir(parents=True)
    for name in ("letter", "00000/img00000000.png"):
        (tmp_path / "victim" / name).write_text("dear")
    return tmp_path / "victim"


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("dest", ["out.zip", "out"])
@pytest.mark.parametrize(
    ("planted", "to"),
    [
        *(("", ""), ("archive", ""), ("archive", "letter"), ("archive", "new"), ("lock", "letter"), ("lock", "new")),
        *(("journal.jsonl", "letter"), ("archive/00000", "00000"), ("archive/00000/img00000000.png", "letter")),
        *(("archive/dataset.json", "letter"), ("replaced", ""), ("replaced", "letter")),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_links_in_an_unfinished_archive_are_not_followed(
    tmp_path: Path, source: Path, victim: Path, dest: str, planted: str, to: str, overwrite: bool
) -> None:
    link = tmp_path / "d" / f".{dest}.partial" / planted
    link.parent.mkdir(parents=True)
    link.symlink_to(victim / to)
    before = content(victim)
    with pytest.raises(UserError, match="is a link"):
        prepare_images(source, tmp_path / "d" / dest, ImageOptions((16, 16), workers=1, overwrite=overwrite))
    assert content(victim) == before
    assert not (tmp_path / "d" / dest).exists()


def test_links_of_the_users_own_are_followed(tmp_path: Path, source: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "d").symlink_to("disk")
    assert prepare_images(source, tmp_path / "d" / "out", OPTIONS).count == 5
    assert (tmp_path / "disk" / "out" / METADATA).is_file()


def stopped_at_the_end(source: Path, dest: Path) -> Path:
    """Prepare an archive up to its last file; returns the journal."""

    class StopError(Exception):
        pass

    def stop(*_: object) -> None:
        raise StopError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):
        patch.setattr("stylegan.data.writer.ArchiveWriter._finish", stop)
        prepare_images(source, dest, OPTIONS)
    return dest.with_name(f".{dest.name}.partial") / "journal.jsonl"


@pytest.mark.parametrize("dest", ["out.zip", "out"])
@pytest.mark.parametrize(
    "line", ['{"size": 1000000000000000}', '{"size": -1}', '{"crc": "x"}', "[" * 10**5, "1" * 5000]
)
def test_a_journal_is_not_believed(tmp_path: Path, source: Path, dest: str, line: str) -> None:
    journal = stopped_at_the_end(source, tmp_path / dest)
    first, entry, *_ = journal.read_text().splitlines()
    changed = json.dumps({**json.loads(entry), **json.loads(line)}) if line.startswith("{") else line
    journal.write_text(f"{first}\n{changed}\n")
    assert prepare_images(source, tmp_path / dest, OPTIONS).count == 5


@pytest.mark.parametrize("dest", ["out.zip", "out"])
@pytest.mark.parametrize("name", ["../../victim/aaaa.png", "00000/img00000007.png", "00000/img00000002.png"])
def test_names_in_a_journal_are_those_of_an_archive(
    tmp_path: Path, source: Path, victim: Path, dest: str, name: str
) -> None:
    """Also where the image lies under the other name."""
    journal = stopped_at_the_end(source, tmp_path / dest)
    first, *entries = map(json.loads, journal.read_text().splitlines())
    assert len(entries) == 5
    partial, old = tmp_path / f".{dest}.partial" / "archive", entries[1]["name"]
    entries[1]["name"] = name
    if partial.is_dir():
        (partial / name).write_bytes((partial / old).read_bytes())
    else:
        partial.write_bytes(partial.read_bytes().replace(old.encode(), name.encode(), 1))
    before = content(victim)
    journal.write_text("".join(json.dumps(line) + "\n" for line in [first, *entries]))
    prepare_images(source, tmp_path / dest, OPTIONS)
    assert ImageDataset(tmp_path / dest).names == [f"00000/img0000000{i}.png" for i in range(5)]
    assert content(victim) == before


def test_locks_and_caches_beside_an_archive_are_no_links(tmp_path: Path, victim: Path) -> None:
    archive = write_archive(tmp_path / "noise.zip", count=3, size=8)
    cache = cache_of(ImageDataset(archive)).path
    whole = cache.read_bytes()
    cache.rename(victim / "cache")
    cache.symlink_to(victim / "cache")
    assert cache_of(ImageDataset(archive)).path.read_bytes() == whole and not cache.is_symlink()
    cache.unlink()
    lock = tmp_path / ".noise.zip.cache.lock"
    lock.unlink(missing_ok=True)
    lock.symlink_to(victim / "letter")
    with pytest.raises(UserError, match=r"cache\.lock is a link"):
        cache_of(ImageDataset(archive))
    (tmp_path / ".faces.zip.lock").symlink_to(victim / "letter")
    with pytest.raises(UserError, match=r"faces\.zip\.lock is a link"):
        ensure_faces3d(tmp_path / "faces.zip", resolution=16, count=1)
    assert content(victim) == {"letter": b"dear", "00000/img00000000.png": b"dear", "cache": whole}


def test_a_killed_report_is_removed_by_the_next_preparing(tmp_path: Path, source: Path) -> None:
    for name in (".out.zip.report.json.abcd1234.unfinished.json", ".other.zip.report.json.abcd1234.unfinished.json"):
        (tmp_path / name).touch()
    prepare_images(source, tmp_path / "out.zip", OPTIONS)
    assert [path.name for path in tmp_path.glob(".*")] == [".other.zip.report.json.abcd1234.unfinished.json"]


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in that leaves a mark where it is started."""
    mark, program = tmp_path / "started", tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> "{mark}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # it looks for the program once a process
    subprocess.run(["gs", "--version"], check=True)
    assert mark.exists()
    mark.unlink()
    return mark


def test_no_image_starts_a_program(tmp_path: Path, source: Path, ghostscript: Path) -> None:
    with pytest.raises(OSError), Image.open(io.BytesIO(EPS)) as image:
        image.load()
    assert ghostscript.exists()
    ghostscript.unlink()
    (source / "0.png").write_bytes(EPS)
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in sorted(source.iterdir()):
            archive.write(path, path.name)
    for given in (source, tmp_path / "in.zip"):
        result = prepare_images(given, tmp_path / f"{given.name}.out.zip", OPTIONS)
        assert result.count == 4 and result.skipped == (("0.png", "it is no image of a known kind"),)
        with pytest.raises(UserError, match=r"0\.png in .* cannot be read"):
            ImageDataset(given)
    assert not ghostscript.exists()


def test_every_suffix_of_a_kind_is_taken() -> None:
    Image.init()
    assert {suffix for suffix, kind in Image.EXTENSION.items() if kind in FORMATS} <= IMAGE_SUFFIXES


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_kind_that_is_taken_is_opened(suffix: str) -> None:
    Image.init()
    if Image.EXTENSION[suffix] not in Image.SAVE:
        pytest.skip("this build of Pillow does not write it")
    assert Image.EXTENSION[suffix] in FORMATS
    file = io.BytesIO()
    Image.new("L", (16, 16), 77).save(file, format=Image.EXTENSION[suffix])
    with open_image(file) as image:
        assert image.size == (16, 16) and abs(int(np.asarray(image.convert("L"))[3, 3]) - 77) < 4


@pytest.mark.parametrize("kind", ["EPS", "PDF", "PCX", "ICO", "DDS", "SGI"])
def test_other_kinds_are_not_opened(kind: str) -> None:
    Image.init()
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, format=kind)
    with pytest.raises(UnidentifiedImageError):
        open_image(file)


@pytest.mark.parametrize(
    "change",
    [{"class_names": ["a", 1]}, {"name": ["x"]}, {"licence": {}}, {"made_with": []}, {"attributes": ["x"]}],
)
def test_what_an_archive_says_of_itself_is_text(tmp_path: Path, change: dict[str, object]) -> None:
    prepare_faces3d(tmp_path / "faces", FacesOptions(resolution=16, count=1, workers=1))
    told = json.loads((tmp_path / "faces" / METADATA).read_text())
    (tmp_path / "faces" / METADATA).write_text(json.dumps({**told, **change}))
    with pytest.raises(UserError, match=r"dataset\.json in .* cannot be used"):
        ImageDataset(tmp_path / "faces")


def test_what_an_archive_says_of_itself_does_not_steer_the_terminal(tmp_path: Path) -> None:
    prepare_faces3d(tmp_path / "faces", FacesOptions(resolution=16, count=1, workers=1))
    told = json.loads((tmp_path / "faces" / METADATA).read_text())
    told |= {"name": "cat\x1b[2J", "licence": "free\nhash       0000", "source": "x" * 10**6}
    (tmp_path / "faces" / METADATA).write_text(json.dumps(told))
    lines = describe(tmp_path / "faces").splitlines()
    assert len([line for line in lines if line.startswith("hash ")]) == 1
    assert max(map(len, lines)) < 5000 and all(line.isprintable() for line in lines)

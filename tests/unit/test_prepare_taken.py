"""Nothing of a source is left out in silence: what is taken, and the count by reason of what is not."""

import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stylegan import cli
from stylegan.data import image_files, selection, tar
from stylegan.data.archive import ImageDataset
from stylegan.data.convert import encode_png
from stylegan.data.image_files import PLUG_INS, PlugIn, why_no_image
from stylegan.data.inspection import contact_sheet, describe
from stylegan.data.prepare import FacesOptions, ImageOptions, prepare_faces3d, prepare_images
from stylegan.data.selection import Member, Tally, clean_name, files_among, files_below
from stylegan.data.sources import open_source
from stylegan.errors import UserError
from stylegan.opening import require_regular_file

OPTIONS = ImageOptions((8, 8), workers=1)
NO_FILE = "links to what is no file of the archive"
OUTSIDE = "with names that lead out of the archive"


def png(seed: int) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8))


def folder_of(path: Path, *names: str) -> Path:
    """Images of their own at these names."""
    for seed, name in enumerate(names):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(png(seed))
    return path


def zip_of(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for seed, name in enumerate(names):
            archive.writestr(zipfile.ZipInfo(name), png(seed))
    return path


def tar_of(path: Path, *members: str | tuple[str, bytes, str], mode: Any = "w") -> Path:
    """A TAR of images, and of links: their name, type and target."""
    with tarfile.open(path, mode) as archive:
        for seed, member in enumerate(members):
            info = tarfile.TarInfo(member if isinstance(member, str) else member[0])
            if isinstance(member, str):
                info.size = len(png(seed))
                archive.addfile(info, io.BytesIO(png(seed)))
            else:
                info.type, info.linkname = member[1:]
                archive.addfile(info)
    return path


def seeds(path: Path, source: Path) -> list[int]:
    """Of each image in the archive made of a source, in order, which of the images above it is."""
    dataset = ImageDataset(path)
    known = {np.asarray(Image.open(io.BytesIO(png(seed)))).tobytes(): seed for seed in range(10)}
    return [known[dataset[i][0].numpy().transpose(1, 2, 0).tobytes()] for i in range(len(dataset))]


def test_suffixes_of_kinds_that_pillow_reads(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for suffix in (".jfif", ".jpe", ".pbm", ".tga", ".TGA", ".PNG"):
        image = Image.new("1" if suffix == ".pbm" else "RGB", (8, 8), 1)
        image.save(folder / f"{suffix[1:]}{suffix}")
    (folder / "notes.txt").write_text("no image")
    (folder / "LICENSE").write_text("no image")
    result = prepare_images(folder, tmp_path / "out.zip", OPTIONS)
    assert result.count == 6 and result.tally.left == {"named .txt": 1, "named without a suffix": 1}


@pytest.mark.parametrize("suffix", sorted(PLUG_INS))
def test_a_missing_plug_in_is_named(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "_found", lambda module: False)
    folder = folder_of(tmp_path / "in", "a.png", f"b{suffix}")
    reason = f"named {suffix}, which can be read after pip install {PLUG_INS[suffix].package}"
    assert prepare_images(folder, tmp_path / "out.zip", OPTIONS).tally.left == {reason: 1}
    (folder / "a.png").unlink()
    for opened in (open_source, ImageDataset):
        with pytest.raises(UserError, match=f"holds no images.*, but 1 {reason}"):
            opened(folder)


def test_an_installed_plug_in_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in, which teaches Pillow a format of its own."""
    (tmp_path / "pillow_stand_in.py").write_text(
        "from PIL import Image, PngImagePlugin\n"
        "class File(PngImagePlugin.PngImageFile):\n"
        "    format = 'STANDIN'\n"
        "def register():\n"
        "    Image.register_open('STANDIN', File, lambda start: start[:4] == b'\\x89PNG')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    plug_in = PlugIn("stand-in", "pillow_stand_in", "STANDIN", lambda module: module.register())
    monkeypatch.setitem(PLUG_INS, ".heic", plug_in)
    monkeypatch.setattr(image_files, "FORMATS", ("JPEG", "TGA"))
    image_files._known_formats.cache_clear()
    try:
        assert why_no_image("a/b.HEIC") == "" and "STANDIN" in image_files._known_formats()
        with image_files.open_image(io.BytesIO(png(0))) as image:
            assert image.format == "STANDIN"
    finally:
        image_files._known_formats.cache_clear()
        Image.OPEN.pop("STANDIN", None)
        Image.ID.remove("STANDIN")


def test_linked_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    folder_of(tmp_path, "animals/dog/1.png", "elsewhere/cat/2.png", "elsewhere/cat/.hidden.png")
    (tmp_path / "animals/cat").symlink_to("../elsewhere/cat")
    (tmp_path / "elsewhere/cat/up").symlink_to("../../animals")
    (tmp_path / "elsewhere/cat/above").symlink_to(tmp_path)
    (tmp_path / "animals/a-dog").symlink_to("dog")  # sorted before it, but a folder is taken by its own name
    source = open_source(tmp_path / "animals")
    assert source.names == ["cat/2.png", "dog/1.png"]
    assert source.tally.left == {"links to folders that are taken already or hold the source": 3, "hidden": 1}
    assert ImageDataset(tmp_path / "animals").names == source.names
    assert "\nnot taken  3 links to folders that are taken already" in describe(tmp_path / "animals")


def test_many_links_to_links_are_entered_once(tmp_path: Path) -> None:
    """2^20 paths lead to the last of these folders."""
    for i in range(20):
        folder = tmp_path / f"in/{i}"
        folder.mkdir(parents=True)
        for name in "ab":
            (folder / name).symlink_to(f"../{i + 1}")
    folder_of(tmp_path / "in/20", "a.png")
    assert open_source(tmp_path / "in").names == ["20/a.png"]


def test_what_can_be_no_image_is_counted(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", "a.png", ".thumbnails/a.png", "b/__MACOSX/a.png", ".b.png")
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe.png")
    result = prepare_images(folder, tmp_path / "out.zip", OPTIONS)
    assert result.count == 1
    assert result.tally.left == {"hidden": 3, "links that lead nowhere": 2, "neither files nor folders": 1}


def test_unreadable_folders_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path / "in", "a/1.png", "b/2.png")
    scandir = os.scandir

    def refused(path: Path) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "b":  # as for who may not read it; root may
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(selection.os, "scandir", refused)
    tally = Tally()
    assert files_below(folder, tally) == ["a/1.png"]
    assert tally.report()["not_taken"] == [
        {
            "reason": "folders that cannot be read",
            "count": 1,
            "examples": [{"name": "b", "detail": "Permission denied"}],
        }
    ]


@pytest.mark.parametrize("inside", ["16", "sets/16"])
def test_its_own_outputs_are_not_taken_again(tmp_path: Path, inside: str) -> None:
    photos = folder_of(tmp_path / "photos", "0.png", "1.png")
    prepare_images(photos, photos / inside, OPTIONS)
    contact_sheet(photos / inside, photos / "16.contact-sheet.png")
    result = prepare_images(photos, photos / "32", ImageOptions((16, 16)))
    assert result.count == 2
    assert result.tally.left == {"archives within": 1, "contact sheets of --inspect": 1}
    assert prepare_images(photos / inside, tmp_path / "again.zip", OPTIONS).count == 2  # an archive as the source
    for image in photos.glob("*.png"):
        image.unlink()
    with pytest.raises(UserError, match=r"holds no images .* 2 archives within"):
        open_source(photos)


def test_names_in_a_zip(tmp_path: Path) -> None:
    names = ["./a.png", "../../evil.png", "/abs/b.png", "C:\\win\\c.png", "cat\\d.png", "x/../e.png", ".h.png"]
    source = open_source(zip_of(tmp_path / "in.zip", *names))
    assert source.names == ["a.png", "abs/b.png", "cat/d.png", "e.png", "win/c.png"]
    assert source.tally.left == {OUTSIDE: 1, "hidden": 1}
    prepare_images(tmp_path / "in.zip", tmp_path / "out.zip", OPTIONS)
    assert seeds(tmp_path / "out.zip", tmp_path / "in.zip") == [0, 2, 4, 5, 3]


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        *(("a/b.png", "a/b.png"), ("./a", "a"), ("././a", "a"), ("a//b/./c", "a/b/c"), ("/a", "a"), ("a/..", None)),
        *(("..", None), ("../a", None), ("a/../../b", None), ("a/../b", "b"), (".", None), ("", None), ("..a", "..a")),
        *((".a/b", ".a/b"), ("a./b..", "a./b.."), ("a\\b", "a\\b"), ("C:/a", "C:/a")),
    ],
)
def test_clean_names(name: str, clean: str | None) -> None:
    assert clean_name(name) == clean


def test_clean_names_of_windows() -> None:
    assert [clean_name(name, backslashes=True) for name in ("C:\\a\\b", "a\\..\\..\\b", ".\\a", "c:a")] == [
        *("a/b", None, "a", "c:a")
    ]


def test_of_members_of_one_name_the_last_counts(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        zip_of(tmp_path / "in.zip", "a.png", "b.png", "a.png", "./b.png")
    tar_of(tmp_path / "in.tar", "a.png", "b.png", "a.png", "./b.png")
    for kind in ("zip", "tar"):
        result = prepare_images(tmp_path / f"in.{kind}", tmp_path / f"{kind}.zip", OPTIONS)
        assert result.tally.left == {"earlier members of the same name": 2}
        assert seeds(tmp_path / f"{kind}.zip", tmp_path) == [2, 3]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_links_in_a_tar_are_what_they_lead_to(tmp_path: Path, mode: str) -> None:
    source = tar_of(
        tmp_path / "in.tar",
        *(
            "a/0.png",
            "a/1.png",
            ("b/hard.png", tarfile.LNKTYPE, "a/0.png"),
            ("b/soft.png", tarfile.SYMTYPE, "../a/1.png"),
        ),
        *(("b/chain.png", tarfile.SYMTYPE, "soft.png"), ("later.png", tarfile.SYMTYPE, "z/7.png"), "c.png", "z/7.png"),
        *(("gone.png", tarfile.LNKTYPE, "nowhere.png"), ("out.png", tarfile.SYMTYPE, "../a.png")),
        *(("loop.png", tarfile.SYMTYPE, "loop.png"), ("root.png", tarfile.SYMTYPE, "/etc/a.png")),
        *(("folder", tarfile.SYMTYPE, "a"), ("pipe.png", tarfile.FIFOTYPE, "")),
        mode=mode,
    )
    images = open_source(source)
    assert images.tally.left == {NO_FILE: 5, "neither files nor folders": 1}
    prepare_images(source, tmp_path / "out.zip", OPTIONS)
    found = dict(zip(images.names, seeds(tmp_path / "out.zip", source), strict=True))
    assert found == {
        **{"a/0.png": 0, "b/hard.png": 0, "a/1.png": 1, "b/soft.png": 1, "b/chain.png": 1},
        **{"c.png": 6, "z/7.png": 7, "later.png": 7},
    }


def test_links_in_a_zip_are_what_they_lead_to(tmp_path: Path) -> None:
    zip_of(tmp_path / "in.zip", "a/0.png")
    with zipfile.ZipFile(tmp_path / "in.zip", "a") as archive:
        for name, target in (("b.png", b"a/0.png"), ("c.png", b"nowhere"), ("d.png", b"\xff")):
            link = zipfile.ZipInfo(name)
            link.create_system, link.external_attr = 3, 0o120777 << 16
            archive.writestr(link, target)
    result = prepare_images(tmp_path / "in.zip", tmp_path / "out.zip", OPTIONS)
    assert seeds(tmp_path / "out.zip", tmp_path) == [0, 0] and result.tally.left == {NO_FILE: 2}


def test_long_chains_of_links_end() -> None:
    members = [Member(f"{i}", link=f"{i + 1}") for i in range(1000)]
    tally = Tally()
    assert files_among([*members, Member("1000")], tally).keys() == {"1000", *(f"{i}" for i in range(960, 1000))}
    assert tally.left == {NO_FILE: 960}


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress])
def test_a_tar_that_ends_before_its_end_is_refused(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    source = tar_of(tmp_path / "in.tar", *(f"{i}.png" for i in range(10)))
    plain = source.read_bytes()
    with tarfile.open(source) as archive:
        place = archive.getmembers()[5].offset
    flipped = plain[: place + 100] + bytes([plain[place + 100] ^ 1]) + plain[place + 101 :]
    cases = {"damaged": flipped, "without the mark of its end": plain[:place], "another TAR is appended": plain * 2}
    for message, content in cases.items():
        source.write_bytes(compress(content))
        with pytest.raises(UserError, match=message):
            open_source(source)
    source.write_bytes(compress(plain + b"left over from an earlier, longer file".ljust(1024)))
    assert len(open_source(source).names) == 10


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_what_tells_about_images_is_no_file_that_is_left(tmp_path: Path, kind: str) -> None:
    """Also in a folder around all of them, unless one at the top is read."""
    labels = json.dumps({"labels": [["a.png", 1], ["b.png", 0]]}).encode()
    files = {"set/dataset.json": labels, "set/a.png": png(0), "set/b.png": png(1)}
    for at_the_top in ({}, {"dataset.json": labels}):
        source = tmp_path / f"{len(at_the_top)}.{kind}"
        if kind == "zip":
            with zipfile.ZipFile(source, "w") as packed:
                for name, content in {**files, **at_the_top}.items():
                    packed.writestr(name, content)
        for name, content in {**files, **at_the_top}.items() if kind != "zip" else ():
            path = (source if kind == "folder" else tmp_path / "unpacked") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if kind == "tar":
            with tarfile.open(source, "w") as packed:
                packed.add(tmp_path / "unpacked", ".")
        found = open_source(source)
        assert found.tally.left == ({"named .json": 1} if at_the_top else {})
        assert found.metadata["labels"] == [("a.png", 1), ("b.png", 0)]


@pytest.mark.parametrize("shuffle", [False, True])
def test_an_image_of_a_tar_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shuffle: bool) -> None:
    source = tar_of(tmp_path / "in.tar", *(f"{i}.png" for i in range(9)), ("a.png", tarfile.LNKTYPE, "0.png"))
    with tarfile.open(source, "a") as archive:
        info = tarfile.TarInfo("large.png")
        info.size = 2000
        archive.addfile(info, io.BytesIO(png(0).ljust(2000)))
    monkeypatch.setattr(tar, "IMAGE_BYTES", 1000)
    result = prepare_images(source, tmp_path / "out.zip", ImageOptions((8, 8), workers=1, shuffle=shuffle))
    assert result.skipped == (("large.png", "it holds more than 1000 bytes, the most that is read of an image"),)
    assert sorted(seeds(tmp_path / "out.zip", source)) == [0, 0, *range(1, 9)]


def test_zips_packed_in_other_ways(tmp_path: Path) -> None:
    """bzip2 and LZMA make a gigabyte of a kilobyte at once, so that not even the end of a link is read in them."""
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr("0.png", png(0))
        archive.writestr("1.png", png(1), zipfile.ZIP_BZIP2)
        link = zipfile.ZipInfo("2.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "0.png", zipfile.ZIP_BZIP2)
    result = prepare_images(tmp_path / "in.zip", tmp_path / "out.zip", OPTIONS)
    assert [name for name, _ in result.skipped] == ["1.png"] and "neither stored nor deflated" in result.skipped[0][1]
    assert result.tally.left == {NO_FILE: 1, "damaged or of no known kind": 1}


def test_zstandard(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    plain = tar_of(tmp_path / "in.tar", *(f"{i}.png" for i in range(9)), ("a.png", tarfile.LNKTYPE, "0.png"))
    source = tmp_path / "in.tar.zst"
    compressed = zstandard.ZstdCompressor(write_checksum=True).compress(plain.read_bytes())
    source.write_bytes(compressed)
    for path in (plain, source):
        prepare_images(path, tmp_path / f"{path.name}.zip", OPTIONS)
    assert seeds(tmp_path / "in.tar.zip", plain) == seeds(tmp_path / "in.tar.zst.zip", source) == [0, 0, *range(1, 9)]
    for content in (compressed[:-500], compressed[:99] + b"damaged" + compressed[106:]):
        source.write_bytes(content)
        with pytest.raises(UserError, match="not a readable TAR"):
            open_source(source)


def test_zstandard_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd and so on")
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    with pytest.raises(UserError, match=r"pip install 'stylegan\[zstd\]'"):
        open_source(tmp_path / "in.tar.zst")


def test_a_stream_that_goes_forward_only() -> None:
    data = np.random.default_rng(0).bytes(3 * tar._CHUNK)

    class Stream(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:  # as decompressors do, it gives less than is asked for
            return super().read(min(size or 0, 1000))

    random = np.random.default_rng(1)
    stream = tar._Forward(Stream(data), OSError)
    position = 0
    while position < len(data):
        position = max(position + int(random.integers(-tarfile.BLOCKSIZE, 5000)), 0)
        stream.seek(position)
        expected = data[position : position + int(random.integers(0, 3000))]
        assert stream.read(len(expected)) == expected
        position += len(expected)
        assert stream.tell() == position
    assert stream.read(10) == b""
    with pytest.raises(OSError, match="front to back"):
        stream.seek(0)


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_attributes_of_an_archive_stay(tmp_path: Path, kind: str) -> None:
    source = tmp_path / ("faces.zip" if kind == "zip" else "faces")
    prepare_faces3d(source, FacesOptions(resolution=16, count=4, workers=1))
    if kind == "tar":
        with tarfile.open(tmp_path / "faces.tar", "w") as archive:
            for file in sorted(source.rglob("*"), reverse=True):
                archive.add(file, file.relative_to(source).as_posix(), recursive=False)
        source = tmp_path / "faces.tar"
    whole = ImageDataset(tmp_path / "faces" if kind == "tar" else source)
    names = open_source(source).names
    prepare_images(source, tmp_path / "small.zip", ImageOptions((8, 8), count=3))
    kept = [dict(attributes) for attributes in ImageDataset(tmp_path / "small.zip").info.attributes]
    assert kept == [dict(whole.info.attributes[whole.names.index(name)]) for name in names[:3]]


def test_attributes_that_do_not_fit_are_counted(tmp_path: Path) -> None:
    prepare_faces3d(tmp_path / "faces", FacesOptions(resolution=16, count=3, workers=1))
    (tmp_path / "faces/00000/img00000001.png").unlink()
    result = prepare_images(tmp_path / "faces", tmp_path / "out.zip", OPTIONS)
    assert result.count == 2 and result.tally.left == {"tables of attributes": 1}
    assert not ImageDataset(tmp_path / "out.zip").info.attributes


def test_names_of_entries_of_labels_stay(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", "a.png", "b.png")
    table = tmp_path / "labels.csv"
    table.write_text("name,age,height\na.png,1,2\nb.png,3,4\n")
    prepare_images(folder, tmp_path / "first.zip", ImageOptions((8, 8), labels_file=table))
    prepare_images(tmp_path / "first.zip", tmp_path / "second.zip", OPTIONS)
    assert ImageDataset(tmp_path / "second.zip").info.made_with["label_names"] == ["age", "height"]


def test_the_line_and_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(tmp_path / "in", "a.png", "b.png", ".c.png", "d/e.txt", "f.txt")
    (folder / "b.png").write_bytes(b"broken")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr("sys.argv", ["stylegan", "prepare", str(folder), str(tmp_path / "o.zip"), "--resolution", "16"])
    with monkeypatch.context(), pytest.raises(SystemExit):
        cli.main()
    monkeypatch.undo()
    report = tmp_path / "o.zip.report.json"
    assert capsys.readouterr().out == (
        f"{tmp_path / 'o.zip'}: 1 images, 1 enlarged; not taken: 2 named .txt, 1 hidden, 1 damaged or of no known kind; "
        f"listed in {report}\n"
    )
    told = json.loads(report.read_text())
    assert {group["reason"]: group["count"] for group in told["not_taken"]} == {
        **{"hidden": 1, "named .txt": 2, "damaged or of no known kind": 1}
    }
    assert told["not_taken"][1]["examples"] == [{"name": "f.txt"}, {"name": "d/e.txt"}]
    assert told["notes"] == [{"what": "enlarged", "count": 1, "examples": [{"name": "a.png", "detail": "from 8x8"}]}]


def test_a_line_does_not_grow_without_end() -> None:
    tally = Tally()
    for i in range(100):
        tally.leave(f"named .{i:02}", f"x.{i:02}")
    assert tally.told_left().startswith("1 named .00, 1 named .01") and tally.told_left().endswith(
        "1 named .07, 92 for 92 other reasons"
    )
    for i in range(2000):
        tally.leave("hidden", f".{i}")
    hidden = tally.report()["not_taken"][-1]
    assert hidden["count"] == 2000 and len(hidden["examples"]) == 1000


@pytest.mark.parametrize(
    ("given", "meant"),
    [("phots", "photos"), ("photos/dgo", "photos/dog"), ("phots/dog", "photos/dog"), ("photos.zpi", "photos.zip")],
)
def test_the_nearest_path_is_told(tmp_path: Path, given: str, meant: str) -> None:
    folder_of(tmp_path, "photos/dog/a.png", "photos.zip")
    with pytest.raises(UserError, match=f"there is no .*{given}, did you mean '.*{meant}'"):
        open_source(tmp_path / given)
    with pytest.raises(UserError, match=f"there is no archive .*{given}, did you mean '.*{meant}'"):
        ImageDataset(tmp_path / given)
    with pytest.raises(UserError, match=f"there is no network file .*{given}, did you mean '.*{meant}'"):
        require_regular_file(tmp_path / given, "network file")


def test_no_nearest_path(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no [^,]*x/y; give"):
        open_source(tmp_path / "x/y")

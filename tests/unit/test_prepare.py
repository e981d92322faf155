"""Making archives: what goes in comes out, others can read it, and a wrong input is told."""

import hashlib
import json
import shutil
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from stylegan import cli
from stylegan.data import prepare
from stylegan.data.archive import ArchiveInfo, ImageDataset
from stylegan.data.convert import Fit, ResizeFilter, convert_pixels, encode_png, fit_image, image_array
from stylegan.data.prepare import FacesOptions, ImageOptions, ensure_faces3d, prepare_faces3d, prepare_images
from stylegan.data.writer import ArchiveWriter
from stylegan.errors import UserError

AS_IS = ImageOptions(None, fit=Fit.NONE)


def pixels(count: int, H: int = 8, W: int = 8, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Random images, uint8 [count, H, W, channels]."""
    return np.random.default_rng(seed).integers(0, 256, (count, H, W, channels), dtype=np.uint8)


def picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def folder_of(path: Path, images: dict[str, np.ndarray]) -> Path:
    for name, image in images.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        picture(image).save(path / name)
    return path


def read(path: Path, **options: Any) -> np.ndarray:
    dataset = ImageDataset(path, **options)
    return np.stack([dataset[i][0].numpy().transpose(1, 2, 0) for i in range(len(dataset))])


def files_in(path: Path) -> list[str]:
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*"))


def run(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["stylegan", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    return int(stop.value.code or 0)


@pytest.fixture
def few_faces(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, str, int]]:
    """In place of the renderer: noise by the same rules. Returns the calls that were made."""
    calls = []

    def faces(
        count: int, resolution: int, *, split: str, seed: int, threads: int, start: int
    ) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        calls.append((count, resolution, split, seed))
        for i, image in enumerate(pixels(count, resolution, resolution, seed=seed)):
            yield image.transpose(2, 0, 1), {"index": i, "hair": "black"}

    monkeypatch.setattr(prepare, "iterate_faces", faces)
    return calls


@pytest.mark.parametrize("dest", ["archive.zip", "archive"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_round_trip_is_exact(tmp_path: Path, dest: str, channels: int) -> None:
    images = pixels(5, H=16, W=8, channels=channels)
    source = folder_of(tmp_path / "in", {f"{i // 2}/{i}.png": image for i, image in enumerate(images)})
    options = ImageOptions((16, 8), channels=channels, name="noise", origin="numpy", licence="CC0-1.0")
    result = prepare_images(source, tmp_path / dest, options)
    assert (result.count, result.skipped) == (5, ())
    assert np.array_equal(read(tmp_path / dest), images)
    info = ImageDataset(tmp_path / dest).info
    assert (info.name, info.source, info.licence, info.crop) == ("noise", "numpy", "CC0-1.0", "cover")
    assert (info.resize_filter, info.count, info.resolution, info.channels) == ("lanczos", 5, (16, 8), channels)
    assert info.content_hash == hashlib.sha256(images.tobytes()).hexdigest()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in", dest])


def test_layout_is_that_of_the_public_tools(tmp_path: Path) -> None:
    """Read with nothing but zipfile, json and PIL, as another tool would."""
    images = pixels(3, H=4, W=4)
    source = folder_of(tmp_path / "in", {"dog/1.png": images[2], "cat/1.png": images[0], "cat/2.png": images[1]})
    prepare_images(source, tmp_path / "a.zip", ImageOptions((4, 4), labels=True))
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        names = [f"00000/img0000000{i}.png" for i in range(3)]
        assert archive.namelist() == [*names, "dataset.json"]
        assert all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())
        metadata = json.loads(archive.read("dataset.json"))
        for name, expected in zip(names, images, strict=True):
            with archive.open(name) as file:
                assert np.array_equal(np.asarray(Image.open(file)), expected)
    assert metadata["labels"] == [[names[0], 0], [names[1], 0], [names[2], 1]]
    assert metadata["class_names"] == ["cat", "dog"]
    hashed = hashlib.sha256(images.tobytes() + np.array([0, 0, 1], "<i8").tobytes())
    assert metadata["content_hash"] == hashed.hexdigest()


def test_unlabelled_archives_say_null(tmp_path: Path) -> None:
    prepare_images(folder_of(tmp_path / "in", {"a.png": pixels(1)[0]}), tmp_path / "a.zip", AS_IS)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert json.loads(archive.read("dataset.json"))["labels"] is None


def test_names_change_folder_after_a_thousand(tmp_path: Path) -> None:
    image = pixels(1, 4, 4)[0]
    encoded = encode_png(image)
    with ArchiveWriter(tmp_path / "a.zip", ArchiveInfo()) as writer:
        for _ in range(1001):
            writer.add(image, encoded)
    names = ImageDataset(tmp_path / "a.zip").names
    assert names[999:] == ["00000/img00000999.png", "00001/img00001000.png"]


def test_nothing_but_pixels_is_kept(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    exif = Image.Exif()
    exif[0x010F] = "a camera and its owner"
    picture(pixels(1)[0]).save(tmp_path / "in/a.png", icc_profile=b"profile" * 50, exif=exif)
    prepare_images(tmp_path / "in", tmp_path / "out", AS_IS)
    with Image.open(tmp_path / "out/00000/img00000000.png") as image:
        assert not image.info and not image.getexif()


def test_the_same_images_give_the_same_bytes(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", {f"{i}.png": image for i, image in enumerate(pixels(20))})
    for dest, workers in (("a.zip", 1), ("b.zip", 3)):
        prepare_images(source, tmp_path / dest, ImageOptions((16, 16), workers=workers))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_labels_of_an_archive_are_kept(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", {"a.png": pixels(1)[0], "b.png": pixels(1)[0], "c.png": pixels(1)[0]})
    (source / "b.png").write_bytes(b"broken")
    labels = {"labels": [["c.png", [0.5, 2]], ["b.png", [9, 9]], ["a.png", [1, 0]]]}
    (source / "dataset.json").write_text(json.dumps(labels))
    prepare_images(source, tmp_path / "out.zip", ImageOptions((4, 4)))
    dataset = ImageDataset(tmp_path / "out.zip", use_labels=True)
    assert [dataset.label(i).tolist() for i in range(len(dataset))] == [[1, 0], [0.5, 2]]


def test_labels_need_sub_folders(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", {"cat/a.png": pixels(1)[0], "b.png": pixels(1)[0]})
    with pytest.raises(UserError, match=r"b\.png lies in"):
        prepare_images(source, tmp_path / "out.zip", ImageOptions((4, 4), labels=True))


def test_exif_orientation_is_applied() -> None:
    upright = pixels(1, H=4, W=6)[0]
    turned = Image.fromarray(np.rot90(upright))  # by 90 degrees; orientation 6 says: turn it back clockwise
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.info["exif"] = exif.tobytes()
    assert np.array_equal(np.asarray(convert_pixels(turned, 3)), upright)


def test_kinds_of_pixels(tmp_path: Path) -> None:
    grey = np.array([[0, 256, 32768], [65535, 257, 129]], np.uint16)
    Image.fromarray(grey).save(tmp_path / "16.png")
    with Image.open(tmp_path / "16.png") as image:
        found = np.asarray(convert_pixels(image, 1))
    assert np.array_equal(found, np.round(grey / 257).astype(np.uint8))

    rgb = pixels(1)[0]
    palette = Image.fromarray(rgb).quantize(16)
    assert np.array_equal(np.asarray(convert_pixels(palette, 3)), np.asarray(palette.convert("RGB")))

    half_clear = np.zeros((2, 2, 4), np.uint8)
    half_clear[0] = [200, 10, 30, 255]
    half_clear[1] = [200, 10, 30, 0]
    on_white = np.asarray(convert_pixels(Image.fromarray(half_clear), 3))
    assert on_white[0, 0].tolist() == [200, 10, 30] and on_white[1, 0].tolist() == [255, 255, 255]
    assert np.array_equal(np.asarray(convert_pixels(Image.fromarray(half_clear), 4)), half_clear)
    assert np.asarray(convert_pixels(Image.fromarray(half_clear), 1))[1].tolist() == [255, 255]

    level = Image.fromarray(pixels(1, channels=1)[0, ..., 0])
    assert np.array_equal(np.asarray(convert_pixels(level, 3)), np.repeat(np.asarray(level)[..., None], 3, axis=2))
    assert np.asarray(convert_pixels(level, 4))[..., 3].min() == 255
    assert np.asarray(convert_pixels(Image.new("1", (2, 2), 1), 1)).tolist() == [[255, 255]] * 2
    assert np.asarray(convert_pixels(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), 3)).tolist() == [[[255, 0, 0]]]
    with pytest.raises(ValueError, match="32 bits"):
        convert_pixels(Image.new("F", (2, 2)), 1)


def test_fit() -> None:
    wide = pixels(1, H=8, W=20)[0]
    image = picture(wide)
    assert np.array_equal(image_array(fit_image(image, (8, 8), Fit.COVER, ResizeFilter.LANCZOS)), wide[:, 6:14])
    assert fit_image(image, (8, 8), Fit.NONE, ResizeFilter.LANCZOS) is image
    contained = image_array(fit_image(image, (20, 20), Fit.CONTAIN, ResizeFilter.BOX))
    assert np.array_equal(contained[6:14], wide) and not contained[:6].any() and not contained[14:].any()
    averaged = image_array(fit_image(image, (4, 10), Fit.STRETCH, ResizeFilter.BOX))
    expected = wide.reshape(4, 2, 10, 2, 3).mean(axis=(1, 3))
    assert np.abs(averaged - expected).max() <= 1
    halved = image_array(fit_image(image, (4, 4), Fit.COVER, ResizeFilter.BOX))
    assert np.abs(halved - expected[:, 3:7]).max() <= 1
    for fit in (Fit.COVER, Fit.CONTAIN, Fit.STRETCH):
        for shape in ((16, 16), (4, 7), (5, 3)):
            assert fit_image(image, shape, fit, ResizeFilter.BICUBIC).size == shape[::-1]


def test_broken_images_are_skipped_with_their_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = folder_of(tmp_path / "in", {f"{i}.png": image for i, image in enumerate(pixels(3, 32, 32))})
    (source / "1.png").write_bytes((source / "1.png").read_bytes()[:500])
    (source / "empty.jpg").write_bytes(b"")
    result = prepare_images(source, tmp_path / "a.zip", ImageOptions((32, 32)))
    assert result.count == 2 and [name for name, _ in result.skipped] == ["1.png", "empty.jpg"]
    assert np.array_equal(read(tmp_path / "a.zip"), pixels(3, 32, 32)[[0, 2]])
    message = capsys.readouterr().err
    assert "skipped" in message and "1.png: " in message and "empty.jpg: it is no image" in message
    report = json.loads((tmp_path / "a.zip.report.json").read_text())
    assert [(entry["name"], entry["reason"]) for entry in report["skipped"]] == list(result.skipped)
    assert (report["count"], report["near_duplicates"]) == (2, [])
    with pytest.raises(UserError, match=r"1\.png: .*--strict"):
        prepare_images(source, tmp_path / "b.zip", ImageOptions((32, 32), strict=True))
    shutil.rmtree(tmp_path / ".b.zip.partial")  # what can be taken up once the image is mended
    for file in source.iterdir():
        file.write_bytes(b"")
    with pytest.raises(UserError, match="no image could be used"):
        prepare_images(source, tmp_path / "c.zip", ImageOptions((32, 32)))
    assert files_in(tmp_path) == sorted(
        ["a.zip", "a.zip.report.json", *(f"in/{i}.png" for i in range(3)), "in/empty.jpg", "in"]
    )


def test_images_left_as_they_are_must_be_alike(tmp_path: Path) -> None:
    images = {"a.png": pixels(1)[0], "b.png": pixels(1, 8, 4)[0], "c.png": pixels(1)[0]}
    result = prepare_images(folder_of(tmp_path / "in", images), tmp_path / "a.zip", AS_IS)
    assert result.count == 2 and result.skipped[0][0] == "b.png" and "is 4x8, not 8x8" in result.skipped[0][1]
    with pytest.raises(UserError, match="nearest is 8x8"):
        prepare_images(folder_of(tmp_path / "9", {"a.png": pixels(1, 9, 9)[0]}), tmp_path / "b.zip", AS_IS)


def test_wrong_sources(tmp_path: Path) -> None:
    folder_of(tmp_path, {"in/a.png": pixels(1)[0]})
    (tmp_path / "none").mkdir()
    cases = {"missing": "there is no", "in/a.png": "is not a folder, ZIP", "none": "holds no images"}
    for name, message in cases.items():
        with pytest.raises(UserError, match=message):
            prepare_images(tmp_path / name, tmp_path / "a.zip", AS_IS)
    for dest in ("in", "in/..", "."):
        with pytest.raises(UserError, match="would replace"):
            prepare_images(tmp_path / "in", tmp_path / dest, ImageOptions((8, 8), overwrite=True))
    assert (tmp_path / "in/a.png").is_file()


def test_wrong_options() -> None:
    with pytest.raises(UserError, match="channels=2"):
        ImageOptions((8, 8), channels=2)
    with pytest.raises(UserError, match="needs a resolution"):
        ImageOptions(None)
    with pytest.raises(UserError, match="nearest is 96x96"):
        ImageOptions((100, 100))
    with pytest.raises(UserError, match="count=0"):
        FacesOptions(count=0)


@pytest.mark.parametrize("dest", ["out.zip", "out"])
def test_destination_exists(tmp_path: Path, dest: str) -> None:
    source = folder_of(tmp_path / "in", {"a.png": pixels(1)[0]})
    prepare_images(source, tmp_path / dest, AS_IS)
    folder_of(source, {"b.png": pixels(1, seed=1)[0]})
    with pytest.raises(UserError, match=r"is there already.*--overwrite"):
        prepare_images(source, tmp_path / dest, AS_IS)
    assert len(ImageDataset(tmp_path / dest)) == 1
    prepare_images(source, tmp_path / dest, ImageOptions((8, 8), overwrite=True))
    assert len(ImageDataset(tmp_path / dest)) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", dest]


def test_only_archives_are_replaced(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", {"a.png": pixels(1)[0]})
    options = ImageOptions((8, 8), overwrite=True)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("precious")
    (tmp_path / "odd.zip").mkdir()
    for dest in ("thesis", "odd.zip"):
        with pytest.raises(UserError, match="no archive, so it is not replaced"):
            prepare_images(source, tmp_path / dest, options)
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "precious"


@pytest.mark.parametrize("dest", ["file/out.zip", "file/out"])
def test_destination_cannot_be_written(tmp_path: Path, dest: str) -> None:
    source = folder_of(tmp_path / "in", {"a.png": pixels(1)[0]})
    (tmp_path / "file").write_text("not a folder")  # below a file nobody can write, not even root
    with pytest.raises(UserError, match="cannot write"):
        prepare_images(source, tmp_path / dest, AS_IS)


def test_writer_refuses_what_does_not_belong_together(tmp_path: Path) -> None:
    image = pixels(1)[0]
    encoded = encode_png(image)
    with (
        pytest.raises(ValueError, match="the first one was"),
        ArchiveWriter(tmp_path / "a.zip", ArchiveInfo()) as writer,
    ):
        writer.add(image, encoded)
        writer.add(image[:4], encoded)
    with pytest.raises(ValueError, match="1 labels"), ArchiveWriter(tmp_path / "a.zip", ArchiveInfo()) as writer:
        writer.add(image, encoded, 3)
        writer.add(image, encoded)
    with pytest.raises(UserError, match="no image"), ArchiveWriter(tmp_path / "a.zip", ArchiveInfo()):
        pass
    assert files_in(tmp_path) == []


def test_faces3d_archive(tmp_path: Path) -> None:
    """The real renderer, as small as it goes."""
    prepare_faces3d(tmp_path / "faces.zip", FacesOptions(resolution=16, count=3, split="test", seed=5))
    dataset = ImageDataset(tmp_path / "faces.zip")
    assert (len(dataset), dataset.resolution, dataset.channels, dataset.has_labels) == (3, (16, 16), 3, False)
    assert dataset.info.licence == "CC0-1.0" and dataset.info.source
    assert {key: dataset.info.made_with[key] for key in ("seed", "split")} == {"seed": 5, "split": "test"}
    rendered = list(prepare.iterate_faces(3, 16, split="test", seed=5, threads=1))
    assert [dict(entry) for entry in dataset.info.attributes] == [attributes for _, attributes in rendered]
    for i, (image, _) in enumerate(rendered):
        assert torch.equal(dataset[i][0], torch.from_numpy(image.copy()))


def test_ensure_faces3d_renders_once(tmp_path: Path, few_faces: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = ensure_faces3d(resolution=16, count=4)
    assert path.parent == Path("datasets/prepared")
    assert ensure_faces3d(resolution=16, count=4) == path and len(few_faces) == 1
    assert np.array_equal(read(path), pixels(4, 16, 16))
    others = [ensure_faces3d(resolution=16, count=4, split="test"), ensure_faces3d(resolution=16, count=4, seed=1)]
    assert len({path, *others}) == 3
    with pytest.raises(UserError, match=r"holds 4 images.* not 5"):
        ensure_faces3d(path, resolution=16, count=5)
    with pytest.raises(UserError, match="'seed': 3"):
        ensure_faces3d(path, resolution=16, count=4, seed=3)


def test_ensure_faces3d_by_two_at_once(tmp_path: Path, few_faces: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    faces, both = prepare.iterate_faces, threading.Event()

    def slow(*arguments: Any, **options: Any) -> Iterator[Any]:
        both.wait(5)  # until the second has found no archive and waits for the lock
        return faces(*arguments, **options)

    class Announced(FileLock):
        def acquire(self, *arguments: Any, **options: Any) -> Any:
            if not options:  # the second attempt: the first one, which does not wait, has failed
                both.set()
            return super().acquire(*arguments, **options)

    monkeypatch.setattr(prepare, "iterate_faces", slow)
    monkeypatch.setattr(prepare, "file_lock", Announced)
    results: list[Path] = []
    threads = [
        threading.Thread(target=lambda: results.append(ensure_faces3d(tmp_path / "f.zip", resolution=16, count=4)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [tmp_path / "f.zip"] * 2 and len(few_faces) == 1 and both.is_set()


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], few_faces: list[Any]) -> None:
    source = folder_of(
        tmp_path / "in", {f"{c}/{i}.png": pixels(1, 20, 30, seed=ord(c) + 2 * i)[0] for c in "ab" for i in range(2)}
    )
    arguments = ["--resolution", "16x8", "--fit", "stretch", "--filter", "box", "--channels", "1", "--labels"]
    assert run("prepare", str(source), str(tmp_path / "a.zip"), *arguments) == 0
    assert capsys.readouterr().out.strip() == f"{tmp_path / 'a.zip'}: 4 images"
    dataset = ImageDataset(tmp_path / "a.zip", use_labels=True)
    assert (dataset.resolution, dataset.channels, dataset.label_dim) == ((8, 16), 1, 2)
    assert (dataset.info.crop, dataset.info.resize_filter, dataset.name) == ("stretch", "box", "in")
    faces = ["--resolution", "16", "--count", "3", "--seed", "7", "--split", "test"]
    assert run("prepare", "faces3d", str(tmp_path / "f"), *faces) == 0
    assert few_faces == [(3, 16, "test", 7)] and len(ImageDataset(tmp_path / "f")) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in", "--fit", "covr"], "--fit covr: did you mean 'cover'?"),
        (["in", "--resolution", "64by64"], "--resolution 64by64: give WIDTHxHEIGHT"),
        (["in", "--resolution", "0"], "--resolution 0: give WIDTHxHEIGHT"),
        (["in"], "needs a resolution"),
        (["in", "--resolution", "100"], "nearest is 96x96"),
        (["in", "--resolution", "8", "--count", "3", "--seed", "1"], "--seed: only for faces3d"),
        (["in", "--resolution", "8", "--workers", "-1"], "'--workers': -1: Input should be greater"),
        (["nowhere", "--resolution", "8"], "there is no nowhere"),
        (["faces3d", "--channels", "1", "--labels"], "--channels, --labels: only for images"),
        (["faces3d", "--resolution", "64x32"], "faces3d renders squares"),
        (["faces3d", "--split", "tset", "--count", "1"], "did you mean 'test'?"),
    ],
)
def test_wrong_command_lines(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path / "in", {"a.png": pixels(1)[0]})
    source, *options = arguments
    assert run("prepare", source, "out.zip", *options) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and len(error.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]

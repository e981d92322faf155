"""Which images are taken: `--shuffle`, `--count N` and `--count N/class`, from every kind of source."""

import io
import json
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from stylegan import cli
from stylegan.data.archive import ImageDataset
from stylegan.data.convert import encode_png
from stylegan.data.prepare import ImageOptions, prepare_images
from stylegan.data.sources import ArraySource, Chosen, Source, open_source
from stylegan.errors import UserError

NAMES = [f"{name}/{i:02}.png" for name, count in (("cat", 12), ("dog", 3), ("owl", 6)) for i in range(count)]


def image(index: int) -> np.ndarray:
    return np.full((8, 8, 3), 10 * index, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, name in enumerate(NAMES):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(encode_png(image(i)))
    return tmp_path / "in"


def packed(folder: Path, kind: str) -> Path:
    path = folder.with_name(f"in.{kind}")
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in NAMES:
                archive.write(folder / name, name)
    else:
        with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as archive:
            for name in NAMES:
                archive.add(folder / name, name)
    return path


def taken(path: Path) -> list[int]:
    """Which images an archive holds, in order."""
    dataset = ImageDataset(path)
    return [int(dataset[i][0][0, 0, 0]) // 10 for i in range(len(dataset))]


def options(**others: object) -> ImageOptions:
    return ImageOptions((8, 8), workers=1, **others)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_shuffled_from_every_source(tmp_path: Path, folder: Path, kind: str) -> None:
    source = folder if kind == "folder" else packed(folder, kind)
    whole = prepare_images(source, tmp_path / "whole.zip", options(shuffle=True))
    order = taken(tmp_path / "whole.zip")
    assert sorted(order) == list(range(21)) and order != sorted(order) and not whole.tally.left
    few = prepare_images(source, tmp_path / "few.zip", options(shuffle=True, count=8, labels=True))
    assert taken(tmp_path / "few.zip") == order[:8] and few.tally.left == {"beyond --count": 13}
    dataset = ImageDataset(tmp_path / "few.zip", use_labels=True)
    classes = [dataset.info.class_names[int(dataset.label(i).argmax())] for i in range(8)]
    assert classes == [NAMES[i].split("/")[0] for i in order[:8]]
    prepare_images(source, tmp_path / "other.zip", options(shuffle=True, seed=1))
    assert taken(tmp_path / "other.zip") != order


def test_a_compressed_tar_cannot_be_shuffled(tmp_path: Path, folder: Path) -> None:
    source = packed(folder, "tar.gz")
    with pytest.raises(UserError, match=r"compressed, .* unpack it for another order"):
        prepare_images(source, tmp_path / "out.zip", options(shuffle=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "in.tar.gz"]
    prepare_images(source, tmp_path / "out.zip", options(count_per_class=2, labels=True))
    assert taken(tmp_path / "out.zip") == [0, 1, 12, 13, 15, 16]


@pytest.mark.parametrize("shuffle", [False, True])
def test_so_many_of_each_class(tmp_path: Path, folder: Path, shuffle: bool) -> None:
    result = prepare_images(folder, tmp_path / "out.zip", options(count_per_class=5, labels=True, shuffle=shuffle))
    dataset = ImageDataset(tmp_path / "out.zip", use_labels=True)
    assert Counter(int(dataset.label(i).argmax()) for i in range(len(dataset))) == {0: 5, 1: 3, 2: 5}
    assert result.tally.left == {"beyond --count": 8}
    assert shuffle or taken(tmp_path / "out.zip") == [*range(5), *range(12, 20)]
    (tmp_path / "labels.json").write_text(json.dumps({name: i % 2 for i, name in enumerate(NAMES)}))
    prepare_images(
        folder, tmp_path / "two.zip", options(count_per_class=1, labels_file=tmp_path / "labels.json", shuffle=shuffle)
    )
    assert sorted(i % 2 for i in taken(tmp_path / "two.zip")) == [0, 1]


def test_a_count_per_class_needs_classes(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match="needs a class for each image"):
        prepare_images(folder, tmp_path / "out.zip", options(count_per_class=5))
    (tmp_path / "labels.json").write_text(json.dumps({name: [0.5, 1] for name in NAMES}))
    with pytest.raises(UserError, match="needs a class for each image"):
        prepare_images(folder, tmp_path / "out.zip", options(count_per_class=5, labels_file=tmp_path / "labels.json"))
    for wrong in ({"count_per_class": 0}, {"count_per_class": 1, "count": 1}):
        with pytest.raises(UserError, match="count"):
            options(**wrong)


def test_a_part_of_a_source_with_classes(tmp_path: Path) -> None:
    pixels = np.stack([image(i) for i in range(6)])
    source: Source = Chosen(ArraySource(tmp_path, pixels, [3, 1, 4, 1, 5, 9]), [4, 0, 2])
    assert source.names == ["00000004", "00000000", "00000002"] and source.labels == [5, 3, 4]
    from PIL import Image

    read = [np.asarray(Image.open(io.BytesIO(reader()))) for reader in source.readers([2, 0])]
    assert [int(part[0, 0, 0]) // 10 for part in read] == [2, 4]


def test_the_first_images_of_mnist(tmp_path: Path) -> None:
    """Their labels are as many as the images that are taken."""
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (5, 8, 8)) + bytes(range(64)) * 5)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(
        b"\0\0\x08\x01" + (5).to_bytes(4, "big") + bytes([3, 0, 1, 1, 2])
    )
    prepare_images(file, tmp_path / "out.zip", options(count=3))
    dataset = ImageDataset(tmp_path / "out.zip", use_labels=True)
    assert [int(dataset.label(i).argmax()) for i in range(len(dataset))] == [3, 0, 1]
    prepare_images(file, tmp_path / "each.zip", options(count_per_class=1))
    assert len(ImageDataset(tmp_path / "each.zip")) == 4


def test_an_interrupted_shuffle_goes_on(tmp_path: Path, folder: Path) -> None:
    from tests.unit.test_prepare_resume import interrupted_after

    chosen = options(shuffle=True, seed=3, count=10)
    prepare_images(folder, tmp_path / "whole.zip", chosen)
    with interrupted_after(6):
        prepare_images(folder, tmp_path / "out.zip", chosen)
    prepare_images(folder, tmp_path / "out.zip", chosen)
    assert (tmp_path / "out.zip").read_bytes() == (tmp_path / "whole.zip").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in", "--count", "many"], "--count many: give a number of images"),
        (["in", "--count", "5/face"], "--count 5/face: give a number of images"),
        (["in", "--count", "/class"], "--count /class: give a number of images"),
        (["in", "--count", "0/class", "--labels"], "--count 0/class"),
        (["in", "--count", "3/class"], "needs a class for each image"),
        (["in", "--seed", "3"], "--seed: only for faces3d"),
        (["in", "--min-size", "big"], "--min-size big: give WIDTHxHEIGHT"),
        (["in", "--range", "12"], "--range 12: give full, auto, or LOW:HIGH"),
        (["faces3d", "--count", "3/class"], "--count 3/class: only for images of your own"),
        (["faces3d", "--shuffle", "--range", "auto"], "--shuffle, --range: only for images of your own"),
        (["im"], "there is no im, did you mean 'in'?"),
    ],
)
def test_wrong_command_lines(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(folder.parent)
    source, *others = arguments
    monkeypatch.setattr("sys.argv", ["stylegan", "prepare", source, "out.zip", "--resolution", "8", *others])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.startswith("error: ") and message in error


def test_the_command_line(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder.parent)
    chosen = ["--labels", "--shuffle", "--seed", "7", "--count", "2/class", "--min-size", "8x8", "--range", "auto"]
    monkeypatch.setattr("sys.argv", ["stylegan", "prepare", "in", "out.zip", "--resolution", "8", *chosen])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0 and "not taken: 15 beyond --count" in capsys.readouterr().out
    assert len(ImageDataset("out.zip")) == 6 and open_source("out.zip").names[0] == "00000/img00000000.png"

"""Labels from JSON and CSV files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stylegan.data.archive import ImageDataset
from stylegan.data.prepare import ImageOptions, prepare_images
from stylegan.errors import UserError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "x").mkdir(parents=True)
    for i, name in enumerate(("a.png", "b.png", "x/c.png")):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(folder / name)
    return folder


def labelled(source: Path, name: str, text: str) -> ImageDataset:
    file = source.parent / name
    file.write_text(text)
    dest = source.parent / "out.zip"
    prepare_images(source, dest, ImageOptions((4, 4), labels_file=file, overwrite=True))
    return ImageDataset(dest, use_labels=True)


PAIRS: list[list[Any]] = [["x/c.png", 2], ["a.png", 0], ["other.png", 7], ["b.png", 1]]


@pytest.mark.parametrize(
    ("name", "text", "expected", "class_names"),
    [
        ("l.json", json.dumps({"labels": PAIRS}), [0, 1, 2], ()),
        ("l.json", json.dumps(PAIRS), [0, 1, 2], ()),
        ("l.json", json.dumps({n.replace("/", "\\"): label for n, label in PAIRS}), [0, 1, 2], ()),
        ("l.json", json.dumps({"a.png": "dog", "b.png": "cat", "x/c.png": "dog"}), [1, 0, 1], ("cat", "dog")),
        ("l.csv", "file,class\na.png,3\nb.png,0\nx/c.png,1\n", [3, 0, 1], ()),
        ("l.csv", "a.png;cat\nb.png;dog\nx/c.png;cat\n", [0, 1, 0], ("cat", "dog")),
    ],
)
def test_classes(source: Path, name: str, text: str, expected: list[int], class_names: tuple[str, ...]) -> None:
    dataset = labelled(source, name, text)
    assert [int(dataset.label(i).argmax()) for i in range(3)] == expected
    assert dataset.info.class_names == class_names


@pytest.mark.parametrize(
    ("name", "text", "expected", "entries"),
    [
        ("l.json", '{"a.png": [0.5, 1], "b.png": [2, 3], "x/c.png": [4, 5]}', [[0.5, 1], [2, 3], [4, 5]], None),
        (
            "l.csv",
            "name\tage\tyaw\na.png\t1\t2\nb.png\t3\t4\nx/c.png\t5\t-6\n",
            [[1, 2], [3, 4], [5, -6]],
            ["age", "yaw"],
        ),
        ("l.csv", "a.png,0.5\nb.png,1\nx/c.png,2\n", [[0.5], [1], [2]], None),
        ("l.csv", "a.png,-1\nb.png,1\nx/c.png,1\n", [[-1], [1], [1]], None),
    ],
)
def test_vectors(source: Path, name: str, text: str, expected: list[list[float]], entries: list[str] | None) -> None:
    dataset = labelled(source, name, text)
    assert [dataset.label(i).tolist() for i in range(3)] == expected
    assert dataset.info.made_with.get("label_names") == entries


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "l.csv",
            "a.png,3\nb.png,dog\nx/c.png,1\n",
            r"mixed kinds in .*l\.csv: 3 for a\.png \(.*l\.csv, line 1\) and 'dog' for b\.png \(.*l\.csv, line 2\)",
        ),
        (
            "l.json",
            '{"a.png": [1, 2], "b.png": [1], "x/c.png": [1]}',
            r"mixed.*\[1, 2\] for a\.png .* and \[1\] for b\.png",
        ),
        (
            "l.json",
            '{"a.png": null, "b.png": null, "x/c.png": null}',
            r"l\.json, line 1: the label of a\.png, None, is no label",
        ),
        (
            "l.csv",
            "a.png,1\nb.png,2\nc.png,3\n",
            r"1 of the 3 images .* have no label .* x/c\.png; .* did you mean 'c\.png'",
        ),
        ("l.csv", "a.png,1\nb.png,2,5\n", r"line 2 of .*l\.csv has 3 columns, line 1 has 2"),
        ("l.csv", "a.png,1,2\nb.png,2,x\n", "with several columns all must be numbers"),
        ("l.json", "{", r"l\.json is no JSON of what belongs to images: Expecting"),
        ("l.json", '{"labels": [1]}', "it should be"),
    ],
)
def test_unusable_files(source: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        labelled(source, name, text)
    assert not list(source.parent.glob("*out.zip*"))


def test_one_origin_of_labels(source: Path) -> None:
    with pytest.raises(UserError, match="give one of the two"):
        prepare_images(source, source.parent / "o", ImageOptions((4, 4), labels=True, labels_file=source / "l.csv"))
    with pytest.raises(UserError, match="there is no file of labels or landmarks"):
        prepare_images(source, source.parent / "o", ImageOptions((4, 4), labels_file=source / "none.csv"))

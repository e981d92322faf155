"""What users' labels look like: nothing is left out, changed or invented in silence, in whatever form they stand."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stylegan.data.archive import ImageDataset, match_labels
from stylegan.data.convert import encode_png
from stylegan.data.labels import Labels, check_labels, find_names, wrapping_folder
from stylegan.data.prepare import ImageOptions, prepare_images
from stylegan.errors import UserError

FOUR = ("a.png", "b.png", "c.jpg", "d, e.png")


def folder_of(path: Path, names: tuple[str, ...] = FOUR) -> Path:
    for i, name in enumerate(names):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(path / name)
    return path


def prepared(source: Path, labels: str | None = None, text: str | bytes = "", **options: Any) -> ImageDataset:
    """The archive of a folder, with the file `labels` of labels that holds `text`."""
    file = None
    if labels is not None:
        file = source.parent / labels
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    dest = source.parent / "out.zip"
    prepare_images(source, dest, ImageOptions((4, 4), labels_file=file, overwrite=True, **options))
    return ImageDataset(dest, use_labels=True)


def classes(dataset: ImageDataset) -> list[str]:
    """The name of each image's class, or its number."""
    assert dataset.labels_are_classes
    numbers = [int(dataset.label(i).argmax()) for i in range(len(dataset))]
    return [dataset.info.class_names[i] if dataset.info.class_names else str(i) for i in numbers]


def unread(source: Path) -> None:
    """Make all images unreadable, so that a refusal must come before the first one is read."""
    for path in source.rglob("*.*g"):
        path.write_bytes(b"no image")


@pytest.mark.parametrize("reverse", [False, True])
def test_one_image_with_two_labels(tmp_path: Path, reverse: bool) -> None:
    source = folder_of(tmp_path / "in")
    rows = ["a.png,0", "b.png,1", "c.jpg,1", '"d, e.png",2', "./a.png,2"]
    rows = rows[::-1] if reverse else rows
    with pytest.raises(UserError, match=r"line 5 of .*l\.csv: a\.png has \d, but \d in line 1"):
        prepared(source, "l.csv", "\n".join(rows))
    one = {"a.png": 0, "b.png": 1, "c.jpg": 1, "d, e.png": 2}
    twice = json.dumps([*one.items(), ("a.png", 2)])
    for text in (twice, f'{{"labels": {twice}}}', json.dumps(one)[:-1] + ', "a.png": 2}'):
        with pytest.raises(UserError, match=r"l\.json .*'a\.png' stands there twice, with 0 and with 2"):
            prepared(source, "l.json", text)
    (source / "dataset.json").write_text(f'{{"labels": {twice}}}')
    with pytest.raises(UserError, match=r"dataset\.json of .*'a\.png' stands there twice, with 0 and with 2"):
        prepared(source)
    same = json.dumps([*one.items(), ("a.png", 0)])
    assert classes(prepared(source, "l.json", same)) == ["0", "1", "1", "2"]


@pytest.mark.parametrize("value", ["nan", "NaN", "inf", "-Infinity", "1e39", "9" * 500, ""])
def test_numbers_that_are_none_are_found_before_images_are_read(tmp_path: Path, value: str) -> None:
    source = folder_of(tmp_path / "in")
    unread(source)
    text = f'a.png,0.5\n\nb.png,{value}\nc.jpg,1\n"d, e.png",2\n'
    with pytest.raises(UserError, match=r"l\.csv, line 3: the label of b\.png, .* is (not finite|empty)"):
        prepared(source, "l.csv", text)
    several = f'a.png,1,0.5\nb.png,1,{value or "nan"}\nc.jpg,1,2\n"d, e.png",1,2\n'
    with pytest.raises(UserError, match=r"l\.csv, line 2: the label of b\.png, .* is not finite"):
        prepared(source, "l.csv", several)
    assert not list(tmp_path.glob("*out.zip*"))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e39", "[1, NaN]", "1" + "0" * 400, "true", "[]"])
def test_the_same_in_json(tmp_path: Path, value: str) -> None:
    source = folder_of(tmp_path / "in")
    unread(source)
    text = f'{{\n"a.png": 0.5,\n"b.png": {value},\n"c.jpg": 1,\n"d, e.png": 2\n}}'
    with pytest.raises(UserError, match=r"l\.json, line 3: the label of b\.png, .* is (not finite|no label)"):
        prepared(source, "l.json", text)
    (source / "dataset.json").write_text(f'{{"labels": {text}}}')
    with pytest.raises(UserError, match=r"dataset\.json of .*: the label of b\.png, .* is (not finite|no label)"):
        prepared(source)


def test_a_class_that_int64_does_not_hold(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in")
    unread(source)
    with pytest.raises(UserError, match=r"l\.csv, line 2: b\.png has the class 10{20}"):
        prepared(source, "l.csv", f'a.png,1\nb.png,1{"0" * 20}\nc.jpg,1\n"d, e.png",2\n')


def test_dates_are_no_classes(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in")
    text = 'a.png,20230101\nb.png,20230102\nc.jpg,20230102\n"d, e.png",20230104\n'
    with pytest.raises(UserError, match=r"d, e\.png has the class 20230104, .* 1000 fit 4 images; 3 distinct values"):
        prepared(source, "l.csv", text)
    assert prepared(source, "l.csv", text.replace("\n", ".0\n")).label(1).tolist() == [20230102]


def test_how_many_classes_fit() -> None:
    def check(labels: list[Any]) -> Labels:
        return check_labels([*map(str, range(len(labels)))], labels, "l.csv", str, images_per_class=2)[0]

    assert check([0, 999]) == [0, 999]
    with pytest.raises(UserError, match="1000 fit 2 images; 2 distinct"):
        check([0, 1000])
    assert check([*range(2000)] * 2) == [*range(2000)] * 2
    with pytest.raises(UserError, match="1999 fit 3999 images; 2000 distinct"):
        check([*range(2000), *range(1999)])
    assert sorted(check([f"n{i}" for i in range(1000)])) == [*range(1000)]
    with pytest.raises(UserError, match="1001 distinct classes for 1001 images, where 1000 fit"):
        check([f"n{i}" for i in range(1001)])


def test_a_class_of_a_billion_in_an_archive(tmp_path: Path) -> None:
    """Each would be one input of a network, so the label of one image would take 4 GB."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in ("a.png", "b.png"):
            file.writestr(name, encode_png(np.zeros((4, 4, 3), np.uint8)))
        file.writestr("dataset.json", json.dumps({"labels": [["a.png", 10**9], ["b.png", 0]]}))
    with pytest.raises(UserError, match=r"a\.png has the class 1000000000, .* 2 distinct values"):
        ImageDataset(tmp_path / "a.zip", use_labels=True)
    assert len(ImageDataset(tmp_path / "a.zip").content_hash) == 64  # who needs no labels may have any


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('c.jpg,cat\na.png,cat\nb.png,dog\n"d, e.png",dog\n', ["cat", "dog", "cat", "dog"]),  # in place of a heading
        ('image,label\nc.jpg,cat\na.png,cat\nb.png,dog\n"d, e.png",dog\n', ["cat", "dog", "cat", "dog"]),
        ('"d, e.png";dog\nc.jpg;cat\na.png;cat\nb.png;dog\n', ["cat", "dog", "cat", "dog"]),
        ('other.gif,cow\nc.jpg,cat\na.png,cat\nb.png,dog\n"d, e.png",dog\n', ["cat", "dog", "cat", "dog"]),
        ('a.png,3\r\nb.png,1\r\nc.jpg, 2 \r\n"d, e.png",10\r\n', ["3", "1", "2", "10"]),
        ('a.png,3\rb.png,1\rc.jpg,2\r"d, e.png",10', ["3", "1", "2", "10"]),
        ('./a.png,3\nb.png,1\nc.jpg,2\n".\\d, e.png",10\n', ["3", "1", "2", "10"]),
        ('/home/me/a.png,3\n/home/me/b.png,1\n/home/me/c.jpg,2\n"/home/me/d, e.png",10\n', ["3", "1", "2", "10"]),
    ],
)
def test_tables(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert classes(prepared(folder_of(tmp_path / "in"), "l.csv", text)) == expected


def test_a_heading_is_none_where_names_have_no_suffix(tmp_path: Path) -> None:
    """Such as the keys of an LMDB, or the numbers that stand for the names in MNIST."""
    table = b"\0\0\x08\3" + np.array([2, 4, 4], ">u4").tobytes() + bytes(32)
    (tmp_path / "t-images-idx3-ubyte").write_bytes(table)
    file = tmp_path / "l.csv"
    options = ImageOptions((4, 4), labels_file=file, overwrite=True)
    for heading in ("", "name,class\n"):
        file.write_text(f"{heading}00000001,dog\n00000000,cat\n")
        prepare_images(tmp_path / "t-images-idx3-ubyte", tmp_path / "o.zip", options)
        assert classes(ImageDataset(tmp_path / "o.zip", use_labels=True)) == ["cat", "dog"]


def test_only_a_part_of_what_brings_its_classes_along(tmp_path: Path) -> None:
    (tmp_path / "t-images-idx3-ubyte").write_bytes(
        b"\0\0\x08\3" + np.array([3, 4, 4], ">u4").tobytes() + bytes(range(48))
    )
    (tmp_path / "t-labels-idx1-ubyte").write_bytes(b"\0\0\x08\1" + np.array([3], ">u4").tobytes() + bytes([1, 0, 1]))
    prepare_images(tmp_path / "t-images-idx3-ubyte", tmp_path / "o.zip", ImageOptions((4, 4), count=2))
    assert classes(ImageDataset(tmp_path / "o.zip", use_labels=True)) == ["1", "0"]


PAIRS: list[list[Any]] = [["a.png", "cat"], ["b.png", "dog"], ["c.jpg", "dog"], ["d, e.png", "cat"]]
FORMS: list[Any] = [{"labels": PAIRS}, PAIRS, dict(PAIRS), {"labels": dict(PAIRS)}]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "labels", [["cat", "dog", "dog", "cat"], [0, 1, 1, 3], [1, -1, 0.5, 2], [[0, 1], [1, 0.5]] * 2]
)
def test_what_is_accepted_in_one_place_is_in_the_others(tmp_path: Path, form: Any, labels: list[Any]) -> None:
    """A file of labels, `dataset.json` of a source, and that of an archive which is trained on as it is."""
    text = json.dumps(form)
    for (_, old), new in zip(PAIRS, ("w", "x", "y", "z"), strict=True):
        text = text.replace(f'"{old}"', f'"{new}"', 1)
    for letter, label in zip("wxyz", labels, strict=True):
        text = text.replace(f'"{letter}"', json.dumps(label))
    source = folder_of(tmp_path / "in")
    from_file = prepared(source, "l.json", "\ufeff" + text)
    (source / "dataset.json").write_text(text)
    own = prepared(source)
    as_it_is = ImageDataset(source, use_labels=True)
    for dataset in (own, as_it_is):
        assert [dataset.label(i).tolist() for i in range(4)] == [from_file.label(i).tolist() for i in range(4)]
        assert dataset.info.class_names == from_file.info.class_names
    assert from_file.labels_are_classes == (labels[1] in ("dog", 1))
    assert from_file.info.class_names == (("cat", "dog") if labels[0] == "cat" else ())


def test_a_dataset_json_about_other_things(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in")
    for content in ({"classes": ["cat"], "info": {}}, {}):
        (source / "dataset.json").write_text(json.dumps(content))
        assert not ImageDataset(source).has_labels


def animals(path: Path, below: str = "") -> Path:
    return folder_of(path, tuple(f"{below}{name}/{i}.png" for name in ("10", "0", "2", "1", "wolf") for i in (0, 1)))


@pytest.mark.parametrize("below", ["", "animals/", "data/animals/"])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_folders_around_the_classes(tmp_path: Path, below: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = animals(tmp_path / "in", below)
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "in.zip", "w") as file:
            for path in sorted(source.rglob("*.png")):
                file.write(path, path.relative_to(source).as_posix())
        source = tmp_path / "in.zip"
    options = ImageOptions((4, 4), labels=True, overwrite=True)
    prepare_images(source, tmp_path / "out.zip", options)
    dataset = ImageDataset(tmp_path / "out.zip", use_labels=True)
    assert dataset.info.class_names == ("0", "1", "2", "10", "wolf")  # numbers in their order
    assert classes(dataset) == [name for name in ("0", "1", "10", "2", "wolf") for _ in range(2)]
    told = capsys.readouterr().err.replace("\n", " ")
    assert "labels: 5 classes: 0 (2), 1 (2), 2 (2), 10 (2), wolf (2)" in told
    assert (f"all images lie in {below}, so the classes are its sub-folders" in told) == bool(below)
    prepare_images(source, tmp_path / "out.zip", ImageOptions((4, 4), overwrite=True))
    assert "no labels: 5 sub-folders; --labels makes them classes" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8", "cp437"])
def test_classes_in_a_zip_that_does_not_say_how_names_are_written(tmp_path: Path, encoding: str) -> None:
    """Programs on Unix write UTF-8 without the flag for it, those of DOS code page 437."""

    class Info(zipfile.ZipInfo):
        def _encodeFilenameFlags(self) -> tuple[bytes, int]:
            return self.filename.encode(encoding), self.flag_bits & ~0x800

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in ("Ä", "Über"):
            file.writestr(Info(f"{name}/0.png"), encode_png(np.zeros((4, 4, 3), np.uint8)))
    prepare_images(tmp_path / "a.zip", tmp_path / "o.zip", ImageOptions((4, 4), labels=True))
    assert ImageDataset(tmp_path / "o.zip").info.class_names == ("Ä", "Über")


def test_images_of_one_folder_are_one_class(tmp_path: Path) -> None:
    options = ImageOptions((4, 4), labels=True)
    prepare_images(folder_of(tmp_path / "a", ("x/cat/0.png", "x/cat/1.png")), tmp_path / "a.zip", options)
    assert ImageDataset(tmp_path / "a.zip").info.class_names == ("cat",)


def test_an_image_beside_the_classes(tmp_path: Path) -> None:
    options = ImageOptions((4, 4), labels=True)
    for names, where in ((("x/cat/0.png", "x/1.png"), "x/"), (("cat/0.png", "1.png"), str(tmp_path))):
        with pytest.raises(UserError, match=rf"1\.png lies in {where}.* itself"):
            prepare_images(folder_of(tmp_path / names[1].replace("/", ""), names), tmp_path / "o.zip", options)


def test_one_number_in_two_ways(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", ("01/a.png", "1/b.png", "cat/c.png"))
    with pytest.raises(UserError, match="has the classes '01' and '1', one number in two ways"):
        prepare_images(source, tmp_path / "o.zip", ImageOptions((4, 4), labels=True))
    source = folder_of(tmp_path / "four")
    rows = 'a.png,01\nb.png,{}\nc.jpg,2\n"d, e.png",10\n'
    with pytest.raises(UserError, match="has the classes '01' and '1', one number in two ways"):
        prepared(source, "l.csv", rows.format("1"))
    assert classes(prepared(source, "l.csv", rows.format("01"))) == ["1", "1", "2", "10"]


def test_classes_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = folder_of(tmp_path / "in")
    (source / "dataset.json").write_text(json.dumps({"labels": PAIRS}))
    dataset = prepared(source, "l.csv", 'a.png,1\nb.png,1\nc.jpg,2\n"d, e.png",5\nz.png,7\n')
    told = capsys.readouterr().err.replace("\n", " ")
    assert "labels: 6 classes: 1 (2), 2 (1), 5 (1); without any image: 0, 3, 4" in told
    assert "1 labels in" in told and "lie unused: they belong to none of the images" in told
    assert "the labels in dataset.json of" in told
    assert dataset.labels_told == "6 classes: 1 (2), 2 (1), 5 (1); without any image: 0, 3, 4"
    assert ImageDataset(dataset.path).labels_told.startswith("there, but not used; data.use_labels=true")
    assert ImageDataset(dataset.path, use_labels=True, max_images=1).labels_told.startswith("6 classes: ")


def test_names_below_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """CelebA's lists name images as they are called in the folder that its ZIP holds."""
    source = folder_of(tmp_path / "in", ("img_align_celeba/000001.jpg", "img_align_celeba/000002.jpg"))
    list_attr = "2\nBald Smiling Young \n000001.jpg -1  1  1\n000002.jpg  1 -1  1\n"
    dataset = prepared(source, "list_attr_celeba.txt", list_attr)
    assert [dataset.label(i).tolist() for i in range(2)] == [[-1, 1, 1], [1, -1, 1]]
    assert dataset.info.made_with["label_names"] == ["Bald", "Smiling", "Young"]
    told = capsys.readouterr().err.replace("\n", " ")
    assert "without img_align_celeba/ of the images' names" in told
    assert "labels: vectors of 3: Bald -1..1, Smiling -1..1, Young 1..1" in told
    table = "image_id,Bald,Smiling\n000001.jpg,-1,1\n000002.jpg,1,1\n"
    assert prepared(source, "list_attr_celeba.csv", table).info.made_with["label_names"] == ["Bald", "Smiling"]
    assert classes(prepared(source, "identity_CelebA.txt", "000001.jpg 2\n000002.jpg 1\n")) == ["2", "1"]


def test_an_archive_that_was_packed_with_its_folder(tmp_path: Path) -> None:
    """Its `dataset.json` lies in that folder, and names images from there."""
    archive = tmp_path / "faces"
    source = folder_of(tmp_path / "in", ("cat/0.png", "cat/1.png", "dog/0.png"))
    prepare_images(source, archive, ImageOptions((4, 4), labels=True, licence="CC0-1.0"))

    def pack(name: str) -> None:
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            for path in sorted(archive.rglob("*.*")):
                file.write(path, f"faces/{path.relative_to(archive).as_posix()}")

    pack("packed.zip")
    prepare_images(tmp_path / "packed.zip", tmp_path / "again.zip", ImageOptions((4, 4)))
    whole = ImageDataset(archive, use_labels=True)
    for path in (tmp_path / "packed.zip", tmp_path / "again.zip"):
        dataset = ImageDataset(path, use_labels=True)
        assert (classes(dataset), dataset.info.licence) == (["cat", "cat", "dog"], "CC0-1.0")
        assert dataset.content_hash == whole.content_hash
    (archive / "dataset.json").write_text("{}")
    before = ImageDataset(tmp_path / "packed.zip").fingerprint
    pack("packed.zip")
    assert ImageDataset(tmp_path / "packed.zip").fingerprint != before


def test_labels_from_an_archive(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", ("cat/0.png", "dog/0.png"))
    prepare_images(source, tmp_path / "a", ImageOptions((4, 4), labels=True))
    dataset = prepared(tmp_path / "a", "l.json", (tmp_path / "a/dataset.json").read_bytes())
    assert classes(dataset) == ["cat", "dog"]


def test_two_images_of_one_name_have_one_label() -> None:
    assert match_labels([["a", 1], ["b", 0]], ["a", "a", "b"], "x.zip") == ([1, 1, 0], ())


def test_finding_names() -> None:
    assert wrapping_folder(["a/b/1.png", "a/b/c/2.png", "a/bc/1.png"]) == "a/"
    assert wrapping_folder(["a/b/1.png"]) == "a/b/"
    assert wrapping_folder(["a.png", "b/1.png"]) == wrapping_folder([]) == ""
    found, told = find_names(["x\\1.png", "x/./2.png", "x/3.png"], {"y/1.png", "y/2.png"})
    assert found == ["y/1.png", "y/2.png", None] and told == "without x/ of the images' names and below its y/"
    assert find_names(["u\u0308.png", "b.png"], {"\u00fc.png", "c.png"}) == (["\u00fc.png", None], "")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp932"])
def test_another_encoding(tmp_path: Path, encoding: str) -> None:
    text = "ファイル,クラス\n" if encoding == "cp932" else "Größe,Maß\n"
    for name in ("l.csv", "l.txt", "l.json"):
        with pytest.raises(UserError, match=rf"{name}.* is not UTF-8.*save it as UTF-8"):
            prepared(folder_of(tmp_path / "in"), name, text.encode(encoding))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", "a.png;0,5\nb.png;1,5\nc.jpg;2\nd, e.png;3\n", r"line 1 of .*l\.csv: 0,5 has a comma"),
        ("l.csv", "a.png\nb.png\n", r"line 1 of .*l\.csv has 1 column; every row"),
        ("l.csv", "a.png,\0\nb.png,1\n", "2 of the 4 images .* have no label"),
        ("l.csv", f'a.png,"{"x" * 200_000}"\n', "is no readable CSV"),
        ("l.csv", "", "4 of the 4 images .* there are none"),
        ("l.json", "[" * 100_000, "nested too deeply"),
        ("l.json", "{}", r"it should be \{"),
        ("l", "[1]", r"it should be \{"),
        ("l.json", '{"0": {"in_the_wild": {}}}', "4 of the 4 images"),
    ],
)
def test_unusable_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepared(folder_of(tmp_path / "in"), name, text)

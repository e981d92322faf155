"""Faces cropped as FFHQ does: geometry, landmarks from files, and a detector that may be missing."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stylegan.data.align import crop_face, face_square
from stylegan.data.archive import ImageDataset
from stylegan.data.convert import Fit
from stylegan.data.prepare import ImageOptions, prepare_images
from stylegan.errors import UserError

# Eyes 40 apart, the mouth 50 below: pixels' centres at +0.5.
FACE = np.array([[80, 90], [120, 90], [100, 115], [85, 140], [115, 140]], np.float64)


def turned(points: np.ndarray, degrees: float, about: tuple[float, float] = (99.5, 99.5)) -> np.ndarray:
    """Clockwise on the screen, as y points down."""
    angle = np.deg2rad(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (points - about) @ rotation.T + about


def picture(side: int = 200) -> Image.Image:
    random = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(random).resize((side, side), Image.Resampling.BICUBIC)


def test_the_square_of_the_papers() -> None:
    """Appendix C of the progressive GAN: s = max(4 |x'|, 3.6 |y'|), c = (e0 + e1) / 2 - 0.1 y', for an upright face."""
    square = face_square(FACE)
    assert square.side == pytest.approx(max(4 * 40, 3.6 * 50))
    assert square.centre == pytest.approx((100.5, 90.5 + 0.1 * 50))
    assert square.half == pytest.approx((90, 0))
    far_eyes = face_square(np.array([[60, 90], [140, 90], [85, 140], [115, 140]]))
    assert far_eyes.side == pytest.approx(4 * 80)


def test_the_square_moves_turns_and_grows_with_the_face() -> None:
    square = face_square(FACE)
    shifted = face_square(FACE + np.array([7, -3]))
    assert shifted.centre == pytest.approx((square.centre[0] + 7, square.centre[1] - 3))
    half = face_square(turned(FACE, 30)).half
    assert np.rad2deg(np.arctan2(half[1], half[0])) == pytest.approx(30)
    assert face_square((FACE + 0.5) * 3 - 0.5).side == pytest.approx(3 * square.side)


def test_68_points_give_the_same_as_their_means() -> None:
    points = np.random.default_rng(0).normal(100, 30, (68, 2))
    four = np.stack([points[36:42].mean(0), points[42:48].mean(0), points[48], points[54]])
    assert face_square(points) == face_square(four)


def test_an_upright_crop_keeps_the_pixels() -> None:
    """Eyes 20 apart and a square of 80 whole pixels, which is only cut out."""
    points = np.array([[90, 90], [110, 90], [95, 110], [105, 110]]) - 0.5
    square = face_square(points)
    assert (square.side, square.centre) == (80, (100, 92))
    found = np.asarray(crop_face(picture(), points, 16))
    assert np.array_equal(found, np.asarray(picture())[52:132, 60:140])


def test_a_turned_face_gives_the_upright_crop() -> None:
    image, points = picture(), FACE * 0.5 + 50
    upright = np.asarray(crop_face(image, points, 64)).astype(int)
    # PIL turns counter-clockwise for positive angles, about the middle of the image.
    tilted = image.rotate(-20, Image.Resampling.BICUBIC)
    found = np.asarray(crop_face(tilted, turned(points, 20), 64)).astype(int)
    assert np.abs(found - upright).mean() < 1
    assert np.abs(np.asarray(crop_face(tilted, points, 64)).astype(int) - upright).mean() > 10


def test_beyond_the_picture_it_is_mirrored_and_blurred() -> None:
    image = picture()
    points = FACE - (80, 0)  # the face's left half lies outside
    found = np.asarray(crop_face(image, points, 180))
    assert found.shape == (180, 180, 3)
    edge = round(face_square(points).half[0] - face_square(points).centre[0])  # columns that lie outside
    mirrored = found[:, edge : edge + 5].astype(int)
    assert np.abs(found[:, edge - 5 : edge][:, ::-1].astype(int) - mirrored).mean() < 4
    assert not (found.reshape(-1, 3) == 0).all(1).any()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_all_channels(channels: int) -> None:
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    assert crop_face(picture().convert(mode), FACE - (90, 40), 32).mode == mode


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((5, 2)), "coincide"),
        (np.zeros((7, 2)), r"\[7, 2\]; give 68, 5 or 4"),
        (FACE * np.nan, "not all finite"),
        (FACE + 5000, "outside"),
        (FACE * 1000, "outside"),
    ],
)
def test_useless_landmarks(points: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        crop_face(picture(), points, 32)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for i in range(3):
        picture().rotate(90 * i).save(tmp_path / f"in/{i}.png")
    return tmp_path / "in"


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_landmarks_from_a_file(tmp_path: Path, source: Path, kind: str) -> None:
    file = tmp_path / f"points.{kind}"
    faces = {"0.png": FACE, "2.png": FACE[[0, 1, 3, 4]]}
    if kind == "json":
        file.write_text(json.dumps({name: points.tolist() for name, points in faces.items()}))
    else:
        faces["2.png"] = FACE
        file.write_text("".join(f"{name},{','.join(map(str, points.ravel()))}\n" for name, points in faces.items()))
    result = prepare_images(source, tmp_path / "out.zip", ImageOptions((32, 32), align=str(file)))
    assert result.count == 2 and result.skipped == (("1.png", f"it has no landmarks in {file}"),)
    dataset = ImageDataset(tmp_path / "out.zip")
    assert (dataset.info.crop, dataset.info.made_with) == ("ffhq", {"align": file.name})
    expected = crop_face(picture(), FACE, 32).resize((32, 32), Image.Resampling.LANCZOS)
    assert np.array_equal(dataset[0][0].permute(1, 2, 0).numpy(), np.asarray(expected))


def ffhq_json(names: list[str], size: int) -> dict[str, Any]:
    """As FFHQ's `ffhq-dataset-v2.json`: the aligned picture's landmarks, too, which are others."""
    aligned = {"pixel_size": [1024, 1024], "face_landmarks": (FACE * 5).tolist()}
    wild = {"pixel_size": [size, size], "face_landmarks": FACE.tolist()}
    return {
        str(i): {
            "category": "training",
            "image": {**aligned, "file_path": f"images1024x1024/{name}"},
            "in_the_wild": {**wild, "file_path": f"in-the-wild-images/{name}"},
        }
        for i, name in enumerate(names)
    }


@pytest.mark.parametrize("below", ["", "in-the-wild-images/", "ffhq/in-the-wild-images/"])
def test_the_landmarks_of_ffhq(tmp_path: Path, below: str) -> None:
    names = [f"{below}00000/0000{i}.png" for i in range(2)]
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        picture().save(tmp_path / "in" / name)
    file = tmp_path / "ffhq-dataset-v2.json"
    file.write_text(json.dumps(ffhq_json(["00000/00000.png", "00000/00001.png", "01000/01000.png"], 200)))
    options = ImageOptions((32, 32), align=str(file), overwrite=True)
    assert prepare_images(tmp_path / "in", tmp_path / "out.zip", options).count == 2
    expected = crop_face(picture(), FACE, 32).resize((32, 32), Image.Resampling.LANCZOS)
    assert np.array_equal(ImageDataset(tmp_path / "out.zip")[0][0].permute(1, 2, 0).numpy(), np.asarray(expected))
    picture(100).save(tmp_path / "in" / names[1])  # where these landmarks would be elsewhere
    result = prepare_images(tmp_path / "in", tmp_path / "out.zip", options)
    assert result.skipped[0][0] == names[1] and "it has 100x100 pixels" in result.skipped[0][1]


def test_the_landmarks_of_celeba(tmp_path: Path, source: Path) -> None:
    """The number of images, names of columns, and columns of numbers parted by spaces."""
    columns = " ".join(f"{part}_{axis}" for part in ("lefteye", "righteye", "nose") for axis in "xy")
    columns += " leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    rows = [f"{i}.png   {'  '.join(str(int(value)) for value in FACE.ravel())}" for i in range(3)]
    file = tmp_path / "list_landmarks_celeba.txt"
    file.write_text("\n".join(["3", columns, *rows, ""]))
    assert prepare_images(source, tmp_path / "out.zip", ImageOptions((32, 32), align=str(file))).count == 3
    expected = crop_face(picture(), FACE, 32).resize((32, 32), Image.Resampling.LANCZOS)
    assert np.array_equal(ImageDataset(tmp_path / "out.zip")[0][0].permute(1, 2, 0).numpy(), np.asarray(expected))


def test_landmarks_of_other_images(tmp_path: Path, source: Path) -> None:
    file = tmp_path / "points.json"
    for points, message in (
        ({"x.png": FACE.tolist(), "y.png": FACE.tolist()}, r"none of the 3 images has landmarks there; .* 0\.png"),
        ([["0.png", FACE.tolist()], ["0.png", (FACE + 1).tolist()]], r"'0\.png' stands there twice"),
    ):
        file.write_text(json.dumps(points))
        with pytest.raises(UserError, match=message):
            prepare_images(source, tmp_path / "out.zip", ImageOptions((32, 32), align=str(file)))


def test_without_the_detector_the_error_says_how_to_get_it(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "facenet_pytorch", None)
    with pytest.raises(UserError, match="pip install --no-deps facenet-pytorch"):
        prepare_images(source, tmp_path / "out.zip", ImageOptions((32, 32), align="mtcnn"))
    with pytest.raises(UserError, match="there is no such file"):
        prepare_images(source, tmp_path / "out.zip", ImageOptions((32, 32), align="points.json"))
    with pytest.raises(UserError, match="needs --resolution"):
        ImageOptions((32, 32), fit=Fit.NONE, align="mtcnn")


def test_a_detector(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the package: a detector that finds a face in the first two images it sees."""

    class Detector:
        def __init__(self, **options: Any) -> None:
            self.calls = 0

        def detect(self, image: Image.Image, landmarks: bool) -> tuple[Any, Any, Any]:
            assert landmarks and image.mode == "RGB"
            self.calls += 1
            return (None, None, None) if self.calls > 2 else (None, None, np.stack([FACE, FACE + 9]))

    module = ModuleType("facenet_pytorch")
    module.MTCNN = Detector  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "facenet_pytorch", module)
    result = prepare_images(source, tmp_path / "out.zip", ImageOptions((32, 32), align="mtcnn", workers=1))
    assert result.count == 2 and result.skipped == (("2.png", "no face was found in it"),)
    expected = crop_face(picture(), FACE, 32).resize((32, 32), Image.Resampling.LANCZOS)
    assert np.array_equal(ImageDataset(tmp_path / "out.zip")[0][0].permute(1, 2, 0).numpy(), np.asarray(expected))
    with pytest.raises(UserError, match=r"there is no weights/pnet\.pt"):
        prepare_images(source, tmp_path / "b.zip", ImageOptions((32, 32), align="mtcnn:weights"))

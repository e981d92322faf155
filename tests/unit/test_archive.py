"""Reading archives: both layouts, labels, order, what is refused, and reading from many workers at once."""

import hashlib
import io
import json
import pickle
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from stylegan.data.archive import ImageDataset, check_resolution, nearest_resolution
from stylegan.errors import UserError


def pixels(count: int, H: int = 8, W: int = 8, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Random images, uint8 [count, H, W, channels]."""
    return np.random.default_rng(seed).integers(0, 256, (count, H, W, channels), dtype=np.uint8)


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "png")
    return buffer.getvalue()


def write(path: Path, files: dict[str, bytes | np.ndarray], metadata: Any = None) -> Path:
    """An archive by hand, as other tools make it: a ZIP where the name says so, else a folder."""
    content = {name: data if isinstance(data, bytes) else png(data) for name, data in files.items()}
    if metadata is not None:
        content["dataset.json"] = json.dumps(metadata).encode()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name, data in content.items():
                archive.writestr(name, data)
        return path
    for name, data in content.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def as_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1).copy())


@pytest.mark.parametrize("kind", ["archive.zip", "folder"])
def test_pixels_and_order(tmp_path: Path, kind: str) -> None:
    images = pixels(3, H=8, W=4)
    files = {
        "00001/img00000002.png": images[2],
        "00000/img00000000.png": images[0],
        "notes.txt": b"not an image",
        "__MACOSX/00000/._img00000000.png": b"not an image either",
        "00000/img00000001.png": images[1],
    }
    dataset = ImageDataset(write(tmp_path / kind, files))
    assert len(dataset) == 3
    assert (dataset.resolution, dataset.channels, dataset.label_dim, dataset.has_labels) == ((8, 4), 3, 0, False)
    assert dataset.name == Path(kind).stem
    for i, expected in enumerate(images):
        image, label = dataset[i]
        assert image.dtype == torch.uint8 and image.is_contiguous()
        assert torch.equal(image, as_tensor(expected))
        assert label.shape == (0,) and label.dtype == torch.float32


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels(tmp_path: Path, channels: int) -> None:
    images = pixels(2, channels=channels)
    dataset = ImageDataset(write(tmp_path / "a.zip", {"0.png": images[0], "1.png": images[1]}))
    assert dataset.channels == channels
    assert torch.equal(dataset[1][0], as_tensor(images[1]))


def test_deflated_zip_is_read(tmp_path: Path) -> None:
    images = pixels(1)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.png", png(images[0]))
    assert torch.equal(ImageDataset(tmp_path / "a.zip")[0][0], as_tensor(images[0]))


def test_class_labels_become_one_hot(tmp_path: Path) -> None:
    names = ["a.png", "b.png", "c.png"]
    labels = [["c.png", 4], ["a.png", 0], ["b.png", 2]]  # in any order
    path = write(tmp_path / "a.zip", dict(zip(names, pixels(3), strict=True)), {"labels": labels})
    dataset = ImageDataset(path, use_labels=True)
    assert (dataset.label_dim, dataset.has_labels) == (5, True)
    assert torch.equal(torch.stack([dataset[i][1] for i in range(3)]), torch.eye(5)[[0, 2, 4]])
    assert ImageDataset(path).label_dim == 0


def test_vector_labels_stay_as_they_are(tmp_path: Path) -> None:
    labels = [["a.png", [0.25, -1]], ["b.png", [3, 0.5]]]
    path = write(tmp_path / "a.zip", dict(zip(["a.png", "b.png"], pixels(2), strict=True)), {"labels": labels})
    dataset = ImageDataset(path, use_labels=True)
    assert dataset.label_dim == 2
    assert dataset.label(0).tolist() == [0.25, -1] and dataset[1][1].tolist() == [3, 0.5]
    assert dataset[1][1].dtype == torch.float32


def test_windows_names_in_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"00000/a.png": pixels(1)[0]}, {"labels": [["00000\\a.png", 1]]})
    assert ImageDataset(path, use_labels=True)[0][1].tolist() == [0, 1]


def test_xflip_doubles_the_set(tmp_path: Path) -> None:
    files = dict(zip(["a.png", "b.png"], pixels(2), strict=True))
    path = write(tmp_path / "a.zip", files, {"labels": [["a.png", 0], ["b.png", 1]]})
    dataset = ImageDataset(path, use_labels=True, xflip=True)
    assert len(dataset) == 4
    for i in range(2):
        assert torch.equal(dataset[i + 2][0], dataset[i][0].flip(2))
        assert torch.equal(dataset[i + 2][1], dataset[i][1])
    for index in (-1, 4):
        with pytest.raises(IndexError):
            dataset[index]


def test_max_images(tmp_path: Path) -> None:
    names = [f"{i:02d}.png" for i in range(20)]
    path = write(
        tmp_path / "a.zip", dict(zip(names, pixels(20), strict=True)), {"labels": [[n, int(n[:2])] for n in names]}
    )
    few, more = (ImageDataset(path, use_labels=True, max_images=n) for n in (5, 9))
    assert len(few) == 5 and set(few.names) < set(more.names) and few.names == sorted(few.names)
    assert few.label_dim == 20  # of the whole archive: the network's shape does not depend on the choice
    assert [int(few.label(i).argmax()) for i in range(5)] == [int(name[:2]) for name in few.names]
    assert few.content_hash == more.content_hash
    assert len(ImageDataset(path, max_images=100)) == 20
    with pytest.raises(UserError, match="max_images=0"):
        ImageDataset(path, max_images=0)


def test_content_hash_is_as_documented(tmp_path: Path) -> None:
    images, labels = pixels(2), [1, 7]
    files = dict(zip(["a.png", "b.png"], images, strict=True))
    expected = hashlib.sha256(images.tobytes())
    assert ImageDataset(write(tmp_path / "a.zip", files)).content_hash == expected.hexdigest()
    expected.update(np.array(labels, "<i8").tobytes())
    labelled = {"labels": [["b.png", 7], ["a.png", 1]]}
    assert ImageDataset(write(tmp_path / "b", files, labelled)).content_hash == expected.hexdigest()
    vectors = {"labels": [["a.png", [0.5]], ["b.png", [2]]]}
    expected = hashlib.sha256(images.tobytes() + np.array([0.5, 2], "<f4").tobytes())
    assert ImageDataset(write(tmp_path / "c.zip", files, vectors)).content_hash == expected.hexdigest()


@pytest.mark.parametrize(
    ("kind", "context", "workers"),
    [("archive.zip", "fork", 2), ("folder", "fork", 2), ("archive.zip", "spawn", 1)],
)
def test_many_workers(tmp_path: Path, kind: str, context: str, workers: int) -> None:
    images = pixels(64, H=16, W=16)
    dataset = ImageDataset(write(tmp_path / kind, {f"{i:03d}.png": image for i, image in enumerate(images)}))
    expected = torch.stack([as_tensor(image) for image in images])
    assert torch.equal(dataset[0][0], expected[0])  # so that the parent's handle is open, at some offset
    loader = DataLoader(dataset, batch_size=1, num_workers=workers, multiprocessing_context=context)
    assert torch.equal(torch.cat([image for image, _ in loader]), expected)


def test_many_threads_and_pickle(tmp_path: Path) -> None:
    images = pixels(32)
    dataset = ImageDataset(write(tmp_path / "a.zip", {f"{i:03d}.png": image for i, image in enumerate(images)}))
    dataset = pickle.loads(pickle.dumps(dataset))
    with ThreadPoolExecutor(8) as pool:
        found = torch.stack(list(pool.map(lambda i: dataset[i][0], range(32))))
    assert torch.equal(found, torch.stack([as_tensor(image) for image in images]))


@pytest.mark.parametrize(
    ("H", "W"), [(4, 4), (7, 7), (64, 64), (1024, 1024), (96, 64), (256, 64), (32, 8), (1280, 768)]
)
def test_resolutions_that_fit(H: int, W: int) -> None:
    check_resolution(H, W, "a.zip")
    assert nearest_resolution(H, W) == (H, W)


@pytest.mark.parametrize(
    ("H", "W", "near"), [(250, 250, "256x256"), (100, 60, "64x96"), (3, 2, "4x4"), (33, 64, "64x32")]
)
def test_other_resolutions_are_refused(tmp_path: Path, H: int, W: int, near: str) -> None:
    path = write(tmp_path / "a.zip", {"a.png": pixels(1, H, W)[0]})
    with pytest.raises(UserError, match=rf"{W}x{H} .*nearest is {near}"):
        ImageDataset(path)


def test_nearest_resolution_fits_always() -> None:
    for H in (1, 5, 9, 63, 100, 511, 1500):
        for W in (1, 7, 13, 64, 129, 1000):
            check_resolution(*nearest_resolution(H, W), "nearest")


@pytest.mark.parametrize(
    ("other", "message"),
    [(pixels(1, 8, 16)[0], "16x8"), (pixels(1, channels=1)[0], "8x8 with 1 channel,")],
)
def test_images_that_differ(tmp_path: Path, other: np.ndarray, message: str) -> None:
    path = write(tmp_path / "a.zip", {"a.png": pixels(1)[0], "odd.png": other})
    with pytest.raises(UserError, match="stylegan prepare") as error:
        ImageDataset(path)
    assert "odd.png" in str(error.value) and message in str(error.value) and "8x8 with 3 channels" in str(error.value)


def test_palette_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels(1)[0]).quantize(8).save(buffer, "png")
    with pytest.raises(UserError, match=r"a\.png.*'P'.*stylegan prepare"):
        ImageDataset(write(tmp_path / "a.zip", {"a.png": buffer.getvalue()}))


def test_paths_that_are_no_archive(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    write(tmp_path / "none.zip", {"readme.txt": b"x"})
    whole = write(tmp_path / "whole.zip", {"a.png": pixels(1)[0]}).read_bytes()
    (tmp_path / "half.zip").write_bytes(whole[: len(whole) // 2])
    cases = {
        "missing.zip": "there is no archive",
        "empty": "holds no images",
        "none.zip": "holds no images",
        "text.txt": "neither a ZIP nor a folder",
        "broken.zip": "not a readable ZIP",
        "half.zip": "not a readable ZIP",
    }
    for name, message in cases.items():
        with pytest.raises(UserError, match=message) as error:
            ImageDataset(tmp_path / name)
        assert name in str(error.value)


def test_broken_first_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.png.*cannot be read"):
        ImageDataset(write(tmp_path / "a.zip", {"a.png": b"not a PNG"}))


@pytest.mark.parametrize("kind", ["archive.zip", "folder"])
def test_image_cut_short_is_named(tmp_path: Path, kind: str) -> None:
    good = png(pixels(1, 32, 32)[0])
    dataset = ImageDataset(write(tmp_path / kind, {"a.png": good, "b.png": good[: len(good) // 2]}))
    assert dataset[0][0].shape == (3, 32, 32)
    with pytest.raises(UserError, match=r"b\.png.*cannot be read"):
        dataset[1]


def test_damaged_bytes_are_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"a.png": pixels(1, 32, 32)[0]})
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 500] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a\.png.*cannot be read"):
        ImageDataset(path)[0]


def test_labels_asked_for_and_missing(tmp_path: Path) -> None:
    image = pixels(1)[0]
    for i, metadata in enumerate([None, {"labels": None}, {"labels": []}, {}]):
        path = write(tmp_path / f"{i}.zip", {"a.png": image}, metadata)
        assert not ImageDataset(path).has_labels
        with pytest.raises(UserError, match="conditional model on an unlabelled archive"):
            ImageDataset(path, use_labels=True)
    path = write(tmp_path / "some.zip", {"a.png": image, "b.png": image}, {"labels": [["a.png", 0]]})
    with pytest.raises(UserError, match=r"1 of the 2 images .* b\.png"):
        ImageDataset(path, use_labels=True)


@pytest.mark.parametrize(
    ("first", "second"),
    [(1, [0.5]), ([0.5], 1), ([0.5], [0.5, 1]), (1, True), (1, "cat"), ([1.0], [None]), ([], [])],
)
def test_labels_of_mixed_kinds(tmp_path: Path, first: Any, second: Any) -> None:
    files = dict(zip(["a.png", "b.png"], pixels(2), strict=True))
    path = write(tmp_path / "a.zip", files, {"labels": [["a.png", first], ["b.png", second]]})
    with pytest.raises(UserError, match=r"labels of mixed kinds|is no label"):
        ImageDataset(path, use_labels=True)


@pytest.mark.parametrize(
    "metadata", [b"{", b"[]", b'{"labels": 3}', b'{"content_hash": "0", "resolution": 3}', b"\xff"]
)
def test_damaged_metadata(tmp_path: Path, metadata: bytes) -> None:
    path = write(tmp_path / "a.zip", {"a.png": pixels(1)[0], "dataset.json": metadata})
    with pytest.raises(UserError, match=r"dataset\.json in .* cannot be used"):
        ImageDataset(path)


def test_metadata_of_another_archive(tmp_path: Path) -> None:
    claim = {"labels": None, "content_hash": "0", "count": 2, "resolution": [8, 8], "channels": 3}
    with pytest.raises(UserError, match=r"holds 1 images.* says 2"):
        ImageDataset(write(tmp_path / "a.zip", {"a.png": pixels(1)[0]}, claim))


def test_trusted_metadata_is_still_checked_upon_decode(tmp_path: Path) -> None:
    claim = {"labels": None, "content_hash": "0", "count": 2, "resolution": [8, 8], "channels": 3}
    dataset = ImageDataset(write(tmp_path / "a.zip", {"a.png": pixels(1)[0], "b.png": pixels(1, 16, 16)[0]}, claim))
    with pytest.raises(UserError, match=r"b\.png .* 16x16"):
        dataset[1]

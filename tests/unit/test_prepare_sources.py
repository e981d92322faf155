"""The same images give the same archive from a folder, ZIP, TAR and LMDB; MNIST's and CIFAR-10's files; damaged ones."""

import gzip
import io
import json
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from PIL import Image

from stylegan.data.archive import ImageDataset
from stylegan.data.prepare import ImageOptions, prepare_images
from stylegan.data.sources import open_source
from stylegan.errors import UserError

OPTIONS = ImageOptions((8, 8), workers=2)


def random_images(count: int, shape: tuple[int, ...] = (8, 8, 3)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture
def files() -> dict[str, bytes]:
    """Nine images in two folders, names sorted, and labels of an archive."""
    images = {f"{'ab'[i // 5]}/{i}.png": png(image) for i, image in enumerate(random_images(9))}
    labels = {"labels": [[name, i % 3] for i, name in enumerate(images)]}
    return {**images, "dataset.json": json.dumps(labels).encode(), "notes.txt": b"no image"}


def write_source(kind: str, path: Path, files: dict[str, bytes]) -> Path:
    if kind == "folder":
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    elif kind == "lmdb":
        with lmdb.open(str(path), map_size=2**20) as database, database.begin(write=True) as transaction:
            for name, data in files.items():
                if name.endswith(".png"):
                    transaction.put(name.encode(), data)
    else:
        mode: Any = "w:" + kind.partition(".")[2]
        with tarfile.open(path, mode) as archive:
            for name, data in files.items():
                member = tarfile.TarInfo(f"./{name}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz", "tar.xz", "lmdb"])
def test_the_same_archive_from_every_source(tmp_path: Path, kind: str, files: dict[str, bytes]) -> None:
    source = write_source(kind, tmp_path / f"source.{kind}", files)
    result = prepare_images(source, tmp_path / "out.zip", OPTIONS)
    dataset = ImageDataset(tmp_path / "out.zip", use_labels=kind != "lmdb")
    assert (result.count, result.skipped, dataset.name) == (9, (), "source")
    found = np.stack([dataset[i][0].numpy().transpose(1, 2, 0) for i in range(9)])
    assert np.array_equal(found, random_images(9))
    if kind != "lmdb":  # which holds images only
        assert [int(dataset.label(i).argmax()) for i in range(9)] == [i % 3 for i in range(9)]


def test_sub_folders_of_a_zip_are_classes(tmp_path: Path, files: dict[str, bytes]) -> None:
    source = write_source("zip", tmp_path / "in.zip", files)
    prepare_images(source, tmp_path / "out.zip", ImageOptions((8, 8), labels=True))
    dataset = ImageDataset(tmp_path / "out.zip", use_labels=True)
    assert dataset.info.class_names == ("a", "b")
    assert [int(dataset.label(i).argmax()) for i in range(9)] == [0] * 5 + [1] * 4


def test_only_the_first_images(tmp_path: Path, files: dict[str, bytes]) -> None:
    source = write_source("tar", tmp_path / "in.tar", files)
    assert prepare_images(source, tmp_path / "out.zip", ImageOptions((8, 8), count=4)).count == 4


def test_a_broken_image_in_a_tar_is_skipped(tmp_path: Path, files: dict[str, bytes]) -> None:
    source = write_source("tar.gz", tmp_path / "in.tar.gz", {**files, "a/2.png": files["a/2.png"][:60]})
    result = prepare_images(source, tmp_path / "out.zip", OPTIONS)
    assert result.count == 8 and [name for name, _ in result.skipped] == ["a/2.png"]


def test_idx_files(tmp_path: Path) -> None:
    images = random_images(5, (28, 28))
    labels = np.array([3, 0, 1, 1, 9], np.uint8)
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(gzip.compress(struct.pack(">HBB3I", 0, 8, 3, *images.shape) + images.tobytes()))
    of_labels = tmp_path / "train-labels-idx1-ubyte.gz"
    of_labels.write_bytes(gzip.compress(struct.pack(">HBBI", 0, 8, 1, 5) + labels.tobytes()))
    prepare_images(file, tmp_path / "out.zip", ImageOptions((28, 28), channels=1))
    dataset = ImageDataset(tmp_path / "out.zip", use_labels=True)
    assert (dataset.resolution, dataset.channels, dataset.label_dim) == ((28, 28), 1, 10)
    assert np.array_equal(np.stack([dataset[i][0].numpy()[0] for i in range(5)]), images)
    assert [int(dataset.label(i).argmax()) for i in range(5)] == labels.tolist()
    of_labels.write_bytes(struct.pack(">HBBI", 0, 8, 1, 4) + labels[:4].tobytes())
    with pytest.raises(UserError, match=r"5 images, but .* 4 labels"):
        open_source(file)
    file.write_bytes(struct.pack(">HBB3I", 0, 8, 3, *images.shape) + images.tobytes()[:-1])
    with pytest.raises(UserError, match="not a readable IDX file"):
        open_source(file)


def test_cifar10_binary(tmp_path: Path) -> None:
    images = random_images(4, (32, 32, 3))
    records = [bytes([label]) + image.transpose(2, 0, 1).tobytes() for label, image in enumerate(images)]
    folder = "cifar-10-batches-bin/"
    members = {
        folder + "data_batch_2.bin": b"".join(records[2:]),
        folder + "data_batch_1.bin": b"".join(records[:2]),
        folder + "test_batch.bin": b"".join(records),
        folder + "batches.meta.txt": b"airplane\nautomobile\nbird\ncat\n\n",
    }
    source = write_source("tar.gz", tmp_path / "cifar-10-binary.tar.gz", members)
    prepare_images(source, tmp_path / "out.zip", ImageOptions((32, 32)))
    dataset = ImageDataset(tmp_path / "out.zip", use_labels=True)
    assert np.array_equal(np.stack([dataset[i][0].numpy().transpose(1, 2, 0) for i in range(4)]), images)
    assert [int(dataset.label(i).argmax()) for i in range(4)] == [0, 1, 2, 3]
    assert dataset.info.class_names == ("airplane", "automobile", "bird", "cat")
    cut = write_source("tar", tmp_path / "cut.tar", {"data_batch_1.bin": records[0][:-1]})
    with pytest.raises(UserError, match=r"data_batch_1\.bin .* is cut short"):
        open_source(cut)
    pickled = write_source("tar", tmp_path / "python.tar", {"data_batch_1": b"pickle"})
    with pytest.raises(UserError, match="get the binary version"):
        open_source(pickled)


def test_damaged_sources(tmp_path: Path, files: dict[str, bytes]) -> None:
    for kind in ("tar", "tar.gz", "zip"):
        source = write_source(kind, tmp_path / f"in.{kind}", files)
        source.write_bytes(
            source.read_bytes()[:-700] if kind == "zip" else source.read_bytes()[: 1400 if "." in kind else 2000]
        )
        with pytest.raises(UserError, match="not a"):
            open_source(source)
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match="not a readable LMDB"):
        open_source(tmp_path / "db")

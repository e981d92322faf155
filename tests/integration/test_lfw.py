"""Real photographs: the first 100 images of scikit-image's `lfw_subset` are faces of the Labeled Faces in the Wild."""

import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylegan import run_dir as layout
from stylegan.data.archive import ImageDataset
from stylegan.data.convert import ResizeFilter
from stylegan.data.prepare import ImageOptions, prepare_images
from stylegan.inference import Sampling, load_generator, sample
from tests.integration.command import run_here


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    """uint8 [100, 25, 25], grey. Found without importing scikit-image, whose imports take seconds."""
    spec = find_spec("skimage")
    assert spec is not None and spec.origin is not None, "scikit-image is one of the dev packages"
    images = np.load(Path(spec.origin).parent / "data" / "lfw_subset.npy")[:100]
    return np.rint(images * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def archive(photographs: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photographs at 32x32 with 1 channel, prepared from PNG files in a folder."""
    folder = tmp_path_factory.mktemp("lfw")
    for i, image in enumerate(photographs):
        Image.fromarray(image).save(folder / f"face{i:03d}.png")
    options = ImageOptions((32, 32), channels=1, filter=ResizeFilter.LANCZOS, name="lfw100")
    result = prepare_images(folder, folder / "lfw.zip", options)
    assert (result.count, result.skipped) == (100, ())
    return result.path


def test_photographs_become_an_archive(archive: Path, photographs: np.ndarray) -> None:
    dataset = ImageDataset(archive)
    assert (len(dataset), dataset.resolution, dataset.channels, dataset.name) == (100, (32, 32), 1, "lfw100")
    for i, photograph in enumerate(photographs):
        expected = np.asarray(Image.fromarray(photograph).resize((32, 32), Image.Resampling.LANCZOS))
        assert np.array_equal(dataset[i][0][0].numpy(), expected), f"image {i} is not photograph {i}"


def test_a_network_trains_on_photographs(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three iterations on grey 32x32 photographs: files appear, numbers are finite, the networks move."""
    arguments = ["experiment=debug", f"data.path={archive}", f"run_dir={tmp_path}/run", "training.kimg=0.024"]
    result = run_here("train", *arguments, capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 0, result.err
    assert "lfw100: 100 images of 32x32x1" in result.err
    last = layout.read_stats(tmp_path / "run")[-1]
    assert last["nimg"] == 24 and all(math.isfinite(v) for v in last.values() if isinstance(v, float))
    G = load_generator(tmp_path / "run")
    assert (G.resolution, G.channels) == ((32, 32), 1)
    images = torch.stack(list(sample(G, [0, 1], Sampling(batch=2))))
    assert images.shape == (2, 1, 32, 32) and not torch.equal(images[0], images[1])

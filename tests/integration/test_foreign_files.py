"""A run's folder and an archive that came from somebody else: what they say is shown, not obeyed; their links lead nowhere."""

import json
from pathlib import Path

import pytest

from stylegan import run_dir as layout
from stylegan.data.archive import METADATA, ImageDataset
from stylegan.data.prepare import ImageOptions, prepare_images
from tests.integration.command import run_here
from tests.integration.images import write_archive


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Its name would clear the screen and begin a line of its own."""
    path = tmp_path / "images"
    prepare_images(write_archive(tmp_path / "noise.zip"), path, ImageOptions((16, 16)))
    told = json.loads((path / METADATA).read_text())
    (path / METADATA).write_text(json.dumps({**told, "name": "cats\x1b[2J\nerror: forged"}))
    assert ImageDataset(path).name.endswith("forged")
    return path


def test_a_run_shows_and_does_not_obey(
    tmp_path: Path, archive: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = [f"data.path={archive}", "run_dir=run", "experiment=debug", "data.workers=0", "ops.backend=reference"]
    done = run_here("train", *options, "training.kimg=0.008", capsys=capsys, monkeypatch=monkeypatch)
    assert done.code == 0, done.err
    for text in (done.err, (tmp_path / "run" / layout.LOG).read_text()):
        assert r"cats\x1b[2J\nerror: forged" in text and "\x1b" not in text and "\nerror" not in text

    (tmp_path / "victim").mkdir()
    model = tmp_path / "victim" / "model.safetensors"
    model.write_text("precious")
    (tmp_path / "run" / "snapshots" / "best-x").mkdir()
    record = {"nimg": 99999, "best": "x/../../../victim/model", "results": {}}
    (tmp_path / "run" / layout.METRICS).write_text(json.dumps(record) + "\n")
    resumed = run_here("train", "run_dir=run", "training.kimg=0.016", capsys=capsys, monkeypatch=monkeypatch)
    assert resumed.code == 2 and "is no name of a metric" in resumed.err
    assert model.read_text() == "precious"

    (tmp_path / "run" / layout.METRICS).unlink()
    (tmp_path / "run" / layout.LOG).unlink()
    (tmp_path / "run" / layout.LOG).symlink_to(model)
    resumed = run_here("train", "run_dir=run", "training.kimg=0.016", capsys=capsys, monkeypatch=monkeypatch)
    assert resumed.code == 2 and "log.txt is a link" in resumed.err
    assert model.read_text() == "precious"


def test_a_sweep_follows_no_link(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep/0").symlink_to(tmp_path / "victim")
    arguments = ["-m", "experiment=debug", "seed=0,1", f"run_dir={tmp_path}/sweep"]
    result = run_here("train", *arguments, capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 2 and "sweep/0 is a link" in result.err and not list((tmp_path / "victim").iterdir())

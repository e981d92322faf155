"""Every wrong input of train.py ends with one message that names the value and the mend, exit code 2, nothing lost."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylegan import run_dir as layout
from tests.integration.command import Result, run_here
from tests.integration.images import write_archive

Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """train.py of the debug experiment, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return lambda *args: run_here("train", *args, capsys=capsys, monkeypatch=monkeypatch)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "noise.zip")


def refused(result: Result, *says: str) -> None:
    """One message on stderr that contains all of `says`, exit code 2."""
    assert result.code == 2, result.err
    assert result.err.count("error: ") == 1 and "Traceback" not in result.err, result.err
    lines = result.err.strip().splitlines()
    assert lines[-1].startswith("error: "), result.err
    for text in says:
        assert text in lines[-1], f"{text!r} is not in {result.err!r}"


def short(run: Run, archive: Path, *args: str) -> Result:
    return run("experiment=debug", f"data.path={archive}", "training.kimg=0.008", *args)


def test_missing_archive(run: Run, tmp_path: Path) -> None:
    refused(run("experiment=debug", "data.path=nowhere.zip"), "nowhere.zip", "stylegan prepare")
    assert not (tmp_path / "runs").exists()


def test_empty_archive(run: Run, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing to see")
    refused(run("experiment=debug", "data.path=empty.zip"), "empty.zip")


def test_broken_archive(run: Run, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.zip").write_bytes(archive.read_bytes()[:-400])
    refused(run("experiment=debug", "data.path=cut.zip"), "cut.zip")


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_image(run: Run, archive: Path, tmp_path: Path, workers: int) -> None:
    with zipfile.ZipFile(archive) as good, zipfile.ZipFile(tmp_path / "bad.zip", "w") as bad:
        for name in good.namelist():
            content = good.read(name)
            bad.writestr(name, content[: len(content) // 2 + 20] if name.endswith("0007.png") else content)
    refused(
        run("experiment=debug", "data.path=bad.zip", f"data.workers={workers}", "training.grid_images=1"),
        "img00000007.png",
    )


def test_images_of_unequal_size(run: Run, archive: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros([32, 16, 3], np.uint8)).save(buffer, "png")
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr("00000/img00000099.png", buffer.getvalue())
    refused(run("experiment=debug", f"data.path={archive}"), "img00000099.png", "16x32", "16x16", "stylegan prepare")


def test_conditional_model_on_an_unlabelled_archive(run: Run, archive: Path) -> None:
    refused(
        run("experiment=debug", f"data.path={archive}", "data.use_labels=true"),
        str(archive),
        "label",
        "data.use_labels=false",
    )


def test_a_resolution_that_no_generator_makes(run: Run, tmp_path: Path) -> None:
    refused(run("experiment=debug", f"data.path={write_archive(tmp_path / 'odd.zip', size=18)}"), "18x18", "16x16")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["training.batch_size=6", "training.micro_batch=4"], ["training.batch_size=6", "training.micro_batch=4"]),
        (["training.batch_size=6", "training.micro_batch=6"], ["training.micro_batch=6", "minibatch_std_group=4"]),
        (["training.batch_size=0"], ["training.batch_size=0"]),
        (["training.kimg=-1"], ["training.kimg=-1"]),
        (["training.kimg=long"], ["training.kimg", "long"]),
        (["training.on_nonfinite=pray"], ["training.on_nonfinite", "pray", "rollback"]),
        (["loss.r1_gamma=-1"], ["loss.r1_gamma=-1"]),
        (["trainig.kimg=5"], ["trainig.kimg", "training.kimg"]),
        (["model.G.channel_bas=5"], ["model.G.channel_bas", "model.G.channel_base"]),
        (["device=tpu"], ["device=tpu", "cpu"]),
        (["device=cuda"], ["device=cuda", "device=cpu"]),
        (["data.workers=-1"], ["data.workers=-1"]),
        (["training.kimg="], ["training.kimg"]),
        (["model.D.freeze_layers=100"], ["freeze_layers=100"]),
    ],
)
def test_settings(run: Run, archive: Path, tmp_path: Path, settings: list[str], says: list[str]) -> None:
    if settings == ["device=cuda"] and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    refused(run("experiment=debug", f"data.path={archive}", *settings), *says)
    assert not (tmp_path / "runs").exists()


def test_unknown_experiment(run: Run) -> None:
    refused(run("experiment=stylegan2_fhq256"), "experiment=stylegan2_fhq256", "stylegan2_ffhq256")


def test_run_dir_that_holds_something_else(run: Run, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.txt").write_text("precious")
    refused(run("experiment=debug", f"data.path={archive}", "run_dir=photos"), "run_dir=photos", "choose another")
    refused(run("experiment=debug", f"data.path={archive}", "run_dir=photos/holiday.txt"), "photos/holiday.txt")
    assert (tmp_path / "photos" / "holiday.txt").read_text() == "precious"


def test_run_dir_that_cannot_be_written(run: Run, archive: Path) -> None:
    refused(run("experiment=debug", f"data.path={archive}", f"run_dir={archive}/below"), str(archive))
    refused(run("experiment=debug", f"data.path={archive}", "run_dir=/proc/nowhere"), "/proc/nowhere")


def test_another_configuration_in_the_same_run_dir(run: Run, archive: Path, tmp_path: Path) -> None:
    assert short(run, archive).code == 0
    before = {p: p.read_bytes() for p in (tmp_path / "runs").rglob("*") if p.is_file()}
    refused(
        short(run, archive, "seed=3", "model.G.z_dim=24"),
        "seed is 0 in the run and 3 here",
        "model.G.z_dim",
        "init_from",
    )
    assert {p: p.read_bytes() for p in (tmp_path / "runs").rglob("*") if p.is_file()} == before


def test_another_data_set_in_the_same_run_dir(run: Run, archive: Path, tmp_path: Path) -> None:
    assert short(run, archive).code == 0
    moved = tmp_path / "moved.zip"
    moved.write_bytes(archive.read_bytes())
    assert short(run, moved, "training.kimg=0.016").code == 0
    other = write_archive(tmp_path / "other.zip", count=12)
    refused(short(run, other, "training.kimg=0.024"), str(other), "content hash", "data.path=")


def test_a_checkpoint_of_another_architecture(run: Run, archive: Path, tmp_path: Path) -> None:
    assert short(run, archive).code == 0
    config = tmp_path / "runs" / "debug" / layout.CONFIG
    config.write_text(config.read_text().replace("w_dim: 16", "w_dim: 24"))
    refused(run("run_dir=runs/debug", "training.kimg=0.016"), "state-000000008.pt", "another architecture", "w_dim")


def test_a_config_that_someone_edited_wrongly(run: Run, archive: Path, tmp_path: Path) -> None:
    assert short(run, archive).code == 0
    config = tmp_path / "runs" / "debug" / layout.CONFIG
    config.write_text(config.read_text().replace("z_dim", "zz_dim"))
    refused(run("run_dir=runs/debug", "training.kimg=0.016"), "zz_dim")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere.pt", "does not exist"),
        ("x" * 5000, "is a text of 5000 characters"),
        ("noise.zip", "neither"),
        ("notes.safetensors", "notes.safetensors"),
        ("notes.pt", "notes.pt"),
    ],
)
def test_init_from_the_wrong_kind(run: Run, archive: Path, tmp_path: Path, source: str, says: str) -> None:
    for name in ("notes.safetensors", "notes.pt"):
        (tmp_path / name).write_text("not what the name says")
    refused(short(run, archive, f"init_from={source}"), source if len(source) < 100 else "init_from", says)
    assert not (tmp_path / "runs").exists()


def test_init_from_a_checkpoint_a_snapshot_and_a_run(run: Run, archive: Path, tmp_path: Path) -> None:
    assert short(run, archive, "run_dir=first").code == 0
    checkpoint, snapshot = layout.checkpoints(tmp_path / "first")[0], layout.snapshots(tmp_path / "first")[0]
    for number, (source, says) in enumerate(
        [(snapshot, "D starts anew"), (checkpoint, "G, D and G_ema"), ("first", "G, D and G_ema")]
    ):
        result = short(run, archive, f"init_from={source}", f"run_dir=next{number}")
        assert result.code == 0 and says in result.err, result.err
    for source in (checkpoint, snapshot):
        refused(short(run, archive, f"init_from={source}", "run_dir=other", "model.G.w_dim=24"), "w_dim", str(source))
    assert json.loads(json.dumps(sorted(p.name for p in tmp_path.glob("next*")))) == ["next0", "next1", "next2"]

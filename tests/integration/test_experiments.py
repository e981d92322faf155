"""Recipes run: two iterations of each at reduced width, at the resolution and channels it is for; and in each precision."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from stylegan import run_dir as layout
from stylegan.interop.snapshot import read_snapshot
from tests.integration.command import run_here
from tests.integration.images import write_archive

NARROW = ["model.G.z_dim=8", "model.G.w_dim=8", "model.G.mapping.num_layers=2", "training.grid_images=1"]
NARROW += [f"model.{name}.{key}" for name in "GD" for key in ("channel_base=256", "channel_max=4")]
BATCH = ["training.batch_size=2", "model.D.minibatch_std_group=2", "training.kimg=0.004", "data.workers=0"]


@pytest.mark.parametrize(
    ("name", "size", "mode", "says"),
    [
        ("stylegan2_afhq512", (512, 512), "RGB", "512x512x3"),
        ("stylegan2_rect", (512, 256), "RGB", "256x512x3"),
        ("stylegan2_cifar", (32, 32), "RGB", "32x32x3, 10 labels"),
        ("stylegan2_gray", (28, 28), "L", "28x28x1"),
    ],
)
def test_two_iterations(
    name: str,
    size: tuple[int, int],
    mode: str,
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = write_archive(tmp_path / "images.zip", count=10 if max(size) < 64 else 4, size=size, mode=mode, labels=10)
    settings = [f"experiment={name}", f"data.path={archive}", f"run_dir={tmp_path}/run", *NARROW, *BATCH, "device=cpu"]
    result = run_here("train", *settings, capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 0 and says in result.err, result.err
    used = (
        "labels: 10 classes: 0 (1), 1 (1)" if "labels" in says else "labels: there, but not used; data.use_labels=true"
    )
    assert used in result.err
    (record,) = layout.read_stats(tmp_path / "run")
    assert record["nimg"] == 4 and {"loss/G", "loss/D", "r1_penalty"} <= record.keys()
    assert not any(key.startswith("nonfinite/") for key in record)
    assert layout.snapshot_path(tmp_path / "run", 4).exists()


@pytest.mark.parametrize(("precision", "scale"), [("bf16", 1.0), ("fp16", 64.0)])
def test_a_run_in_reduced_precision_starts_from_one_in_fp32_and_goes_on(
    precision: str, scale: float, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_archive(tmp_path / "images.zip", count=10)
    run = lambda *args: run_here("train", *args, capsys=capsys, monkeypatch=monkeypatch)  # noqa: E731
    settings = ["experiment=debug", f"data.path={archive}", "training.kimg=0.008", "device=cpu"]
    assert run(*settings, f"run_dir={tmp_path}/fp32").code == 0
    settings += [f"model.G.precision={precision}", f"model.D.precision={precision}", f"run_dir={tmp_path}/run"]
    result = run(*settings, f"init_from={tmp_path}/fp32")
    assert result.code == 0 and "start from the checkpoint" in result.err, result.err
    assert run(f"run_dir={tmp_path}/run", "training.kimg=0.016").code == 0
    assert OmegaConf.load(tmp_path / "run" / layout.CONFIG).optim.loss_scale == scale
    assert not any(key.startswith("nonfinite/") for r in layout.read_stats(tmp_path / "run") for key in r)
    metadata = read_snapshot(layout.snapshot_path(tmp_path / "run", 16)).metadata
    assert metadata["model"]["config"]["precision"] == precision
    refused = run(f"run_dir={tmp_path}/run", "training.kimg=0.024", "model.G.precision=fp32")
    assert refused.code == 2 and "model.G.precision" in refused.err


def test_a_recipe_of_r3gan_runs_with_labels_and_in_bf16(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_archive(tmp_path / "images.zip", count=10, size=(32, 32), labels=10)
    narrow = [f"model.{name}.{key}" for name in "GD" for key in ("channel_max=8", "group_width=8")]
    settings = ["experiment=r3gan_cifar10", f"data.path={archive}", f"run_dir={tmp_path}/run", "device=cpu", *narrow]
    settings += ["training.batch_size=2", "training.kimg=0.004", "training.grid_images=1", "data.workers=0"]
    result = run_here("train", *settings, capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 0 and "32x32x3, 10 labels" in result.err, result.err
    (record,) = layout.read_stats(tmp_path / "run")
    assert record["nimg"] == 4 and not any(key.startswith("nonfinite/") for key in record)
    metadata = read_snapshot(layout.snapshot_path(tmp_path / "run", 4)).metadata
    assert metadata["model"]["config"]["precision"] == "bf16"


STAGES = (
    "training.stages=[{start_kimg: 0, resolution: 8, batch_size: 4}, "
    "{start_kimg: 0.004, resolution: 16, fade_kimg: 0.016, batch_size: 2, lr: 0.002}]"
)


@pytest.mark.parametrize(
    "name",
    ["progan_celebahq1024", "progan_celebahq256", "stylegan1_ffhq1024", "stylegan1_celebahq1024", "demo_growing"],
)
def test_recipes_that_grow_go_through_a_fade(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_archive(tmp_path / "images.zip", count=10, size=(16, 16))
    narrow = [f"model.{network}.{key}" for network in "GD" for key in ("channel_base=64", "channel_max=8")]
    narrow += ["model.G.z_dim=8"] if name.startswith("progan") else ["model.G.z_dim=8", "model.G.mapping.num_layers=2"]
    settings = [f"experiment={name}", f"data.path={archive}", f"run_dir={tmp_path}/run", "device=cpu", *narrow, STAGES]
    settings += ["data.resolution=16"] if name == "demo_growing" else []
    settings += ["training.kimg=0.014", "training.repeats=1", "training.grid_images=1", "data.workers=0"]
    result = run_here("train", *settings, "logging.interval_kimg=0.002", capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 0 and "memory: the stage of 16x16" in result.err, result.err
    records = layout.read_stats(tmp_path / "run")
    assert [r["settings/resolution"] for r in records] == [8, 8, 16, 16, 16] and records[-1]["settings/alpha"] < 1
    assert not any(key.startswith("nonfinite/") for r in records for key in r)
    goes_on = run_here(
        "train", f"run_dir={tmp_path}/run", "training.kimg=0.016", capsys=capsys, monkeypatch=monkeypatch
    )
    assert goes_on.code == 0, goes_on.err
    stage = read_snapshot(layout.snapshot_path(tmp_path / "run", 14)).metadata["model"]["stage"]
    assert stage["resolution"] == [16, 16] and 0 < stage["alpha"] < 1

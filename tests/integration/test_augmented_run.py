"""Runs with augmentation, settings that follow from the data, and networks taken over for other images."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stylegan import run_dir as layout
from stylegan.config.groups import read_experiment
from stylegan.interop.snapshot import read_snapshot
from stylegan.training.config import resolved
from tests.integration.command import Result, run_here
from tests.integration.images import write_archive
from tests.integration.test_experiments import BATCH, NARROW

Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """train.py on 20 small images, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    write_archive(tmp_path / "noise.zip", labels=3)
    return lambda *args: run_here("train", "data.path=noise.zip", *args, capsys=capsys, monkeypatch=monkeypatch)


def test_p_is_shown_bounded_and_warned_of(run: Run, tmp_path: Path) -> None:
    settings = ["experiment=debug", "training.kimg=0.032", "run_dir=r", "augment=ada", "augment.pipe.preset=bgcfnc"]
    settings += ["augment.p=0.2", "augment.p_max=0.5", "augment.target=-0.9", "augment.interval=1"]
    result = run(*settings, "augment.speed_kimg=0.04", "loss.pl_weight=0", "logging.interval_kimg=0.008", "seed=5")
    assert result.code == 0 and "augmentation: ADA, bgcfnc" in result.err, result.err
    records = layout.read_stats(tmp_path / "r")
    p, r_t = ([record[f"augment/{name}"] for record in records] for name in ("p", "r_t"))
    assert p[0] == pytest.approx(0.2) and max(p) <= 0.5 and all(-1 <= r <= 1 for r in r_t)
    moved = [0.2 * ((r > -0.9) - (r < -0.9)) for r in r_t[:-1]]
    assert p[1:] == pytest.approx([min(max(a + d, 0), 0.5) for a, d in zip(p, moved, strict=False)])
    assert max(p) == 0.5, "it reached its bound"
    assert result.err.count("p has reached augment.p_max=0.5") == 1
    assert re.search(r"r_t [+-]\d\.\d\d  p 0\.500", result.err)
    events = EventAccumulator(str(tmp_path / "r"))
    events.Reload()
    assert [event.value for event in events.Scalars("augment/p")] == pytest.approx(p)
    assert [event.value for event in events.Scalars("augment/r_t")] == pytest.approx(r_t)
    provenance = read_snapshot(layout.snapshot_path(tmp_path / "r", 32)).metadata["provenance"]
    assert provenance["augment"]["kind"] == "ada" and provenance["augment"]["p_max"] == 0.5


def test_schedule_and_diffaugment(run: Run, tmp_path: Path) -> None:
    settings = ["experiment=debug", "training.kimg=0.024", "logging.interval_kimg=0.008", "training.grid_images=1"]
    scheduled = ["augment=fixed", "augment.p={start:0.1,end:0.5,kimg:0.016}"]
    assert run(*settings, *scheduled, "run_dir=a").code == 0
    assert [r["augment/p"] for r in layout.read_stats(tmp_path / "a")] == pytest.approx([0.1, 0.3, 0.5])
    assert run(*settings, "augment=diffaugment", "augment.policy=[color,cutout]", "run_dir=b").code == 0
    refused = run("run_dir=b", "training.kimg=0.032", "augment=ada")
    other = run("run_dir=b", "training.kimg=0.032", "augment=diffaugment", "augment.policy=[color,cutout]")
    assert refused.code == 2 and "augment.kind is diffaugment in the run and ada here" in refused.err
    assert other.code == 0, "the command line may repeat what the run has"


@pytest.mark.parametrize(
    ("resolution", "ranks", "images", "batch", "group", "base"),
    [
        ((32, 32), 1, 50_000, 32, 4, 16384),
        ((256, 256), 1, 1000, 16, 4, 16384),
        ((256, 256), 8, 1000, 64, 4, 16384),
        ((512, 512), 2, 1000, 16, 4, 32768),
        ((1024, 1024), 1, 1000, 4, 4, 32768),
        ((1024, 1024), 8, 1000, 32, 4, 32768),
        ((512, 256), 4, 1000, 32, 4, 32768),
        ((448, 448), 1, 1000, 8, 4, 16384),
        ((32, 32), 3, 50_000, 60, 4, 16384),
        ((32, 32), 1, 10, 8, 4, 16384),
        ((32, 32), 1, 3, 3, 3, 16384),
        ((4096, 4096), 2, 9, 2, 1, 32768),
    ],
)
def test_auto(resolution: tuple[int, int], ranks: int, images: int, batch: int, group: int, base: int) -> None:
    """The public rules: max(min(ranks * min(4096 / side, 32), 64), ranks), min(batch / ranks, 4), half the maps below 512."""
    config = resolved(read_experiment("ada_auto"), resolution=resolution, images=images, ranks=ranks)
    G, D, training = config.model.G, config.model.D, config.training
    assert (training.batch_size, D.minibatch_std_group, G.channel_base, D.channel_base) == (batch, group, base, base)
    assert training.micro_batch == batch // ranks


def test_auto_is_kept_by_the_run_and_gives_way_to_the_command_line(run: Run, tmp_path: Path) -> None:
    small = ["model.G.z_dim=8", "model.G.w_dim=8", "model.G.channel_max=4", "model.D.channel_max=4"]
    settings = ["experiment=ada_auto", *small, "training.grid_images=1", "device=cpu", "run_dir=r"]
    assert run(*settings, "training.kimg=0.008", "loss.pl_weight=0", "training.batch_size=8").code == 0
    saved = OmegaConf.load(tmp_path / "r" / layout.CONFIG)
    assert (saved.training.batch_size, saved.model.D.minibatch_std_group, saved.model.G.channel_base) == (8, 4, 16384)
    again = run(*settings, "training.kimg=0.016", "loss.pl_weight=0", "training.batch_size=8")
    assert again.code == 0 and "going on from" in again.err, again.err
    missing = run("experiment=ada_auto", "data.path=nowhere.zip")
    assert missing.code == 2 and missing.err.startswith("error: there is no archive nowhere.zip"), missing.err


@pytest.mark.parametrize("name", ["stylegan2_ada_cifar", "stylegan2_ada_paper256"])
def test_recipes(run: Run, tmp_path: Path, name: str) -> None:
    """Two iterations at reduced width and the images of this test."""
    result = run(f"experiment={name}", "run_dir=r", *NARROW, *BATCH, "augment.p=0.5", "device=cpu")
    assert result.code == 0 and "ADA, bgc, target 0.6, p at most 1" in result.err, result.err


def test_transfer_to_other_images_and_labels(run: Run, tmp_path: Path) -> None:
    settings = ["experiment=debug", "training.kimg=0.008", "training.grid_images=1"]
    assert run(*settings, "run_dir=first").code == 0
    write_archive(tmp_path / "grey.zip", size=32, mode="L", labels=3)
    other = [*settings, "data.path=grey.zip", "data.use_labels=true", "init_from=first"]
    result = run(*other, "run_dir=second", "model.D.freeze_layers=2", "training.micro_batch=4")
    assert result.code == 0, result.err
    assert "G, D and G_ema start from the checkpoint first" in result.err and "D: 23 tensors taken over" in result.err
    assert "G, new: synthesis.b32.*, mapping.embed.*" in result.err and "D, left out: b16.fromrgb.*" in result.err
    assert "warning: model.D.freeze_layers=2 holds layers that start anew: b32.fromrgb.weight" in result.err
    log = (tmp_path / "second" / layout.LOG).read_text()
    assert "G, reshaped: " in log and "synthesis.b4.torgb.weight" in log and "D, taken over: " in log
    snapshot = read_snapshot(layout.snapshot_path(tmp_path / "second", 8))
    assert (snapshot.G.resolution, snapshot.G.channels, snapshot.G.c_dim) == ((32, 32), 1, 3)
    origin = snapshot.metadata["provenance"]
    assert origin["init_from"] == "first" and origin["data"]["images"] == 20 and origin["data"]["mirrored"] is False
    assert {"name", "licence", "source", "content_hash", "crop", "resize_filter"} <= set(origin["data"])
    first = read_snapshot(layout.snapshot_path(tmp_path / "first", 8)).metadata["provenance"]
    assert first["init_from"] is None and first["augment_p"] is None and first["nimg"] == 8
    frozen = run(*settings, "run_dir=fourth", "model.D.freeze_layers=2", "init_from=first")
    assert frozen.code == 0 and "warning" not in frozen.err
    anew = run(
        *settings, "run_dir=third", "model.D.freeze_layers=2", f"init_from={layout.snapshots(tmp_path / 'first')[0]}"
    )
    assert anew.code == 0 and "warning: model.D.freeze_layers=2" in anew.err


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["augment=adda"], ["augment=adda", "'ada'"]),
        (["augment=ada", "augment.pipe.preset=bcg"], ["augment.pipe.preset=bcg", "did you mean"]),
        (["augment.pipe.hues=1"], ["augment.pipe.hues", "augment.pipe.hue"]),
        (["augment=ada", "augment.p=20"], ["augment.p=20"]),
        (["augment=ada", "augment.p_max=1.5"], ["augment.p_max=1.5"]),
        (["augment=ada", "augment.target=6"], ["augment.target=6"]),
        (["augment=diffaugment", "augment.policy=[colour]"], ["colour", "color"]),
        (["augment=ada", "augment.pipe.hue=1", "data.path=grey.zip"], ["augment.pipe.hue=1", "one channel"]),
        (["augment=ada", "augment.pipe.preset=null"], ["nothing is switched on"]),
    ],
)
def test_bad_settings(run: Run, tmp_path: Path, settings: list[str], says: list[str]) -> None:
    write_archive(tmp_path / "grey.zip", mode="L")
    result = run("experiment=debug", *settings)
    assert result.code == 2 and result.err.count("error: ") == 1 and "Traceback" not in result.err, result.err
    assert all(text in result.err.strip().splitlines()[-1] for text in says), result.err
    assert not (tmp_path / "runs").exists()

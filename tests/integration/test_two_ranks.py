"""Two processes train as one does: the same gradients, networks, data and files; they stop, go on and fail together."""

import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from stylegan import run_dir as layout
from stylegan.data.archive import ImageDataset
from stylegan.data.sampler import image_index
from stylegan.training import step
from stylegan.training.checkpoint import read_checkpoint
from stylegan.training.split import split_positions
from tests.golden.golden import KINK_RELATIVE_L2, assert_displacement
from tests.integration.command import ROOT, Result, last_of_each, run_here
from tests.integration.images import write_archive
from tests.integration.recorded_train import record_gradients
from tests.integration.test_resume import same_state

# pl_decay=0 keeps pl_mean at 0: it moves once per micro-batch, one after the other on one rank and at once on two.
SETTINGS = ["experiment=debug", "model.D.minibatch_std_group=2", "loss.pl_decay=0", "training.micro_batch=4", "seed=5"]
SETTINGS += ["training.checkpoint_kimg=0.008", "training.keep_checkpoints=999", "training.snapshot_kimg=100"]
SETTINGS += ["training.kimg=0.032", "training.grid_images=1", "loss.r1_interval=2", "device=cpu"]
# p moves by 0.08 every other iteration, so that checkpoints lie within and between intervals of ADA.
SETTINGS += ["augment=ada", "augment.p=0.5", "augment.target=-0.9", "augment.speed_kimg=0.2", "augment.interval=2"]
SETTINGS += ["logging.interval_kimg=0.024"]  # the first part ends within an interval, which the second one goes on with
TRAIN, RECORDED = ROOT / "train.py", ROOT / "tests/integration/recorded_train.py"


@dataclass(frozen=True)
class Runs:
    """A run on two ranks that fails in its third iteration, and goes on in other processes.

    Attributes:
        archive: The images, and beside them `broken.zip`, where one is damaged.
        run_dir: The run, of four iterations.
        gradients: Those of its first iteration, by phase.
        victim: The damaged image, which only the second rank reads.
        failed: How the first part ended.
        resumed: How the second part ended.
    """

    archive: Path
    run_dir: Path
    gradients: Path
    victim: str
    failed: Result
    resumed: Result


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("two")
    position = split_positions(8, 2, 4, 2)[1][0][0]
    assert 16 + position < 20, "every image is shown once in the first 20"
    victim = f"00000/img{image_index(20, 5, 16 + position):08d}.png"
    source = write_archive(folder / "source.zip", count=20)
    # An archive that states its content is not read through at the start, unless a cache of its pixels is made.
    content_hash = ImageDataset(source).content_hash
    info = {"labels": None, "count": 20, "resolution": [16, 16], "channels": 3, "content_hash": content_hash}
    for name, damaged in (("whole.zip", None), ("broken.zip", victim)):
        with zipfile.ZipFile(source) as old, zipfile.ZipFile(folder / name, "w") as new:
            for image in old.namelist()[:-1]:
                new.writestr(image, b"damaged" if image == damaged else old.read(image))
            new.writestr("dataset.json", json.dumps(info))
    run_dir, gradients = folder / "run", folder / "gradients.pt"
    settings = [*SETTINGS, f"run_dir={run_dir}", "data.cache=false"]
    failed = finish(torchrun(RECORDED, f"{gradients}", *settings, f"data.path={folder}/broken.zip", cwd=folder))
    resumed = finish(torchrun(TRAIN, f"run_dir={run_dir}", f"data.path={folder}/whole.zip", cwd=folder))
    return Runs(folder / "whole.zip", run_dir, gradients, victim, failed, resumed)


def torchrun(script: Path, *arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """Start a script on two ranks."""
    command = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        str(script),
        *last_of_each(arguments),
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *command], cwd=cwd, env=env, text=True, stdout=pipe, stderr=pipe)


def finish(process: subprocess.Popen[str]) -> Result:
    """Wait for a process to end."""
    out, err = process.communicate(timeout=240)
    return Result(process.returncode, out, err)


def test_an_error_on_one_rank_ends_both_with_one_message(two: Runs) -> None:
    """The second rank met a damaged image while the first one waited for its gradients."""
    assert two.failed.code != 0 and "Traceback" not in two.failed.err.split("torch/distributed")[0]
    assert two.failed.err.count("error: ") == 1
    assert f"error: {two.victim} in {two.archive.with_name('broken.zip')} cannot be read" in two.failed.err
    assert "exitcode  : 2" in two.failed.err  # torchrun's own summary, after our message


def test_two_ranks_equal_one(
    two: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = record_gradients(step.accumulate_gradients, tmp_path / "gradients.pt")
    monkeypatch.setattr(step, "accumulate_gradients", recorded)
    settings = [*SETTINGS, f"data.path={two.archive}", f"run_dir={tmp_path}/run"]
    result = run_here("train", *settings, capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 0, result.err
    got, want = (torch.load(path, weights_only=True) for path in (two.gradients, tmp_path / "gradients.pt"))
    assert list(got) == list(want) == ["Gmain", "Greg", "Dmain", "Dreg"]
    for phase in want:
        assert got[phase].keys() == want[phase].keys()
        for name, gradient in want[phase].items():
            error = got[phase][name] - gradient
            close = error.abs().max() <= 1e-5 * gradient.abs().max()
            assert close or error.norm() < KINK_RELATIVE_L2 * gradient.norm(), (
                f"{phase}/{name}: {error.abs().max():.3g}"
            )
    files = ((tmp_path / "run", 8), (two.run_dir, 32), (tmp_path / "run", 32))
    start, got, want = (read_checkpoint(layout.checkpoint_path(*file)).state for file in files)
    for network in ("G", "D", "G_ema"):
        assert_displacement(network, got[network], want[network], start[network])
    assert got["ada"] == want["ada"] and start["ada"]["count"] == 8 and got["ada"]["p"] != 0.5
    records = [layout.read_stats(run) for run in (two.run_dir, tmp_path / "run")]
    assert [r["nimg"] for r in records[0]] == [r["nimg"] for r in records[1]] == [24, 32]
    for got, want in zip(*records, strict=True):  # means over the images of both ranks
        kinds = ("loss/", "scores/", "signs/", "grad_norm/", "pl_length", "r1_", "augment/")
        names = [name for name in want if name.startswith(kinds)]
        reported = [{n for n in record if not n.startswith("seconds/")} for record in (got, want)]
        assert reported[0] == reported[1] and len(names) > 8  # the first iteration of a sitting is not timed
        assert {n: got[n] for n in names} == pytest.approx({n: want[n] for n in names}, rel=1e-4)


def test_they_write_one_set_of_files(two: Runs) -> None:
    assert two.resumed.code == 0, two.resumed.err
    assert two.resumed.err.count("going on from") == 1 and "will not equal" not in two.resumed.err
    files = [str(path.relative_to(two.run_dir)) for path in two.run_dir.rglob("*.*")]
    assert sorted(re.sub(r"tfevents\..*", "tfevents", name) for name in files) == [
        layout.LOCK,
        *(f"checkpoints/state-{nimg:09d}.pt" for nimg in (8, 16, 24, 32)),
        "config.yaml",
        *["events.out.tfevents"] * 2,  # one a sitting
        "fakes-000000.png",
        "log.txt",
        "reals.png",
        *(f"snapshots/G_ema-{nimg:09d}.safetensors" for nimg in (16, 32)),  # the first part ended at 16
        "stats.jsonl",
    ]
    log = (two.run_dir / layout.LOG).read_text()
    assert log.count("2 rank(s)") == 2 and log.count(" kimg  ") == 2


def test_sigterm_ends_both_with_a_checkpoint_and_going_on_is_exact(two: Runs, tmp_path: Path) -> None:
    settings = [*SETTINGS, f"data.path={two.archive}", f"run_dir={tmp_path}/run", "training.kimg=80", "data.workers=1"]
    process = torchrun(TRAIN, *settings, "logging.interval_kimg=0.032", cwd=tmp_path)
    assert process.stderr is not None
    while " kimg  " not in process.stderr.readline():
        assert process.poll() is None, "the run ended before its first report"
    process.send_signal(signal.SIGTERM)
    result = finish(process)
    assert "`python train.py run_dir=" in result.err and "error:" not in result.err
    nimg = read_checkpoint(layout.checkpoints(tmp_path / "run")[-1]).state["nimg"]
    assert 32 <= nimg < 80_000 and layout.snapshot_path(tmp_path / "run", nimg).exists()
    for at in (24, 32):  # this run was not interrupted before, the other one was
        same_state(layout.checkpoint_path(tmp_path / "run", at), layout.checkpoint_path(two.run_dir, at))

"""Stopping and going on gives what an unbroken run gives, in every bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
from itertools import count
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stylegan import run_dir as layout
from stylegan.interop.snapshot import read_snapshot, weights_sha256
from stylegan.training import loop, saving, step
from stylegan.training.checkpoint import read_checkpoint
from stylegan.training.pictures import shows
from tests.integration.command import ROOT, last_of_each, run_here, start
from tests.integration.images import write_archive
from tests.unit.test_checkpoint import flat
from tests.unit.test_saved import as_before


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small archive of noise, 3 x 16 x 16, with labels."""
    return write_archive(tmp_path_factory.mktemp("data") / "noise.zip", count=20, labels=3)


def same_state(a: Path, b: Path) -> None:
    """Every tensor and number of two checkpoints, but the seconds."""
    one, two = (flat(read_checkpoint(path).state) for path in (a, b))
    assert one.keys() == two.keys()
    for key, value in one.items():
        if key != "/elapsed":
            same = torch.equal(value, two[key]) if isinstance(value, torch.Tensor) else value == two[key]
            assert same, key


# The first part ends in the middle of one of ADA's intervals.
ADA = [
    "augment=ada",
    "augment.pipe.preset=bgcfnc",
    "augment.interval=3",
    "augment.target=-0.9",
    "augment.speed_kimg=0.1",
]
STYLEGAN3 = ["model=stylegan3", "model.G.num_layers=3", "model.G.margin_size=2", "model.G.magnitude_ema_beta=0.9"]
STYLEGAN3 += ["loss.pl_weight=0", "loss.style_mixing_prob=0", "loss.blur_sigma={start:2,end:0,kimg:0.05}"]
DEBUG = ["experiment=debug", "training.kimg=0.064", "training.checkpoint_kimg=0.024", "loss.r1_interval=3", "seed=5"]


@pytest.mark.parametrize(
    "extra",
    [
        ["augment=fixed", "augment.p={start:0.2,end:0.9,kimg:0.05}"],
        [*STYLEGAN3, "training.micro_batch=4"],
        ["data.use_labels=true", "data.xflip=true", "training.micro_batch=4", "model.D.freeze_layers=2", *ADA],
    ],
)
def test_a_run_in_two_parts_equals_an_unbroken_one(
    archive: Path, tmp_path: Path, extra: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [*DEBUG, f"data.path={archive}", *extra]
    run = lambda *args: run_here("train", *args, capsys=capsys, monkeypatch=monkeypatch)  # noqa: E731
    assert run(*settings, f"run_dir={tmp_path}/whole").code == 0
    assert run(*settings, f"run_dir={tmp_path}/parts", "training.kimg=0.032").code == 0
    assert layout.checkpoints(tmp_path / "parts")[-1].name == "state-000000032.pt"
    finished = run(f"run_dir={tmp_path}/parts")
    assert finished.code == 0 and "training.kimg=" in finished.err and "finished" in finished.err
    continued = run(f"run_dir={tmp_path}/parts", "training.kimg=0.064")
    assert continued.code == 0 and "going on from" in continued.err
    same_state(*(layout.checkpoint_path(tmp_path / name, 64) for name in ("whole", "parts")))
    snapshots = [layout.snapshot_path(tmp_path / name, 64).read_bytes()[-5000:] for name in ("whole", "parts")]
    assert snapshots[0] == snapshots[1]
    records = layout.read_stats(tmp_path / "parts")
    assert [r["nimg"] for r in records] == [16, 32, 48, 64]
    assert {"loss/G", "loss/D", "signs/real", "grad_norm/Gmain", "settings/optim.G_lr", "seconds/Dmain"} <= records[
        -1
    ].keys()


def test_the_same_command_goes_on(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups that are named leave open what the run has from its data."""
    settings = ["experiment=debug", "loss=logistic", "model=stylegan2", "augment=none", f"data.path={archive}"]
    settings += [f"run_dir={tmp_path}/run", "optim.G_lr={start: 0.002, end: 0.001, kimg: 1, shape: cosine}"]
    run = lambda *args: run_here("train", *settings, *args, capsys=capsys, monkeypatch=monkeypatch)  # noqa: E731
    assert run("training.kimg=0.016").code == 0
    again = run("training.kimg=0.024")
    assert again.code == 0 and "going on from" in again.err, again.err
    refused = run("training.kimg=0.032", "loss.r1_gamma=3")
    assert refused.code == 2 and "loss.r1_gamma is 0.0064 in the run and 3.0 here" in refused.err, refused.err


@pytest.mark.parametrize("typed", [[], ["optim.ema_power=[]"]])
def test_a_run_from_before_a_setting_goes_on_as_before(
    archive: Path, tmp_path: Path, typed: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its configuration nor its checkpoint knows of further averages."""
    settings = [*DEBUG, f"data.path={archive}"]
    run = lambda *args: run_here("train", *args, capsys=capsys, monkeypatch=monkeypatch)  # noqa: E731
    assert run(*settings, f"run_dir={tmp_path}/whole").code == 0
    assert run(*settings, f"run_dir={tmp_path}/parts", "training.kimg=0.032").code == 0
    as_before(tmp_path / "parts", "optim.ema_power")
    for path in layout.checkpoints(tmp_path / "parts"):
        content = torch.load(path, weights_only=True)
        assert content["state"].pop("power") == {}
        torch.save(content, path)
    refused = run(f"run_dir={tmp_path}/parts", "training.kimg=0.064", "optim.ema_power=[0.05]")
    why = "optim.ema_power is [0.05] here and newer than the run, which had nothing of it: optim.ema_power=[] goes on"
    assert refused.code == 2 and why in refused.err, refused.err
    continued = run(f"run_dir={tmp_path}/parts", "training.kimg=0.064", *typed)
    assert continued.code == 0 and "going on from" in continued.err, continued.err
    same_state(*(layout.checkpoint_path(tmp_path / name, 64) for name in ("whole", "parts")))
    again = run(f"run_dir={tmp_path}/parts", "training.kimg=0.072", "optim.ema_power=[0.05]")
    assert again.code == 2 and "optim.ema_power is [] in the run and [0.05] here" in again.err, again.err


def test_a_ramp_is_compared_as_a_whole(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what is left out of it, and with a number."""
    settings = ["experiment=debug", f"data.path={archive}", f"run_dir={tmp_path}/run"]
    run = lambda *args: run_here("train", *settings, *args, capsys=capsys, monkeypatch=monkeypatch)  # noqa: E731
    assert run("training.kimg=0.008", "optim.G_lr={start: 0.002, end: 0.001, kimg: 1, shape: cosine}").code == 0
    theirs = "{'start': 0.002, 'end': 0.001, 'kimg': 1.0, 'shape': 'cosine'}"
    linear = run("training.kimg=0.016", "optim.G_lr={start: 0.002, end: 0.001, kimg: 1}")
    ours = theirs.replace("cosine", "linear")
    assert linear.code == 2 and f"optim.G_lr is {theirs} in the run and {ours} here" in linear.err, linear.err
    number = run("training.kimg=0.016", "optim.G_lr=0.002")
    assert number.code == 2 and f"optim.G_lr is {theirs} in the run and 0.002 here" in number.err, number.err
    ramp = run("training.kimg=0.016", "optim.D_lr={start: 0.002, end: 0.001, kimg: 1, shape: cosine}")
    assert ramp.code == 2 and f"optim.D_lr is 0.0025 in the run and {theirs} here" in ramp.err, ramp.err


class KilledError(BaseException):
    """Nobody catches it, and nothing is written after it."""


def kill_at(nimg: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next iteration at so many images be the last thing that the process does."""
    honest = loop.train_step

    def killed(state: Any, *arguments: Any) -> Any:
        if state.nimg == nimg:
            raise KilledError
        return honest(state, *arguments)

    monkeypatch.setattr(loop, "train_step", killed)


MEASURED_BY_CLOCK = ("elapsed", "images_per_second", "loading_images_per_second", "loading_share", "memory_gib")


def without_clock(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.items() if k not in MEASURED_BY_CLOCK and "seconds/" not in k} for r in records]


def shown_in_tensorboard(run_dir: Path) -> tuple[list[int], list[int]]:
    """The steps of a scalar, and of the pictures."""
    events = EventAccumulator(str(run_dir))
    events.Reload()
    return [e.step for e in events.Scalars("loss/G")], [e.step for e in events.Images("fakes")]


def test_records_of_a_resumed_run_equal_those_of_an_unbroken_one(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint at 24 lies in the middle of an interval, the one at 48 at the end of one; gradients that were not finite
    are told in the record of the interval in which they came."""
    honest = step.accumulate_gradients

    def break_one(*arguments: Any) -> Any:
        result = honest(*arguments)
        if arguments[0].name == "Dmain" and next(calls) == 2:
            arguments[2].gradients[0].view(-1)[0] = float("nan")
        return result

    settings = [*DEBUG, f"data.path={archive}", "training.snapshot_kimg=0.024"]
    run = lambda *args: run_here("train", *args, capsys=capsys, monkeypatch=monkeypatch)  # noqa: E731
    monkeypatch.setattr(step, "accumulate_gradients", break_one)
    calls = count()
    assert run(*settings, f"run_dir={tmp_path}/whole").code == 0
    calls = count()
    with monkeypatch.context() as patches, pytest.raises(KilledError):
        kill_at(32, patches)
        run(*settings, f"run_dir={tmp_path}/parts")
    with monkeypatch.context() as patches, pytest.raises(KilledError):
        kill_at(56, patches)
        run(f"run_dir={tmp_path}/parts")
    assert run(f"run_dir={tmp_path}/parts").code == 0
    whole, parts = (layout.read_stats(tmp_path / name) for name in ("whole", "parts"))
    assert [r["nimg"] for r in whole] == [16, 32, 48, 64]
    assert [r.get("nonfinite/D.b16.fromrgb.weight") for r in whole] == [None, 1, None, None]
    assert without_clock(parts) == without_clock(whole)
    for name in ("whole", "parts"):
        assert shown_in_tensorboard(tmp_path / name) == ([16, 32, 48, 64], [0, 24, 48, 64])


def test_a_finished_run_gets_what_it_lacks(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = lambda *args: run_here("train", *args, capsys=capsys, monkeypatch=monkeypatch)  # noqa: E731
    here, settings = tmp_path / "run", [*DEBUG, f"data.path={archive}", "training.snapshot_kimg=0.064"]
    with monkeypatch.context() as patches, pytest.raises(KilledError):  # after the checkpoint, before the snapshot
        kill_at(32, patches)
        run(*settings, f"run_dir={here}")
    assert not layout.snapshots(here)
    shorter = run(f"run_dir={here}", "training.kimg=0.024")
    assert shorter.code == 0 and "finished at 0.024 kimg" in shorter.err, shorter.err
    (snapshot,) = layout.snapshots(here)
    weights = weights_sha256(read_checkpoint(layout.checkpoint_path(here, 24)).state["G_ema"])
    assert read_snapshot(snapshot).metadata["weights_sha256"] == weights
    picture = layout.fakes_path(here, 24)
    assert shows(picture, weights) and shorter.err.count("was missing") == 2
    made = [path.stat().st_ino for path in (snapshot, picture)]
    again = run(f"run_dir={here}")
    assert again.code == 0 and "finished" in again.err and "was missing" not in again.err
    assert [path.stat().st_ino for path in (snapshot, picture)] == made, "what is there stays"
    snapshot.write_bytes(snapshot.read_bytes()[:-1])
    picture.write_bytes(picture.read_bytes()[:-100])
    assert run(f"run_dir={here}").err.count("was missing") == 2
    assert read_snapshot(snapshot).metadata["weights_sha256"] == weights and shows(picture, weights)


def test_a_kill_between_snapshot_and_picture(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end, which is no multiple of an interval."""
    run = lambda *args: run_here("train", *args, capsys=capsys, monkeypatch=monkeypatch)  # noqa: E731
    honest = saving.show_fakes

    def killed(job: Any) -> None:
        if job.state.nimg:
            raise KilledError
        honest(job)

    settings = [*DEBUG, f"data.path={archive}", f"run_dir={tmp_path}/run", "training.snapshot_kimg=1"]
    with monkeypatch.context() as patches, pytest.raises(KilledError):
        patches.setattr(saving, "show_fakes", killed)
        run(*settings, "training.kimg=0.04")
    assert layout.snapshot_path(tmp_path / "run", 40).exists()
    assert run(f"run_dir={tmp_path}/run").code == 0
    weights = read_snapshot(layout.snapshot_path(tmp_path / "run", 40)).metadata["weights_sha256"]
    assert shows(layout.fakes_path(tmp_path / "run", 40), weights)


@pytest.mark.parametrize("trouble", ["killed worker", "cut cache"])
def test_without_images_all_that_was_trained_is_kept(
    archive: Path, tmp_path: Path, trouble: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker dies in the middle of a step; whatever happens then, the state that is kept is that between two steps."""
    run = lambda *args: run_here("train", *args, capsys=capsys, monkeypatch=monkeypatch)  # noqa: E731
    data = Path(shutil.copy(archive, tmp_path / "noise.zip"))
    honest = loop.train_step

    def hit(state: Any, *arguments: Any) -> Any:
        if state.nimg == 24 and trouble == "cut cache":
            os.truncate(next(tmp_path.glob("*.cache-*")), 1000)
        elif state.nimg == 24:
            (worker,) = active_children()
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
            os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # PyTorch looks at what is left of it
        return honest(state, *arguments)

    settings = [*DEBUG, "training.checkpoint_kimg=1", f"data.cache={'true' if trouble == 'cut cache' else 'false'}"]
    settings += ["data.workers=1", f"data.path={data}"]
    with monkeypatch.context() as patches:
        patches.setattr(loop, "train_step", hit)
        result = run(*settings, f"run_dir={tmp_path}/run")
    reason = {"killed worker": "was killed by SIGKILL", "cut cache": "cut short meanwhile"}[trouble]
    assert result.code == 2 and "Traceback" not in result.err, result.err
    assert result.err.count("error: ") == 1 and reason in result.err and "goes on" in result.err, result.err
    assert not active_children()
    (checkpoint,) = layout.checkpoints(tmp_path / "run")
    assert 32 <= read_checkpoint(checkpoint).state["nimg"] < 64
    assert run(f"run_dir={tmp_path}/run").code == 0
    assert run(*settings, f"run_dir={tmp_path}/whole").code == 0
    same_state(*(layout.checkpoint_path(tmp_path / name, 64) for name in ("run", "whole")))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_a_checkpoint_and_it_goes_on(
    archive: Path, tmp_path: Path, number: signal.Signals
) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    settings = [*DEBUG, "training.kimg=80", "training.checkpoint_kimg=100", "training.snapshot_kimg=100"]
    settings += [f"data.path={archive}", f"run_dir={tmp_path}/run", "data.workers=1", "logging.interval_kimg=0.008"]
    process = start("train", *settings, cwd=tmp_path, env=env)
    assert process.stderr is not None
    while " kimg  " not in process.stderr.readline():
        assert process.poll() is None, "the run ended before its first report"
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    (checkpoint,) = layout.checkpoints(tmp_path / "run")
    nimg = read_checkpoint(checkpoint).state["nimg"]
    assert 0 < nimg < 80_000 and nimg % 8 == 0, "it stopped between two iterations, before the end"
    assert "run_dir=" in err and "goes on" in err and "Traceback" not in err
    assert layout.snapshots(tmp_path / "run")
    again = start("train", f"run_dir={tmp_path}/run", f"training.kimg={(nimg + 16) / 1000}", cwd=tmp_path, env=env)
    assert again.wait(120) == 0
    assert read_checkpoint(layout.checkpoints(tmp_path / "run")[-1]).state["nimg"] == nimg + 16
    again.communicate()
    unbroken = start(
        "train", *settings, f"run_dir={tmp_path}/whole", f"training.kimg={(nimg + 16) / 1000}", cwd=tmp_path, env=env
    )
    assert unbroken.wait(120) == 0
    unbroken.communicate()
    same_state(*(layout.checkpoint_path(tmp_path / name, nimg + 16) for name in ("run", "whole")))


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals of this kind")
def test_a_closed_terminal_ends_the_run_with_a_checkpoint(archive: Path, tmp_path: Path) -> None:
    """The kernel sends SIGHUP then, and nothing can be printed any more."""
    import fcntl
    import termios

    def own_the_terminal() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests under nohup would hand down that it is ignored
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    main, terminal = os.openpty()
    settings = [*DEBUG, "training.kimg=80", "training.checkpoint_kimg=100", "training.snapshot_kimg=100"]
    settings += [f"data.path={archive}", f"run_dir={tmp_path}/run", "logging.interval_kimg=0.008"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *last_of_each(settings)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=own_the_terminal,  # noqa: PLW1509 (no other thread of ours runs)
    )
    os.close(terminal)
    seen = b""
    while b" img/s" not in seen:
        seen = seen[-100:] + os.read(main, 1000)
    os.close(main)
    assert process.wait(120) == 0
    (checkpoint,) = layout.checkpoints(tmp_path / "run")
    assert 0 < read_checkpoint(checkpoint).state["nimg"] < 80_000
    assert "goes on" in (tmp_path / "run" / layout.LOG).read_text()


def test_init_from_goes_on_at_the_same_count_with_other_data(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before its first checkpoint, it starts there again; from a checkpoint, and from a snapshot."""
    run = lambda *args: run_here("train", *args, capsys=capsys, monkeypatch=monkeypatch)  # noqa: E731
    settings = [*DEBUG, "optim.G_lr={start: 0.002, end: 0.001, kimg: 0.064}"]
    assert run(*settings, f"data.path={archive}", f"run_dir={tmp_path}/first", "training.kimg=0.04").code == 0
    other = write_archive(tmp_path / "other.zip", count=12)
    more = [*settings, f"data.path={other}", "training.start_kimg=keep"]
    source = f"init_from={tmp_path}/first"
    with monkeypatch.context() as patches, pytest.raises(KilledError):
        kill_at(40, patches)
        run(*more, source, f"run_dir={tmp_path}/second")
    result = run(f"run_dir={tmp_path}/second")
    assert result.code == 0 and "at 0.040 kimg" in result.err, result.err
    records = layout.read_stats(tmp_path / "second")
    assert [record["nimg"] for record in records] == [48, 64]
    assert records[-1]["settings/optim.G_lr"] == pytest.approx(0.002 - 0.001 * 56 / 64)
    assert shown_in_tensorboard(tmp_path / "second") == ([48, 64], [40, 64])
    snapshot = f"init_from={layout.snapshots(tmp_path / 'first')[-1]}"
    assert run(*more, snapshot, f"run_dir={tmp_path}/third").code == 0
    assert [record["nimg"] for record in layout.read_stats(tmp_path / "third")] == [48, 64]
    for arguments, says in [
        ([*more, source, "training.kimg=0.04"], "reached where training would start"),
        ([*settings, f"data.path={other}", "training.start_kimg=keep"], "goes with init_from="),
        ([*settings, f"data.path={other}", source, "training.start_kimg=-1"], "neither a number of kimg nor keep"),
        ([*settings, f"data.path={other}", source, "training.start_kimg=kep"], "neither a number of kimg nor keep"),
    ]:
        refused = run(*arguments, f"run_dir={tmp_path}/refused")
        assert refused.code == 2 and says in refused.err and not (tmp_path / "refused").exists(), refused.err


def test_a_stretch_that_a_crash_lost_leaves_no_records(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = lambda *args: run_here("train", *args, capsys=capsys, monkeypatch=monkeypatch)  # noqa: E731
    assert run(*DEBUG, f"data.path={archive}", f"run_dir={tmp_path}/run", "training.kimg=0.032").code == 0
    stats = tmp_path / "run" / layout.STATS
    stats.write_text(stats.read_text() + json.dumps({"nimg": 40}) + "\n" + '{"nimg": 4')
    assert run(f"run_dir={tmp_path}/run", "training.kimg=0.048").code == 0
    assert [r["nimg"] for r in layout.read_stats(tmp_path / "run")] == [16, 32, 48]


@pytest.mark.parametrize(("name", "end"), [(layout.STATS, b"\0" * 4096), (layout.METRICS, b'{"nimg": 4')])
def test_a_broken_last_line_is_dropped_and_told(
    archive: Path,
    tmp_path: Path,
    name: str,
    end: bytes,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = lambda *args: run_here("train", *args, capsys=capsys, monkeypatch=monkeypatch)  # noqa: E731
    assert run(*DEBUG, f"data.path={archive}", f"run_dir={tmp_path}/run", "training.kimg=0.008").code == 0
    path = tmp_path / "run" / name
    path.touch()
    before = path.read_bytes()
    path.write_bytes(before + end)
    again = run(f"run_dir={tmp_path}/run")
    assert again.code == 0 and f"{path}: its last line is broken" in again.err, again.err
    assert path.read_bytes() == before
    assert "its last line is broken" not in run(f"run_dir={tmp_path}/run").err


def test_rollback_goes_on_with_other_numbers(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, calls = step.accumulate_gradients, []

    def break_once(*arguments: Any) -> Any:
        result = honest(*arguments)
        calls.append(arguments[0].name)
        if len(calls) == 15:
            arguments[2].gradients[0].fill_(float("nan"))
        return result

    monkeypatch.setattr(step, "accumulate_gradients", break_once)
    settings = [*DEBUG, f"data.path={archive}", f"run_dir={tmp_path}/run", "training.on_nonfinite=rollback"]
    result = run_here("train", *settings, capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 0, result.err
    assert "back to" in result.err and "state-0000000" in result.err
    state = read_checkpoint(layout.checkpoint_path(tmp_path / "run", 64)).state
    assert (state["nimg"], state["rollbacks"]) == (64, 1)

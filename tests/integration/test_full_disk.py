"""A disk that becomes full ends a command with one message and exit code 2; what was there stays, nothing half is left.

The limit on the size of a file (RLIMIT_FSIZE) stands for the end of the disk.
"""

import contextlib
import importlib
import multiprocessing
import sys
from pathlib import Path

import pytest

from stylegan import run_dir as layout
from stylegan.data.archive import ImageDataset
from stylegan.data.cache import cache_of
from stylegan.training.checkpoint import read_checkpoint
from tests.integration.command import run_here
from tests.integration.images import write_archive
from tests.integration.test_bad_input import Run, run, short  # noqa: F401 (a fixture)

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and fork as Linux has them")


def limited(*arguments: str, file_bytes: int, report: Path) -> str:
    """Run train.py in a child process that may write no larger file; it must end with one message, which is returned."""

    def child() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        sys.argv = ["train.py", *arguments]
        with report.open("w") as file, contextlib.redirect_stderr(file):
            importlib.import_module("train").main()

    # Forked: starting Python and importing torch anew would take most of this file's time.
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(300)  # a guard against a child that hangs
    process.kill()
    process.join()
    err = report.read_text()
    report.unlink()
    lines = err.strip().splitlines()
    assert process.exitcode == 2 and "Traceback" not in err, err
    assert err.count("error: ") == 1 and lines[-1].startswith("error: "), err
    return lines[-1]


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("full", ["checkpoint", "snapshot"])
def test_while_a_checkpoint_or_a_snapshot_is_written(
    tmp_path: Path, full: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_archive(tmp_path / "noise.zip")
    folder = tmp_path / "run"
    settings = ["experiment=debug", f"data.path={archive}", f"run_dir={folder}", "logging.tensorboard=false"]
    settings += ["training.snapshot_kimg=100"] if full == "checkpoint" else []
    begun = run_here("train", *settings, "training.kimg=0.024", capsys=capsys, monkeypatch=monkeypatch)
    assert begun.code == 0, begun.err
    (checkpoint,) = layout.checkpoints(folder)
    kept, before = checkpoint.read_bytes(), files(tmp_path)
    report = tmp_path / "report"
    (snapshot,) = layout.snapshots(folder)
    sizes = {"checkpoint": len(kept), "snapshot": snapshot.stat().st_size}
    message = limited(f"run_dir={folder}", "training.kimg=0.064", file_bytes=sizes[full] - 1000, report=report)
    assert f"cannot write {folder}/{full}s/" in message and "File too large" in message
    assert "make room" in message and str(checkpoint) in message
    assert checkpoint.read_bytes() == kept and files(tmp_path) == before
    continued = run_here("train", f"run_dir={folder}", "training.kimg=0.064", capsys=capsys, monkeypatch=monkeypatch)
    assert continued.code == 0 and f"going on from {checkpoint}" in continued.err, continued.err
    assert read_checkpoint(layout.checkpoints(folder)[-1]).state["nimg"] == 64


def test_while_the_cache_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    archive = write_archive(tmp_path / "noise.zip", count=40, size=32)
    settings = ["experiment=debug", f"data.path={archive}"]
    message = limited(*settings, file_bytes=40 * 32 * 32 * 3 // 2, report=tmp_path / "report")
    assert "noise.zip.cache-" in message and "File too large" in message and "data.cache=false" in message
    assert files(tmp_path) == {"noise.zip", ".noise.zip.cache.lock"}
    assert cache_of(ImageDataset(archive)).path.is_file(), "with room again it is made"


def test_while_the_log_is_written(run: Run, tmp_path: Path) -> None:  # noqa: F811
    archive = write_archive(tmp_path / "noise.zip")
    assert short(run, archive, "run_dir=run").code == 0
    (checkpoint,) = layout.checkpoints(tmp_path / "run")
    limit = 1 << 26  # more than any other file of the run
    with (tmp_path / "run" / layout.LOG).open("r+b") as file:
        file.truncate(limit)  # without taking room
    folder = str(tmp_path / "run")
    message = limited(f"run_dir={folder}", "training.kimg=0.032", file_bytes=limit, report=tmp_path / "report")
    assert f"cannot write in {folder}: File too large" in message and f"goes on from {checkpoint}" in message
    assert layout.checkpoints(tmp_path / "run") == [checkpoint]


def test_while_tensorboard_is_written(tmp_path: Path) -> None:
    """A thread of its own writes there, which would print a traceback."""
    archive = write_archive(tmp_path / "noise.zip")
    settings = [
        "experiment=debug",
        f"data.path={archive}",
        "data.cache=false",
        "data.workers=0",
        f"run_dir={tmp_path}/run",
    ]
    # Above what a picture takes, below what TensorBoard has of the two first ones.
    message = limited(*settings, file_bytes=8000, report=tmp_path / "report")
    assert "File too large; make room" in message and "from its beginning" in message

"""The layout of a run's folder: what each file is called, and how to find the newest of a kind.

Pictures are named by kimg in 6 digits, checkpoints and snapshots by nimg (images shown to D) in 9.
"""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stylegan.errors import UserError
from stylegan.files import atomic_path, atomic_write

CONFIG = "config.yaml"
LOG = "log.txt"
STATS = "stats.jsonl"
METRICS = "metrics.jsonl"
REALS = "reals.png"
LOCK = ".lock"


@contextmanager
def sole_process(run_dir: Path) -> Iterator[None]:
    """Keep other processes out of a run's folder, which is made where it is missing. A crash of the process frees it.

    Raises:
        UserError: Another process is in it, or it cannot be written to.
    """
    from filelock import FileLock, Timeout  # who only reads a network need not have it

    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(run_dir / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"run_dir={run_dir} is in use by another process; wait until that one ends, or stop it (SIGINT saves a "
            "checkpoint), or choose another run_dir"
        ) from None
    except OSError as error:
        raise UserError(
            f"cannot write {run_dir}: {error.strerror or error}; choose another run_dir or mend its permissions"
        ) from None
    try:
        yield
    finally:
        lock.release()


def fakes_path(run_dir: Path, nimg: int) -> Path:
    """Where the grid of fixed latents at `nimg` images goes."""
    return run_dir / f"fakes-{nimg // 1000:06d}.png"


def checkpoint_path(run_dir: Path, nimg: int) -> Path:
    """Where all of the training state at `nimg` images goes."""
    return run_dir / "checkpoints" / f"state-{nimg:09d}.pt"


def snapshot_path(run_dir: Path, nimg: int) -> Path:
    """Where the network to give away at `nimg` images goes."""
    return run_dir / "snapshots" / f"G_ema-{nimg:09d}.safetensors"


def best_snapshot_path(run_dir: Path, metric: str) -> Path:
    """Where a copy of the snapshot that a metric found best so far goes."""
    return run_dir / "snapshots" / f"best-{metric}.safetensors"


def checkpoints(run_dir: Path) -> list[Path]:
    """The checkpoints of a run, oldest first; empty where there are none."""
    return _numbered(run_dir / "checkpoints", r"state-(\d{9,})\.pt")


def snapshots(run_dir: Path) -> list[Path]:
    """The snapshots of a run, oldest first; empty where there are none."""
    return _numbered(run_dir / "snapshots", r"G_ema-(\d{9,})\.safetensors")


def is_run_dir(path: Path) -> bool:
    """Whether a folder was made by train.py."""
    return (path / CONFIG).is_file()


def read_stats(run_dir: Path) -> list[dict[str, Any]]:
    """The records of `stats.jsonl`, oldest first; last lines that a crash cut short are left out.

    Raises:
        UserError: A line is no record; the message names it.
    """
    return _records(run_dir / STATS)


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The records of `metrics.jsonl`, oldest first; last lines that a crash cut short are left out.

    Raises:
        UserError: A line is no record; the message names it.
    """
    return _records(run_dir / METRICS)


def forget_after(run_dir: Path, nimg: int) -> list[str]:
    """Drop all records of the stretch after `nimg`, which a crash, an older checkpoint or a rollback threw away: it is
    trained again. Where a network of that stretch was kept as a metric's best, the best one of what remains takes its place.
    To be called on the first rank.

    Returns:
        What the user should be told: last lines that are broken.

    Raises:
        UserError: A file cannot be written, or a line of it is no record.
    """
    notes = [
        f"{run_dir / name}: its last line is broken, as a crash or a power cut leaves it; it is dropped"
        for name in (STATS, METRICS)
        if _is_cut(run_dir / name)
    ]
    lost = [record for record in read_metrics(run_dir) if record["nimg"] > nimg]
    for name in (STATS, METRICS):
        if (run_dir / name).exists():
            kept = [record for record in _records(run_dir / name) if record["nimg"] <= nimg]
            atomic_write(run_dir / name, "".join(json.dumps(record) + "\n" for record in kept))
    for metric in {record["best"] for record in lost if record.get("best")}:
        kept_at = [record["nimg"] for record in read_metrics(run_dir) if record.get("best") == metric]
        keep_best(run_dir, metric, kept_at[-1] if kept_at else None)
    return notes


def keep_best(run_dir: Path, metric: str, nimg: int | None) -> None:
    """Copy the snapshot at `nimg` as the one that a metric found best; None, or where that snapshot is gone: there is none."""
    best = best_snapshot_path(run_dir, metric)
    if nimg is None or not snapshot_path(run_dir, nimg).exists():
        best.unlink(missing_ok=True)
        return
    with atomic_path(best) as temporary:
        shutil.copyfile(snapshot_path(run_dir, nimg), temporary)


def _records(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines = enumerate(path.read_bytes().splitlines(keepends=True), 1)
    numbered = [(number, _record(line)) for number, line in lines if line.strip()]
    while numbered and numbered[-1][1] is None:  # a power cut leaves half a line, or zeros
        numbered.pop()
    records = []
    for number, record in numbered:
        if record is None:
            raise UserError(f"{path}, line {number}: it is no JSON object; mend the line, or remove it")
        records.append(record)
    return records


def _is_cut(path: Path) -> bool:
    """Whether the last line is no record."""
    lines = [line for line in path.read_bytes().splitlines(keepends=True) if line.strip()] if path.is_file() else []
    return bool(lines) and _record(lines[-1]) is None


def _record(line: bytes) -> dict[str, Any] | None:
    """A line's object; None where it holds none, or its end is missing."""
    try:
        record = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _numbered(folder: Path, pattern: str) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := re.fullmatch(pattern, path.name))]
    return [path for _, path in sorted(found)]

"""The layout of a run's folder: what each file is called, and how to find the newest of a kind.

Pictures are named by kimg in 6 digits, checkpoints and snapshots by nimg (images shown to D) in 9.
"""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from stylegan.errors import UserError, shown
from stylegan.files import atomic_path, atomic_write, file_lock, open_below, read_file, refuse_link, remove_unfinished

CONFIG = "config.yaml"
LOG = "log.txt"
STATS = "stats.jsonl"
METRICS = "metrics.jsonl"
REALS = "reals.png"
LOCK = ".lock"
CHECKPOINTS = "checkpoints"
SNAPSHOTS = "snapshots"
SIGMA_DIGITS = 6  # after the point, of an average's length in the name of its file

_RECORD_BYTES = 2**27  # of stats.jsonl or metrics.jsonl: some 400,000 records
_FAKES = r"fakes-\d{6,}\.png"
_CHECKPOINT = r"state-(\d{9,})\.pt"
_SNAPSHOT = r"G_ema-(\d{9,})\.safetensors"
_POWER = rf"power-(0\.\d{{{SIGMA_DIGITS}}})-(\d{{9,}})\.safetensors"
_METRIC = r"[A-Za-z0-9][A-Za-z0-9_@-]{0,99}"  # `fid50k`, `kid5k_mobilenet_v2-1a2b3c4d@class3`


class Power(NamedTuple):
    """An average with a power-function profile that a run kept: the images after which, its length, and its file."""

    nimg: int
    sigma: float
    path: Path


@contextmanager
def sole_process(run_dir: Path) -> Iterator[None]:
    """Keep other processes out of a run's folder, which is made where it is missing. A crash of the process frees it.

    What a killed process left half written is removed. No link is followed in there: the folder may come from somebody else.

    Raises:
        UserError: Another process is in it, it cannot be written to, or something of a run's is a link.
    """
    from filelock import Timeout  # who only reads a network need not have it

    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = file_lock(run_dir / LOCK)
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
        _refuse_planted(run_dir)
        for folder in (run_dir, run_dir / CHECKPOINTS, run_dir / SNAPSHOTS):
            remove_unfinished(folder)
        yield
    finally:
        lock.release()


def fakes_path(run_dir: Path, nimg: int) -> Path:
    """Where the grid of fixed latents at `nimg` images goes."""
    return run_dir / f"fakes-{nimg // 1000:06d}.png"


def checkpoint_path(run_dir: Path, nimg: int) -> Path:
    """Where all of the training state at `nimg` images goes."""
    return run_dir / CHECKPOINTS / f"state-{nimg:09d}.pt"


def snapshot_path(run_dir: Path, nimg: int) -> Path:
    """Where the network to give away at `nimg` images goes."""
    return run_dir / SNAPSHOTS / f"G_ema-{nimg:09d}.safetensors"


def power_path(run_dir: Path, sigma: float, nimg: int) -> Path:
    """Where the average of length `sigma` at `nimg` images goes."""
    return run_dir / SNAPSHOTS / f"power-{sigma:.{SIGMA_DIGITS}f}-{nimg:09d}.safetensors"


def powers(run_dir: Path) -> list[Power]:
    """The averages that a run kept, oldest first."""
    folder = run_dir / SNAPSHOTS
    found = [(re.fullmatch(_POWER, path.name), path) for path in (folder.iterdir() if folder.is_dir() else ())]
    return sorted(Power(int(match[2]), float(match[1]), path) for match, path in found if match is not None)


def best_snapshot_path(run_dir: Path, metric: str) -> Path:
    """Where a copy of the snapshot that a metric found best so far goes."""
    return run_dir / SNAPSHOTS / f"best-{metric}.safetensors"


def is_metric(name: object) -> bool:
    """Whether something read from a file can be the name of a metric, and part of a file's."""
    return isinstance(name, str) and re.fullmatch(_METRIC, name) is not None


def checkpoints(run_dir: Path) -> list[Path]:
    """The checkpoints of a run, oldest first; empty where there are none."""
    return _numbered(run_dir / CHECKPOINTS, _CHECKPOINT)


def snapshots(run_dir: Path) -> list[Path]:
    """The snapshots of a run, oldest first; empty where there are none."""
    return _numbered(run_dir / SNAPSHOTS, _SNAPSHOT)


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
    name = snapshot_path(run_dir, nimg).relative_to(run_dir).as_posix()
    with open_below(run_dir, name, "rb") as snapshot, atomic_path(best) as temporary, temporary.open("wb") as copy:
        shutil.copyfileobj(snapshot, copy)


def _refuse_planted(run_dir: Path) -> None:
    """Raise `UserError` where something that a run reads or writes in its folder is a link, a pipe, or a folder instead of a
    file."""
    ours = "|".join([*map(re.escape, (CONFIG, LOG, STATS, METRICS, REALS, LOCK, CHECKPOINTS, SNAPSHOTS)), _FAKES])
    best = rf"best-{_METRIC}\.safetensors"
    places = {run_dir: ours, run_dir / CHECKPOINTS: _CHECKPOINT, run_dir / SNAPSHOTS: f"{_SNAPSHOT}|{_POWER}|{best}"}
    for folder, names in places.items():
        for path in folder.iterdir() if folder.is_dir() else ():
            if re.fullmatch(names, path.name):
                refuse_link(path)
                if not (path.is_dir() if path.name in (CHECKPOINTS, SNAPSHOTS) else path.is_file()):
                    raise UserError(f"{path} is in the way: it is not what a run calls so; remove it")


def _records(path: Path) -> list[dict[str, Any]]:
    numbered = [(number, _record(line)) for number, line in enumerate(_lines(path), 1) if line.strip()]
    while numbered and numbered[-1][1] is None:  # a power cut leaves half a line, or zeros
        numbered.pop()
    records = []
    for number, record in numbered:
        why = "it is no JSON object" if record is None else _why_no_record(record, measured=path.name == METRICS)
        if record is None or why:
            raise UserError(f"{path}, line {number}: {why}; mend the line, or remove it")
        records.append(record)
    return records


def _is_cut(path: Path) -> bool:
    """Whether the last line is no record."""
    lines = [line for line in _lines(path) if line.strip()]
    return bool(lines) and _record(lines[-1]) is None


def _lines(path: Path) -> list[bytes]:
    """The lines of a file with their ends; none where there is no file."""
    if not path.exists() and not path.is_symlink():
        return []
    return read_file(path, _RECORD_BYTES, f"{path.name} of a run").splitlines(keepends=True)


def _record(line: bytes) -> dict[str, Any] | None:
    """A line's object; None where it holds none, or its end is missing."""
    try:
        record = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _why_no_record(record: dict[str, Any], *, measured: bool) -> str:
    """What cannot be in a record of a run; empty where all can. Names and numbers in it become names of files."""
    nimg, best, results = record.get("nimg"), record.get("best"), record.get("results", None if measured else {})
    if type(nimg) is not int or not 0 <= nimg < 10**15:
        return f"nimg={shown(nimg, 60)!r} is no number of images"
    if best is not None and not is_metric(best):
        return f"best={shown(best, 60)!r} is no name of a metric"
    if not isinstance(results, dict) or not all(
        value is None or type(value) in (int, float) for value in results.values()
    ):
        return "results are not numbers by name"
    return ""


def _numbered(folder: Path, pattern: str) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := re.fullmatch(pattern, path.name))]
    return [path for _, path in sorted(found)]


def known_networks(folder: Path) -> list[str]:
    """What `network=` may have meant: what comes with the project, snapshots and runs in `folder`, and runs (also of sweeps)
    below `runs/`."""
    runs = Path("runs")
    configs = (*folder.glob(f"*/{CONFIG}"), *runs.glob(f"*/{CONFIG}"), *runs.glob(f"*/*/{CONFIG}"))
    found = {str(path) for path in (*folder.glob("*.safetensors"), *(config.parent for config in configs))}
    return ["demo", "portrait", *found]

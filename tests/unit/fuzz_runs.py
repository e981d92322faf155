"""Goes on with thousands of runs whose folder is odd: its config.yaml, stats.jsonl, metrics.jsonl, or what else lies in it.

What a record names stays in the folder: a file beside it is looked at after each case. See `fuzzing`.
"""

import contextlib
import io
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from stylegan import run_dir as layout
from stylegan.config.resume import continued
from stylegan.config.saved import save_config
from stylegan.errors import UserError, shown
from stylegan.training.config import TrainConfig
from tests.unit import fuzzing

STEPS = range(1000, 9000, 1000)
ALIASES = "\n".join(["a0: &a0 [x, x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))])
# fmt: off
VALUES = [
    "9" * 5000, "-" + "9" * 30, "1e999", ".nan", "-.inf", "0x" + "f" * 5000, "1:2:3", "2024-01-01", "2024-13-99", "~",
    "yes", "''", "[" * 50, "[" * 5000, "{a: " * 5000, "[" * 200 + "]" * 200, "*x", "&x [*x]",
    "!!python/object/apply:os.system [x]", "!!binary x", "!!float x", "!!int x", "!!set {a}", "!!timestamp x",
    "${oc.env:HOME}", "${seed}", "${", "???", "|", ">", "- 1", "? x", "@x", "'\\ud800'", '"\\ud800"', '"\\x1b[31m"',
    "\x1b[31m", "\0", "x" * 300_000, "a/" * 5000, "\t", "{}", "[]", "%YAML 9", "---", "...", "8", "0", "-1", "0.5",
    "true", "stylegan2", "{start: 0, end: 1, kimg: 1}", "{start: []}", "[{resolution: 8}]", "[5]", "2**40",
]
RECORDS = [
    b"\0" * 5000, b"{", b"[]", b"null", b"{}", b'{"nimg": 1e3}', b'{"nimg": -1, "results": {}}', b"[" * 100_000,
    b'{"a":' * 100_000, b'{"nimg": ' + b"9" * 5000 + b"}", b'{"nimg": 1, "results": {"a": NaN}}',
    b'{"nimg": 1, "results": {}, "best": "../../victim"}', b'{"nimg": 1, "results": {}, "best": "' + b"x" * 300 + b'"}',
    b"\xff\xfe", b"\xef\xbb\xbf{}", b'{"nimg": true}', b"\r", b"\x0b", b'{"nimg": 7, "results": {"fid50k": "1"}}',
    b'{"nimg": 7000, "results": {"fid50k": 1}, "best": "fid50k"}', b"x" * 2_000_000,
]
# fmt: on


def odd_config(content: bytes, rng: random.Random) -> bytes:
    """A config.yaml with other settings, values, lines or bytes."""
    match rng.randrange(5):
        case 0:
            return fuzzing.flip(content, rng)
        case 1:
            lines = content.decode().splitlines()
            for _ in range(rng.choice([1, 1, 2])):
                at = rng.randrange(len(lines))
                key = lines[at].split(":")[0]
                lines[at] = rng.choice([f"{key}: {rng.choice(VALUES)}", rng.choice(VALUES), lines[at] * 2, ""])
            return "\n".join(lines).encode(errors="surrogatepass")
        case 2:
            return (
                content
                + b"\n"
                + rng.choice([ALIASES.encode(), b"a:\n" + b" - " * 3000, b"? " * 3000, rng.randbytes(30)])
            )
        case _:
            tree = yaml.safe_load(content)
            for _ in range(rng.choice([1, 1, 2])):
                with contextlib.suppress(IndexError, KeyError, TypeError, OverflowError):  # nothing is left to change
                    fuzzing.change(tree, rng)
            return json.dumps(tree).encode()  # which is YAML, but for a few numbers


def odd_records(content: bytes, rng: random.Random) -> bytes:
    """Lines with other values or bytes, or a broken end."""
    lines = content.splitlines()
    match rng.randrange(5):
        case 0:
            return fuzzing.flip(content, rng)
        case 1:
            return content[: rng.randrange(len(content))] + rng.choice([b"", b"\0" * 4096, b"\n", rng.choice(RECORDS)])
        case 2:
            lines.insert(rng.randrange(len(lines) + 1), rng.choice(RECORDS))
        case _:
            at = rng.randrange(len(lines))
            record = json.loads(lines[at])
            fuzzing.change(record, rng)
            lines[at] = json.dumps(record).encode()
    return b"\n".join(lines) + rng.choice([b"\n", b"\n", b"", b"\n\n"])


def odd_place(place: Path, rng: random.Random) -> None:
    """Something else where a file or folder should be."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    match rng.randrange(6):
        case 0:
            os.mkfifo(place)
        case 1:
            place.symlink_to(rng.choice(["/dev/zero", "/dev/tty", "nowhere", place.name, "..", "../victim"]))
        case 2:
            place.mkdir()
        case 3:
            with place.open("wb") as file:
                file.truncate(2**36)
        case 4:
            place.write_bytes(b"")


def prepare(folder: Path) -> Callable[[random.Random], Callable[[], str | None]]:
    """See `fuzzing.judge`."""
    genuine, victim = folder / "genuine", folder / "victim"
    config = TrainConfig(run_dir=str(genuine))
    save_config(config, genuine / layout.CONFIG)
    stats = [{"nimg": nimg, "loss": {"G": 1.5, "D": nimg / 7}, "seconds": 3.25} for nimg in STEPS]
    metrics = [{"nimg": nimg, "results": {"fid50k": nimg / 9}, "best": "fid50k", "fakes": 5} for nimg in STEPS]
    (genuine / layout.STATS).write_text("".join(json.dumps(record) + "\n" for record in stats))
    (genuine / layout.METRICS).write_text("".join(json.dumps(record) + "\n" for record in metrics))
    for nimg in STEPS:
        for path in (layout.checkpoint_path(genuine, nimg), layout.snapshot_path(genuine, nimg)):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"%d" % nimg)
    layout.keep_best(genuine, "fid50k", STEPS[-1])
    for suffix in ("", ".safetensors", ".yaml"):
        victim.with_name(f"victim{suffix}").write_text("untouched")

    def make(rng: random.Random) -> Callable[[], str | None]:
        run = Path(tempfile.mkdtemp(dir=folder)) / "run"
        shutil.copytree(genuine, run)
        odd: dict[str, Callable[[bytes, random.Random], bytes]] = {layout.CONFIG: odd_config}
        odd |= {layout.STATS: odd_records, layout.METRICS: odd_records}
        for name in rng.sample(list(odd), rng.choice([1, 1, 2])):
            path = run / name
            if rng.random() < 0.1:
                odd_place(run / rng.choice([*odd, layout.LOCK, layout.LOG, layout.SNAPSHOTS, layout.CHECKPOINTS]), rng)
            elif path.is_file() and not path.is_symlink() and path.stat().st_size < 2**20:
                path.write_bytes(odd[name](path.read_bytes(), rng) if path.stat().st_size else b"")
        nimg = rng.choice(STEPS)

        def call() -> str | None:
            try:
                return go_on(run, nimg)
            finally:
                for suffix in ("", ".safetensors", ".yaml"):
                    assert victim.with_name(f"victim{suffix}").read_text() == "untouched"
                shutil.rmtree(run.parent)

        return call

    return make


def go_on(run: Path, nimg: int) -> str:
    """What a resume does with a run's folder before it looks at the checkpoint. Returns what came of it."""
    refused = []
    with contextlib.redirect_stderr(io.StringIO()):
        for attempt in (settings, records):
            try:
                attempt(run, nimg)
            except UserError as error:
                refused.append(shown(error, 1900))
    if len(refused) == 2:
        raise UserError(refused[0])
    return "partly read" if refused else "read"


def settings(run: Path, nimg: int) -> Any:
    """Read the configuration."""
    _, resuming = continued(TrainConfig(run_dir=str(run)))
    assert resuming


def records(run: Path, nimg: int) -> None:
    """Go back to an earlier step."""
    with layout.sole_process(run):
        layout.forget_after(run, nimg)
        assert all(record["nimg"] <= nimg for record in (*layout.read_stats(run), *layout.read_metrics(run)))
        assert all(path.parent.parent == run for path in (*layout.checkpoints(run), *layout.snapshots(run)))


if __name__ == "__main__":
    fuzzing.judge("fuzz_runs", prepare)

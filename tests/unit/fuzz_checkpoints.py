"""Resumes from thousands of runs whose newest checkpoint is odd: its bytes, the directory of its ZIP archive, or what it holds.

Whatever is wrong with it, the run goes on: from it where it is whole, else from the one before, with a message. See `fuzzing`.
"""

import contextlib
import io
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from stylegan import run_dir as layout
from stylegan.training.checkpoint import newest_checkpoint, restore, save_checkpoint
from tests.unit import fuzzing
from tests.unit.fuzz_networks import change_tensors, odd_tensor
from tests.unit.test_checkpoint import about, flat
from tests.unit.test_step import batches, make_training

TENSORS = ("G", "D", "G_ema")


def change_content(content: dict[str, Any], rng: random.Random) -> None:
    """Change what a checkpoint holds."""
    state = content["state"]
    match rng.randrange(7):
        case 0 | 1:
            change_tensors(state[rng.choice(TENSORS)], rng)
        case 2:
            moments = state[rng.choice(["G_opt", "D_opt"])]["state"]
            change_tensors(moments[rng.choice(list(moments))], rng)
        case 3:
            fuzzing.change(state[rng.choice(["G_opt", "D_opt"])], rng)
        case 4:
            fuzzing.change(content[rng.choice(["architecture", "environment"])], rng)
        case 5:
            numbers = {key: value for key, value in state.items() if key not in (*TENSORS, "G_opt", "D_opt")}
            name = rng.choice(list(numbers))
            state[name] = rng.choice([odd_tensor, fuzzing.odd])(rng)
        case _:
            fuzzing.change(content, rng)


def rewritten(content: bytes, rng: random.Random) -> bytes:
    """The same archive with its records compressed, exchanged, left out, doubled, or many."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        records = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    kind = zipfile.ZIP_DEFLATED if rng.random() < 0.3 else zipfile.ZIP_STORED
    i, j = rng.randrange(len(records)), rng.randrange(len(records))
    match rng.randrange(5):
        case 0:
            records[i], records[j] = (records[i][0], records[j][1]), (records[j][0], records[i][1])
        case 1:
            del records[i]
        case 2:
            records.append(records[j])
        case 3:
            records[i] = (records[i][0], bytes(rng.choice([0, 1, 2**24])))
        case _:
            records += [(f"archive/data/x{n}", b"") for n in range(rng.choice([1, 1000]))]
    out = io.BytesIO()
    with contextlib.suppress(UserWarning), zipfile.ZipFile(out, "w", kind) as archive:
        for name, record in records:
            archive.writestr(name, record)
    return out.getvalue()


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A checkpoint with other bytes."""
    directory = content.index(b"PK\x01\x02")
    match rng.randrange(4):
        case 0:
            return fuzzing.flip(content, rng)
        case 1:
            return fuzzing.flip(content, rng, range(directory, len(content)))
        case 2:
            start = content.index(b"data.pkl")
            return fuzzing.flip(content, rng, range(start, content.index(b"PK\x03\x04", start)))
        case _:
            at = rng.choice([n for n in range(directory, len(content) - 8) if content[n : n + 2] == b"PK"]) + 4
            at = min(at + rng.randrange(40), len(content) - 8)
            width = rng.choice(["<H", "<I", "<Q"])
            value = struct.pack(width, rng.choice([0, 1, 2**16 - 1, 2 ** (8 * struct.calcsize(width)) - 1]))
            return content[:at] + value + content[at + len(value) :]


def changed(content: bytes, rng: random.Random) -> bytes:
    """A checkpoint that holds something else, written as it should be."""
    value = torch.load(io.BytesIO(content), weights_only=True)
    for _ in range(rng.choice([1, 1, 2])):
        with contextlib.suppress(Exception):  # a second change may not find what the first one took
            change_content(value, rng)
    out = io.BytesIO()
    try:
        torch.save(value, out)
    except (UnicodeEncodeError, RecursionError):
        return content[: rng.randrange(len(content))]
    return out.getvalue()


def equal(a: Any, b: Any) -> bool:
    """Whether two values of a state are the same."""
    return torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b


def prepare(folder: Path) -> Callable[[random.Random], Callable[[], str | None]]:
    """See `fuzzing.judge`."""
    training = make_training()
    for nimg in (8, 16):
        training.step({p.name: batches(training, p.name, 1, 8) for p in training.phases})
        training.state.nimg = nimg
        save_checkpoint(layout.checkpoint_path(folder, nimg), training.state, **about(), keep=9)
    newest = layout.checkpoint_path(folder, 16)
    content = newest.read_bytes()
    state, architecture = make_training().state, about()["architecture"]

    saved = flat(training.state.state_dict())

    def resume(*, is_damage: bool) -> str:
        checkpoint, complaints = newest_checkpoint(folder)
        assert checkpoint is not None
        assert (checkpoint.path == newest) == (not complaints)
        assert all(str(newest) in text and text.isprintable() and len(text) < 1000 for text in complaints)
        if checkpoint.path == newest and checkpoint.architecture != architecture:
            return "of other settings"
        restore(state, checkpoint, architecture)
        restored = flat(state.state_dict())
        if checkpoint.path != newest:
            return "from the one before"
        if is_damage:  # what a checksum does not cover changes nothing
            assert restored.keys() == saved.keys()
            assert all(equal(restored[key], saved[key]) for key in saved)
        return "from the newest"

    def make(rng: random.Random) -> Callable[[], str | None]:
        kind = rng.choice([damaged, damaged, damaged, rewritten, changed, changed])
        newest.write_bytes(kind(content, rng))
        return lambda: resume(is_damage=kind is damaged)

    return make


if __name__ == "__main__":
    fuzzing.judge("fuzz_checkpoints", prepare)

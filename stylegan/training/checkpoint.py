"""Checkpoints: all of the training state in one file that loads without executing code."""

import io
import pickle
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from stylegan import run_dir as layout
from stylegan.errors import UserError
from stylegan.files import atomic_path
from stylegan.models.metadata import weights_architecture
from stylegan.training.state import TrainState

FORMAT = "stylegan-checkpoint-1"


@dataclass(frozen=True)
class Interval:
    """What iterations told since the last line of stats.jsonl; the training does not depend on it.

    Attributes:
        sums: By name the sum and the number of values, over all ranks.
        nonfinite: How many values of gradients were not finite, by network and parameter.
    """

    sums: dict[str, tuple[float, float]] = field(default_factory=dict)
    nonfinite: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, content: Any) -> "Interval":
        """From plain containers; empty for what is none: checkpoints of older versions have none."""
        parts = content if isinstance(content, dict) else {}
        sums, counts = (value if isinstance(value, dict) else {} for value in map(parts.get, ("sums", "nonfinite")))
        return cls(
            {str(k): v for k, v in sums.items() if isinstance(v, tuple) and [type(n) for n in v] == [float, float]},
            {str(k): v for k, v in counts.items() if type(v) is int},
        )


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        path: The file it came from.
        state: `TrainState.state_dict()`.
        architecture: What the networks are (`model_metadata`), to tell another architecture by more than a shape.
        content_hash: Of the data set that it was trained on.
        fingerprint: Of the files that held it; empty where the checkpoint does not say.
        environment: What bit-equal continuation depends on: threads, ranks, back end, versions.
        interval: What was told since the last line of stats.jsonl.
    """

    path: Path
    state: dict[str, Any]
    architecture: dict[str, Any]
    content_hash: str
    fingerprint: str
    environment: dict[str, Any]
    interval: Interval


def save_checkpoint(
    path: Path,
    state: TrainState,
    *,
    architecture: dict[str, Any],
    content_hash: str,
    fingerprint: str,
    environment: dict[str, Any],
    keep: int,
    interval: Interval | None = None,
) -> None:
    """Write a checkpoint, whole or not at all, and delete all but the newest `keep` of the run."""
    content = {
        "format": FORMAT,
        "state": state.state_dict(),
        "architecture": architecture,
        "content_hash": content_hash,
        "fingerprint": fingerprint,
        "environment": environment,
        "interval": asdict(interval or Interval()),
    }
    # Written from memory: torch.save into a file tells of a full disk as a RuntimeError that does not say so.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
    for old in layout.checkpoints(path.parent.parent)[:-keep]:
        old.unlink()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint.

    torch.save writes a ZIP archive whose every record carries a CRC-32; torch.load does not look at them, we do.

    Raises:
        UserError: The file is missing, damaged, or no checkpoint.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise UserError(f"checkpoint {path} is damaged: the checksum of its part {damaged} does not match")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"there is no checkpoint {path}") from None
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise UserError(f"checkpoint {path} is damaged or is no checkpoint ({error})") from error
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} holds more than tensors and numbers; it is not loaded ({error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} is a file of torch, but not a checkpoint of this framework ({FORMAT})")
    known = {name: content[name] for name in ("state", "architecture", "content_hash", "environment")}
    interval = Interval.of(content.get("interval"))
    return Checkpoint(path, fingerprint=content.get("fingerprint", ""), interval=interval, **known)


def newest_checkpoint(run_dir: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest readable checkpoint of a run, and a message for each newer one that is damaged.

    Raises:
        UserError: There are checkpoints, and all are damaged.
    """
    complaints = []
    for path in reversed(layout.checkpoints(run_dir)):
        try:
            return read_checkpoint(path), complaints
        except UserError as error:
            complaints.append(str(error))
    if complaints:
        raise UserError(f"no checkpoint in {run_dir / 'checkpoints'} can be read: " + "; ".join(complaints))
    return None, []


def restore(state: TrainState, checkpoint: Checkpoint, architecture: dict[str, Any]) -> None:
    """Continue from a checkpoint.

    Raises:
        UserError: It is of another architecture.
    """
    if found := other_architecture(checkpoint.architecture, architecture):
        raise UserError(f"checkpoint {checkpoint.path} is of another architecture: {'; '.join(found)}")
    try:
        state.load_state_dict(checkpoint.state)
    except (KeyError, RuntimeError, ValueError) as error:
        raise UserError(f"checkpoint {checkpoint.path} does not fit the networks: {error}") from error


def other_architecture(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """Where networks by name (`model_metadata` of each) differ so that they cannot exchange weights; see `differences`."""
    old, new = ({name: weights_architecture(meta) for name, meta in networks.items()} for networks in (theirs, ours))
    return differences(old, new)


def differences(theirs: Any, ours: Any, key: str = "") -> list[str]:
    """Where two nested dictionaries differ, one `key: theirs there, ours here` each."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        keys = list(dict.fromkeys([*theirs, *ours]))
        return [d for k in keys for d in differences(theirs.get(k), ours.get(k), f"{key}.{k}" if key else str(k))]
    return [] if theirs == ours else [f"{key}: {theirs} there, {ours} here"]


def environment(device: torch.device, ranks: int, backend: str) -> dict[str, Any]:
    """What must stay the same for a continuation to be equal in every bit."""
    return {
        "torch": str(torch.__version__),
        "device": device.type,
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "ranks": ranks,
        "ops": backend,
    }

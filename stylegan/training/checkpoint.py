"""Checkpoints: all of the training state in one file that loads without executing code."""

import io
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stylegan import run_dir as files
from stylegan.errors import UnreadableError, UserError, shown
from stylegan.files import atomic_path
from stylegan.interop.fill import Layout, build_for, check_shared
from stylegan.interop.pickled import plain
from stylegan.interop.torch_file import read_pickled
from stylegan.interop.unpickle import ForbiddenError
from stylegan.models.build import build_discriminator_from_metadata, build_from_metadata
from stylegan.models.metadata import weights_architecture
from stylegan.opening import require_regular_file
from stylegan.schedule import Stage
from stylegan.training.adam import MOMENTS
from stylegan.training.state import TrainState

FORMAT = "stylegan-checkpoint-1"
ADA = {"p", "r_t", "signs", "count", "iterations"}  # what `ADAController.state_dict` holds


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
    for old in files.checkpoints(path.parent.parent)[:-keep]:
        old.unlink()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint.

    Its networks are those that it describes, its optimisers fit them, and its numbers are numbers: what was damaged in any way
    is refused here, so that whoever resumes can take the one before. Records carry a CRC-32, which is checked.

    Raises:
        UserError: The file is missing, damaged, or no checkpoint.
    """
    require_regular_file(path, "checkpoint")
    try:
        content = plain(read_pickled(path))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UserError(f"{path} is a file of torch, but not a checkpoint of this framework ({FORMAT})")
        _check(content)
    except UserError:
        raise
    except ForbiddenError as error:
        raise UserError(f"{path} holds more than tensors and numbers; it is not loaded: it {_text(error)}") from None
    except UnreadableError as error:
        raise UserError(f"checkpoint {path} is damaged or is no checkpoint: it {_text(error)}") from None
    except Exception as error:  # of zipfile and torch: whatever the damage makes them do, the one before may be whole
        raise UserError(f"checkpoint {path} is damaged ({type(error).__name__}: {_text(error)})") from error
    known = {name: content[name] for name in ("state", "architecture", "content_hash", "environment")}
    interval = Interval.of(content.get("interval"))
    return Checkpoint(path, fingerprint=content.get("fingerprint", ""), interval=interval, **known)


def _text(error: Exception) -> str:
    return shown(error, 300)


def newest_checkpoint(run_dir: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest readable checkpoint of a run, and a message for each newer one that is damaged.

    Raises:
        UserError: There are checkpoints, and all are damaged.
    """
    complaints = []
    for path in reversed(files.checkpoints(run_dir)):
        try:
            return read_checkpoint(path), complaints
        except UserError as error:
            complaints.append(str(error))
    if complaints:
        raise UserError(f"no checkpoint in {run_dir / 'checkpoints'} can be read: " + "; ".join(complaints))
    return None, []


def _check(content: dict[Any, Any]) -> None:
    """Raise `UnreadableError` for what `save_checkpoint` does not write."""
    forms = {"state": dict, "architecture": dict, "content_hash": str, "fingerprint": str, "environment": dict}
    for name, form in forms.items():
        if not isinstance(content.get(name, "" if name == "fingerprint" else None), form):
            raise UnreadableError(f"lacks its {name}")
    if not all(_is_plain(value) for value in content["environment"].values()):
        raise UnreadableError("describes its environment in another way")
    state, tensors = content["state"], list[Tensor]()
    for name in ("G", "G_ema", "D"):
        parameters = _check_network(name, state.get(name), content["architecture"].get(name.removesuffix("_ema")))
        tensors += state[name].values()
        if (optimizer := f"{name}_opt") != "G_ema_opt":
            tensors += _check_optimizer(optimizer, state.get(optimizer), parameters)
    power = state.get("power", {})  # older versions kept none
    if not isinstance(power, dict) or not all(isinstance(name, str) for name in power):
        raise UnreadableError("lacks its further averages")
    for name, average in power.items():
        _check_network(f"average of length {name[:20]}", average, content["architecture"].get("G"))
        tensors += average.values()
    check_shared(tensors)
    numbers = {"pl_mean": _is_scalar, "elapsed": _is_number, "ada": _is_ada, "stage": _is_stage}
    numbers |= dict.fromkeys(("seed", "nimg", "step", "rollbacks", "held"), _is_count)
    for name, is_valid in numbers.items():
        if name not in state or not is_valid(state[name]):
            raise UnreadableError(f"lacks a valid {name}")


def _check_network(name: str, tensors: Any, meta: Any) -> list[nn.Parameter]:
    """The parameters of the architecture; raises `UnreadableError` unless these are its tensors."""
    if not isinstance(meta, dict) or not meta.keys() <= {"kind", "config", "resolution", "channels", "c_dim"}:
        raise UnreadableError(f"lacks the architecture of its {name}")
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise UnreadableError(f"lacks its {name}")
    make = build_discriminator_from_metadata if name == "D" else build_from_metadata
    try:
        network = build_for(meta, {str(key): Layout.of(tensor) for key, tensor in tensors.items()}, make)
    except UnreadableError as error:
        raise UnreadableError(f"does not fit itself: its {name} {error}") from None
    return list(network.parameters())


def _check_optimizer(name: str, optimizer: Any, parameters: list[nn.Parameter]) -> list[Tensor]:
    """The tensors in a state_dict of Adam; raises `UnreadableError` unless it is one for these parameters."""
    groups, moments = (optimizer.get(key) if isinstance(optimizer, dict) else None for key in ("param_groups", "state"))
    if not isinstance(groups, list) or len(groups) != 1 or not isinstance(groups[0], dict):
        raise UnreadableError(f"lacks the settings of its {name}")
    settings, indices = dict(groups[0]), list(range(len(parameters)))
    if settings.pop("params", None) != indices or not isinstance(moments, dict) or not set(moments) <= set(indices):
        raise UnreadableError(f"holds {name} of other parameters")
    betas = settings.pop("betas", None)
    if not isinstance(betas, tuple) or not all(map(_is_plain, (*betas, *settings.values()))):
        raise UnreadableError(f"holds other settings of {name}")
    for i, kept in moments.items():
        shapes = {"step": torch.Size(), **dict.fromkeys(MOMENTS, parameters[i].shape)}
        if not isinstance(kept, dict) or kept.keys() != shapes.keys():
            raise UnreadableError(f"lacks the moments of parameter {i} in {name}")
        if any(not isinstance(kept[key], Tensor) or kept[key].shape != shape for key, shape in shapes.items()):
            raise UnreadableError(f"holds moments of parameter {i} in {name} that do not fit it")
    return [tensor for kept in moments.values() for tensor in kept.values()]


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, Tensor) and value.shape == ()


def _is_ada(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict) or not value.keys() >= ADA:
        return False
    return all(value is None or type(value) in (int, float) for value in value.values())


def _is_stage(value: Any) -> bool:
    if value is None:
        return True
    names = {f.name for f in fields(Stage)}
    if not isinstance(value, dict) or value.keys() != names:
        return False
    shape, others = value["resolution"], [value[name] for name in names - {"resolution"}]
    return isinstance(shape, list) and len(shape) == 2 and all(map(_is_count, shape)) and all(map(_is_number, others))


def restore(state: TrainState, checkpoint: Checkpoint, architecture: dict[str, Any]) -> None:
    """Continue from a checkpoint.

    Raises:
        UserError: It is of another architecture.
    """
    if found := other_architecture(checkpoint.architecture, architecture):
        raise UserError(f"checkpoint {checkpoint.path} is of another architecture: {'; '.join(found)}")
    try:
        state.load_state_dict(checkpoint.state)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
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

"""`init_from=`: networks that start from those of another run, adapted where images or labels are of another kind.

Blocks are matched by their resolution. What depends on the number of image channels is translated, what depends on labels
starts anew, and everything else must be of the same architecture: a weight of another width or meaning is no start.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stylegan import run_dir as layout
from stylegan.errors import UserError
from stylegan.interop.difference import PLUS, summands
from stylegan.interop.foreign import FOREIGN, is_checkpoint
from stylegan.interop.networks import read_networks
from stylegan.models.discriminator import Discriminator
from stylegan.models.metadata import model_metadata, weights_architecture
from stylegan.opening import nearest_path
from stylegan.training.checkpoint import differences, read_checkpoint
from stylegan.training.config import KEEP
from stylegan.training.state import TrainState

# What weights can be taken over in spite of: what they are made for.
ADAPTED = ("resolution", "channels", "c_dim")


@dataclass(frozen=True)
class Transfer:
    """What became of a network's tensors.

    Attributes:
        taken: Names of those that are as they were.
        reshaped: Of those that were translated to other images or labels.
        new: Of those that start anew: the other network lacks them, or has them in a shape that says nothing here.
        left: What the other network has besides.
    """

    taken: list[str]
    reshaped: list[str]
    new: list[str]
    left: list[str]

    def __str__(self) -> str:
        """`57 tensors taken over, 2 reshaped, 5 new, 3 left out`."""
        return (
            f"{len(self.taken)} tensors taken over, {len(self.reshaped)} reshaped, {len(self.new)} new, "
            f"{len(self.left)} left out"
        )

    def listing(self, name: str) -> list[str]:
        """Everything by name, one line a kind; `b8.*` stands for all of b8."""
        ours = [*self.taken, *self.reshaped, *self.new]
        kinds = (("taken over", self.taken, ours), ("reshaped", self.reshaped, ours), ("new", self.new, ours))
        return [
            f"{name}, {kind}: {', '.join(collapse(names, among))}"
            for kind, names, among in (*kinds, ("left out", self.left, [*self.left, *ours]))
            if names
        ]


def start_from(source: str, state: TrainState, start_kimg: float | str | None = None) -> list[str]:
    """Load networks from elsewhere; optimisers and randomness start anew.

    Args:
        source: A checkpoint, the folder of a run (its newest checkpoint), a snapshot, or a published network's file, see
            `read_networks`. Of a snapshot without companions G takes G_ema.
        state: New networks, which take over what they can.
        start_kimg: Where the count of images starts, by which schedules go: in kimg, or `KEEP`: where it ended there; None:
            at 0.

    Returns:
        What the user should be told.

    Raises:
        UserError: It is nothing of the kind, of another architecture, nothing of it fits, or it does not say how many images
            it was trained on.
    """
    path = _find(source)
    if is_checkpoint(path):
        checkpoint = read_checkpoint(path)
        theirs = checkpoint.architecture
        weights = {name: checkpoint.state[name] for name in ("G", "D", "G_ema")}
        nimg = checkpoint.state["nimg"]
        state.pl_mean.copy_(checkpoint.state["pl_mean"])
        head = f"G, D and G_ema start from the checkpoint {path}"
    else:
        found = read_networks(path)
        networks = {"G": found.networks["G_ema"], **found.networks}
        nimg = found.provenance.get("nimg")
        theirs = {name: model_metadata(networks[name]) for name in ("G", "D") if name in networks}
        weights = {name: network.state_dict() for name, network in networks.items()}
        head = f"G, D and G_ema start from {path}"
        if "D" not in networks:
            head = f"G starts from {path}; it holds no discriminator, so D starts anew"
    state.nimg = _count(path, nimg, start_kimg)
    if state.nimg:
        head += f", at {state.nimg / 1000:.3f} kimg"
    _check_architecture(path, theirs, {name: model_metadata(getattr(state, name)) for name in theirs})
    done = {name: adapt(weights[name], getattr(state, name)) for name in weights}
    for name, transfer in done.items():
        if not any("mapping." not in tensor for tensor in (*transfer.taken, *transfer.reshaped)):
            sizes = ["x".join(map(str, meta["resolution"])) for meta in (theirs["G"], model_metadata(state.G))]
            raise UserError(
                f"init_from={path}: nothing of {name} fits, since images of {sizes[0]} and {sizes[1]} (HxW) have no block's "
                "resolution in common; choose a network whose sides are these ones doubled or halved, or none"
            )
    summary = "; ".join(f"{name}: {done[name]}" for name in theirs)
    lines = [line for name in theirs for line in done[name].listing(name)]
    new_in_D = done["D"].new if "D" in done else state.D.state_dict()
    return [f"{head}. {summary}", *lines, *warn_of_frozen(state.D, new_in_D)]


def warn_of_frozen(D: Discriminator, new: Iterable[str]) -> list[str]:
    """A warning where Freeze-D holds fast what was never trained; empty where it does not.

    Args:
        D: The discriminator.
        new: Which of its tensors start anew.
    """
    trainable = {name for name, _ in D.named_parameters()}
    frozen = [name for name in new if name.endswith((".weight", ".bias")) and name not in trainable]
    if not frozen:
        return []
    return [
        f"warning: model.D.freeze_layers={D.config.freeze_layers} holds layers that start anew: {', '.join(frozen)}; freezing "
        "is meant for layers that init_from= brings, from a checkpoint or a run of the same resolution"
    ]


def adapt(source: Mapping[str, Tensor], target: nn.Module) -> Transfer:
    """Fill a network with another one's tensors, by name and, where images or labels differ, by meaning.

    Args:
        source: The other network's state_dict, of an architecture that `start_from` allows.
        target: A new network; what finds no counterpart stays as it was initialised.
    """
    transfer = Transfer([], [], [], [])
    state = target.state_dict()
    for name, tensor in state.items():
        old = source.get(name)
        if old is None:
            transfer.new.append(name)
        elif old.shape == tensor.shape:
            transfer.taken.append(name)
            tensor.copy_(old)
        elif (translated := _translate(name, old, tensor)) is not None:
            transfer.reshaped.append(name)
            tensor.copy_(translated)
        else:
            transfer.new.append(name)
    transfer.left.extend(name for name in source if name not in state)
    return transfer


def collapse(names: Iterable[str], among: Iterable[str]) -> list[str]:
    """Names in short: a module of which all tensors among `among` are in `names` is written once, as `module.*`."""
    chosen, others = list(names), set(among) - set(names)
    found: dict[str, None] = {}
    for name in chosen:
        parts = name.split(".")
        prefixes = [".".join(parts[:i]) + "." for i in range(1, len(parts))]
        whole = next((p for p in prefixes if not any(other.startswith(p) for other in others)), None)
        found[name if whole is None else f"{whole}*"] = None
    return list(found)


def _find(source: str) -> Path:
    path = Path(source)
    try:
        is_run, exists = layout.is_run_dir(path), path.exists()
    except OSError as error:  # such as a name that is too long
        raise UserError(f"init_from={source}: {error.strerror}; check the path") from None
    if is_run:
        found = layout.checkpoints(path)
        if not found:
            raise UserError(f"init_from={source} is a run without a checkpoint; name one of its snapshots instead")
        return found[-1]
    if not exists and (parts := summands(path))[1:]:
        first = layout.snapshots(parts[0])[-1:] if layout.is_run_dir(parts[0]) else [_find(str(parts[0]))]
        if not first or is_checkpoint(first[0]):
            raise UserError(f"init_from={source}: a difference is added to a snapshot, and {parts[0]} is none")
        return Path(PLUS.join(map(str, [*first, *parts[1:]])))
    if not exists:
        raise UserError(
            f"init_from={source} does not exist{nearest_path(source)}; name a run, a checkpoint (.pt), a snapshot "
            "(.safetensors) or a published network's file (.pkl, .pt)"
        )
    if path.suffix not in (".safetensors", *FOREIGN):
        raise UserError(
            f"init_from={source} is neither a run of train.py, nor a checkpoint (.pt), nor a snapshot (.safetensors), nor a "
            "published network's file (.pkl, .pt)"
        )
    return path


def _count(path: Path, nimg: Any, start_kimg: float | str | None) -> int:
    """The images to start with, of a file that says `nimg`."""
    if start_kimg != KEEP:
        return round(float(start_kimg or 0) * 1000)
    if type(nimg) is not int or nimg < 0:
        raise UserError(
            f"training.start_kimg={KEEP}: {path} does not say how many images it was trained on; give a number of kimg"
        )
    return nimg


def _check_architecture(path: Path, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    old, new = ({name: _what_must_agree(meta) for name, meta in networks.items()} for networks in (theirs, ours))
    if found := differences(old, new):
        raise UserError(
            f"init_from={path} holds networks of another architecture: {'; '.join(found)}. Give these settings the values "
            "there (resolution, channels and labels may differ)"
        )


def _what_must_agree(meta: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in weights_architecture(meta, alike=True).items() if name not in ADAPTED}


@torch.no_grad()
def _translate(name: str, old: Tensor, new: Tensor) -> Tensor | None:
    """A tensor as the new network needs it, or None where its other shape says nothing here.

    Args:
        name: Its name, by which its meaning is known.
        old: The other network's.
        new: The new network's as it was initialised, whose shape is the one needed.
    """
    if name.endswith(("torgb.weight", "torgb.bias")) and old.shape[1:] == new.shape[1:]:
        return _output_channels(old, new)
    if name.endswith("fromrgb.weight") and old.shape[0] == new.shape[0]:
        return _input_channels(old, new)
    if name == "mapping.fc0.weight" and old.shape[0] == new.shape[0]:
        # Columns of z, then those of the embedded label: those start at zero, so that labels change nothing at first.
        both = min(old.shape[1], new.shape[1])
        result = torch.zeros_like(new)
        result[:, :both] = old[:, :both] * sqrt(new.shape[1] / old.shape[1])
        return result
    return None


def _output_channels(old: Tensor, new: Tensor) -> Tensor:
    """Grey becomes three equal colours, colours become their mean, alpha starts anew or is dropped."""
    result, colours = new.clone(), old[:3]
    result[:3] = colours.mean(dim=0, keepdim=True) if len(new) == 1 else colours.expand(3, *old.shape[1:])
    return result


def _input_channels(old: Tensor, new: Tensor) -> Tensor:
    """The mirror image: a grey picture counts as three equal colours, colours as their mean.

    A layer divides by the square root of its inputs (equalised learning rate), which the factor makes up for.
    """
    result, colours = new.clone(), old[:, :3]
    if new.shape[1] == 1:
        colours = colours.sum(dim=1, keepdim=True)
    elif old.shape[1] == 1:
        colours = (colours / 3).expand(-1, 3, -1, -1)
    result[:, :3] = colours * sqrt(new.shape[1] / old.shape[1])
    return result

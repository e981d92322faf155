"""What the StyleGAN tools of others write, pickles and files of `torch.save`; why a file that is none of these is refused."""

import mmap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from stylegan.errors import UnreadableError, UserError, shown
from stylegan.interop.adapters import ARCHITECTURES, take_over
from stylegan.interop.nvidia import network_from_record
from stylegan.interop.pickled import ModuleRecord, TensorRecord
from stylegan.interop.rosinality import is_rosinality, networks_from_rosinality
from stylegan.interop.tensorflow import is_tensorflow, network_from_tensorflow, records_from_tensorflow
from stylegan.interop.torch_file import read_pickled
from stylegan.interop.unpickle import ForbiddenError
from stylegan.models.adapter import Foreign, PublicLayout
from stylegan.models.base import Discriminator, Network
from stylegan.models.metadata import model_metadata
from stylegan.opening import require_regular_file

NAMES = ("G", "D", "G_ema")
INIT_KWARGS = "init_kwargs"  # where a .pt with public names says how the public tools build its networks
FOREIGN = (".pkl", ".pt", ".pth")
CHECKPOINT = b"stylegan-checkpoint-"
_Made = TypeVar("_Made")

# Words that files of other architectures contain, whatever else they do.
_OTHERS = {
    "StyleGAN-XL": (b"pg_modules", b"SuperresGenerator", b"networks_stylegan3_resetting", b"embed_proj"),
    "StyleGAN2 for TensorFlow": (b"G_main", b"G_synthesis_stylegan2", b"D_stylegan2"),
}


def read_foreign(
    path: Path, *, only_generator: bool = False, progress: Callable[[int], None] | None = None
) -> tuple[str, dict[str, Network], list[str]]:
    """What a file of others is, its networks by name, and what the user should know; arguments as of `read_networks`.

    Raises:
        UserError: As `read_networks`.
    """
    require_regular_file(path, "network file")
    try:
        if is_checkpoint(path):
            raise UnreadableError("is a checkpoint of a run: name the run's folder, or one of its snapshots")
        return _networks_of(read_pickled(path, progress), only_generator)
    except OSError as error:
        raise UserError(f"cannot read the network file {path}: {error.strerror}") from None
    except UnreadableError as error:
        raise UserError(_refusal(path, error)) from None
    except Exception as error:  # of torch and numpy on odd shapes: whatever a file makes them do, it is no network
        odd = UnreadableError(f"holds what no network holds ({type(error).__name__}: {error})")
        raise UserError(_refusal(path, odd)) from error


def is_checkpoint(path: Path) -> bool:
    """Whether a file is the training state of one of our runs, rather than networks to give away."""
    return path.is_file() and _contains(path, CHECKPOINT)


def _networks_of(content: Any, only_generator: bool) -> tuple[str, dict[str, Network], list[str]]:
    """What the content of a file is, its networks by name, and what the user should know."""
    notes: list[str] = []
    if is_rosinality(content):
        kind = "a file of rosinality's StyleGAN2"
        networks, notes = networks_from_rosinality(content, only_generator)
    elif is_tensorflow(content):
        kind, networks, notes = _from_tensorflow(_wanted(records_from_tensorflow(content), only_generator))
    elif isinstance(content, ModuleRecord):
        kind, networks = "a pickled network of the public StyleGAN tools", {"G_ema": network_from_record(content)}
    elif isinstance(content, dict) and any(isinstance(content.get(name), ModuleRecord) for name in NAMES):
        kind = "a snapshot of the public StyleGAN tools"
        records = _wanted(content, only_generator)
        content.clear()
        networks = _from_records(records)
    elif isinstance(content, dict) and isinstance(content.get(INIT_KWARGS), dict):
        kind = "tensors with the public StyleGAN tools' names"
        networks = _from_tensors(content, _wanted(content[INIT_KWARGS], only_generator))
    else:
        raise UnreadableError("holds no networks that are known here")
    if "G_ema" not in networks and "G" in networks:
        networks["G_ema"] = networks.pop("G")
        notes.append("G_ema: the file has none; G stands in for it")
    for name, network in networks.items():
        if isinstance(network, Discriminator) != (name == "D"):
            raise UnreadableError(f"holds a network named {name} that is none")
    if "G_ema" not in networks:
        raise UnreadableError("holds no generator")
    return kind, networks, notes


def _wanted(content: Mapping[Any, Any], only_generator: bool) -> dict[str, Any]:
    """The parts of a file that are networks; G counts as the generator where there is no average of it."""
    present = {name: content[name] for name in NAMES if content.get(name) is not None}
    generator = "G_ema" if "G_ema" in present else "G"
    return {name: item for name, item in present.items() if not only_generator or name == generator}


def _from_records(records: dict[str, Any]) -> dict[str, Network]:
    networks = {}
    for name in list(records):
        record = records.pop(name)  # so that no network is in memory twice for longer than needed
        expected = "Discriminator" if name == "D" else "Generator"
        found = record.class_name if isinstance(record, ModuleRecord) else type(record).__name__
        if found != expected:
            raise UnreadableError(f"holds as {name} a {found[:60]}, not a {expected} of {' or '.join(ARCHITECTURES)}")
        networks[name] = _named(name, network_from_record, record)
    return networks


def _from_tensorflow(records: dict[str, Any]) -> tuple[str, dict[str, Network], list[str]]:
    networks, notes, kind = dict[str, Network](), list[str](), ""
    for name, record in records.items():
        networks[name], architecture = _named(name, network_from_tensorflow, record)
        kind = f"a pickle of the official {architecture} for TensorFlow"
        if stage := model_metadata(networks[name]).get("stage"):
            height, width = stage["resolution"]
            notes.append(f"{name}: saved while it grew, at {width}x{height} pixels (width x height)")
    return kind, networks, notes


def _from_tensors(content: Mapping[Any, Any], described: Mapping[str, Any]) -> dict[str, Network]:
    networks = {}
    for name, options in described.items():
        tensors = content.get(name)
        if not isinstance(options, dict) or not isinstance(tensors, dict):
            raise UnreadableError(f"has {INIT_KWARGS} of {name}, but no tensors")
        if not all(isinstance(key, str) and isinstance(tensor, TensorRecord) for key, tensor in tensors.items()):
            raise UnreadableError(f"holds {name} as something else than tensors by name")
        public = Foreign({key: tensor.tensor() for key, tensor in tensors.items()}, dict(options))
        networks[name] = _named(name, lambda public: take_over(public, PublicLayout), public)
    return networks


def _named(name: str, make: Callable[[Any], _Made], source: Any) -> _Made:
    """Say in errors which network they are about."""
    try:
        return make(source)
    except UnreadableError as error:
        raise type(error)(f"cannot be taken over: its {name} {error}") from None


def _contains(path: Path, marker: bytes) -> bool:
    """Whether a file contains these bytes."""
    with path.open("rb") as file:
        if file.seek(0, 2) == 0:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data.find(marker) >= 0


def _refusal(path: Path, error: UnreadableError) -> str:
    why = shown(error, 300)
    for name, markers in _OTHERS.items():
        if any(_contains(path, marker) for marker in markers):
            return (
                f"{path} is a network of {name}, an architecture that this version does not have (it {why}); there are "
                + " and ".join(ARCHITECTURES)
            )
    if isinstance(error, ForbiddenError):
        return (
            f"{path} {why}, which no network needs: it may name arrays, tensors, containers and classes of networks. Nothing "
            "in it was run; do not open it with other programs, and get the network again from those who published it"
        )
    return f"{path} {why}; if it is a network of {' or '.join(ARCHITECTURES)}, get it again from those who published it"

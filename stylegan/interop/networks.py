"""Any file of networks: our snapshots, and what the StyleGAN tools of others write."""

import dataclasses
import mmap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from stylegan.errors import UnreadableError, UserError
from stylegan.files import sha256
from stylegan.interop.adapters import ARCHITECTURES, take_over
from stylegan.interop.nvidia import network_from_record
from stylegan.interop.pickled import ModuleRecord, TensorRecord
from stylegan.interop.rosinality import is_rosinality, networks_from_rosinality
from stylegan.interop.snapshot import read_companions, read_snapshot
from stylegan.interop.torch_file import read_pickled
from stylegan.interop.unpickle import ForbiddenError
from stylegan.models.adapter import Foreign, PublicLayout
from stylegan.models.base import Discriminator, Generator, Network

NAMES = ("G", "D", "G_ema")
INIT_KWARGS = "init_kwargs"  # where a .pt with public names says how the public tools build its networks
FOREIGN = (".pkl", ".pt", ".pth")
CHECKPOINT = b"stylegan-checkpoint-"

# Words that files of other architectures contain, whatever else they do.
_OTHERS = {
    "R3GAN": (b"R3GAN", b"WidthPerStage", b"CardinalityPerStage", b"MainLayers"),
    "StyleGAN-XL": (b"pg_modules", b"SuperresGenerator", b"networks_stylegan3_resetting", b"embed_proj"),
    "StyleGAN or StyleGAN2 for TensorFlow": (b"dnnlib.tflib",),
}


@dataclass(frozen=True)
class Networks:
    """What a file holds.

    Attributes:
        networks: By name: `G_ema`, which every file has, and perhaps `G` and `D`, on the CPU.
        provenance: Where they come from, as a snapshot's metadata say it.
        report: What was found, a line for each network and for each thing to know.
    """

    networks: dict[str, Network]
    provenance: dict[str, Any]
    report: list[str] = field(default_factory=list)

    @property
    def G_ema(self) -> Generator:
        """The generator to make images with."""
        G_ema = self.networks["G_ema"]
        assert isinstance(G_ema, Generator)
        return G_ema


def read_networks(
    path: str | Path, *, only_generator: bool = False, progress: Callable[[int], None] | None = None
) -> Networks:
    """Read networks; nothing in the file is executed.

    Args:
        path: A snapshot (.safetensors), a pickle (.pkl) of the public StyleGAN2-ADA or StyleGAN3 tools, a .pt of rosinality's
            StyleGAN2, or a .pt with the public tools' names that `save_public` wrote. What it is follows from its content.
        only_generator: Build `G_ema` alone, for those who make images.
        progress: Told how many bytes of a pickle were read.

    Raises:
        UserError: There is no such file, it is none of these, is damaged, tries to do something else than to hold data, or
            its parameters do not match.
    """
    path = Path(path)
    if not _is_pickled(path):
        snapshot = read_snapshot(path)
        found = {**({} if only_generator else read_companions(path)), "G_ema": snapshot.G}
        networks = {name: found[name] for name in NAMES if name in found}
        provenance = snapshot.metadata.get("provenance")
        return Networks(networks, provenance if isinstance(provenance, dict) else {}, _lines(networks))
    try:
        if is_checkpoint(path):
            raise UnreadableError("is a checkpoint of a run: name the run's folder, or one of its snapshots")
        kind, networks, notes = _networks_of(read_pickled(path, progress), only_generator)
    except OSError as error:
        raise UserError(f"cannot read the network file {path}: {error.strerror}") from None
    except UnreadableError as error:
        raise UserError(_refusal(path, error)) from None
    origin = {"file": path.name, "sha256": sha256(path), "kind": kind}
    return Networks(networks, {"imported_from": origin}, [f"{path}: {kind}", *_lines(networks), *notes])


def is_checkpoint(path: Path) -> bool:
    """Whether a file is the training state of one of our runs, rather than networks to give away."""
    return path.is_file() and _contains(path, CHECKPOINT)


def _networks_of(content: Any, only_generator: bool) -> tuple[str, dict[str, Network], list[str]]:
    """What the content of a file is, its networks by name, and what the user should know."""
    notes: list[str] = []
    if is_rosinality(content):
        kind = "a file of rosinality's StyleGAN2"
        networks, notes = networks_from_rosinality(content, only_generator)
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
        networks["G_ema"] = networks["G"]
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


def _named(name: str, make: Callable[[Any], Network], source: Any) -> Network:
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


def _is_pickled(path: Path) -> bool:
    """Whether it is to be read as a pickle: by its first bytes, and where they say nothing, by its name."""
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError:
        return False  # the reader of snapshots says why
    if head[8:] == b"{" and path.suffix not in FOREIGN:
        return False
    return head[:4] == b"PK\x03\x04" or head[:1] == b"\x80" or path.suffix in FOREIGN


def _refusal(path: Path, error: UnreadableError) -> str:
    for name, markers in _OTHERS.items():
        if any(_contains(path, marker) for marker in markers):
            return (
                f"{path} is a network of {name}, an architecture that this version does not have (it {error}); there are "
                + " and ".join(ARCHITECTURES)
            )
    if isinstance(error, ForbiddenError):
        return (
            f"{path} {error}, which no network needs. Nothing in it was run; do not open it with other programs, and get the "
            "network again from those who published it"
        )
    return (
        f"{path} {error}; if it is a network of {' or '.join(ARCHITECTURES)}, get it again from those who published it"
    )


def _lines(networks: Mapping[str, Network]) -> list[str]:
    return [f"{name}: {summary(network)}" for name, network in networks.items()]


def summary(network: Network) -> str:
    """A network in a line: kind, size of images, options that are not as usual, number of parameters."""
    height, width = network.resolution
    colours = {1: "grey", 3: "RGB", 4: "RGBA"}[network.channels]
    labels = [f"{network.c_dim} classes"] if network.c_dim else []
    head = [network.config.kind, f"{height}x{width} {colours}", *labels, *_unusual(network.config)]
    count = sum(tensor.numel() for tensor in network.parameters())
    buffers = sum(1 for _ in network.buffers())
    return (
        f"{', '.join(head)}; {count:,} parameters in {sum(1 for _ in network.parameters())} tensors and {buffers} buffers, "
        "all matched"
    )


def _unusual(config: Any, where: str = "") -> Iterator[str]:
    """`name=value` of the options that are not at their defaults."""
    usual = type(config)()
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            yield from _unusual(value, f"{where}{f.name}.")
        elif value != getattr(usual, f.name):
            yield f"{where}{f.name}={value.name if isinstance(value, Enum) else value}"

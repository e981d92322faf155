"""Any file of networks: our snapshots, and what the StyleGAN tools of others write."""

import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from stylegan.errors import UserError
from stylegan.files import sha256
from stylegan.interop.nvidia import PublicNetwork, build, network_from_record
from stylegan.interop.pickled import ModuleRecord, TensorRecord
from stylegan.interop.rosinality import is_rosinality, networks_from_rosinality
from stylegan.interop.snapshot import read_companions, read_snapshot
from stylegan.interop.torch_file import read_pickled
from stylegan.interop.unpickle import UnreadableError
from stylegan.models.build import DISCRIMINATORS, model_metadata

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

    networks: dict[str, nn.Module]
    provenance: dict[str, Any]
    report: list[str] = field(default_factory=list)

    @property
    def G_ema(self) -> Any:
        """The generator to make images with."""
        return self.networks["G_ema"]


def read_networks(path: str | Path, progress: Callable[[int], None] | None = None) -> Networks:
    """Read networks; nothing in the file is executed.

    Args:
        path: A snapshot (.safetensors), a pickle (.pkl) of the public StyleGAN2-ADA or StyleGAN3 tools, a .pt of rosinality's
            StyleGAN2, or a .pt with the public tools' names that `save_public` wrote. What it is follows from its content.
        progress: Told how many bytes of a pickle were read.

    Raises:
        UserError: There is no such file, it is none of these, is damaged, tries to do something else than to hold data, or
            its parameters do not match.
    """
    path = Path(path)
    if not _is_pickled(path):
        snapshot = read_snapshot(path)
        networks = {**read_companions(path), "G_ema": snapshot.G}
        return Networks(networks, snapshot.metadata["provenance"], _lines(networks))
    try:
        kind, networks, notes = _read_foreign(path, progress)
    except OSError as error:
        raise UserError(f"cannot read the network file {path}: {error.strerror}") from None
    except UnreadableError as error:
        raise UserError(_refusal(path, str(error))) from None
    origin = {"file": path.name, "sha256": sha256(path), "kind": kind}
    return Networks(networks, {"imported_from": origin}, [f"{path}: {kind}", *_lines(networks), *notes])


def _read_foreign(path: Path, progress: Callable[[int], None] | None) -> tuple[str, dict[str, nn.Module], list[str]]:
    if contains(path, CHECKPOINT):
        raise UnreadableError(
            "is a checkpoint of a run, not a network file: name the run's folder or one of its snapshots"
        )
    content, notes = read_pickled(path, progress), list[str]()
    if is_rosinality(content):
        kind = "a file of rosinality's StyleGAN2"
        networks, notes = networks_from_rosinality(content)
    elif isinstance(content, ModuleRecord):
        kind, networks = "a pickled network of the public StyleGAN tools", {"G_ema": network_from_record(content)}
    elif isinstance(content, dict) and any(isinstance(content.get(name), ModuleRecord) for name in NAMES):
        kind, networks = "a snapshot of the public StyleGAN tools", _from_records(content)
    elif isinstance(content, dict) and isinstance(content.get(INIT_KWARGS), dict):
        kind, networks = "tensors with the public StyleGAN tools' names", _from_tensors(content)
    else:
        raise UnreadableError("holds no networks that are known here")
    if "G_ema" not in networks and "G" in networks:
        networks["G_ema"] = networks["G"]
        notes.append("G_ema: the file has none; G stands in for it")
    for name, network in networks.items():
        if (model_metadata(network)["kind"] in DISCRIMINATORS) != (name == "D"):
            raise UnreadableError(f"holds a network named {name} that is none")
    if "G_ema" not in networks:
        raise UnreadableError("holds no generator")
    return kind, networks, notes


def _from_records(content: Mapping[Any, Any]) -> dict[str, nn.Module]:
    networks = {}
    for name in NAMES:
        record = content.get(name)
        if isinstance(record, ModuleRecord):
            expected = "Discriminator" if name == "D" else "Generator"
            if record.class_name != expected:
                raise UnreadableError(
                    f"holds as {name} a {record.class_name[:60]}, not a {expected} of StyleGAN2 or StyleGAN3"
                )
            networks[name] = _named(name, network_from_record, record)
    return networks


def _from_tensors(content: Mapping[Any, Any]) -> dict[str, nn.Module]:
    networks = {}
    for name, options in content[INIT_KWARGS].items():
        tensors = content.get(name)
        if name not in NAMES or not isinstance(options, dict) or not isinstance(tensors, dict):
            raise UnreadableError(f"has {INIT_KWARGS} of {str(name)[:60]!r}, which it does not hold")
        if not all(isinstance(key, str) and isinstance(tensor, TensorRecord) for key, tensor in tensors.items()):
            raise UnreadableError(f"holds {name} as something else than tensors by name")
        public = PublicNetwork({key: tensor.tensor() for key, tensor in tensors.items()}, dict(options))
        networks[name] = _named(name, build, public)
    return networks


def _named(name: str, make: Callable[[Any], nn.Module], source: Any) -> nn.Module:
    """Say in errors which network they are about."""
    try:
        return make(source)
    except UnreadableError as error:
        raise UnreadableError(f"cannot be taken over: its {name} {error}") from None


def contains(path: Path, marker: bytes) -> bool:
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


def _refusal(path: Path, problem: str) -> str:
    for name, markers in _OTHERS.items():
        if any(contains(path, marker) for marker in markers):
            return (
                f"{path} is a network of {name}, an architecture that this version does not have (it {problem}); there are "
                "StyleGAN2 and StyleGAN3"
            )
    return (
        f"{path} {problem}. Nothing in it was run. If it is a StyleGAN2 or StyleGAN3 network, get it again from those who "
        "published it; a file that asks for code is not to be opened with other programs either"
    )


def _lines(networks: Mapping[str, nn.Module]) -> list[str]:
    return [f"{name}: {summary(network)}" for name, network in networks.items()]


def summary(network: nn.Module) -> str:
    """A network in a line: kind, size of images, widths, number of parameters."""
    meta = model_metadata(network)
    config, (height, width) = meta["config"], meta["resolution"]
    colours = {1: "grey", 3: "RGB", 4: "RGBA"}[meta["channels"]]
    labels = f", {meta['c_dim']} classes" if meta["c_dim"] else ""
    options = ", ".join(f"{name}={config[name]}" for name in _SHOWN if name in config)
    count = sum(tensor.numel() for tensor in network.parameters())
    buffers = sum(1 for _ in network.buffers())
    return (
        f"{meta['kind']}, {height}x{width} {colours}{labels}, {options}; {count:,} parameters in "
        f"{sum(1 for _ in network.parameters())} tensors and {buffers} buffers, all matched"
    )


_SHOWN = (
    "z_dim",
    "w_dim",
    "channel_base",
    "channel_max",
    "architecture",
    "conv_kernel",
    "radial_filters",
    "conv_clamp",
)

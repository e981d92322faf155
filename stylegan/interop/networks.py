"""Any file of networks: our snapshots, and what the StyleGAN tools of others write."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stylegan.errors import UserError
from stylegan.files import sha256
from stylegan.interop.difference import add_file, summands
from stylegan.interop.foreign import FOREIGN, NAMES, read_foreign
from stylegan.interop.snapshot import Snapshot, read_companions, read_snapshot, weights_sha256
from stylegan.interop.summary import summary
from stylegan.models.base import Generator, Network
from stylegan.opening import require_regular_file


@dataclass(frozen=True)
class Networks:
    """What a file holds.

    Attributes:
        networks: By name: `G_ema`, which every file has, and perhaps `G` and `D`, on the CPU.
        provenance: Where they come from, as a snapshot's metadata say it.
        source: Of a file of others: its name, and what it is.
        notes: What the user should know besides.
    """

    networks: dict[str, Network]
    provenance: dict[str, Any]
    source: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def G_ema(self) -> Generator:
        """The generator to make images with."""
        G_ema = self.networks["G_ema"]
        assert isinstance(G_ema, Generator)
        return G_ema

    @property
    def report(self) -> list[str]:
        """What was found, a line for each network and for each thing to know."""
        lines = [f"{name}: {summary(network)}" for name, network in self.networks.items()]
        return [*([self.source] if self.source else []), *lines, *self.notes]


def read_networks(
    path: str | Path, *, only_generator: bool = False, progress: Callable[[int], None] | None = None
) -> Networks:
    """Read networks; nothing in the file is executed.

    Args:
        path: A snapshot (.safetensors), a pickle (.pkl) of the public StyleGAN2-ADA, StyleGAN3 or R3GAN tools, or of the
            official ProGAN or StyleGAN for TensorFlow, a .pt of rosinality's StyleGAN2, or a .pt with the public tools' names
            that `save_public` wrote. What it is follows from its content. With `+FILE` behind it a difference is added to
            G_ema, see `interop.difference`.
        only_generator: Build `G_ema` alone, for those who make images.
        progress: Told how many bytes of a pickle were read.

    Raises:
        UserError: There is no such file, it is none of these, is damaged, tries to do something else than to hold data, or
            its parameters do not match, or are not finite.
    """
    path, *differences = summands(path)
    found = _read_file(path, only_generator, progress)
    for difference in differences:
        add_file(found.G_ema, difference)
        found.notes.append(f"{difference} was added to G_ema")
    if differences:
        added = [{"file": difference.name, "sha256": sha256(difference)} for difference in differences]
        return replace(found, provenance={**found.provenance, "differences": added})
    return found


def read_whole_snapshot(network: Path) -> Snapshot:
    """A snapshot with the differences that are added to it; its metadata are those of the sum.

    Raises:
        UserError: As `read_networks`; other files than snapshots are refused.
    """
    path, *differences = summands(network)
    snapshot = read_snapshot(path)
    for difference in differences:
        add_file(snapshot.G, difference)
        snapshot.metadata["weights_sha256"] = weights_sha256(snapshot.G.state_dict())
    return snapshot


def _read_file(path: Path, only_generator: bool, progress: Callable[[int], None] | None) -> Networks:
    require_regular_file(path, "network file")
    if not _is_pickled(path):
        snapshot = read_snapshot(path)
        found = {**({} if only_generator else read_companions(path)), "G_ema": snapshot.G}
        networks = {name: found[name] for name in NAMES if name in found}
        _check_finite(path, networks)
        data = snapshot.provenance.get("data")
        names = data.get("class_names") if isinstance(data, dict) else None
        snapshot.G.class_names = tuple(map(str, names)) if isinstance(names, list) else ()
        return Networks(networks, snapshot.provenance)
    kind, networks, notes = read_foreign(path, only_generator=only_generator, progress=progress)
    _check_finite(path, networks)
    origin = {"file": path.name, "sha256": sha256(path), "kind": kind}
    return Networks(networks, {"imported_from": origin}, f"{path}: {kind}", notes)


def _check_finite(path: Path, networks: Mapping[str, Network]) -> None:
    """Raise `UserError` for weights that are no numbers: all that such a network makes is black."""
    for name, network in networks.items():
        for key, tensor in network.state_dict().items():
            if broken := int((~tensor.isfinite()).sum()):
                raise UserError(
                    f"{path}: its {name} is broken: {broken} of the {tensor.numel()} numbers of {key} are NaN or infinite, as "
                    "a training that diverged leaves them; take an earlier snapshot"
                )


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

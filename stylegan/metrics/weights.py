"""The files with trained weights that metrics need: where they are looked for, and how they are read without running code."""

import re
import sys
import urllib.error
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from stylegan.errors import UnreadableError, UserError, shown
from stylegan.files import make_folder, sha256
from stylegan.interop.pickled import TensorRecord
from stylegan.interop.torch_file import read_pickled
from stylegan.opening import nearest_path, require_regular_file
from stylegan.ops._build import cache_root


@dataclass(frozen=True)
class Published:
    """A file that its authors gave to the world.

    Attributes:
        file: Its name there.
        sha256: The beginning of its SHA-256, in hexadecimal digits.
        url: Where it may be downloaded from without asking; empty: the user has to fetch it.
        source: For people: what it is and where it comes from.
    """

    file: str
    sha256: str
    url: str = ""
    source: str = ""


@dataclass(frozen=True)
class Weights:
    """Tensors by name, and the file they come from.

    Attributes:
        tensors: As in the file, on the CPU.
        file: The file's name.
        sha256: Of the file's bytes.
        published: The published file that it is, or None.
    """

    tensors: dict[str, Tensor]
    file: str
    sha256: str
    published: Published | None


def find_weights(
    what: str, candidates: Iterable[Published], given: Path | None = None, *, instead: str = ""
) -> Weights:
    """The weights of one network.

    Args:
        what: The network's name, as `--weights NAME=FILE` takes it.
        candidates: The published files that fit, the preferred one first. That one is looked for in the folders of
            `weight_folders`, then downloaded where it says from where.
        given: The file that the user names instead; its name need not be the published one.
        instead: What else the user may do; empty: name a file with `--weights`.

    Raises:
        UserError: There is no such file, none can be had, or it is not what its name or hash says.
    """
    known = list(candidates)
    path = (
        given
        if given is not None
        else _found_or_downloaded(what, known[0], instead or f"name it with --weights {what}=FILE")
    )
    if not path.is_file():
        raise UserError(f"--weights {what}={path}: there is no such file{nearest_path(path)}")
    digest = sha256(path)
    published = next((item for item in known if digest.startswith(item.sha256)), None)
    promised = re.search(r"-([0-9a-f]{8,})\.", path.name)  # torch.hub's convention
    if published is None and promised and not digest.startswith(promised[1]):
        raise UserError(
            f"{path} is damaged or another file: its SHA-256 begins with {digest[:8]}, its name says {promised[1]}; "
            "get it again"
        )
    return Weights(read_tensors(path), path.name, digest, published)


def weight_folders() -> list[Path]:
    """Where files are looked for: `stylegan/weights` in the cache, and torch.hub's folder."""
    return [cache_root() / "weights", Path(torch.hub.get_dir()) / "checkpoints"]


def is_at_hand(item: Published) -> bool:
    """Whether a published file lies in one of the `weight_folders`, so that nothing need be downloaded."""
    return any((folder / item.file).is_file() for folder in weight_folders())


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The named tensors of a safetensors file or of a state_dict saved by torch. Both are read as data, within bounds.

    Raises:
        UserError: The file holds something else, or more than tensors.
    """
    require_regular_file(path, "file of weights")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = read_pickled(path)
        if not isinstance(content, dict) or not all(isinstance(value, TensorRecord) for value in content.values()):
            raise UserError(f"{path} is not a table of tensors (a state_dict); give the weights alone")
        return {name: record.tensor() for name, record in content.items()}
    except UnreadableError as error:
        raise UserError(
            f"{path} cannot be read as weights: it {shown(error)}; tables of tensors are read, and nothing is executed: give a "
            "state_dict saved with torch.save, or a .safetensors file"
        ) from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as weights ({shown(error)}); get it again") from None


def fill(network: torch.nn.Module, weights: Weights, what: str) -> None:
    """Load weights into a network that may have been built on the meta device; names and shapes must agree.

    Raises:
        UserError: They do not: the file belongs to another network.
    """
    expected = network.state_dict()
    tensors = {name: tensor for name, tensor in weights.tensors.items() if name in expected}
    # Files from before 2018 lack the counters of batch normalisation, which nothing here reads.
    counters = {n: torch.zeros((), dtype=torch.int64) for n in expected if n.endswith("num_batches_tracked")}
    tensors = counters | tensors
    wrong = [n for n in expected if n not in tensors or tensors[n].shape != expected[n].shape]
    if wrong:
        got = "is missing" if wrong[0] not in tensors else f"has the shape {tuple(tensors[wrong[0]].shape)}"
        raise UserError(
            f"--weights {what}={weights.file}: the file belongs to another network: {wrong[0]} {got}, where "
            f"{tuple(expected[wrong[0]].shape)} is needed"
        )
    network.load_state_dict(tensors, assign=True)


def _found_or_downloaded(what: str, item: Published, instead: str) -> Path:
    for folder in weight_folders():
        if (folder / item.file).is_file():
            return folder / item.file
    target = weight_folders()[0] / item.file
    reason = "it cannot be downloaded by itself"
    if item.url:
        try:
            make_folder(cache_root(), "weights")
            torch.hub.download_url_to_file(item.url, str(target), hash_prefix=item.sha256, progress=sys.stderr.isatty())
        except (urllib.error.URLError, OSError, RuntimeError) as error:
            reason = f"downloading {item.url} failed: {error}"
        else:
            return target
    source = f" ({item.source})" if item.source else ""
    raise UserError(
        f"{what} needs the file {item.file}{source}, and {reason}. Put it into {target.parent}, or {instead}"
    )

"""A network as the difference from another: a small file, and `NET+FILE` wherever a network is named.

The file is safetensors: for each parameter that changed, what is to be added to it, float16. Its only metadata key,
`stylegan_difference`, holds one JSON object::

    {"format": 1, "software": "stylegan 0.1.0", "network": "demo.safetensors", "weights_sha256": "... before",
     "tuned_sha256": "... after", "made": {how it came about, as JSON types}}
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

import stylegan
from stylegan.errors import UserError, shown
from stylegan.files import atomic_write, read_file, sha256
from stylegan.interop.small_files import OtherFileError, described
from stylegan.interop.snapshot import weights_sha256
from stylegan.models.base import Generator

FORMAT = 1
KEY = "stylegan_difference"
PLUS = "+"
MOST_BYTES = 2**31
_WRITES = "generate.py figure=projection figure.tune=pivotal writes such files"


def summands(network: str | Path) -> list[Path]:
    """The files of `NET+DIFFERENCE+...`: the network, and what is added to it in turn.

    An existing file of the whole name comes first, however many `+` it has in it.
    """
    text = str(network)
    if PLUS in text and not Path(text).exists():
        for i in reversed([i for i, letter in enumerate(text) if letter == PLUS]):
            if text[:i] and Path(text[i + 1 :]).is_file():
                return [*summands(text[:i]), Path(text[i + 1 :])]
    return [Path(text)]


def network_name(network: Path) -> str:
    """The names of its files without their folders: `demo.safetensors+me.safetensors`."""
    return PLUS.join(part.name for part in summands(network))


def network_sha256(network: Path) -> str:
    """The hash of its file; of a sum the hashes, with `+` between them."""
    return PLUS.join(sha256(part) for part in summands(network))


def difference(before: Generator, after: Generator) -> dict[str, Tensor]:
    """What is to be added to each parameter that changed, as the file keeps it: float16, on the CPU."""
    old, new = before.state_dict(), after.state_dict()
    changed = {name: (new[name].float() - old[name].float()).half().cpu().contiguous() for name in old}
    return {name: value for name, value in changed.items() if value.count_nonzero()}


def save_difference(
    path: str | Path, before: Generator, after: Generator, *, network: str = "", made: Mapping[str, Any] | None = None
) -> None:
    """Write the file, whole or not at all; `add` gives its network again, bit by bit.

    Args:
        path: Its name ends in .safetensors; a file that exists is replaced.
        before: The network that it belongs to.
        after: What `add` made of it, or will.
        network: What the file of `before` is called.
        made: How it came about, as JSON types.

    Raises:
        UserError: The file cannot be written.
    """
    tensors = difference(before, after)
    if not tensors:
        raise UserError(f"{path}: the networks do not differ; there is nothing to save")
    about = {
        "format": FORMAT,
        "software": f"stylegan {stylegan.__version__}",
        "network": network,
        "weights_sha256": weights_sha256(before.state_dict()),
        "tuned_sha256": weights_sha256(_sum(before, tensors)),
        "made": dict(made or {}),
    }
    atomic_write(path, save(tensors, {KEY: json.dumps(about, sort_keys=True)}))


def add(G: Generator, tensors: Mapping[str, Tensor]) -> None:
    """Add a difference to a network, in place. Latents of what it was before remain its own."""
    before = weights_sha256(G.state_dict())
    G.load_state_dict(_sum(G, tensors))
    G.weights_before = (*G.weights_before, before)


def add_file(G: Generator, path: Path) -> None:
    """Add the difference of a file to its network, which is on the CPU, in place.

    Raises:
        UserError: It is no such file, is damaged, or belongs to another network.
    """
    content = read_file(path, MOST_BYTES, "file of weight differences")
    try:
        about = _about(content)
        tensors = load(content)
        state = G.state_dict()
        if about["weights_sha256"] != weights_sha256(state):
            raise OtherFileError(
                f"is a difference from another network ({shown(about['network'], 100)}, {about['weights_sha256'][:12]}), not "
                f"from this one ({weights_sha256(state)[:12]}); use it with that one"
            )
        for name, tensor in tensors.items():
            if name not in state or tensor.shape != state[name].shape or tensor.dtype != torch.float16:
                raise ValueError
        if weights_sha256(_sum(G, tensors)) != about["tuned_sha256"]:
            raise OtherFileError("is damaged: the sum is not that of its SHA-256; copy or make it again")
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError, RuntimeError) as error:
        why = (
            str(error)
            if isinstance(error, OtherFileError)
            else f"is no file of weight differences, or is damaged; {_WRITES}"
        )
        raise UserError(f"{path} {why}") from None
    add(G, tensors)


def _sum(G: Generator, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: (value.cpu() + tensors[name].to(value.dtype)).to(value) if name in tensors else value
        for name, value in G.state_dict().items()
    }


def _about(content: bytes) -> dict[str, Any]:
    about = described(content, KEY, FORMAT, _WRITES)
    hashes = [about.get("weights_sha256"), about.get("tuned_sha256")]
    if not isinstance(about.get("network"), str) or not isinstance(about.get("made"), dict):
        raise ValueError
    if not all(isinstance(item, str) and re.fullmatch("[0-9a-f]{64}", item) for item in hashes):
        raise ValueError
    return about

"""Directions in a file, as `stylegan directions` keeps them.

The file is safetensors with one tensor, `vectors` [K, w_dim] (z_dim for networks without w), float32, each of length 1. Its
only metadata key, `stylegan_directions`, holds one JSON object::

    {"format": 1, "software": "stylegan 0.1.0", "network": "demo.safetensors", "weights_sha256": "...",
     "names": ["pca:0", "age", ...], "stdev": [standard deviations of w along them], "found": {how, as JSON types}}
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

import stylegan
from stylegan.errors import UserError, shown
from stylegan.files import atomic_write, read_file
from stylegan.interop.small_files import OtherFileError, described
from stylegan.interop.snapshot import weights_sha256
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased

FORMAT = 1
KEY = "stylegan_directions"
SUFFIX = ".directions.safetensors"
MOST_BYTES = 2**28
LONGEST_NAME = 200
_WRITES = "`stylegan directions NET` writes such files"


@dataclass(frozen=True)
class Direction:
    """A direction in W, or in Z for a network without w.

    Attributes:
        name: As it was asked for: `pca:0`, `sefa:2`, `age`.
        vector: Of length 1, float32 [w_dim].
        stdev: The standard deviation of w along it; steps are measured in it.
    """

    name: str
    vector: Tensor
    stdev: float


def save_directions(
    path: Path, directions: Sequence[Direction], G: Generator, network: str, found: Mapping[str, Any]
) -> None:
    """Write the file, whole or not at all; arguments as it holds them."""
    about = {
        "format": FORMAT,
        "software": f"stylegan {stylegan.__version__}",
        "network": network,
        "weights_sha256": weights_sha256(G.state_dict()),
        "names": [direction.name for direction in directions],
        "stdev": [direction.stdev for direction in directions],
        "found": dict(found),
    }
    vectors = torch.stack([direction.vector for direction in directions]).float().contiguous()
    atomic_write(path, save({"vectors": vectors}, {KEY: json.dumps(about, sort_keys=True)}))


def read_directions(path: Path, G: Generator) -> dict[str, Direction]:
    """The directions of a file by name.

    Raises:
        UserError: There is no such file, it is something else, is damaged, or belongs to another network.
    """
    content = read_file(path, MOST_BYTES, "file of directions")
    size = G.w_dim if isinstance(G, StyleBased) else G.z_dim
    try:
        about = _about(content)
        tensors = load(content)
        own = (weights_sha256(G.state_dict()), *G.weights_before)
        if about["weights_sha256"] not in own:
            raise OtherFileError(
                f"holds directions of another network ({shown(about['network'], 100)}, {about['weights_sha256'][:12]}); find "
                "those of this one with `stylegan directions`"
            )
        names, stdev, vectors = about["names"], about["stdev"], tensors["vectors"]
        if set(tensors) != {"vectors"} or vectors.dtype != torch.float32 or vectors.shape != (len(names), size):
            raise ValueError
        if not torch.allclose(vectors.norm(dim=1), torch.ones(len(names)), atol=1e-3):  # also where they are not finite
            raise ValueError
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError, RuntimeError) as error:
        why = f"is no file of directions, or is damaged; {_WRITES}"
        raise UserError(f"{path} {error if isinstance(error, OtherFileError) else why}") from None
    return {name: Direction(name, vectors[i], stdev[i]) for i, name in enumerate(names)}


def _about(content: bytes) -> dict[str, Any]:
    about = described(content, KEY, FORMAT, _WRITES)
    names, stdev = about.get("names"), about.get("stdev")
    if not isinstance(about.get("network"), str) or not re.fullmatch("[0-9a-f]{64}", about["weights_sha256"]):
        raise ValueError
    if not isinstance(names, list) or not isinstance(stdev, list) or not 0 < len(names) == len(stdev):
        raise ValueError
    if not all(isinstance(n, str) and 0 < len(n) <= LONGEST_NAME for n in names) or len(set(names)) < len(names):
        raise ValueError
    if not all(type(s) in (int, float) and 0 <= s < 1e30 for s in stdev):
        raise ValueError
    return about

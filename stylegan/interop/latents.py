"""Latents as things that one can keep: points of a network's latent space, and the file that holds them.

The file is safetensors: `z` [N, z_dim], `ws` [N, num_ws, w_dim] and `noise` [N, noise_size], float32; z or ws is
there.
Its only metadata key, `stylegan_latents`, holds one JSON object::

    {"format": 1, "software": "stylegan 0.1.0", "network": "demo.safetensors", "weights_sha256": "...",
     "names": ["seed 3", ...]}

One key and sorted JSON make the file's bytes a function of the latents alone.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
KEY = "stylegan_latents"
SUFFIX = ".safetensors"
MOST_BYTES = 2**30
_WRITES = "`generate.py latents=FILE` and figure=projection write such files"
MOST_LATENTS = 1_000_000
_DIMENSIONS = {"z": 2, "ws": 3, "noise": 2}


@dataclass(frozen=True, eq=False)
class Latents:
    """N points of the latent space of a network.

    Attributes:
        names: What each is called, such as `seed 3`; for captions and messages.
        z: Standard normal, float32 [N, z_dim]; None where only ws are known.
        ws: As the picture shows them, truncated and mixed, float32 [N, num_ws, w_dim]; None: they follow from z.
        noise: The noise of all layers, float32 [N, noise_size]; None: the network's own.
        network: The name of the network's file, for messages.
        weights_sha256: Of the network, as `interop.snapshot.weights_sha256` has it; empty where nobody asked.
    """

    names: tuple[str, ...]
    z: Tensor | None = None
    ws: Tensor | None = None
    noise: Tensor | None = None
    network: str = ""
    weights_sha256: str = ""

    def __str__(self) -> str:
        return ", ".join(self.names[:3]) + (f" and {len(self) - 3} more" if len(self) > 3 else "")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int | slice | Sequence[int]) -> "Latents":
        """Some of them; one is a `Latents` of one."""
        chosen = range(len(self))[index] if isinstance(index, slice) else [index] if isinstance(index, int) else index
        parts = {name: None if value is None else value[list(chosen)] for name, value in self._tensors().items()}
        return replace(self, names=tuple(self.names[i] for i in chosen), **parts)

    def __iter__(self) -> Iterator["Latents"]:
        return (self[i] for i in range(len(self)))

    def check(self, G: Generator) -> None:
        """Raise a `UserError` that names the file where these are not latents of this network."""
        name = self.names[0] if self.names else "the latents"
        own = (weights_sha256(G.state_dict()), *G.weights_before) if self.weights_sha256 else ("",)
        if self.weights_sha256 not in own:
            raise UserError(
                f"{name} is a latent of another network ({shown(self.network)}, {self.weights_sha256[:12]}); use it "
                "with that one"
            )
        ws = (G.num_ws, G.w_dim) if isinstance(G, StyleBased) else None
        for part, shape in (("z", (G.z_dim,)), ("ws", ws), ("noise", (G.noise_size,))):
            value = self._tensors()[part]
            if value is not None and (shape is None or tuple(value.shape[1:]) != shape):
                takes = f"takes {list(shape)}" if shape else "has none"
                raise UserError(f"{name} has {part} of {list(value.shape[1:])}, and this network {takes}")

    def save(self, path: str | Path, G: Generator, network: str = "") -> None:
        """Write a file that `read_latents` reads.

        Args:
            path: Its name ends in .safetensors; a file that exists is replaced.
            G: The network that they are latents of.
            network: What its file is called.

        Raises:
            UserError: The file cannot be written.
        """
        about = {
            "format": FORMAT,
            "software": f"stylegan {stylegan.__version__}",
            "network": network or self.network,
            "weights_sha256": weights_sha256(G.state_dict()),
            "names": list(self.names),
        }
        tensors = {name: v.detach().float().cpu().contiguous() for name, v in self._tensors().items() if v is not None}
        atomic_write(path, save(tensors, {KEY: json.dumps(about, sort_keys=True)}))

    def _tensors(self) -> dict[str, Tensor | None]:
        return {"z": self.z, "ws": self.ws, "noise": self.noise}


def join(latents: Sequence[Latents]) -> Latents:
    """Several as one, in order; z, ws or noise that not all have is left out."""

    def joined(parts: list[Tensor | None]) -> Tensor | None:
        there = [part for part in parts if part is not None]
        return torch.cat(there) if there and len(there) == len(parts) else None

    return Latents(
        tuple(name for item in latents for name in item.names),
        joined([item.z for item in latents]),
        joined([item.ws for item in latents]),
        joined([item.noise for item in latents]),
        latents[0].network if latents else "",
        latents[0].weights_sha256 if latents else "",
    )


def read_latents(path: str | Path) -> Latents:
    """The latents of a file, each named after it: `me.safetensors`, or `me.safetensors:2` where there are several.

    Raises:
        UserError: There is no such file, it is something else, is damaged, or holds values that are no latents.
    """
    path = Path(path)
    content = read_file(path, MOST_BYTES, "latent file")
    try:
        about = _about(content)
        tensors = load(content)
        count = _check(about, tensors)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError, RuntimeError) as error:
        raise UserError(f"{path} {_why_not(error)}") from None
    names = [path.name] if count == 1 else [f"{path.name}:{i}" for i in range(count)]
    return Latents(
        tuple(names),
        **{name: tensors.get(name) for name in _DIMENSIONS},
        network=about["network"],
        weights_sha256=about["weights_sha256"],
    )


def _about(content: bytes) -> dict[str, Any]:
    about = described(content, KEY, FORMAT, _WRITES)
    network, weights = about.get("network"), about.get("weights_sha256")
    if not isinstance(network, str) or not isinstance(weights, str) or not re.fullmatch("([0-9a-f]{64})?", weights):
        raise ValueError
    return about


def _check(about: dict[str, Any], tensors: dict[str, Tensor]) -> int:
    """How many latents there are; raises `ValueError` where it is none that `Latents.save` wrote."""
    if not tensors or not set(tensors) <= set(_DIMENSIONS) or set(tensors) == {"noise"}:
        raise ValueError
    counts = {len(tensor) if tensor.ndim == _DIMENSIONS[name] else -1 for name, tensor in tensors.items()}
    count = counts.pop()
    names = about.get("names")
    if counts or not 0 < count <= MOST_LATENTS or not isinstance(names, list) or len(names) != count:
        raise ValueError
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise ValueError
        if not tensor.isfinite().all():
            raise OtherFileError(f"holds {name} that are not finite; it cannot be shown")
    return count


def _why_not(error: BaseException) -> str:
    if isinstance(error, OtherFileError):
        return str(error)
    return f"is no latent file, or is damaged; {_WRITES}"

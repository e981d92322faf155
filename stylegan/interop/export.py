"""A generator as one file for programs that know nothing of this project: ONNX (`*.onnx`) or torch's own format (`*.pt2`).

What is written holds standard operations only, in float32, and takes any number of images: modulated convolutions are
exported as one convolution of scaled features (StyleGAN2, section 2.2), never as one group an image. Every file is run
again, by whatever its users will run it with, before it gets its name.
"""

import copy
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import stylegan
from stylegan.errors import UserError, nearest
from stylegan.files import atomic_path
from stylegan.interop import onnx
from stylegan.interop.difference import network_name, network_sha256
from stylegan.interop.provenance import DIGITAL_SOURCE_TYPE
from stylegan.interop.snapshot import Snapshot
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased, require_w
from stylegan.models.layers import Precision
from stylegan.models.stylegan2 import SynthesisLayer, ToRGB
from stylegan.ops.backend import TorchOpsOnly
from stylegan.rng import generator

FORMATS = (".onnx", ".pt2")
NOISE_MODES = ("const", "none")
TOLERANCE = 1e-4  # of values up to 1, such as pixels; of the largest value where that is above 1
EXTRA_FILE = "stylegan.json"
_CHECKED_BATCHES = (1, 3)
_TRACED_BATCH = 2


@dataclass(frozen=True)
class ExportOptions:
    """What is fixed in an exported network.

    Attributes:
        split: Mapping and synthesis as two files, for programs that change w, instead of one.
        noise_mode: Layer noise: `const` or `none`.
        truncation_cutoff: How many of the ws psi moves, the coarsest first; None: all.
        licence: Under which the network is given away; None: not stated.
        overwrite: Whether existing files may be replaced.
    """

    split: bool = False
    noise_mode: str = "const"
    truncation_cutoff: int | None = None
    licence: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.noise_mode not in NOISE_MODES:
            raise UserError(f"--noise {self.noise_mode}: {nearest(self.noise_mode, NOISE_MODES)}")


@dataclass(frozen=True)
class Part:
    """A network, or half of it, as others see it.

    Attributes:
        name: `generator`, `mapping` or `synthesis`.
        module: What computes it; takes the inputs in order.
        inputs: The shape of each, without the batch where there is one, and what it means.
        output: The name, shape without the batch and meaning of what it returns.
    """

    name: str
    module: nn.Module
    inputs: dict[str, tuple[tuple[int, ...], str]]
    output: tuple[str, tuple[int, ...], str]

    def example(self, batch: int, index: int = 0) -> tuple[Tensor, ...]:
        """Inputs for a batch: normal numbers, as classes one after the other, and a psi of 1 or 0.7 in turns."""
        made: list[Tensor] = []
        for name, (shape, _) in self.inputs.items():
            if name == "psi":
                made.append(torch.tensor((1.0, 0.7)[index % 2]))
            elif name == "c":
                made.append(nn.functional.one_hot(torch.arange(batch) % shape[0], shape[0]).float())
            else:
                made.append(torch.randn(batch, *shape, generator=generator(0, f"export/{name}", index)))
        return tuple(made)

    def __str__(self) -> str:
        """`z [N, 128], psi [] -> image [N, 3, 32, 32]`."""
        taken = ", ".join(f"{name} {_shape(name, shape)}" for name, (shape, _) in self.inputs.items())
        name, shape, _ = self.output
        return f"{taken} -> {name} {_shape(name, shape)}"


@dataclass(frozen=True)
class Exported:
    """A file written.

    Attributes:
        path: Where.
        part: What it computes.
        error: The largest difference between what it and our own network give.
    """

    path: Path
    part: Part
    error: float


def export_network(source: Path, snapshot: Snapshot, out: Path, options: ExportOptions) -> Iterator[Exported]:
    """Write a generator, or its two halves, and check what was written.

    Args:
        source: The file that the network comes from.
        snapshot: The network itself.
        out: `*.onnx` or `*.pt2`; with `split`, `NAME-mapping` and `NAME-synthesis` are written instead of `NAME`.
        options: What is fixed.

    Returns:
        What was written, one after the other.

    Raises:
        UserError: A file exists or cannot be written, a setting does not fit the network, packages are missing, or a
            file gives other images than the network by more than `TOLERANCE`; such a file is not kept.
    """
    G = snapshot.G
    if out.suffix not in FORMATS:
        raise UserError(f"{out}: its ending says what is written: {' (ONNX) or '.join(FORMATS)} (torch.export)")
    if out.suffix == ".onnx":
        onnx.require()
    parts = network_parts(_plain(G), options)
    paths = [out.with_stem(f"{out.stem}-{part.name}") if options.split else out for part in parts]
    for path in paths:
        if path.is_dir():
            raise UserError(f"{path} is a folder; give the name of a file")
        if path.exists() and not options.overwrite:
            raise UserError(f"{path} exists already; choose another name, or replace it with --overwrite")
    about = _about(source, snapshot, options)
    expected = network_parts(_in_float32(G), options)
    return (
        _export(part, ours, path, {**about, **_described(part)})
        for part, ours, path in zip(parts, expected, paths, strict=True)
    )


def network_parts(G: Generator, options: ExportOptions) -> list[Part]:
    """The generator as one part, or, with `split`, as two. One without w takes no psi.

    Raises:
        UserError: An option that needs w, and the network has none; a cut-off beyond its ws.
    """
    z = {"z": ((G.z_dim,), "latent, standard normal")}
    c = {"c": ((G.c_dim,), "label; for a class, 1 at its place and 0 elsewhere")} if G.c_dim > 0 else {}
    image = ("image", (G.channels, *G.resolution), "pixels from -1 (black) to 1 (white), a little more at times")
    cutoff = options.truncation_cutoff
    if options.split:
        G = require_w(G, "--split", "write one file")
    if cutoff is not None:
        G = require_w(G, "--truncation-cutoff", "leave it out")
    if not isinstance(G, StyleBased):
        return [Part("generator", _Direct(G, options.noise_mode), {**z, **c}, image)]
    if cutoff is not None and not 0 <= cutoff <= G.num_ws:
        raise UserError(f"--truncation-cutoff {cutoff}: this network takes 0 to {G.num_ws}")
    inputs = {**z, "psi": ((), "truncation: 1 is off, 0 gives the mean image"), **c}
    ws = ((G.num_ws, G.w_dim), "styles, one w a layer, the coarsest first")
    mapping, synthesis = _Mapping(G, cutoff), _Synthesis(G, options.noise_mode)
    if options.split:
        return [Part("mapping", mapping, inputs, ("ws", *ws)), Part("synthesis", synthesis, {"ws": ws}, image)]
    return [Part("generator", _Whole(mapping, synthesis), inputs, image)]


class _Direct(nn.Module):
    def __init__(self, G: Generator, noise_mode: str):
        super().__init__()
        self.G, self.noise_mode = G, noise_mode

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        with TorchOpsOnly():
            return self.G(z, c, noise_mode=self.noise_mode)


class _Mapping(nn.Module):
    def __init__(self, G: StyleBased, cutoff: int | None):
        super().__init__()
        self.mapping, self.cutoff = G.mapping, cutoff

    def forward(self, z: Tensor, psi: Tensor, c: Tensor | None = None) -> Tensor:
        with TorchOpsOnly():
            return self.mapping(z, c, psi, self.cutoff)


class _Synthesis(nn.Module):
    def __init__(self, G: StyleBased, noise_mode: str):
        super().__init__()
        self.synthesis, self.noise_mode = G.synthesis, noise_mode

    def forward(self, ws: Tensor) -> Tensor:
        with TorchOpsOnly():
            return self.synthesis(ws, noise_mode=self.noise_mode)


class _Whole(nn.Module):
    def __init__(self, mapping: _Mapping, synthesis: _Synthesis):
        super().__init__()
        self.mapping, self.synthesis = mapping, synthesis

    def forward(self, z: Tensor, psi: Tensor, c: Tensor | None = None) -> Tensor:
        return self.synthesis(self.mapping(z, psi, c))


def _in_float32(G: Generator) -> Generator:
    G = copy.deepcopy(G).cpu().eval().requires_grad_(False)
    G.set_precision(Precision.fp32)
    return G


def _plain(G: Generator) -> Generator:
    """A copy that computes in float32, with weights that do not depend on the batch, in memory as others expect them.

    All parameters are buffers: see what differs between versions in `stylegan/ops/torch_private.py`.
    """
    G = _in_float32(G)
    for module in G.modules():
        if isinstance(module, SynthesisLayer | ToRGB):
            module.fused_modconv = False
        for name, weight in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, weight.detach())
    for tensor in G.buffers():
        tensor.data = tensor.data.contiguous()
    return G


@torch.no_grad()
def _export(part: Part, ours: Part, path: Path, about: dict[str, Any]) -> Exported:
    with atomic_path(path) as temporary:
        program = _trace(part)
        if path.suffix == ".onnx":
            onnx.write(program, temporary, list(part.inputs), part.output[0], about)
            run = onnx.runner(temporary)
        else:
            # By way of memory: on a full disk torch's writer of files ends the process.
            buffer = io.BytesIO()
            torch.export.save(program, buffer, extra_files={EXTRA_FILE: json.dumps(about, sort_keys=True)})
            temporary.write_bytes(buffer.getbuffer())
            run = torch.export.load(temporary).module()
        return Exported(path, part, _checked(part, ours, run, path))


def _trace(part: Part) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1)
    shapes = {name: {0: batch} if shape else None for name, (shape, _) in part.inputs.items()}
    return torch.export.export(part.module, part.example(_TRACED_BATCH), dynamic_shapes=shapes, strict=False)


def _checked(part: Part, ours: Part, run: Callable[..., Tensor], path: Path) -> float:
    """The largest difference between what a file and what our own network makes of the same inputs."""
    worst = 0.0
    for index, batch in enumerate(_CHECKED_BATCHES):
        inputs = part.example(batch, index)
        expected = ours.module(*inputs)
        error = (run(*inputs) - expected).abs().max().item()
        allowed = TOLERANCE * max(expected.abs().max().item(), 1.0)  # float32 rounds large values more
        if not error <= allowed:
            raise UserError(
                f"{path}: the exported {part.name} differs from the network by {error:.2g}, more than {allowed:.2g}; nothing "
                "was written. Values that are not finite do that, too: look at the network's pictures"
            )
        worst = max(worst, error)
    return worst


def _about(source: Path, snapshot: Snapshot, options: ExportOptions) -> dict[str, Any]:
    """What a file says about itself, as JSON types."""
    metadata = snapshot.metadata
    provenance = snapshot.provenance
    return {
        "software": f"stylegan {stylegan.__version__}",
        "network": network_name(source),
        "network_sha256": network_sha256(source),
        "weights_sha256": metadata.get("weights_sha256"),
        "licence": options.licence,
        "data_licence": provenance.get("data", {}).get("licence"),
        "model": metadata["model"],
        "provenance": provenance,
        "settings": {
            "noise_mode": options.noise_mode,
            "truncation_cutoff": options.truncation_cutoff,
            "precision": Precision.fp32.value,
        },
        "digital_source_type": DIGITAL_SOURCE_TYPE,
    }


def _described(part: Part) -> dict[str, Any]:
    name, shape, meaning = part.output
    return {
        "part": part.name,
        "inputs": {n: f"float32 {_shape(n, s)}: {text}" for n, (s, text) in part.inputs.items()},
        "outputs": {name: f"float32 {_shape(name, shape)}: {meaning}"},
    }


def _shape(name: str, shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(map(str, () if name == "psi" else ("N", *shape))) + "]"

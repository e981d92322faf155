"""From a saved network to pictures: find it, load it, sample it by seed. Needs no configuration system."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from stylegan import run_dir
from stylegan.distributed import pick_device
from stylegan.errors import UserError, nearest
from stylegan.files import shipped
from stylegan.interop.networks import read_networks
from stylegan.models.generator import NOISE_MODES, Generator
from stylegan.models.layers import Precision
from stylegan.models.stylegan3 import SynthesisNetwork as StyleGAN3Synthesis
from stylegan.rng import generator

DEMO = "datasets/faces3d/demo.safetensors"


def resolve_network(network: str | Path) -> Path:
    """The file that a name stands for.

    Args:
        network: `demo` (the network that comes with the project), the folder of a run (its newest snapshot), or a file that
            `read_networks` takes.

    Raises:
        UserError: There is no such thing, or the run has no snapshot yet.
    """
    if network == "demo":
        return shipped(DEMO)
    path = Path(network).expanduser()
    if path.is_dir():
        if found := run_dir.snapshots(path):
            return found[-1]
        if run_dir.is_run_dir(path):
            raise UserError(f"network={network}: this run has no snapshot yet; let it train until the first is written")
        raise UserError(f"network={network}: this folder is not a run; {nearest(str(network), _known_networks(path))}")
    if not path.exists():
        raise UserError(
            f"network={network}: no such file or run folder; {nearest(str(network), _known_networks(path.parent))}"
        )
    return path


def load_generator(
    network: str | Path, device: str | torch.device = "cpu", precision: Precision | None = None
) -> Generator:
    """Load a generator for inference.

    Args:
        network: As for `resolve_network`.
        device: Where the network goes: cpu, cuda, cuda:1, or auto for cuda where there is one.
        precision: Compute in this format instead of that of the training; fp32 where fp16 is slow or the last bit counts.

    Returns:
        The network in eval mode; its parameters do not require gradients.

    Raises:
        UserError: The network cannot be found or read, or there is no such device.
    """
    place = pick_device(str(device))
    G = read_networks(resolve_network(network), only_generator=True).G_ema
    if precision is not None:
        G.set_precision(precision)
    return G.to(place).eval().requires_grad_(False)


def to_uint8(img: Tensor) -> Tensor:
    """Pixels as networks make them, float of any width with -1 black and 1 white, to uint8 of the same shape.

    Values are rounded to the nearest grey level and clamped to 0..255; NaN becomes 0. Undoes `x / 127.5 - 1` exactly.
    """
    return (img.float() * 127.5 + 127.5).nan_to_num(0.0).round().clamp(0, 255).to(torch.uint8)


def latents(seeds: Sequence[int], z_dim: int) -> Tensor:
    """The latent z of each seed, [N, z_dim], standard normal, float32, on the CPU: a function of the seed alone."""
    return torch.stack([torch.randn(z_dim, generator=generator(seed, "z")) for seed in seeds])


def layer_noise(seeds: Sequence[int], noise_size: int) -> Tensor:
    """The noise of all layers for each seed, [N, noise_size], standard normal: a function of the seed alone."""
    return torch.stack([torch.randn(noise_size, generator=generator(seed, "noise")) for seed in seeds])


def class_label(G: Generator, class_idx: int | None) -> Tensor | None:
    """The label [1, c_dim] of a class, one-hot float32; None for an unconditional network.

    Raises:
        UserError: A class for a network without classes, no class for one with, or a class that it does not have.
    """
    if G.c_dim == 0:
        if class_idx is not None:
            raise UserError(f"class_idx={class_idx}: this network has no classes; leave class_idx out")
        return None
    if class_idx is None or not 0 <= class_idx < G.c_dim:
        given = "is missing" if class_idx is None else f"={class_idx} does not exist"
        raise UserError(f"class_idx {given}: this network has {G.c_dim} classes; choose class_idx=0 to {G.c_dim - 1}")
    return torch.eye(G.c_dim)[class_idx : class_idx + 1]


def sample(
    G: Generator,
    seeds: Sequence[int],
    *,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
    noise_mode: str = "const",
    class_idx: int | None = None,
    batch: int = 16,
    progress: bool = False,
) -> Iterator[Tensor]:
    """Generate the image of each seed, in the order of `seeds`, a batch at a time.

    Everything random about an image is a function of its seed: its z and, with `noise_mode="random"`, its layer noise.
    On one machine with one number of threads and one back end of the ops, the image's bits are a function of its seed,
    `batch` and its place in the batch (its index modulo `batch`), whatever the other seeds are. Another `batch` or place, or
    the other back end, changes it by at most one grey level: sums are rounded in another order.

    Args:
        G: A generator in eval mode, on any device.
        seeds: Whole numbers.
        truncation_psi: The truncation trick: 1 is off, 0 is the mean image (Karras et al. 2019, appendix B).
        truncation_cutoff: How many of the `G.num_ws` style vectors are truncated, the coarsest first; None: all.
        noise_mode: Layer noise: "const" (one fixed pattern for all images), "random" (drawn by seed) or "none".
        class_idx: The class, for a network that has classes.
        batch: How many images are computed at a time, also where fewer are asked for.
        progress: Show a progress bar on a terminal's stderr while there is more than one batch.

    Returns:
        An iterator over uint8 images [C, H, W] on the CPU. `torch.stack(list(...))` makes a batch of them.

    Raises:
        UserError: At once, for a setting that this network cannot follow.
    """
    _check_sampling(G, batch, noise_mode, truncation_cutoff)
    c = class_label(G, class_idx)

    @torch.inference_mode()
    def batch_images(chunk: list[int]) -> Tensor:
        full = _filled(chunk, batch)
        ws = _ws(G, full, c, truncation_psi, truncation_cutoff)
        noise = layer_noise(full, G.synthesis.noise_size).to(ws.device) if noise_mode == "random" else None
        return to_uint8(G.synthesis(ws, noise_mode=noise_mode, noise=noise)[: len(chunk)]).cpu()

    starts = _bar(range(0, len(seeds), batch), progress)
    return (image for start in starts for image in batch_images(list(seeds[start : start + batch])))


@torch.inference_mode()
def sample_ws(
    G: Generator,
    seeds: Sequence[int],
    *,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
    class_idx: int | None = None,
    batch: int = 16,
) -> Tensor:
    """The intermediate latents of each seed's image, [N, num_ws, w_dim], on G's device; arguments as for `sample`."""
    _check_sampling(G, batch, "const", truncation_cutoff)
    c = class_label(G, class_idx)
    chunks = [list(seeds[start : start + batch]) for start in range(0, len(seeds), batch)]
    return torch.cat(
        [_ws(G, _filled(chunk, batch), c, truncation_psi, truncation_cutoff)[: len(chunk)] for chunk in chunks]
    )


def render(
    G: Generator, ws: Tensor, *, noise_mode: str = "const", batch: int = 16, progress: bool = False
) -> Iterator[Tensor]:
    """The images of latents ws [N, num_ws, w_dim], as `sample` gives them: uint8 [C, H, W] each, on the CPU."""
    _check_sampling(G, batch, noise_mode, None)

    @torch.inference_mode()
    def batch_images(chunk: Tensor) -> Tensor:
        full = torch.cat([chunk, chunk[-1:].expand(batch - len(chunk), -1, -1)])
        return to_uint8(G.synthesis(full, noise_mode=noise_mode)[: len(chunk)]).cpu()

    return (
        image for start in _bar(range(0, len(ws), batch), progress) for image in batch_images(ws[start : start + batch])
    )


def move_input(G: Generator, translate: Sequence[float] = (0.0, 0.0), rotate: float = 0.0) -> None:
    """Move what a StyleGAN3 network shows, by its input transform; it stays so.

    Args:
        G: The generator.
        translate: To the right and down, in image sides.
        rotate: Degrees clockwise, about the centre; before the translation.

    Raises:
        UserError: The network cannot be moved, or the numbers are no translation.
    """
    if not isinstance(G.synthesis, StyleGAN3Synthesis):
        raise UserError(
            "translate, rotate: this network starts from a learned constant that cannot be moved; StyleGAN3 networks can "
            "(model=stylegan3)"
        )
    if len(translate) != 2 or not all(math.isfinite(value) for value in (*translate, rotate)):
        raise UserError(f"translate={list(translate)} rotate={rotate}: write translate=[0.1,0] rotate=15")
    angle = math.radians(rotate)
    cos, sin = math.cos(angle), math.sin(angle)
    moved = torch.tensor([[cos, -sin, translate[0]], [sin, cos, translate[1]], [0, 0, 1]], dtype=torch.float64)
    G.synthesis.input.set_transform(torch.linalg.inv(moved).float())


def _check_sampling(G: Generator, batch: int, noise_mode: str, truncation_cutoff: int | None) -> None:
    if batch < 1:
        raise UserError(f"batch={batch}: it must be at least 1")
    if noise_mode not in NOISE_MODES:
        raise UserError(f"noise_mode={noise_mode}: {nearest(noise_mode, NOISE_MODES)}")
    if truncation_cutoff is not None and not 0 <= truncation_cutoff <= G.num_ws:
        raise UserError(f"truncation_cutoff={truncation_cutoff}: this network takes 0 to {G.num_ws}, or null for all")


def _ws(G: Generator, seeds: list[int], c: Tensor | None, psi: float, cutoff: int | None) -> Tensor:
    device = next(G.parameters()).device
    label = None if c is None else c.expand(len(seeds), -1).to(device)
    return G.mapping(latents(seeds, G.z_dim).to(device), label, psi, cutoff)


def _filled(chunk: list[int], batch: int) -> list[int]:
    """Kernels are chosen by the batch's size, so the last batch is filled up to it."""
    return chunk + chunk[-1:] * (batch - len(chunk))


def _bar(starts: range, progress: bool) -> Iterable[int]:
    """The batches, with a progress bar if it is wanted and there is more than one."""
    if not progress or len(starts) == 1:
        return starts
    from rich.console import Console  # not above: networks load where there is nothing but torch, numpy and safetensors
    from rich.progress import track

    return track(starts, description="sampling", console=Console(stderr=True), transient=True)


def _known_networks(folder: Path) -> list[str]:
    """What may have been meant: the demo, snapshots and runs in `folder`, and runs (also of sweeps) below `runs/`."""
    runs = Path("runs")
    configs = (
        *folder.glob(f"*/{run_dir.CONFIG}"),
        *runs.glob(f"*/{run_dir.CONFIG}"),
        *runs.glob(f"*/*/{run_dir.CONFIG}"),
    )
    return ["demo", *{str(path) for path in (*folder.glob("*.safetensors"), *(config.parent for config in configs))}]

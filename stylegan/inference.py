"""From a saved network to pictures: find it, load it, sample it by seed. Needs no configuration system."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from operator import index
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from stylegan import run_dir
from stylegan.errors import UserError, nearest
from stylegan.files import shipped
from stylegan.interop.networks import Networks, read_networks
from stylegan.models.base import Generator
from stylegan.models.class_names import class_number
from stylegan.models.generator import StyleBased, require_w
from stylegan.models.layers import Precision
from stylegan.models.movement import moved
from stylegan.ops.backend import Backend, activate
from stylegan.ops.device import pick_device
from stylegan.rng import normal
from stylegan.values import COUNT, COUNT_OR_NONE, SEED32, at_home, check_values

_T = TypeVar("_T")
DEMO = "datasets/faces3d/demo.safetensors"
MAX_SEED = 2**32 - 1


class NoiseMode(StrEnum):
    """Where the layer noise of an image comes from."""

    const = "const"
    random = "random"
    none = "none"


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
    try:
        path = Path(at_home(str(network)))
        is_folder, exists = path.is_dir(), path.exists()
    except OSError as error:
        raise UserError(f"network={network}: {error.strerror}; check the path") from None
    if is_folder:
        if found := run_dir.snapshots(path):
            return found[-1]
        if run_dir.is_run_dir(path):
            raise UserError(f"network={network}: this run has no snapshot yet; let it train until the first is written")
        raise UserError(
            f"network={network}: this folder is not a run; {nearest(str(network), run_dir.known_networks(path))}"
        )
    if not exists:
        raise UserError(
            f"network={network}: no such file or run folder; {nearest(str(network), run_dir.known_networks(path.parent))}"
        )
    return path


def load(network: str | Path) -> Networks:
    """All networks that a file holds: `G_ema`, and perhaps `G` and `D`, on the CPU, as they are; `load_generator` prepares one.

    Args:
        network: As for `resolve_network`.

    Example:
        >>> D = stylegan.load("ffhq.pkl").networks["D"]

    Raises:
        UserError: The networks cannot be found or read.
    """
    return read_networks(resolve_network(network))


def load_generator(
    network: str | Path, device: str | torch.device = "cpu", ops: str | Backend = Backend.auto
) -> Generator:
    """Load a generator for inference.

    Args:
        network: As for `resolve_network`.
        device: Where the network goes: cpu, cuda, cuda:1, or auto for cuda where there is one.
        ops: `compiled`, `reference`, or `auto`: the compiled ops where training or `stylegan precompile` has built them
            before. The choice is the whole process's, for all networks on this kind of device.

    Returns:
        The network in eval mode; its parameters do not require gradients. `G.set_precision` chooses another format.

    Example:
        >>> G = stylegan.load_generator("demo")
        >>> images = G(torch.randn(4, G.z_dim))  # float32 [4, 3, 64, 64] in about [-1, 1]

    Raises:
        UserError: The network cannot be found or read, there is no such device, or `compiled` cannot be had.
    """
    place = pick_device(str(device))
    if ops not in list(Backend) and ops not in Backend.__members__:
        raise UserError(f"ops={ops}: {nearest(str(ops), Backend.__members__)}")
    G = read_networks(resolve_network(network), only_generator=True).G_ema
    active = activate(Backend(ops), place, build_for_auto=False)
    if active.warning:
        warnings.warn(active.warning, stacklevel=2)
    return G.to(place).eval().requires_grad_(False)


def to_uint8(img: Tensor) -> Tensor:
    """Pixels as networks make them, float of any width with -1 black and 1 white, to uint8 of the same shape.

    Values are rounded to the nearest grey level and clamped to 0..255; NaN becomes 0. Undoes `x / 127.5 - 1` exactly.
    """
    return (img.float() * 127.5 + 127.5).nan_to_num(0.0).round().clamp(0, 255).to(torch.uint8)


def latents(seeds: Sequence[int], z_dim: int) -> Tensor:
    """The latent z of each seed, [N, z_dim], standard normal, float32, on the CPU.

    It is `numpy.random.RandomState(seed).randn(1, z_dim)`, as the public StyleGAN tools draw it and as NumPy has frozen it:
    seed 85 of a published network is here the same face as in everyone's papers.

    Raises:
        UserError: A seed is not from 0 to 2^32 - 1.
    """
    for seed in seeds:
        check_seed(seed)
    return torch.cat([torch.from_numpy(np.random.RandomState(seed).randn(1, z_dim)) for seed in seeds]).float()


def check_seed(seed: int, name: str = "seeds") -> None:
    """Raise `UserError` for a number that is no seed of NumPy's frozen generator; `name` is the option that it came by."""
    try:
        whole = 0 <= index(seed) <= MAX_SEED
    except TypeError:
        whole = False
    if not whole:
        raise UserError(f"{name}: {seed} is no seed; they go from 0 to {MAX_SEED} (2^32 - 1), whole numbers")


def layer_noise(seeds: Sequence[int], noise_size: int) -> Tensor:
    """The noise of all layers for each seed, [N, noise_size], standard normal: a function of the seed alone."""
    return normal(0, "noise", seeds, [noise_size], torch.device("cpu"))


def class_label(G: Generator, class_idx: int | str | None) -> Tensor | None:
    """The label [1, c_dim] of a class, by number or name, one-hot float32; None for an unconditional network.

    Raises:
        UserError: A class for a network without classes, no class for one with, or a class that it does not have.
    """
    if G.c_dim == 0:
        if class_idx is not None:
            raise UserError(f"class_idx={class_idx}: this network has no classes; leave class_idx out")
        return None
    if not (isinstance(class_idx, int) and 0 <= class_idx < G.c_dim):
        class_idx = class_number(G, class_idx)
    return torch.nn.functional.one_hot(torch.tensor([class_idx]), G.c_dim).float()


@dataclass(frozen=True)
class Sampling:
    """How images are made of latents.

    Attributes:
        truncation_psi: The truncation trick: 1 is off, 0 is the mean image (Karras et al. 2019, appendix B).
        truncation_cutoff: How many of the `G.num_ws` style vectors are truncated, the coarsest first; None: all.
        noise_mode: Layer noise: `const` (one fixed pattern for all images), `random` (drawn by seed) or `none`.
        noise_seed: The seed of the layer noise of all images with `noise_mode="random"`; None: each image's own.
        class_idx: The class, for a network that has classes: its number, or its name where the network knows it.
        translate: Move what a StyleGAN3 network shows, to the right and down, in image sides.
        rotate: Turn it, in degrees clockwise, about the centre; before the translation.
        precision: Compute the highest resolutions in this format; None: as trained.
        batch: How many images are computed at a time, also where fewer are asked for.
    """

    truncation_psi: float = 1.0
    truncation_cutoff: int | None = field(default=None, metadata={"range": COUNT_OR_NONE})
    noise_mode: NoiseMode | str = NoiseMode.const
    noise_seed: int | None = field(default=None, metadata={"range": SEED32})
    class_idx: int | str | None = field(default=None, metadata={"range": COUNT_OR_NONE})
    translate: Sequence[float] = (0.0, 0.0)
    rotate: float = 0.0
    precision: Precision | str | None = None
    batch: int = field(default=16, metadata={"range": COUNT})

    def __post_init__(self) -> None:
        if not (self.precision is None or isinstance(self.precision, Precision)):
            if self.precision not in Precision.__members__:
                raise UserError(f"precision={self.precision}: {nearest(str(self.precision), Precision.__members__)}")
            object.__setattr__(self, "precision", Precision(self.precision))
        if self.noise_mode not in list(NoiseMode):
            raise UserError(f"noise_mode={self.noise_mode}: {nearest(self.noise_mode, list(NoiseMode))}")
        object.__setattr__(self, "translate", tuple(self.translate))
        check_values(self)
        if self.noise_seed is not None and self.noise_mode != NoiseMode.random:
            raise UserError(f"noise_seed={self.noise_seed} needs noise_mode=random: no other noise is drawn")
        if len(self.translate) != 2:
            raise UserError(f"translate={','.join(map(str, self.translate))}: give two numbers, as translate=0.1,0")

    @property
    def moves(self) -> bool:
        """Whether what is shown is moved or turned."""
        return any((*self.translate, self.rotate))


_AS_TRAINED = Sampling()


def sample(
    G: Generator, seeds: Sequence[int], sampling: Sampling = _AS_TRAINED, *, progress: bool = False
) -> Iterator[Tensor]:
    """Generate the image of each seed, in the order of `seeds`, a batch at a time.

    Everything random about an image is a function of its seed: its z and, with `noise_mode="random"`, its layer noise.
    On one machine with one number of threads and one back end of the ops, the image's bits are a function of its seed,
    the batch and its place in the batch (its index modulo the batch), whatever the other seeds are. Another batch or place,
    or the other back end, changes it by at most one grey level: sums are rounded in another order.

    Args:
        G: A generator in eval mode, on any device.
        seeds: Whole numbers from 0 to 2^32 - 1.
        sampling: Truncation, noise, class, batch and so on.
        progress: Show a progress bar on a terminal's stderr while there is more than one batch.

    Returns:
        An iterator over uint8 images [C, H, W] on the CPU. `torch.stack(list(...))` makes a batch of them.

    Example:
        >>> images = torch.stack(list(stylegan.sample(G, range(8), stylegan.Sampling(truncation_psi=0.7))))

    Raises:
        UserError: At once, for a setting that this network cannot follow.
    """
    for seed in seeds:
        check_seed(seed)
    _check(G, sampling)
    label = class_label(G, sampling.class_idx)
    truncation: dict[str, Any] = {}
    if isinstance(G, StyleBased):
        truncation = {"truncation_psi": sampling.truncation_psi, "truncation_cutoff": sampling.truncation_cutoff}

    def images(chunk: list[int]) -> Tensor:
        return G(*_inputs(G, chunk, label), **_noise(G, chunk, sampling), **truncation)

    return _batches(G, images, seeds, sampling, progress)


@torch.inference_mode()
def sample_ws(G: Generator, seeds: Sequence[int], sampling: Sampling = _AS_TRAINED) -> Tensor:
    """The intermediate latents of each seed's image, [N, num_ws, w_dim], on G's device; arguments as for `sample`.

    Raises:
        UserError: As `sample`, and for a network that has no w.
    """
    style_based = require_w(G, "sample_ws", "use sample")
    _check(G, sampling)
    label = class_label(G, sampling.class_idx)
    truncation = sampling.truncation_psi, sampling.truncation_cutoff
    chunks = _chunks(seeds, sampling.batch)
    return torch.cat(
        [style_based.mapping(*_inputs(G, full, label), *truncation)[: len(chunk)] for chunk, full in chunks]
    )


def render(
    G: Generator,
    ws: Tensor,
    sampling: Sampling = _AS_TRAINED,
    *,
    noise_seeds: Sequence[int] | None = None,
    progress: bool = False,
) -> Iterator[Tensor]:
    """The images of latents, as `sample` gives them: uint8 [C, H, W] each, on the CPU.

    Args:
        G: A generator in eval mode.
        ws: [N, num_ws, w_dim], taken as they are: truncation and class are those of who made them.
        sampling: Noise, movement, precision and batch.
        noise_seeds: The N seeds of the layer noise with `noise_mode="random"`.
        progress: As for `sample`.

    Example:
        >>> ws = stylegan.sample_ws(G, [0, 1])
        >>> between = next(stylegan.render(G, ws.mean(0, keepdim=True)))

    Raises:
        UserError: At once, for a setting that this network cannot follow.
    """
    synthesis = require_w(G, "render", "use sample").synthesis
    _check(G, sampling)
    if sampling.noise_mode == NoiseMode.random and sampling.noise_seed is not None:
        noise_seeds = [sampling.noise_seed] * len(ws)
    if sampling.noise_mode == NoiseMode.random and (noise_seeds is None or len(noise_seeds) != len(ws)):
        raise UserError("noise_mode=random: a seed of the noise is needed for each of the ws (noise_seeds)")

    def images(chunk: list[int]) -> Tensor:
        return synthesis(ws[chunk], **_noise(G, [noise_seeds[i] for i in chunk] if noise_seeds else [], sampling))

    return _batches(G, images, range(len(ws)), sampling, progress)


def _check(G: Generator, sampling: Sampling) -> None:
    """Raise `UserError` for what this network cannot follow."""
    if sampling.truncation_psi != 1:
        require_w(G, f"truncation_psi={sampling.truncation_psi}", "leave it out")
    if (cutoff := sampling.truncation_cutoff) is not None:
        num_ws = require_w(G, f"truncation_cutoff={cutoff}", "leave it out").num_ws
        if not 0 <= cutoff <= num_ws:
            raise UserError(f"truncation_cutoff={cutoff}: this network takes 0 to {num_ws}, or null for all")
    if sampling.noise_mode == NoiseMode.random and G.noise_size == 0:
        raise UserError(f"noise_mode=random: {G.config.kind} networks have no layer noise; leave it out")
    with _set_up(G, sampling):
        pass  # it refuses what it cannot do


def _inputs(G: Generator, seeds: Sequence[int], label: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """z and c of seeds, on G's device."""
    device = next(G.parameters()).device
    return latents(seeds, G.z_dim).to(device), None if label is None else label.expand(len(seeds), -1).to(device)


def _noise(G: Generator, seeds: Sequence[int], sampling: Sampling) -> dict[str, Any]:
    """What a network is told about noise."""
    if sampling.noise_mode != NoiseMode.random:
        return {"noise_mode": str(sampling.noise_mode)}
    if sampling.noise_seed is not None:
        seeds = [sampling.noise_seed] * len(seeds)
    return {"noise_mode": "random", "noise": layer_noise(seeds, G.noise_size).to(next(G.parameters()).device)}


def _batches(
    G: Generator, images: Callable[[list[int]], Tensor], items: Sequence[int], sampling: Sampling, progress: bool
) -> Iterator[Tensor]:
    """uint8 images of items, a batch at a time."""

    @torch.inference_mode()
    def batch_images(count: int, full: list[int]) -> Tensor:
        with _set_up(G, sampling):
            return to_uint8(images(full)[:count]).cpu()

    batches = _bar(list(_chunks(items, sampling.batch)), progress)
    return (image for chunk, full in batches for image in batch_images(len(chunk), full))


def _chunks(items: Sequence[int], batch: int) -> Iterator[tuple[list[int], list[int]]]:
    """Batches, each as it is and filled up to `batch` with its last: kernels are chosen by the batch's size."""
    for start in range(0, len(items), batch):
        chunk = list(items[start : start + batch])
        yield chunk, chunk + chunk[-1:] * (batch - len(chunk))


@contextmanager
def _set_up(G: Generator, sampling: Sampling) -> Iterator[None]:
    """The network with another precision and moved input, inside of the body only."""
    with ExitStack() as undo:
        if sampling.moves:
            undo.enter_context(moved(G, sampling.translate, sampling.rotate))
        if sampling.precision is not None:
            undo.callback(G.set_precision, G.precision)
            G.set_precision(Precision(sampling.precision))
        yield


def _bar(batches: list[_T], progress: bool) -> Iterable[_T]:
    """The batches, with a progress bar if it is wanted and there is more than one."""
    if not progress or len(batches) == 1:
        return batches
    from rich.console import Console  # not above: networks load where there is nothing but torch, numpy and safetensors
    from rich.progress import track

    return track(batches, description="sampling", console=Console(stderr=True), transient=True)

"""From a saved network to pictures: find it, load it, sample it by seed. Needs no configuration system."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from operator import index
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from stylegan import run_dir
from stylegan.bars import with_bar
from stylegan.errors import UserError, nearest
from stylegan.files import shipped
from stylegan.interop.difference import PLUS, summands
from stylegan.interop.latents import Latents, join
from stylegan.interop.networks import Networks, read_networks
from stylegan.models.base import Generator
from stylegan.models.class_names import class_number
from stylegan.models.generator import StyleBased, require_w
from stylegan.models.layers import Precision
from stylegan.models.movement import moved
from stylegan.models.truncation import centers_in_w, truncated
from stylegan.ops.backend import Backend, activate
from stylegan.ops.device import pick_device
from stylegan.rng import normal
from stylegan.values import COUNT, COUNT_OR_NONE, SEED32, at_home, check_values

_T = TypeVar("_T")
Seeds = Sequence[int | Latents]
"""What stands for images: numbers, and latents that were kept."""
SHIPPED = {name: f"datasets/faces3d/{name}.safetensors" for name in ("demo", "portrait")}
"""Networks that come with the project, by name: faces at 64x64, trained on a laptop, and at 128x128, trained on a GPU."""
MAX_SEED = 2**32 - 1


class NoiseMode(StrEnum):
    """Where the layer noise of an image comes from."""

    const = "const"
    random = "random"
    none = "none"


def resolve_network(network: str | Path) -> Path:
    """The file that a name stands for.

    Args:
        network: `demo` or `portrait` (which come with the project), the folder of a run (its newest snapshot), or a file that
            `read_networks` takes; any of them with `+FILE` behind it, a difference (`interop.difference`).

    Raises:
        UserError: There is no such thing, or the run has no snapshot yet.
    """
    if isinstance(network, str) and network in SHIPPED:
        return shipped(SHIPPED[network])
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
    if not exists and (parts := summands(path))[1:]:
        return Path(PLUS.join(map(str, [resolve_network(str(parts[0])), *parts[1:]])))
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
        truncation_psi: The truncation trick: 1 is off, 0 is the mean image (Karras et al. 2019, appendix B). None: as the
            network's paper shows pictures (`G.picture_truncation`), and off for latents that are given.
        truncation_cutoff: How many of the `G.num_ws` style vectors are truncated, the coarsest first; None: all, or as its
            paper does.
        truncation_center: Towards what: a seed, `Latents`, or a list of these, of which each w takes the nearest; None: the
            mean of w.
        truncation_clusters: Instead: the nearest of so many centres that k-means finds in the ws of seeds 0 to 9999.
        noise_mode: Layer noise: `const` (one fixed pattern for all images), `random` (drawn by seed) or `none`.
        noise_seed: The seed of the layer noise of all images with `noise_mode="random"`; None: each image's own.
        class_idx: The class, for a network that has classes: its number, or its name where the network knows it.
        translate: Move what a StyleGAN3 network shows, to the right and down, in image sides.
        rotate: Turn it, in degrees clockwise, about the centre; before the translation.
        precision: Compute the highest resolutions in this format; None: as trained.
        batch: How many images are computed at a time, also where fewer are asked for.
    """

    truncation_psi: float | None = 1.0
    truncation_cutoff: int | None = field(default=None, metadata={"range": COUNT_OR_NONE})
    truncation_center: "Seeds | int | Latents | None" = None
    truncation_clusters: int | None = field(default=None, metadata={"range": COUNT})
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
        if self.truncation_center is not None and self.truncation_clusters is not None:
            raise UserError(
                "truncation_center and truncation_clusters are two ways to choose a centre; leave one of them out"
            )
        if len(self.translate) != 2:
            raise UserError(f"translate={','.join(map(str, self.translate))}: give two numbers, as translate=0.1,0")

    @property
    def centers(self) -> Seeds:
        """What `truncation_center` names, none or more."""
        center = self.truncation_center
        return () if center is None else (center,) if isinstance(center, int | Latents) else center

    def truncation(self, G: Generator) -> tuple[float, int | None]:
        """The psi and cutoff that hold for the seeds of a network."""
        usual = G.picture_truncation if isinstance(G, StyleBased) else (1.0, None)
        psi, cutoff = usual if self.truncation_psi is None else (self.truncation_psi, None)
        return psi, cutoff if self.truncation_cutoff is None else self.truncation_cutoff

    @property
    def moves(self) -> bool:
        """Whether what is shown is moved or turned."""
        return any((*self.translate, self.rotate))


_AS_TRAINED = Sampling()


def sample(G: Generator, seeds: Seeds, sampling: Sampling = _AS_TRAINED, *, progress: bool = False) -> Iterator[Tensor]:
    """Generate the image of each seed or latent, in the order of `seeds`, a batch at a time.

    Everything random about an image is a function of its seed: its z and, with `noise_mode="random"`, its layer noise.
    On one machine with one number of threads and one back end of the ops, the image's bits are a function of its seed,
    the batch and its place in the batch (its index modulo the batch), whatever the other seeds are. Another batch or place,
    or the other back end, changes it by at most one grey level: sums are rounded in another order.

    Args:
        G: A generator in eval mode, on any device.
        seeds: Whole numbers from 0 to 2^32 - 1, and `Latents` (`stylegan.read_latents`), each of which may be many.
        sampling: Truncation, noise, class, batch and so on. The ws of `Latents` are taken as they are, but for a truncation
            that is asked for here; noise that they bring is used.
        progress: Show a progress bar on a terminal's stderr while there is more than one batch.

    Returns:
        An iterator over uint8 images [C, H, W] on the CPU. `torch.stack(list(...))` makes a batch of them.

    Example:
        >>> images = torch.stack(list(stylegan.sample(G, range(8), stylegan.Sampling(truncation_psi=0.7))))

    Raises:
        UserError: At once, for a setting that this network cannot follow.
    """
    find = _finder(G, seeds, sampling)
    label = class_label(G, sampling.class_idx)
    return _batches(G, lambda chunk: paint(G, find(chunk), label, sampling), _each(seeds), sampling, progress)


@torch.no_grad()  # not inference mode: who keeps them may want to change them
def locate(G: Generator, seeds: Seeds, sampling: Sampling = _AS_TRAINED) -> Latents:
    """Where the images of seeds lie: their z, ws (truncated as `sampling` says) and noise (None: the network's own).

    Arguments as for `sample`. `render` makes the same images of them, `Latents.save` keeps them.

    Raises:
        UserError: As `sample`.
    """
    find = _finder(G, seeds, sampling)
    chunks = list(_chunks(_each(seeds), sampling.batch))
    return join([find(full)[: len(chunk)] for chunk, full in chunks])


def sample_ws(G: Generator, seeds: Seeds, sampling: Sampling = _AS_TRAINED) -> Tensor:
    """The intermediate latents of each seed's image, [N, num_ws, w_dim], on G's device; arguments as for `sample`.

    Raises:
        UserError: As `sample`, and for a network that has no w.
    """
    require_w(G, "sample_ws", "use sample")
    ws = locate(G, seeds, sampling).ws
    assert ws is not None
    return ws


def render(
    G: Generator, latents: Tensor | Latents, sampling: Sampling = _AS_TRAINED, *, progress: bool = False
) -> Iterator[Tensor]:
    """The images of latents, as `sample` gives them: uint8 [C, H, W] each, on the CPU.

    Args:
        G: A generator in eval mode.
        latents: ws [N, num_ws, w_dim], or `Latents`, of which the ws count where there are some. They are taken as they are:
            truncation and class are those of who made them.
        sampling: Noise, movement, precision and batch; the class, where there is nothing but z.
        progress: As for `sample`.

    Example:
        >>> ws = stylegan.sample_ws(G, [0, 1])
        >>> between = next(stylegan.render(G, ws.mean(0, keepdim=True)))

    Raises:
        UserError: At once, for a setting that this network cannot follow.
    """
    if isinstance(latents, Tensor):
        require_w(G, "render", "give it Latents with z")
        latents = Latents(("ws",) * len(latents), ws=latents)
    sampling = replace(
        sampling, truncation_psi=1.0, truncation_cutoff=None, truncation_center=None, truncation_clusters=None
    )
    _check(G, sampling)
    latents.check(G)
    points = latents
    if sampling.noise_mode == NoiseMode.random and points.noise is None and sampling.noise_seed is None:
        raise UserError("noise_mode=random: latents bring no seed of their noise; give noise_seed")
    label = class_label(G, sampling.class_idx) if points.ws is None else None
    if points.ws is None and isinstance(G, StyleBased):
        raise UserError(f"{points.names[0]} has no ws; stylegan.locate finds them")

    def images(chunk: list[int]) -> Tensor:
        return paint(G, points[chunk], label, sampling)

    return _batches(G, images, range(len(points)), sampling, progress)


def _each(seeds: Seeds) -> list[int | Latents]:
    """One item an image."""
    return [one for item in seeds for one in (item if isinstance(item, Latents) else [item])]


def _finder(G: Generator, seeds: Seeds, sampling: Sampling) -> Callable[[Sequence[int | Latents]], Latents]:
    """Check everything at once; what it returns gives a batch's points on G's device."""
    for item in (*seeds, *sampling.centers):
        if isinstance(item, Latents):
            item.check(G)
        else:
            check_seed(item)
    _check(G, sampling)
    label = class_label(G, sampling.class_idx)
    centers = _centers(G, sampling, label)
    return lambda chunk: _locate(G, chunk, sampling, label, centers)


def _locate(
    G: Generator, chunk: Sequence[int | Latents], sampling: Sampling, label: Tensor | None, centers: Tensor | None
) -> Latents:
    device = next(G.parameters()).device
    names = tuple(item.names[0] if isinstance(item, Latents) else f"seed {item}" for item in chunk)
    zs = [item.z if isinstance(item, Latents) else latents([item], G.z_dim) for item in chunk]
    without = next((name for name, z in zip(names, zs, strict=True) if z is None), None)
    # What has no z gets a zero, so that all batches are alike to the kernels.
    z = torch.cat([torch.zeros(1, G.z_dim) if z is None else z.cpu() for z in zs]).to(device)
    noise = _noise_of(G, chunk, sampling)
    if not isinstance(G, StyleBased):
        if without:
            raise UserError(f"{without} holds ws and no z, and this network has no w; use it with the network it is of")
        return Latents(names, z, None, noise)
    given = {i: item.ws for i, item in enumerate(chunk) if isinstance(item, Latents) and item.ws is not None}
    asked = sampling.truncation_psi is not None  # then what is given is truncated, too
    plain = centers is not None or (asked and bool(given))  # truncated here then, else by the mapping network
    c = None if label is None else label.expand(len(chunk), -1).to(device)
    psi, cutoff = sampling.truncation(G)
    ws = G.mapping(z, c) if plain else G.mapping(z, c, psi, cutoff)
    if given:
        ws = torch.cat([given[i].to(ws) if i in given else ws[i : i + 1] for i in range(len(chunk))])
    if plain and psi != 1:
        nearer = truncated(ws, G.mapping.w_avg.expand(1, *ws.shape[1:]) if centers is None else centers, psi, cutoff)
        stays = torch.tensor([i in given and not asked for i in range(len(chunk))], device=device)
        ws = torch.where(stays[:, None, None], ws, nearer)
    return Latents(names, None if without else z, ws, noise)


def _centers(G: Generator, sampling: Sampling, label: Tensor | None) -> Tensor | None:
    """What ws are truncated towards, [K, num_ws, w_dim]; None: the mean of w."""
    if sampling.centers:
        return sample_ws(G, sampling.centers, Sampling(class_idx=sampling.class_idx, batch=1))
    if (count := sampling.truncation_clusters) is None:
        return None
    style_based = require_w(G, f"truncation_clusters={count}", "leave it out")
    return centers_in_w(lambda seeds: style_based.mapping(*_inputs(G, seeds, label)), count)


def _noise_of(G: Generator, chunk: Sequence[int | Latents], sampling: Sampling) -> Tensor | None:
    """The noise of each image [N, noise_size]; None where all have the network's own, or none."""
    device = next(G.parameters()).device
    if sampling.noise_mode == NoiseMode.none:
        return None
    if sampling.noise_mode == NoiseMode.random and sampling.noise_seed is not None:
        return layer_noise([sampling.noise_seed], G.noise_size).expand(len(chunk), -1).to(device)
    brought = [item.noise if isinstance(item, Latents) else None for item in chunk]
    if sampling.noise_mode == NoiseMode.const:
        if all(noise is None for noise in brought):
            return None
        own = G.stored_noise()[None]
        return torch.cat([own if noise is None else noise.to(device) for noise in brought])
    for item, noise in zip(chunk, brought, strict=True):
        if noise is None and isinstance(item, Latents):
            raise UserError(f"noise_mode=random: {item.names[0]} brings no seed of its noise; give noise_seed")
    drawn = [layer_noise([item], G.noise_size) if isinstance(item, int) else item.noise for item in chunk]
    return torch.cat([noise for noise in drawn if noise is not None]).to(device)


def paint(G: Generator, points: Latents, label: Tensor | None, sampling: Sampling) -> Tensor:
    """The images of points as the network makes them in one pass, float [N, C, H, W], nominally in [-1, 1].

    Args:
        G: In eval mode.
        points: With ws where the network has w, else with z.
        label: Of the class, [c_dim], where there is nothing but z.
        sampling: Noise alone; `render` does the rest.
    """
    device = next(G.parameters()).device
    noise: dict[str, Any] = {"noise_mode": str(sampling.noise_mode)}
    if sampling.noise_mode == NoiseMode.random and points.noise is None:
        noise["noise"] = _noise_of(G, [0] * len(points), sampling)
    if sampling.noise_mode != NoiseMode.none and points.noise is not None:
        noise = {"noise_mode": "random", "noise": points.noise.to(device)}
    if isinstance(G, StyleBased):
        assert points.ws is not None
        return G.synthesis(points.ws.to(device), **noise)
    assert points.z is not None
    c = None if label is None else label.expand(len(points), -1).to(device)
    return G(points.z.to(device), c, **noise)


def _check(G: Generator, sampling: Sampling) -> None:
    """Raise `UserError` for what this network cannot follow."""
    if sampling.truncation_psi not in (None, 1):
        require_w(G, f"truncation_psi={sampling.truncation_psi}", "leave it out")
    if (cutoff := sampling.truncation_cutoff) is not None:
        num_ws = require_w(G, f"truncation_cutoff={cutoff}", "leave it out").num_ws
        if not 0 <= cutoff <= num_ws:
            raise UserError(f"truncation_cutoff={cutoff}: this network takes 0 to {num_ws}, or null for all")
    if sampling.noise_mode == NoiseMode.random and G.noise_size == 0:
        raise UserError(f"noise_mode=random: {G.config.kind} networks have no layer noise; leave it out")
    with adjusted(G, sampling):
        pass  # it refuses what it cannot do


def _inputs(G: Generator, seeds: Sequence[int], label: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """z and c of seeds, on G's device."""
    device = next(G.parameters()).device
    return latents(seeds, G.z_dim).to(device), None if label is None else label.expand(len(seeds), -1).to(device)


def _batches(
    G: Generator, images: Callable[[list[_T]], Tensor], items: Sequence[_T], sampling: Sampling, progress: bool
) -> Iterator[Tensor]:
    """uint8 images of items, a batch at a time."""

    @torch.inference_mode()
    def batch_images(count: int, full: list[_T]) -> Tensor:
        with adjusted(G, sampling):
            made = images(full)[:count]
        if not made.isfinite().all():  # as pixels they would be black
            raise UserError(
                "the network makes values that are not finite, computing in "
                f"{Precision(sampling.precision or G.precision).value}; try precision=fp32, or an earlier snapshot"
            )
        return to_uint8(made).cpu()

    chunks = list(_chunks(items, sampling.batch))
    batches = with_bar(chunks, "sampling", len(chunks), show=progress and len(chunks) > 1)
    return (image for chunk, full in batches for image in batch_images(len(chunk), full))


def _chunks(items: Sequence[_T], batch: int) -> Iterator[tuple[list[_T], list[_T]]]:
    """Batches, each as it is and filled up to `batch` with its last: kernels are chosen by the batch's size."""
    for start in range(0, len(items), batch):
        chunk = list(items[start : start + batch])
        yield chunk, chunk + chunk[-1:] * (batch - len(chunk))


@contextmanager
def adjusted(G: Generator, sampling: Sampling) -> Iterator[None]:
    """The network with another precision and moved input, inside of the body only."""
    with ExitStack() as undo:
        if sampling.moves:
            undo.enter_context(moved(G, sampling.translate, sampling.rotate))
        if sampling.precision is not None:
            undo.callback(G.set_precision, G.precision)
            G.set_precision(Precision(sampling.precision))
        yield

"""Perceptual path length: how much pictures change per step in the latent space.

Karras et al. 2019, "A style-based generator architecture", section 4.1; Karras et al. 2020, "Analyzing and improving the image
quality of StyleGAN", section 3 and appendix A.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan import distributed
from stylegan.errors import UserError
from stylegan.metrics.lpips import LPIPS, SMALLEST, LoadedLpips, Lpips, load_lpips
from stylegan.metrics.metric import Drawn, Draws, Loading, NetworkMetric, Outcome, Output
from stylegan.models.base import Generator
from stylegan.models.generator import require_w

EPSILON = 1e-4
LARGEST = 256  # pixels of a side; larger pictures are scaled down
_WITHOUT_W = "measure path lengths in Z, such as ppl_zend"


@dataclass(frozen=True)
class Path:
    """Which paths are measured.

    Attributes:
        in_w: Interpolate in W rather than in Z.
        ends: Only at the beginning of each path (t = 0), where all latents are real ones, rather than anywhere on it.
        crop: Look at the part of the picture where an aligned face is.
    """

    in_w: bool
    ends: bool
    crop: bool

    @property
    def name(self) -> str:
        """Of the metric: `ppl_zfull_crop`."""
        return f"ppl_{'w' if self.in_w else 'z'}{'end' if self.ends else 'full'}{'_crop' * self.crop}"


@torch.inference_mode()
def path_lengths(G: Generator, lpips: Lpips, path: Path, c: Tensor | None, drawn: Drawn) -> Tensor:
    """The length of random steps, float32 [n].

    Both pictures of a pair have the same layer noise, drawn for each pair.

    Args:
        G: A generator in eval mode; for paths in W one that has w.
        lpips: The distance, on the same device.
        path: See above.
        c: Labels [n, c_dim] on the network's device, or None.
        drawn: Gives latents, places and noise of n pairs.
    """
    z0, z1 = drawn.normal("z", 2, G.z_dim).unbind(dim=1)
    t = drawn.uniform("t", 1) * (0 if path.ends else 1)
    noise = drawn.normal("noise", G.noise_size)
    steps = (t, t + EPSILON)
    if path.in_w:
        styled = require_w(G, path.name, _WITHOUT_W)
        w0, w1 = styled.mapping(z0, c), styled.mapping(z1, c)
        pair = [styled.synthesis(w0.lerp(w1, s[:, :, None]), noise_mode="random", noise=noise) for s in steps]
    else:
        pair = [G(slerp(z0, z1, s), c, noise_mode="random", noise=noise) for s in steps]
    return lpips(*(_as_seen(image.float(), path.crop) for image in pair)).cpu() / EPSILON**2


def _as_seen(image: Tensor, crop: bool) -> Tensor:
    """Crop, scale down by a whole number to at most 256 pixels, and make three channels of one (of four, the first three)."""
    if crop:
        H, W = (side // 8 for side in image.shape[2:])
        image = image[:, :, 3 * H : 7 * H, 2 * W : 6 * W]
    factor = max(image.shape[2:]) // LARGEST
    if factor >= 2:
        image = F.avg_pool2d(image, factor)
    return image.expand(-1, 3, -1, -1) if image.shape[1] == 1 else image[:, :3]


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical interpolation of vectors [N, D] at t [N, 1], on the unit sphere."""
    a, b = (x / x.norm(dim=-1, keepdim=True) for x in (a, b))
    cosine = (a * b).sum(-1, keepdim=True)
    angle = t * cosine.clamp(-1, 1).acos()
    across = b - cosine * a
    across = across / across.norm(dim=-1, keepdim=True)
    y = a * angle.cos() + across * angle.sin()
    return y / y.norm(dim=-1, keepdim=True)


def cropped_mean(distances: Tensor) -> float:
    """The mean of distances [N] without those below the 1st or above the 99th percentile, rounded outwards."""
    x = distances.double()
    low = torch.quantile(x, 0.01, interpolation="lower")
    high = torch.quantile(x, 0.99, interpolation="higher")
    return float(x[(x >= low) & (x <= high)].mean())


class PathLength(NetworkMetric[LoadedLpips]):
    """`ppl_zfull` and its relatives.

    Args:
        path: Which paths.
    """

    weight_names = (LPIPS,)

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name
        where = "at the start of" if path.ends else "anywhere on"
        self.help = f"path length in {'W' if path.in_w else 'Z'}, {where} the path{', of the face only' * path.crop}"
        self.outputs = (Output(path.name, higher=False),)

    def load(self, loading: Loading, features: str) -> LoadedLpips:
        """LPIPS."""
        return loading.once(LPIPS, lambda: load_lpips(loading.device, loading.files))

    def check(self, G: Generator, asked: str) -> None:
        """It needs w for paths in W, and pictures that LPIPS can look at."""
        if self.path.in_w:
            require_w(G, asked, _WITHOUT_W)
        H, W = _as_seen(torch.empty(1, G.channels, *G.resolution, device="meta"), self.path.crop).shape[2:]
        if min(H, W) < SMALLEST:
            raise UserError(
                f"{asked}: of pictures of {G.resolution[1]}x{G.resolution[0]} LPIPS would see {W}x{H} pixels, and it needs "
                f"{SMALLEST}x{SMALLEST}; {'leave out _crop, or ' * self.path.crop}measure a network of larger pictures"
            )

    def measure(self, G: Generator, reader: LoadedLpips, draws: Draws) -> Outcome:
        """See `path_lengths` and `cropped_mean`."""
        lengths = torch.zeros(draws.count, dtype=torch.float64)
        for drawn in draws.batches(f"metrics/{self.name}", draws.batch):
            found = path_lengths(G, reader.network, self.path, draws.label(drawn), drawn)
            lengths[drawn.indices.start : drawn.indices.stop] = found.double()
        return Outcome({self.name: cropped_mean(distributed.sum_over_ranks(lengths, draws.device))})

"""Perceptual path length: how much pictures change per step in the latent space.

Karras et al. 2019, "A style-based generator architecture", section 4.1; Karras et al. 2020, "Analyzing and improving the image
quality of StyleGAN", section 3 and appendix A.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.metrics.lpips import Lpips

EPSILON = 1e-4
LARGEST = 256  # pixels of a side; larger pictures are scaled down


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


@torch.inference_mode()
def path_lengths(G: Any, lpips: Lpips, path: Path, c: Tensor | None, generator: torch.Generator, n: int) -> Tensor:
    """The length of `n` random steps, float32 [n].

    Both pictures of a pair have the same layer noise, drawn for each pair.

    Args:
        G: A generator in eval mode.
        lpips: The distance, on the same device.
        path: See above.
        c: Labels [n, c_dim], or None.
        generator: Draws latents, places and noise, on the CPU.
        n: How many.
    """
    device = next(G.parameters()).device
    z0, z1 = torch.randn([2, n, G.z_dim], generator=generator)
    t = torch.rand([n, 1], generator=generator) * (0 if path.ends else 1)
    noise = torch.randn([n, G.synthesis.noise_size], generator=generator)
    z0, z1, t, noise = (x.to(device) for x in (z0, z1, t, noise))
    c = None if c is None else c.to(device)
    if path.in_w:
        w0, w1 = G.mapping(z0, c), G.mapping(z1, c)
        pair = [w0.lerp(w1, step[:, :, None]) for step in (t, t + EPSILON)]
    else:
        pair = [G.mapping(slerp(z0, z1, step), c) for step in (t, t + EPSILON)]
    images = [G.synthesis(ws, noise_mode="random", noise=noise).float() for ws in pair]
    return lpips(*(_as_seen(image, path.crop) for image in images)).cpu() / EPSILON**2


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

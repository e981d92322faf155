"""Perceptual path length (Karras et al. 2019, "A style-based generator architecture", section 4.1; 2020, appendix A).

Defined further below once the pieces exist.
"""

import torch
from torch import Tensor


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

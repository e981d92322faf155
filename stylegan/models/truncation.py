"""The truncation trick towards something other than the mean of w: the nearest of some centres, given or found in W."""

import torch
from torch import Tensor


def truncated(ws: Tensor, centers: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
    """Ws moved towards the nearest of some centres (Mokady et al. 2022, "Self-Distilled StyleGAN", section 3.3).

    Args:
        ws: [N, num_ws, w_dim].
        centers: [K, num_ws, w_dim].
        psi: 1 leaves them where they are, 0 takes them to the centre.
        cutoff: Move the first so many of the num_ws; None: all. All count for what is nearest.
    """
    nearest = torch.cdist(ws.flatten(1), centers.flatten(1)).argmin(dim=1)
    moved = centers[nearest].lerp(ws, psi)
    return moved if cutoff is None else torch.cat([moved[:, :cutoff], ws[:, cutoff:]], dim=1)


def cluster_centers(w: Tensor, count: int) -> Tensor:
    """The centres that k-means (Lloyd 1982) finds, [count, w_dim]; the same points give the same centres.

    It begins at points far from each other: the first, then always the one farthest from those before.

    Args:
        w: [N, w_dim], with N of at least `count`.
        count: How many.
    """
    chosen, distance = [0], (w - w[0]).square().sum(dim=1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (w - w[chosen[-1]]).square().sum(dim=1))
    centers, belongs = w[chosen], w.new_full([len(w)], -1, dtype=torch.long)
    for _ in range(100):
        before, belongs = belongs, torch.cdist(w, centers).argmin(dim=1)
        if torch.equal(before, belongs):
            break
        sums = torch.zeros_like(centers).index_add_(0, belongs, w)
        sizes = belongs.bincount(minlength=count)[:, None]
        centers = torch.where(sizes > 0, sums / sizes.clamp(min=1), centers)
    return centers

"""Where the truncation trick takes w: to its mean, measured here where none was kept, or to the nearest of some centres."""

from collections.abc import Callable

import torch
from torch import Tensor

from stylegan.errors import UserError
from stylegan.models.generator import StyleBased

MEAN_OF = 10_000  # latents of which the mean of w is measured; the public tools' default
CLUSTERED = 10_000
_AT_ONCE = 1000


@torch.no_grad()
def measure_w_avg(G: StyleBased) -> None:
    """Set `G.mapping.w_avg` to the mean of w over `MEAN_OF` latents of a fixed seed; classes are all alike often."""
    z = torch.randn(MEAN_OF, G.z_dim, generator=torch.Generator().manual_seed(0))
    c = torch.eye(G.c_dim)[torch.arange(MEAN_OF) % G.c_dim] if G.c_dim else torch.zeros(MEAN_OF, 0)
    parts = zip(z.split(1000), c.split(1000), strict=True)
    G.mapping.w_avg.copy_(torch.cat([G.mapping(some, labels)[:, 0] for some, labels in parts]).mean(dim=0))


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


def centers_in_w(ws_of: Callable[[range], Tensor], count: int) -> Tensor:
    """The centres [count, num_ws, w_dim] that `cluster_centers` finds among the ws of seeds 0 to 9999.

    Args:
        ws_of: Gives the ws [n, num_ws, w_dim] of seeds, all of an image alike.
        count: How many.

    Raises:
        UserError: There are fewer ws.
    """
    if count > CLUSTERED:
        raise UserError(
            f"truncation_clusters={count}: at most {CLUSTERED}, the number of the ws among which they are found"
        )
    with torch.inference_mode():
        found = [ws_of(range(start, start + _AT_ONCE)) for start in range(0, CLUSTERED, _AT_ONCE)]
        centers = cluster_centers(torch.cat([ws[:, 0] for ws in found]), count)
        return centers[:, None].expand(-1, found[0].shape[1], -1)


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

"""Kernel inception distance (Binkowski et al. 2018, "Demystifying MMD GANs", section 4 and appendix A)."""

from collections.abc import Iterable

import torch
from torch import Tensor

from stylegan.metrics.collect import Tensors
from stylegan.metrics.features import FeatureNetwork
from stylegan.metrics.metric import FeatureMetric, Outcome, Output
from stylegan.rng import generator as random_of

SUBSETS = 100
SUBSET_SIZE = 1000


def kernel_distance(
    real: Tensor,
    fake: Tensor,
    generator: torch.Generator | None = None,
    *,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy, averaged over random subsets.

    It is not biased by the number of images, and may come out below 0 where the two sides are alike. Needs all features.

    Args:
        real, fake: Features [N, D] and [M, D] of any float dtype.
        generator: Draws the subsets, without replacement within each: first the fakes, then the reals.
        subsets: How many subsets.
        subset_size: Images of each side in a subset; fewer where a side has fewer.
    """
    size = min(subset_size, len(real), len(fake))

    def draw(count: int) -> Tensor:
        return torch.randperm(count, generator=generator)[:size]

    return mean_discrepancy(real, fake, ((draw(len(fake)), draw(len(real))) for _ in range(subsets)))


def mean_discrepancy(real: Tensor, fake: Tensor, subsets: Iterable[tuple[Tensor, Tensor]]) -> float:
    """The mean of `squared_discrepancy` over subsets given as indices of fakes and of reals, int64 [m] each."""
    values = [squared_discrepancy(real[of_real].double(), fake[of_fake].double()) for of_fake, of_real in subsets]
    return float(torch.stack(values).mean())


def squared_discrepancy(x: Tensor, y: Tensor) -> Tensor:
    """MMD^2 of features [m, D] each under the cubic kernel (x.y / D + 1)^3: the paper's unbiased estimator, a scalar."""
    m, dim = x.shape
    xx, yy, xy = ((a @ b.T / dim + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    within = xx.sum() - xx.trace() + yy.sum() - yy.trace()
    return within / (m * (m - 1)) - 2 * xy.mean()


class KernelDistance(FeatureMetric):
    """`kid`."""

    name = "kid"
    help = "kernel distance of features"
    outputs = (Output("kid", higher=False),)

    def compare(self, real: Tensors, fake: Tensors, *, seed: int, device: torch.device) -> Outcome:
        """See `kernel_distance`."""
        return Outcome({"kid": kernel_distance(real["rows"], fake["rows"], random_of(seed, "metrics/kid"))})

    def notes(self, reader: FeatureNetwork, fakes: int, reals: int) -> list[str]:
        """Small subsets are not those of the papers."""
        size = min(fakes, reals)
        return [f"subsets of {size} images, where the papers take {SUBSET_SIZE}"] if size < SUBSET_SIZE else []

"""How much of the fakes lies among the reals, and how much of the reals among the fakes.

Precision and recall: Kynkäänniemi et al. 2019, "Improved precision and recall metric", section 3, equation 2. Density and
coverage: Naeem et al. 2020, "Reliable fidelity and diversity metrics", section 3. All features must be in memory; of the
distances only `ROWS` rows at a time are.
"""

import torch
from torch import Tensor

from stylegan.metrics.collect import Tensors
from stylegan.metrics.features import VGG16
from stylegan.metrics.metric import FeatureMetric, Outcome, Output

NEIGHBOURS = 3  # of precision and recall, as published
DENSITY_NEIGHBOURS = 5  # of density and coverage, as published
ROWS = 1024


def precision_recall(real: Tensor, fake: Tensor, *, k: int = NEIGHBOURS, half: bool = True) -> tuple[float, float]:
    """Precision: the share of fakes within some real's ball. Recall: the share of reals within some fake's.

    The ball of an image reaches to its k-th nearest neighbour of its own side.

    Args:
        real, fake: Features [N, D] and [M, D].
        k: Which neighbour bounds a ball; both sides need more images than that.
        half: Round features to float16 first, as the papers' code does.
    """
    if half:
        real, fake = (side.half().float() for side in (real, fake))
    return _share_inside(fake, real, _radii(real, k)), _share_inside(real, fake, _radii(fake, k))


def density_coverage(real: Tensor, fake: Tensor, *, k: int = DENSITY_NEIGHBOURS) -> tuple[float, float]:
    """Density: in how many balls of reals a fake lies, divided by k; may exceed 1. Coverage: the share of reals' balls that
    hold a fake. Unlike precision and recall they do not rise because of a few outliers. Arguments as above.
    """
    radii = _radii(real, k)
    inside = torch.zeros(len(real), dtype=torch.int64)
    for rows in fake.split(ROWS):
        inside += (torch.cdist(rows, real) <= radii).sum(0).cpu()
    return float(inside.sum()) / (k * len(fake)), float((inside > 0).double().mean())


class PrecisionRecall(FeatureMetric):
    """`pr`."""

    name = "pr"
    help = "precision and recall"
    outputs = (Output("precision", higher=True), Output("recall", higher=True))
    features = VGG16
    least = NEIGHBOURS + 2

    def compare(self, real: Tensors, fake: Tensors, *, seed: int, device: torch.device) -> Outcome:
        """See `precision_recall`."""
        precision, recall = precision_recall(real["rows"].to(device), fake["rows"].to(device))
        return Outcome({"precision": precision, "recall": recall})


class DensityCoverage(FeatureMetric):
    """`dc`."""

    name = "dc"
    help = "density and coverage"
    outputs = (Output("density", higher=True), Output("coverage", higher=True))
    features = VGG16
    least = DENSITY_NEIGHBOURS + 2

    def compare(self, real: Tensors, fake: Tensors, *, seed: int, device: torch.device) -> Outcome:
        """See `density_coverage`."""
        density, coverage = density_coverage(real["rows"].to(device), fake["rows"].to(device))
        return Outcome({"density": density, "coverage": coverage})


def _radii(features: Tensor, k: int) -> Tensor:
    """The distance of each of [N, D] to its k-th nearest neighbour, [N]; the nearest of all is the image itself."""
    return torch.cat([torch.cdist(rows, features).kthvalue(k + 1, dim=1).values for rows in features.split(ROWS)])


def _share_inside(probes: Tensor, centres: Tensor, radii: Tensor) -> float:
    """The share of `probes` [N, D] that lie within the ball of some of `centres` [M, D] with `radii` [M]."""
    inside = [(torch.cdist(rows, centres) <= radii).any(1) for rows in probes.split(ROWS)]
    return float(torch.cat(inside).double().mean())

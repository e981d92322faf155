"""Fréchet inception distance (Heusel et al. 2017, "GANs trained by a two time-scale update rule", equation 6)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from stylegan import distributed
from stylegan.metrics.collect import Batch, Collector, Tensors
from stylegan.metrics.features import FeatureNetwork
from stylegan.metrics.metric import FeatureMetric, Outcome, Output


@dataclass
class Moments:
    """Sums from which mean and covariance follow; they add up over batches and ranks, in memory of one size.

    Attributes:
        count: Features seen, float64 [].
        total: Their sum, float64 [D].
        outer: The sum of their outer products, float64 [D, D].
    """

    count: Tensor
    total: Tensor
    outer: Tensor

    @classmethod
    def empty(cls, dim: int) -> "Moments":
        """The moments of nothing yet, of features of `dim` numbers."""
        return cls(*(torch.zeros(shape, dtype=torch.float64) for shape in ([], [dim], [dim, dim])))

    @classmethod
    def of(cls, features: Tensor) -> "Moments":
        """The moments of features [N, D]."""
        moments = cls.empty(features.shape[1])
        moments.add(features)
        return moments

    def add(self, features: Tensor) -> None:
        """Count features [N, D] of any float dtype; the sums are taken in float64."""
        x = features.double().cpu()
        self.count += len(x)
        self.total += x.sum(0)
        self.outer += x.T @ x

    @property
    def mean(self) -> Tensor:
        """float64 [D]."""
        return self.total / self.count

    def covariance(self, ddof: int = 0) -> Tensor:
        """float64 [D, D]: divided by N - ddof. The papers' code divides by N, torch-fidelity and numpy by N - 1."""
        outer = self.outer - torch.outer(self.total, self.total) / self.count
        return outer / (self.count - ddof)


def frechet_distance(real: Moments, fake: Moments, ddof: int = 0) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)): the squared distance of two normal distributions.

    Args:
        real, fake: Moments of the features of both sides.
        ddof: See `Moments.covariance`.
    """
    c1, c2 = real.covariance(ddof), fake.covariance(ddof)
    shift = (real.mean - fake.mean).square().sum()
    # A covariance is a difference of second moments, and no more exact than these.
    rounding = len(c1) * torch.finfo(c1.dtype).eps * float((real.outer.diagonal() / real.count).max())
    return float(shift + c1.trace() + c2.trace() - 2 * trace_of_root(c1, c2, rounding))


def trace_of_root(a: Tensor, b: Tensor, rounding: float = 0.0) -> Tensor:
    """tr((A B)^(1/2)) for symmetric A, B without negative eigenvalues, float64 [D, D] each.

    A B has the eigenvalues of S^T B S with S S^T = A, which is symmetric: two symmetric eigen-decompositions give real,
    non-negative values whatever the rank of A and B. A general matrix root of the product (scipy.linalg.sqrtm) may come
    out complex or not at all where there are fewer images than features.

    Args:
        a, b: A and B.
        rounding: Eigenvalues of A up to here are taken for 0. With fewer images than features most are, and the roots of what
            rounding makes of them would add up to something that can be seen.
    """
    values, vectors = torch.linalg.eigh(a)
    there = values > rounding
    root = vectors[:, there] * values[there].sqrt()
    product = root.T @ b @ root
    return torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0).sqrt().sum()


class MomentsCollector:
    """Sums for mean and covariance of features; memory of one size."""

    def __init__(self, dim: int) -> None:
        self._moments = Moments.empty(dim)

    def add(self, batch: Batch) -> None:
        """See `Collector`."""
        self._moments.add(batch.features)

    def reduce(self, device: torch.device) -> Tensors:
        """See `Collector`."""
        return {name: distributed.sum_over_ranks(part, device) for name, part in vars(self._moments).items()}


class FrechetDistance(FeatureMetric):
    """`fid`."""

    name = "fid"
    help = "Fréchet distance of features"
    outputs = (Output("fid", higher=False),)
    collected = "moments"

    def collector(self, reader: FeatureNetwork, count: int) -> Collector:
        """Collects `Moments`."""
        return MomentsCollector(reader.dim)

    def compare(self, real: Tensors, fake: Tensors, *, seed: int, device: torch.device) -> Outcome:
        """See `frechet_distance`."""
        return Outcome({"fid": frechet_distance(Moments(**real), Moments(**fake))})

    def notes(self, reader: FeatureNetwork, fakes: int, reals: int) -> list[str]:
        """Few images bias it."""
        if min(fakes, reals) >= reader.dim:
            return []
        return [
            f"{min(fakes, reals)} images for {reader.dim} features: so few bias FID upwards; compare it only with FID of as "
            "many, or use kid, which has no such bias"
        ]

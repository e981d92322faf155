"""Directions in latent space: of largest variance, in closed form from the weights, and between two kinds of images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stylegan.errors import UserError


@dataclass(frozen=True)
class Components:
    """Principal components.

    Attributes:
        mean: Of the points, float64 [D].
        vectors: Of length 1, the one of the largest variance first, float64 [K, D]; each up to its sign.
        stdev: The standard deviation along each, float64 [K].
        share: Of the whole variance that each has, float64 [K].
    """

    mean: Tensor
    vectors: Tensor
    stdev: Tensor
    share: Tensor


def principal_components(points: Tensor, count: int) -> Components:
    """The directions in which points vary most (Härkönen et al. 2020, "GANSpace", section 2.1), by a decomposition of all.

    Args:
        points: [N, D] with N > 1.
        count: At most min(N, D).
    """
    x = points.double()
    mean = x.mean(dim=0)
    _, values, vectors = torch.linalg.svd(x - mean, full_matrices=False)
    variance = values.square() / len(x)
    share = variance / (x - mean).square().mean(dim=0).sum()
    return Components(mean, vectors[:count], variance[:count].sqrt(), share[:count])


class IncrementalComponents:
    """The same from batches, without holding all points; what it leaves out on the way it cannot regain, so it is not exact.

    Ross et al. 2008, "Incremental Learning for Robust Visual Tracking".

    Args:
        count: How many; every batch must have at least so many points.
    """

    def __init__(self, count: int) -> None:
        self.count, self.seen = count, 0
        self.mean = self.variance = torch.zeros(0, dtype=torch.float64)
        self.values = torch.zeros(0, dtype=torch.float64)
        self.vectors = torch.zeros(0, 0, dtype=torch.float64)

    def add(self, points: Tensor) -> None:
        """Count a batch [N, D] in."""
        x, n = points.double(), len(points)
        own_mean, total = x.mean(dim=0), self.seen + n
        if self.seen == 0:
            stacked, mean, squares = x - own_mean, own_mean, (x - own_mean).square().sum(dim=0)
        else:
            apart = self.mean - own_mean
            shift = (self.seen * n / total) ** 0.5 * apart
            stacked = torch.cat([self.values[:, None] * self.vectors, x - own_mean, shift[None]])
            mean = (self.seen * self.mean + n * own_mean) / total
            squares = self.variance * self.seen + (x - own_mean).square().sum(dim=0) + shift.square()
        _, values, vectors = torch.linalg.svd(stacked, full_matrices=False)
        self.values, self.vectors = values[: self.count], vectors[: self.count]
        self.mean, self.variance, self.seen = mean, squares / total, total

    def components(self) -> Components:
        """Those found so far; deviations are estimates for the population (N - 1)."""
        variance = self.values.square() / (self.seen - 1)
        share = self.values.square() / (self.variance.sum() * self.seen)
        return Components(self.mean, self.vectors, variance.sqrt(), share)


def factorised(matrices: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The directions that change the inputs of layers most: eigenvectors of A^T A, A the rows of affine maps at length 1.

    Shen and Zhou 2021, "Closed-Form Factorization of Latent Semantics in GANs", equation 6.

    Args:
        matrices: Weights [outputs, D] of each map.

    Returns:
        Eigenvalues float64 [D], the largest first, and the vectors float64 [D, D] that belong to them, each up to its sign.
    """
    rows = torch.cat([matrix.double() for matrix in matrices])
    rows = rows / rows.norm(dim=1, keepdim=True)
    values, vectors = torch.linalg.eigh(rows.T @ rows)
    return values.flip(0), vectors.T.flip(0)


def boundary(codes: Tensor, scores: Tensor, *, share: float = 0.02, split: float = 0.7, seed: int = 0) -> Tensor:
    """The normal of the plane between points with the highest and with the lowest scores (Shen et al. 2020, "InterFaceGAN",
    section 3.2), [D] of length 1, towards high scores.

    Args:
        codes: [N, D].
        scores: [N]; those that are not finite are left out.
        share: How many of both ends are taken: a part of all, or a number if above 1.
        split: Which part of these it learns from.
        seed: What shuffles them.

    Raises:
        UserError: There are too few points.
    """
    known = scores.isfinite()
    codes, scores = codes[known], scores[known]
    order = scores.argsort(descending=True, stable=True)
    taken = min(int(len(order) * share) if share <= 1 else int(share), len(order) // 2)
    learned = int(taken * split)
    if learned < 1:
        raise UserError(
            f"{len(order)} scores are too few: {taken} of each end are taken, and none is left to learn from"
        )
    random = np.random.RandomState(seed)
    ends = []
    for end in (order[:taken], order[-taken:]):
        shuffled = end.numpy().copy()
        random.shuffle(shuffled)
        ends.append(torch.from_numpy(shuffled[:learned]))
    return separating_plane(codes[ends[0]], codes[ends[1]])


def separating_plane(high: Tensor, low: Tensor, *, cost: float = 1.0, tolerance: float = 1e-6) -> Tensor:
    """The normal of the linear support vector machine between two sets [N, D] and [M, D], [D] of length 1, towards `high`.

    Its dual problem is solved pair by pair, always the two points that violate the conditions of the optimum most (Platt 1998;
    Keerthi et al. 2001).
    """
    x = np.concatenate([high.double().numpy(), low.double().numpy()])
    y = np.concatenate([np.ones(len(high)), -np.ones(len(low))])
    alpha, gradient = np.zeros(len(x)), -np.ones(len(x))
    gram = x @ x.T
    for _ in range(1000 * len(x)):
        slack = -y * gradient
        may_grow = ((y > 0) & (alpha < cost)) | ((y < 0) & (alpha > 0))
        may_fall = ((y > 0) & (alpha > 0)) | ((y < 0) & (alpha < cost))
        i = int(np.where(may_grow, slack, -np.inf).argmax())
        j = int(np.where(may_fall, slack, np.inf).argmin())
        if slack[i] - slack[j] < tolerance:
            break
        curvature = max(gram[i, i] + gram[j, j] - 2 * gram[i, j], 1e-12)
        step = (slack[i] - slack[j]) / curvature
        step = min(step, cost - alpha[i] if y[i] > 0 else alpha[i], alpha[j] if y[j] > 0 else cost - alpha[j])
        alpha[i] += y[i] * step
        alpha[j] -= y[j] * step
        gradient += y * step * (gram[:, i] - gram[:, j])
    normal = torch.from_numpy((alpha * y) @ x)
    return normal / normal.norm()


def without(direction: Tensor, others: Sequence[Tensor]) -> Tensor:
    """A direction [D] orthogonal to others, so that it leaves alone what they change (InterFaceGAN, 3.3); of length 1."""
    if not others:
        return direction / direction.norm()
    basis, _ = torch.linalg.qr(torch.stack(list(others), dim=1).double())
    rest = direction.double() - basis @ (basis.T @ direction.double())
    return (rest / rest.norm()).to(direction.dtype)

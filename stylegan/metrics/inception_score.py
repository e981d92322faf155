"""Inception score (Salimans et al. 2016, "Improved techniques for training GANs", section 4)."""

import torch
from torch import Tensor

from stylegan import distributed
from stylegan.metrics.collect import Batch, Collector, Tensors
from stylegan.metrics.features import FeatureNetwork
from stylegan.metrics.metric import FeatureMetric, Outcome, Output

SPLITS = 10


class SplitScores:
    """The sums that the score needs, for each of ten consecutive parts of the images: memory of one size.

    The score of a part is exp(mean of KL(p(y|x) || p(y))), and the KL's mean is E[sum p log p] - sum q log q with q = E[p].

    Args:
        count: How many images there will be.
        classes: Length of the logits.
        splits: How many parts.
    """

    def __init__(self, count: int, classes: int, splits: int = SPLITS) -> None:
        self.bounds = torch.tensor([i * count // splits for i in range(1, splits + 1)])
        self.images = torch.zeros(splits, dtype=torch.float64)
        self.negative_entropy = torch.zeros(splits, dtype=torch.float64)
        self.probabilities = torch.zeros(splits, classes, dtype=torch.float64)

    def add(self, logits: Tensor, start: int) -> None:
        """Count the logits [n, classes] of the images start, start + 1, ..."""
        logs = logits.double().cpu().log_softmax(1)
        p = logs.exp()
        part = torch.searchsorted(self.bounds, torch.arange(start, start + len(p)), right=True)
        self.images.index_add_(0, part, torch.ones(len(p), dtype=torch.float64))
        self.negative_entropy.index_add_(0, part, (p * logs).sum(1))
        self.probabilities.index_add_(0, part, p)

    def score(self) -> tuple[float, float]:
        """Mean and standard deviation (divided by the number of parts) over the parts."""
        q = self.probabilities / self.images[:, None]
        divergence = self.negative_entropy / self.images - torch.xlogy(q, q).sum(1)
        scores = divergence.exp()
        return float(scores.mean()), float(scores.std(correction=0))


class ScoresCollector:
    """Sums for the inception score; memory of one size."""

    def __init__(self, count: int, classes: int) -> None:
        self._scores = SplitScores(count, classes)

    def add(self, batch: Batch) -> None:
        """See `Collector`."""
        self._scores.add(batch.logits, batch.start)

    def reduce(self, device: torch.device) -> Tensors:
        """See `Collector`."""
        for name in ("images", "negative_entropy", "probabilities"):
            setattr(self._scores, name, distributed.sum_over_ranks(getattr(self._scores, name), device))
        mean, deviation = self._scores.score()
        return {"mean": torch.tensor(mean, dtype=torch.float64), "std": torch.tensor(deviation, dtype=torch.float64)}


class InceptionScore(FeatureMetric):
    """`is`. It looks at fakes only."""

    name = "is"
    help = "inception score"
    outputs = (Output("is", higher=True), Output("is_std", higher=False))
    least = SPLITS
    collected = "scores"
    uses_reals = False

    def collector(self, reader: FeatureNetwork, count: int) -> Collector:
        """Collects the score itself."""
        return ScoresCollector(count, reader.classes)

    def compare(self, real: Tensors, fake: Tensors, *, seed: int, device: torch.device) -> Outcome:
        """See `SplitScores`."""
        return Outcome({"is": float(fake["mean"]), "is_std": float(fake["std"])})

    def notes(self, reader: FeatureNetwork, fakes: int, reals: int) -> list[str]:
        """Small parts say little."""
        return [f"fewer than ten images in each of its {SPLITS} parts"] if fakes < 10 * SPLITS else []

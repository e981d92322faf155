"""A small detector: a line drawn between the spectra of real and of generated pictures."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SpectrumClassifier:
    """Ridge regression on standardised features (Hoerl and Kennard 1970), as Durall et al. 2020 classify faces by spectra.

    Attributes:
        mean, scale: float64 [F], by which features are standardised.
        weight: float64 [F].

    Example:
        >>> real, fake = (torch.stack([spectrum(image) for image in images]) for images in (photographs, generated))
        >>> SpectrumClassifier.fit(real, fake).score(spectrum(image)[None])
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor

    @classmethod
    def fit(cls, real: Tensor, fake: Tensor, ridge: float = 0.01) -> "SpectrumClassifier":
        """Learn to tell them apart; both kinds weigh the same, however many there are.

        Args:
            real: [N, F], such as of `spectrum`.
            fake: [M, F].
            ridge: What is added to the diagonal of the features' correlations; above 0.

        Raises:
            ValueError: Other shapes, none of a kind, what is no finite number, or a ridge that is not above 0.
        """
        real, fake = real.double(), fake.double()
        if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1] or not len(real) or not len(fake):
            raise ValueError(f"spectra must be [N, F] and [M, F], got {list(real.shape)} and {list(fake.shape)}")
        if not bool(real.isfinite().all() and fake.isfinite().all()) or not ridge > 0:
            raise ValueError("spectra must be finite, and the ridge above 0")
        x, y = torch.cat([real, fake]), torch.cat([-real.new_ones(len(real)), fake.new_ones(len(fake))])
        share = torch.cat([real.new_full([len(real)], 0.5 / len(real)), fake.new_full([len(fake)], 0.5 / len(fake))])
        mean = share @ x
        scale = (share @ (x - mean).square()).sqrt().clamp(min=1e-9)
        x = (x - mean) / scale
        correlations = x.T @ (share[:, None] * x)
        weight = torch.linalg.solve(correlations + ridge * torch.eye(x.shape[1], dtype=x.dtype), x.T @ (share * y))
        return cls(mean, scale, weight)

    def score(self, spectra: Tensor) -> Tensor:
        """Float64 [N] of [N, F]: above 0 looks generated, below 0 real."""
        return ((spectra.double() - self.mean) / self.scale) @ self.weight

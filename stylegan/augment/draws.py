"""The random numbers behind augmentations, by the name of what they decide, or a fixed percentile of each for tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from stylegan.rng import normal, uniform

NAMES = (
    "xflip",
    "rotate90",
    "xint",
    "scale",
    "rotate",
    "aniso",
    "rotate_again",
    "xfrac",
    "brightness",
    "contrast",
    "lumaflip",
    "hue",
    "saturation",
    "imgfilter0",
    "imgfilter1",
    "imgfilter2",
    "imgfilter3",
    "noise",
    "cutout",
)
"""Every decision has a place of its own in the table of numbers: what one augmentation draws does not depend on the others."""


class Draws(Protocol):
    """Numbers for n images, float64; `axis` 0 is x, 1 is y."""

    def happens(self, name: str, probability: float) -> Tensor:
        """Whether an augmentation happens to each image, bool [n]."""
        ...

    def uniform(self, name: str, axis: int = 0) -> Tensor:
        """Uniform in [0, 1), [n]."""
        ...

    def normal(self, name: str, axis: int = 0) -> Tensor:
        """Standard normal, [n]."""
        ...

    def half_normal(self, name: str) -> Tensor:
        """The magnitude of a standard normal, [n]."""
        ...


@dataclass(frozen=True)
class RandomDraws:
    """Numbers for n images.

    Attributes:
        chances: Uniform [len(NAMES), n].
        uniforms: Uniform [len(NAMES), 2, n].
        normals: Standard normal [len(NAMES), 2, n].
    """

    chances: Tensor
    uniforms: Tensor
    normals: Tensor

    @classmethod
    def draw(cls, seed: int, stream: str, indices: Sequence[int]) -> "RandomDraws":
        """All numbers for some images; arguments as for `stylegan.rng.normal`."""
        k, cpu = len(NAMES), torch.device("cpu")
        chances = uniform(seed, f"{stream}/chances", indices, [k], cpu)
        uniforms = uniform(seed, f"{stream}/uniforms", indices, [k, 2], cpu)
        normals = normal(seed, f"{stream}/normals", indices, [k, 2], cpu)
        return cls(*(t.double().movedim(0, -1) for t in (chances, uniforms, normals)))

    def happens(self, name: str, probability: float) -> Tensor:
        """See `Draws`."""
        return self.chances[NAMES.index(name)] < probability

    def uniform(self, name: str, axis: int = 0) -> Tensor:
        """See `Draws`."""
        return self.uniforms[NAMES.index(name), axis]

    def normal(self, name: str, axis: int = 0) -> Tensor:
        """See `Draws`."""
        return self.normals[NAMES.index(name), axis]

    def half_normal(self, name: str) -> Tensor:
        """See `Draws`."""
        return self.normal(name).abs()


@dataclass(frozen=True)
class PercentileDraws:
    """The same percentile of every distribution for all of n images; whatever can happen does. For comparisons.

    A normal's is taken as erfinv(2 p - 1), without the square root of two: so the recorded numbers of the papers'
    implementation have it.

    Attributes:
        n: How many images.
        percentile: From 0 to 1.
    """

    n: int
    percentile: float

    def _all(self, value: float | Tensor) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float64).expand(self.n)

    def happens(self, name: str, probability: float) -> Tensor:
        """See `Draws`."""
        return torch.full([self.n], probability > 0)

    def uniform(self, name: str, axis: int = 0) -> Tensor:
        """See `Draws`. The second rotation would undo or double the first: it turns by nothing."""
        return self._all(0.5 if name == "rotate_again" else self.percentile)

    def normal(self, name: str, axis: int = 0) -> Tensor:
        """See `Draws`."""
        return torch.erfinv(self._all(2 * self.percentile - 1))

    def half_normal(self, name: str) -> Tensor:
        """See `Draws`."""
        return torch.erfinv(self._all(self.percentile))

"""The random numbers behind augmentations, by the name of what they decide, or a fixed percentile of each for tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from stylegan.augment.strengths import Strengths
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

SYMMETRIC = ("xint", "rotate", "rotate_again", "hue")
"""Where the uniform number that changes nothing is 1/2; elsewhere it is 0."""


class Draws(Protocol):
    """Numbers for n images, float64, all on one device. Where an augmentation does not happen to an image, they are those that
    change nothing: 0, and 1/2 for uniform ones that stand for a symmetric range."""

    def happens(self, name: str) -> Tensor:
        """Whether an augmentation happens to each image, bool [n]."""
        ...

    def uniforms(self, name: str) -> Tensor:
        """Uniform in [0, 1), [2, n]: one for x, one for y."""
        ...

    def normals(self, name: str) -> Tensor:
        """Standard normal, [2, n]."""
        ...

    def half_normal(self, name: str) -> Tensor:
        """The magnitude of a standard normal, [n]."""
        ...


@dataclass(frozen=True)
class RandomDraws:
    """Numbers for n images.

    Attributes:
        happened: bool [len(NAMES), n].
        uniform: [len(NAMES), 2, n].
        normal: [len(NAMES), 2, n].
    """

    happened: Tensor
    uniform: Tensor
    normal: Tensor

    @classmethod
    def draw(
        cls,
        seed: int,
        stream: str,
        indices: Sequence[int] | Tensor,
        strengths: Strengths,
        p: float | Tensor,
        device: torch.device | str,
    ) -> "RandomDraws":
        """All numbers for some images, made on a device without a look at any; arguments as for `stylegan.rng.normal`.

        Args:
            strengths: With the factors of p.
            p: Overall probability, a number or float64 [] on the device.
        """
        k = len(NAMES)
        chances = uniform(seed, f"{stream}/chances", indices, [k], device)
        uniforms = uniform(seed, f"{stream}/uniforms", indices, [k, 2], device)
        normals = normal(seed, f"{stream}/normals", indices, [k, 2], device)
        limits = probabilities(strengths, p, chances.device)
        happened = chances.t() < limits[:, None]
        neutral, zero = _neutral(chances.device)
        uniforms, normals = (
            torch.where(happened[:, None], numbers.double().movedim(0, -1), otherwise)
            for numbers, otherwise in ((uniforms, neutral), (normals, zero))
        )
        return cls(happened, uniforms, normals)

    def happens(self, name: str) -> Tensor:
        """See `Draws`."""
        return self.happened[NAMES.index(name)]

    def uniforms(self, name: str) -> Tensor:
        """See `Draws`."""
        return self.uniform[NAMES.index(name)]

    def normals(self, name: str) -> Tensor:
        """See `Draws`."""
        return self.normal[NAMES.index(name)]

    def half_normal(self, name: str) -> Tensor:
        """See `Draws`."""
        return self.normals(name)[0].abs()


def probabilities(strengths: Strengths, p: float | Tensor, device: torch.device) -> Tensor:
    """How likely each of `NAMES` is, float64 [len(NAMES)]; p as for `RandomDraws.draw`."""
    if not isinstance(p, Tensor):
        p = torch.full([], p, dtype=torch.float64, device=device)
    factors, twice = _factors(strengths, device)
    once = factors * p
    # 1 - sqrt(1 - p) twice is p once.
    return torch.where(twice, 1 - (1 - once.clamp(max=1)).sqrt(), once)


@cache
def _factors(strengths: Strengths, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of p, float64 [len(NAMES)], and which share it: the two rotations, before and after stretching (ADA, appendix B)."""
    factors = torch.tensor([strengths.factor(name) for name in NAMES], dtype=torch.float64)
    return factors.to(device), torch.tensor([name in ("rotate", "rotate_again") for name in NAMES]).to(device)


@cache
def _neutral(device: torch.device) -> tuple[Tensor, Tensor]:
    """Numbers that change nothing: uniform [len(NAMES), 1, 1] and normal []."""
    uniforms = torch.tensor([0.5 * (name in SYMMETRIC) for name in NAMES], dtype=torch.float64)[:, None, None]
    return uniforms.to(device), torch.zeros([], dtype=torch.float64, device=device)


@dataclass(frozen=True)
class PercentileDraws:
    """The same percentile of every distribution for all of n images; whatever is on happens. For comparisons.

    A normal's is taken as erfinv(2 p - 1), without the square root of two: so the recorded numbers of the papers'
    implementation have it.

    Attributes:
        n: How many images.
        percentile: From 0 to 1.
        strengths: What is on.
    """

    n: int
    percentile: float
    strengths: Strengths

    def _all(self, name: str, value: float, neutral: float) -> Tensor:
        value = value if self.strengths.factor(name) > 0 else neutral
        return torch.full([2, self.n], value, dtype=torch.float64)

    def happens(self, name: str) -> Tensor:
        """See `Draws`."""
        return torch.full([self.n], self.strengths.factor(name) > 0)

    def uniforms(self, name: str) -> Tensor:
        """See `Draws`. The second rotation would undo or double the first: it turns by nothing."""
        neutral = 0.5 * (name in SYMMETRIC)
        return self._all(name, neutral if name == "rotate_again" else self.percentile, neutral)

    def normals(self, name: str) -> Tensor:
        """See `Draws`."""
        return torch.erfinv(self._all(name, 2 * self.percentile - 1, 0.0))

    def half_normal(self, name: str) -> Tensor:
        """See `Draws`."""
        return torch.erfinv(self._all(name, self.percentile, 0.0))[0]

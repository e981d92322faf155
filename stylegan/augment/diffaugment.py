"""DiffAugment: few augmentations, always used (Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GANs").

Every image is changed every time, by the policies that are on, in the order colour, translation, cutout.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stylegan.errors import UserError, nearest
from stylegan.rng import uniform

POLICIES = ("color", "translation", "cutout")
SHIFT = 1 / 8  # largest translation as a share of the side (section 4)
HOLE = 1 / 2  # side of the cut-out as a share of the image's (section 4)


@dataclass(frozen=True)
class DiffAugmentation:
    """What happens to each of n images; None for a policy that is off.

    Attributes:
        brightness: What is added [n], uniform in [-0.5, 0.5).
        saturation: Factor of a colour's distance from grey [n], uniform in [0, 2).
        contrast: Factor of a pixel's distance from the image's mean [n], uniform in [0.5, 1.5).
        shift: Pixels to the right and down, int64 [n, 2].
        hole: First column and row of the cut-out, int64 [n, 2], which may lie outside.
    """

    brightness: Tensor | None = None
    saturation: Tensor | None = None
    contrast: Tensor | None = None
    shift: Tensor | None = None
    hole: Tensor | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Augment [n, C, H, W]; what moves in or is cut out is 0, the middle of the range. Alpha keeps its values."""
        if self.brightness is not None and self.saturation is not None and self.contrast is not None:
            rgb, alpha = images[:, :3], images[:, 3:]
            rgb = rgb + _each(self.brightness, rgb)
            grey = rgb.mean(dim=1, keepdim=True)
            rgb = (rgb - grey) * _each(self.saturation, rgb) + grey
            mean = rgb.mean(dim=[1, 2, 3], keepdim=True)
            rgb = (rgb - mean) * _each(self.contrast, rgb) + mean
            images = torch.cat([rgb, alpha], dim=1)
        if self.shift is not None:
            images = _shifted(images, self.shift[:, 0], 3)
            images = _shifted(images, self.shift[:, 1], 2)
        if self.hole is not None:
            inside = [_within(images.shape[dim], self.hole[:, axis]) for axis, dim in enumerate((3, 2))]
            keep = ~(inside[0][:, None, None, :] & inside[1][:, None, :, None])
            images = images * keep.to(images.dtype)
        return images


class DiffAugment:
    """Decides what happens to images of one size.

    Attributes:
        policies: Which of `POLICIES` are on.
        resolution: (H, W).
    """

    def __init__(self, policies: Sequence[str], *, resolution: tuple[int, int]):
        """Raises a `UserError` for policies that do not exist, or none."""
        check_policies(policies)
        self.policies, self.resolution = frozenset(policies), resolution

    def draw(
        self, seed: int, stream: str, indices: Sequence[int] | Tensor, p: float | Tensor, device: torch.device | str
    ) -> DiffAugmentation:
        """See `stylegan.augment.pipe.Augment`; p plays no part."""
        drawn = uniform(seed, stream, indices, [7], device).double().T
        sides = tuple(reversed(self.resolution))
        found = dict[str, Any]()
        if "color" in self.policies:
            b, s, c = drawn[:3].to(torch.float32)
            found |= {"brightness": b - 0.5, "saturation": 2 * s, "contrast": c + 0.5}
        if "translation" in self.policies:
            most = [int(side * SHIFT + 0.5) for side in sides]
            shift = [_integers(u, -m, m) for u, m in zip(drawn[3:5], most, strict=True)]
            found["shift"] = torch.stack(shift, dim=1)
        if "cutout" in self.policies:
            sizes = [_hole_size(side) for side in sides]
            centre = [_integers(u, 0, k - h % 2) for u, k, h in zip(drawn[5:], sides, sizes, strict=True)]
            hole = [c - h // 2 for c, h in zip(centre, sizes, strict=True)]
            found["hole"] = torch.stack(hole, dim=1)
        return DiffAugmentation(**found)


def check_policies(policies: Sequence[str]) -> None:
    """Raise a `UserError` for policies that do not exist, or none."""
    for policy in policies:
        if policy not in POLICIES:
            raise UserError(f"augment.policy: {policy} is unknown; {nearest(policy, POLICIES)}")
    if not policies:
        raise UserError(f"augment.policy is empty; name some of {', '.join(POLICIES)}, or say augment=none")


def _each(value: Tensor, images: Tensor) -> Tensor:
    return value.to(images.dtype)[:, None, None, None]


def _integers(uniform: Tensor, low: int, high: int) -> Tensor:
    """Whole numbers low .. high, both included."""
    return (uniform * (high - low + 1)).floor().long() + low


def _hole_size(side: int) -> int:
    return int(side * HOLE + 0.5)


def _within(side: int, start: Tensor) -> Tensor:
    """Which of `side` pixels lie in the hole that begins at `start` [n], bool [n, side]."""
    place = torch.arange(side, device=start.device) - start[:, None]
    return (place >= 0) & (place < _hole_size(side))


def _shifted(images: Tensor, shift: Tensor, dim: int) -> Tensor:
    """Each image moved along one axis by whole pixels [n], zeros moving in."""
    side = images.shape[dim]
    source = torch.arange(side, device=images.device) - shift[:, None]
    shape = [len(images), 1, 1, 1]
    shape[dim] = side
    index = source.clamp(0, side - 1).view(shape).expand_as(images)
    inside = ((source >= 0) & (source < side)).view(shape)
    return images.gather(dim, index) * inside.to(images.dtype)

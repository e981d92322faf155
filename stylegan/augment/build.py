"""The settings of augmentation: from them to what augments images and to what says how often."""

from dataclasses import dataclass, field
from enum import Enum

import torch
from torch import Tensor

from stylegan.augment.ada import ADAController
from stylegan.augment.diffaugment import POLICIES, DiffAugment, check_policies
from stylegan.augment.pipe import Augment, AugmentPipe
from stylegan.augment.strengths import PipeConfig
from stylegan.errors import UserError
from stylegan.schedule import Ramp, Schedule, check_schedules, scheduled, value_at
from stylegan.values import COUNT, KIMG, SHARE, Range, check_values


class AugmentKind(Enum):
    """How images are augmented on their way to the discriminator."""

    none = "none"
    """Not at all."""
    ada = "ada"
    """By the pipeline, as often as the discriminator's overfitting calls for."""
    fixed = "fixed"
    """By the pipeline, at a probability that is given."""
    diffaugment = "diffaugment"
    """By DiffAugment, always."""


@dataclass
class AugmentConfig:
    """Augmentation of what the discriminator sees, real and generated."""

    kind: AugmentKind = field(
        default=AugmentKind.none, metadata={"help": "none, ada, fixed or diffaugment; augment=KIND sets it"}
    )
    p: Schedule = field(
        default=0.0, metadata=scheduled("probability, for ada at the start, for fixed throughout", SHARE)
    )
    p_max: float = field(
        default=1.0,
        metadata={"help": "ada: p never goes beyond; from 0.8 on augmentations may leak into pictures", "range": SHARE},
    )
    target: float = field(
        default=0.6,
        metadata={
            "help": "ada: mean sign of D at training images to hold",
            "range": Range(-1, 1, above=True, below=True),
        },
    )
    speed_kimg: float = field(
        default=500.0,
        metadata={
            "help": "ada: kimg that p takes from 0 to 1; after init_from= the papers' code takes 100",
            "range": KIMG,
        },
    )
    interval: int = field(
        default=4, metadata={"help": "ada: iterations from one change of p to the next", "range": COUNT}
    )
    policy: list[str] = field(
        default_factory=lambda: list(POLICIES), metadata={"help": f"diffaugment: some of {', '.join(POLICIES)}"}
    )
    pipe: PipeConfig = field(default_factory=PipeConfig)

    def __post_init__(self) -> None:
        check_schedules(self, "augment")
        check_values(self, "augment")
        if self.kind is AugmentKind.ada:
            if isinstance(self.p, Ramp):
                raise UserError("augment.p: ada adapts p from where it starts: give a number, or choose augment=fixed")
            if self.p > self.p_max:
                raise UserError(
                    f"augment.p={self.p} is above augment.p_max={self.p_max}; lower p or raise p_max (to 1)"
                )
        check_policies(self.policy)

    def build(self, *, channels: int, resolution: tuple[int, int], fixed: bool = False) -> Augment | None:
        """What augments images of some channels and (H, W), with `fixed` always by the same ops on the same shapes, see
        `AugmentPipe`; None for nothing.

        Raises:
            UserError: What is switched on does not suit the channels, or nothing is.
        """
        if self.kind is AugmentKind.none:
            return None
        if self.kind is AugmentKind.diffaugment:
            return DiffAugment(self.policy, resolution=resolution)
        return AugmentPipe(self.pipe, channels=channels, resolution=resolution, fixed=fixed)

    def build_controller(self, device: torch.device | str = "cpu") -> ADAController | None:
        """What adapts p on a device, where it is adapted."""
        if self.kind is not AugmentKind.ada:
            return None
        return ADAController(value_at(self.p, 0), self.target, self.speed_kimg, self.interval, self.p_max, device)

    def p_at(self, nimg: int, ada: ADAController | None) -> float | Tensor | None:
        """The probability after `nimg` images: the controller's own tensor where it is adapted, which changes in place; None
        where it plays no part."""
        if ada is not None:
            return ada.p
        return value_at(self.p, nimg) if self.kind is AugmentKind.fixed else None

    def __str__(self) -> str:
        """In one line."""
        pipe = self.pipe.preset
        return {
            AugmentKind.none: "none",
            AugmentKind.diffaugment: f"DiffAugment, {', '.join(self.policy)}",
            AugmentKind.fixed: f"{pipe}, p {self.p}",
            AugmentKind.ada: f"ADA, {pipe}, target {self.target:g}, p at most {self.p_max:g}",
        }[self.kind]

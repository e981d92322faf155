"""From a configuration to what augments images and to what says how often."""

from dataclasses import dataclass, field
from enum import Enum

from stylegan.augment.ada import ADAController, LinearStrength
from stylegan.augment.diffaugment import POLICIES, DiffAugment, check_policies
from stylegan.augment.pipe import Augment, AugmentPipe
from stylegan.augment.strengths import PipeConfig
from stylegan.errors import UserError


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
    p: float = field(default=0.0, metadata={"help": "probability, for ada at the start, for fixed throughout"})
    p_end: float | None = field(default=None, metadata={"help": "fixed: p goes there in p_kimg; null: p stays"})
    p_kimg: float = field(default=500.0, metadata={"help": "fixed: kimg from p to p_end"})
    p_max: float = field(
        default=1.0, metadata={"help": "ada: p never goes beyond; from 0.8 on augmentations may leak into pictures"}
    )
    target: float = field(default=0.6, metadata={"help": "ada: mean sign of D at training images to hold"})
    speed_kimg: float = field(
        default=500.0,
        metadata={"help": "ada: kimg that p takes from 0 to 1; after init_from= the papers' code takes 100"},
    )
    interval: int = field(default=4, metadata={"help": "ada: iterations from one change of p to the next"})
    policy: list[str] = field(
        default_factory=lambda: list(POLICIES), metadata={"help": f"diffaugment: some of {', '.join(POLICIES)}"}
    )
    pipe: PipeConfig = field(default_factory=PipeConfig)

    def __post_init__(self) -> None:
        for name in ("p", "p_end", "p_max"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UserError(f"augment.{name}={value} is a probability: from 0 to 1")
        if self.kind is AugmentKind.ada and self.p > self.p_max:
            raise UserError(f"augment.p={self.p} is above augment.p_max={self.p_max}; lower p or raise p_max (to 1)")
        if not -1 < self.target < 1:
            raise UserError(
                f"augment.target={self.target} is a mean of signs: from above -1 to below 1; the papers: 0.6"
            )
        if not self.speed_kimg > 0:
            raise UserError(f"augment.speed_kimg={self.speed_kimg} must be positive")
        if not self.p_kimg >= 0:
            raise UserError(f"augment.p_kimg={self.p_kimg} must not be negative")
        if self.interval < 1:
            raise UserError(f"augment.interval={self.interval} must be at least 1")
        check_policies(self.policy)


def build_augment(config: AugmentConfig, *, channels: int, resolution: tuple[int, int]) -> Augment | None:
    """What augments images of some channels and (H, W); None for nothing.

    Raises:
        UserError: What is switched on does not suit the channels, or nothing is.
    """
    match config.kind:
        case AugmentKind.none:
            return None
        case AugmentKind.diffaugment:
            return DiffAugment(config.policy, resolution=resolution)
        case AugmentKind.ada | AugmentKind.fixed:
            return AugmentPipe(config.pipe, channels=channels, resolution=resolution)


def build_controller(config: AugmentConfig, batch_size: int) -> ADAController | None:
    """What adapts p, where it is adapted."""
    if config.kind is not AugmentKind.ada:
        return None
    step = ADAController.step_size(batch_size, config.interval, config.speed_kimg)
    return ADAController(config.p, config.target, step, config.interval, config.p_max)


def build_strength(config: AugmentConfig) -> LinearStrength | None:
    """How p goes where it is given; None where it is adapted or plays no part."""
    if config.kind is not AugmentKind.fixed:
        return None
    return LinearStrength(config.p, config.p if config.p_end is None else config.p_end, config.p_kimg)

"""The four parts of an iteration, and Adam corrected for the parts that run only now and then."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stylegan.errors import UserError
from stylegan.losses.adversarial import discriminator_loss, generator_loss
from stylegan.losses.base import LossFn
from stylegan.losses.regularizers import PathLengthPenalty, R1Penalty
from stylegan.models.discriminator import Discriminator
from stylegan.models.generator import Generator
from stylegan.training.adam import Adam


@dataclass
class LossConfig:
    """Weights and intervals of the losses."""

    r1_gamma: float | None = field(
        default=None, metadata={"help": "weight of R1; null: 0.0002 * H * W / batch_size (StyleGAN2-ADA, auto)"}
    )
    r1_interval: int = field(default=16, metadata={"help": "iterations from one R1 to the next"})
    pl_weight: float = field(default=2.0, metadata={"help": "weight of path length regularisation; 0: off"})
    pl_interval: int = field(default=4, metadata={"help": "iterations from one path length phase to the next"})
    pl_decay: float = field(default=0.01, metadata={"help": "how fast the target length follows the mean"})
    pl_batch_shrink: int = field(default=2, metadata={"help": "path length uses one image of this many"})
    style_mixing_prob: float = field(default=0.9, metadata={"help": "share of generated images that mix two latents"})
    blur_init_sigma: float = field(
        default=0.0, metadata={"help": "blur of what D sees at the start, in pixels; 0: none (StyleGAN3-R: 10)"}
    )
    blur_fade_kimg: float | None = field(
        default=None, metadata={"help": "kimg in which that blur fades away; null: batch_size * 200 / 32"}
    )

    def __post_init__(self) -> None:
        for name in ("r1_interval", "pl_interval", "pl_batch_shrink"):
            if getattr(self, name) < 1:
                raise UserError(f"loss.{name}={getattr(self, name)} must be at least 1")
        for name in ("r1_gamma", "pl_weight", "blur_init_sigma"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise UserError(f"loss.{name}={value} must not be negative; 0 switches it off")
        if self.blur_fade_kimg is not None and self.blur_fade_kimg <= 0:
            raise UserError(
                f"loss.blur_fade_kimg={self.blur_fade_kimg} must be positive; blur_init_sigma=0 switches blur off"
            )
        if not 0 <= self.style_mixing_prob <= 1:
            raise UserError(f"loss.style_mixing_prob={self.style_mixing_prob} must be from 0 to 1")


@dataclass
class OptimConfig:
    """Adam, and the moving average of the generator."""

    G_lr: float | None = field(
        default=None, metadata={"help": "learning rate of G; null: 0.0025, from 1024 pixels 0.002"}
    )
    D_lr: float | None = field(
        default=None, metadata={"help": "learning rate of D; null: 0.0025, from 1024 pixels 0.002"}
    )
    beta1: float = field(default=0.0, metadata={"help": "Adam's first moment"})
    beta2: float = field(default=0.99, metadata={"help": "Adam's second moment"})
    eps: float = field(default=1e-8, metadata={"help": "Adam's epsilon"})
    ema_kimg: float | None = field(
        default=None, metadata={"help": "half-life of G_ema in kimg; null: batch_size * 10 / 32"}
    )
    ema_rampup: float | None = field(
        default=0.05, metadata={"help": "G_ema's half-life is at most this share of the training so far; null: off"}
    )
    loss_scale: float | None = field(
        default=None, metadata={"help": "factor for gradients on their way through the networks; null: 1, with fp16 64"}
    )

    def __post_init__(self) -> None:
        for name in ("G_lr", "D_lr", "loss_scale"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UserError(f"optim.{name}={value} must be positive")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"optim.{name}={getattr(self, name)} must be from 0 to below 1")


def default_lr(resolution: tuple[int, int]) -> float:
    """Learning rate for [H, W] images (StyleGAN2-ADA, appendix C: 0.0025, at 1024 x 1024 0.002)."""
    return 0.002 if max(resolution) >= 1024 else 0.0025


def default_r1_gamma(resolution: tuple[int, int], batch_size: int) -> float:
    """R1 weight for [H, W] images (StyleGAN2-ADA, appendix C: gamma = 0.0002 * pixels / batch size)."""
    return 0.0002 * resolution[0] * resolution[1] / batch_size


def default_ema_kimg(batch_size: int) -> float:
    """Half-life of G_ema in kimg (StyleGAN2: 10 kimg at a batch of 32, in proportion to the batch)."""
    return batch_size * 10 / 32


def default_blur_fade_kimg(batch_size: int) -> float:
    """In how many kimg blur fades away (StyleGAN3, public configuration: 200 at a batch of 32, in proportion to it)."""
    return batch_size * 200 / 32


def default_loss_scale(*, fp16: bool) -> float:
    """Gradients at single pixels of large images reach the smallest numbers of float16 (6e-8); sums over pixels, its largest
    (65504). 64 lifts the first out and leaves the second room; a power of two changes no bit but the exponent."""
    return 64.0 if fp16 else 1.0


@dataclass(frozen=True)
class Phase:
    """One part of an iteration.

    Attributes:
        name: `Gmain`, `Greg`, `Dmain` or `Dreg`; also the name of its random streams.
        module: The network that it trains; what Freeze-D holds fast is no parameter of it.
        optimizer: Adam of that network; main and regularisation phase share it.
        interval: It runs in every interval-th iteration, its gradient multiplied by as much.
        loss_fn: What it minimises.
    """

    name: str
    module: nn.Module
    optimizer: torch.optim.Optimizer
    interval: int
    loss_fn: LossFn


def lazy_adam(parameters: list[Tensor], lr: float, config: OptimConfig, interval: int | None) -> Adam:
    """Adam for a network whose penalty runs in every `interval`-th iteration (None: it has no penalty).

    Such a network takes interval + 1 steps in `interval` iterations; lr and betas make up for it (StyleGAN2, appendix B,
    "Lazy regularization").
    """
    ratio = 1.0 if interval is None else interval / (interval + 1)
    betas = (config.beta1**ratio, config.beta2**ratio)
    return Adam(parameters, lr=lr * ratio, betas=betas, eps=config.eps)


def build_optimizers(
    G: Generator, D: Discriminator, loss: LossConfig, optim: OptimConfig, resolution: tuple[int, int]
) -> tuple[Adam, Adam]:
    """The optimisers of G and D."""
    G_lr = optim.G_lr if optim.G_lr is not None else default_lr(resolution)
    D_lr = optim.D_lr if optim.D_lr is not None else default_lr(resolution)
    G_opt = lazy_adam(list(G.parameters()), G_lr, optim, loss.pl_interval if loss.pl_weight else None)
    D_opt = lazy_adam(list(D.parameters()), D_lr, optim, loss.r1_interval if loss.r1_gamma != 0 else None)
    return G_opt, D_opt


def build_phases(
    G: Generator,
    D: Discriminator,
    G_opt: torch.optim.Optimizer,
    D_opt: torch.optim.Optimizer,
    pl_mean: Tensor,
    config: LossConfig,
    r1_gamma: float,
) -> list[Phase]:
    """The phases in the order in which an iteration runs them: Gmain, Greg, Dmain, Dreg; penalties of weight 0 are left out."""
    phases = [Phase("Gmain", G, G_opt, 1, generator_loss)]
    if config.pl_weight:
        penalty = PathLengthPenalty(config.pl_weight, config.pl_decay, pl_mean)
        phases.append(Phase("Greg", G, G_opt, config.pl_interval, penalty))
    phases.append(Phase("Dmain", D, D_opt, 1, discriminator_loss))
    if r1_gamma:
        phases.append(Phase("Dreg", D, D_opt, config.r1_interval, R1Penalty(r1_gamma)))
    return phases


def due(phases: Sequence[Phase], step: int) -> list[Phase]:
    """The phases that run in iteration `step`; all of them in iteration 0."""
    return [phase for phase in phases if step % phase.interval == 0]

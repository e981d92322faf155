"""The non-saturating logistic loss (Goodfellow et al. 2014, section 3) with R1 and path length, as StyleGAN2 and 3 train."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import softplus

from stylegan.errors import UserError
from stylegan.losses.base import Batch, LossOutput, Needs, Networks, Phase, Reals, generate, seen_by_D
from stylegan.losses.regularizers import PathLengthPenalty, r1_penalty, squared_gradient
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased, require_w
from stylegan.schedule import Now, Schedule, check_schedules, scheduled
from stylegan.values import COUNT, COUNT_OR_NONE, NOT_NEGATIVE, SHARE, Range, check_values


@dataclass
class LogisticConfig:
    """The non-saturating logistic loss with R1 and path length (StyleGAN2, StyleGAN3)."""

    kind: str = field(default="logistic", metadata={"help": "the kind of loss; loss=NAME sets it"})
    r1_gamma: Schedule | None = field(
        default=None,
        metadata=scheduled("weight of R1; null: 0.0002 * H * W / batch_size (StyleGAN2-ADA, auto)", NOT_NEGATIVE),
    )
    r1_interval: int = field(
        default=16,
        metadata={
            "help": "iterations from one R1 to the next; 0: in every one, within D's main loss (StyleGAN1)",
            "range": COUNT_OR_NONE,
        },
    )
    r2_gamma: Schedule = field(
        default=0.0,
        metadata=scheduled("weight of R2, the same at generated images; with r1_interval=0", NOT_NEGATIVE)
        | {"newer": True},
    )
    pl_weight: float = field(
        default=2.0, metadata={"help": "weight of path length regularisation; 0: off", "range": NOT_NEGATIVE}
    )
    pl_interval: int = field(
        default=4, metadata={"help": "iterations from one path length phase to the next", "range": COUNT}
    )
    pl_decay: float = field(
        default=0.01, metadata={"help": "how fast the target length follows the mean", "range": SHARE}
    )
    pl_batch_shrink: int = field(
        default=2, metadata={"help": "path length uses one image of this many", "range": COUNT}
    )
    style_mixing_prob: float = field(
        default=0.9, metadata={"help": "share of generated images that mix two latents", "range": SHARE}
    )
    shared_cutoff: bool = field(
        default=False,
        metadata={
            "help": "all images of a batch mix their latents at one layer, or none does (StyleGAN1)",
            "newer": True,
        },
    )
    D_first: bool = field(
        default=False,
        metadata={
            "help": "train D before G, and move G_ema in between (StyleGAN1), rather than G first",
            "newer": True,
        },
    )
    w_avg_twice: bool = field(
        default=False,
        metadata={"help": "move the mean of w where G is trained, too, not only where D is (StyleGAN1)", "newer": True},
    )
    blur_sigma: Schedule = field(
        default=0.0,
        metadata=scheduled("blur of what D sees, in pixels (StyleGAN3-R: from 10 to 0); 0: none", Range(0, 1000)),
    )

    def __post_init__(self) -> None:
        check_schedules(self, "loss")
        check_values(self, "loss")
        if self.r2_gamma != 0 and self.r1_interval:
            raise UserError(
                f"loss.r2_gamma={self.r2_gamma} goes with loss.r1_interval=0, where D's loss has both penalties"
            )

    def resolved(self, resolution: tuple[int, int], batch_size: int) -> "LogisticConfig":
        """With the R1 weight for [H, W] images (StyleGAN2-ADA, appendix C: gamma = 0.0002 * pixels / batch size)."""
        gamma = 0.0002 * resolution[0] * resolution[1] / batch_size
        return replace(self, r1_gamma=gamma if self.r1_gamma is None else self.r1_gamma)

    def warning(self, means: Mapping[str, float]) -> str | None:
        """None: R1 runs in few iterations, and says little beside what runs in all."""
        return None

    def phases(self, G: Generator) -> list[Phase]:
        """In the order in which an iteration runs them; penalties of weight 0 are left out."""
        mixing = self.style_mixing_prob
        if mixing:
            require_w(G, "style mixing", "loss.style_mixing_prob=0")
        fakes = Needs(fakes=True, mixing_prob=mixing, shared_cutoff=self.shared_cutoff)
        means = ("means",) if isinstance(G, StyleBased) else ()
        follows = means if self.w_avg_twice else ()
        of_G = [Phase("Gmain", "G", partial(generator_loss, measure=bool(follows)), fakes, follows)]
        if self.pl_weight:
            require_w(G, "path length regularisation", "loss.pl_weight=0")
            needs = replace(fakes, fakes=False, latents=True, path_noise=True, shrink=self.pl_batch_shrink)
            penalty = PathLengthPenalty(self.pl_weight, self.pl_decay)
            of_G.append(Phase("Greg", "G", penalty, needs, gives=("pl_mean",), interval=self.pl_interval))
        penalised, together = self.r1_gamma != 0 or self.r2_gamma != 0, self.r1_interval == 0
        loss = penalised_discriminator_loss if penalised and together else discriminator_loss
        # Nothing moves G any more, or G moves next: its average follows.
        needs = replace(fakes, reals=Reals.first)
        of_D = [Phase("Dmain", "D", loss, needs, ("signs", *means), then_average=True)]
        if penalised and not together:
            of_D.append(Phase("Dreg", "D", r1_penalty, Needs(reals=Reals.first), interval=self.r1_interval))
        return [*of_D, *of_G] if self.D_first else [*of_G, *of_D]


def generator_loss(networks: Networks, batch: Batch, now: Now, *, measure: bool = False) -> LossOutput:
    """Gmain: -log sigmoid(D(G(z))) per image [N]; `measure`: see `generate`."""
    fake, means = generate(networks.G, batch, measure=measure)
    logits = networks.D(seen_by_D(fake, batch.augment_fake, now), batch.c)
    loss = softplus(-logits)
    stats = {"scores/fake": logits, "signs/fake": logits.sign(), "loss/G": loss}
    return LossOutput(loss.flatten(), stats, means=means)


def discriminator_loss(networks: Networks, batch: Batch, now: Now) -> LossOutput:
    """Dmain: -log(1 - sigmoid(D(G(z)))) - log sigmoid(D(x)) per pair of a fake and a real image [N]."""
    with torch.no_grad():
        fake, means = generate(networks.G, batch, measure=True)
    # Both in one pass: half the ops, and one gradient for each weight.
    images = [seen_by_D(fake, batch.augment_fake, now), seen_by_D(batch.real, batch.augment_real, now)]
    logits = networks.D(torch.cat(images), torch.cat([batch.c, batch.real_c]), batches=2)
    fake_logits, real_logits = logits.chunk(2)
    return _judged(fake_logits, real_logits, means)


def penalised_discriminator_loss(networks: Networks, batch: Batch, now: Now) -> LossOutput:
    """Dmain with penalties in it: the same, and gamma / 2 * |grad_x D(x)|^2, as `r1_penalty`, gamma being `loss.r1_gamma`; and
    with `loss.r2_gamma` as much at generated images."""
    with torch.no_grad():
        fake, means = generate(networks.G, batch, measure=True)
    fake.requires_grad_(bool(now.largest.get("loss.r2_gamma")))
    # One after the other: the second derivative passes through half as much.
    fake_logits = networks.D(seen_by_D(fake, batch.augment_fake, now), batch.c)
    real = batch.real.detach().requires_grad_(True)
    real_logits = networks.D(seen_by_D(real, batch.augment_real, now), batch.real_c)
    penalty = squared_gradient(networks, real, real_logits, now)
    weighted = penalty * (now.settings["loss.r1_gamma"] / 2)
    output = _judged(fake_logits, real_logits, means)
    stats = {**output.stats, "r1_penalty": penalty}
    if fake.requires_grad:
        stats["r2_penalty"] = squared_gradient(networks, fake, fake_logits, now)
        weighted = weighted + stats["r2_penalty"] * (now.settings["loss.r2_gamma"] / 2)
    return LossOutput(output.loss + weighted, {**stats, "loss/D_reg": weighted}, output.signs, output.means)


def _judged(fake_logits: Tensor, real_logits: Tensor, means: Tensor | None) -> LossOutput:
    loss = softplus(fake_logits) + softplus(-real_logits)
    signs = real_logits.sign()  # their mean is the statistic r_t of ADA (Karras et al. 2020, eq. 1)
    stats = {"scores/fake": fake_logits, "scores/real": real_logits, "signs/real": signs, "loss/D": loss}
    return LossOutput(loss.flatten(), stats, signs=signs, means=means)

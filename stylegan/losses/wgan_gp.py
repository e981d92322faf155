"""The Wasserstein loss with a gradient penalty (Gulrajani et al. 2017, algorithm 1), as ProGAN trains (Karras et al. 2018,
appendix A.1): D's logits are kept near zero, and where D tells classes apart, both networks are trained on that, too (AC-GAN,
Odena et al. 2017, equations 2 and 3).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from stylegan.losses.base import Batch, LossOutput, Needs, Networks, Phase, Reals, generate, seen_by_D, side_ratio
from stylegan.models.base import Discriminator, Generator
from stylegan.models.generator import StyleBased, require_w
from stylegan.schedule import Now, Schedule, check_schedules, scheduled
from stylegan.values import NOT_NEGATIVE, POSITIVE, SHARE, check_values


@runtime_checkable
class Classifying(Protocol):
    """A discriminator that also says what class an image has (AC-GAN, Odena et al. 2017)."""

    def classify(self, img: Tensor, *, batches: int = 1) -> tuple[Tensor, Tensor]:
        """Logits [N, 1] as of `Discriminator.forward`, and logits of the classes [N, c_dim]."""
        ...


@dataclass
class WGANGPConfig:
    """The Wasserstein loss with a gradient penalty (ProGAN)."""

    kind: str = field(default="wgan_gp", metadata={"help": "the kind of loss; loss=NAME sets it"})
    gp_weight: Schedule = field(default=10.0, metadata=scheduled("weight of the gradient penalty", NOT_NEGATIVE))
    gp_target: float = field(
        default=1.0, metadata={"help": "the gradients' length that D is to have", "range": POSITIVE}
    )
    drift: float = field(
        default=0.001, metadata={"help": "weight of D's squared logits at training images", "range": NOT_NEGATIVE}
    )
    class_weight: float = field(
        default=1.0, metadata={"help": "weight of the classes, where D tells them", "range": NOT_NEGATIVE}
    )
    style_mixing_prob: float = field(
        default=0.0, metadata={"help": "share of generated images that mix two latents; needs w", "range": SHARE}
    )
    shared_cutoff: bool = field(
        default=False,
        metadata={"help": "all images of a batch mix their latents at one layer, or none does (StyleGAN1)"},
    )
    w_avg_twice: bool = field(
        default=False, metadata={"help": "move the mean of w where G is trained, too, not only where D is (StyleGAN1)"}
    )

    def __post_init__(self) -> None:
        check_schedules(self, "loss")
        check_values(self, "loss")

    def resolved(self, resolution: tuple[int, int], batch_size: int) -> "WGANGPConfig":
        """As it is: nothing follows from the data."""
        return self

    def warning(self, means: Mapping[str, float]) -> str | None:
        """None: no setting shows in the means to be far off."""
        return None

    def phases(self, G: Generator) -> list[Phase]:
        """D, the average, G."""
        mixing = self.style_mixing_prob
        if mixing:
            require_w(G, "style mixing", "loss.style_mixing_prob=0")
        needs = Needs(fakes=True, mixing_prob=mixing, shared_cutoff=self.shared_cutoff)
        critic = replace(needs, reals=Reals.first, labels_of_reals=True, mixing_factor=True)
        means = ("means",) if isinstance(G, StyleBased) else ()
        follows = means if self.w_avg_twice else ()
        loss = CriticLoss(self.gp_target, self.drift, self.class_weight)
        return [
            Phase("Dmain", "D", loss, critic, ("signs", *means), then_average=True),
            Phase("Gmain", "G", GeneratorLoss(self.class_weight, bool(follows)), needs, follows),
        ]


@dataclass(frozen=True)
class CriticLoss:
    """Dmain per image [N]: D(g) - D(x) + weight / target^2 (|grad_m D(m)| - target)^2 + drift D(x)^2, where m is between a
    training image x and a generated one g of its label; both as D sees them.

    Lengths of gradients are those by images of full size, whatever the stage, see `side_ratio`.

    Attributes:
        target, drift, class_weight: See `WGANGPConfig`.
    """

    target: float
    drift: float
    class_weight: float

    def __call__(self, networks: Networks, batch: Batch, now: Now) -> LossOutput:
        """See the class."""
        with torch.no_grad():
            fake, means = generate(networks.G, batch, measure=True)
        fake, real = seen_by_D(fake, batch.augment_fake, now), seen_by_D(batch.real, batch.augment_real, now)
        # Both in one pass: half the ops, and one gradient for each weight.
        labels = torch.cat([batch.c, batch.real_c])
        logits, wrong = judged(networks.D, torch.cat([fake, real]), labels, batches=2)
        fake_logits, real_logits = logits.chunk(2)
        mixed = real.lerp(fake, batch.mixing_factor.to(real.dtype)[:, None, None, None]).detach().requires_grad_(True)
        total = judged(networks.D, mixed, batch.real_c)[0].sum() * networks.loss_scale
        (gradient,) = torch.autograd.grad(total, mixed, create_graph=True)
        length = torch.linalg.vector_norm(gradient / networks.loss_scale, dim=[1, 2, 3]) / side_ratio(networks, now)
        penalty = (length - self.target).square() * (now.settings["loss.gp_weight"] / self.target**2)
        drift, adversarial = self.drift * real_logits.square().flatten(), (fake_logits - real_logits).flatten()
        signs = real_logits.sign()
        stats = {"scores/fake": fake_logits, "scores/real": real_logits, "signs/real": signs, "loss/D": adversarial}
        stats |= {"gradient_length": length, "loss/D_gp": penalty, "loss/D_drift": drift}
        loss = adversarial + penalty + drift
        if wrong is not None:
            classes = self.class_weight * (wrong[: len(fake)] + wrong[len(fake) :])
            stats["loss/D_classes"], loss = classes, loss + classes
        return LossOutput(loss, stats, signs=signs, means=means)


@dataclass(frozen=True)
class GeneratorLoss:
    """Gmain per image [N]: -D(g).

    Attributes:
        class_weight: See `WGANGPConfig`.
        measure: See `generate`.
    """

    class_weight: float
    measure: bool = False

    def __call__(self, networks: Networks, batch: Batch, now: Now) -> LossOutput:
        """See the class."""
        fake, means = generate(networks.G, batch, measure=self.measure)
        logits, wrong = judged(networks.D, seen_by_D(fake, batch.augment_fake, now), batch.c)
        loss = adversarial = -logits.flatten()
        stats = {"scores/fake": logits, "signs/fake": logits.sign(), "loss/G": adversarial}
        if wrong is not None:
            stats["loss/G_classes"] = self.class_weight * wrong
            loss = loss + stats["loss/G_classes"]
        return LossOutput(loss, stats, means=means)


def judged(D: Discriminator, images: Tensor, c: Tensor, *, batches: int = 1) -> tuple[Tensor, Tensor | None]:
    """Logits [N, 1] of images; and, of a D that tells classes apart, the cross entropy with their labels c [N, c_dim], [N]."""
    if D.c_dim == 0 or not isinstance(D, Classifying):
        return D(images, c, batches=batches), None
    logits, classes = D.classify(images, batches=batches)
    return logits, cross_entropy(classes, c, reduction="none")

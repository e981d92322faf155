"""The relativistic pairing loss with R1 and R2 (Huang et al. 2024, section 3; Jolicoeur-Martineau 2018): D learns that a real
image is more real than the generated one beside it, G that it is not.

Where D judges single images, G may drop what few of them show; here every generated image stands against a real one, and the
penalties on both sides make the training converge (proposition 2 there).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch.nn.functional import softplus

from stylegan.losses.base import Batch, LossOutput, Needs, Networks, Phase, Reals, generate, seen_by_D, side_ratio
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased, require_w
from stylegan.schedule import Now, Schedule, check_schedules, scheduled
from stylegan.values import NOT_NEGATIVE, SHARE, check_values

_OUTWEIGHS = 10
_KNOWS_NOTHING = math.log(2)  # the loss of a D that gives all images the same logit


@dataclass
class RelativisticConfig:
    """The relativistic pairing loss with R1 and R2 at every step (R3GAN).

    It pairs image i of a batch with generated image i, which has its label. Where D compares images of a batch (StyleGAN2's
    minibatch statistics), real and generated ones are still not compared with each other, but a pair's difference depends on
    the other images of its two groups; `model.D.minibatch_std_channels=0` makes pairs independent, as in the paper.
    """

    kind: str = field(default="relativistic", metadata={"help": "the kind of loss; loss=NAME sets it"})
    gamma: Schedule | None = field(
        default=None,
        metadata=scheduled(
            "weight of R1 and R2; null: 2 * (H * W / 64^2)^1.5, near the published ones for faces", NOT_NEGATIVE
        ),
    )
    style_mixing_prob: float = field(
        default=0.0, metadata={"help": "share of generated images that mix two latents; needs w", "range": SHARE}
    )

    def __post_init__(self) -> None:
        check_schedules(self, "loss")
        check_values(self, "loss")

    def resolved(self, resolution: tuple[int, int], batch_size: int) -> "RelativisticConfig":
        """With a weight for [H, W] images where none is given: the published 2 at 64 pixels, 128 at 256 (published: 150)."""
        gamma = 2 * (resolution[0] * resolution[1] / 64**2) ** 1.5
        return replace(self, gamma=gamma if self.gamma is None else self.gamma)

    def warning(self, means: Mapping[str, float]) -> str | None:
        """Where the penalties are ten times what they are to steady: gamma is too large, D learns to be flat, and G hardly
        anything; or, if they are small by themselves, D's loss has all but vanished, and gamma is too small."""
        penalty, adversarial = means["loss/D_r1"] + means["loss/D_r2"], means["loss/D"]
        if not penalty > _OUTWEIGHS * adversarial:  # nor where they are NaN
            return None
        told = f"gamma / 2 times R1 and R2 is {penalty:.3g}, over ten times D's loss without it, {adversarial:.3g}: "
        if penalty < _KNOWS_NOTHING:
            return told + "D tells generated from real with ease, loss.gamma is too small; try ten times as much"
        return told + "loss.gamma is too large for these images; try a tenth"

    def phases(self, G: Generator) -> list[Phase]:
        """D, then G, on other training images than D's; then the average."""
        mixing = self.style_mixing_prob
        if mixing:
            require_w(G, "style mixing", "loss.style_mixing_prob=0")
        gives = ("signs", "means") if isinstance(G, StyleBased) else ("signs",)
        needs = Needs(reals=Reals.first, fakes=True, labels_of_reals=True, mixing_prob=mixing)
        return [
            Phase("Dmain", "D", critic_loss, needs, gives),
            Phase("Gmain", "G", generator_loss, replace(needs, reals=Reals.second), then_average=True),
        ]


def critic_loss(networks: Networks, batch: Batch, now: Now) -> LossOutput:
    """Dmain: softplus(D(g) - D(x)) + gamma / 2 (|grad_x D(x)|^2 + |grad_g D(g)|^2) per pair [N] (equations 2 and 6), the
    gradients by images before they are augmented, gamma being `loss.gamma`."""
    with torch.no_grad():
        fake, means = generate(networks.G, batch, measure=True)
    real, fake = batch.real.detach().requires_grad_(True), fake.detach().requires_grad_(True)
    # Both in one pass: half the ops, and one gradient for each weight.
    images = [seen_by_D(fake, batch.augment_fake, now), seen_by_D(real, batch.augment_real, now)]
    fake_logits, real_logits = networks.D(torch.cat(images), torch.cat([batch.c, batch.real_c]), batches=2).chunk(2)
    total = (fake_logits.sum() + real_logits.sum()) * networks.loss_scale
    gradients = torch.autograd.grad(total, [real, fake], create_graph=True)
    scale = networks.loss_scale * side_ratio(networks, now)
    r1, r2 = ((gradient / scale).square().sum(dim=[1, 2, 3]) for gradient in gradients)
    adversarial, weight = softplus(fake_logits - real_logits), now.settings["loss.gamma"] / 2
    # r_t of ADA would be the mean sign of D(x), which means nothing here: only differences are trained.
    signs = (real_logits - fake_logits).sign()
    stats = {"scores/fake": fake_logits, "scores/real": real_logits, "signs/real": signs, "loss/D": adversarial}
    stats |= {"r1_penalty": r1, "r2_penalty": r2, "loss/D_r1": weight * r1, "loss/D_r2": weight * r2}
    return LossOutput(adversarial.flatten() + weight * (r1 + r2), stats, signs=signs, means=means)


def generator_loss(networks: Networks, batch: Batch, now: Now) -> LossOutput:
    """Gmain: softplus(D(x) - D(g)) per pair [N]."""
    with torch.no_grad():  # G has no part in these: half of D's backward pass is saved
        real_logits = networks.D(seen_by_D(batch.real, batch.augment_real, now), batch.real_c)
    fake, _ = generate(networks.G, batch)
    fake_logits = networks.D(seen_by_D(fake, batch.augment_fake, now), batch.c)
    loss = softplus(real_logits - fake_logits)
    return LossOutput(loss.flatten(), {"loss/G": loss, "signs/pairs": (real_logits - fake_logits).sign()})

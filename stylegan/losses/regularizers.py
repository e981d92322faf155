"""The two lazy penalties: R1 on the discriminator, path length on the generator."""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from stylegan.losses.base import Batch, LossOutput, Networks, layer_noise, run_mapping, seen_by_D, side_ratio
from stylegan.models.generator import require_w
from stylegan.schedule import Now


def squared_gradient(networks: Networks, images: Tensor, logits: Tensor, now: Now) -> Tensor:
    """|grad_x D(x)|^2 [N] at images x, as by images of full size (see `side_ratio`); its own gradient is wanted, too."""
    # Images of a batch do not mix but in the minibatch standard deviation, so one gradient of the sum serves all.
    (gradient,) = torch.autograd.grad(logits.sum() * networks.loss_scale, images, create_graph=True)
    return (gradient / (networks.loss_scale * side_ratio(networks, now))).square().sum(dim=[1, 2, 3])


def r1_penalty(networks: Networks, batch: Batch, now: Now) -> LossOutput:
    """Dreg: gamma / 2 * |grad_x D(x)|^2 at real images (Mescheder et al. 2018, eq. 9), gamma being `loss.r1_gamma`.

    Where D sees blurred or augmented images, x is the image before: the gradient passes through what is done to it.
    """
    real = batch.real.detach().requires_grad_(True)
    logits = networks.D(seen_by_D(real, batch.augment_real, now), batch.real_c)
    penalty = squared_gradient(networks, real, logits, now)
    loss = penalty * (now.settings["loss.r1_gamma"] / 2)
    return LossOutput(loss, {"r1_penalty": penalty, "loss/D_reg": loss})


@dataclass(frozen=True)
class PathLengthPenalty:
    """Greg: (|J_w^T y| - a)^2, where a follows the mean length (StyleGAN2, section 3.2, eq. 4).

    Attributes:
        weight: Weight of the penalty.
        decay: How fast `a` follows: once per micro-batch, as in the papers' code, before the penalty is taken, and the gradient
            flows through that.
    """

    weight: float
    decay: float

    def __call__(self, networks: Networks, batch: Batch, now: Now) -> LossOutput:
        G = require_w(networks.G, "path length regularisation", "loss.pl_weight=0")
        ws = run_mapping(G, batch)
        fake = G.synthesis(ws, **layer_noise(batch))
        # The division makes the length independent of the resolution (StyleGAN2, appendix B, "Path length regularization").
        direction = batch.path_noise / sqrt(fake.shape[2] * fake.shape[3])
        (gradient,) = torch.autograd.grad((fake * direction).sum() * networks.loss_scale, ws, create_graph=True)
        lengths = (gradient / networks.loss_scale).square().sum(dim=2).mean(dim=1).sqrt()
        pl_mean = networks.pl_mean.lerp(lengths.mean(), self.decay)
        penalty = (lengths - pl_mean).square()
        loss = penalty * self.weight
        stats = {"pl_length": lengths, "pl_penalty": penalty, "loss/G_reg": loss}
        return LossOutput(loss, stats, pl_mean=pl_mean)

"""The two lazy penalties: R1 on the discriminator, path length on the generator."""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from stylegan.losses.base import Batch, LossOutput, Networks, run_mapping, run_synthesis, seen_by_D


@dataclass(frozen=True)
class R1Penalty:
    """Dreg: gamma / 2 * |grad_x D(x)|^2 at real images (Mescheder et al. 2018, eq. 9).

    Where D sees blurred or augmented images, x is the image before: the gradient passes through what is done to it.

    Attributes:
        gamma: Weight of the penalty.
    """

    gamma: float

    def __call__(self, networks: Networks, batch: Batch) -> LossOutput:
        real = batch.real.detach().requires_grad_(True)
        logits = networks.D(seen_by_D(real, batch.augment_real, batch), batch.real_c)
        # Images of a batch do not mix but in the minibatch standard deviation, so one gradient of the sum serves all.
        (gradient,) = torch.autograd.grad(logits.sum() * networks.loss_scale, real, create_graph=True)
        gradient = gradient / networks.loss_scale
        penalty = gradient.square().sum(dim=[1, 2, 3])
        loss = penalty * (self.gamma / 2)
        return LossOutput(loss, {"r1_penalty": penalty.detach(), "loss/D_reg": loss.detach()})


@dataclass(frozen=True)
class PathLengthPenalty:
    """Greg: (|J_w^T y| - a)^2, where a follows the mean length (StyleGAN2, section 3.2, eq. 4).

    Attributes:
        weight: Weight of the penalty.
        decay: How fast `a` follows, per call.
        pl_mean: `a`, a scalar tensor that this loss updates in place: once per micro-batch, as the papers' code does, before
            the penalty is taken, and the gradient flows through that update.
    """

    weight: float
    decay: float
    pl_mean: Tensor

    def __call__(self, networks: Networks, batch: Batch) -> LossOutput:
        assert batch.pl_noise is not None, "the batch of a path length phase carries pl_noise"
        ws = run_mapping(networks.G, batch, n=batch.pl_noise.shape[0])
        fake = run_synthesis(networks.G, ws, batch)
        # The division makes the length independent of the resolution (StyleGAN2, appendix B, "Path length regularization").
        direction = batch.pl_noise / sqrt(fake.shape[2] * fake.shape[3])
        (gradient,) = torch.autograd.grad((fake * direction).sum() * networks.loss_scale, ws, create_graph=True)
        gradient = gradient / networks.loss_scale
        lengths = gradient.square().sum(dim=2).mean(dim=1).sqrt()
        pl_mean = self.pl_mean.lerp(lengths.mean(), self.decay)
        self.pl_mean.copy_(pl_mean.detach())
        penalty = (lengths - pl_mean).square()
        loss = penalty * self.weight
        stats = {"pl_length": lengths, "pl_penalty": penalty, "loss/G_reg": loss}
        return LossOutput(loss, {name: value.detach() for name, value in stats.items()})

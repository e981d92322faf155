"""The game itself: the non-saturating logistic loss (Goodfellow et al. 2014, section 3; StyleGAN2 uses it unchanged)."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from stylegan.losses.base import Batch, LossOutput, Networks, run_mapping, run_synthesis, seen_by_D


def generator_loss(networks: Networks, batch: Batch) -> LossOutput:
    """Gmain: -log sigmoid(D(G(z))) per image [N]."""
    fake = run_synthesis(networks.G, run_mapping(networks.G, batch), batch)
    logits = networks.D(seen_by_D(fake, batch.augment_fake, batch), batch.c)
    loss = softplus(-logits)
    stats = {"scores/fake": logits, "signs/fake": logits.sign(), "loss/G": loss}
    return LossOutput(loss.flatten(), {name: value.detach() for name, value in stats.items()})


def discriminator_loss(networks: Networks, batch: Batch) -> LossOutput:
    """Dmain: -log(1 - sigmoid(D(G(z)))) - log sigmoid(D(x)) per pair of a fake and a real image [N]."""
    with torch.no_grad():
        ws = run_mapping(networks.G, batch)
        magnitudes: list[Tensor] = []
        fake = run_synthesis(networks.G, ws, batch, track=magnitudes)
    images = torch.cat([seen_by_D(fake, batch.augment_fake, batch), seen_by_D(batch.real, batch.augment_real, batch)])
    # Both in one pass: half the ops, and one gradient for each weight.
    fake_logits, real_logits = networks.D(images, torch.cat([batch.c, batch.real_c]), batches=2).chunk(2)
    loss = softplus(fake_logits) + softplus(-real_logits)
    stats = {
        "scores/fake": fake_logits,
        "scores/real": real_logits,
        "signs/real": real_logits.sign(),  # the statistic r_t of ADA (Karras et al. 2020, eq. 1)
        "loss/D": loss,
    }
    # The first layer's latent is the one that style mixing never replaces.
    w_mean = ws[:, 0].mean(dim=0)
    means = torch.cat([w_mean, torch.stack(magnitudes)]) if magnitudes else w_mean
    return LossOutput(loss.flatten(), {name: value.detach() for name, value in stats.items()}, means)

"""The exponential moving average of the generator: the network that is shown and given away."""

import torch

from stylegan.models.generator import Generator
from stylegan.ops.update import lerp_


def ema_decay(batch_size: int, nimg: int, ema_kimg: float, rampup: float | None) -> float:
    """The decay of one update.

    Args:
        batch_size: Images per update.
        nimg: Images shown before this update.
        ema_kimg: Half-life in thousands of images.
        rampup: Never average over more than this fraction of the training so far (StyleGAN2-ADA, appendix C); None is off.
    """
    half_life = ema_kimg * 1000
    if rampup is not None:
        half_life = min(half_life, nimg * rampup)
    return 0.5 ** (batch_size / max(half_life, 1e-8))


@torch.no_grad()
def update_ema(G_ema: Generator, G: Generator, decay: float) -> None:
    """Move the parameters of `G_ema` towards those of `G`; buffers (`w_avg`, noise) are copied."""
    lerp_(list(G_ema.parameters()), list(G.parameters()), 1 - decay)
    for average, new in zip(G_ema.buffers(), G.buffers(), strict=True):
        average.copy_(new)

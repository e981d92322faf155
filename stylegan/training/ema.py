"""The exponential moving average of the generator: the network that is shown and given away."""

import torch
from torch import Tensor

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


class MovingAverage:
    """What moves `G_ema` towards `G`.

    Attributes:
        parameters: Those of `G_ema` by those of `G`, which stay the same tensors throughout a training.
    """

    def __init__(self, G_ema: Generator, G: Generator):
        self._G_ema, self._G = G_ema, G
        self.parameters: dict[Tensor, Tensor] = dict(zip(G.parameters(), G_ema.parameters(), strict=True))

    @torch.no_grad()
    def move_parameters(self, weight: float) -> None:
        """Move them by the share `weight` of the way. A step of G's optimizer can do that in the same pass."""
        lerp_(list(self.parameters.values()), list(self.parameters), weight)

    @torch.no_grad()
    def copy_buffers(self) -> None:
        """`w_avg` and noise are no averages."""
        for average, new in zip(self._G_ema.buffers(), self._G.buffers(), strict=True):
            average.copy_(new)

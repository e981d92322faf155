"""Blurring what the discriminator sees at the beginning of a training: it keeps D from looking at nothing but high frequencies
then, on which configuration R of StyleGAN3 often fails (StyleGAN3, appendix F)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from stylegan.ops.upfirdn2d import filter2d


@dataclass(frozen=True)
class BlurSchedule:
    """How blur fades.

    Attributes:
        init_sigma: At the start, in pixels; 0 for no blur.
        fade_kimg: It falls to 0 in so many thousands of images, in a straight line.
    """

    init_sigma: float = 0.0
    fade_kimg: float = 1.0

    def sigma(self, nimg: int) -> float:
        """The blur after `nimg` images."""
        return self.init_sigma * max(1 - nimg / (self.fade_kimg * 1000), 0)


NO_BLUR = BlurSchedule()


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Images [N, C, H, W] under a filter whose taps halve at `sigma` pixels: 2^-(i / sigma)^2 for |i| <= 3 sigma."""
    reach = int(sigma * 3)
    if reach == 0:
        return images
    taps = (torch.arange(-reach, reach + 1, dtype=torch.float32, device=images.device) / sigma).square().neg().exp2()
    return filter2d(images, taps / taps.sum())

"""Blurring what the discriminator sees."""

import torch
from torch import Tensor

from stylegan.ops.upfirdn2d import filter2d


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Images [N, C, H, W] under a filter whose taps halve at `sigma` pixels: 2^-(i / sigma)^2 for |i| <= 3 sigma.

    At the beginning of a training it keeps D from looking at nothing but high frequencies, on which configuration R of
    StyleGAN3 often fails (StyleGAN3, appendix F).
    """
    reach = int(sigma * 3)
    if reach == 0:
        return images
    taps = (torch.arange(-reach, reach + 1, dtype=torch.float32, device=images.device) / sigma).square().neg().exp2()
    return filter2d(images, taps / taps.sum())

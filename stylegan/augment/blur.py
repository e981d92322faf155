"""Blurring what the discriminator sees."""

import torch
from torch import Tensor

from stylegan.ops.upfirdn2d import filter2d


def blurred(images: Tensor, sigma: float | Tensor, largest: float) -> Tensor:
    """Images under a filter whose taps halve at `sigma` pixels: 2^-(i / sigma)^2 for |i| <= 3 sigma.

    At the beginning of a training it keeps D from looking at nothing but high frequencies, on which configuration R of
    StyleGAN3 often fails (StyleGAN3, appendix F).

    Args:
        images: [N, C, H, W].
        sigma: A number, or float64 [] on the images' device, which is not looked at; 0: the images as they are.
        largest: What sigma never exceeds. It decides alone about the size of the filter, whose outer taps are 0 where
            sigma is less.

    Returns:
        [N, C, H, W].
    """
    reach = int(largest * 3)
    if reach == 0:
        return images
    if not isinstance(sigma, Tensor):
        sigma = torch.full([], sigma, dtype=torch.float64, device=images.device)
    place = torch.arange(-reach, reach + 1, dtype=torch.float32, device=images.device)
    # Below a sigma of 1/3 only the middle tap is left, whatever the width; 0 / 0 would be no number.
    taps = (place / sigma.clamp(min=1 / 3)).square().neg().exp2()
    taps = torch.where(place.abs() <= (sigma * 3).floor(), taps, 0.0)
    return filter2d(images, taps / taps.sum())

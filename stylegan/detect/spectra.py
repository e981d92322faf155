"""How a picture's power spreads over frequencies, where generators leave traces.

Durall et al. 2020, "Watch your up-convolution", section 3: the mean over all directions tells generated faces from photographs.
Power is that of the colours from 0 to 1 under a Hann window, less their mean there: white noise has its variance at all
frequencies.
"""

import torch
from torch import Tensor

from stylegan.detect.picture import colours

_LEAST = 1e-12  # 120 dB below full power; rounding to 8 bits alone makes 10^-6
_NOTHING = 1e-20  # total power of a flat picture, which rounding of float64 leaves


def spectrum(image: Tensor) -> Tensor:
    """The mean power over all directions, in decibels, float64 [min(H, W) // 2 + 1]: element k is of k cycles a picture.

    Args:
        image: uint8 or floating point [C, H, W], 0 to 255; see `colours`.

    Raises:
        UserError: It is no such picture.
    """
    power = _power(image)
    height, width = power.shape
    _, mean = azimuthal_mean(power, (height, width))
    return 10 * mean.clamp(min=_LEAST).log10()


def high_frequency_share(image: Tensor) -> float:
    """The share, 0 to 1, of the power (the mean left out) above half of Nyquist's frequency, a quarter of a cycle a pixel.

    Of white noise that is 1 - pi / 16 = 0.80; photographs have a few thousandths. A flat picture has 0.

    Args:
        image: uint8 or floating point [C, H, W], 0 to 255; see `colours`.

    Raises:
        UserError: It is no such picture.
    """
    power = _power(image)
    y, x = (torch.fft.fftfreq(side, dtype=torch.float64) for side in power.shape)
    total = float(power.sum())
    high = (y[:, None].square() + x.square()).sqrt() > 0.25
    return float(power[high].sum()) / total if total > _NOTHING * power.numel() else 0.0


def last_fall(image: Tensor) -> float:
    """By how many decibels the mean power falls from half of Nyquist's frequency to the last eighth before Nyquist's.

    Where the last layers of a generator put too little there, that is more than in photographs; where they leave the pattern
    of their upsampling, it is less. Of white noise it is 0.

    Args:
        image: uint8 or floating point [C, H, W], 0 to 255; see `colours`.

    Raises:
        UserError: It is no such picture.
    """
    levels = spectrum(image)
    eighth = (len(levels) - 1) // 8
    middle = (len(levels) - 1) // 2
    return float(levels[middle - eighth // 2 : middle + eighth // 2 + 1].mean() - levels[-eighth:].mean())


def azimuthal_mean(power: Tensor, resolution: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Frequencies in cycles an image, and the mean power of all directions at each, up to the end of the shorter axis.

    Args:
        power: float64 [H, W] as a Fourier transform has it, of an image that may have been padded.
        resolution: (height, width) of the image.
    """
    (H, W), (h, w) = power.shape, resolution
    y, x = torch.fft.fftfreq(H, 1 / h, dtype=torch.float64), torch.fft.fftfreq(W, 1 / w, dtype=torch.float64)
    step = h / H
    ring = ((y[:, None].square() + x.square()).sqrt() / step).round().long().flatten()
    count = int(min(h, w) / 2 / step) + 1
    sums = torch.zeros(int(ring.max()) + 1, dtype=torch.float64).index_add_(0, ring, power.flatten())
    return torch.arange(count, dtype=torch.float64) * step, (sums / ring.bincount().clamp(min=1))[:count]


def _power(image: Tensor) -> Tensor:
    """|FFT(window (x - mean))|^2, averaged over the channels, float64 [H, W]; squares of the window add up to 1."""
    x = colours(image)
    window = torch.outer(*(torch.hann_window(side, dtype=torch.float64) for side in x.shape[1:]))
    mean = (x * window).sum(dim=(1, 2), keepdim=True) / window.sum()
    return torch.fft.fft2((x - mean) * window / window.square().sum().sqrt()).abs().square().mean(dim=0)

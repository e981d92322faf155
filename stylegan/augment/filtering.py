"""Image-space filtering: bands of frequencies are amplified or damped (ADA, appendix B, "Image-space filtering")."""

from functools import cache

import torch
from torch import Tensor

from stylegan.augment.draws import Draws
from stylegan.augment.geometry import reflect_pad
from stylegan.augment.strengths import Strengths

BANDS = 4
POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)  # what share of an image's power each band has in expectation: a 1/f spectrum


def sample_gains(config: Strengths, draws: Draws) -> Tensor:
    """The factor of each band of each image, lowest frequencies first.

    Args:
        config: How often and how strong.
        draws: The random numbers.

    Returns:
        float64 [n, 4]; the expected power of an image stays as it is. Ones to the bit where nothing happens.
    """
    names = [f"imgfilter{band}" for band in range(BANDS)]
    numbers = [draws.normals(name)[0] for name in names]
    gains = numbers[0].new_ones(len(numbers[0]), BANDS)
    for band, (name, number) in enumerate(zip(names, numbers, strict=True)):
        change = torch.ones_like(gains)
        change[:, band] = (number * config.imgfilter_std).exp2()
        change = change / (_power(gains.device) * change.square()).sum(dim=1, keepdim=True).sqrt()
        gains = torch.where(draws.happens(name)[:, None], gains * change, gains)
    return gains


def filter_bands(images: Tensor, gains: Tensor) -> Tensor:
    """Multiply the bands of images [n, C, H, W] by gains [n, 4]; images continue as mirror images beyond their borders."""
    n, channels, H, W = images.shape
    taps = (gains.to(images.dtype) @ filter_bank(images.device).to(images.dtype)).repeat_interleave(channels, dim=0)
    reach = taps.shape[1] // 2
    x = reflect_pad(images, [reach] * 4).reshape(1, n * channels, H + 2 * reach, W + 2 * reach)
    # One filter an image, the same for rows and columns; symmetric, so that correlation is convolution.
    x = torch.nn.functional.conv2d(x, taps[:, None, None, :], groups=n * channels)
    x = torch.nn.functional.conv2d(x, taps[:, None, :, None], groups=n * channels)
    return x.reshape(n, channels, H, W)


@cache
def _power(device: torch.device) -> Tensor:
    return torch.tensor(POWER, dtype=torch.float64).to(device)


@cache
def filter_bank(device: torch.device) -> Tensor:
    """Symmetric filters of four octaves that add up to the identity, float64 [4, 43].

    From the wavelet sym2: of its low-pass l(z) and its high-pass h(z), |l|^2 / 2 + |h|^2 / 2 = 1; an octave down z becomes z^2.
    """
    r = 3**0.5
    low = torch.tensor([1 + r, 3 + r, 3 - r, 1 - r], dtype=torch.float64) / (4 * 2**0.5)
    low = low.flip(0)
    high = low * torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    passed, kept = _autocorrelation(low) / 2, _autocorrelation(high) / 2
    bands = [torch.ones(1, dtype=torch.float64)]  # of the lowest frequencies first, at the coarsest level
    for _ in range(BANDS - 1):
        bands = [_convolve(_spread(band), passed) for band in bands]
        detail = torch.zeros_like(bands[0])
        start = (len(detail) - len(kept)) // 2
        detail[start : start + len(kept)] = kept
        bands.append(detail)
    return torch.stack(bands).to(device)


def _convolve(a: Tensor, b: Tensor) -> Tensor:
    return torch.nn.functional.conv1d(a[None, None], b.flip(0)[None, None], padding=len(b) - 1)[0, 0]


def _autocorrelation(a: Tensor) -> Tensor:
    return _convolve(a, a.flip(0))


def _spread(a: Tensor) -> Tensor:
    """A zero between each two taps: the filter an octave down."""
    wide = torch.zeros(2 * len(a) - 1, dtype=a.dtype)
    wide[::2] = a
    return wide

"""The figure `spectrum`: mean power spectra of generated and of real images.

Karras et al. 2021, "Alias-Free Generative Adversarial Networks", figure 6 and appendix: images are whitened by the mean and the
standard deviation of the real ones, windowed, padded, and the squared magnitudes of their Fourier transforms averaged.
"""

import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from stylegan.bars import with_bar
from stylegan.detect.spectra import azimuthal_mean
from stylegan.figures.axes import Line, Plot, heat, heat_scale
from stylegan.figures.base import Picture, Printed, Request
from stylegan.figures.nearest import open_reals
from stylegan.figures.page import POINTS, Lettering, Page
from stylegan.figures.pixels import to_pixels
from stylegan.figures.sheet import SHARP
from stylegan.inference import sample
from stylegan.memory import check_images
from stylegan.models.base import Generator
from stylegan.values import NOT_NEGATIVE, Range

_QUALITY = 95


@dataclass
class Spectrum(Printed):
    """Mean power spectra of generated and real images: heat maps in decibels, and slices along and across.

    As many images as there are seeds, of both. Real images come from `figure.data`. Both are taken as files hold them: 8-bit
    pixels, and where the real ones are JPEG, the generated ones become JPEG, too.

    Example:
        >>> Spectrum().draw(stylegan.load_generator("demo"), Request(range(1000))).image
    """

    data: str | None = field(default=None, metadata={"help": "archive of real images; null: generated ones alone"})
    beta: float = field(
        default=8.0, metadata={"help": "of the Kaiser window; larger: less leakage, less sharp", "range": NOT_NEGATIVE}
    )
    padding: int = field(
        default=4, metadata={"help": "the transform has so many times the image's sides", "range": Range(1, 32)}
    )
    smooth: float = field(
        default=1.25, metadata={"help": "of the heat map, in pixels of the spectrum; 0: not", "range": Range(0, 100)}
    )
    azimuthal: bool = field(default=False, metadata={"help": "plot the mean over all directions, too"})

    def draw(self, G: Generator, request: Request) -> Picture:
        """See `Figure`. Images of another size or number of channels than the network's are refused."""
        count = len(request.items)
        side = self.padding**2
        check_images(8 * side, G.channels, G.resolution, "figure.padding")
        real = None if self.data is None else open_reals(self.data, G, count)
        sets: dict[str, Spectra] = {}
        as_jpeg = real is not None and all(name.lower().endswith((".jpg", ".jpeg")) for name in real.names)
        if real is not None:
            chosen = np.random.RandomState(0).permutation(len(real))[:count]
            sets["real"] = self._of((real[int(i)][0] for i in chosen), G, request, "real images", count)
        fakes = sample(G, request.seeds, request.sampling)
        made = map(_through_jpeg, fakes) if as_jpeg else fakes
        sets["generated"] = self._of(made, G, request, "generated images", count)
        mean, std = next(iter(sets.values())).mean_and_std()
        powers = {name: spectra.power(mean, std) for name, spectra in sets.items()}
        caption = f"{count} images each" if real is not None else f"{count} images"
        caption += f", Kaiser window of beta {self.beta:g}, padded to {self.padding} times the size"
        caption += f"; generated ones as JPEG of quality {_QUALITY}, as the real ones are JPEG." if as_jpeg else "."
        facts = {
            "images": count,
            "mean": mean,
            "std": std,
            "data": None if real is None else real.path.name,
            "jpeg": as_jpeg,
        }
        return Picture(self._page(powers, G.resolution, caption), facts)

    def _of(self, images: Iterable[Tensor], G: Generator, request: Request, what: str, count: int) -> "Spectra":
        spectra = Spectra(G.resolution, self.beta, self.padding)
        for image in with_bar(images, what, count, show=request.progress):
            spectra.add(image)
        return spectra

    def _page(self, powers: dict[str, Tensor], resolution: tuple[int, int], caption: str) -> Page:
        maps = {name: heat_map(power, self.padding * self.smooth).numpy() for name, power in powers.items()}
        low, high = min(m.min() for m in maps.values()), max(m.max() for m in maps.values())
        dpi = self.dpi or SHARP
        point, width = dpi / 72, round(self.width_cm / 2.54 * dpi)
        text = POINTS + 6 if self.labels else 0.0
        scale_width = 45 * point
        each = int((width - scale_width) / max(len(maps), 2) - 6 * point)
        height = round(each * resolution[0] / resolution[1])
        below = round(text * point) + height + round(6 * point)
        plot_height = round(150 * point)
        page = Page(width, below + plot_height + round(2 * text * point), dpi, Lettering(self.font))
        for i, (name, values) in enumerate(maps.items()):
            x = round(i * (each + 6 * point))
            if self.labels:
                page.text(x + each / 2, text / 2 * point, name)
            page.image(
                x, round(text * point), heat(values, low, high).resize((each, height), Image.Resampling.BILINEAR)
            )
        heat_scale(page, len(maps) * (each + 6 * point) + 4 * point, text * point, height, low, high, "dB")
        lines = [line for name, power in powers.items() for line in self._lines(name, power, resolution)]
        Plot(lines, x="cycles in an image", y="power, dB").draw(page, 0, below, width, plot_height)
        if self.labels:
            page.text(width / 2, below + plot_height + text * point, caption)
        return page

    def _lines(self, name: str, power: Tensor, resolution: tuple[int, int]) -> Iterator[Line]:
        values = heat_map(power, 0.0)
        for angle, (frequencies, slice_) in slices(values, resolution).items():
            yield Line(f"{name} {angle}", frequencies.tolist(), slice_.tolist())
        if self.azimuthal:
            frequencies, mean = azimuthal_mean(power, resolution)
            yield Line(f"{name} mean", frequencies.tolist(), (10 * mean.log10()).tolist())


class Spectra:
    """Sums from which the mean power spectrum of images follows for any mean and standard deviation of the whitening.

    Args:
        resolution: (H, W) of the images.
        beta: Of the Kaiser window.
        padding: Times the sides.
    """

    def __init__(self, resolution: tuple[int, int], beta: float, padding: int) -> None:
        windows = [torch.from_numpy(_kaiser(side, beta)) for side in resolution]
        self.window = torch.outer(*windows)
        self.size = [side * padding for side in resolution]
        self.of_window = torch.fft.fft2(self.window, s=self.size)
        self.power_sum = torch.zeros(self.size, dtype=torch.float64)
        self.cross_sum = torch.zeros(self.size, dtype=torch.float64)
        self.count = self.channels = self.pixels = 0
        self.total = self.squares = 0.0

    def add(self, image: Tensor) -> None:
        """Count an image in, [C, H, W] of pixels from 0 to 255."""
        x = image.double()
        transform = torch.fft.fft2(x * self.window, s=self.size)
        self.power_sum += transform.abs().square().mean(dim=0)
        self.cross_sum += (transform * self.of_window.conj()).real.mean(dim=0)
        self.count += 1
        self.pixels += x.numel()
        self.total += float(x.sum())
        self.squares += float(x.square().sum())

    def mean_and_std(self) -> tuple[float, float]:
        """Over all pixels and channels; the deviation is that of the images themselves (biased)."""
        mean = self.total / self.pixels
        return mean, math.sqrt(max(self.squares / self.pixels - mean**2, 0.0)) or 1.0

    def power(self, mean: float, std: float) -> Tensor:
        """The mean of |FFT(window (image - mean) / std)|^2 over images and channels, float64 [padding H, padding W]."""
        of_mean = self.of_window.abs().square() * mean**2
        return ((self.power_sum - 2 * mean * self.cross_sum) / self.count + of_mean).clamp(min=1e-30) / std**2


def _kaiser(side: int, beta: float) -> "np.ndarray":
    """A window whose squares add up to 1, float64 [side], with the values of float32 that were published."""
    window = np.kaiser(side, beta).astype(np.float32).astype(np.float64)
    return window / math.sqrt(float((window**2).sum()))


def heat_map(power: Tensor, sigma: float) -> Tensor:
    """Decibels, with frequency 0 in the middle and one row and column more, so that both ends are there: [H + 1, W + 1].

    Args:
        power: [H, W] as a Fourier transform has it.
        sigma: Of a Gaussian filter; 0: none.
    """
    shifted = torch.fft.fftshift(10 * power.log10())
    shifted = torch.cat([shifted, shifted[:1]])
    shifted = torch.cat([shifted, shifted[:, :1]], dim=1)
    if sigma == 0:
        return shifted
    radius = int(4 * sigma + 0.5)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma).square())
    taps /= taps.sum()
    x = F.pad(shifted[None, None], [radius] * 4, mode="replicate")
    return F.conv2d(F.conv2d(x, taps[None, None, None]), taps[None, None, :, None])[0, 0]


def slices(values: Tensor, resolution: tuple[int, int]) -> dict[str, tuple[Tensor, Tensor]]:
    """Frequencies, in cycles an image, and values from the middle of a heat map to the right and down its diagonal.

    The diagonal is there where images are square.
    """
    (H, W), middle = values.shape, (values.shape[0] // 2, values.shape[1] // 2)
    right = values[middle[0], middle[1] :]
    found = {"0°": (torch.linspace(0, resolution[1] / 2, len(right), dtype=torch.float64), right)}
    if H == W:
        diagonal = values.diagonal()[middle[0] :]
        end = resolution[1] / 2 * math.sqrt(2)
        found["45°"] = (torch.linspace(0, end, len(diagonal), dtype=torch.float64), diagonal)
    return found


def _through_jpeg(image: Tensor) -> Tensor:
    buffer = io.BytesIO()
    to_pixels(image[:3]).save(buffer, format="JPEG", quality=_QUALITY)
    with Image.open(buffer, formats=("JPEG",)) as read:
        values = torch.from_numpy(np.array(read))
    return values[None] if values.ndim == 2 else values.permute(2, 0, 1)

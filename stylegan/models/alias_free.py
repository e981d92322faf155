"""The signal processing of StyleGAN3 (Karras et al. 2021, section 3 and appendix C): which frequencies each layer holds, at
which sampling rate, on how large a grid, and the low-pass filters between them.

Frequencies are in cycles, and sampling rates in pixels, per side of the image. Every grid extends beyond the image by a
margin, so that what filters do at its border stays out of sight.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stylegan.errors import UserError


@dataclass(frozen=True)
class Schedule:
    """How frequencies grow from layer to layer (StyleGAN3, section 3.2, "Flexible layer specifications").

    Attributes:
        resolution: Side of the square images, a power of two.
        num_layers: Layers without the one that makes colours.
        num_critical: Layers before that one which hold all frequencies of the image.
        first_cutoff, first_stopband: Of the input; a filter passes what is below the cut-off and stops what is above the
            stop-band.
        last_stopband_rel: Stop-band of the last layers, relative to their cut-off.
        margin_size: Pixels around the image, at the layer's sampling rate.
        filter_size: Taps of a filter per factor of resampling.
        lrelu_upsampling: Factor by which the non-linearity's grid is finer than that of the layer.
        radial: Whether the filters of layers that are not critical are circular: equivariance to rotation.
        conv_kernel: Side of the convolutions' kernels.
    """

    resolution: int
    num_layers: int
    num_critical: int
    first_cutoff: float
    first_stopband: float
    last_stopband_rel: float
    margin_size: int
    filter_size: int
    lrelu_upsampling: int
    radial: bool
    conv_kernel: int

    def __post_init__(self) -> None:
        side = self.resolution
        power = 2 ** round(math.log2(max(side, 1)))
        if side != power or side < 8:
            raise UserError(
                f"StyleGAN3 makes square images whose side is a power of two of at least 8, not {side}; the nearest is "
                f"{max(power, 8)}"
            )
        if not 1 <= self.num_critical < self.num_layers:
            raise UserError(
                f"model.G.num_layers={self.num_layers} with num_critical={self.num_critical}: there must be more layers than "
                f"critical ones, and at least one of these; the nearest are num_critical={max(self.num_critical, 1)} and "
                f"num_layers={max(self.num_layers, self.num_critical + 1, 2)}"
            )
        if not 0 < self.first_cutoff < self.first_stopband:
            raise UserError(
                f"model.G.first_stopband={self.first_stopband} must be above first_cutoff={self.first_cutoff}, and that above "
                f"0; the paper takes 2^2.1 and 2"
            )
        if self.first_cutoff > side / 2:
            raise UserError(
                f"model.G.first_cutoff={self.first_cutoff} is beyond what images of {side}x{side} hold; at most {side / 2:g}"
            )
        if not self.last_stopband_rel > 1:
            raise UserError(
                f"model.G.last_stopband_rel={self.last_stopband_rel} must be above 1; the paper takes 2^0.3"
            )
        smallest = round(min(self.sampling_rates))
        if smallest + 2 * self.margin_size < self.filter_size:
            needed = -(-(self.filter_size - smallest) // 2)
            raise UserError(
                f"the smallest layer, {smallest} pixels with a margin of {self.margin_size} to each side, is narrower than its "
                f"filter of {self.filter_size} pixels; the nearest that works is model.G.margin_size={needed}"
            )

    @property
    def _exponents(self) -> np.ndarray:
        """0 for the input, 1 for the critical layers and the colours, evenly between."""
        return np.minimum(np.arange(self.num_layers + 1) / (self.num_layers - self.num_critical), 1)

    @property
    def cutoffs(self) -> np.ndarray:
        """Of each layer's result: a geometric series."""
        last = self.resolution / 2
        return self.first_cutoff * (last / self.first_cutoff) ** self._exponents

    @property
    def stopbands(self) -> np.ndarray:
        """The same for the stop-bands; those of critical layers alias a little, for the sake of sharper images."""
        last = self.resolution / 2 * self.last_stopband_rel
        return self.first_stopband * (last / self.first_stopband) ** self._exponents

    @property
    def sampling_rates(self) -> np.ndarray:
        """The powers of two that hold the stop-bands, at most that of the image."""
        return np.exp2(np.ceil(np.log2(np.minimum(self.stopbands * 2, self.resolution))))

    @property
    def half_widths(self) -> np.ndarray:
        """Of the transition bands: to the stop-band, or further where the grid has room."""
        return np.maximum(self.stopbands, self.sampling_rates / 2) - self.cutoffs

    @property
    def sizes(self) -> np.ndarray:
        """Pixels along a side. The last layer before the colours cuts the margin off."""
        sizes = self.sampling_rates + 2 * self.margin_size
        sizes[-2:] = self.resolution
        return sizes.astype(int)

    def channels(self, channel_base: int, channel_max: int, image_channels: int) -> list[int]:
        """Feature maps of each layer's result: inversely proportional to the cut-off."""
        widths = np.rint(np.minimum((channel_base / 2) / self.cutoffs, channel_max)).clip(min=1)
        return [*map(int, widths[:-1]), image_channels]

    def layers(self, channels: list[int]) -> Iterator["LayerDesign"]:
        """The layers, with their numbers of feature maps; the last makes colours."""
        cutoffs, widths = self.cutoffs.tolist(), self.half_widths.tolist()
        rates, sizes = self.sampling_rates.tolist(), self.sizes.tolist()
        for i in range(self.num_layers + 1):
            before = max(i - 1, 0)
            yield LayerDesign(
                name=f"L{i}_{sizes[i]}_{channels[i]}",
                is_torgb=i == self.num_layers,
                is_critical=i >= self.num_layers - self.num_critical,
                conv_kernel=1 if i == self.num_layers else self.conv_kernel,
                channels=(channels[before], channels[i]),
                size=(sizes[before], sizes[i]),
                sampling_rate=(rates[before], rates[i]),
                cutoff=(cutoffs[before], cutoffs[i]),
                half_width=(widths[before], widths[i]),
                schedule=self,
            )


@dataclass(frozen=True)
class LayerDesign:
    """One layer; pairs are (of its input, of its result).

    Attributes:
        name: `L{index}_{size}_{channels}`.
        is_torgb: Whether it makes colours, without filters or non-linearity.
        is_critical: Whether it holds all frequencies of the image.
        conv_kernel: Side of the convolution's kernel.
        channels: Feature maps.
        size: Pixels along a side.
        sampling_rate, cutoff, half_width: See `Schedule`.
        schedule: What all layers have in common.
    """

    name: str
    is_torgb: bool
    is_critical: bool
    conv_kernel: int
    channels: tuple[int, int]
    size: tuple[int, int]
    sampling_rate: tuple[float, float]
    cutoff: tuple[float, float]
    half_width: tuple[float, float]
    schedule: Schedule

    @property
    def fine_rate(self) -> float:
        """Sampling rate of the grid on which the non-linearity is applied."""
        return max(self.sampling_rate) * (1 if self.is_torgb else self.schedule.lrelu_upsampling)

    @property
    def up(self) -> int:
        """From the convolution's grid to the fine one."""
        return round(self.fine_rate / self.sampling_rate[0])

    @property
    def down(self) -> int:
        """From the fine grid to the result's."""
        return round(self.fine_rate / self.sampling_rate[1])

    @property
    def up_taps(self) -> int:
        """Length of the filter that interpolates; 1 for none."""
        return self.schedule.filter_size * self.up if self.up > 1 and not self.is_torgb else 1

    @property
    def down_taps(self) -> int:
        """Length of the filter that takes away what the result's grid cannot hold; 1 for none."""
        return self.schedule.filter_size * self.down if self.down > 1 and not self.is_torgb else 1

    @property
    def down_radial(self) -> bool:
        """Whether that filter is circular. Critical layers need the corners of their square of frequencies."""
        return self.schedule.radial and not self.is_critical

    @property
    def up_filter(self) -> Tensor | None:
        """float32 [up_taps]; None for none."""
        return low_pass(self.up_taps, self.cutoff[0], 2 * self.half_width[0], self.fine_rate)

    @property
    def down_filter(self) -> Tensor | None:
        """float32 [down_taps], or squared where it is circular; None for none."""
        return low_pass(self.down_taps, self.cutoff[1], 2 * self.half_width[1], self.fine_rate, self.down_radial)

    @property
    def padding(self) -> list[int]:
        """[x0, x1, y0, y1] on the fine grid that brings a convolution padded by its kernel less one to the result's size, with
        centres of pixels in place."""
        total = (self.size[1] - 1) * self.down + 1 - (self.size[0] + self.conv_kernel - 1) * self.up
        total += self.up_taps + self.down_taps - 2
        near = (total + self.up) // 2  # the zeros that up-sampling inserts lie after each pixel
        return [near, total - near] * 2


def low_pass(taps: int, cutoff: float, width: float, sampling_rate: float, radial: bool = False) -> Tensor | None:
    """A low-pass filter with a Kaiser window (Kaiser 1974; StyleGAN3, appendix C.1), of gain one.

    Args:
        taps: Length; 1 gives None.
        cutoff: Frequency at which half passes.
        width: Of the transition band.
        sampling_rate: Of the taps.
        radial: The ideal filter of a disc of frequencies (a jinc) rather than of a band (a sinc).

    Returns:
        float32 [taps], or [taps, taps] if radial.
    """
    if taps == 1:
        return None
    result = torch.empty(
        [taps, taps] if radial else [taps]
    )  # first, so that too many are refused before they are computed
    place = (np.arange(taps) - (taps - 1) / 2) / sampling_rate
    window = np.kaiser(taps, _kaiser_beta(2.285 * (taps - 1) * math.pi * width / (sampling_rate / 2) + 7.95))
    if not radial:
        f = np.sinc(2 * cutoff * place) * window
    else:
        r = math.pi * np.hypot(place, place[:, None])
        bessel = torch.special.bessel_j1(torch.from_numpy(2 * cutoff * r)).numpy()
        at_centre = np.full_like(r, cutoff)  # the limit, for an odd number of taps
        f = np.divide(bessel, r, out=at_centre, where=r > 0) * np.outer(window, window)
    return result.copy_(torch.from_numpy((f / f.sum()).astype(np.float32)))


def _kaiser_beta(attenuation: float) -> float:
    """The window's parameter for an attenuation in decibels, by Kaiser's formula."""
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    return 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21) if attenuation > 21 else 0.0

"""StyleGAN3 synthesis network (Karras et al. 2021): ws [N, num_ws, w_dim] -> images [N, C, H, W].

Features are samples of continuous signals: the input is a sum of waves that can be moved and turned, and every layer keeps
what its grid can hold (`alias_free.py`). Configuration T is equivariant to translation; R, with 1x1 convolutions and circular
filters, to rotation, too.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stylegan.errors import UserError
from stylegan.models.alias_free import LayerDesign, Schedule
from stylegan.models.generator import StyleBased, Styles, Synthesis
from stylegan.models.layers import (
    FullyConnected,
    Precision,
    channel_base_of,
    check_kind,
    check_precision,
    conv_weight,
)
from stylegan.models.mapping import MappingConfig
from stylegan.ops.filtered_lrelu import filtered_lrelu
from stylegan.ops.modulated_conv2d import normalized_modulated_conv2d
from stylegan.ops.modulated_epilogue import modulated_epilogue
from stylegan.ops.update import set_where_finite_
from stylegan.values import COUNT, COUNT_OR_NONE, FINITE, LAYERS, POSITIVE, SHARE, Range, check_values


@dataclass
class StyleGAN3Config:
    """Options of a StyleGAN3 generator, without what follows from the data: resolution, channels, labels."""

    kind: str = field(default="stylegan3", metadata={"help": "the architecture; model/G=NAME sets it"})
    z_dim: int = field(default=512, metadata={"help": "size of the latent z", "range": COUNT})
    w_dim: int = field(default=512, metadata={"help": "size of the intermediate latent w", "range": COUNT})
    channel_base: int | None = field(
        default=32768,
        metadata={
            "help": "feature maps of a layer = channel_base / 2 / cut-off; null: 16384, from 512 pixels 32768",
            "range": COUNT,
        },
    )
    channel_max: int = field(default=512, metadata={"help": "upper bound of feature maps", "range": COUNT})
    num_layers: int = field(
        default=14, metadata={"help": "layers, without the one that makes colours", "range": LAYERS}
    )
    num_critical: int = field(
        default=2, metadata={"help": "last layers that hold all frequencies of the image", "range": Range(0, 100)}
    )
    first_cutoff: float = field(
        default=2.0, metadata={"help": "cut-off of the input in cycles per image", "range": POSITIVE}
    )
    first_stopband: float = field(default=2**2.1, metadata={"help": "stop-band of the input", "range": POSITIVE})
    last_stopband_rel: float = field(
        default=2**0.3, metadata={"help": "stop-band of the last layers, relative to their cut-off", "range": POSITIVE}
    )
    margin_size: int = field(
        default=10, metadata={"help": "pixels of every layer beyond the image's border", "range": Range(0, 4096)}
    )
    conv_kernel: int = field(
        default=3, metadata={"help": "kernel of the convolutions: 3 for T, 1 for R", "range": Range(1, 31)}
    )
    filter_size: int = field(
        default=6, metadata={"help": "taps of a filter per factor of resampling", "range": Range(1, 64)}
    )
    lrelu_upsampling: int = field(
        default=2, metadata={"help": "how much finer the grid of the non-linearity is", "range": Range(1, 64)}
    )
    radial_filters: bool = field(default=False, metadata={"help": "circular filters: false for T, true for R"})
    conv_clamp: float | None = field(
        default=256.0, metadata={"help": "bound on activations; null = none", "weights": "alike", "range": POSITIVE}
    )
    magnitude_ema_beta: float = field(
        default=0.999,
        metadata={"help": "decay of the moving average of each layer's mean square, per update", "range": SHARE},
    )
    output_scale: float = field(default=0.25, metadata={"help": "factor of the image", "range": FINITE})
    precision: Precision = field(
        default=Precision.fp32,
        metadata={
            "help": "of the highest resolutions: fp32, bf16 or fp16 (fp16 is slow on CPUs)",
            "weights": "any",
        },
    )
    reduced_blocks: int = field(
        default=4,
        metadata={"help": "how many resolutions compute in bf16 or fp16", "weights": "any", "range": COUNT_OR_NONE},
    )
    mapping: MappingConfig = field(
        default_factory=lambda: MappingConfig(num_layers=2), metadata={"help": "mapping network"}
    )

    def __post_init__(self) -> None:
        check_kind(self, "model/G")
        check_values(self, "model.G")
        check_precision("model.G", self.precision, self.reduced_blocks, self.conv_clamp)

    def build(self, *, resolution: tuple[int, int], channels: int, c_dim: int) -> StyleBased:
        """A new generator with random weights, for square images of a power of two; see `NetworkConfig`."""
        synthesis = SynthesisNetwork(self, resolution=resolution, channels=channels)
        return StyleBased(self, synthesis, resolution=resolution, channels=channels, c_dim=c_dim)

    def schedule(self, resolution: tuple[int, int]) -> Schedule:
        """The layers' frequencies for images of (H, W).

        Raises:
            UserError: There is no solution; names the nearest values that have one.
        """
        height, width = resolution
        if height != width:
            side = 2 ** max(round(math.log2(max(height, width))), 3)
            raise UserError(f"StyleGAN3 makes square images, not {height}x{width} (HxW); the nearest is {side}x{side}")
        return Schedule(
            resolution=height,
            num_layers=self.num_layers,
            num_critical=self.num_critical,
            first_cutoff=self.first_cutoff,
            first_stopband=self.first_stopband,
            last_stopband_rel=self.last_stopband_rel,
            margin_size=self.margin_size,
            filter_size=self.filter_size,
            lrelu_upsampling=self.lrelu_upsampling,
            radial=self.radial_filters,
            conv_kernel=self.conv_kernel,
        )


class SynthesisInput(nn.Module):
    """Waves of random frequencies below the cut-off and random phases, mixed by a learned matrix (StyleGAN3, section 3.2,
    "Fourier features", and appendix F): w [N, w_dim] -> [N, channels, size, size].

    w turns and moves the waves, by a learned affine map that starts from the identity. `transform` does so from outside.

    Attributes:
        transform: float32 [3, 3], homogeneous: at x (in image sides, from the centre) lies what the network has at
            `transform @ x`.
    """

    transform: Tensor
    freqs: Tensor
    phases: Tensor

    def __init__(self, w_dim: int, channels: int, *, size: int, sampling_rate: float, bandwidth: float):
        super().__init__()
        self.size, self.sampling_rate, self.bandwidth = size, sampling_rate, bandwidth
        # Points of a Gaussian are pulled so that they fill a disc evenly, out to the cut-off.
        freqs = torch.randn(channels, 2)
        radii = freqs.square().sum(dim=1, keepdim=True).sqrt()
        freqs = freqs / (radii * radii.square().exp().pow(0.25)) * bandwidth
        self.weight = nn.Parameter(torch.randn(channels, channels))
        self.affine = FullyConnected(w_dim, 4)
        with torch.no_grad():
            self.affine.weight.zero_()
            assert self.affine.bias is not None
            self.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("freqs", freqs)
        self.register_buffer("phases", torch.rand(channels) - 0.5)

    def set_transform(self, transform: Tensor) -> None:
        """Move, turn or scale what the network shows; it stays so until the next call.

        Args:
            transform: [3, 3], see the class; the identity for none.

        Raises:
            UserError: Another shape, numbers that are not finite, a last row other than 0, 0, 1, or no inverse.
        """
        if transform.shape != (3, 3) or not transform.is_floating_point():
            raise UserError(
                f"an input transform is a real [3, 3] matrix, got {tuple(transform.shape)} of {transform.dtype}; the nearest "
                "that works is torch.eye(3) with the upper left [2, 2] as rotation and the upper right [2] as translation"
            )
        if not bool(transform.isfinite().all()) or transform[2].tolist() != [0, 0, 1]:
            raise UserError(
                f"an input transform is finite, and its last row is [0, 0, 1], got {transform.tolist()}; "
                f"put {[0.0, 0.0, 1.0]} there"
            )
        determinant = float(torch.linalg.det(transform[:2, :2].double()))
        if abs(determinant) < 1e-6:
            raise UserError(
                f"the input transform {transform.tolist()} has no inverse (determinant {determinant:.3g}): all of the image "
                "would show one line; the nearest that works scales by a small number instead of 0, such as 0.01"
            )
        self.transform.copy_(transform)

    def forward(self, w: Tensor) -> Tensor:
        """w [N, w_dim]."""
        t = self.affine(w)
        t = t / t[:, :2].norm(dim=1, keepdim=True)  # (cos, sin, x, y): the length cancels (appendix F)
        cos, sin, x, y = t.unbind(dim=1)
        turn = torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)
        # turn @ move @ transform, as a matrix and an offset.
        matrix, offset = self.transform[:2, :2], self.transform[:2, 2]
        offset = (turn @ (offset - torch.stack([x, y], dim=1))[:, :, None]).squeeze(2)
        freqs = self.freqs @ (turn @ matrix)
        phases = self.phases + offset @ self.freqs.t()
        # What the transform lifts towards the grid's limit fades out, rather than alias.
        limit = self.sampling_rate / 2
        amplitudes = (1 - (freqs.norm(dim=2) - self.bandwidth) / (limit - self.bandwidth)).clamp(0, 1)
        place = (torch.arange(self.size, dtype=w.dtype, device=w.device) + 0.5 - self.size / 2) / self.sampling_rate
        along_y, along_x = (place[:, None] * freqs[:, None, :, axis] for axis in (1, 0))  # [N, size, channels]
        angle = along_y[:, :, None] + (along_x + phases[:, None])[:, None]
        waves = (angle * (2 * math.pi)).sin() * amplitudes[:, None, None]
        mixed = waves @ (self.weight.t() / math.sqrt(self.weight.shape[0]))
        return mixed.permute(0, 3, 1, 2)  # channels_last, without a copy


class SynthesisLayer(nn.Module):
    """Modulated convolution, bias, and leaky ReLU between two filters: [N, I, in, in] -> [N, O, out, out].

    The layer that makes colours has no filters and no non-linearity.

    Attributes:
        magnitude_ema: Moving average of the mean square of its input, by whose root it divides (StyleGAN3, section 3.2,
            "Normalization").
        dtype: The format in which it computes; None for that of its parameters.
    """

    magnitude_ema: Tensor
    up_filter: Tensor | None
    down_filter: Tensor | None
    dtype: torch.dtype | None = None

    def __init__(self, design: LayerDesign, config: StyleGAN3Config):
        super().__init__()
        self.design, self.conv_clamp, self.beta = design, config.conv_clamp, config.magnitude_ema_beta
        in_channels, out_channels = design.channels
        self.affine = FullyConnected(config.w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(conv_weight(out_channels, in_channels, design.conv_kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("magnitude_ema", torch.ones([]))
        self.register_buffer("up_filter", design.up_filter)
        self.register_buffer("down_filter", design.down_filter)

    def averaged(self, magnitude: Tensor) -> Tensor:
        """The moving average after one more mean square."""
        return magnitude.lerp(self.magnitude_ema, self.beta)

    def forward(self, x: Tensor, s: Tensor, track: list[Tensor] | None = None) -> Tensor:
        """x, style s [N, I]; `track` as in `Synthesis.forward`."""
        design, magnitude, w = self.design, self.magnitude_ema, self.weight
        if track is not None:
            track.append(x.detach().float().square().mean())
            magnitude = self.averaged(track[-1])
        x = normalized_modulated_conv2d(
            x.to(self.dtype or w.dtype),
            w / math.sqrt(design.channels[0]) if design.is_torgb else w,
            s,
            padding=design.conv_kernel - 1,
            demodulate=not design.is_torgb,
            input_gain=magnitude.rsqrt(),
            per_image=not self.training,
        )
        if design.is_torgb:
            # Leaky ReLU of slope 1, as in the papers' code: linear, but with a gradient of second order that is zero instead of
            # absent, so that Adam counts path length regularisation as a step of this bias, too.
            return modulated_epilogue(x, b=self.bias, act="lrelu", alpha=1.0, gain=1.0, clamp=self.conv_clamp)
        return filtered_lrelu(
            x,
            self.up_filter,
            self.down_filter,
            self.bias.to(x.dtype),
            up=design.up,
            down=design.down,
            padding=design.padding,
            gain=math.sqrt(2),
            slope=0.2,
            clamp=self.conv_clamp,
        )


class SynthesisNetwork(Synthesis):
    """ws [N, num_ws, w_dim] -> image [N, channels, H, W]. One w for the input, one per layer, one for the colours.

    There is no layer noise: every noise mode gives the same image.

    In training mode styles are normalised over the whole batch, as the papers' code does. An image then depends on the others
    of its batch: through the epsilon of demodulation (about 1e-8 of the squared styles, nothing but for styles that vary by
    orders of magnitude), and through rounding. In eval mode every image's styles are normalised by themselves: the image is
    a function of its own w, as `sample` promises. By demodulation the two are equal but for these differences, of some 1e-6 of
    the pixels' range.
    """

    noise_size = 0

    def __init__(self, config: StyleGAN3Config, *, resolution: tuple[int, int], channels: int):
        super().__init__()
        schedule = config.schedule(resolution)
        widths = schedule.channels(channel_base_of(config.channel_base, resolution), config.channel_max, channels)
        designs = list(schedule.layers(widths))
        self.output_scale, self.resolution = config.output_scale, resolution[0]
        self.num_ws, self.num_magnitudes = len(designs) + 1, len(designs)
        self.input = SynthesisInput(
            config.w_dim,
            widths[0],
            size=designs[0].size[0],
            sampling_rate=designs[0].sampling_rate[0],
            bandwidth=designs[0].cutoff[0],
        )
        self.layer_names = [design.name for design in designs]
        for design in designs:
            self.add_module(design.name, SynthesisLayer(design, config))
        self.styles = Styles([design.channels[0] for design in designs], range(1, self.num_ws))
        self.set_precision(config.precision, config.reduced_blocks)

    @property
    def style_maps(self) -> list[FullyConnected]:
        """See `Synthesis`."""
        return [self.input.affine, *(layer.affine for layer in self.layers)]

    @property
    def placing_ws(self) -> range:
        """See `Synthesis`: that of the input."""
        return range(1)

    @property
    def style_ranges(self) -> dict[str, range]:
        """The first half of the layers and the second, 0-6 and 7-13 as published; colours are fine, and there is no middle."""
        half = (self.num_ws - 2) // 2
        return {"coarse": range(half), "fine": range(half, self.num_ws)}

    @property
    def layers(self) -> list[SynthesisLayer]:
        """The layers in order."""
        return [getattr(self, name) for name in self.layer_names]

    def set_precision(self, precision: Precision, reduced_blocks: int) -> None:
        """The layers of the highest `reduced_blocks` sampling rates take the reduced format."""
        for layer in self.layers:
            reduced = layer.design.sampling_rate[1] * 2**reduced_blocks > self.resolution
            layer.dtype = precision.dtype if reduced and precision is not Precision.fp32 else None

    def forward(
        self,
        ws: Tensor,
        *,
        noise_mode: str = "const",
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        track: list[Tensor] | None = None,
    ) -> Tensor:
        """See `Synthesis`."""
        self.checked_noise(ws, noise_mode, noise, generator)
        x = self.input(ws[:, 0])
        for layer, s in zip(self.layers, self.styles(ws, [layer.affine for layer in self.layers]), strict=True):
            x = layer(x, s, track)
        return x.to(ws.dtype) * self.output_scale

    @torch.no_grad()
    def update_magnitudes(self, magnitudes: Tensor) -> None:
        """One step of every layer's `magnitude_ema`, by mean squares [num_magnitudes]."""
        for layer, magnitude in zip(self.layers, magnitudes, strict=True):
            set_where_finite_(layer.magnitude_ema, layer.averaged(magnitude))

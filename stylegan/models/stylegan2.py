"""StyleGAN2 synthesis network (Karras et al. 2020, figure 2 and appendix B): ws [N, num_ws, w_dim] -> images [N, C, H, W].

Blocks double the resolution from 4 to 7 pixels on. Every 3x3 layer is: modulated convolution, noise, bias, leaky ReLU,
clamp. Blocks are named by the longer side of what they make: `synthesis.b8.conv0`.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from stylegan.models.convolution import Conv2d
from stylegan.models.generator import Styles, Synthesis
from stylegan.models.growing import Grows, doubled, faded
from stylegan.models.growing_generator import GrowingStyleBased, ranges_by_side
from stylegan.models.layers import (
    RESAMPLE_FILTER,
    Architecture,
    FullyConnected,
    Precision,
    activate,
    block_channels,
    block_dtypes,
    block_shapes,
    channel_base_of,
    check_kind,
    check_precision,
    conv_weight,
    scaled,
)
from stylegan.models.mapping import MappingConfig
from stylegan.ops.modulated_conv2d import modulated_conv2d, modulated_only
from stylegan.ops.modulated_epilogue import modulated_epilogue
from stylegan.ops.upfirdn2d import setup_filter, upsample2d
from stylegan.values import COUNT, COUNT_OR_NONE, POSITIVE, check_values


@dataclass
class StyleGAN2Config:
    """Options of the StyleGAN2 `Generator`, without what follows from the data: resolution, channels, labels."""

    kind: str = field(default="stylegan2", metadata={"help": "the architecture; model/G=NAME sets it"})
    z_dim: int = field(default=512, metadata={"help": "size of the latent z", "range": COUNT})
    w_dim: int = field(default=512, metadata={"help": "size of the intermediate latent w", "range": COUNT})
    channel_base: int | None = field(
        default=32768,
        metadata={
            "help": "feature maps of a block = channel_base / its longer side; null: 16384, from 512 pixels 32768",
            "range": COUNT,
        },
    )
    channel_max: int = field(default=512, metadata={"help": "upper bound of feature maps", "range": COUNT})
    architecture: Architecture = field(default=Architecture.skip, metadata={"help": "skip, resnet or orig"})
    conv_clamp: float | None = field(
        default=256.0, metadata={"help": "bound on activations; null = none", "weights": "alike", "range": POSITIVE}
    )
    fused_modconv: bool = field(
        default=False,
        metadata={
            "help": "weights per image and grouped convolution; slower on CPUs, same results",
            "weights": "alike",
        },
    )
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
    mapping: MappingConfig = field(default_factory=MappingConfig, metadata={"help": "mapping network"})

    def __post_init__(self) -> None:
        check_kind(self, "model/G")
        check_values(self, "model.G")
        check_precision("model.G", self.precision, self.reduced_blocks, self.conv_clamp)

    def build(self, *, resolution: tuple[int, int], channels: int, c_dim: int) -> GrowingStyleBased:
        """A new generator with random weights, for images of H0 * 2^k by W0 * 2^k with the longer of H0, W0 from 4 to 7; see
        `NetworkConfig`."""
        synthesis = SynthesisNetwork(self, resolution=resolution, channels=channels)
        return GrowingStyleBased(self, synthesis, resolution=resolution, channels=channels, c_dim=c_dim)


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU: [N, I, H, W] or half of that -> [N, O, H, W]."""

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, *, shape: tuple[int, int], up: int, config: StyleGAN2Config
    ):
        super().__init__()
        self.shape, self.up = shape, up
        self.conv_clamp, self.fused_modconv = config.conv_clamp, config.fused_modconv
        self.affine = FullyConnected(config.w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(conv_weight(out_channels, in_channels, 3))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_FILTER))
        self.register_buffer("noise_const", torch.randn(shape))

    def forward(self, x: Tensor, s: Tensor, noise: Tensor | None, gain: float = 1.0) -> tuple[Tensor, Tensor]:
        """The layer's result, and x, for what else reads it: see `conv2d_resample_beside`.

        Args:
            x: [N, I, H, W].
            s: Style [N, I].
            noise: Unit normal, [H, W], [N, 1, H, W] or None.
            gain: Multiplies the result.
        """
        noise = None if noise is None else noise * self.noise_strength
        resample: dict[str, Any] = {
            "up": self.up,
            "padding": 1,
            "f": self.resample_filter,
            "flip_weight": self.up == 1,
        }
        if self.fused_modconv:
            y = modulated_conv2d(x, self.weight, s, noise=noise, fused_modconv=True, **resample)
            return activate(y, self.bias, "lrelu", gain, self.conv_clamp), x
        y, d, x = modulated_only(x, self.weight, s, **resample)
        return modulated_epilogue(y, d, noise, self.bias, act="lrelu", **scaled("lrelu", gain, self.conv_clamp)), x


class ToRGB(nn.Module):
    """Modulated 1x1 convolution without demodulation, to image channels: [N, I, H, W] -> [N, channels, H, W].

    Whatever the format of its input, it computes in that of its parameters: images are sums over resolutions, and 8 bits of
    mantissa would show as bands.
    """

    def __init__(self, in_channels: int, channels: int, *, config: StyleGAN2Config):
        super().__init__()
        self.conv_clamp, self.fused_modconv = config.conv_clamp, config.fused_modconv
        self.affine = FullyConnected(config.w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(conv_weight(channels, in_channels, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.weight_gain = 1 / math.sqrt(in_channels)

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """x, style s [N, I]."""
        w, x = self.weight * self.weight_gain, x.to(self.weight.dtype)
        x = modulated_conv2d(x, w, s, demodulate=False, fused_modconv=self.fused_modconv)
        return activate(x, self.bias, "linear", 1.0, self.conv_clamp)


class SynthesisBlock(nn.Module):
    """All layers at one resolution. The first block starts from a learned constant (StyleGAN, section 2).

    Attributes:
        dtype: The format in which its features are computed; None for that of its parameters.
    """

    resample_filter: Tensor
    dtype: torch.dtype | None = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        shape: tuple[int, int],
        channels: int,
        is_last: bool,
        config: StyleGAN2Config,
    ):
        super().__init__()
        self.is_first = in_channels == 0
        self.residual = config.architecture is Architecture.resnet and not self.is_first
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_FILTER))
        if self.is_first:
            self.const = nn.Parameter(torch.randn(out_channels, *shape))
        else:
            self.conv0 = SynthesisLayer(in_channels, out_channels, shape=shape, up=2, config=config)
        self.conv1 = SynthesisLayer(out_channels, out_channels, shape=shape, up=1, config=config)
        has_image = is_last or config.architecture is Architecture.skip
        self.torgb = ToRGB(out_channels, channels, config=config) if has_image else None
        if self.residual:
            self.skip = Conv2d(in_channels, out_channels, 1, bias=False, up=2)

    @property
    def layers(self) -> list[SynthesisLayer]:
        """The layers with noise, in order."""
        return [self.conv1] if self.is_first else [self.conv0, self.conv1]

    @property
    def affines(self) -> list[FullyConnected]:
        """What makes the styles of the layers and, if there is one, of the image layer."""
        return [layer.affine for layer in [*self.layers, *([] if self.torgb is None else [self.torgb])]]

    def forward(
        self, x: Tensor | None, styles: Sequence[Tensor], noises: Sequence[Tensor | None]
    ) -> tuple[Tensor, Tensor | None]:
        """The features, and x, for what else reads it.

        Args:
            x: Features at half the resolution; None for the first block.
            styles: [N, I] for each of `affines`.
            noises: For each of `layers`.
        """
        if x is None:
            n = styles[0].shape[0]
            start = self.const.expand(n, *self.const.shape).contiguous(memory_format=torch.channels_last)
            return self.conv1(start, styles[0], noises[0])[0], None
        gain = math.sqrt(0.5) if self.residual else 1.0
        given, x = x, x.to(self.dtype or self.conv0.weight.dtype)
        rounded = x.dtype != given.dtype
        y, x = self.conv0(x, styles[0], noises[0])
        y, _ = self.conv1(y, styles[1], noises[1], gain)
        y = y + self.skip(x, gain) if self.residual else y
        return y, given if rounded else x

    def paint(self, y: Tensor, img: Tensor | None, styles: Sequence[Tensor]) -> Tensor | None:
        """The image so far, from this block's features and the image of the block before, at half the resolution."""
        rgb = None if self.torgb is None else self.torgb(y, styles[-1])
        return rgb if img is None else upsample2d(img, self.resample_filter, added=rgb)


class SynthesisNetwork(Grows, Synthesis):
    """ws [N, num_ws, w_dim] -> image [N, channels, H, W]. One w per 3x3 layer and one for the last image layer."""

    def __init__(self, config: StyleGAN2Config, *, resolution: tuple[int, int], channels: int):
        super().__init__()
        shapes = block_shapes(resolution)
        self.shapes, self.architecture = shapes, config.architecture
        self.block_names: list[str] = []
        width = 0
        for shape in shapes:
            out = block_channels(shape, channel_base_of(config.channel_base, resolution), config.channel_max)
            block = SynthesisBlock(
                width, out, shape=shape, channels=channels, is_last=shape == shapes[-1], config=config
            )
            self.block_names.append(f"b{max(shape)}")
            self.add_module(self.block_names[-1], block)
            width = out
        layers = [layer for block in self.blocks for layer in block.layers]
        self.set_precision(config.precision, config.reduced_blocks)
        self.num_ws = len(layers) + 1
        self.noise_size = sum(math.prod(layer.shape) for layer in layers)
        starts = itertools.accumulate(len(block.layers) for block in self.blocks[:-1])
        uses = [
            start + i for start, block in zip([0, *starts], self.blocks, strict=True) for i in range(len(block.affines))
        ]
        lengths = [affine.weight.shape[0] for affine in self.affines]
        ends = list(itertools.accumulate(len(block.affines) for block in self.blocks))
        # Of every stage: what lies beyond it gets no gradient.
        self.styles_of = nn.ModuleList(Styles(lengths[:end], uses[:end]) for end in ends)

    @property
    def blocks(self) -> list[SynthesisBlock]:
        """The blocks, smallest first."""
        return [getattr(self, name) for name in self.block_names]

    @property
    def style_maps(self) -> list[FullyConnected]:
        """See `Synthesis`."""
        return [*(layer.affine for block in self.blocks for layer in block.layers), self.affines[-1]]

    @property
    def noise_shapes(self) -> list[tuple[int, int]]:
        """See `Synthesis`."""
        return [layer.shape for block in self.blocks for layer in block.layers]

    @property
    def style_ranges(self) -> dict[str, range]:
        """Up to 8 pixels, 16 to 32, from 64 on, of the larger side (Karras et al. 2019, figure 3); the image layer is fine."""
        sides = [max(block.layers[0].shape) for block in self.blocks for _ in block.layers]
        return ranges_by_side([*sides, sides[-1]])

    @property
    def affines(self) -> list[FullyConnected]:
        """What makes the styles, in order of the layers."""
        return [affine for block in self.blocks for affine in block.affines]

    def set_precision(self, precision: Precision, reduced_blocks: int) -> None:
        """See `Synthesis`."""
        dtypes = block_dtypes(len(self.block_names), precision, reduced_blocks)
        for block, dtype in zip(self.blocks, dtypes, strict=True):
            block.dtype = dtype

    def forward(
        self,
        ws: Tensor,
        *,
        noise_mode: str = "const",
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        track: list[Tensor] | None = None,
    ) -> Tensor:
        """See `Synthesis`; nothing is tracked."""
        noise = self.checked_noise(ws, noise_mode, noise, generator)
        blocks = self.blocks[: self.working]
        affines = [affine for block in blocks for affine in block.affines]
        noises, styles = iter(self._noises(noise_mode, noise)), iter(self.styles_of[len(blocks) - 1](ws, affines))
        x = img = paint = None
        for block in blocks:
            own = [next(styles) for _ in block.affines]
            y, x = block(x, own, [next(noises) for _ in block.layers])
            # The image layer comes after the next block, which hands on the features in a way that saves summing gradients.
            if paint is not None:
                assert x is not None  # given to all blocks but the first
                img = paint(x, img)
            x, paint = y, functools.partial(block.paint, styles=own)
        before, img = img, None if x is None or paint is None else paint(x, img)
        assert img is not None  # the last block makes one in every architecture
        if self.alpha is not None and before is not None:
            img = faded(doubled(before), img, self.alpha)
        return self.shown(img) if self.enlarge else img

    def stored_noise(self) -> Tensor:
        """See `Generator.stored_noise`."""
        return torch.cat([layer.noise_const.flatten() for block in self.blocks for layer in block.layers])

    def _noises(self, noise_mode: str, noise: Tensor | None) -> Sequence[Tensor | None]:
        """For each layer: noise [N, 1, H, W], the stored one [H, W] for all images, or None."""
        layers = [layer for block in self.blocks for layer in block.layers]
        if noise is None:
            return [layer.noise_const if noise_mode == "const" else None for layer in layers]
        pieces = noise.split([math.prod(layer.shape) for layer in layers], dim=1)
        return [p.reshape(-1, 1, *layer.shape) for p, layer in zip(pieces, layers, strict=True)]

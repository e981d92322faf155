"""The first StyleGAN (Karras et al. 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks"): each
layer ends with noise, bias, leaky ReLU, a normalisation of every feature map, and a style [s, b]: x (s + 1) + b. D is ProGAN's
with a blur.

Blocks double the resolution; they are named by the longer side of what they work on: `synthesis.b8.layer0`.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stylegan.models.generator import Synthesis
from stylegan.models.growing import Grows, doubled, faded
from stylegan.models.growing_generator import GrowingStyleBased, ranges_by_side
from stylegan.models.layers import (
    FullyConnected,
    Precision,
    block_dtypes,
    check_kind,
    conv_weight,
    normalize_second_moment,
)
from stylegan.models.mapping import MappingConfig, MappingNetwork, checked_vectors
from stylegan.models.progressive import (
    BLUR,
    BlockPlan,
    Convolution,
    Dense,
    GrowingDiscriminator,
    GrowingDiscriminatorSizes,
    GrowingSizes,
    Layout,
    TensorFlowName,
    block_plans,
    checked,
    convolve,
    discriminator_names,
    with_bias,
)
from stylegan.ops.bias_act import bias_act
from stylegan.ops.upfirdn2d import filter2d, setup_filter
from stylegan.values import COUNT, COUNT_OR_NONE, check_values

FUSED_FROM = 128  # the side from which the paper's code fuses up-convolutions (`fused_scale=auto`)


@dataclass
class StyleGAN1Config(GrowingSizes):
    """Options of the StyleGAN1 `Generator`, without what follows from the data: resolution, channels, labels."""

    kind: str = field(default="stylegan1", metadata={"help": "the architecture; model/G=NAME sets it"})
    z_dim: int = field(default=512, metadata={"help": "size of the latent z", "range": COUNT})
    w_dim: int = field(default=512, metadata={"help": "size of the intermediate latent w", "range": COUNT})
    precision: Precision = field(
        default=Precision.fp32,
        metadata={"help": "of the highest resolutions: fp32, bf16 or fp16 (fp16 is slow on CPUs)", "weights": "any"},
    )
    reduced_blocks: int = field(
        default=4,
        metadata={"help": "how many resolutions compute in bf16 or fp16", "weights": "any", "range": COUNT_OR_NONE},
    )
    mapping: MappingConfig = field(
        default_factory=lambda: MappingConfig(w_avg_beta=0.995), metadata={"help": "mapping network"}
    )

    def __post_init__(self) -> None:
        check_kind(self, "model/G")
        check_values(self, "model.G")

    def build(self, *, resolution: tuple[int, int], channels: int, c_dim: int) -> "StyleGAN1Generator":
        """A new generator with random weights, for images of the same sizes as `StyleGAN2Config`; see `NetworkConfig`."""
        synthesis = SynthesisNetwork(self, resolution=resolution, channels=channels)
        return StyleGAN1Generator(self, synthesis, resolution=resolution, channels=channels, c_dim=c_dim)


@dataclass
class StyleGAN1DiscriminatorConfig(GrowingDiscriminatorSizes):
    """Options of the `StyleGAN1Discriminator`."""

    kind: str = field(default="stylegan1_discriminator", metadata={"help": "the architecture; model/D=NAME sets it"})

    def __post_init__(self) -> None:
        check_kind(self, "model/D")
        check_values(self, "model.D")

    def build(self, *, resolution: tuple[int, int], channels: int, c_dim: int) -> "StyleGAN1Discriminator":
        """A new discriminator with random weights; see `StyleGAN1Config`."""
        return StyleGAN1Discriminator(self, resolution=resolution, channels=channels, c_dim=c_dim)


class Mapping(MappingNetwork):
    """z [N, z_dim] and labels c [N, c_dim] -> ws [N, num_ws, w_dim]: z and the embedded label, as large as z, are concatenated,
    then scaled together to a mean square of one."""

    def __init__(self, config: MappingConfig, *, z_dim: int, c_dim: int, w_dim: int, num_ws: int | None):
        nn.Module.__init__(self)  # its layers are others
        self.config = config
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = z_dim, c_dim, w_dim, num_ws
        embedded = (config.embed_dim or z_dim) if c_dim else 0
        if c_dim:
            self.embed = nn.Linear(c_dim, embedded, bias=False, device="meta").to_empty(device="cpu")
            self.embed.weight = nn.Parameter(torch.randn(embedded, c_dim))
        hidden = config.hidden_dim or w_dim
        sizes = [z_dim + embedded, *[hidden] * (config.num_layers - 1), w_dim]
        for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            self.add_module(f"fc{i}", Dense(inputs, outputs, lr_multiplier=config.lr_multiplier))
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def to_w(self, z: Tensor | None, c: Tensor | None) -> Tensor:
        """See `MappingNetwork`."""
        x = checked_vectors(z, self.z_dim, "z")
        if self.c_dim:
            x = torch.cat([x, self.embed(checked_vectors(c, self.c_dim, "labels c"))], dim=1)
        x = normalize_second_moment(x)
        for i in range(self.config.num_layers):
            x = getattr(self, f"fc{i}")(x)
        return x


class SynthesisLayer(nn.Module):
    """Convolution, noise, bias, leaky ReLU, normalisation, style: [N, I, H, W] or half of that -> [N, O, H, W]; the very first
    layer has no convolution."""

    noise_const: Tensor
    blur: Tensor

    def __init__(self, in_channels: int, plan: BlockPlan, *, up: bool, w_dim: int):
        super().__init__()
        self.shape, self.up, width = plan.shape, up, plan.width
        self.weight = nn.Parameter(conv_weight(width, in_channels, 3)) if in_channels else None
        self.noise_strength = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.affine = FullyConnected(w_dim, 2 * width)
        self.register_buffer("noise_const", torch.randn(plan.shape))
        self.register_buffer("blur", setup_filter(BLUR) if up else None, persistent=False)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """The layer's result.

        Args:
            x: [N, I, H, W].
            w: [N, w_dim].
            noise: Unit normal, [H, W], [N, 1, H, W] or None.
        """
        if self.weight is not None:
            x = convolve(x, self.weight, up=self.up)
            x = filter2d(x, self.blur) if self.up else x
        if noise is not None:
            x = x + noise.to(x.dtype) * self.noise_strength.to(x.dtype)[:, None, None]
        x = bias_act(x, self.bias.to(x.dtype), act="lrelu", gain=1)
        scale, offset = self.affine(w).to(x.dtype)[:, :, None, None].chunk(2, dim=1)
        return normalised(x) * (scale + 1) + offset


def normalised(x: Tensor) -> Tensor:
    """Every feature map of every image [N, C, H, W] with mean 0 and variance 1 (Huang and Belongie 2017)."""
    x = x - x.mean(dim=[2, 3], keepdim=True)
    return x * (x.square().mean(dim=[2, 3], keepdim=True) + 1e-8).rsqrt()


class SynthesisBlock(nn.Module):
    """All layers at one resolution. The first block starts from a learned constant (section 2).

    Attributes:
        dtype: The format in which its features are computed; None for that of its parameters.
    """

    dtype: torch.dtype | None = None

    def __init__(self, in_channels: int, plan: BlockPlan, channels: int, w_dim: int):
        super().__init__()
        if not in_channels:
            self.const = nn.Parameter(torch.ones(plan.width, *plan.shape))
        self.layer0 = SynthesisLayer(in_channels, plan, up=in_channels > 0, w_dim=w_dim)
        self.layer1 = SynthesisLayer(plan.width, plan, up=False, w_dim=w_dim)
        self.torgb = Convolution(plan.width, channels, 1, activation="linear")

    @property
    def layers(self) -> list[SynthesisLayer]:
        """The layers with noise and style, in order."""
        return [self.layer0, self.layer1]

    def forward(self, x: Tensor | None, ws: Sequence[Tensor], noises: Sequence[Tensor | None]) -> Tensor:
        """Features at half the resolution, None for the first block; and w [N, w_dim] and noise for each of `layers`."""
        if x is None:
            n = ws[0].shape[0]
            x = self.const.expand(n, *self.const.shape).contiguous(memory_format=torch.channels_last)
        x = x.to(self.dtype or self.torgb.weight.dtype)
        x = self.layer0(x, ws[0], noises[0])
        return self.layer1(x, ws[1], noises[1])

    def paint(self, x: Tensor) -> Tensor:
        """The image of this block's features, in the format of the parameters."""
        return self.torgb(x.to(self.torgb.weight.dtype))


class SynthesisNetwork(Grows, Synthesis):
    """ws [N, num_ws, w_dim] -> images [N, channels, h, w] of the stage's resolution. One w a layer."""

    def __init__(self, config: StyleGAN1Config, *, resolution: tuple[int, int], channels: int):
        super().__init__()
        plans = block_plans(config, resolution)
        self.shapes = [plan.shape for plan in plans]
        self.block_names = [plan.name for plan in plans]
        width = 0
        for plan in plans:
            self.add_module(plan.name, SynthesisBlock(width, plan, channels, config.w_dim))
            width = plan.width
        self.set_precision(config.precision, config.reduced_blocks)
        self.num_ws = 2 * len(plans)
        self.noise_size = sum(math.prod(shape) for shape in self.noise_shapes)

    @property
    def blocks(self) -> list[SynthesisBlock]:
        """The blocks, smallest first."""
        return [getattr(self, name) for name in self.block_names]

    @property
    def layers(self) -> list[SynthesisLayer]:
        """The layers of all blocks."""
        return [layer for block in self.blocks for layer in block.layers]

    @property
    def style_maps(self) -> list[FullyConnected]:
        """See `Synthesis`."""
        return [layer.affine for layer in self.layers]

    @property
    def noise_shapes(self) -> list[tuple[int, int]]:
        """See `Synthesis`."""
        return [layer.shape for layer in self.layers]

    @property
    def style_ranges(self) -> dict[str, range]:
        """See `Synthesis`: up to 8 pixels, 16 to 32, from 64 on, of the larger side (figure 3)."""
        return ranges_by_side([max(shape) for shape in self.noise_shapes])

    def set_precision(self, precision: Precision, reduced_blocks: int) -> None:
        """See `Synthesis`."""
        for block, dtype in zip(
            self.blocks, block_dtypes(len(self.block_names), precision, reduced_blocks), strict=True
        ):
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
        noises, x, before = self._noises(noise_mode, noise), None, None
        blocks = self.blocks[: self.working]
        for i, block in enumerate(blocks):
            before, x = x, block(x, ws[:, 2 * i : 2 * i + 2].unbind(1), noises[2 * i : 2 * i + 2])
        assert x is not None  # there is a first block
        img = blocks[-1].paint(x)
        if self.alpha is not None and before is not None:
            img = faded(doubled(blocks[-2].paint(before)), img, self.alpha)
        return self.shown(img) if self.enlarge else img

    def stored_noise(self) -> Tensor:
        """See `Generator.stored_noise`."""
        return torch.cat([layer.noise_const.flatten() for layer in self.layers])

    def _noises(self, noise_mode: str, noise: Tensor | None) -> Sequence[Tensor | None]:
        """For each layer: noise [N, 1, H, W], the stored one [H, W] for all images, or None."""
        layers = self.layers
        if noise is None:
            return [layer.noise_const if noise_mode == "const" else None for layer in layers]
        pieces = noise.split([math.prod(layer.shape) for layer in layers], dim=1)
        return [p.reshape(-1, 1, *layer.shape) for p, layer in zip(pieces, layers, strict=True)]


class StyleGAN1Generator(GrowingStyleBased):
    """z, c -> w -> images. The paper shows its pictures with the first 8 ws truncated by 0.7 (figure 2)."""

    mapping_class = Mapping
    picture_truncation = (0.7, 8)


class StyleGAN1Discriminator(GrowingDiscriminator):
    """Images [N, channels, h, w] and labels [N, c_dim] -> logits [N, 1]: with labels, of as many as there are the one that the
    label chooses (Mescheder et al. 2018)."""

    config: StyleGAN1DiscriminatorConfig

    def __init__(self, config: StyleGAN1DiscriminatorConfig, *, resolution: tuple[int, int], channels: int, c_dim: int):
        shape = {"resolution": resolution, "channels": channels, "c_dim": c_dim}
        super().__init__(config, **shape, outputs=max(c_dim, 1), blurs=True)

    def forward(self, img: Tensor, c: Tensor | None = None, *, batches: int = 1) -> Tensor:
        """See `Discriminator`."""
        logits = self.outputs(img, batches)
        return (logits * checked(c, self.c_dim, "labels c")).sum(dim=1, keepdim=True) if self.c_dim else logits


def tensorflow_names(
    network: StyleGAN1Generator | StyleGAN1Discriminator, *, fused_from: int = FUSED_FROM
) -> Iterator[TensorFlowName]:
    """Every variable of the paper's network of the size of one of ours, and ours; G's parts are `G_mapping` and `G_synthesis`.

    Args:
        network: G or D.
        fused_from: The longer side from which G's up-convolutions are fused; D's mean the same in both forms.
    """
    if isinstance(network, StyleGAN1Discriminator):
        return discriminator_names(network.shapes)
    synthesis, layers = network.synthesis, network.config.mapping.num_layers
    assert isinstance(synthesis, SynthesisNetwork)
    return generator_names(synthesis.shapes, layers=layers, labels=network.c_dim > 0, fused_from=fused_from)


def generator_names(
    shapes: Sequence[tuple[int, int]], *, layers: int, labels: bool, fused_from: int
) -> Iterator[TensorFlowName]:
    """The same of a G whose blocks work at (H, W), smallest first, with so many layers of the mapping, for labels or not."""
    yield "dlatent_avg", Layout.same, "mapping.w_avg"
    if labels:
        yield "G_mapping/LabelConcat/weight", Layout.dense, "mapping.embed.weight"
    for i in range(layers):
        yield from with_bias(f"G_mapping/Dense{i}", Layout.dense, f"mapping.fc{i}")
    for place, (h, w) in enumerate(shapes):
        name = f"b{max(h, w)}"
        up = Layout.turned if max(h, w) >= fused_from else Layout.conv
        kinds = ("Const", "Conv") if place == 0 else ("Conv0_up", "Conv1")
        for i, (kind, layout) in enumerate(zip(kinds, (up, Layout.conv), strict=True)):
            layer, number = f"synthesis.{name}.layer{i}", 2 * place + i
            theirs = f"G_synthesis/{h}x{w}/{kind}"
            if number == 0:
                yield f"{theirs}/const", Layout.one, f"synthesis.{name}.const"
            else:
                yield f"{theirs}/weight", layout, f"{layer}.weight"
            yield f"G_synthesis/noise{number}", Layout.plane, f"{layer}.noise_const"
            yield f"{theirs}/Noise/weight", Layout.same, f"{layer}.noise_strength"
            yield f"{theirs}/bias", Layout.same, f"{layer}.bias"
            yield from with_bias(f"{theirs}/StyleMod", Layout.dense, f"{layer}.affine")
        lod = len(shapes) - 1 - place
        yield from with_bias(f"G_synthesis/ToRGB_lod{lod}", Layout.conv, f"synthesis.{name}.torgb")

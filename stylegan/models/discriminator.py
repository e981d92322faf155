"""StyleGAN2 discriminator (Karras et al. 2020, figure 7): images [N, C, H, W] -> logits [N, 1].

With projection of labels (Miyato and Koyama 2018) and Freeze-D (Mo et al. 2020).
"""

import itertools
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stylegan.errors import UserError
from stylegan.models.base import Discriminator
from stylegan.models.convolution import Conv2d
from stylegan.models.growing import Grows
from stylegan.models.layers import (
    RESAMPLE_FILTER,
    Architecture,
    FullyConnected,
    Precision,
    block_channels,
    block_dtypes,
    block_shapes,
    channel_base_of,
    check_kind,
    check_precision,
)
from stylegan.models.mapping import MappingConfig, MappingNetwork
from stylegan.ops.upfirdn2d import downsample2d, setup_filter
from stylegan.values import COUNT, COUNT_OR_NONE, POSITIVE, check_values


@dataclass
class DiscriminatorConfig:
    """Options of the `StyleGAN2Discriminator`."""

    kind: str = field(default="stylegan2_discriminator", metadata={"help": "the architecture; model/D=NAME sets it"})
    channel_base: int | None = field(
        default=32768,
        metadata={
            "help": "feature maps of a block = channel_base / its longer side; null: 16384, from 512 pixels 32768",
            "range": COUNT,
        },
    )
    channel_max: int = field(default=512, metadata={"help": "upper bound of feature maps", "range": COUNT})
    architecture: Architecture = field(default=Architecture.resnet, metadata={"help": "resnet, skip or orig"})
    conv_clamp: float | None = field(
        default=256.0, metadata={"help": "bound on activations; null = none", "weights": "alike", "range": POSITIVE}
    )
    minibatch_std_group: int | None = field(
        default=4,
        metadata={
            "help": "images compared by the minibatch standard deviation; null = the whole batch",
            "weights": "alike",
            "range": COUNT,
        },
    )
    minibatch_std_channels: int = field(
        default=1, metadata={"help": "its feature maps; 0 = off", "range": COUNT_OR_NONE}
    )
    freeze_layers: int = field(
        default=0,
        metadata={
            "help": "convolutions that stay as they are, from the image inwards",
            "weights": "alike",
            "range": COUNT_OR_NONE,
        },
    )
    cmap_dim: int | None = field(
        default=None, metadata={"help": "size of the mapped label; null = channels at the end", "range": COUNT}
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
    mapping: MappingConfig = field(default_factory=MappingConfig, metadata={"help": "mapping network of the labels"})

    def __post_init__(self) -> None:
        check_kind(self, "model/D")
        check_values(self, "model.D")
        check_precision("model.D", self.precision, self.reduced_blocks, self.conv_clamp)

    def build(self, *, resolution: tuple[int, int], channels: int, c_dim: int) -> "StyleGAN2Discriminator":
        """A new discriminator with random weights, for images of the same sizes as `StyleGAN2Config`; see `NetworkConfig`."""
        return StyleGAN2Discriminator(self, resolution=resolution, channels=channels, c_dim=c_dim)


class DiscriminatorBlock(nn.Module):
    """Features [N, I, H, W] -> [N, O, H / 2, W / 2]; the first block, and every one of `skip`, also reads the image.

    Attributes:
        input_gain: What the features have been multiplied with when they arrive.
        dtype: The format in which it computes; None for that of its parameters. Images are handed on in their own.
    """

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        *,
        channels: int,
        trainable: list[bool],
        dtype: torch.dtype | None,
        config: DiscriminatorConfig,
    ):
        super().__init__()
        self.dtype = dtype
        self.architecture, clamp = config.architecture, config.conv_clamp
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_FILTER))
        if reads_image(in_channels, self.architecture):
            self.fromrgb = from_rgb(channels, width, clamp, trainable.pop(0))
        else:
            self.fromrgb = None
        self.conv0 = Conv2d(width, width, 3, activation="lrelu", conv_clamp=clamp, trainable=trainable.pop(0))
        self.conv1 = Conv2d(
            width, out_channels, 3, activation="lrelu", down=2, conv_clamp=clamp, trainable=trainable.pop(0)
        )
        if self.architecture is Architecture.resnet:
            self.skip = Conv2d(width, out_channels, 1, bias=False, down=2, trainable=trainable.pop(0))

    @property
    def input_gain(self) -> float:
        """See the class."""
        return self.conv0.input_gain

    def forward(self, x: Tensor | None, img: Tensor, gain: float) -> tuple[Tensor, Tensor]:
        """Features and image; gain multiplies the resulting features."""
        dtype = self.dtype or self.conv0.weight.dtype
        x = None if x is None else x.to(dtype)
        if self.fromrgb is not None:
            y = self.fromrgb(img.to(dtype), self.input_gain)
            x = y if x is None else x + y
            img = downsample2d(img, self.resample_filter) if self.architecture is Architecture.skip else img
        assert x is not None  # the first block reads the image
        skip = None
        if self.architecture is Architecture.resnet:
            gain *= math.sqrt(0.5)
            skip, x = self.skip.beside(x, gain / self.input_gain)
        y = self.conv1(self.conv0(x, followed_by=self.conv1, scaled=True), gain, filtered=True)
        return y if skip is None else skip + y, img


class DiscriminatorEpilogue(nn.Module):
    """The last block: features [N, I, H0, W0] -> [N, cmap_dim], or logits [N, 1] where there are no labels.

    It computes in the format of its parameters: the deviations of a small batch need all bits.

    Attributes:
        input_gain: As of `DiscriminatorBlock`.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        shape: tuple[int, int],
        channels: int,
        cmap_dim: int,
        is_first: bool,
        config: DiscriminatorConfig,
    ):
        super().__init__()
        self.group, self.std_channels = config.minibatch_std_group, config.minibatch_std_channels
        reads = is_first or config.architecture is Architecture.skip
        # Without a clamp, unlike in all other blocks: so it is in the papers' code, and trained networks count on it.
        self.fromrgb = from_rgb(channels, in_channels, None, True) if reads else None
        self.conv = Conv2d(
            in_channels + self.std_channels, in_channels, 3, activation="lrelu", conv_clamp=config.conv_clamp
        )
        self.fc = FullyConnected(in_channels * math.prod(shape), in_channels, activation="lrelu")
        self.out = FullyConnected(in_channels, cmap_dim or 1)

    @property
    def input_gain(self) -> float:
        """See the class."""
        return self.conv.input_gain

    def forward(self, x: Tensor | None, img: Tensor, batches: int = 1) -> Tensor:
        """Features and image of so many batches."""
        x = None if x is None else x.to(self.conv.weight.dtype)
        if self.fromrgb is not None:
            y = self.fromrgb(img, self.input_gain)
            x = y if x is None else x + y
        assert x is not None  # some block reads the image
        if self.std_channels > 0:
            std = minibatch_std(x, self.group, self.std_channels, batches, scale=self.input_gain)
            x = torch.cat([x, std], dim=1)
        features = self.conv(x, self.fc.input_gain, scaled=True)
        # Flattened in the order C, H, W whatever the memory format: the stored weights expect it.
        return self.out(self.fc(features.flatten(1), self.out.input_gain, scaled=True), scaled=True)


class StyleGAN2Discriminator(Grows, Discriminator):
    """Images [N, channels, H, W] and labels [N, c_dim] -> logits [N, 1].

    Where every block reads the image (`skip`) it can grow as ProGAN's does.

    Freeze-D (`freeze_layers`) counts convolutions from the image inwards: in every block fromrgb, conv0, conv1, skip,
    as far as it has them. Frozen weights are buffers: `parameters()` and `requires_grad_(True)` do not reach them, and
    a state_dict has the same names with and without freezing.
    """

    config: DiscriminatorConfig

    def __init__(self, config: DiscriminatorConfig, *, resolution: tuple[int, int], channels: int, c_dim: int):
        super().__init__(config, resolution=resolution, channels=channels, c_dim=c_dim)
        shapes = block_shapes(self.resolution)[::-1]
        self.shapes, self.architecture = shapes[::-1], config.architecture
        base = channel_base_of(config.channel_base, resolution)
        widths = [block_channels(shape, base, config.channel_max) for shape in shapes]
        layers = sum(len(self._layers(i, config.architecture)) for i in range(len(shapes) - 1))
        if config.freeze_layers > layers:
            raise UserError(f"freeze_layers={config.freeze_layers}: this discriminator has {layers} layers to freeze")
        trainable = [i >= config.freeze_layers for i in range(layers)]
        self.block_names = [f"b{max(shape)}" for shape in shapes]
        dtypes = block_dtypes(len(shapes), config.precision, config.reduced_blocks)[::-1]
        for i, name in enumerate(self.block_names[:-1]):
            block = DiscriminatorBlock(
                0 if i == 0 else widths[i],
                widths[i],
                widths[i + 1],
                channels=channels,
                trainable=[trainable.pop(0) for _ in self._layers(i, config.architecture)],
                dtype=dtypes[i],
                config=config,
            )
            self.add_module(name, block)
        self.cmap_dim = (config.cmap_dim or widths[-1]) if c_dim > 0 else 0
        if c_dim > 0:
            self.mapping = MappingNetwork(config.mapping, z_dim=0, c_dim=c_dim, w_dim=self.cmap_dim, num_ws=None)
        epilogue = DiscriminatorEpilogue(
            widths[-1],
            shape=shapes[-1],
            channels=channels,
            cmap_dim=self.cmap_dim,
            is_first=len(shapes) == 1,
            config=config,
        )
        self.add_module(self.block_names[-1], epilogue)

    @staticmethod
    def _layers(index: int, architecture: Architecture) -> list[str]:
        """The convolutions of the index-th block, in the order in which they freeze."""
        first = ["fromrgb"] if reads_image(index, architecture) else []
        return [*first, "conv0", "conv1", *(["skip"] if architecture is Architecture.resnet else [])]

    @property
    def minibatch_group(self) -> int | None:
        """Size of the groups that the minibatch standard deviation compares."""
        return self.config.minibatch_std_group if self.config.minibatch_std_channels > 0 else 0

    def forward(self, img: Tensor, c: Tensor | None = None, *, batches: int = 1) -> Tensor:
        """See `Discriminator`."""
        x, img = self._through_blocks(img)
        x = getattr(self, self.block_names[-1])(x, img, batches)
        if self.c_dim > 0:
            cmap = self.mapping(None, c)
            x = (x * cmap).sum(dim=1, keepdim=True) / math.sqrt(self.cmap_dim)
        return x

    def features(self, img: Tensor) -> list[Tensor]:
        """See `Discriminator`."""
        found: list[Tensor] = []
        self._through_blocks(img, found)
        return found or [img]

    def _through_blocks(self, img: Tensor, found: list[Tensor] | None = None) -> tuple[Tensor | None, Tensor]:
        """Features and image as the last block gets them; `found` receives what each block before it makes."""
        if img.shape[1:] != (self.channels, *self.shapes[self.level]):
            wanted = ("N", self.channels, *self.shapes[self.level])
            raise UserError(f"the discriminator needs images of shape {wanted}, got {tuple(img.shape)}")
        img = img.contiguous(memory_format=torch.channels_last)
        x, fading = None, self.alpha
        names = self.block_names[-(self.level + 1) :]
        for block, following in itertools.pairwise(getattr(self, name) for name in names):
            x, img = block(x, img, following.input_gain)
            if fading is not None:  # the next block adds what it reads of the smaller image
                x, fading = x * fading.to(x), None
            if found is not None:
                found.append(x)
        return x, img


def reads_image(position: int, architecture: Architecture) -> bool:
    """Whether a block takes the image in: the first one (position or input channels 0), and all of `skip`."""
    return position == 0 or architecture is Architecture.skip


def from_rgb(channels: int, width: int, clamp: float | None, trainable: bool) -> Conv2d:
    """1x1 convolution from image to features."""
    return Conv2d(channels, width, 1, activation="lrelu", conv_clamp=clamp, trainable=trainable)


def minibatch_std(x: Tensor, group: int | None, channels: int, batches: int = 1, *, scale: float = 1.0) -> Tensor:
    """Standard deviation over groups of images, averaged over pixels and features (Karras et al. 2018, section 3).

    Args:
        x: [batches * N, C, H, W]; C a multiple of `channels`.
        group: Images per group; None for all of a batch. Group j holds its images j, j + N/group, j + 2 N/group, ...
        channels: How many averages, each over C / channels features.
        batches: How many batches these are, one after another.
        scale: What x has been multiplied with.

    Returns:
        [batches * N, channels, H, W] in channels_last, constant over H and W and within a group; multiplied with `scale`, too.

    Raises:
        UserError: N is no multiple of the group, or C none of `channels`.
    """
    total, c, h, w = x.shape
    n = total // batches
    group = n if group is None else min(group, n)
    if total % batches or n % group or c % channels:
        raise UserError(
            f"minibatch standard deviation: batches of {n} images and {c} features do not divide into groups of {group}"
            f" images and {channels} channels; change the batch size, minibatch_std_group or minibatch_std_channels"
        )
    y = x.reshape(batches, group, n // group, channels, c // channels, h, w)
    y = (y.var(dim=1, correction=0) + 1e-8 * scale**2).sqrt()
    y = y.mean(dim=[3, 4, 5])[:, None, :, None, None]  # [batches, 1, n // group, 1, 1, channels]
    return y.expand(-1, group, -1, h, w, -1).reshape(total, h, w, channels).contiguous().permute(0, 3, 1, 2)

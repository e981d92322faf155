"""The augmentation pipeline of Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", appendix B.

First it is decided what happens to each image, from numbers that are a function of seed, stream and image count; then it is
carried out, without any drawing. The decision is a record that travels with the batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol, Self

import torch
from torch import Tensor

from stylegan.augment.colour import recolour, sample_colour
from stylegan.augment.corruption import cut_out, sample_boxes, sample_sigma
from stylegan.augment.draws import Draws, PercentileDraws, RandomDraws
from stylegan.augment.filtering import filter_bands, sample_gains
from stylegan.augment.geometry import margins, sample_geometry, transform
from stylegan.augment.strengths import PipeConfig
from stylegan.rng import normal


class Augmentation(Protocol):
    """What is to happen to each of n images."""

    def __call__(self, images: Tensor) -> Tensor:
        """Augment images [n, C, H, W] in [-1, 1]. Differentiable twice; draws no numbers."""
        ...

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        ...


class Augment(Protocol):
    """A way to augment, which decides what happens to each image."""

    def draw(self, seed: int, stream: str, indices: Sequence[int], p: float) -> Augmentation:
        """Decide for some images.

        Args:
            seed, stream, indices: See `stylegan.rng.normal`; an index is the number of an image. What happens to one does not
                depend on the others.
            p: Overall probability, from 0 to 1.
        """
        ...


@dataclass(frozen=True)
class PipeAugmentation:
    """What the pipeline does to each of n images; None for what it does to none of them.

    Attributes:
        inverse: Where pixels come from [n, 3, 3], see `geometry.sample_geometry`.
        moved: Which images that moves at all, int64 [m].
        margin: How far it reaches out of the images: left, right, top, bottom in pixels.
        colour: Colour maps [n, 4, 4], see `colour.sample_colour`.
        gains: Factors of frequency bands [n, 4].
        noise: What is added [n, C, H, W], float32.
        boxes: What is cut out [n, 4], see `corruption.sample_boxes`.
    """

    inverse: Tensor | None = None
    moved: Tensor | None = None
    margin: tuple[int, int, int, int] = (0, 0, 0, 0)
    colour: Tensor | None = None
    gains: Tensor | None = None
    noise: Tensor | None = None
    boxes: Tensor | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """See `Augmentation`. Images to which nothing happens come out as they went in, to the bit."""
        if self.inverse is not None and self.moved is not None:
            if len(self.moved) == len(images):
                images = transform(images, self.inverse, self.margin)
            else:
                moved = transform(images[self.moved], self.inverse[self.moved], self.margin)
                images = images.index_copy(0, self.moved, moved)
        if self.colour is not None:
            images = recolour(images, self.colour)
        if self.gains is not None:
            images = filter_bands(images, self.gains)
        if self.noise is not None:
            images = images + self.noise.to(images.dtype)
        if self.boxes is not None:
            images = cut_out(images, self.boxes)
        return images

    def to(self, device: torch.device) -> "PipeAugmentation":
        """The same on another device; copies from pinned memory do not wait."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        moved = {k: v.to(device, non_blocking=True) for k, v in tensors.items() if isinstance(v, Tensor)}
        return replace(self, **moved)


class AugmentPipe:
    """Decides what happens to images of one size.

    Attributes:
        strengths: What is on, and how strong.
        shape: (C, H, W) of the images.
    """

    def __init__(self, config: PipeConfig, *, channels: int, resolution: tuple[int, int]):
        """Args are a configuration, the number of channels (1, 3 or 4) and (H, W), of any size.

        Raises:
            UserError: What is switched on does not suit the channels, or nothing is.
        """
        self.strengths = config.strengths(channels)
        self.shape = (channels, *resolution)

    def draw(self, seed: int, stream: str, indices: Sequence[int], p: float) -> PipeAugmentation:
        """See `Augment`."""
        noise = lambda: normal(seed, f"{stream}/noise", indices, self.shape, torch.device("cpu"))  # noqa: E731 (it is large)
        return self._decide(RandomDraws.draw(seed, stream, indices), len(indices), p, noise)

    def at_percentile(self, n: int, percentile: float, noise: Tensor) -> PipeAugmentation:
        """`debug_percentile`: everything that is on happens to all n images, with a percentile (0 to 1) in place of numbers.

        Args:
            n: How many images.
            percentile: Of every distribution, see `PercentileDraws`.
            noise: What stands in for the standard normal noise of every pixel [n, C, H, W].
        """
        return self._decide(PercentileDraws(n, percentile), n, 1.0, lambda: noise)

    def _decide(self, draws: Draws, n: int, p: float, noise: Callable[[], Tensor]) -> PipeAugmentation:
        s, size = self.strengths, self.shape[1:]
        found = PipeAugmentation()
        if s.any_of("blit", "geom"):
            inverse = sample_geometry(s, draws, p, n, size)
            moved = (inverse != torch.eye(3, dtype=inverse.dtype)).any(dim=2).any(dim=1).nonzero()[:, 0]
            if len(moved):
                found = replace(found, inverse=inverse, moved=moved, margin=margins(inverse[moved], size))
        if s.any_of("color"):
            colour = sample_colour(s, draws, p, n)
            if bool((colour != torch.eye(4, dtype=colour.dtype)).any()):
                found = replace(found, colour=colour)
        if s.any_of("filter"):
            gains = sample_gains(s, draws, p, n)
            if bool((gains != 1).any()):
                found = replace(found, gains=gains)
        if s.any_of("noise"):
            sigma = sample_sigma(s, draws, p, n)
            if bool((sigma != 0).any()):
                found = replace(found, noise=noise() * sigma.to(torch.float32)[:, None, None, None])
        if s.any_of("cutout"):
            boxes = sample_boxes(s, draws, p, n)
            if bool((boxes[:, 2:] != 0).any()):
                found = replace(found, boxes=boxes)
        return found

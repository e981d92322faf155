"""The augmentation pipeline of Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", appendix B.

First it is decided what happens to each image, from numbers that are a function of seed, stream and image count; then it is
carried out, without any drawing. The decision is a record that travels with the batch. Both are made where the images are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from stylegan.augment.colour import recolour, sample_colour
from stylegan.augment.corruption import cut_out, sample_boxes, sample_sigma
from stylegan.augment.draws import Draws, PercentileDraws, RandomDraws
from stylegan.augment.filtering import filter_bands, sample_gains
from stylegan.augment.geometry import largest_margins, margins, sample_geometry, transform
from stylegan.augment.strengths import PipeConfig
from stylegan.rng import normal


class Augmentation(Protocol):
    """What is to happen to each of n images."""

    def __call__(self, images: Tensor) -> Tensor:
        """Augment images [n, C, H, W] in [-1, 1]. Differentiable twice; draws no numbers."""
        ...


class Augment(Protocol):
    """A way to augment, which decides what happens to each image."""

    def draw(
        self, seed: int, stream: str, indices: Sequence[int] | Tensor, p: float | Tensor, device: torch.device | str
    ) -> Augmentation:
        """Decide for some images.

        Args:
            seed, stream, indices: See `stylegan.rng.normal`; an index is the number of an image. What happens to one does not
                depend on the others.
            p: Overall probability, from 0 to 1; a number, or float64 [] on the device.
            device: Where the images are.
        """
        ...


@dataclass(frozen=True)
class PipeAugmentation:
    """What the pipeline does to each of n images; None for what it does to none of them.

    Attributes:
        inverse: Where pixels come from [n, 3, 3], see `geometry.sample_geometry`.
        moved: Which images that moves at all: as int64 [m], and only these are transformed, or as bool [n], and all are.
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
            images = self._transformed(images, self.inverse, self.moved)
        if self.colour is not None:
            images = recolour(images, self.colour)
        if self.gains is not None:
            images = filter_bands(images, self.gains)
        if self.noise is not None:
            images = images + self.noise.to(images.dtype)
        if self.boxes is not None:
            images = cut_out(images, self.boxes)
        return images

    def _transformed(self, images: Tensor, inverse: Tensor, moved: Tensor) -> Tensor:
        if moved.dtype == torch.bool:
            return torch.where(moved[:, None, None, None], transform(images, inverse, self.margin), images)
        if len(moved) == len(images):
            return transform(images, inverse, self.margin)
        return images.index_copy(0, moved, transform(images[moved], inverse[moved], self.margin))


class AugmentPipe:
    """Decides what happens to images of one size.

    Attributes:
        strengths: What is on, and how strong.
        shape: (C, H, W) of the images.
        fixed: Whether no shape and no branch depends on what is drawn, as GPUs and their graphs ask for: all that is on runs
            on all images, with the largest margins that it can need. Else only what is needed runs, for which the numbers
            are looked at.
    """

    def __init__(self, config: PipeConfig, *, channels: int, resolution: tuple[int, int], fixed: bool = False):
        """Args are a configuration, the number of channels (1, 3 or 4), (H, W), of any size, and see above.

        Raises:
            UserError: What is switched on does not suit the channels, or nothing is.
        """
        self.strengths = config.strengths(channels)
        self.shape = (channels, *resolution)
        self.fixed = fixed

    def draw(
        self, seed: int, stream: str, indices: Sequence[int] | Tensor, p: float | Tensor, device: torch.device | str
    ) -> PipeAugmentation:
        """See `Augment`."""
        draws = RandomDraws.draw(seed, stream, indices, self.strengths, p, device)
        return self._decide(draws, lambda: normal(seed, f"{stream}/noise", indices, self.shape, device))

    def at_percentile(self, n: int, percentile: float, noise: Tensor) -> PipeAugmentation:
        """`debug_percentile`: everything that is on happens to all n images, with a percentile (0 to 1) in place of numbers.

        Args:
            n: How many images.
            percentile: Of every distribution, see `PercentileDraws`.
            noise: What stands in for the standard normal noise of every pixel [n, C, H, W].
        """
        return self._decide(PercentileDraws(n, percentile, self.strengths), lambda: noise)

    def _decide(self, draws: Draws, noise: Callable[[], Tensor]) -> PipeAugmentation:
        """`noise` makes standard normal numbers for every pixel, which take long."""
        s, size, found = self.strengths, self.shape[1:], dict[str, Any]()
        if s.any_of("blit", "geom"):
            inverse = sample_geometry(s, draws, size)
            moved = (inverse != torch.eye(3, dtype=inverse.dtype, device=inverse.device)).flatten(1).any(dim=1)
            if self.fixed:
                found |= {"inverse": inverse, "moved": moved, "margin": largest_margins(s, size)}
            elif len(rows := moved.nonzero()[:, 0]):
                found |= {"inverse": inverse, "moved": rows, "margin": margins(inverse[rows], size)}
        if s.any_of("color"):
            colour = sample_colour(s, draws)
            if self.fixed or bool((colour != torch.eye(4, dtype=colour.dtype, device=colour.device)).any()):
                found["colour"] = colour
        if s.any_of("filter"):
            gains = sample_gains(s, draws)
            if self.fixed or bool((gains != 1).any()):
                found["gains"] = gains
        if s.any_of("noise"):
            sigma = sample_sigma(s, draws)
            if self.fixed or bool((sigma != 0).any()):
                found["noise"] = noise() * sigma.to(torch.float32)[:, None, None, None]
        if s.any_of("cutout"):
            boxes = sample_boxes(s, draws)
            if self.fixed or bool((boxes[:, 2:] != 0).any()):
                found["boxes"] = boxes
        return PipeAugmentation(**found)

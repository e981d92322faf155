"""The figure `images`: one picture a seed, in a folder."""

import functools
from dataclasses import dataclass
from typing import ClassVar

from stylegan.figures.base import Figure, Pictures, Request
from stylegan.figures.pixels import to_pixels
from stylegan.inference import locate, sample
from stylegan.models.base import Generator


@dataclass
class Images(Figure):
    """One picture a seed, in a folder.

    Example:
        >>> pictures = dict(Images().draw(stylegan.load_generator("demo"), Request([3, 7])).images)
    """

    makes: ClassVar = Pictures
    keeps: ClassVar = True

    def draw(self, G: Generator, request: Request) -> Pictures:
        """See `Figure`."""
        images = sample(G, request.seeds, request.sampling, progress=request.progress)
        find = functools.partial(locate, G, request.seeds, request.sampling)
        return Pictures(zip(request.items, map(to_pixels, images), strict=True), find)

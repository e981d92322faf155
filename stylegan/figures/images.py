"""The figure `images`: one picture a seed, in a folder."""

from dataclasses import dataclass
from typing import ClassVar

from stylegan.figures.base import Figure, Pictures, Request
from stylegan.figures.grid import to_picture
from stylegan.inference import sample
from stylegan.models.base import Generator


@dataclass
class Images(Figure):
    """One picture a seed, in a folder.

    Example:
        >>> pictures = dict(Images().draw(stylegan.load_generator("demo"), Request([3, 7])).images)
    """

    makes: ClassVar = Pictures

    def draw(self, G: Generator, request: Request) -> Pictures:
        """See `Figure`."""
        images = sample(G, request.seeds, request.sampling, progress=request.progress)
        return Pictures(zip(request.seeds, map(to_picture, images), strict=True))

"""What a figure is: options and `draw`; what it is asked for, and what it gives.

A new figure is a file with a class derived from `Figure`, and a line in `stylegan.figures.table`.
"""

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from PIL import Image

from stylegan.inference import Sampling
from stylegan.models.base import Generator


@dataclass(frozen=True)
class Request:
    """What a figure shows.

    Attributes:
        seeds: One a latent, whole numbers from 0 to 2^32 - 1; what the figure does with them is its own.
        sampling: How images are made of the latents.
        progress: Show a progress bar on a terminal's stderr.
    """

    seeds: Sequence[int]
    sampling: Sampling = field(default_factory=Sampling)
    progress: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure that is one picture; a notebook shows it.

    Attributes:
        image: Mode L, RGB or RGBA.
    """

    image: Image.Image

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.image.save(content, format="PNG")
        return content.getvalue()


@dataclass(frozen=True)
class Pictures:
    """A figure that is many pictures, of which only a batch is in memory at a time.

    Attributes:
        images: Each with the seed that it was made of. They are drawn as they are asked for, once.
    """

    images: Iterator[tuple[int, Image.Image]]


@dataclass
class Figure(ABC):
    """A kind of figure: a dataclass of its options, which are checked as it is made.

    Attributes:
        makes: What `draw` gives; from it follows what `out` may be, before anything is drawn.
    """

    makes: ClassVar[type[Picture] | type[Pictures]] = Picture

    @abstractmethod
    def draw(self, G: Generator, request: Request) -> Picture | Pictures:
        """Draw. Nothing is written: `stylegan.figures.writing` does.

        Args:
            G: A generator in eval mode.
            request: The latents, and how to make images of them.

        Raises:
            UserError: This network, or what is asked for, cannot make such a figure.
        """

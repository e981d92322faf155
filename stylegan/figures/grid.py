"""The figure `grid`: one picture of many images in rows and columns."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from stylegan.errors import UserError
from stylegan.figures.base import Figure, Picture, Request
from stylegan.figures.pixels import image_grid
from stylegan.inference import locate, render
from stylegan.memory import check_images
from stylegan.models.base import Generator
from stylegan.values import COUNT


@dataclass
class Grid(Figure):
    """One picture of an image a seed, row by row.

    What is not given follows from the number of seeds: 32 seeds make 4 rows of 8.

    Example:
        >>> Grid(cols=4).draw(stylegan.load_generator("demo"), Request(range(8))).image
    """

    rows: int | None = field(
        default=None, metadata={"help": "images from top to bottom; null: as many as needed", "range": COUNT}
    )
    cols: int | None = field(
        default=None, metadata={"help": "images from left to right; null: about square", "range": COUNT}
    )

    keeps: ClassVar = True

    def draw(self, G: Generator, request: Request) -> Picture:
        """See `Figure`. Raises `UserError`, too, where rows and columns have too few cells."""
        count = len(request.items)
        columns = self.columns(count)
        cells = columns * (self.rows or -(-count // columns))
        check_images(cells, G.channels, G.resolution, "figure.rows, figure.cols or fewer seeds")
        latents = locate(G, request.seeds, request.sampling)
        images = torch.stack(list(render(G, latents, request.sampling, progress=request.progress)))
        return Picture.of(image_grid(images, columns, self.rows), latents=latents)

    def columns(self, count: int) -> int:
        """How many columns `count` images get: as configured, else few empty cells, about square, rather wide than high.

        Raises:
            UserError: Rows and columns are given and have too few cells.
        """
        if self.rows and self.cols and self.rows * self.cols < count:
            cells = f"figure.rows={self.rows} figure.cols={self.cols}"
            raise UserError(f"{cells}: {count} seeds do not fit; give fewer seeds, or leave one of the two out")
        if self.cols:
            return self.cols
        if self.rows:
            return -(-count // self.rows)
        side = next(n for n in range(1, count + 1) if n * n >= count)
        return min(range(side, 2 * side + 1), key=lambda columns: (-count % columns, columns))

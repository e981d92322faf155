"""The figure `grid`: one picture of many images in rows and columns."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor

from stylegan.errors import UserError
from stylegan.figures.base import Figure, Picture, Request
from stylegan.inference import locate, render
from stylegan.memory import check_images
from stylegan.models.base import Generator
from stylegan.values import COUNT

_PIL_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


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


def image_grid(images: Tensor, columns: int, rows: int | None = None) -> Image.Image:
    """Put images side by side, row by row, without gaps.

    Args:
        images: uint8 [N, C, H, W] with C = 1 (grey), 3 (RGB) or 4 (RGBA).
        columns: Images a row.
        rows: At least as many as the images need; None: just as many. Cells left over are black, or clear with RGBA.

    Returns:
        A picture of `rows * H` by `columns * W` pixels.

    Example:
        >>> stylegan.image_grid(torch.stack(list(stylegan.sample(G, range(8)))), columns=4)

    Raises:
        UserError: Something else than such images, or columns and rows that do not hold them.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in _PIL_MODES:
        raise UserError(
            f"image_grid takes uint8 [N, C, H, W] with 1, 3 or 4 channels, got {str(images.dtype).removeprefix('torch.')} "
            f"{list(images.shape)}; stylegan.sample and stylegan.render give such images"
        )
    if columns < 1 or (rows is not None and rows * columns < len(images)):
        raise UserError(f"columns={columns} rows={rows}: {len(images)} images do not fit")
    count, channels, height, width = images.shape
    rows = rows or -(-count // columns)
    cells = images.new_zeros(rows * columns, channels, height, width)
    cells[:count] = images
    table = cells.view(rows, columns, channels, height, width).permute(0, 3, 1, 4, 2)
    return _to_pil(table.reshape(rows * height, columns * width, channels))


def to_picture(image: Tensor) -> Image.Image:
    """One uint8 image [C, H, W] with 1, 3 or 4 channels as a PIL image."""
    return _to_pil(image.permute(1, 2, 0))


def _to_pil(pixels: Tensor) -> Image.Image:
    height, width, channels = pixels.shape
    data = pixels.contiguous().cpu().numpy().tobytes()
    return Image.frombytes(_PIL_MODES[channels], (width, height), data)

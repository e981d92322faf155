"""The figure `grid`: one picture of many images in rows and columns; and how any picture becomes a PNG file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from stylegan.errors import UserError
from stylegan.files import atomic_path
from stylegan.inference import sample
from stylegan.interop.provenance import png_text
from stylegan.models.generator import Generator

_PIL_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclass
class GridConfig:
    """Layout of the grid. What is not given follows from the number of seeds: 32 seeds make 4 rows of 8."""

    rows: int | None = field(
        default=None, metadata={"help": "grid: images from top to bottom; null: as many as needed"}
    )
    cols: int | None = field(default=None, metadata={"help": "grid: images from left to right; null: about square"})

    def __post_init__(self) -> None:
        for name, value in (("rows", self.rows), ("cols", self.cols)):
            if value is not None and value < 1:
                raise UserError(f"figure.{name}={value}: it must be at least 1")


def write_grid(
    G: Generator,
    seeds: Sequence[int],
    config: GridConfig,
    out: str | None,
    *,
    overwrite: bool,
    about: Mapping[str, Any] | None,
    **sampling: Any,
) -> Path:
    """Write the images of `seeds`, row by row, as one PNG file.

    Args:
        G: The generator, in eval mode.
        seeds: One a cell.
        config: The layout.
        out: The file; None: `grid.png` in the working directory.
        overwrite: Whether an existing file may be replaced.
        about: What the file should say about itself, as JSON types; None for a plain file.
        sampling: Keyword arguments of `stylegan.inference.sample`.

    Returns:
        The file written.

    Raises:
        UserError: The file exists or cannot be written, the layout is too small, or `sample` refuses its arguments.
    """
    path = png_path(out, "grid")
    check_free([path], overwrite)
    columns = grid_columns(len(seeds), config)
    images = torch.stack(list(sample(G, seeds, **sampling)))
    save_png(image_grid(images, columns, config.rows), path, about)
    return path


def png_path(out: str | None, figure: str) -> Path:
    """The file of a figure that is one picture: `out`, or FIGURE.png in the working directory.

    Raises:
        UserError: Its name does not end in .png.
    """
    path = Path(out or f"{figure}.png")
    if path.suffix.lower() != ".png":
        raise UserError(f"out={out}: this figure is one PNG file; give it a name that ends in .png")
    return path


def grid_columns(count: int, config: GridConfig) -> int:
    """How many columns `count` images get: as configured, else few empty cells, about square, rather wide than high.

    Raises:
        UserError: Rows and columns are given and have too few cells.
    """
    if config.rows and config.cols and config.rows * config.cols < count:
        cells = f"figure.rows={config.rows} figure.cols={config.cols}"
        raise UserError(f"{cells}: {count} seeds do not fit; give fewer seeds, or leave one of the two out")
    if config.cols:
        return config.cols
    if config.rows:
        return -(-count // config.rows)
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
    """
    count, channels, height, width = images.shape
    rows = rows or -(-count // columns)
    cells = images.new_zeros(rows * columns, channels, height, width)
    cells[:count] = images
    table = cells.view(rows, columns, channels, height, width).permute(0, 3, 1, 4, 2)
    return _to_pil(table.reshape(rows * height, columns * width, channels))


def to_picture(image: Tensor) -> Image.Image:
    """One uint8 image [C, H, W] with 1, 3 or 4 channels as a PIL image."""
    return _to_pil(image.permute(1, 2, 0))


def save_png(picture: Image.Image, path: str | Path, about: Mapping[str, Any] | None = None) -> None:
    """Write a PNG file, whole or not at all.

    Args:
        picture: The picture.
        path: The file; one that exists is replaced.
        about: How the networks made the picture, as `interop.provenance.png_text` takes it; None for a plain file. What is
            no generated picture must be None: the file would say that it is one.

    Raises:
        UserError: The file cannot be written.
    """
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG", pnginfo=None if about is None else png_text(about))


def check_free(paths: Sequence[Path], overwrite: bool) -> None:
    """Raise `UserError` where a file that is about to be written is there already and must not be replaced.

    Asked before anything is computed: a refusal must not cost the user the time that the figure takes.
    """
    for path in paths:
        if path.is_dir():
            raise UserError(f"out: {path} is a folder; give the name of a file")
        if path.exists() and not overwrite:
            raise UserError(f"out: {path} exists already; choose another out=, or replace it with overwrite=true")


def _to_pil(pixels: Tensor) -> Image.Image:
    height, width, channels = pixels.shape
    data = pixels.contiguous().cpu().numpy().tobytes()
    return Image.frombytes(_PIL_MODES[channels], (width, height), data)

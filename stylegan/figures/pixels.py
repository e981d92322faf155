"""From images of networks to pictures of PIL."""

import torch
from PIL import Image
from torch import Tensor

from stylegan.errors import UserError

_PIL_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


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
    missing = 0 if rows is None else rows * columns - len(images)
    cells = torch.cat([images, images.new_zeros(missing, *images.shape[1:])])
    return to_pixels(side_by_side(cells, columns))


def side_by_side(cells: Tensor, columns: int) -> Tensor:
    """uint8 [N, C, H, W] as one image [C, rows * H, columns * W], row by row; places left over are 0."""
    count, channels, height, width = cells.shape
    rows = -(-count // columns)
    places = cells.new_zeros(rows * columns, channels, height, width)
    places[:count] = cells
    table = places.view(rows, columns, channels, height, width).permute(2, 0, 3, 1, 4)
    return table.reshape(channels, rows * height, columns * width)


def to_pixels(image: Tensor) -> Image.Image:
    """One uint8 image [C, H, W] with 1, 3 or 4 channels as a PIL image."""
    channels, height, width = image.shape
    data = image.permute(1, 2, 0).contiguous().cpu().numpy().tobytes()
    return Image.frombytes(_PIL_MODES[channels], (width, height), data)

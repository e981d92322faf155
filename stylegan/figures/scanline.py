"""The figure `scanline`: one column of pixels of a slow walk through latents, side by side: time runs to the right.

Details that belong to the face move with it and draw waves; details that stick to the image's coordinates draw horizontal
streaks (Karras et al. 2021, "Alias-Free Generative Adversarial Networks", figure 1 right, "texture sticking").
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from stylegan.errors import UserError
from stylegan.figures.grid import check_free, image_grid, png_path, save_png
from stylegan.inference import render, sample_ws
from stylegan.models.generator import Generator


@dataclass
class ScanlineConfig:
    """What is cut out, and how slow the walk is."""

    frames: int = field(default=128, metadata={"help": "scanline: images from one seed to the next"})
    column: float = field(default=0.5, metadata={"help": "scanline: where the column lies, 0 left to 1 right"})
    top: float = field(default=0.0, metadata={"help": "scanline: where it begins, 0 top to 1 bottom"})
    bottom: float = field(default=1.0, metadata={"help": "scanline: where it ends"})
    scale: int = field(default=4, metadata={"help": "scanline: side of a pixel in the picture"})

    def __post_init__(self) -> None:
        for name in ("frames", "scale"):
            if getattr(self, name) < 1:
                raise UserError(f"figure.{name}={getattr(self, name)}: it must be at least 1")
        if not 0 <= self.column <= 1:
            raise UserError(f"figure.column={self.column}: from 0 (left) to 1 (right)")
        if not 0 <= self.top < self.bottom <= 1:
            raise UserError(f"figure.top={self.top} figure.bottom={self.bottom}: from 0 to 1, top above bottom")


def write_scanline(
    G: Generator,
    seeds: Sequence[int],
    config: ScanlineConfig,
    out: str | None,
    *,
    overwrite: bool,
    about: Mapping[str, Any] | None,
    progress: bool = False,
    **sampling: Any,
) -> Path:
    """Write a PNG file: images of the walk in the first row, each above its moment, and below them the column in time.

    Args:
        G: The generator, in eval mode.
        seeds: The walk goes from each to the next, in straight lines between their ws.
        config: See above.
        out: The file; None: `scanline.png` in the working directory.
        overwrite: Whether an existing file may be replaced.
        about: What the file should say about itself, as JSON types; None for a plain file.
        progress: Show a progress bar.
        sampling: As `stylegan.inference.sample` takes them; random noise would be new in every image of the walk.

    Returns:
        The file written.

    Raises:
        UserError: Fewer than two seeds, the file exists or cannot be written, or the network refuses the arguments.
    """
    path = png_path(out, "scanline")
    if len(seeds) < 2:
        raise UserError(
            f"seeds={list(seeds)}: this figure walks from one seed to the next; give at least two, such as 0-1"
        )
    check_free([path], overwrite)
    batch, noise_mode = sampling.pop("batch"), sampling.pop("noise_mode")
    if noise_mode == "random":
        raise UserError("noise_mode=random: every image of the walk would have other noise; choose const or none")
    ws = walk(sample_ws(G, seeds, batch=batch, **sampling), config.frames)
    save_png(
        scanline(render(G, ws, noise_mode=noise_mode, batch=batch, progress=progress), len(ws), config), path, about
    )
    return path


def walk(ws: Tensor, frames: int) -> Tensor:
    """Straight lines through ws [N, num_ws, w_dim]: [frames * (N - 1) + 1, num_ws, w_dim], both ends included."""
    place = torch.arange(frames * (len(ws) - 1) + 1, device=ws.device) / frames
    before = place.floor().long().clamp(max=len(ws) - 2)
    return ws[before].lerp(ws[before + 1], (place - before)[:, None, None])


def scanline(images: Iterator[Tensor], count: int, config: ScanlineConfig) -> Image.Image:
    """The picture.

    Args:
        images: uint8 [C, H, W], `count` of them; only those that are shown are kept.
        count: Their number.
        config: See above.
    """
    columns, shown = [], []
    for i, image in enumerate(images):
        _, height, width = image.shape
        column = min(int(config.column * width), width - 1)
        top = min(int(config.top * height), height - 1)
        columns.append(image[:, top : max(round(config.bottom * height), top + 1), column])
        if i % width == width // 2 and i - width // 2 + width <= count:
            shown.append(image)
    strip = torch.stack(columns, dim=2)
    rows = [strip]
    if shown:
        above = torch.cat(shown, dim=2)
        rows.insert(0, torch.nn.functional.pad(above, [0, strip.shape[2] - above.shape[2]]))
    picture = image_grid(torch.cat(rows, dim=1)[None], columns=1)
    return picture.resize((picture.width * config.scale, picture.height * config.scale), Image.Resampling.NEAREST)

"""A picture of what each preset does to faces, one row each: python tests/bench/augment_presets.py [OUT.png]"""

import argparse
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from stylegan.augment.diffaugment import POLICIES, DiffAugment
from stylegan.augment.pipe import Augment, AugmentPipe
from stylegan.augment.strengths import PRESETS, PipeConfig
from stylegan.data.loader import DataConfig, open_dataset
from stylegan.figures.grid import image_grid
from stylegan.figures.writing import save_png

COLUMNS, SIDE, P, MARGIN = 12, 64, 0.8, 96


def main() -> None:
    """Augment a dozen rendered faces in every way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, nargs="?", default=Path("augment_presets.png"), help="where the picture goes")
    out = parser.parse_args().out
    dataset = open_dataset(DataConfig(resolution=SIDE, count=COLUMNS))
    images = torch.stack([dataset[i][0] for i in range(COLUMNS)]).float() / 127.5 - 1
    size = dataset.resolution
    ways: dict[str, Augment] = {
        name: AugmentPipe(PipeConfig(preset=name), channels=3, resolution=size) for name in PRESETS
    }
    ways["DiffAugment"] = DiffAugment(POLICIES, resolution=size)
    rows = [way.draw(0, "picture", range(COLUMNS), P)(images) for way in ways.values()]
    pixels = (torch.cat([images, *rows]) * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    save_png(labelled(image_grid(pixels, columns=COLUMNS), ["as they are", *ways]), out)
    print(f"{out}: p = {P} in all rows but the first and the last")


def labelled(grid: Image.Image, names: list[str]) -> Image.Image:
    """The grid with the name of each row on its left."""
    image = Image.new("RGB", (grid.width + MARGIN, grid.height), "white")
    image.paste(grid, (MARGIN, 0))
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    for i, name in enumerate(names):
        pen.text((MARGIN - 8, (i + 0.5) * SIDE), name, (40, 40, 40), font, anchor="rm")
    return image


if __name__ == "__main__":
    main()

"""A picture of what each preset does to faces, one row each: python tests/bench/augment_presets.py OUT.png"""

import sys
from pathlib import Path

import torch

from stylegan.augment.diffaugment import POLICIES, DiffAugment
from stylegan.augment.pipe import Augment, AugmentPipe
from stylegan.augment.strengths import PRESETS, PipeConfig
from stylegan.data.loader import DataConfig, open_dataset
from stylegan.figures.grid import image_grid, save_png

COLUMNS, SIDE, P = 12, 64, 0.8


def main() -> None:
    """Augment a dozen rendered faces in every way."""
    dataset = open_dataset(DataConfig(resolution=SIDE, count=COLUMNS))
    images = torch.stack([dataset[i][0] for i in range(COLUMNS)]).float() / 127.5 - 1
    size = dataset.resolution
    ways: list[Augment] = [AugmentPipe(PipeConfig(preset=name), channels=3, resolution=size) for name in PRESETS]
    ways.append(DiffAugment(POLICIES, resolution=size))
    rows = [way.draw(0, "picture", 0, COLUMNS, range(COLUMNS), P)(images) for way in ways]
    pixels = (torch.cat([images, *rows]) * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    save_png(image_grid(pixels, columns=COLUMNS), Path(sys.argv[1]))


if __name__ == "__main__":
    main()

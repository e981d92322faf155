"""A picture of what each preset does to faces, and what it costs in both ways: python tests/bench/augment_presets.py [OUT.png]

The costs are those of one draw for a batch and of its application with the gradient: ops that launch, and bytes in and out of
them, counted on the meta device. Where only what is needed runs, they depend on what is drawn, and are means of some draws.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from stylegan.augment.diffaugment import POLICIES, DiffAugment, DiffAugmentation
from stylegan.augment.pipe import AugmentPipe, PipeAugmentation
from stylegan.augment.strengths import PRESETS, PipeConfig
from stylegan.bench.cost import VIEWS
from stylegan.data.loader import DataConfig, open_dataset
from stylegan.figures.pixels import image_grid
from stylegan.figures.writing import save_png
from stylegan.ops.torch_private import TorchDispatchMode, tree_leaves

COLUMNS, SIDE, P, MARGIN, DRAWS = 12, 64, 0.8, 96, 4


def main() -> None:
    """Augment a dozen rendered faces in every way, and count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, nargs="?", default=Path("augment_presets.png"), help="where the picture goes")
    parser.add_argument("--resolution", type=int, default=256, help="of the images whose cost is counted")
    parser.add_argument("--batch", type=int, default=8, help="how many these are")
    options = parser.parse_args()
    dataset = open_dataset(DataConfig(resolution=SIDE, count=COLUMNS))
    images = torch.stack([dataset[i][0] for i in range(COLUMNS)]).float() / 127.5 - 1
    found = ways(dataset.resolution)
    rows = [way.draw(0, "picture", range(COLUMNS), P, "cpu")(images) for way in found.values()]
    pixels = (torch.cat([images, *rows]) * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    save_png(labelled(image_grid(pixels, columns=COLUMNS), ["as they are", *found]), options.out)
    print(f"{options.out}: p = {P} in all rows but the first and the last")
    print(f"{options.batch} images of {options.resolution} pixels: draw + application with gradient")
    size = (options.resolution, options.resolution)
    for name in found:
        needed, fixed = (cost(ways(size, fixed=fixed)[name], size, options.batch) for fixed in (False, True))
        print(f"{name:12} only what is needed: {needed}    fixed: {fixed}")


def ways(size: tuple[int, int], *, fixed: bool = False) -> dict[str, AugmentPipe | DiffAugment]:
    """All presets by name, and DiffAugment."""
    pipes = {name: AugmentPipe(PipeConfig(preset=name), channels=3, resolution=size, fixed=fixed) for name in PRESETS}
    return {**pipes, "DiffAugment": DiffAugment(POLICIES, resolution=size)}


def labelled(grid: Image.Image, names: list[str]) -> Image.Image:
    """The grid with the name of each row on its left."""
    image = Image.new("RGB", (grid.width + MARGIN, grid.height), "white")
    image.paste(grid, (MARGIN, 0))
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    for i, name in enumerate(names):
        pen.text((MARGIN - 8, (i + 0.5) * SIDE), name, (40, 40, 40), font, anchor="rm")
    return image


class Counter(TorchDispatchMode):
    """Counts ops that launch, and the bytes that these read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.ops = self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.__name__.split(".")[0] not in VIEWS:
            tensors = [x for x in tree_leaves((args, dict(kwargs or {}), out)) if isinstance(x, Tensor)]
            self.ops += 1
            self.bytes += sum(x.numel() * x.element_size() for x in tensors)
        return out


def cost(way: AugmentPipe | DiffAugment, size: tuple[int, int], batch: int) -> str:
    """Of one draw and its application, in words."""
    drawing, applying = Counter(), Counter()
    images = torch.empty(batch, 3, *size, device="meta", requires_grad=True)
    for start in range(0, DRAWS * batch, batch):
        with drawing:
            drawn = way.draw(0, "cost", range(start, start + batch), P, "cpu")
        augmentation = on_meta(drawn)
        with applying:
            augmented = augmentation(images)
            torch.autograd.grad(augmented, images, torch.empty_like(augmented))
    gigabytes = (drawing.bytes + applying.bytes) / DRAWS / 1e9
    return f"{drawing.ops / DRAWS:5.1f} + {applying.ops / DRAWS:4.1f} ops, {gigabytes:5.2f} GB"


def on_meta(drawn: PipeAugmentation | DiffAugmentation) -> PipeAugmentation | DiffAugmentation:
    """The decision without its numbers."""
    return replace(drawn, **{name: t.to("meta") for name, t in vars(drawn).items() if isinstance(t, Tensor)})


if __name__ == "__main__":
    main()

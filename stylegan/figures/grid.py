"""The figure `grid`: many images in rows and columns, beside real ones, above the nearest of these, by class, or in sizes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylegan.errors import UserError
from stylegan.figures.base import Picture, Printed, Request
from stylegan.figures.nearest import find_nearest, open_reals
from stylegan.figures.pixels import image_grid, to_pixels
from stylegan.figures.sheet import Sheet
from stylegan.inference import locate, render
from stylegan.interop.latents import join
from stylegan.memory import check_images
from stylegan.models.base import Generator
from stylegan.values import COUNT, SEED32, Range

ALL = "all"


@dataclass
class Grid(Printed):
    """One picture of an image a seed, row by row; beside real ones, by class, or in sizes.

    What is not given follows from the number of seeds: 32 seeds make 4 rows of 8. Without captions and comparison it is the
    images alone. `class_idx=all` gives each class a row, with the seeds as columns. `figure.sizes=0,1,1,2` is the uncurated
    figure of the StyleGAN paper: a column each, whose images are halved so many times; the seeds are used one after another.

    Example:
        >>> Grid(cols=4).draw(stylegan.load_generator("demo"), Request(range(8))).image
    """

    keeps: ClassVar = True
    rows: int | None = field(
        default=None, metadata={"help": "images from top to bottom; null: as many as needed", "range": COUNT}
    )
    cols: int | None = field(
        default=None, metadata={"help": "images from left to right; null: about square", "range": COUNT}
    )
    captions: bool = field(default=False, metadata={"help": "write the seed below each image"})
    uncurated: int | None = field(
        default=None,
        metadata={"help": "show so many seeds drawn by figure.uncurated_seed, instead of seeds", "range": COUNT},
    )
    uncurated_seed: int = field(default=0, metadata={"help": "what draws them", "range": SEED32})
    data: str | None = field(default=None, metadata={"help": "archive of real images, shown before the generated ones"})
    nearest: bool = field(default=False, metadata={"help": "show the nearest image of figure.data below each, instead"})
    features: str = field(
        default="pixels", metadata={"help": "how near: pixels, or a feature network such as inception or mobilenet_v2"}
    )
    sizes: list[int] = field(
        default_factory=list,
        metadata={"help": "columns by how often their images are halved: 0,1,1,2", "range": Range(0, 10)},
    )

    def draw(self, G: Generator, request: Request) -> Picture:
        """See `Figure`. Raises `UserError`, too, where rows and columns have too few cells, or options exclude each other."""
        self._check()
        if self.uncurated is not None:
            drawn = np.random.RandomState(self.uncurated_seed).randint(0, 2**32, self.uncurated, dtype=np.uint64)
            request = replace(request, seeds=[int(seed) for seed in drawn])
        if self.sizes:
            return self._in_sizes(G, request)
        if request.sampling.class_idx == ALL and ALL not in G.class_names:
            return self._by_class(G, request)
        count = len(request.items)
        columns = self.columns(count)
        cells = columns * (self.rows or -(-count // columns))
        check_images(
            cells * (1 if self.data is None else 2), G.channels, G.resolution, "figure.rows, figure.cols or fewer seeds"
        )
        dataset = None if self.data is None else open_reals(self.data, G, 1 if self.nearest else count)
        latents = locate(G, request.seeds, request.sampling)
        images = torch.stack(list(render(G, latents, request.sampling, progress=request.progress)))
        facts = self._facts(request)
        if dataset is None and not self.captions and self.uncurated is None and self.dpi is None:
            return Picture.of(image_grid(images, columns, self.rows), self.width_cm, latents)
        names = list(latents.names)
        if dataset is None:
            captions = _table(names, columns, "") if self.captions and self.uncurated is None else ()
            return self.sheet(
                Sheet(_cells(images, columns), captions=captions, caption=self._caption()), facts, latents
            )
        if self.nearest:
            found = find_nearest(images, dataset, self.features, G, request)
            below = [f"{distance:.3g}" for distance in found.distances]
            cells_, rows, captions = [], [], []
            for fakes, reals, own, far in zip(
                _cells(images, columns),
                _cells(found.images, columns),
                _table(names, columns, ""),
                _table(below, columns, ""),
                strict=True,
            ):
                cells_ += [fakes, reals]
                rows += ["generated", "nearest"]
                captions += [own if self.captions else [""] * columns, far]
            caption = f"Below each the nearest of {len(dataset)} images of {dataset.name}; distance: {found.measure}."
            facts |= {"nearest": found.names, "distances": found.distances, "measure": found.measure}
            sheet = Sheet(cells_, rows=rows, captions=captions, caption=caption)
            return self.sheet(sheet, facts, latents)
        chosen = np.random.RandomState(self.uncurated_seed).permutation(len(dataset))[:count]
        reals = torch.stack([dataset[int(i)][0] for i in chosen])
        real_rows, fake_rows = _cells(reals, columns), _cells(images, columns)
        rows = ["real"] * len(real_rows) + ["generated"] * len(fake_rows)
        sheet = Sheet([*real_rows, *fake_rows], rows=rows, caption=self._caption())
        return self.sheet(sheet, facts | {"real": [dataset.names[int(i)] for i in chosen]}, latents)

    def _check(self) -> None:
        if self.nearest and self.data is None:
            raise UserError("figure.nearest=true needs real images: figure.data=ARCHIVE")
        if self.sizes and (self.data is not None or self.captions or self.rows or self.cols):
            raise UserError("figure.sizes arranges the images by itself; leave out data, captions, rows and cols")

    def _caption(self) -> str:
        return (
            "" if self.uncurated is None else f"Uncurated: {self.uncurated} seeds drawn by seed {self.uncurated_seed}."
        )

    def _facts(self, request: Request) -> dict[str, Any]:
        return {} if self.uncurated is None else {"drawn_seeds": list(request.seeds)}

    def _by_class(self, G: Generator, request: Request) -> Picture:
        """A row a class, the seeds as columns."""
        if G.c_dim == 0:
            raise UserError(f"class_idx={ALL}: this network has no classes; leave class_idx out")
        if self.data is not None or self.rows or self.cols:
            raise UserError(
                f"class_idx={ALL} makes a row of each class; leave out figure.data, figure.rows and figure.cols"
            )
        check_images(G.c_dim * len(request.items), G.channels, G.resolution, "number of seeds")
        cells, kept = [], []
        for number in range(G.c_dim):
            sampling = replace(request.sampling, class_idx=number)
            kept.append(locate(G, request.seeds, sampling))
            cells.append([to_pixels(image) for image in render(G, kept[-1], sampling)])
        rows = [G.class_names[i] if i < len(G.class_names) else f"class {i}" for i in range(G.c_dim)]
        latents = join(kept)
        names = [f"{row}, {name}" for row, item in zip(rows, kept, strict=True) for name in item.names]
        columns = kept[0].names if self.captions else ()
        sheet = Sheet(cells, columns, rows, caption=self._caption())
        return self.sheet(sheet, self._facts(request), replace(latents, names=tuple(names)))

    def _in_sizes(self, G: Generator, request: Request) -> Picture:
        """Columns of images that are halved `sizes[column]` times (Karras et al. 2019, figure 2)."""
        H, W = G.resolution
        if any(H % 2**size or W % 2**size for size in self.sizes):
            raise UserError(f"figure.sizes={','.join(map(str, self.sizes))}: {W}x{H} cannot be halved so often")
        once = sum(2**size for size in self.sizes)  # images in a row of the largest
        rows = len(request.items) // once
        if rows == 0:
            raise UserError(
                f"figure.sizes: a row takes {once} images, and there are {len(request.items)} seeds; give more seeds"
            )
        check_images(rows * once, G.channels, G.resolution, "number of seeds")
        shown = replace(request, seeds=request.items[: rows * once])
        latents = locate(G, shown.seeds, request.sampling)
        images = list(render(G, latents, request.sampling, progress=request.progress))
        columns = []
        for size in self.sizes:
            part, images = images[: rows * 2**size], images[rows * 2**size :]
            smaller = [to_pixels(image).resize((W >> size, H >> size), Image.Resampling.BOX) for image in part]
            column = Image.new(smaller[0].mode, (W >> size, rows * H))
            for i, image in enumerate(smaller):
                column.paste(image, (0, i * (H >> size)))
            columns.append(column)
        whole = Image.new(columns[0].mode, (sum(column.width for column in columns), rows * H))
        x = 0
        for column in columns:
            whole.paste(column, (x, 0))
            x += column.width
        return self.sheet(Sheet([[whole]], caption=self._caption()), self._facts(request), latents)

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


def _cells(images: Tensor, columns: int) -> list[list[Image.Image | None]]:
    """Row by row; the last is filled up with empty cells."""
    made: list[Image.Image | None] = [to_pixels(image) for image in images]
    made += [None] * (-len(made) % columns)
    return [made[i : i + columns] for i in range(0, len(made), columns)]


def _table(texts: Sequence[str], columns: int, empty: str) -> list[list[str]]:
    filled = [*texts, *[empty] * (-len(texts) % columns)]
    return [filled[i : i + columns] for i in range(0, len(filled), columns)]

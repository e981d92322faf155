"""The figure `noise`: what the noise of the layers does to an image, at which place and at which resolution.

Karras et al. 2019, section 3.2 and figures 4 (variations and their standard deviation) and 5 (noise of some layers only).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor

from stylegan.errors import UserError
from stylegan.figures.base import Picture, Printed, Request
from stylegan.figures.pixels import to_pixels
from stylegan.figures.sheet import Sheet
from stylegan.inference import NoiseMode, layer_noise, locate, render
from stylegan.interop.latents import Latents
from stylegan.memory import check_images
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased, require_w
from stylegan.values import COUNT, COUNT_OR_NONE, SEED32


@dataclass
class Noise(Printed):
    """Same w, other noise: variations, their standard deviation, and noise of some resolutions only.

    A row is a seed: with the stored noise, with noise drawn anew, the standard deviation of each pixel over many drawings
    (white: the largest, which stands below), then without noise, with that of the lower resolutions, and of the higher.

    Example:
        >>> Noise(count=2).draw(stylegan.load_generator("demo"), Request([1, 2])).image
    """

    keeps: ClassVar = True
    count: int = field(default=2, metadata={"help": "variations that are shown", "range": COUNT_OR_NONE})
    noise_seed: int = field(
        default=0, metadata={"help": "of the first variation; the next have the next", "range": SEED32}
    )
    samples: int = field(
        default=100, metadata={"help": "drawings for the standard deviation; 0: leave it out", "range": COUNT_OR_NONE}
    )
    fine: int | None = field(
        default=None,
        metadata={"help": "side from which a resolution is a higher one; null: the upper half of them", "range": COUNT},
    )

    def draw(self, G: Generator, request: Request) -> Picture:
        """See `Figure`. A network without noise is refused."""
        if G.noise_size == 0:
            raise UserError(f"figure=noise: {G.config.kind} networks have no layer noise; choose another figure")
        style_based = require_w(G, "figure=noise", "choose another figure")
        if request.sampling.noise_mode != NoiseMode.const:
            raise UserError("noise_mode: this figure chooses noise by itself; leave it out")
        if self.samples == 1:
            raise UserError("figure.samples=1: one drawing has no deviation; give 2 or more, or 0 to leave it out")
        count = len(request.items)
        check_images(count * (self.count + 5), G.channels, G.resolution, "number of seeds or figure.count")
        sides = [max(shape) for shape in style_based.synthesis.noise_shapes]
        resolutions = sorted(set(sides))
        fine = self.fine or resolutions[len(resolutions) // 2]
        latents = locate(G, request.seeds, request.sampling)

        def shown(noise: Tensor | None) -> list[Image.Image]:
            """All seeds with one noise [noise_size]; None: the stored one."""
            given = latents if noise is None else replace(latents, noise=noise.expand(count, -1))
            return [to_pixels(image) for image in render(G, given, request.sampling)]

        own, lower = G.stored_noise().cpu(), _lower(style_based, fine).cpu()
        columns = [("stored noise", shown(None))]
        columns += [(f"noise seed {seed}", shown(_drawn(G, seed))) for seed in self._seeds(self.count)]
        captions = [[""] * (len(columns) + 4 - (self.samples == 0)) for _ in range(count)]
        if self.samples:
            deviations = [self._deviation(G, latents[i], request) for i in range(count)]
            for row, (_, largest) in zip(captions, deviations, strict=True):
                row[len(columns)] = f"at most {largest:.1f}"
            columns.append((f"deviation of {self.samples}", [image for image, _ in deviations]))
        columns.append(("no noise", shown(torch.zeros_like(own))))
        columns.append((f"below {fine} px", shown(own * lower)))
        columns.append((f"from {fine} px", shown(own * ~lower)))
        cells = [[images[r] for _, images in columns] for r in range(count)]
        sheet = Sheet(cells, [name for name, _ in columns], latents.names, captions if self.samples else ())
        return self.sheet(sheet, {"fine": fine}, latents)

    def _seeds(self, count: int) -> list[int]:
        return [(self.noise_seed + i) % 2**32 for i in range(count)]

    def _deviation(self, G: Generator, point: Latents, request: Request) -> tuple[Image.Image, float]:
        """The map of standard deviations in grey levels, over channels and drawings, and its largest value."""

        def images() -> Iterator[Tensor]:
            seeds = self._seeds(self.samples)
            for start in range(0, self.samples, request.sampling.batch):
                chunk = seeds[start : start + request.sampling.batch]
                noise = torch.cat([_drawn(G, seed)[None] for seed in chunk])
                yield from render(G, replace(point[[0] * len(chunk)], noise=noise), request.sampling)

        total = square = torch.zeros(())
        for image in images():
            total = total + image.double()
            square = square + image.double().square()
        variance = (square / self.samples - (total / self.samples).square()).clamp(min=0).mean(dim=0)
        deviation = variance.sqrt()
        largest = float(deviation.max())
        grey = (deviation * (255 / max(largest, 1e-9))).round().to(torch.uint8)
        return to_pixels(grey.expand(G.channels if G.channels == 3 else 1, -1, -1)), largest


def _drawn(G: Generator, seed: int) -> Tensor:
    return layer_noise([seed], G.noise_size)[0]


def _lower(G: StyleBased, fine: int) -> Tensor:
    """Which values of the flat noise belong to resolutions below `fine`, bool [noise_size]."""
    shapes = G.synthesis.noise_shapes
    return torch.cat([torch.full((h * w,), max(h, w) < fine) for h, w in shapes])

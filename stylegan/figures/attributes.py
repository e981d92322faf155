"""The figure `attributes`: images that have the attributes asked for, and how rare they are."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from stylegan.bars import with_bar
from stylegan.errors import UserError, say
from stylegan.figures.base import Picture, Printed, Request
from stylegan.figures.conditions import parse_conditions
from stylegan.figures.grid import Grid
from stylegan.figures.pixels import to_pixels
from stylegan.figures.sheet import Sheet
from stylegan.inference import MAX_SEED, locate, sample
from stylegan.memory import check_images
from stylegan.metrics.attribute_network import load_attributes
from stylegan.models.base import Generator
from stylegan.values import COUNT, SEED32


@dataclass
class Attributes(Printed):
    """Images that have the attributes asked for, as the attribute network of faces3d reads them, and the acceptance rate.

    Seeds are tried from `figure.first_seed` on, until `figure.count` are accepted or `figure.most` were tried; `seeds` is not
    used. The network was trained on faces3d: what it says about other pictures was never measured.

    Example:
        >>> Attributes(where="{sex:female,age:50-}").draw(stylegan.load_generator("demo"), Request([0])).image
    """

    keeps: ClassVar = True
    where: str = field(
        default="{sex:female}",
        metadata={"help": "such as '{sex:female,age:50-,hair_colour:black|brown}'; an unknown name lists all"},
    )
    count: int = field(default=16, metadata={"help": "images wanted", "range": COUNT})
    most: int = field(default=10_000, metadata={"help": "seeds tried at most", "range": COUNT})
    first_seed: int = field(default=0, metadata={"help": "where trying begins", "range": SEED32})
    cols: int | None = field(
        default=None, metadata={"help": "images from left to right; null: about square", "range": COUNT}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_conditions(self.where)

    def draw(self, G: Generator, request: Request) -> Picture:
        """See `Figure`. Where no image is accepted, it is refused with the number that were tried."""
        check_images(self.count, G.channels, G.resolution, "figure.count")
        kept: list[int] = []
        images: list[Tensor] = []
        tried = 0
        for seed, image, accepted in self._read(G, request):
            tried += 1
            if accepted:
                kept.append(seed)
                images.append(image)
            if len(kept) == self.count:
                break
        if not kept:
            raise UserError(
                f"figure.where={self.where}: none of {tried} images has these; ask for less, or raise figure.most"
            )
        if len(kept) < self.count:
            say(
                f"figure.where={self.where}: {len(kept)} of {tried} images have these; figure.most={self.most} were tried"
            )
        rate = len(kept) / tried
        columns = Grid(cols=self.cols).columns(len(kept))
        cells = [to_pixels(image) for image in images]
        rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
        captions = [[f"seed {seed}" for seed in kept[i : i + columns]] for i in range(0, len(kept), columns)]
        captions[-1] += [""] * (columns - len(captions[-1]))
        asked = ", ".join(f"{condition.name} {condition.value}" for condition in parse_conditions(self.where))
        caption = f"{asked}: {len(kept)} of {tried} images, {rate:.1%}, as read by the attribute network of faces3d."
        latents = locate(G, kept, request.sampling)
        facts = {"seeds_kept": kept, "tried": tried, "acceptance_rate": rate}
        return self.sheet(Sheet(rows, captions=captions, caption=caption), facts, latents)

    def _read(self, G: Generator, request: Request) -> Iterator[tuple[int, Tensor, bool]]:
        """Seed by seed its image, and whether it is accepted."""
        network, _, _ = load_attributes(next(G.parameters()).device)
        conditions = parse_conditions(self.where)
        last = min(self.first_seed + self.most - 1, MAX_SEED)
        size = request.sampling.batch
        starts = range(self.first_seed, last + 1, size)
        for start in with_bar(starts, "trying seeds", len(starts), show=request.progress):
            seeds = range(start, min(start + size, last + 1))
            batch = torch.stack(list(sample(G, seeds, request.sampling)))
            read = network.read(batch.to(next(G.parameters()).device))
            accepted = torch.stack([condition.holds(read) for condition in conditions]).all(dim=0)
            yield from zip(seeds, batch, accepted.tolist(), strict=True)

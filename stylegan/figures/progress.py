"""The figure `progress`: the same latents at every snapshot of a run, as a clip, or as a sheet of some of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from stylegan import run_dir
from stylegan.errors import UserError
from stylegan.figures.base import Clip, Picture, Printed, Request
from stylegan.figures.grid import Grid
from stylegan.figures.pixels import side_by_side, to_pixels
from stylegan.figures.sheet import Sheet
from stylegan.inference import load_generator, sample
from stylegan.interop.latents import Latents
from stylegan.memory import check_images
from stylegan.models.base import Generator
from stylegan.values import COUNT, POSITIVE


@dataclass
class Progress(Printed):
    """A run over kimg: the same seeds at every snapshot, as a clip; as PNG or PDF a sheet, a column a snapshot.

    `network` is the folder of a run.

    Example:
        >>> G = stylegan.load_generator("runs/demo")
        >>> clip = Progress(fps=2).draw(G, Request(range(4), network="runs/demo"))
    """

    makes: ClassVar = Clip
    fps: float = field(default=4.0, metadata={"help": "snapshots a second", "range": POSITIVE})
    strip: int = field(default=8, metadata={"help": "snapshots of a sheet (out=NAME.png or .pdf)", "range": COUNT})

    def draw(self, G: Generator, request: Request) -> Clip:
        """See `Figure`. Latents of one network are none of another: there must be seeds only."""
        folder = request.run_folder("figure=progress")
        found = run_dir.snapshots(folder)
        if not found:
            raise UserError(
                f"network={request.network}: this run has no snapshot yet; let it train until the first is written"
            )
        for item in request.items:
            if isinstance(item, Latents):
                raise UserError(f"{item.names[0]} is a latent of one snapshot; figure=progress takes seeds")
        count = len(request.items)
        check_images(count * (self.strip + 1), G.channels, G.resolution, "number of seeds")
        columns = Grid().columns(count)

        def images(path: Path) -> list[Tensor]:
            network = load_generator(path, next(G.parameters()).device)
            return list(sample(network, request.seeds, request.sampling))

        def frames(indices: Sequence[int]) -> Iterator[Tensor]:
            for index in indices:
                yield side_by_side(torch.stack(images(found[index])), columns)

        def still() -> Picture:
            shown = [found[i] for i in evenly_spaced(len(found), self.strip)]
            made = [images(path) for path in shown]
            cells = [[to_pixels(of_one[row]) for of_one in made] for row in range(count)]
            names = [f"{int(path.stem.rpartition('-')[2]) / 1000:g} kimg" for path in shown]
            return self.sheet(Sheet(cells, names, [f"seed {seed}" for seed in request.items]))

        facts = {"snapshots": [path.name for path in found]}
        return Clip(len(found), frames, self.fps, self.strip, loops=False, facts=facts, still=still)


def evenly_spaced(count: int, wanted: int) -> list[int]:
    """At most `wanted` of the numbers below `count`, both ends among them; a single one is the last."""
    if wanted == 1 or count == 1:
        return [count - 1]
    wanted = min(wanted, count)
    return [round(i * (count - 1) / (wanted - 1)) for i in range(wanted)]

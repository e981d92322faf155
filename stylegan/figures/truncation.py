"""The figure `truncation`: seeds at several psi, from beyond the mean face to as trained, or by the number of layers truncated.

Karras et al. 2019, appendix B and figure 8.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch

from stylegan.errors import UserError
from stylegan.figures.base import Picture, Printed, Request
from stylegan.figures.pixels import to_pixels
from stylegan.figures.sheet import Sheet
from stylegan.inference import locate, render
from stylegan.interop.latents import join
from stylegan.memory import check_images
from stylegan.models.base import Generator
from stylegan.models.generator import require_w
from stylegan.values import COUNT_OR_NONE, FINITE


@dataclass
class Truncation(Printed):
    """Seeds x psi, with the mean face at 0; or seeds x cutoffs at `truncation_psi`.

    Example:
        >>> Truncation(psi=[0, 0.5, 1]).draw(stylegan.load_generator("demo"), Request([1, 2])).image
    """

    keeps: ClassVar = True
    truncates: ClassVar = True
    psi: list[float] = field(
        default_factory=lambda: [-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0],
        metadata={"help": "a column each; 1: as trained, 0: the mean face", "range": FINITE},
    )
    cutoffs: list[int] = field(
        default_factory=list,
        metadata={"help": "columns by truncated layers instead, at truncation_psi: 0,2,4,8", "range": COUNT_OR_NONE},
    )

    def draw(self, G: Generator, request: Request) -> Picture:
        """See `Figure`. A network without w is refused, and a cutoff beyond its layers."""
        require_w(G, "figure=truncation", "choose another figure")
        asked = request.sampling
        if not self.psi and not self.cutoffs:
            raise UserError("figure.psi=[]: there are no columns; give at least one number, such as figure.psi=0,0.5,1")
        if self.cutoffs:
            if asked.truncation_psi in (None, 1):
                raise UserError("figure.cutoffs needs truncation_psi other than 1, such as truncation_psi=0.5")
            columns = [replace(asked, truncation_cutoff=cutoff) for cutoff in self.cutoffs]
            names = [f"{cutoff} layers" for cutoff in self.cutoffs]
        else:
            if asked.truncation_psi not in (None, 1):
                raise UserError(
                    "truncation_psi is what the columns of this figure are; give figure.psi, or figure.cutoffs"
                )
            columns = [replace(asked, truncation_psi=psi) for psi in self.psi]
            names = [f"psi {psi:g}" + (" (mean)" if psi == 0 else "") for psi in self.psi]
        count = len(request.items)
        check_images(count * len(columns), G.channels, G.resolution, "number of seeds")
        latents = [locate(G, request.seeds, sampling) for sampling in columns]
        ws = torch.cat([item.ws for item in latents if item.ws is not None])
        everything = replace(join(latents), ws=ws)
        images = list(map(to_pixels, render(G, everything, asked, progress=request.progress)))
        cells = [[images[c * count + r] for c in range(len(columns))] for r in range(count)]
        caption = f"psi {asked.truncation_psi:g}, by the number of truncated layers" if self.cutoffs else ""
        return self.sheet(Sheet(cells, names, latents[0].names, caption=caption), latents=everything)

"""The figure `mixing`: some layers take their styles from one latent, the others from another.

Karras et al. 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks", section 3.1 and figure 3.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from stylegan.errors import UserError
from stylegan.figures.base import Picture, Printed, Request
from stylegan.figures.pixels import to_pixels
from stylegan.figures.sheet import Sheet
from stylegan.inference import locate, render
from stylegan.interop.latents import Latents
from stylegan.latent.layer_names import style_layers, trained_without_mixing
from stylegan.memory import check_images
from stylegan.models.base import Generator


@dataclass
class Mixing(Printed):
    """Rows x columns: the chosen layers take the column's style, the others the row's; sources along the edges.

    `seeds` is not used: rows and columns are seeds or latent files of their own.

    Example:
        >>> Mixing(rows="0-2", cols="55,85", layers="coarse").draw(stylegan.load_generator("demo"), Request([0])).image
    """

    keeps: ClassVar = True
    rows: Any = field(default="0-3", metadata={"help": "seeds or latents whose other layers count", "seeds": True})
    cols: Any = field(default="8-12", metadata={"help": "seeds or latents whose chosen layers count", "seeds": True})
    layers: str = field(
        default="coarse", metadata={"help": "from the columns: coarse, middle, fine, 0-3, 1,4,6, or all"}
    )

    def draw(self, G: Generator, request: Request) -> Picture:
        """See `Figure`. A network without w, or without these layers, is refused."""
        chosen = style_layers(G, self.layers)
        rows, cols = self.chosen("rows"), self.chosen("cols")
        check_images((len(rows) + 1) * (len(cols) + 1), G.channels, G.resolution, "figure.rows or figure.cols")
        if request.sampling.noise_mode == "random" and request.sampling.noise_seed is None:
            raise UserError("noise_mode=random: a mixed image has no seed of its noise; give noise_seed")
        of_rows, of_cols = locate(G, rows, request.sampling), locate(G, cols, request.sampling)
        assert of_rows.ws is not None and of_cols.ws is not None
        mixed = mix(of_rows.ws, of_cols.ws, chosen)
        names = tuple(f"{row} x {col}" for row in of_rows.names for col in of_cols.names)
        latents = Latents(names, ws=mixed.flatten(0, 1))
        everything = torch.cat([of_cols.ws, of_rows.ws, mixed.flatten(0, 1)])
        images = list(map(to_pixels, render(G, everything, request.sampling, progress=request.progress)))
        C, R = len(cols), len(rows)
        above, left, inner = images[:C], images[C : C + R], images[C + R :]
        cells = [[None, *above], *([left[r], *inner[r * C : (r + 1) * C]] for r in range(R))]
        caption = (
            f"Layers from the columns: {self.layers}; the others from the rows. {trained_without_mixing(G)}".strip()
        )
        sheet = Sheet(cells, ["", *of_cols.names], ["", *of_rows.names], caption=caption)
        return self.sheet(sheet, {"layers": chosen}, latents)


def mix(rows: Tensor, cols: Tensor, layers: list[int]) -> Tensor:
    """Every row with every column: ws [R, num_ws, w_dim] and [C, ...] to [R, C, num_ws, w_dim]; `layers` from the column."""
    mixed = rows[:, None].repeat(1, len(cols), 1, 1)
    mixed[:, :, layers] = cols[None, :, layers]
    return mixed

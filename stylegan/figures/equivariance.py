"""The figure `equivariance`: pictures of a moved and a turned input beside the moved and turned picture, and what differs.

Karras et al. 2021, "Alias-Free Generative Adversarial Networks", section 3.2 and figure 5: of an equivariant network the two
are the same picture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from PIL import Image
from torch import Tensor

from stylegan.errors import UserError
from stylegan.figures.base import Picture, Printed, Request
from stylegan.figures.pixels import to_pixels
from stylegan.figures.sheet import Sheet
from stylegan.inference import adjusted, locate, to_uint8
from stylegan.interop.latents import Latents
from stylegan.memory import check_images
from stylegan.metrics.equivariance import decibels, fractional_translation, pseudo_rotation, rotation
from stylegan.models.base import Generator
from stylegan.models.generator import require_w
from stylegan.models.movement import movable_input
from stylegan.values import FINITE, POSITIVE, Range

_COLUMNS = 7


@dataclass
class Equivariance(Printed):
    """StyleGAN3: a moved and a turned input beside the moved and turned picture, with difference images.

    Each row is a seed: its picture; made of an input that was moved; the picture itself moved; their difference; and the
    same for turning. Pixels that one of the two does not know are grey in the difference. Below stands how like they are, in
    decibels (EQ-T and EQ-R of the paper, of this picture alone).

    Example:
        >>> Equivariance().draw(stylegan.load_generator("runs/stylegan3"), Request([0, 1])).image
    """

    move: list[float] = field(
        default_factory=lambda: [0.11, 0.06],
        metadata={"help": "to the right and down, in picture sides", "range": Range(-1, 1)},
    )
    turn: float = field(default=25.0, metadata={"help": "degrees clockwise", "range": FINITE})
    gain: float = field(default=4.0, metadata={"help": "by which differences are made visible", "range": POSITIVE})

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.move) != 2:
            raise UserError(f"figure.move={','.join(map(str, self.move))}: give two numbers, as figure.move=0.1,0")

    def draw(self, G: Generator, request: Request) -> Picture:
        """See `Figure`. Raises `UserError` for a network that cannot be moved, too."""
        movable_input(G)
        if request.sampling.moves:
            raise UserError(
                "translate, rotate: this figure moves by itself; say how far by figure.move and figure.turn"
            )
        items = request.items
        check_images(_COLUMNS * len(items), G.channels, G.resolution, "number of seeds")
        latents = locate(G, request.seeds, request.sampling)
        cells, captions, facts = [], [], []
        for point in latents:
            images, decibel = compare(G, point, request, self)
            cells.append(images)
            captions.append(["", "", "", f"{decibel[0]:.1f} dB", "", "", f"{decibel[1]:.1f} dB"])
            facts.append({"seed": point.names[0], "move_db": round(decibel[0], 3), "turn_db": round(decibel[1], 3)})
        gain = f"difference x{self.gain:g}"
        columns = ["generated", "moved input", "moved picture", gain, "turned input", "turned picture", gain]
        sheet = Sheet(cells, columns, latents.names, captions, gap=1)
        return self.sheet(sheet, {"equivariance": facts}, latents)


@torch.inference_mode()
def compare(
    G: Generator, point: Latents, request: Request, options: Equivariance
) -> tuple[list[Image.Image], list[float]]:
    """One row of the figure: seven pictures, and how like the moved and the turned ones are, in decibels."""
    synthesis = require_w(G, "figure=equivariance", "choose another figure").synthesis
    assert point.ws is not None
    ws = point.ws

    def made(translate: Sequence[float] = (0.0, 0.0), rotate: float = 0.0) -> Tensor:
        with adjusted(G, replace(request.sampling, translate=translate, rotate=rotate)):
            return synthesis(ws).float().cpu()

    plain, shifted, turned = made(), made(options.move), made(rotate=options.turn)
    angle = -math.radians(options.turn)  # in `rotation` the sign is that of the sampling grid, not of the picture
    rows: list[Tensor] = [plain]
    ratios: list[float] = []
    of_moved = fractional_translation(plain, options.move[0], options.move[1]), (shifted, torch.ones_like(shifted))
    of_turned = rotation(plain, angle), pseudo_rotation(turned, angle)
    for shown, ((want, known), (got, also_known)) in ((shifted, of_moved), (turned, of_turned)):
        mask = known * also_known
        error = ((want.double() - got.double()).square() * mask).sum()
        ratios.append(decibels(torch.stack([error, mask.double().sum()])))
        rows += [
            shown,
            torch.where(known > 0, want, -1),
            torch.where(mask > 0, (got - want).abs() * options.gain - 1, 0),
        ]
    return [to_pixels(to_uint8(image[0])) for image in rows], ratios

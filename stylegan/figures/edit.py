"""The figure `edit`: latents moved along a direction in W, in steps to both sides."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch

from stylegan.errors import UserError
from stylegan.figures.base import Picture, Printed, Request
from stylegan.figures.pixels import to_pixels
from stylegan.figures.sheet import Sheet
from stylegan.figures.style_layers import style_layers
from stylegan.inference import locate, render
from stylegan.interop.latents import join
from stylegan.latent.named import Directions
from stylegan.memory import check_images
from stylegan.models.base import Generator
from stylegan.models.generator import require_w
from stylegan.values import POSITIVE, Range


@dataclass
class Edit(Printed):
    """Seeds moved along directions in W: `pca:0` (GANSpace), `sefa:0` (closed form), or an attribute of faces3d such as `age`.

    A row for each seed and direction, from -`figure.reach` to +`figure.reach` standard deviations of w along it. Attributes are
    read by the network that comes with faces3d (InterFaceGAN); it was trained on such faces only.

    Example:
        >>> Edit(directions=["pca:0"]).draw(stylegan.load_generator("demo"), Request([1])).image
    """

    keeps: ClassVar = True
    directions: list[str] = field(
        default_factory=lambda: ["pca:0"],
        metadata={"help": "pca:0,sefa:2,age,hair_colour=black; an unknown name lists all"},
    )
    given: list[str] = field(
        default_factory=list, metadata={"help": "directions that the others shall leave alone: sex"}
    )
    reach: float = field(default=2.0, metadata={"help": "standard deviations to both sides", "range": POSITIVE})
    steps: int = field(default=7, metadata={"help": "images in a row", "range": Range(2, 1000)})
    layers: str = field(
        default="all", metadata={"help": "which layers are moved: all, coarse, middle, fine, 0-3, 1,4,6"}
    )

    def draw(self, G: Generator, request: Request) -> Picture:
        """See `Figure`. A network without w, and a direction that there is not, are refused."""
        style_based = require_w(G, "figure=edit", "choose another figure")
        layers = style_layers(G, self.layers)
        if not self.directions:
            raise UserError("figure.directions=[]: there is nothing to move along; name one, such as pca:0")
        count = len(request.items)
        check_images(
            count * len(self.directions) * self.steps, G.channels, G.resolution, "number of seeds or figure.steps"
        )
        known = Directions(style_based, request.sampling, progress=request.progress)
        found = [known.find(name, layers, self.given) for name in self.directions]
        points = locate(G, request.seeds, request.sampling)
        assert points.ws is not None
        amounts = [self.reach * (2 * i / (self.steps - 1) - 1) for i in range(self.steps)]
        moved, rows = [], []
        for point in points:
            for direction in found:
                assert point.ws is not None
                ws = point.ws.repeat(self.steps, 1, 1)
                way = torch.tensor(amounts)[:, None, None] * direction.stdev * direction.vector
                ws[:, layers] += way.to(ws)
                names = tuple(f"{point.names[0]}, {direction.name} {amount:+g}" for amount in amounts)
                moved.append(replace(point, names=names, z=None, ws=ws, noise=None))
                rows.append(f"{point.names[0]}, {direction.name}" if count > 1 else direction.name)
        latents = join(moved)
        images = [to_pixels(image) for image in render(G, latents, request.sampling, progress=request.progress)]
        cells = [images[i : i + self.steps] for i in range(0, len(images), self.steps)]
        columns = [f"{amount:+.3g}" if amount else "as it is" for amount in amounts]
        left = f", leaving alone: {', '.join(self.given)}" if self.given else ""
        caption = f"Standard deviations of w along each direction, in layers {self.layers}{left}."
        facts = {"stdev": {direction.name: direction.stdev for direction in found}}
        return self.sheet(Sheet(cells, columns, rows, caption=caption), facts, latents)

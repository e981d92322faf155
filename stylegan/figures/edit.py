"""The figure `edit`: latents moved along directions, in steps to both sides."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from stylegan.errors import UserError
from stylegan.figures.base import Picture, Printed, Request
from stylegan.figures.pixels import to_pixels
from stylegan.figures.sheet import Sheet
from stylegan.inference import locate, render
from stylegan.interop.latents import join
from stylegan.latent.direction_file import read_directions
from stylegan.latent.effects import along
from stylegan.latent.layer_names import style_layers
from stylegan.latent.named import Directions
from stylegan.memory import check_images
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased, require_w
from stylegan.values import POSITIVE, Range, at_home


@dataclass
class Edit(Printed):
    """Seeds moved along directions in W: `pca:0` (GANSpace), `sefa:0` (closed form), or an attribute of faces3d such as `age`.

    A row for each seed and direction, from -`figure.reach` to +`figure.reach` standard deviations of w along it. Attributes are
    read by the network that comes with faces3d (InterFaceGAN), which was trained on such faces only, or by one of your own
    (`figure.classifier`); `figure.scores` is a table of scores by seed instead. `stylegan directions` finds directions once and
    keeps them for `figure.file`. In networks without w, z is moved.

    Example:
        >>> Edit(directions=["pca:0"]).draw(stylegan.load_generator("demo"), Request([1])).image
    """

    keeps: ClassVar = True
    directions: list[str] = field(
        default_factory=lambda: ["pca:0"],
        metadata={"help": "pca:0,sefa:2,age,hair_colour=black; an unknown name lists all"},
    )
    file: str | None = field(default=None, metadata={"help": "directions kept by `stylegan directions`"})
    scores: str | None = field(
        default=None, metadata={"help": "CSV of scores by seed, `seed,age,...`: a direction for each column"}
    )
    classifier: str | None = field(
        default=None, metadata={"help": "file of `stylegan attributes --train`; null: the one for faces3d"}
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
        """See `Figure`. A direction that there is not is refused."""
        if not isinstance(G, StyleBased) and self.layers != "all":
            require_w(G, f"figure.layers={self.layers}", "leave it out")
        layers = style_layers(G, self.layers) if isinstance(G, StyleBased) else []
        if not self.directions:
            raise UserError("figure.directions=[]: there is nothing to move along; name one, such as pca:0")
        count = len(request.items)
        check_images(
            count * len(self.directions) * self.steps, G.channels, G.resolution, "number of seeds or figure.steps"
        )
        classifier, scores = (None if name is None else Path(at_home(name)) for name in (self.classifier, self.scores))
        kept = {} if self.file is None else read_directions(Path(at_home(self.file)), G)
        known = Directions(
            G, request.sampling, classifier=classifier, scores=scores, known=kept, progress=request.progress
        )
        found = [known.find(name, layers, self.given) for name in self.directions]
        points = locate(G, request.seeds, request.sampling)
        amounts = [self.reach * (2 * i / (self.steps - 1) - 1) for i in range(self.steps)]
        moved, rows = [], []
        for point in points:
            for direction in found:
                for amount in amounts:
                    there = along(point, direction, amount, layers)
                    moved.append(replace(there, names=(f"{point.names[0]}, {direction.name} {amount:+g}",), noise=None))
                rows.append(f"{point.names[0]}, {direction.name}" if count > 1 else direction.name)
        latents = join(moved)
        images = [to_pixels(image) for image in render(G, latents, request.sampling, progress=request.progress)]
        cells = [images[i : i + self.steps] for i in range(0, len(images), self.steps)]
        columns = [f"{amount:+.3g}" if amount else "as it is" for amount in amounts]
        left = f", leaving alone: {', '.join(self.given)}" if self.given else ""
        where = f"w along each direction, in layers {self.layers}" if layers else "z along each direction"
        caption = f"Standard deviations of {where}{left}."
        facts = {"stdev": {direction.name: direction.stdev for direction in found}}
        return self.sheet(Sheet(cells, columns, rows, caption=caption), facts, latents)

"""The figure `drag`: points of a picture are pulled elsewhere, and the picture follows."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from stylegan.errors import UserError, refusal, shown
from stylegan.figures.base import Clip, Picture, Printed, Request
from stylegan.figures.optimising import optimise
from stylegan.figures.pixels import to_pixels
from stylegan.figures.sheet import Sheet
from stylegan.files import sha256
from stylegan.inference import adjusted, class_label, locate, render, resolve_network
from stylegan.interop.difference import network_name
from stylegan.interop.latents import Latents
from stylegan.interop.snapshot import weights_sha256
from stylegan.latent import drag
from stylegan.latent.photographs import read_photographs
from stylegan.latent.projection import Space, spread_of_w
from stylegan.latent.unfinished import Unfinished
from stylegan.memory import check_images
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased
from stylegan.values import COUNT, FINITE, NOT_NEGATIVE, POSITIVE, Range, at_home

MOST_POINTS = 100
_MARKED = 256  # pixels of a side from which marks can be seen
_LOOKS = ("width_cm", "dpi", "labels", "font", "fps", "strip", "marks")


@dataclass
class Drag(Printed):
    """Points of one seed's or latent file's picture move to targets, and the picture with them (DragGAN).

    `'figure.points=[[24,40,24,48],[40,40,40,48]]'`: from x, y to x, y, in pixels from the left and upper edge. A point is
    pulled and looked for again in the features of a middle layer until it is there. As PNG or PDF it is a strip of the way, as
    MP4, GIF or WebP the way itself. The result is kept as a latent file. What is interrupted goes on by the same command.

    Example:
        >>> clip = Drag(points=[[32, 56, 32, 48]]).draw(stylegan.load_generator("demo"), Request([1]))
    """

    makes: ClassVar = Clip
    keeps: ClassVar = True
    suffix: ClassVar = ".png"
    optimises: ClassVar = True
    points: list[Any] = field(default_factory=list, metadata={"help": "'[[x,y,to_x,to_y],...]' in pixels"})
    mask: str | None = field(default=None, metadata={"help": "a picture that is white where things may move"})
    space: str | None = field(
        default=None, metadata={"help": "w (all ws move alike), w+ or z; null: w, z for networks without w"}
    )
    steps: int = field(default=300, metadata={"help": "at most", "range": COUNT})
    lr: float = field(default=0.01, metadata={"help": "of a step, in standard deviations of w", "range": POSITIVE})
    layer: str | None = field(
        default=None,
        metadata={"help": "whose features are followed; an unknown name lists all; null: of half the side"},
    )
    radius: float = field(
        default=24.0, metadata={"help": "of the patch that is pulled, for pictures of 512 pixels", "range": POSITIVE}
    )
    search: float = field(
        default=16.0, metadata={"help": "how far a point is looked for, for pictures of 512 pixels", "range": POSITIVE}
    )
    keep: float = field(
        default=20.0, metadata={"help": "weight of what lies outside of the mask", "range": NOT_NEGATIVE}
    )
    tolerance: float = field(
        default=1.0, metadata={"help": "pixels from the target at which it ends", "range": POSITIVE}
    )
    marks: bool = field(default=True, metadata={"help": "show points and targets"})
    strip: int = field(default=6, metadata={"help": "pictures of a strip", "range": Range(2, 1000)})
    fps: float = field(default=30.0, metadata={"help": "frames a second", "range": POSITIVE})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.space is not None and self.space not in list(Space):
            raise UserError(f"figure.space={self.space}: there are: w, w+, z")
        if len(self.points) > MOST_POINTS:
            raise UserError(f"figure.points: {len(self.points)} points; {MOST_POINTS} are the most")
        for move in self.points:
            numbers = list(move) if isinstance(move, Sequence) and not isinstance(move, str) else []
            if len(numbers) != 4 or any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
                raise UserError(
                    f"figure.points: {shown(move, 100)} is no move; give four numbers: 'figure.points=[[x,y,to_x,to_y],...]'"
                )
            for number in numbers:
                FINITE.check(number, "figure.points")

    def draw(self, G: Generator, request: Request) -> Clip:
        """See `Figure`. Points outside of the picture, and more than one seed, are refused."""
        space = self._checked(G, request)
        check_images(self.strip + 4, G.channels, G.resolution, "figure.strip")
        mask = None if self.mask is None else _read_mask(self.mask, G.resolution)
        start = locate(G, request.seeds, request.sampling)
        network = "" if request.network is None else network_name(resolve_network(request.network))
        kept = Unfinished(request.unfinished, self._command(G, request, start))
        state = kept.read()
        with adjusted(G, request.sampling):
            dragged = self._start(G, start, space, request, mask)
            way = [dragged.point.detach().cpu().clone()]
            places = [dragged.points.cpu().clone()]
            if state is not None:
                with refusal(f"{kept.state} does not fit", "delete it to begin anew"):
                    dragged.load_state_dict(state["drag"])
                    way, places = list(state["way"]), list(state["places"])

            def advance() -> None:
                dragged.advance()
                way.append(dragged.point.detach().cpu().clone())
                places.append(dragged.points.cpu().clone())

            def keep() -> None:
                latents = self._latents(G, way[-1:], start, space, request)
                kept.keep({"drag": dragged.state_dict(), "way": way, "places": places}, latents, G, network)

            left = range(dragged.step, 0 if dragged.done else self.steps)
            optimise(advance, left, "dragging", keep, kept, lambda: dragged.done, progress=request.progress)
        latents = self._latents(G, way, start, space, request)
        result = replace(latents[-1], names=(f"{start.names[0]}, dragged",))
        facts = {
            "layer": dragged.layer.removeprefix("synthesis."),
            "steps": dragged.step,
            "space": str(space),
            "reached": [[round(v, 2) for v in point] for point in dragged.points.tolist()],
            "pixels_from_target": [round(v, 2) for v in dragged.distances.tolist()],
        }

        def frames(indices: Sequence[int]) -> Iterator[Tensor]:
            return self._frames(G, latents, places, indices, request)

        def still() -> Picture:
            return self._strip(G, latents, places, facts, request)

        return Clip(len(way), frames, self.fps, self.strip, False, result, facts, still=still, done=kept.forget)

    def _checked(self, G: Generator, request: Request) -> Space:
        if len(request.items) != 1:
            raise UserError(
                f"seeds: this figure drags one picture, and {len(request.items)} are named; give one, seeds=5"
            )
        if not self.points:
            raise UserError("figure.points: say what moves where, such as 'figure.points=[[24,40,24,48]]'")
        height, width = G.resolution
        for x, y, to_x, to_y in self.points:
            for a, b in ((x, y), (to_x, to_y)):
                if not (0 <= a < width and 0 <= b < height):
                    raise UserError(
                        f"figure.points: {a:g},{b:g} lies outside of the picture: x goes from 0 to {width - 1} and y from 0 "
                        f"to {height - 1}"
                    )
        space = Space(self.space) if self.space else Space.w if isinstance(G, StyleBased) else Space.z
        if (space is Space.z) == isinstance(G, StyleBased):
            there = "w or w+" if isinstance(G, StyleBased) else "z"
            raise UserError(f"figure.space={space}: with {G.config.kind} networks points are dragged in {there}")
        if request.sampling.noise_mode != "const":
            raise UserError("noise_mode: this figure needs the same noise in all steps; leave it at const")
        return space

    def _start(self, G: Generator, start: Latents, space: Space, request: Request, mask: Tensor | None) -> drag.Drag:
        device = next(G.parameters()).device
        label = class_label(G, request.sampling.class_idx)
        if isinstance(G, StyleBased):
            assert start.ws is not None
            point = start.ws.to(device)
            deviation = spread_of_w(G, request.sampling.class_idx).deviation / G.w_dim**0.5
        else:
            assert start.z is not None
            point, deviation = start.z.to(device), 1.0
        moves = torch.tensor([list(move) for move in self.points], dtype=torch.float32, device=device)
        options = drag.DragOptions(self.steps, self.lr, self.radius, self.search, self.keep, self.tolerance)
        return drag.Drag(
            G,
            point,
            moves[:, :2],
            moves[:, 2:],
            options,
            deviation=deviation,
            shared=space is Space.w,
            layer=self.layer,
            c=None if label is None else label.to(device),
            noise=None if start.noise is None else start.noise.to(device),
            mask=None if mask is None else mask.to(device),
        )

    def _command(self, G: Generator, request: Request, start: Latents) -> dict[str, Any]:
        """All that the result depends on."""
        where = start.ws if start.ws is not None else start.z
        assert where is not None
        return {
            "options": {name: str(value) for name, value in asdict(self).items() if name not in _LOOKS},
            "mask": None if self.mask is None else sha256(at_home(self.mask)),
            "network": weights_sha256(G.state_dict()),
            "start": where.double().sum().item(),
            "sampling": str(replace(request.sampling, batch=1)),
        }

    def _latents(self, G: Generator, way: Sequence[Tensor], start: Latents, space: Space, request: Request) -> Latents:
        points = torch.cat(list(way))
        noise = None if start.noise is None else start.noise.expand(len(points), -1)
        names = (start.names[0],) * len(points)
        if space is Space.z:
            return Latents(names, z=points, noise=noise)
        assert isinstance(G, StyleBased)
        return Latents(names, ws=points, noise=noise)

    def _frames(
        self, G: Generator, latents: Latents, places: Sequence[Tensor], indices: Sequence[int], request: Request
    ) -> Iterator[Tensor]:
        images = render(G, latents[list(indices)], request.sampling)
        for i, image in zip(indices, images, strict=True):
            picture = self._marked(to_pixels(image), places[i], places[0])
            yield torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)

    def _strip(
        self, G: Generator, latents: Latents, places: Sequence[Tensor], facts: dict[str, Any], request: Request
    ) -> Picture:
        count = min(self.strip, len(latents))
        chosen = [round(i * (len(latents) - 1) / max(count - 1, 1)) for i in range(count)]
        images = [to_pixels(image) for image in render(G, latents[chosen], request.sampling)]
        cells = [self._marked(image, places[i], places[0]) for i, image in zip(chosen, images, strict=True)]
        columns = ["as it was" if i == 0 else f"step {i}" for i in chosen]
        far = ", ".join(f"{value:.1f}" for value in facts["pixels_from_target"])
        caption = (
            f"{latents.names[0]}; features of {facts['layer']}. Pixels from the targets, by its own tracking: {far}. "
            "Red: where a point is; white: where it shall be."
        )
        return self.sheet(Sheet([cells], columns, caption=caption))

    def _marked(self, image: Image.Image, points: Tensor, first: Tensor) -> Image.Image:
        """Large enough to see marks, with them."""
        scale = max(-(-_MARKED // max(image.size)), 1)
        picture = image.convert("RGB").resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
        if not self.marks:
            return picture
        pen = ImageDraw.Draw(picture)
        size = max(max(picture.size) / 64, 2)
        for (_, _, to_x, to_y), now, then in zip(self.points, points.tolist(), first.tolist(), strict=True):
            target, here, start = (((x + 0.5) * scale, (y + 0.5) * scale) for x, y in ((to_x, to_y), now, then))
            pen.line([start, target], fill="white", width=max(round(size / 3), 1))
            for (x, y), colour in ((target, "white"), (here, "red")):
                pen.ellipse([x - size, y - size, x + size, y + size], fill=colour, outline="black")
        return picture


def _read_mask(name: str, resolution: tuple[int, int]) -> Tensor:
    """bool [H, W]: where a picture is lighter than grey.

    Raises:
        UserError: It cannot be read, has other proportions than the network's pictures, or is black everywhere.
    """
    path = Path(at_home(name))
    if not path.exists():
        raise UserError(
            f"figure.mask={name}: there is no such file; give a picture that is white where things may move"
        )
    mask = read_photographs([path], resolution, 1, None)[0, 0] > 127
    if not mask.any():
        raise UserError(f"figure.mask={name}: it is black everywhere, so that nothing may move")
    return mask

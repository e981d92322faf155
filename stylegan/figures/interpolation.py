"""The figure `interpolation`: a walk through latents, as a clip that loops."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from stylegan.errors import UserError
from stylegan.figures.base import Clip, Figure, Request
from stylegan.figures.curve import Curve, Pieces, Spline, evenly
from stylegan.figures.pixels import side_by_side
from stylegan.inference import Sampling, locate, render, sample
from stylegan.interop.latents import Latents
from stylegan.memory import check_images
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased, require_w
from stylegan.values import COUNT, POSITIVE, SEED32

MOST_FRAMES = 10_000_000


class Space(StrEnum):
    """Where a walk goes."""

    w = "w"
    z = "z"


class Path(StrEnum):
    """How it goes from key frame to key frame."""

    cubic = "cubic"
    straight = "straight"


@dataclass
class Interpolation(Figure):
    """A walk from seed to seed as a clip: MP4, GIF or WebP; as PNG a film strip.

    The seeds are key frames; `figure.rows` x `figure.cols` loops stand side by side, and each gets an equal share of the seeds,
    which begin anew where there are too few. In w it goes by a periodic cubic spline, or straight; in z, the only space of
    networks without w, on the sphere. The last frame precedes the first. Noise stays the same throughout.

    Example:
        >>> clip = Interpolation(frames=30).draw(stylegan.load_generator("demo"), Request(range(4)))
        >>> images = torch.stack(list(clip.frames(range(clip.count))))
    """

    makes: ClassVar = Clip
    keeps: ClassVar = True
    space: Space | None = field(
        default=None, metadata={"help": "w, or z on the sphere; null: w where the network has it"}
    )
    path: Path = field(default=Path.cubic, metadata={"help": "in w: cubic or straight; in z it is the sphere"})
    frames: int = field(default=120, metadata={"help": "from one key frame to the next", "range": COUNT})
    fps: float = field(default=60.0, metadata={"help": "frames a second", "range": POSITIVE})
    loop: bool = field(default=True, metadata={"help": "go on to the first key frame; false: end at the last"})
    constant_speed: bool = field(default=False, metadata={"help": "equal ways in latent space from frame to frame"})
    rows: int = field(default=1, metadata={"help": "loops from top to bottom", "range": COUNT})
    cols: int = field(default=1, metadata={"help": "loops from left to right", "range": COUNT})
    keyframes: int | None = field(
        default=None, metadata={"help": "of each loop; null: the seeds are shared out", "range": COUNT}
    )
    shuffle: int | None = field(
        default=None, metadata={"help": "a seed, by which key frames are mixed up", "range": SEED32}
    )
    strip: int = field(default=8, metadata={"help": "images of a film strip (out=NAME.png)", "range": COUNT})

    def draw(self, G: Generator, request: Request) -> Clip:
        """See `Figure`. A walk needs two key frames; random noise, which would flicker, a seed of its own."""
        space = self._space(G)
        loops = deal(request.items, self.rows * self.cols, self.keyframes, self.shuffle)
        keys = len(loops[0])
        if keys < 2:
            raise UserError(
                f"seeds: this figure walks from one key frame to the next; each loop has {keys}, give more seeds"
            )
        if request.sampling.noise_mode == "random" and request.sampling.noise_seed is None:
            raise UserError(
                "noise_mode=random: every frame would have other noise, and flicker; give noise_seed, or const"
            )
        end = keys if self.loop else keys - 1
        count = end * self.frames + (not self.loop)
        if count > MOST_FRAMES:
            raise UserError(f"figure.frames={self.frames}: {count} frames are more than {MOST_FRAMES}; choose fewer")
        check_images(len(loops) * (keys + 2), G.channels, G.resolution, "figure.rows, figure.cols or number of seeds")
        flat = [item for loop in loops for item in loop]
        points = locate(G, flat, request.sampling)
        known = points.ws if space == Space.w else points.z
        if known is None:
            raise UserError("figure.space=z: a latent file among the key frames holds no z; choose figure.space=w")
        curves = [self._curve(part, space) for part in known.split(keys)]
        times = [
            evenly(curve, count, end=end, closed=self.loop)
            if self.constant_speed
            else torch.arange(count, dtype=torch.float64) / self.frames
            for curve in curves
        ]
        noise = None if points.noise is None else points.noise[:1]

        def frames(indices: Sequence[int]) -> Iterator[Tensor]:
            return _frames(G, curves, times, indices, request.sampling, space, noise, self.cols)

        facts = {"key_frames": [[_name(item) for item in loop] for loop in loops]}
        return Clip(count, frames, self.fps, self.strip, self.loop, points, facts)

    def _space(self, G: Generator) -> Space:
        space = self.space or (Space.w if isinstance(G, StyleBased) else Space.z)
        if space == Space.w:
            require_w(G, "figure.space=w", "choose figure.space=z")
        return space

    def _curve(self, points: Tensor, space: Space) -> Curve:
        if space == Space.z:
            return Pieces(points, closed=self.loop, spherical=True)
        if self.path == Path.straight:
            return Pieces(points, closed=self.loop, spherical=False)
        return Spline(points, closed=self.loop)


def deal(
    items: Sequence[int | Latents], loops: int, keyframes: int | None = None, shuffle: int | None = None
) -> list[list[int | Latents]]:
    """Key frames of each loop, dealt out as the public StyleGAN3 tool does.

    Args:
        items: Seeds and latents.
        loops: How many loops.
        keyframes: Of each; None: as many as `items` give.
        shuffle: Seed of NumPy's frozen generator by which they are mixed up; None: they keep their order.

    Raises:
        UserError: The seeds cannot be shared out evenly.
    """
    if keyframes is None:
        if len(items) % loops:
            raise UserError(
                f"seeds: {len(items)} key frames cannot be shared out over {loops} loops; give a multiple, or figure.keyframes"
            )
        keyframes = len(items) // loops
    order = [i % len(items) for i in range(keyframes * loops)]
    if shuffle is not None:
        np.random.RandomState(shuffle).shuffle(order)
    return [[items[i] for i in order[loop * keyframes : (loop + 1) * keyframes]] for loop in range(loops)]


def _frames(
    G: Generator,
    curves: Sequence[Curve],
    times: Sequence[Tensor],
    indices: Sequence[int],
    sampling: Sampling,
    space: Space,
    noise: Tensor | None,
    columns: int,
) -> Iterator[Tensor]:
    """Frames of all loops, side by side; as many are made at once as a batch holds."""
    at_once = max(sampling.batch // len(curves), 1)
    for start in range(0, len(indices), at_once):
        chunk = list(indices[start : start + at_once])
        points = torch.stack([curve.at(time[chunk]).float() for curve, time in zip(curves, times, strict=True)], dim=1)
        flat = points.flatten(0, 1)
        names = ("walk",) * len(flat)
        own = None if noise is None else noise.expand(len(flat), -1)
        if space == Space.w:
            images = list(render(G, Latents(names, ws=flat, noise=own), sampling))
        else:
            images = list(sample(G, [Latents(names, z=flat, noise=own)], sampling))
        for i in range(len(chunk)):
            cells = torch.stack(images[i * len(curves) : (i + 1) * len(curves)])
            yield side_by_side(cells, columns)


def _name(item: int | Latents) -> int | str:
    return item if isinstance(item, int) else item.names[0]

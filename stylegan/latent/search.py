"""The search for the latent of a picture, from start to end."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from stylegan.inference import Sampling, latents, sample, sample_ws
from stylegan.interop.latents import Latents
from stylegan.latent.distance import Distance, psnr
from stylegan.latent.projection import CANDIDATES, Projection, Schedule, Space, on_sphere, spread_of_w
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased, require_w
from stylegan.rng import normal


@dataclass(frozen=True)
class SearchOptions:
    """How it is searched.

    Attributes:
        space: See there.
        schedule: Of the steps.
        starts: How many are followed at once. The first is the mean of w; the others, in z all, are those of 1000 seeds whose
            pictures are nearest.
        noise: Look for the layer noise, too.
        frames: Points of the way that are kept.
    """

    space: Space = Space.w
    schedule: Schedule = field(default_factory=Schedule)
    starts: int = 1
    noise: bool = False
    frames: int = 150


@dataclass(frozen=True)
class Found:
    """What came of it.

    Attributes:
        latents: One: ws, or z for a network without w, and the noise that was looked for.
        at_first: The distance of the first start's picture.
        distance: Of the latent's.
        way: Latents on the way, in order.
    """

    latents: Latents
    at_first: float
    distance: float
    way: Latents


class Search:
    """One search, a step at a time, which can be stopped and go on.

    Args:
        G: In eval mode, without gradients.
        target: uint8 [C, H, W].
        distance: By what pictures are compared.
        options: See there.
        sampling: Of the starts: class, precision and batch.
        name: Of the picture.
        state: Of a search with the same arguments, to go on with.
        nearest: Seeds of starts, where they were looked for before.

    Raises:
        UserError: The network has no such space, or no noise.
    """

    def __init__(
        self,
        G: Generator,
        target: Tensor,
        distance: Distance,
        options: SearchOptions,
        sampling: Sampling,
        name: str,
        state: dict[str, Any] | None = None,
        nearest: Sequence[int] | None = None,
    ) -> None:
        device = next(G.parameters()).device
        self.G, self.options, self.name = G, options, name
        picture = target[None].to(device).float() / 127.5 - 1
        deviation = G.z_dim**0.5
        centre = None
        if options.space is not Space.z:
            spread = spread_of_w(
                require_w(G, f"figure.space={options.space}", "choose figure.space=z"), sampling.class_idx
            )
            deviation, centre = spread.deviation, spread.mean[None, None]
        starts = find_starts(G, picture, distance, options, sampling, centre, nearest)
        noise = None
        if options.noise and G.noise_size:
            noise = normal(0, "projected noise", [0], [G.noise_size], device)[0]
        self.projection = Projection(
            G,
            picture,
            distance,
            starts,
            options.space,
            options.schedule,
            deviation=deviation,
            class_idx=sampling.class_idx,
            noise=noise,
        )
        steps, frames = options.schedule.steps, min(options.frames, options.schedule.steps)
        self._frames = {round(i * (steps - 1) / max(frames - 1, 1)) for i in range(frames)}
        self._way: list[Tensor] = []
        self.at_first = 0.0
        if state is not None:
            self.projection.load_state_dict(state["projection"])
            self._way, self.at_first = list(state["way"]), float(state["at_first"])

    @property
    def step(self) -> int:
        """How many steps are done."""
        return self.projection.step

    def advance(self) -> None:
        """Do one step."""
        if self.step in self._frames:
            self._way.append(self._points(self.projection.point.detach()).cpu())
        self.projection.advance()
        if self.step == 1:
            self.at_first = float(self.projection.best[0])

    def state_dict(self) -> dict[str, Any]:
        """All that goes on."""
        return {"projection": self.projection.state_dict(), "way": list(self._way), "at_first": self.at_first}

    def found(self) -> Found:
        """The best so far."""
        nearest, point, noise = self.projection.found()
        way = torch.stack([points[nearest] for points in self._way]) if self._way else point[:0].cpu()
        return Found(
            self._latents(point, noise, 1),
            self.at_first,
            float(self.projection.best[nearest]),
            self._latents(way, None if noise is None else noise.expand(len(way), -1), len(way)),
        )

    def _points(self, point: Tensor) -> Tensor:
        return on_sphere(point) if self.options.space is Space.z else self.projection.ws(point)

    def _latents(self, points: Tensor, noise: Tensor | None, count: int) -> Latents:
        names = (self.name,) * count
        noise = None if noise is None else noise.detach().cpu()
        if self.options.space is not Space.z:
            return Latents(names, ws=points.cpu(), noise=noise)
        ws = None
        if isinstance(self.G, StyleBased):
            label = self.projection.label
            device = next(self.G.parameters()).device
            with torch.no_grad():
                c = None if label is None else label.to(device).expand(count, -1)
                ws = self.G.mapping(points.to(device), c).cpu()
        return Latents(names, z=points.cpu(), ws=ws, noise=noise)


def find_starts(
    G: Generator,
    target: Tensor,
    distance: Distance,
    options: SearchOptions,
    sampling: Sampling,
    centre: Tensor | None,
    nearest: Sequence[int] | None = None,
) -> Tensor:
    """Where a search begins: [K, 1, w_dim], [K, num_ws, w_dim] or [K, z_dim], by the space.

    Args:
        G: The network.
        target: float [1, C, H, W] in [-1, 1].
        distance: By which the nearest are found.
        options: How many, and in which space.
        sampling: Class, precision and batch.
        centre: The mean of w, [1, 1, w_dim]; None: in z.
        nearest: Seeds, the nearest first; None: they are found.
    """
    device = next(G.parameters()).device
    count = options.starts - (centre is not None)
    if nearest is None:
        away = distances_of(G, target, range(CANDIDATES if count > 0 else 0), distance, sampling)
        nearest = torch.tensor(away).argsort(stable=True).tolist()
    nearest = nearest[:count]
    if centre is None:
        return latents(nearest, G.z_dim).to(device)
    others = (
        [sample_ws(require_w(G, "", ""), nearest, Sampling(class_idx=sampling.class_idx))[:, :1]] if nearest else []
    )
    starts = torch.cat([centre.to(device), *others])
    if options.space is Space.w_plus:
        starts = starts.repeat(1, require_w(G, "", "").num_ws, 1)
    return starts


def distances_of(
    G: Generator, target: Tensor, seeds: Sequence[int], distance: Distance, sampling: Sampling
) -> list[float]:
    """Of the pictures of seeds from a target, float [1, C, H, W] in [-1, 1]."""
    plain = Sampling(class_idx=sampling.class_idx, precision=sampling.precision, batch=sampling.batch)
    with torch.no_grad():
        wanted = distance.features(target)
        pictures = (image[None].to(target.device).float() / 127.5 - 1 for image in sample(G, seeds, plain))
        return [float((distance.features(picture) - wanted).square().sum()) for picture in pictures]


def moved(
    before: Generator, after: Generator, distance: Distance, sampling: Sampling, count: int = 100
) -> tuple[float, float]:
    """How far the pictures of other seeds, from 0 on, have moved by tuning: the median of their distance, and of their PSNR."""
    device = next(before.parameters()).device
    plain = Sampling(class_idx=sampling.class_idx, precision=sampling.precision, batch=sampling.batch)
    away, decibels = [], []
    for old, new in zip(sample(before, range(count), plain), sample(after, range(count), plain), strict=True):
        a, b = (image[None].to(device).float() / 127.5 - 1 for image in (old, new))
        with torch.no_grad():
            away.append(float(distance.between(a, b)))
        decibels.append(float(psnr(old[None], new[None])))
    return float(torch.tensor(away).median()), float(torch.tensor(decibels).median())

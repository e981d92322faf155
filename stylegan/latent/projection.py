"""From a picture to the latent that shows it (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN",
appendix D; W+: Abdal et al. 2019, "Image2StyleGAN")."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.inference import class_label
from stylegan.latent.distance import Distance
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased
from stylegan.rng import normal

MEASURED = 10_000  # ws from which mean and deviation of w are found
CANDIDATES = 1000  # seeds among which starts are looked for
NOISE_WEIGHT = 1e5


class Space(StrEnum):
    """What is looked for: one w for all layers, a w for each, or z."""

    w = "w"
    w_plus = "w+"
    z = "z"


@dataclass(frozen=True)
class Schedule:
    """How learning rate and noise change over the steps.

    Attributes:
        steps: How many there are.
        lr: The highest learning rate; it rises over the first 5 % and falls, as a cosine, over the last 25 %.
        noise: What is added to w at first, as a part of its standard deviation; it falls to 0 over the first 75 %.
    """

    steps: int = 1000
    lr: float = 0.1
    noise: float = 0.05

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0 on."""
        t = step / self.steps
        down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / 0.25))
        return self.lr * down * min(1.0, t / 0.05)

    def scale(self, step: int) -> float:
        """The standard deviation of what is added to w, in that of w."""
        return self.noise * max(0.0, 1 - step / self.steps / 0.75) ** 2


@dataclass(frozen=True)
class Spread:
    """Where the ws of a network lie: their mean [w_dim], and the root mean square of the distance from it."""

    mean: Tensor
    deviation: float


def spread_of_w(G: StyleBased, class_idx: int | str | None = None, samples: int = MEASURED) -> Spread:
    """Mean and deviation of w, by the latents that the public projector draws."""
    device = next(G.parameters()).device
    z = torch.from_numpy(np.random.RandomState(123).randn(samples, G.z_dim)).float()
    label = class_label(G, class_idx)
    parts = []
    with torch.no_grad():
        for part in z.split(1000):
            c = None if label is None else label.expand(len(part), -1).to(device)
            parts.append(G.mapping(part.to(device), c)[:, 0])
    w = torch.cat(parts).double()
    mean = w.mean(dim=0)
    return Spread(mean.float(), float(((w - mean).square().sum() / samples).sqrt()))


def irregularity(maps: Sequence[Tensor]) -> Tensor:
    """How far noise maps [H, W] are from white noise: neighbours correlate, at all scales down to 8 pixels (equation 11)."""
    total = maps[0].new_zeros(())
    for noise in maps:
        x = noise[None, None]
        while True:
            for axis in (3, 2):
                total = total + (x * x.roll(1, dims=axis)).mean().square()
            if min(x.shape[2:]) <= 8:
                break
            x = F.avg_pool2d(x, 2)
    return total


def on_sphere(z: Tensor) -> Tensor:
    """z [N, z_dim] at the length sqrt(z_dim), near which normal latents of many numbers lie (Menon et al. 2020, "PULSE")."""
    return z * (z.shape[1] / z.square().sum(dim=1, keepdim=True)).sqrt()


class Projection:
    """One optimisation, from several starts at once, a step at a time. All that is random in a step follows from its number.

    Attributes:
        step: How many are done.
        best: Of each start, the smallest distance so far, [K].
    """

    def __init__(
        self,
        G: Generator,
        target: Tensor,
        distance: Distance,
        starts: Tensor,
        space: Space,
        schedule: Schedule,
        *,
        deviation: float,
        class_idx: int | str | None = None,
        noise: Tensor | None = None,
    ) -> None:
        """Args:
        G: In eval mode, its parameters without gradients.
        target: The picture, float [1, C, H, W] in [-1, 1].
        distance: By what pictures are compared.
        starts: [K, 1, w_dim], [K, num_ws, w_dim] or [K, z_dim], by the space.
        space: What is looked for.
        schedule: Of the steps.
        deviation: Of w, see `Spread`; of z sqrt(z_dim).
        class_idx: In z, the class.
        noise: The layer noise to begin with, [noise_size], which is looked for, too; None: the network's own is kept.
        """
        self.G, self.space, self.schedule, self.deviation = G, space, schedule, deviation
        self.distance, self.features = distance, distance.features(target).detach()
        self.label = class_label(G, class_idx) if space is Space.z else None
        self.held = starts.detach().clone()
        self.point = starts.detach().clone().requires_grad_(True)
        self.noise = None if noise is None else noise.repeat(len(starts), 1).requires_grad_(True)
        self.optimizer = torch.optim.Adam(
            [self.point, *([] if self.noise is None else [self.noise])], betas=(0.9, 0.999)
        )
        self.step = 0
        self.best = torch.full([len(starts)], math.inf, device=starts.device)
        self.best_point = starts.detach().clone()
        self.best_noise = None if self.noise is None else self.noise.detach().clone()

    def advance(self, drawn: Tensor | None = None) -> Tensor:
        """Do one step.

        Args:
            drawn: Standard normal, like the starts; None: follows from the step.

        Returns:
            The pictures before it, float [K, C, H, W].
        """
        if drawn is None:
            indices = range(self.step * len(self.point), (self.step + 1) * len(self.point))
            drawn = normal(0, "projection", indices, self.point.shape[1:], self.point.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        shown = self.point + drawn * (self.deviation * self.schedule.scale(self.step))
        images = self.images(shown, self.noise)
        distance = (self.features - self.distance.features(images)).square().sum(dim=1)
        loss = distance.sum()
        if self.noise is not None:
            loss = loss + NOISE_WEIGHT * sum(irregularity(self._maps(noise)) for noise in self.noise)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._keep(distance.detach(), shown.detach())
        self.optimizer.step()
        if self.noise is not None:
            with torch.no_grad():
                for noise in self.noise:
                    for part in self._maps(noise):
                        part.sub_(part.mean()).mul_(part.square().mean().rsqrt())
        self.step += 1
        return images.detach()

    def images(self, point: Tensor, noise: Tensor | None) -> Tensor:
        """Pictures of points of the space, float [N, C, H, W]."""
        layers: dict[str, Any] = {"noise_mode": "const"} if noise is None else {"noise_mode": "random", "noise": noise}
        if self.space is Space.z:
            c = None if self.label is None else self.label.to(point.device).expand(len(point), -1)
            return self.G(on_sphere(point), c, **layers)
        assert isinstance(self.G, StyleBased)
        return self.G.synthesis(self.ws(point), **layers)

    def ws(self, point: Tensor) -> Tensor:
        """The ws [N, num_ws, w_dim] of points. Those that place and turn the whole picture (StyleGAN3) stay at the start."""
        assert isinstance(self.G, StyleBased)
        held = len(self.G.synthesis.placing_ws)
        every = point.expand(-1, self.G.num_ws, -1)
        start = self.held.expand(-1, self.G.num_ws, -1)[:, :held]
        return torch.cat([start, every[:, held:]], dim=1)

    def found(self) -> tuple[int, Tensor, Tensor | None]:
        """The start that came nearest; its ws [1, num_ws, w_dim], or z [1, z_dim]; and its noise [1, noise_size]."""
        nearest = int(self.best.argmin())
        with torch.no_grad():
            points = on_sphere(self.best_point) if self.space is Space.z else self.ws(self.best_point)
        noise = None if self.best_noise is None else self.best_noise[nearest : nearest + 1]
        return nearest, points[nearest : nearest + 1], noise

    def state_dict(self) -> dict[str, Any]:
        """All that goes on."""
        return {
            "step": self.step,
            "optimizer": self.optimizer.state_dict(),
            **{name: getattr(self, name) for name in self._tensors},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another of the same arguments stopped."""
        self.step = state["step"]
        self.optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            for name in self._tensors:
                if (own := getattr(self, name)) is not None:
                    own.copy_(state[name])

    _tensors = ("point", "noise", "held", "best", "best_point", "best_noise")

    def _keep(self, distance: Tensor, shown: Tensor) -> None:
        better = distance < self.best
        self.best = torch.where(better, distance, self.best)
        self.best_point[better] = shown[better]
        if self.noise is not None and self.best_noise is not None:
            self.best_noise[better] = self.noise.detach()[better]

    def _maps(self, noise: Tensor) -> list[Tensor]:
        assert isinstance(self.G, StyleBased)
        shapes = self.G.synthesis.noise_shapes
        return [part.view(shape) for part, shape in zip(noise.split([h * w for h, w in shapes]), shapes, strict=True)]

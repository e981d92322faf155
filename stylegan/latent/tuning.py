"""Tuning the generator itself around a latent that was found (Roich et al. 2021, "Pivotal Tuning for Latent-based Editing of
Real Images")."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.latent.distance import Distance
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased
from stylegan.rng import normal


@dataclass(frozen=True)
class Locality:
    """The term that keeps pictures of other latents as they are (section 3.2 of the paper).

    Attributes:
        alpha: How far from the pivot these latents lie.
        samples: How many are drawn for each step.
        squares: Weight of the mean squared error.
        distance: Weight of the distance.
        interval: It counts in the first evaluation, and then in every so many-th.
    """

    alpha: float = 30.0
    samples: int = 1
    squares: float = 0.1
    distance: float = 0.1
    interval: int = 1


@dataclass(frozen=True)
class TuningOptions:
    """How it is tuned; the defaults are the published ones.

    Attributes:
        steps: At most.
        lr: Adam's.
        squares: Weight of the mean squared error.
        distance: Weight of the distance.
        threshold: It stops where the distance is not above; None: nothing stops it. It means LPIPS.
        locality: Of latents around; None: it does not count.
    """

    steps: int = 350
    lr: float = 3e-4
    squares: float = 1.0
    distance: float = 1.0
    threshold: float | None = 0.06
    locality: Locality | None = None


class Tuning:
    """One optimisation of a copy of a generator, an evaluation at a time.

    Attributes:
        G: The copy.
        step: How many evaluations are done.
        stopped: Whether the threshold was reached.
        squares, away, loss: What was evaluated last: mean squared error, distance, and the sum with its weights.
    """

    def __init__(
        self,
        G: Generator,
        targets: Tensor,
        points: Tensor,
        distance: Distance,
        options: TuningOptions,
        *,
        c: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> None:
        """Args:
        G: In eval mode; it stays as it is.
        targets: float [N, C, H, W] in [-1, 1].
        points: Where they were found: ws [N, num_ws, w_dim], or z [N, z_dim] for a network without w.
        distance: By what pictures are compared.
        options: See there.
        c: For z, labels [N, c_dim].
        noise: The layer noise that was found, too, [N, noise_size].
        """
        self.before, self.options, self.distance = G, options, distance
        self.G = copy.deepcopy(G)
        self.part: torch.nn.Module = self.G.synthesis if isinstance(self.G, StyleBased) else self.G
        self.part.requires_grad_(True)
        self.targets, self.features = targets, distance.features(targets).detach()
        self.points, self.c = points, c
        self.layers: dict[str, Any] = {"noise_mode": "const"}
        if noise is not None:
            self.layers = {"noise_mode": "random", "noise": noise}
        self.optimizer = torch.optim.Adam(self.part.parameters(), lr=options.lr)
        self.step, self.stopped = 0, False
        self.squares = self.away = self.loss = float("inf")

    def advance(self, z: Tensor | None = None) -> Tensor:
        """Evaluate, and unless that is good enough, change the weights.

        Args:
            z: For the locality, [samples, z_dim]; None: follows from the step.

        Returns:
            The pictures before it, float [N, C, H, W].
        """
        options = self.options
        images = self.images(self.G)
        squares = F.mse_loss(images, self.targets)
        distance = (self.distance.features(images) - self.features).square().sum(dim=1).mean()
        loss = options.squares * squares + options.distance * distance
        if options.locality is not None and self.step % options.locality.interval == 0:
            if z is None:
                indices = range(self.step * options.locality.samples, (self.step + 1) * options.locality.samples)
                z = normal(0, "locality", indices, [self.G.z_dim], self.points.device)
            loss = loss + locality_loss(self.G, self.before, self.points, z, options.locality, self.distance, self.c)
        self.squares, self.away, self.loss = (float(x.detach()) for x in (squares, distance, loss))
        self.stopped = options.threshold is not None and self.away <= options.threshold
        if not self.stopped:
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
        self.step += 1
        return images.detach()

    def images(self, G: Generator) -> Tensor:
        """The pictures of the points by a generator, float [N, C, H, W]."""
        if isinstance(G, StyleBased):
            return G.synthesis(self.points, **self.layers)
        return G(self.points, self.c, **self.layers)

    def finish(self) -> Generator:
        """The tuned generator, as one that is loaded: in eval mode, without gradients."""
        return self.G.eval().requires_grad_(False)

    def state_dict(self) -> dict[str, Any]:
        """All that goes on."""
        return {
            "step": self.step,
            "stopped": self.stopped,
            "weights": self.part.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another of the same arguments stopped."""
        self.step, self.stopped = state["step"], state["stopped"]
        self.part.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])


def locality_loss(
    G: Generator,
    before: Generator,
    pivots: Tensor,
    z: Tensor,
    options: Locality,
    distance: Distance,
    c: Tensor | None = None,
) -> Tensor:
    """How far the pictures of latents around the first pivot have moved.

    Args:
        G: The generator that is tuned.
        before: What it was.
        pivots: ws [N, num_ws, w_dim], or z [N, z_dim].
        z: Standard normal, [samples, z_dim]: in which directions.
        options: See there.
        distance: By what pictures are compared.
        c: Labels [N, c_dim].
    """
    around = around_pivot(before, pivots[:1], z, options.alpha, None if c is None else c[:1])
    label = None if c is None else c[:1].expand(len(around), -1)

    def images(network: Generator) -> Tensor:
        if isinstance(network, StyleBased):
            return network.synthesis(around, noise_mode="none")
        return network(around, label, noise_mode="none")

    with torch.no_grad():
        old = images(before)
    new = images(G)
    return options.squares * F.mse_loss(new, old) + options.distance * distance.between(new, old).mean()


@torch.no_grad()
def around_pivot(G: Generator, pivot: Tensor, z: Tensor, alpha: float, c: Tensor | None = None) -> Tensor:
    """Points at the distance alpha from a pivot, towards the ws (at psi 0.5) of z; without w, towards z."""
    if isinstance(G, StyleBased):
        label = None if c is None else c.expand(len(z), -1)
        z = G.mapping(z, label, truncation_psi=0.5)
    way = z - pivot
    return pivot + alpha * way / way.flatten(1).norm(dim=1).view(-1, *[1] * (way.ndim - 1))


def published_options(distance: Distance, **changes: Any) -> TuningOptions:
    """The published options, without the threshold where the distance is not LPIPS."""
    options = TuningOptions(**changes)
    return options if distance.is_lpips else replace(options, threshold=None)

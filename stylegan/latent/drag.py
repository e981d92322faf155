"""Moving points of a picture (Pan et al. 2023, "Drag Your GAN: Interactive Point-based Manipulation on the Generative Image
Manifold"): supervision of the motion, section 3.2, and tracking of the points, section 3.3, in the features of one layer."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan.errors import UserError, nearest
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased


@dataclass(frozen=True)
class DragOptions:
    """How points are moved. Lengths are in pixels of a picture of 512; they grow and shrink with the picture.

    Attributes:
        steps: At most.
        lr: Adam's, in standard deviations of w.
        radius: Of the patch around each point that is pulled.
        search: Half the side of the square in which a point is looked for again.
        keep: Weight of what lies outside of the mask.
        tolerance: Of the targets, in pixels of the picture itself.
    """

    steps: int = 300
    lr: float = 0.01
    radius: float = 24.0
    search: float = 16.0
    keep: float = 20.0
    tolerance: float = 1.0


class Drag:
    """One drag, a step at a time.

    Args:
        G: In eval mode, without gradients.
        point: Where it begins: ws [1, num_ws, w_dim], or z [1, z_dim] for a network without w.
        handles, targets: float [P, 2], x and y in pixels from the middle of the first.
        options: See there.
        deviation: Of w, per number: a step of the optimiser is measured in it.
        shared: Move all ws alike (W), rather than each by itself (W+). Those behind the layer, which say how things look and
            not where they are, stay.
        layer: Whose features are followed, by name; None: the last one of at most half the picture's resolution, or of the
            smallest that there is.
        c: For z, its label.
        noise: Layer noise [1, noise_size]; None: the network's own.
        mask: bool [H, W], what may move; None: everything.

    Attributes:
        points: Where the points are now, [P, 2].
        step: How many are done.

    Raises:
        UserError: There is no such layer, or no layer to follow.
    """

    def __init__(
        self,
        G: Generator,
        point: Tensor,
        handles: Tensor,
        targets: Tensor,
        options: DragOptions,
        *,
        deviation: float = 1.0,
        shared: bool = True,
        layer: str | None = None,
        c: Tensor | None = None,
        noise: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> None:
        self.G, self.options, self.c, self.mask = G, options, c, mask
        self.layers: dict[str, Any] = {"noise_mode": "const"}
        if noise is not None:
            self.layers = {"noise_mode": "random", "noise": noise}
        self.layer = layer_to_follow(G, point, c, layer)
        self.margin = margin_of(G, self.layer)
        self.points, self.targets = handles.clone().float(), targets.clone().float()
        self.start = point.detach().clone()
        self.moving = self._moving()
        moved = torch.zeros_like(self.start)
        self.offset = (moved[:, :1] if shared and moved.ndim == 3 else moved).clone().requires_grad_(True)
        self.step = 0
        features = self.features()
        self.optimizer = torch.optim.Adam([self.offset], lr=options.lr * deviation)
        self.first = features.detach()
        self.patch = self._patch(self._pixels(options.radius), round_=True, device=features.device)
        self.wanted = [self._at(self.first, place + self.patch) for place in self.points]

    @property
    def done(self) -> bool:
        """Whether all points are where they shall be."""
        return bool((self.distances <= self.options.tolerance).all())

    @property
    def distances(self) -> Tensor:
        """How far each point is from its target, in pixels, [P]."""
        return (self.targets - self.points).norm(dim=1)

    def advance(self) -> None:
        """Pull the points one step towards their targets, and look where they are."""
        features = self.features()
        way = self.targets - self.points
        length = way.norm(dim=1, keepdim=True)
        direction = way / length.clamp(min=1e-6) * length.clamp(max=1.0)
        loss = features.new_zeros(())
        for place, step in zip(self.points, direction, strict=True):
            around = place + self.patch
            pulled = self._at(features, around + step)
            loss = loss + (pulled - self._at(features, around).detach()).abs().mean()
        if self.mask is not None:
            outside = ~F.interpolate(
                self.mask[None, None].float(), size=self._inner(features).shape[2:], mode="area"
            ).bool()
            change = (self._inner(features) - self._inner(self.first)).abs()
            loss = loss + self.options.keep * (change * outside).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.step += 1
        self._track()

    def state_dict(self) -> dict[str, Any]:
        """All that goes on."""
        state = {"step": self.step, "offset": self.offset, "points": self.points}
        return {**state, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another of the same arguments stopped."""
        self.step = state["step"]
        self.optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            self.offset.copy_(state["offset"])
            self.points.copy_(state["points"])

    @torch.no_grad()
    def _track(self) -> None:
        features = self.features()
        square = self._patch(self._pixels(self.options.search), round_=False, device=features.device)
        height, width = self.G.resolution
        limit = torch.tensor([width - 1, height - 1], device=features.device)
        for i, wanted in enumerate(self.wanted):
            around = (self.points[i].round() + square).clamp(min=torch.zeros_like(limit), max=limit)
            patches = self._at(features, (around[:, None] + self.patch).flatten(0, 1)).view(len(around), *wanted.shape)
            away = (patches - wanted).abs().sum(dim=(1, 2))
            self.points[i] = around[int(away.argmin())]

    def features(self) -> Tensor:
        """Of the layer, for the point as it is now, float32 [1, C, h, w]."""
        return features_of(self.G, self.point, self.layer, self.c, self.layers)

    @property
    def point(self) -> Tensor:
        """Where the drag is now, as it began."""
        return self.start + self.moving * self.offset

    def _moving(self) -> Tensor:
        """1 for the ws before the layer, which say where things are, 0 for those behind, [1, num_ws, 1]; of z, 1."""
        if self.start.ndim == 2:
            return torch.ones_like(self.start[:, :1])
        point = self.start.clone().requires_grad_(True)
        features = features_of(self.G, point, self.layer, self.c, self.layers)
        (gradient,) = torch.autograd.grad(features.square().sum(), point)
        return (gradient.abs().sum(dim=2, keepdim=True) > 0).float()

    def _at(self, features: Tensor, places: Tensor) -> Tensor:
        """Features [K, C] at places [K, 2] of the picture, between the pixels bilinear."""
        height, width = self.G.resolution
        h, w = (side - 2 * self.margin for side in features.shape[2:])
        inner = (
            (places + 0.5)
            / torch.tensor([width, height], device=places.device)
            * torch.tensor([w, h], device=places.device)
        )
        whole = torch.tensor([features.shape[3], features.shape[2]], device=places.device)
        grid = (inner + self.margin) / whole * 2 - 1
        return F.grid_sample(features, grid[None, None].to(features), align_corners=False, padding_mode="border")[
            0, :, 0
        ].T

    def _inner(self, features: Tensor) -> Tensor:
        m = self.margin
        return features[:, :, m : features.shape[2] - m, m : features.shape[3] - m]

    def _pixels(self, length: float) -> int:
        return max(round(length / 512 * max(self.G.resolution)), 1)

    @staticmethod
    def _patch(radius: int, *, round_: bool, device: torch.device) -> Tensor:
        """Offsets [K, 2] of the pixels of a disc, or of a square."""
        line = torch.arange(-radius, radius + 1, device=device).float()
        grid = torch.cartesian_prod(line, line)
        return grid[grid.norm(dim=1) <= radius] if round_ else grid


def features_of(G: Generator, point: Tensor, layer: str, c: Tensor | None, layers: dict[str, Any]) -> Tensor:
    """What a layer gives while the picture of a point is made, float32 [1, C, h, w]."""
    seen: list[Tensor] = []

    def hook(module: nn.Module, arguments: Any, output: Any) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output)

    handle = G.get_submodule(layer).register_forward_hook(hook)
    try:
        if isinstance(G, StyleBased):
            G.synthesis(point, **layers)
        else:
            G(point, c, **layers)
    finally:
        handle.remove()
    return seen[0].float()


def layer_to_follow(G: Generator, point: Tensor, c: Tensor | None, name: str | None) -> str:
    """The module whose features are followed, by its name in G.

    Raises:
        UserError: There is none of that name, or none at all.
    """
    sizes: dict[str, tuple[int, ...]] = {}

    def watch(own: str) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            value = output[0] if isinstance(output, tuple) else output
            if isinstance(value, Tensor) and value.ndim == 4 and value.shape[1] > G.channels:
                sizes[own] = tuple(value.shape[2:])

        return hook

    handles = [module.register_forward_hook(watch(own)) for own, module in G.named_modules() if own]
    try:
        with torch.no_grad():
            if isinstance(G, StyleBased):
                G.synthesis(point, noise_mode="const")
            else:
                G(point, c)
    finally:
        for handle in handles:
            handle.remove()
    known = {own.removeprefix("synthesis."): own for own in sizes}
    if name is not None:
        if name not in known:
            raise UserError(f"figure.layer={name}: {nearest(name, known)}")
        return known[name]
    if not sizes:
        raise UserError(f"a {G.config.kind} network has no layer whose features could be followed")
    inner = {own: max(size) - 2 * margin_of(G, own) for own, size in sizes.items()}
    side = max(max(G.resolution) / 2, min(inner.values()))
    return [own for own, size in inner.items() if size <= side][-1]


def margin_of(G: Generator, layer: str) -> int:
    """How many values a layer computes beyond each edge of the picture (StyleGAN3), where it says so."""
    design = getattr(G.get_submodule(layer), "design", None)
    if design is None:
        return 0
    return (design.size[1] - design.sampling_rate[1]) // 2

"""The figure `blend`: one image of several latents, by weights and by layers."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from stylegan.errors import UserError
from stylegan.figures.base import Picture, Printed, Request
from stylegan.figures.pixels import to_pixels
from stylegan.figures.sheet import Sheet
from stylegan.inference import locate, render
from stylegan.interop.latents import Latents, join
from stylegan.latent.layer_names import style_layers, trained_without_mixing
from stylegan.memory import check_images
from stylegan.models.base import Generator
from stylegan.values import FINITE


@dataclass
class Blend(Printed):
    """Seeds and latent files as one: a weighted mean of their ws, or some layers from each.

    `figure.weights=2,1` blends two seeds by two thirds and a third. `figure.layers="coarse;fine"` (a choice for each seed, with
    semicolons between) takes those layers from each; layers that several name are blended, those that none names come from
    the first. A network without w blends z, on the sphere where its latents lie.

    Example:
        >>> Blend(weights=[2, 1]).draw(stylegan.load_generator("demo"), Request([1, 2])).image
    """

    keeps: ClassVar = True
    weights: list[float] = field(
        default_factory=list, metadata={"help": "of each seed; their sum becomes 1; none: all alike", "range": FINITE}
    )
    layers: str | None = field(
        default=None, metadata={"help": "layers from each seed, such as 'coarse;middle,fine'; null: all from all"}
    )

    def draw(self, G: Generator, request: Request) -> Picture:
        """See `Figure`. Weights must be as many as seeds and not add up to 0; layers must be those of the network."""
        count = len(request.items)
        weights = self.weights or [1.0] * count
        if len(weights) != count:
            raise UserError(
                f"figure.weights={_text(weights)}: there are {count} seeds and latents; give a weight for each"
            )
        if abs(sum(weights)) < 1e-6 * max(map(abs, weights), default=1) or not any(weights):
            raise UserError(f"figure.weights={_text(weights)}: they add up to 0, and nothing can be blended by them")
        chosen = None if self.layers is None else self._layers(G, count)
        check_images(count + 1, G.channels, G.resolution, "number of seeds")
        sources = locate(G, request.seeds, request.sampling)
        share = torch.tensor(weights, dtype=torch.float64) / sum(weights)
        if sources.ws is not None:
            result = Latents(("blend",), ws=blend_ws(sources.ws, share, chosen)[None])
        else:
            assert sources.z is not None
            result = Latents(("blend",), blend_z(sources.z, share)[None])
        everything = join([sources, result])
        images = list(map(to_pixels, render(G, everything, request.sampling, progress=request.progress)))
        parts = [""] * count if self.layers is None else [f": {part.strip()}" for part in self.layers.split(";")]
        columns = [
            f"{name} x {w:.3g}{part}" for name, w, part in zip(sources.names, share.tolist(), parts, strict=True)
        ]
        caption = trained_without_mixing(G) if chosen is not None else ""
        sheet = Sheet([images], [*columns, "blend"], caption=caption)
        return self.sheet(sheet, {"weights": share.tolist()}, result)

    def _layers(self, G: Generator, count: int) -> list[list[int]]:
        parts = (self.layers or "").split(";")
        if len(parts) != count:
            raise UserError(
                f"figure.layers={self.layers}: there are {count} seeds and latents; give layers for each, with ; between"
            )
        return [style_layers(G, part.strip()) for part in parts]


def blend_ws(ws: Tensor, weights: Tensor, layers: list[list[int]] | None = None) -> Tensor:
    """One of several ws [N, num_ws, w_dim], by weights [N]; with `layers`, a layer is from those that name it, or the first."""
    share = weights[:, None].repeat(1, ws.shape[1])
    if layers is not None:
        named = torch.zeros_like(share)
        for i, own in enumerate(layers):
            named[i, own] = 1
        named[0, named.sum(dim=0) == 0] = 1
        share = share * named
        share = share / share.sum(dim=0)
    return (share[:, :, None].to(ws.device) * ws.double()).sum(dim=0).to(ws.dtype)


def blend_z(z: Tensor, weights: Tensor) -> Tensor:
    """One of several z [N, z_dim], by weights [N], as far from the origin as they are on average.

    A plain mean of normal vectors is shorter than they are, where a network has never seen any.
    """
    mean = (weights[:, None].to(z.device) * z.double()).sum(dim=0)
    length = (weights.to(z.device) * z.double().norm(dim=1)).sum()
    return (mean * length / mean.norm().clamp(min=math.ulp(1.0))).to(z.dtype)


def _text(numbers: list[float]) -> str:
    return ",".join(f"{number:g}" for number in numbers)

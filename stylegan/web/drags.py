"""Points of a face that are dragged: steps of DragGAN between the passes of others, and the faces that came out."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch

from stylegan.errors import UserError
from stylegan.interop.latents import Latents
from stylegan.latent.drag import Drag, DragOptions
from stylegan.latent.projection import spread_of_w
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased
from stylegan.web.engine import BusyError, Engine
from stylegan.web.faces import Recipe

OPTIONS = DragOptions(steps=150)
SECONDS = 60.0  # of a drag, with the wait for the one before
_KEPT = 64  # faces
_QUEUE = 8  # that wait or are dragged
T = TypeVar("T")


class Drags:
    """One drag at a time; a recipe that was dragged is known again.

    Args:
        engine: Computes the steps.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine, self._waiting = engine, 0
        self._kept: OrderedDict[str, Latents] = OrderedDict()
        self._deviation: float | None = None
        self._one = asyncio.Lock()

    async def point(self, recipe: Recipe, start: Latents, G: Generator) -> Latents:
        """The latent of a face after its drags.

        Args:
            recipe: Of the face.
            start: Its latent before them.
            G: What shows it.

        Raises:
            UserError: The network has no w, or there is nothing in it to follow.
            BusyError: As many wait as may.
            TimeoutError: It took too long.
        """
        key = recipe.model_copy(update={"x": 0.0, "y": 0.0, "rotate": 0.0}).model_dump_json()
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if self._waiting >= _QUEUE:
            raise BusyError
        self._waiting += 1
        try:
            async with asyncio.timeout(SECONDS), self._one:
                if key not in self._kept:
                    self._kept[key] = await self._dragged(recipe, start, G)
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
                return self._kept[key]
        finally:
            self._waiting -= 1

    async def _dragged(self, recipe: Recipe, start: Latents, G: Generator) -> Latents:
        if not isinstance(G, StyleBased) or start.ws is None:
            raise UserError("drags: points are dragged in w, which this network does not have")
        ws = start.ws
        device = next(G.parameters()).device
        if self._deviation is None:
            self._deviation = await self._call(partial(_deviation, G))
        sides = torch.tensor([G.resolution[1] - 1, G.resolution[0] - 1])
        handles = torch.tensor([[move.x, move.y] for move in recipe.drags]) * sides
        targets = torch.tensor([[move.to_x, move.to_y] for move in recipe.drags]) * sides

        def begin(deviation: float) -> Drag:
            noise = None if start.noise is None else start.noise.to(device)
            return Drag(G, ws.to(device), handles, targets, OPTIONS, deviation=deviation, noise=noise)

        drag = await self._call(partial(begin, self._deviation))
        while drag.step < OPTIONS.steps and not drag.done:
            await self._call(drag.advance)
        return replace(start, ws=drag.point.detach().cpu())

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self.engine.call(work))


def _deviation(G: StyleBased) -> float:
    """Of w, per number."""
    return spread_of_w(G).deviation / G.w_dim**0.5

"""Photographs that somebody sends, found in the network: decoded elsewhere, one at a time, between the passes of others.

Nothing is kept on disk, and in memory only latents: the pixels go when the search ends.
"""

import asyncio
import secrets
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from stylegan.errors import UserError
from stylegan.inference import Sampling
from stylegan.interop.latents import Latents
from stylegan.latent.distance import Measure, choose_distance
from stylegan.latent.projection import Schedule, Space
from stylegan.latent.search import Search, SearchOptions
from stylegan.models.base import Generator
from stylegan.models.discriminator import Discriminator
from stylegan.models.generator import StyleBased
from stylegan.web import decoding
from stylegan.web.engine import BusyError, Engine

LARGEST = 10 << 20  # bytes of a file
QUEUE = 4  # that wait or are searched
KEPT = 32  # whose latents are remembered
MINUTES = 60  # for which they are
STEPS = 300
T = TypeVar("T")
State = Literal["waiting", "searching", "done", "failed", "cancelled"]


@dataclass
class Upload:
    """One photograph's way.

    Attributes:
        state: Where it is.
        step: Of `STEPS`.
        point: Its latent, when it is done.
        problem: Why it failed.
        until: When it is forgotten, by the monotonic clock.
        task: What works on it.
    """

    state: State = "waiting"
    step: int = 0
    point: Latents | None = None
    problem: str = ""
    until: float = field(default_factory=lambda: time.monotonic() + 60 * MINUTES)
    task: "asyncio.Task[None] | None" = None


async def decoded(content: bytes, resolution: tuple[int, int]) -> Tensor:
    """The middle of a picture, uint8 [3, H, W]; raises `UserError` for what is none."""
    height, width = resolution
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", str(Path(decoding.__file__)), str(width), str(height)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(content), 2 * decoding.SECONDS)
    except (TimeoutError, asyncio.CancelledError):
        process.kill()
        await process.wait()
        raise
    if process.returncode == 3:
        raise UserError(err.decode(errors="replace")[:200])
    if process.returncode or len(out) != 3 * width * height:
        raise UserError("this picture could not be decoded within the limits")
    return torch.frombuffer(bytearray(out), dtype=torch.uint8).reshape(height, width, 3).permute(2, 0, 1).contiguous()


class Uploads:
    """The photographs of a server.

    Args:
        G: The network.
        D: Its discriminator, by whose features pictures are compared; None: by pixels.
        engine: Computes the steps.
        batch: Of the candidates to begin from.
    """

    def __init__(self, G: Generator, D: Discriminator | None, engine: Engine, batch: int) -> None:
        self.G, self.engine, self.batch = G, engine, batch
        device = next(G.parameters()).device
        resolution = (G.resolution[0], G.resolution[1])
        self.distance = choose_distance(Measure.auto, D, resolution, device)
        self._known: OrderedDict[str, Upload] = OrderedDict()
        self._one = asyncio.Lock()

    def add(self, content: bytes, class_idx: int | None) -> str:
        """A name for a photograph that is looked for from now on; raises `BusyError` where too many are."""
        self._forget()
        if sum(upload.state in ("waiting", "searching") for upload in self._known.values()) >= QUEUE:
            raise BusyError
        name, upload = secrets.token_hex(16), Upload()
        self._known[name] = upload
        upload.task = asyncio.get_running_loop().create_task(self._find(upload, content, class_idx))
        return name

    def told(self, name: str) -> dict[str, Any]:
        """Where it is; raises `UserError` where it is not known."""
        upload = self._upload(name)
        before = [u for u in self._known.values() if u.state in ("waiting", "searching")]
        ahead = next((i for i, other in enumerate(before) if other is upload), 0)
        told = {"state": upload.state, "step": upload.step, "steps": STEPS, "ahead": ahead}
        return told | ({"problem": upload.problem} if upload.problem else {})

    def cancel(self, name: str) -> None:
        """Stop it and forget it."""
        upload = self._upload(name)
        if upload.task is not None:
            upload.task.cancel()
        del self._known[name]

    def point(self, name: str) -> Latents:
        """Its latent; raises `UserError` where it is not there."""
        point = self._upload(name).point
        if point is None:
            raise UserError(f"upload={name}: it is not found yet")
        return point

    def close(self) -> None:
        """Stop all."""
        for name in list(self._known):
            self.cancel(name)

    def _upload(self, name: str) -> Upload:
        self._forget()
        if name not in self._known:
            raise UserError(f"upload={name}: there is no such photograph; it may have been forgotten, send it again")
        return self._known[name]

    def _forget(self) -> None:
        now = time.monotonic()
        over = [name for name, upload in self._known.items() if upload.until < now]
        finished = [name for name, upload in self._known.items() if upload.state not in ("waiting", "searching")]
        for name in {*over, *finished[: max(len(finished) - KEPT, 0)]}:
            self.cancel(name)

    async def _find(self, upload: Upload, content: bytes, class_idx: int | None) -> None:
        try:
            async with self._one:
                upload.state = "searching"
                resolution = (self.G.resolution[0], self.G.resolution[1])
                target = await decoded(content, resolution)
                del content
                upload.point = await self._searched(upload, target, class_idx)
            upload.state = "done"
        except (UserError, TimeoutError) as error:
            upload.state, upload.problem = "failed", str(error) or "it took too long"
        except asyncio.CancelledError:
            upload.state = "cancelled"
            raise

    async def _searched(self, upload: Upload, target: Tensor, class_idx: int | None) -> Latents:
        if self.G.channels == 1:
            target = target.float().mean(dim=0, keepdim=True).round().to(torch.uint8)
        space = Space.w if isinstance(self.G, StyleBased) else Space.z
        options = SearchOptions(space=space, schedule=Schedule(steps=STEPS), frames=1)
        sampling = Sampling(class_idx=class_idx, batch=self.batch)
        search = await self._call(lambda: Search(self.G, target, self.distance, options, sampling, "photograph"))
        while search.step < STEPS:
            await self._call(search.advance)
            upload.step = search.step
        return (await self._call(search.found)).latents

    async def _call(self, work: Callable[[], T]) -> T:
        while True:
            try:
                return await asyncio.wrap_future(self.engine.call(work))
            except BusyError:  # others come first
                await asyncio.sleep(0.1)

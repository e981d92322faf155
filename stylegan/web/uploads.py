"""Photographs that somebody sends, found in the network: decoded elsewhere, one at a time, between the passes of others.

Nothing is kept on disk, and in memory only latents, and networks that were tuned: the pixels go when the search ends.
"""

import asyncio
import secrets
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from stylegan.errors import UserError
from stylegan.inference import Sampling, class_label
from stylegan.latent.distance import Measure, choose_distance
from stylegan.latent.projection import CANDIDATES, Schedule, Space
from stylegan.latent.search import Search, SearchOptions, distances_of
from stylegan.latent.tuning import Tuning, published_options
from stylegan.models.base import Generator
from stylegan.models.discriminator import Discriminator
from stylegan.models.generator import StyleBased
from stylegan.web import decoding
from stylegan.web.engine import BusyError, Engine
from stylegan.web.faces import Photograph

LARGEST = 10 << 20  # bytes of a file
QUEUE = 4  # that wait or are searched
KEPT = 32  # whose latents are remembered
TUNED = 2  # of them, with networks that were tuned
MINUTES = 60  # for which they are
STEPS = 300
TUNING_STEPS = 200
T = TypeVar("T")
State = Literal["waiting", "searching", "done", "failed", "cancelled"]


@dataclass
class Upload:
    """One photograph's way.

    Attributes:
        state: Where it is.
        step, steps: How many of how many are done.
        found: What came of it, when it is done.
        problem: Why it failed.
        until: When it is forgotten, by the monotonic clock.
        task: What works on it.
    """

    state: State = "waiting"
    step: int = 0
    steps: int = STEPS
    found: Photograph | None = None
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
    """

    def __init__(self, G: Generator, D: Discriminator | None, engine: Engine) -> None:
        self.G, self.engine = G, engine
        device = next(G.parameters()).device
        resolution = (G.resolution[0], G.resolution[1])
        self.distance = choose_distance(Measure.auto, D, resolution, device)
        self._known: OrderedDict[str, Upload] = OrderedDict()
        self._one = asyncio.Lock()

    def add(self, content: bytes, class_idx: int | None, tune: bool = False) -> str:
        """A name for a photograph that is looked for from now on.

        Args:
            content: Its file.
            class_idx: Of a conditional network.
            tune: Tune a copy of the network to it.

        Raises:
            UserError: The network has no such class.
            BusyError: As many are looked for as may.
        """
        self._forget()
        class_label(self.G, class_idx)
        if sum(upload.state in ("waiting", "searching") for upload in self._known.values()) >= QUEUE:
            raise BusyError
        name, upload = secrets.token_hex(16), Upload(steps=STEPS + TUNING_STEPS * tune)
        self._known[name] = upload
        upload.task = asyncio.get_running_loop().create_task(self._find(upload, content, class_idx, tune))
        return name

    def told(self, name: str) -> dict[str, Any]:
        """Where it is; raises `UserError` where it is not known."""
        upload = self._upload(name)
        before = [u for u in self._known.values() if u.state in ("waiting", "searching")]
        ahead = next((i for i, other in enumerate(before) if other is upload), 0)
        told = {"state": upload.state, "step": upload.step, "steps": upload.steps, "ahead": ahead}
        return told | ({"problem": upload.problem} if upload.problem else {})

    def cancel(self, name: str) -> None:
        """Stop it and forget it."""
        self._upload(name)
        self._drop(name)

    def found(self, name: str) -> Photograph:
        """What came of it; raises `UserError` where that is not there."""
        found = self._upload(name).found
        if found is None:
            raise UserError(f"upload={name}: it is not found yet")
        return found

    async def close(self) -> None:
        """Stop all, child processes, too."""
        tasks = [upload.task for upload in self._known.values() if upload.task is not None]
        for name in list(self._known):
            self._drop(name)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _upload(self, name: str) -> Upload:
        self._forget()
        if name not in self._known:
            raise UserError(f"upload={name}: there is no such photograph; it may have been forgotten, send it again")
        return self._known[name]

    def _forget(self) -> None:
        now = time.monotonic()
        over = [name for name, upload in self._known.items() if upload.until < now]
        finished = [name for name, upload in self._known.items() if upload.state not in ("waiting", "searching")]
        tuned = [name for name in finished if (found := self._known[name].found) is not None and found.G is not None]
        for name in {*over, *finished[: max(len(finished) - KEPT, 0)], *tuned[: max(len(tuned) - TUNED, 0)]}:
            self._drop(name)

    def _drop(self, name: str) -> None:
        upload = self._known.pop(name)
        if upload.task is not None:
            upload.task.cancel()

    async def _find(self, upload: Upload, content: bytes, class_idx: int | None, tune: bool) -> None:
        try:
            async with self._one:
                upload.state = "searching"
                resolution = (self.G.resolution[0], self.G.resolution[1])
                target = await decoded(content, resolution)
                del content
                if self.G.channels == 1:
                    target = target.float().mean(dim=0, keepdim=True).round().to(torch.uint8)
                found = await self._searched(upload, target, class_idx)
                upload.found = await self._tuned(upload, target, found, class_idx) if tune else found
            upload.state = "done"
        except (UserError, TimeoutError) as error:
            upload.state, upload.problem = "failed", str(error) or "it took too long"
        except asyncio.CancelledError:
            upload.state = "cancelled"
            raise

    async def _searched(self, upload: Upload, target: Tensor, class_idx: int | None) -> Photograph:
        style_based = isinstance(self.G, StyleBased)
        options = SearchOptions(Space.w if style_based else Space.z, Schedule(steps=STEPS), frames=1)
        sampling = Sampling(class_idx=class_idx, batch=self.engine.batch)
        nearest = [] if style_based else [await self._nearest(target, sampling)]
        search = await self._call(
            lambda: Search(self.G, target, self.distance, options, sampling, "photograph", nearest=nearest)
        )
        while search.step < STEPS:
            await self._call(search.advance)
            upload.step = search.step
        return Photograph((await self._call(search.found)).latents)

    async def _nearest(self, target: Tensor, sampling: Sampling) -> int:
        """The seed to begin from where there is no mean of w: a pass at a time, as the pictures of others."""
        picture, away = self._input(target), []
        for start in range(0, CANDIDATES, sampling.batch):
            seeds = range(start, min(start + sampling.batch, CANDIDATES))
            away += await self._call(partial(distances_of, self.G, picture, seeds, self.distance, sampling))
        return int(torch.tensor(away).argmin())

    async def _tuned(self, upload: Upload, target: Tensor, found: Photograph, class_idx: int | None) -> Photograph:
        point = found.point.ws if isinstance(self.G, StyleBased) else found.point.z
        assert point is not None
        picture, label = self._input(target), class_label(self.G, class_idx)
        c = None if label is None else label.expand(1, -1).to(picture.device)
        options = published_options(self.distance, steps=TUNING_STEPS)
        tuning = await self._call(
            lambda: Tuning(self.G, picture, point.to(picture.device), self.distance, options, c=c)
        )
        while tuning.step < TUNING_STEPS and not tuning.stopped:
            await self._call(tuning.advance)
            upload.step = STEPS + tuning.step
        return replace(found, G=await self._call(tuning.finish))

    def _input(self, target: Tensor) -> Tensor:
        return target[None].to(next(self.G.parameters()).device).float() / 127.5 - 1

    async def _call(self, work: Callable[[], T]) -> T:
        while True:
            try:
                return await asyncio.wrap_future(self.engine.call(work))
            except BusyError:  # others come first
                await asyncio.sleep(0.1)

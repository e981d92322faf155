"""The one thread in which the network computes: requests of the same kind share a forward pass.

A picture's bits do not depend on who asks at the same time: a pass has the full size, filled up with copies, or a smaller one
of which the engine saw, when it began, that it gives the same bits.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from stylegan.inference import Sampling, class_label, locate, paint, render
from stylegan.interop.latents import Latents, join
from stylegan.metrics.attribute_network import AttributeNetwork
from stylegan.models.base import Generator

T = TypeVar("T")


class BusyError(Exception):
    """As many are waiting as may."""


@dataclass(frozen=True)
class Made:
    """What a pass gives for a job.

    Attributes:
        image: uint8 [C, H, W].
        attributes: What was read from it, [20]; None: nothing reads.
    """

    image: Tensor
    attributes: Tensor | None


@dataclass(frozen=True)
class Job:
    """A picture that is asked for.

    Attributes:
        point: One latent, on the CPU.
        sampling: How it is shown; jobs with the same share a forward pass. Its batch does not count.
        G: What shows it.
        future: Gets what is made.
    """

    point: Latents
    sampling: Sampling
    G: Generator
    future: "Future[Made]"

    @property
    def kind(self) -> Hashable:
        """What jobs of one pass have in common."""
        return self.G, self.sampling, self.point.ws is None, self.point.noise is None


@dataclass(frozen=True, eq=False)
class Task:
    """Something else that the network computes, in a pass of its own.

    Attributes:
        work: Does it.
        future: Gets what it gives.
    """

    work: Callable[[], Any]
    future: "Future[Any]"

    @property
    def kind(self) -> Hashable:
        """Like no other's."""
        return self


class Engine:
    """Makes pictures of latents; thread-safe.

    Args:
        G: The network, in eval mode.
        batch: Pictures of a pass.
        deadline: Seconds that the first of a pass waits for others, where there are others: somebody alone waits for nobody.
        queue: How many may wait.
        reader: Reads attributes of the pictures of a pass, in this thread, too: two that compute would wait for each other's
            cores.
    """

    def __init__(
        self,
        G: Generator,
        *,
        batch: int,
        deadline: float = 0.004,
        queue: int = 256,
        reader: AttributeNetwork | None = None,
    ) -> None:
        self.reader = reader
        self.G, self.batch, self.deadline, self.longest = G, batch, deadline, queue
        self.passes = self.made = 0
        self._waiting: deque[Job | Task] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.sizes, self._together = equal_sizes(G, batch), 1
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether pictures can be made."""
        return self._thread.is_alive() and not self._closed

    def submit(self, point: Latents, sampling: Sampling, G: Generator | None = None) -> "Future[Made]":
        """Ask for a picture, also by a tuned copy of the network; raises `BusyError` where too many wait."""
        future: Future[Made] = Future()
        self._append(Job(point, sampling, G or self.G, future))
        return future

    def call(self, work: Callable[[], T]) -> "Future[T]":
        """Let something short be computed between passes; raises `BusyError` where too many wait."""
        future: Future[T] = Future()
        self._append(Task(work, future))
        return future

    def close(self) -> None:
        """Finish what waits, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _append(self, job: Job | Task) -> None:
        with self._changed:
            if self._closed or len(self._waiting) >= self.longest:
                raise BusyError
            self._waiting.append(job)
            self._changed.notify()

    def _work(self) -> None:
        while jobs := self._next():
            jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if not jobs:
                continue
            try:
                results = self._results(jobs)
            except Exception as error:  # whoever asked is told; the others' pictures still can be made
                for job in jobs:
                    job.future.set_exception(error)
                continue
            self.passes, self.made = self.passes + 1, self.made + len(jobs)
            for job, result in zip(jobs, results, strict=True):
                job.future.set_result(result)

    def _results(self, jobs: list[Job | Task]) -> list[Any]:
        pictures = [job for job in jobs if isinstance(job, Job)]
        return self._make(pictures) if pictures else [job.work() for job in jobs if isinstance(job, Task)]

    def _make(self, jobs: list[Job]) -> list[Made]:
        size = next(size for size in self.sizes if size >= len(jobs))
        images = list(render(jobs[0].G, join([job.point for job in jobs]), replace(jobs[0].sampling, batch=size)))
        if self.reader is None:
            return [Made(image, None) for image in images]
        device = next(self.reader.parameters()).device
        read = self.reader.read(torch.stack(images + images[-1:] * (size - len(images))).to(device)).cpu()
        return [Made(image, row) for image, row in zip(images, read[: len(images)], strict=True)]

    def _next(self) -> list[Job | Task]:
        """The jobs of the next pass: the oldest, and those of its kind that come in time; none: it is closed."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            until = time.monotonic() + self.deadline
            while not self._closed and self._could_share() and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            if not self._waiting:
                return []
            kind = self._waiting[0].kind
            chosen = [job for job in self._waiting if job.kind == kind][: self.batch]
            for job in chosen:
                self._waiting.remove(job)
            self._together = len(chosen)
            return chosen

    def _could_share(self) -> bool:
        others = len(self._waiting) > 1 or self._together > 1
        return others and len(self._waiting) < self.batch and isinstance(self._waiting[0], Job)


@torch.inference_mode()
def equal_sizes(G: Generator, batch: int) -> list[int]:
    """Sizes of passes, rising: halves, quarters ... of the full one that give its bits, and itself.

    Which kernel computes depends on the shapes alone, not on the numbers, so that a pass of other latents tells.
    """
    sampling = Sampling(class_idx=0 if G.c_dim else None, batch=batch)
    points, label = locate(G, range(batch), sampling), class_label(G, sampling.class_idx)
    full, sizes, size = paint(G, points, label, sampling), [batch], batch // 2
    while size:
        parts = [paint(G, points[start : start + size], label, sampling) for start in range(0, batch, size)]
        if torch.equal(torch.cat(parts), full):  # floats: as pixels, other bits would round to the same
            sizes.insert(0, size)
        size //= 2
    return sizes

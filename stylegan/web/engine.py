"""The one thread in which the network computes: requests of the same kind share a forward pass.

Every pass has the same size, filled up with copies: a picture's bits do not depend on who asks at the same time.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from stylegan.inference import Sampling, render
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
        sampling: How it is shown; jobs with the same share a forward pass.
        future: Gets what is made.
    """

    point: Latents
    sampling: Sampling
    future: "Future[Made]"

    @property
    def kind(self) -> Hashable:
        """What jobs of one pass have in common."""
        return self.sampling, self.point.ws is None, self.point.noise is None


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
        deadline: Seconds that the first of a pass waits for others.
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
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether pictures can be made."""
        return self._thread.is_alive() and not self._closed

    def submit(self, point: Latents, sampling: Sampling) -> "Future[Made]":
        """Ask for a picture; raises `BusyError` where too many wait."""
        future: Future[Made] = Future()
        self._append(Job(point, sampling, future))
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
        images = list(render(self.G, join([job.point for job in jobs]), jobs[0].sampling))
        if self.reader is None:
            return [Made(image, None) for image in images]
        device = next(self.reader.parameters()).device
        read = self.reader.read(torch.stack(images + images[-1:] * (self.batch - len(images))).to(device)).cpu()
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
            return chosen

    def _could_share(self) -> bool:
        return len(self._waiting) < self.batch and isinstance(self._waiting[0], Job)

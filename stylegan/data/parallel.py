"""Doing one thing to many items: in threads, in order, with a progress bar."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from stylegan.errors import UserError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def thread_count(workers: int) -> int:
    """How many threads `workers` stands for: 0 is one per core. Raises `UserError` where it is negative."""
    if workers < 0:
        raise UserError(f"workers={workers} must be 0 (one per core) or more")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return workers or cores


def in_parallel(function: Callable[[_Item], _Result], items: Iterable[_Item], workers: int) -> Generator[_Result]:
    """`map` over threads: results in order, with few of them waiting in memory. Closing it drops what has not begun.

    Threads are enough for images: PIL decodes, scales and encodes without holding the interpreter's lock.
    """
    threads = thread_count(workers)
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[_Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 8 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class Turns:
    """Threads that need much memory wait for one another.

    Args:
        total: What there is for all together, in any unit.
    """

    def __init__(self, total: int) -> None:
        self._total = self._left = total
        self._changed = Condition()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Wait until so much is left, or all where it is more than that, and take it for the body."""
        amount = min(amount, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= amount)
            self._left -= amount
        try:
            yield
        finally:
            with self._changed:
                self._left += amount
                self._changed.notify_all()


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.0f}/s")


@contextmanager
def progress(title: str, total: int) -> Iterator[tuple[Console, Callable[[], None]]]:
    """A bar on stderr with count, rate and time left. Yields the console to print on, and what to call after each item."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total)
        yield console, lambda: bar.advance(task)

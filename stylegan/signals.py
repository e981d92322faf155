"""Ending a long computation from outside: the first SIGINT, SIGTERM or SIGHUP is a request, the second one kills as usual."""

import signal
from threading import current_thread, main_thread
from types import FrameType, TracebackType
from typing import Any, Self


class StopRequest:
    """Notes the first signal to end instead of dying of it; outside of the main thread, where Python knows none, nothing.

    SIGHUP says that the terminal is gone, or that a scheduler takes the machine back; under `nohup` it stays without effect.

    Call it: whether one came.
    """

    def __init__(self) -> None:
        self._requested = False
        self._handlers: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        return self._requested

    def __enter__(self) -> Self:
        for number in _signals() if current_thread() is main_thread() else ():
            self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._requested = True
        self._restore()

    def _restore(self) -> None:
        while self._handlers:
            number, handler = self._handlers.popitem()
            signal.signal(number, handler)


def _signals() -> list[signal.Signals]:
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # POSIX has it
        numbers.append(signal.SIGHUP)
    return numbers

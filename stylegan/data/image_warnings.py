"""What Pillow warns of while it decodes an image, kept with that image instead of printed."""

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

Collect = Callable[[], AbstractContextManager[list[str]]]


@contextmanager
def kept_warnings() -> Iterator[Collect]:
    """To be entered in the main thread, around work in several ones: Python's filters of warnings are one for all threads.

    Yields:
        What a thread enters around an image: a context manager that yields a list, to which the warnings of that thread
        are added meanwhile, as Python warnings or as records of Pillow's logger. All others are shown as ever.
    """
    local = threading.local()

    @contextmanager
    def collect() -> Iterator[list[str]]:
        local.texts = []
        try:
            yield local.texts
        finally:
            local.texts = None

    handler = _Handler(local)
    logger = logging.getLogger("PIL")
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_or_keep(message: Warning | str, *arguments: Any, **options: Any) -> None:
            texts = getattr(local, "texts", None)
            if texts is None:
                show(message, *arguments, **options)
            else:
                texts.append(str(message))

        warnings.filterwarnings("always", module=r"PIL\.")  # again for each image; by default each is shown once
        warnings.showwarning = show_or_keep
        logger.addHandler(handler)
        try:
            yield collect
        finally:
            logger.removeHandler(handler)


class _Handler(logging.Handler):
    """Where a logger has a handler, its records no longer go to stderr by default."""

    def __init__(self, local: threading.local) -> None:
        super().__init__(logging.WARNING)
        self._local = local

    def emit(self, record: logging.LogRecord) -> None:
        texts = getattr(self._local, "texts", None)
        if texts is not None:
            texts.append(record.getMessage())

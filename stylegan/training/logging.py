"""What a person sees of a run: a progress bar, log.txt, stats.jsonl, TensorBoard, pictures. It only watches; nothing in the
training depends on what is written here."""

import contextlib
import json
import secrets
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite, isnan
from pathlib import Path
from time import strftime
from types import TracebackType
from typing import Protocol, Self

import torch
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from stylegan import run_dir as layout
from stylegan.errors import say, shown
from stylegan.files import open_below
from stylegan.ops.memory import peak_host_gib
from stylegan.schedule import Moment
from stylegan.values import KIMG, check_values


@dataclass
class LoggingConfig:
    """How often and where a run reports."""

    interval_kimg: float = field(
        default=1.0, metadata={"help": "kimg from one line in log.txt and stats.jsonl to the next", "range": KIMG}
    )
    tensorboard: bool = field(default=True, metadata={"help": "write event files for TensorBoard"})

    def __post_init__(self) -> None:
        check_values(self, "logging")


class Logger(Protocol):
    """What the loop tells a logger."""

    @property
    def unreported(self) -> Counter[str]:
        """Values of gradients that were not finite, by network and parameter, since the last record; whoever goes on with an
        interval puts those of its beginning here."""
        ...

    def message(self, text: str) -> None:
        """A line for people."""
        ...

    def step(self, means: dict[str, float] | None, now: Moment, nimg: int, elapsed: float) -> None:
        """One iteration is over: where an interval ends with it the means of what was reported, what held in it, images so
        far, seconds so far."""
        ...

    def nonfinite(self, counts: Mapping[str, int], nimg: int) -> None:
        """Gradients were not finite: so many values, by network and parameter."""
        ...

    def went_back(self, nimg: int) -> None:
        """Training goes on from an earlier checkpoint, of so many images; what came after it is void."""
        ...

    def picture(self, name: str, image: Image.Image, nimg: int) -> None:
        """A grid was made."""
        ...

    def metrics(self, values: Mapping[str, float], nimg: int) -> None:
        """A network was measured."""
        ...


class SilentLogger:
    """The logger of all ranks but the first."""

    def __init__(self) -> None:
        self.unreported = Counter[str]()

    def message(self, text: str) -> None: ...

    def step(self, means: dict[str, float] | None, now: Moment, nimg: int, elapsed: float) -> None: ...

    def nonfinite(self, counts: Mapping[str, int], nimg: int) -> None: ...

    def went_back(self, nimg: int) -> None: ...

    def picture(self, name: str, image: Image.Image, nimg: int) -> None: ...

    def metrics(self, values: Mapping[str, float], nimg: int) -> None: ...


class RunLogger:
    """The logger of the first rank. Use it as a context manager: it shows the progress bar and closes its files."""

    def __init__(self, run_dir: Path, config: LoggingConfig, nimg: int, total_nimg: int, *, resumed: bool):
        """Open the files of a run; text and numbers are appended to those of earlier sittings.

        Args:
            run_dir: The run's folder, which exists.
            config: Where to report.
            nimg: Images so far.
            total_nimg: Images at the end.
            resumed: Whether these images are those of a checkpoint: what was shown up to there stays in TensorBoard.
        """
        self._total = total_nimg
        self.unreported = Counter[str]()
        self._text = open_below(run_dir, layout.LOG, "a", buffering=1)
        self._run_dir = run_dir
        first = nimg + 1 if resumed else nimg  # TensorBoard drops what it was told of this step and those after it
        self._events = _event_file(run_dir, first) if config.tensorboard else None
        self._since: tuple[int, float] | None = None
        self._console = Console(stderr=True)
        self._seen = True  # until the terminal is gone
        self._progress = Progress(
            TextColumn("{task.completed:.2f}/{task.total:.2f} kimg"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[line]}"),
            console=self._console,
            disable=not sys.stderr.isatty(),
        )
        self._task: TaskID = self._progress.add_task("train", total=self._total / 1000, line="")
        self._progress.update(self._task, completed=nimg / 1000)
        self._steps = 0
        self._thread_hook = threading.excepthook

    def __enter__(self) -> Self:
        self._thread_hook, threading.excepthook = threading.excepthook, self._thread_error
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # as in `_see`
            self._progress.stop()
        threading.excepthook = self._thread_hook
        quiet = contextlib.suppress(OSError) if error is not None else contextlib.nullcontext()  # the first one is told
        with quiet, contextlib.ExitStack() as files:  # all are closed, also where closing one of them fails
            for file in (self._text, self._events):
                if file is not None:
                    files.callback(file.close)

    def _thread_error(self, error: threading.ExceptHookArgs) -> None:
        """TensorBoard's thread hands a failed write to whoever calls it next: its traceback would tell it twice."""
        if not isinstance(error.exc_value, OSError):
            self._thread_hook(error)

    def message(self, text: str) -> None:
        """Print a line, and keep it in log.txt."""
        self._print(text)
        self._text.write(f"{strftime('%Y-%m-%d %H:%M:%S')}  {shown(text)}\n")

    def _print(self, text: str) -> None:
        self._see(lambda: say(text, self._console))

    def _see(self, show: Callable[[], None]) -> None:
        """Do what a person sees. A terminal that was closed must not end the training whose SIGHUP asks for a checkpoint."""
        if self._seen:
            try:
                show()
            except OSError:
                self._seen = False

    def step(self, means: dict[str, float] | None, now: Moment, nimg: int, elapsed: float) -> None:
        """Show how far it is; where an interval ends, write out the means of all ranks."""
        if self._since is None:  # the first iteration of a sitting warms up caches: it is not timed
            self._since, self._steps = (nimg, elapsed), 0
        else:
            self._steps += 1
        self._progress.update(self._task, completed=nimg / 1000)
        if means is not None:
            self._report(means, now, nimg, elapsed)

    def nonfinite(self, counts: Mapping[str, int], nimg: int) -> None:
        """Tell of gradients that were not finite, and count them into the next record."""
        for name, count in counts.items():
            self.message(f"{nimg / 1000:.3f} kimg: {count} gradient values were not finite in {name}")
        self.unreported.update(counts)

    def went_back(self, nimg: int) -> None:
        """Forget the interval that was begun, and let TensorBoard drop what it was told of the stretch after `nimg`."""
        self._since = None
        self.unreported.clear()
        if self._events is not None:
            self._events.close()
            self._events = _event_file(self._run_dir, nimg + 1)

    def picture(self, name: str, image: Image.Image, nimg: int) -> None:
        """Show a grid in TensorBoard."""
        if self._events is not None:
            pixels = torch.frombuffer(bytearray(image.convert("RGB").tobytes()), dtype=torch.uint8)
            self._events.add_image(name, pixels.view(image.height, image.width, 3), nimg, dataformats="HWC")
            self._events.flush()  # it belongs to the next checkpoint, after which it is not made again

    def metrics(self, values: Mapping[str, float], nimg: int) -> None:
        """Print the results of a measurement, and show them in TensorBoard."""
        listed = "  ".join(f"{name} {value:.5g}" for name, value in values.items())
        self.message(f"{nimg / 1000:9.3f} kimg  {listed}")
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(f"metrics/{name}", value, nimg)
            self._events.flush()

    def _report(self, means: dict[str, float], now: Moment, nimg: int, elapsed: float) -> None:
        since_nimg, since_elapsed = self._since or (nimg, elapsed)
        seconds = elapsed - since_elapsed
        speed = (nimg - since_nimg) / seconds if seconds > 0 else float("nan")
        # Until a batch was there: all that is seen of decoding workers.
        waited = means.get("seconds/data", 0.0) * self._steps
        loading = (nimg - since_nimg) / waited if waited > 0 and seconds > 0 else float("nan")
        share = waited / seconds if seconds > 0 else float("nan")
        record = {
            "nimg": nimg,
            "elapsed": round(elapsed, 3),
            "images_per_second": None if isnan(speed) else round(speed, 3),
            "loading_images_per_second": None if isnan(loading) else round(loading, 1),
            "loading_share": None if isnan(share) else round(share, 5),
            "memory_gib": None if isnan(memory := peak_memory_gib()) else round(memory, 3),
            **{f"settings/{name}": value for name, value in now.settings.items()},
            "settings/batch_size": now.stage.batch_size,
            "settings/resolution": max(now.stage.resolution),
            "settings/alpha": now.stage.alpha,
            **{name: means[name] for name in sorted(means)},
            **{f"nonfinite/{name}": count for name, count in sorted(self.unreported.items())},
        }
        self.unreported.clear()
        with open_below(self._run_dir, layout.STATS, "a") as file:
            finite = {k: None if isinstance(v, float) and not isfinite(v) else v for k, v in record.items()}
            file.write(json.dumps(finite) + "\n")  # JSON has no infinity
        if self._events is not None:
            for name, value in record.items():
                if name != "nimg" and value is not None:
                    self._events.add_scalar(name if "/" in name else f"progress/{name}", value, nimg)
            self._events.flush()
        r_t = "augment/r_t" if "augment/r_t" in means else "signs/real"
        shown = {"G": ("loss/G", ".3f"), "D": ("loss/D", ".3f"), "R1": ("loss/D_r1", ".3g"), "R2": ("loss/D_r2", ".3g")}
        shown |= {"r_t": (r_t, "+.2f"), "p": ("augment/p", ".3f")}
        values = [f"{label} {means[name]:{form}}" for label, (name, form) in shown.items() if name in means]
        line = "  ".join(
            [
                f"{speed:.1f} img/s",
                f"loading {loading:.0f} img/s, {share:.1%} of the time",
                *values,
                f"{memory:.1f} GiB",
            ]
        )
        self._progress.update(self._task, line=line)
        left = (self._total - nimg) / speed if speed > 0 else float("nan")
        text = f"{nimg / 1000:9.3f} kimg  {line}  {_clock(elapsed)} gone, {_clock(left)} left"
        self._text.write(f"{strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")
        if self._progress.disable:
            self._print(text)
        self._since, self._steps = (nimg, elapsed), 0


def peak_memory_gib() -> float:
    """The most memory this process has held: of the GPU where there is one, else of the host; NaN where that is not told."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return peak_host_gib()


def _event_file(run_dir: Path, nimg: int) -> SummaryWriter:
    """TensorBoard's, which follows links: of a name that nobody can have put one at."""
    return SummaryWriter(str(run_dir), purge_step=nimg, filename_suffix=f".{secrets.token_hex(8)}")


def _clock(seconds: float) -> str:
    if isnan(seconds):
        return "?"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"

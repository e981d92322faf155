"""How much code one opens to follow a piece of work: the files that a command enters between two functions, and their lines.

    python tests/bench/reading_length.py generate.py:make_figure generate.py network=demo seeds=0-3 out=/tmp/grid.png
    python tests/bench/reading_length.py stylegan/training/batch.py:draw --until stylegan/training/step.py:train_step \\
        --callers --only stylegan/training stylegan/losses -- train.py experiment=debug run_dir=/tmp/r

The first argument, FILE:FUNCTION, starts the trace when it is called first; what follows is the command. The trace ends when
that function returns, or, with `--until FILE:FUNCTION`, when that one returns first. A file counts with all its lines as soon
as one of its functions runs in the main thread; what an import runs does not count.
"""

import argparse
import runpy
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass
class Trace:
    """A profiler that notes which files of the project are entered.

    Attributes:
        start: FILE:FUNCTION whose first call begins the trace.
        until: FILE:FUNCTION whose first return ends it; None: `start`'s.
        callers: Whether the files that called `start` count, too.
        entered: The files, relative to the project, in the order in which they were entered.
    """

    start: str
    until: str | None = None
    callers: bool = False
    entered: dict[str, None] = field(default_factory=dict)
    _frame: FrameType | None = None
    _importing: int = 0
    _over: bool = False

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """What `sys.setprofile` takes."""
        if self._over or event not in ("call", "return"):
            return
        code = frame.f_code
        if self._frame is None:
            if event == "call" and _is(code, self.start):
                self._frame = frame
                self._note(code)
                if self.callers:
                    self._note_callers(frame.f_back)
            return
        if code.co_name == "<module>":
            self._importing += 1 if event == "call" else -1
        elif event == "call" and not self._importing:
            self._note(code)
        if event == "return" and (frame is self._frame if self.until is None else _is(code, self.until)):
            self._over = True

    @property
    def started(self) -> bool:
        """Whether `start` was called at all."""
        return self._frame is not None

    def _note(self, code: CodeType) -> None:
        if (file := _file(code.co_filename)) is not None:
            self.entered[file] = None

    def _note_callers(self, frame: FrameType | None) -> None:
        while frame is not None:
            self._note(frame.f_code)
            frame = frame.f_back


@cache
def _file(filename: str) -> str | None:
    """A file of the project relative to it, or None: a library (also one in the clone's own .venv), a test, or no file."""
    path = Path(filename)
    if path.is_relative_to(ROOT / "stylegan") or path.parent == ROOT:
        return str(path.relative_to(ROOT))
    return None


def _is(code: CodeType, place: str) -> bool:
    file, _, function = place.rpartition(":")
    return code.co_name == function and _file(code.co_filename) == file


def run(command: Sequence[str], trace: Trace) -> None:
    """Run a script of the project with its arguments under the trace."""
    sys.argv = list(command)
    sys.path.insert(0, str(ROOT))
    sys.setprofile(trace)
    try:
        runpy.run_path(str(ROOT / command[0]), run_name="__main__")
    finally:
        sys.setprofile(None)


def lines(file: str) -> int:
    """How many lines a file of the project has."""
    return len((ROOT / file).read_text().splitlines())


def main() -> None:
    """What the command does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("start", help="FILE:FUNCTION, relative to the project")
    parser.add_argument("command", nargs="+", help="a script of the project and its arguments")
    parser.add_argument("--until", help="FILE:FUNCTION whose return ends the trace")
    parser.add_argument("--callers", action="store_true", help="count the files that called START, too")
    parser.add_argument("--only", nargs="+", default=[""], help="count files whose path starts with one of these")
    parser.add_argument("--without", nargs="+", default=[], help="leave out files whose path starts with one of these")
    options = parser.parse_intermixed_args()
    trace = Trace(options.start, options.until, options.callers)
    run(options.command, trace)
    if not trace.started:
        sys.exit(f"{options.start} was never called")
    kept = [
        file
        for file in trace.entered
        if file.startswith(tuple(options.only)) and not file.startswith(tuple(options.without))
    ]
    for file in kept:
        print(f"{lines(file):6} {file}")
    print(f"{sum(map(lines, kept)):6} lines in {len(kept)} files")


if __name__ == "__main__":
    main()

"""Running the entry scripts: in this process where that is enough, in one of their own where signals and exit codes matter."""

import importlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Result:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


def last_of_each(arguments: Sequence[str]) -> list[str]:
    """A test's settings with its own in place of those that it shares with others: the command takes no setting twice."""
    return list({argument.partition("=")[0]: argument for argument in arguments}.values())


def run_here(
    script: str, *arguments: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Result:
    """Run `train` or `generate` in this process, in the working directory."""
    module = importlib.import_module(script)
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *last_of_each(arguments)])
    capsys.readouterr()
    code: int | str | None = 0
    try:
        module.main()
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return Result(code if isinstance(code, int) else 0 if code is None else 1, captured.out, captured.err)


def start(script: str, *arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start `train` or `generate` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / f"{script}.py"), *last_of_each(arguments)],
        cwd=cwd,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )

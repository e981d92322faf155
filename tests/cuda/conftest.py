"""Recordings and programs that several tests share."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cuda.building import need_compiler


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the launches of one call per kernel, dtype and memory format."""
    need_compiler()
    folder = tmp_path_factory.mktemp("recordings")
    subprocess.run([sys.executable, "-m", "tests.cuda.record", str(folder)], check=True)
    return folder


@pytest.fixture(scope="session")
def half_launches(recordings: Path) -> Path:
    """All launches in float16 in one file."""
    together = recordings / "f16.all"
    together.write_bytes(b"".join(path.read_bytes() for path in sorted(recordings.glob("*-f16-*.launches"))))
    return together

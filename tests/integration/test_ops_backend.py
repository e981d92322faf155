"""Which ops a run uses is its user's choice: both train alike; a compiler that is missing stops only who insists on it."""

from pathlib import Path

import pytest
import torch

from stylegan import run_dir as layout
from stylegan.ops.backend import Backend, activate
from stylegan.training.checkpoint import read_checkpoint
from tests.golden.golden import assert_displacement
from tests.integration.test_bad_input import Run, archive, refused, run, short  # noqa: F401 (fixtures)


@pytest.fixture(autouse=True)
def reference_afterwards():
    """The ops are chosen for a whole process."""
    yield
    activate(Backend.reference, torch.device("cpu"))


def test_both_train_alike(run: Run, archive: Path, tmp_path: Path) -> None:  # noqa: F811
    """200 images, all four phases of which run: the same to the golden files' rule for training."""
    settings = [
        "training.kimg=0.2",
        "training.checkpoint_kimg=0.008",
        "training.keep_checkpoints=99",
        "data.cache=false",
    ]
    states = {}
    for backend in ("reference", "compiled"):
        result = run(
            "experiment=debug", f"data.path={archive}", f"run_dir={backend}", f"ops.backend={backend}", *settings
        )
        assert result.code == 0 and f"ops: {backend}" in result.err, result.err
        states[backend] = read_checkpoint(layout.checkpoint_path(tmp_path / backend, 200)).state
    start = read_checkpoint(layout.checkpoint_path(tmp_path / "reference", 8)).state
    for network in ("G", "D", "G_ema"):
        got, want = states["compiled"][network], states["reference"][network]
        assert_displacement(network, got, want, start[network])
        assert any(not torch.equal(got[name], want[name]) for name in want), "the same ops ran twice"


def test_without_a_compiler(run: Run, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("CXX", "no-such-compiler")
    insisting = short(run, archive, "run_dir=insisting", "ops.backend=compiled")
    refused(insisting, "ops.backend=compiled", "CXX='no-such-compiler' is not a program", "ops.backend=reference")
    assert not Path("insisting").exists()
    content = short(run, archive, "run_dir=content")
    assert content.code == 0 and "ops: reference" in content.err
    warnings = [line for line in content.err.splitlines() if "warning: " in line]
    assert len(warnings) == 1 and "no-such-compiler" in warnings[0] and "slower" in warnings[0]

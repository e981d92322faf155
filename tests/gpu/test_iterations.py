"""Whole iterations on a real GPU: nothing waits for it, and from CUDA graphs they train as without."""

from collections.abc import Iterator

import pytest
import torch

from stylegan.ops.backend import Backend, activate, in_use
from stylegan.training.graphs import CudaRecorder, Graphs
from tests.unit.test_device_only import TRAININGS, images_of
from tests.unit.training import Iterations, Training

DEVICE = torch.device("cuda")
STEPS = 12

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU: tests/unit/test_device_only.py does the same with recorded ops"
)


@pytest.fixture(autouse=True)
def _compiled() -> Iterator[None]:
    """For every test: each one ends with the reference (tests/conftest.py)."""
    activate(Backend.compiled, DEVICE)
    yield
    assert in_use(DEVICE) == "compiled"


def on_gpu(name: str) -> Training:
    with torch.device(DEVICE):
        return TRAININGS[name]()


@pytest.mark.parametrize("name", TRAININGS)
def test_nothing_waits_for_the_device(name: str) -> None:
    training = on_gpu(name)
    iterations = Iterations(training, images_of(training, "cuda"))
    for _ in range(2):
        iterations.run()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(2):
            iterations.run()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", TRAININGS)
def test_captured_phases_train_as_usual(name: str) -> None:
    """Up to the order in which the GPU adds up, which differs from run to run."""
    start, usual, captured = (on_gpu(name) for _ in range(3))
    graphs = Graphs(CudaRecorder(), pytest.fail, must=True)
    runs = [Iterations(usual, images_of(usual, "cuda")), Iterations(captured, images_of(captured, "cuda"), graphs)]
    for _ in range(STEPS):
        told = [run.run() for run in runs]
        for ours, theirs in zip(*(report.values for report in told), strict=True):
            torch.testing.assert_close(ours.flat, theirs.flat, rtol=0.05, atol=0.01)
    assert graphs.captured
    for network in ("G", "D", "G_ema"):
        both = (getattr(training.state, network).parameters() for training in (start, usual, captured))
        old, want, got = (torch.cat([p.detach().flatten() for p in parameters]) for parameters in both)
        assert (want - old).norm() > 0 and (got - want).norm() < 0.05 * (want - old).norm()

"""Settings of all tests, and what tests of several folders share."""

from collections.abc import Iterator

import pytest
import torch

from stylegan.ops._build import compiler_available
from stylegan.ops.backend import Backend, activate


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Networks here are tiny: a second thread only waits for the first, and not at all where cores are shared."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def reference_afterwards() -> Iterator[None]:
    """The ops are chosen for a whole process, also by who loads a network: every test begins with the reference."""
    yield
    activate(Backend.reference, torch.device("cpu"))


@pytest.fixture(params=["reference", "compiled"])
def ops(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a test with either kind of ops and says which are in use."""
    if request.param == "compiled" and not compiler_available():
        pytest.skip("no C++ compiler")
    activate(Backend(request.param), torch.device("cpu"))
    yield request.param

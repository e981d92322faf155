"""Every test of this folder runs with the reference and with the compiled ops."""

from collections.abc import Iterator

import pytest
import torch

from stylegan.ops._build import compiler_available
from stylegan.ops.backend import Backend, activate


@pytest.fixture(autouse=True, params=["reference", "compiled"])
def ops(request: pytest.FixtureRequest) -> Iterator[str]:
    """Which ops are in use; afterwards it is the reference again."""
    if request.param == "compiled" and not compiler_available():
        pytest.skip("no C++ compiler")
    activate(Backend(request.param), torch.device("cpu"))
    yield request.param
    activate(Backend.reference, torch.device("cpu"))

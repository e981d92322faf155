"""Settings of all tests."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Networks here are tiny: a second thread only waits for the first, and not at all where cores are shared."""
    torch.set_num_threads(1)

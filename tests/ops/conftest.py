"""Every test of this folder runs with the reference and with the compiled ops."""

import pytest


@pytest.fixture(autouse=True)
def with_either(ops: str) -> None:
    """See `ops`."""

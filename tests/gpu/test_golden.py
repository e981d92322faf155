"""Recorded results of ops, losses, augmentation and twenty iterations of training, on a GPU; skipped where there is none.

The tests are those of tests/ops and tests/golden: here torch makes everything on the GPU, and the recorded inputs go there.
"""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from stylegan.ops.backend import Backend, activate
from tests.golden.golden import Golden
from tests.golden.test_augment import golden as golden  # noqa: PLC0414
from tests.golden.test_augment import test_images_and_gradients as test_augment  # noqa: F401
from tests.golden.test_losses import test_phase as test_phase  # noqa: PLC0414
from tests.golden.test_training import test_twenty_iterations as test_twenty_iterations  # noqa: PLC0414
from tests.ops.test_golden import test_bias_act as test_bias_act  # noqa: PLC0414
from tests.ops.test_golden import test_conv2d_resample as test_conv2d_resample  # noqa: PLC0414
from tests.ops.test_golden import test_filtered_lrelu as test_filtered_lrelu  # noqa: PLC0414
from tests.ops.test_golden import test_modulated_conv2d as test_modulated_conv2d  # noqa: PLC0414
from tests.ops.test_golden import test_upfirdn2d as test_upfirdn2d  # noqa: PLC0414

DEVICE = torch.device("cuda")
recorded_tensor = Golden.tensor

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: the tests also run on the CPU")


@pytest.fixture(params=["reference", "compiled"])
def ops(request: pytest.FixtureRequest) -> Iterator[str]:
    """As in tests/conftest.py, for the GPU."""
    activate(Backend(request.param), DEVICE)
    yield request.param
    activate(Backend.reference, DEVICE)


@pytest.fixture(autouse=True)
def on_gpu(ops: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything that a test makes lies on the GPU."""

    def tensor(self: Golden, key: str) -> Tensor:
        return recorded_tensor(self, key).to(DEVICE)

    monkeypatch.setattr(Golden, "tensor", tensor)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # torch has it on
    torch.set_default_device(DEVICE)
    yield
    torch.set_default_device(None)

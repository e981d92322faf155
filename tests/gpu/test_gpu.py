"""The CUDA kernels on a real GPU, with the calls and tolerances of tests/cuda; skipped where there is none."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from stylegan.ops.backend import Backend, activate
from tests.cuda.calls import Call, calls
from tests.ops.cases import SAMPLES, inputs, pick

RTOL = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
DEVICE = torch.device("cuda")

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU: tests/cuda checks the kernels on the CPU"
)


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> Iterator[None]:
    activate(Backend.compiled, DEVICE)
    yield
    activate(Backend.reference, DEVICE)


def on_gpu(call: Call) -> Call:
    """The same call with its tensors on the GPU, in the same memory formats."""
    return Call(call.name, call.op, tuple(a.to(DEVICE) if isinstance(a, Tensor) else a for a in call.args))


@pytest.mark.parametrize("nhwc", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", RTOL, ids=str)
def test_every_kernel(dtype: torch.dtype, nhwc: bool) -> None:
    for call in calls(dtype, nhwc):
        for got, want in zip(on_gpu(call).run(), call.reference(), strict=True):
            if got.dtype != torch.uint8:  # codes: rounding may put a number on the other side of a kink
                atol = RTOL[dtype] * float(want.abs().max()) if want.numel() else 0.0
                torch.testing.assert_close(got.double().cpu(), want, rtol=RTOL[dtype], atol=atol)


@pytest.mark.parametrize("entry", SAMPLES, ids=lambda entry: f"{entry[0]}-{entry[1]}")
def test_gradients_of_first_and_second_order(entry: tuple[str, int]) -> None:
    case, sample = pick(entry)
    args = {name: t.to(DEVICE).requires_grad_() for name, t in inputs(case, sample).items()}
    kwargs = {name: v.to(DEVICE) if isinstance(v, Tensor) else v for name, v in sample.kwargs.items()}

    def call(*tensors: Tensor) -> Tensor:
        return case.op(**dict(zip(args, tensors, strict=True)), **kwargs)

    assert torch.autograd.gradcheck(call, list(args.values()), fast_mode=True)
    assert torch.autograd.gradgradcheck(call, list(args.values()), fast_mode=True)


def test_another_stream() -> None:
    """Kernels run on the stream that is current, not on the default one."""
    from stylegan.ops.bias_act import bias_act

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        x = torch.ones(8, 16, 64, 64, device=DEVICE)
        for _ in range(50):
            x = bias_act(x * 1.0, act="linear", gain=1.0, clamp=2.0)
        result = x.sum()
    stream.synchronize()
    assert float(result) == x.numel()

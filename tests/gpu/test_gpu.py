"""The CUDA kernels on a real GPU, with the calls and tolerances of tests/cuda; skipped where there is none."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from stylegan.ops.backend import Backend, activate, in_use, reference_ops
from stylegan.ops.device import send
from stylegan.ops.normal import normal, uniform
from stylegan.ops.update import lerp_
from stylegan.training.adam import Adam
from tests.cuda.calls import calls
from tests.gpu.placing import placed
from tests.ops.cases import SAMPLES, inputs, pick

RTOL = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
DEVICE = torch.device("cuda")

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU: tests/cuda checks the kernels on the CPU"
)


@pytest.fixture(autouse=True)
def _compiled() -> Iterator[None]:
    """For every test: each one ends with the reference (tests/conftest.py)."""
    activate(Backend.compiled, DEVICE)
    yield
    assert in_use(DEVICE) == "compiled"


def entry_on_gpu(entry: tuple[str, int], *made: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The differentiable inputs and the other arguments of a sample, on the GPU; `made` as for `inputs`."""
    case, sample = pick(entry)
    kwargs = {name: v.to(DEVICE) if isinstance(v, Tensor) else v for name, v in sample.kwargs.items()}
    return {name: t.to(DEVICE) for name, t in inputs(case, sample, *made).items()}, kwargs


@pytest.mark.parametrize("nhwc", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", RTOL, ids=str)
def test_every_kernel(dtype: torch.dtype, nhwc: bool) -> None:
    for call in calls(dtype, nhwc):
        for got, want in zip(placed(call, DEVICE).run(), call.reference(), strict=True):
            if call.exact:
                assert torch.equal(got.cpu(), want), call.name
            elif got.dtype != torch.uint8:  # codes: rounding may put a number on the other side of a kink
                atol = RTOL[dtype] * float(want.abs().max()) if want.numel() else 0.0
                torch.testing.assert_close(got.double().cpu(), want, rtol=RTOL[dtype], atol=atol)


EVERY = pytest.mark.parametrize("entry", SAMPLES, ids=lambda entry: f"{entry[0]}-{entry[1]}")


@EVERY
def test_values_in_every_dtype_and_memory_format(entry: tuple[str, int]) -> None:
    case, sample = pick(entry)
    for dtype, rtol in RTOL.items():
        rounded = {name: t.double() for name, t in inputs(case, sample, dtype).items()}
        want = case.reference(**rounded, **sample.kwargs)
        formats = (
            (torch.contiguous_format, torch.channels_last) if len(sample.shape) == 4 else (torch.contiguous_format,)
        )
        for memory_format in formats:
            args, kwargs = entry_on_gpu(entry, dtype, memory_format)
            got = case.op(**args, **kwargs)
            assert got.dtype == dtype and got.is_contiguous(memory_format=memory_format)
            atol = rtol * float(want.abs().max()) if want.numel() else 0.0
            torch.testing.assert_close(got.double().cpu(), want, rtol=rtol, atol=atol)


@EVERY
def test_gradients_equal_those_of_the_reference(entry: tuple[str, int]) -> None:
    """Of first and second order, in float64, against torch's own functions on the CPU."""
    case, sample = pick(entry)
    results = []
    for function, (args, kwargs) in (
        (case.op, entry_on_gpu(entry)),
        (case.reference, (inputs(case, sample), sample.kwargs)),
    ):
        leaves = [t.requires_grad_() for t in args.values()]
        y = function(**dict(zip(args, leaves, strict=True)), **kwargs)
        first = torch.autograd.grad(y.square().sum(), leaves, create_graph=True)
        total = torch.stack([(g * (i + 1)).square().sum() for i, g in enumerate(first)]).sum()
        second = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
        results.append([t.detach().cpu() for t in (y, *first, *second)])
    for got, want in zip(*results, strict=True):
        scale = float(want.abs().max()) if want.numel() else 0.0
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10 * (1 + scale))


@EVERY
def test_gradients_of_first_and_second_order(entry: tuple[str, int]) -> None:
    case = pick(entry)[0]
    args, kwargs = entry_on_gpu(entry)
    leaves = [t.requires_grad_() for t in args.values()]

    def call(*tensors: Tensor) -> Tensor:
        return case.op(**dict(zip(args, tensors, strict=True)), **kwargs)

    # Sums over pixels are added up in no fixed order: a repetition differs in the last bits.
    assert torch.autograd.gradcheck(call, leaves, fast_mode=True, nondet_tol=1e-12)
    assert torch.autograd.gradgradcheck(call, leaves, fast_mode=True, nondet_tol=1e-12)


@pytest.mark.parametrize("draw", [normal, uniform])
def test_random_numbers_are_those_of_the_cpu(draw: Callable[..., Tensor]) -> None:
    """In every bit, by the kernel and by torch's own functions on the GPU."""
    indices = torch.tensor([0, 7, -1, 1 << 40])
    for size in (300_000, 100_001):
        compiled = draw(-5, indices.to(DEVICE), size).cpu()
        with reference_ops():
            assert torch.equal(compiled, draw(-5, indices, size))
            assert torch.equal(compiled, draw(-5, indices.to(DEVICE), size).cpu())


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_a_graph_of_a_step_holds_with_other_rates(beta1: float, compiled: bool) -> None:
    """Adam and the moving average, recorded after two ordinary steps: what they replay is what the CPU does. One is skipped."""
    shapes, draw = ([3, 8], [], [17], [200, 300], *([5] for _ in range(200))), torch.Generator().manual_seed(0)
    values, grads = ([torch.randn(shape, generator=draw) for shape in shapes] for _ in range(2))
    everything = []
    for device in (torch.device("cpu"), DEVICE):
        params, averages = ([v.to(device, copy=True) for v in values] for _ in range(2))
        for p, g in zip(params, grads, strict=True):
            p.grad = g.to(device, copy=True)
        optimizer, weight = Adam(params, eps=1e-8), torch.zeros([], dtype=torch.float64, device=device)

        def step(optimizer: Adam = optimizer, averages: list[Tensor] = averages, weight: Tensor = weight) -> Tensor:
            norm = optimizer.step(skip=True)
            lerp_(averages, optimizer.parameters, weight)
            return norm

        norms, graph, recorded = [], None, torch.zeros([])
        with nullcontext() if compiled else reference_ops():
            for i in range(6):
                optimizer.set_rates(0.01 / (i + 1), beta1, 0.99 - 0.1 * i)
                send(0.1 * i, weight)
                for p, g in zip(params, grads, strict=True):
                    assert p.grad is not None
                    p.grad.copy_(g * (i + 1))
                    if i in (1, 4):
                        p.grad.view(-1)[-1] = float("nan")
                if i == 2 and device.type == "cuda":
                    graph = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(graph):
                        recorded = step()
                if graph is None:
                    recorded = step()
                else:
                    graph.replay()
                norms.append(recorded.clone())
                if device.type == "cpu":  # where a gradient may be a first moment now
                    for p in params:
                        assert p.grad is not None
                        p.grad = p.grad.clone()
        state = [t for p in params for t in optimizer.state[p].values()]
        everything.append([t.cpu() for t in (*params, *averages, *state, torch.stack(norms), optimizer.nonfinite)])
    for got, want in zip(*everything, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6, equal_nan=True)


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

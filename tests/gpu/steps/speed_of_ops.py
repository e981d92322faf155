"""Step 4: each op against torch's own functions and against what the device can do."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from stylegan.ops.backend import Backend, activate, reference_ops
from stylegan.ops.bias_act import bias_act
from stylegan.ops.demodulation import demodulation
from stylegan.ops.filtered_lrelu import filtered_lrelu
from stylegan.ops.modulation import modulation_grad
from stylegan.ops.normal import normal, uniform
from stylegan.ops.upfirdn2d import setup_filter, upfirdn2d
from tests.bench.bench_ops import Case, Sizes, cases, passes
from tests.gpu.steps.record import Record, run, torch_settings

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def step(record: Record) -> None:
    """Peaks and a few ops first; then the others at sizes beyond the cache, with random data."""
    activate(Backend.compiled, record.device)
    record.attempt("peaks", lambda: peaks(record))
    bandwidth = record.results["peaks"].get("copy_gbs")
    sizes = Sizes(batch=2, batch3=1, side=16) if record.tiny else Sizes(batch=64, batch3=32, side=128)
    dtypes = DTYPES[: 1 if record.tiny else None]
    with torch.device(record.device):
        for dtype in dtypes:
            for case in _own_cases(dtype, record.tiny):
                record.attempt(*_named(record, dtype, case, bandwidth))
        record.attempt("convolutions", lambda: convolutions(record))
        for dtype in dtypes:
            for case in islice(cases(dtype, sizes), 14 if record.tiny else None):
                if record.left <= 0:
                    record.put("other ops", {"skipped": "no time left"})
                    return
                record.attempt(*_named(record, dtype, case, bandwidth))


def _named(record: Record, dtype: torch.dtype, case: Case, bandwidth: float | None) -> tuple[str, Callable[[], Any]]:
    return f"{case.name} {str(dtype)[6:]}", lambda: compare(record, case, bandwidth)


def peaks(record: Record) -> dict[str, float]:
    """A copy, counting bytes read and written, and products of square matrices."""
    n, side = (1 << 16, 128) if record.tiny else (1 << 31, 8192)
    source = torch.empty(n, dtype=torch.uint8, device=record.device).random_()
    target = torch.empty_like(source)
    found = {"copy_gbs": 2 * n / record.median(lambda: target.copy_(source)) / 1e9}
    for name, dtype in (
        ("fp32", torch.float32),
        ("tf32", torch.float32),
        ("bf16", torch.bfloat16),
        ("fp16", torch.float16),
    ):
        a, b = (torch.randn(side, side, device=record.device).to(dtype) for _ in range(2))
        with torch_settings(tf32=name == "tf32"):
            found[f"{name}_tflops"] = 2 * side**3 / record.median(lambda a=a, b=b: a @ b) / 1e12
    return {name: round(value, 3) for name, value in found.items()}


def convolutions(record: Record) -> dict[str, float]:
    """TFLOP/s of torch's 3x3 convolution, forward and both gradients, in both memory formats."""
    n, c, side = (2, 8, 8) if record.tiny else (16, 512, 64)
    found = {}
    for name, dtype in (
        ("fp32", torch.float32),
        ("tf32", torch.float32),
        ("bf16", torch.bfloat16),
        ("fp16", torch.float16),
    ):
        for layout in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(n, c, side, side, device=record.device).to(dtype).contiguous(memory_format=layout)
            w = torch.randn(c, c, 3, 3, device=record.device).to(dtype).contiguous(memory_format=layout)
            x.requires_grad_()
            w.requires_grad_()
            dy = torch.randn_like(x)
            flop = 2 * 9 * c * x.numel()

            def both(x: Tensor = x, w: Tensor = w, dy: Tensor = dy) -> object:
                return torch.autograd.grad(F.conv2d(x, w, padding=1), [x, w], dy)

            kind = "nchw" if layout is torch.contiguous_format else "nhwc"
            for benchmark in (False, True):
                with torch_settings(tf32=name == "tf32", benchmark=benchmark):
                    key = f"{name} {kind} {'benchmark' if benchmark else 'default'}"
                    found[key] = round(3 * flop / record.median(both, budget=0.1) / 1e12, 3)
    return found


def compare(record: Record, case: Case, bandwidth: float | None) -> dict[str, Any]:
    """Milliseconds of either back end, and the least time that memory allows for the same."""
    compiled = record.median(case.call, budget=0.05)
    with reference_ops():
        reference = record.median(case.call, budget=0.05)
    result = {"ms": compiled * 1e3, "reference_ms": reference * 1e3, "ratio": reference / compiled}
    moved = least_bytes(case)
    result["gb"] = moved / 1e9
    if bandwidth:
        result["of_bandwidth"] = moved / 1e9 / compiled / bandwidth
    return {name: round(value, 4) for name, value in result.items()}


def least_bytes(case: Case) -> int:
    """Each input read once and each result written once; a backward pass reads the output's gradient and the output, too."""
    results = case.call()
    tensors = [results] if isinstance(results, Tensor) else [t for t in results if isinstance(t, Tensor)]  # pyright: ignore[reportGeneralTypeIssues]
    moved = sum(_bytes(t) for t in (*case.inputs, *tensors))
    if case.forward is not None:
        with torch.no_grad():
            moved += 3 * _bytes(case.forward())  # written, read again, and its gradient
    return moved


def _bytes(t: Tensor) -> int:
    return t.numel() * t.element_size()


def _own_cases(dtype: torch.dtype, tiny: bool) -> Iterator[Case]:
    """D's activation with the filter of the layer after it, as one op and as two; and the parts of a modulated convolution."""
    n, c, side = (2, 8, 16) if tiny else (16, 64, 256)
    low_pass = setup_filter([1, 3, 3, 1])
    x = torch.randn(n, c, side, side).to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    b = torch.zeros(c, dtype=dtype, requires_grad=True)

    def one() -> Tensor:
        return filtered_lrelu(x, fd=low_pass, b=b, padding=2, clamp=256)

    def two() -> Tensor:
        return upfirdn2d(bias_act(x, b, act="lrelu", clamp=256), low_pass, padding=2)

    yield from passes("D's activation and filter nhwc", one, [x, b])
    yield from passes("D's activation and filter nhwc, as two ops", two, [x, b])

    n, c, side = (2, 8, 8) if tiny else (32, 256, 128)
    dy, x2 = (torch.randn(n, c, side, side).to(dtype) for _ in range(2))
    last = [t.contiguous(memory_format=torch.channels_last) for t in (dy, x2)]
    s, indices, many = torch.randn(n, c), torch.arange(n), 1 << 10 if tiny else 1 << 20
    weights = torch.randn(c, c, 3, 3).contiguous(memory_format=torch.channels_last)

    def product(dy: Tensor, x: Tensor) -> Callable[[], Any]:
        return lambda: modulation_grad(dy, x, s)

    yield Case("modulation_grad nchw", product(dy, x2), (dy, x2))
    yield Case("modulation_grad nhwc", product(*last), tuple(last))
    yield Case("demodulation", lambda: demodulation(s, weights), (s, weights))
    yield Case("normal", lambda: normal(1, indices, many), ())
    yield Case("uniform", lambda: uniform(1, indices, many), ())
    yield Case("torch.randn, of as many", lambda: torch.randn(n, many), ())


if __name__ == "__main__":
    run(step)

"""Tensors of more than 2^31 elements through the compiled ops: `python -m tests.ops.large`, some minutes and 12 GB of memory.

No test of the suite can afford that. Inputs are pages that were never written, but for the corner that is looked at: it lies
behind element 2^31, and there the result must be what the op makes of the corner alone.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stylegan.ops.backend import Backend, activate
from stylegan.ops.bias_act import bias_act
from stylegan.ops.filtered_lrelu import filtered_lrelu
from stylegan.ops.modulated_epilogue import modulated_epilogue
from stylegan.ops.update import adam_, lerp_
from stylegan.ops.upfirdn2d import setup_filter, upfirdn2d
from tests.ops.cases import modulation

CORNER, SEEN = 64, 48
# [N, C, H, W], 6 and 10 million elements more than 2^31. Kernels for channels_last go along channels: few of them take hours.
SHAPES = {"nchw": (3, 2, 18_944, 18_944), "nhwc": (3, 64, 3_352, 3_352)}


def sparse(shape: tuple[int, ...], dtype: Any = np.float16) -> Tensor:
    """Zeros that take no memory until they are written."""
    return torch.from_numpy(np.zeros(shape, dtype))


def image(layout: str) -> tuple[Tensor, Tensor]:
    """A large x [N, C, H, W], random in the last image's lower right corner, and that corner [1, C, CORNER, CORNER]."""
    n, c, h, w = SHAPES[layout]
    x = sparse((n, c, h, w)) if layout == "nchw" else sparse((n, h, w, c)).permute(0, 3, 1, 2)
    corner = x[-1:, :, -CORNER:, -CORNER:]
    corner.copy_(torch.randn(corner.shape, generator=torch.Generator().manual_seed(0)))
    alone = corner.clone(memory_format=torch.contiguous_format if layout == "nchw" else torch.channels_last)
    return x, alone


def same(op: Callable[[Tensor], Tensor], layout: str) -> None:
    """The op and its gradient, on all and on the corner alone."""
    x, alone = (t.requires_grad_() for t in image(layout))
    y, want = op(x), op(alone)
    assert y.numel() > 2**31
    seen = (slice(-1, None), slice(None), slice(-SEEN, None), slice(-SEEN, None))
    torch.testing.assert_close(y[seen], want[seen])
    dy, _ = image(layout)
    (dx,) = torch.autograd.grad(y, x, dy)
    (dwant,) = torch.autograd.grad(want, alone, dy[-1:, :, -CORNER:, -CORNER:])
    torch.testing.assert_close(dx[seen], dwant[seen])
    assert want[seen].std() > 0.1 and dwant[seen].std() > 0.1


def updates() -> None:
    """Adam and the average, in float32. Adam gets a list that is so long: one tensor many times, then another."""
    n, last = 2**31 + 100, slice(-50, None)
    t = sparse((n,), np.float32)
    t[last] = 3
    average = sparse((n,), np.float32)
    lerp_([average], [t], torch.tensor(0.5, dtype=torch.float64))
    assert bool((average[last] == 1.5).all()) and not average[: 2**20].any()
    del t, average
    params, grads, second = ([torch.zeros(2**26)] * 32 + [torch.full([50], value)] for value in (1.5, 1.0, 0.0))
    steps, counts = ([torch.zeros([], dtype=dtype) for _ in params] for dtype in (torch.float32, torch.int64))
    rates = torch.tensor([0.5, 0.0, 0.0, 1e-8], dtype=torch.float64)
    square_sum = adam_(params, grads, [], second, steps, rates, counts)
    assert float(square_sum) == 50 and not any(counts)
    torch.testing.assert_close(params[-1], torch.ones(50))
    assert not params[0].any()


def main() -> None:
    """Everything, with the seconds that it took."""
    activate(Backend.compiled, torch.device("cpu"))
    low_pass = setup_filter([1, 3, 3, 1])
    for layout, (_, c, _, _) in SHAPES.items():
        b, d = torch.linspace(0.25, -0.5, c), torch.linspace(0.5, 2, c)[None]
        ops: dict[str, Callable[[Tensor], Tensor]] = {
            "bias_act": lambda x, b=b: bias_act(x, b.half(), act="lrelu", clamp=2),
            "upfirdn2d": lambda x: upfirdn2d(x, low_pass, padding=[2, 1, 2, 1]),
            "modulated_epilogue": lambda x, b=b, d=d: modulated_epilogue(
                x, d.expand(len(x), -1), b=b, act="lrelu", clamp=2
            ),
            "modulation": lambda x, d=d: modulation(x, d.half().expand(len(x), -1)),
            "filtered_lrelu": lambda x, b=b: filtered_lrelu(x, b=b.half(), clamp=2),
        }
        for name, op in ops.items():
            started = time.perf_counter()
            same(op, layout)
            print(f"{name} {layout}: right, {time.perf_counter() - started:.0f} s", flush=True)
    started = time.perf_counter()
    updates()
    print(f"updates: right, {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()

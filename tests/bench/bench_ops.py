"""Seconds of every op, compiled and reference, and their ratio: `python tests/bench/bench_ops.py [dtype] [rounds] [words]`.

`words` picks the cases whose names hold them: `OMP_NUM_THREADS=1 python tests/bench/bench_ops.py float32 7 filtered_lrelu` does
the layers of StyleGAN3.

The two are timed in turns in one process, in seconds of the processor over all threads, so that what else the machine does hits
both; the ratio is the median of the pairs'.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stylegan.ops.backend import load, reference_ops
from stylegan.ops.bias_act import bias_act
from stylegan.ops.filtered_lrelu import filtered_lrelu
from stylegan.ops.memory import keep_freed_memory
from stylegan.ops.modulated_epilogue import modulated_epilogue
from stylegan.ops.upfirdn2d import setup_filter, upfirdn2d

Call = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """What is timed.

    Attributes:
        name: For people.
        call: The whole of it.
        inputs: What it reads.
        forward: Its forward pass, where the call has a backward pass, too; else None.
    """

    name: str
    call: Call
    inputs: tuple[Tensor, ...]
    forward: Callable[[], Tensor] | None = None


@dataclass(frozen=True)
class Sizes:
    """How large the images are that ops are called with.

    Attributes:
        batch: Of StyleGAN2's ops.
        side: Of their images.
        batch3: Of StyleGAN3's ops.
    """

    batch: int = 16
    side: int = 64
    batch3: int = 2


def cases(dtype: torch.dtype, sizes: Sizes = Sizes()) -> Iterator[Case]:
    """The ops as networks call them, by default those at 64 pixels and a batch of 16, on torch's default device."""
    n, side = sizes.batch, sizes.side
    for layout in (torch.channels_last, torch.contiguous_format):
        name = "nhwc" if layout is torch.channels_last else "nchw"

        def image(*shape: int, layout: torch.memory_format = layout) -> Tensor:
            return torch.randn(shape).to(dtype).contiguous(memory_format=layout).requires_grad_()

        x, b = image(n, 64, side, side), torch.zeros(64, requires_grad=True)
        d, noise = torch.rand(n, 64).add(0.5).requires_grad_(), torch.randn(n, 1, side, side, requires_grad=True)
        low_pass = setup_filter([1, 3, 3, 1])

        def epilogue(x: Tensor = x, d: Tensor = d, noise: Tensor = noise, b: Tensor = b) -> Tensor:
            return modulated_epilogue(x, d, noise, b, act="lrelu", clamp=256)

        yield from passes(f"modulated_epilogue {name}", epilogue, [x, d, noise, b])
        yield from passes(f"bias_act {name}", lambda x=x, b=b: bias_act(x, b.to(dtype), act="lrelu", clamp=256), [x, b])
        half, grown = image(n, 64, side // 2, side // 2), image(n, 64, side + 1, side + 1)
        rgb = image(n, 3, side // 2, side // 2)
        for title, t, options in (
            ("blur after up", grown, {"padding": 1, "gain": 4}),
            ("blur before down", x, {"padding": 2}),
            ("down 2", x, {"down": 2, "padding": 1}),
            ("up 2", half, {"up": 2, "padding": [2, 1, 2, 1], "gain": 4}),
            ("up 2, image", rgb, {"up": 2, "padding": [2, 1, 2, 1], "gain": 4}),
        ):
            call: Call = lambda t=t, o=options, f=low_pass: upfirdn2d(t.detach(), f, **o)  # noqa: E731  # pyright: ignore[reportArgumentType]
            yield Case(f"upfirdn2d {title} {name}", call, (t,))
        yield from stylegan3_cases(dtype, layout, name, sizes.batch3)


# Configuration, pixels and channels of x (after the convolution), factor of up-sampling, near and far padding: layers of the
# published designs for 256 and 1024 pixels, with channels and batch (2) cut down to what a minute allows.
STYLEGAN3 = (
    ("T", 38, 128, 2, 9, 8),
    ("T", 38, 128, 4, -6, -9),
    ("T", 86, 48, 4, -6, -9),
    ("T", 150, 48, 2, 9, 8),
    ("T", 278, 16, 2, -11, -12),
    ("R", 36, 128, 2, 11, 10),
    ("R", 84, 48, 4, -2, -5),
    ("R", 148, 48, 2, 11, 10),
)


def stylegan3_cases(dtype: torch.dtype, layout: torch.memory_format, layout_name: str, batch: int) -> Iterator[Case]:
    """filtered_lrelu as the layers of StyleGAN3 call it, and as its last layer does, without filters."""
    around = torch.arange(12) - 5.5
    distance = (around[:, None].square() + around.square()).sqrt()
    taps = {n: setup_filter(torch.hann_window(n + 2)[1:-1]) for n in (12, 24)}
    down = {"T": taps[12], "R": setup_filter((6 - distance).clamp(min=0))}  # R: radial, not separable
    for config, size, channels, up, near, far in STYLEGAN3:
        x = torch.randn(batch, channels, size, size).to(dtype).contiguous(memory_format=layout).requires_grad_()
        b = torch.zeros(channels, dtype=dtype, requires_grad=True)

        def layer(
            x: Tensor = x, b: Tensor = b, up: int = up, fd: Tensor = down[config], pad: Any = (near, far)
        ) -> Tensor:
            return filtered_lrelu(x, taps[6 * up], fd, b, up=up, down=2, padding=[*pad, *pad], clamp=256)

        yield from passes(f"filtered_lrelu {config} {size} up {up} {layout_name}", layer, [x, b])
    rgb = torch.randn(batch, 3, 256, 256).to(dtype).contiguous(memory_format=layout).requires_grad_()
    yield from passes(
        f"filtered_lrelu image 256 {layout_name}", lambda: filtered_lrelu(rgb, gain=1, slope=1, clamp=256), [rgb]
    )


def passes(name: str, forward: Callable[[], Tensor], inputs: list[Tensor]) -> Iterator[Case]:
    """Forward, and forward with backward."""

    def both() -> object:
        y = forward()
        return torch.autograd.grad(y, inputs, torch.ones_like(y))

    def inference() -> Tensor:
        with torch.no_grad():
            return forward()

    yield Case(f"{name} forward", inference, tuple(inputs))
    yield Case(f"{name} forward and backward", both, tuple(inputs), forward)


def seconds(call: Call, repeats: int) -> float:
    started = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - started) / repeats


def compare(call: Call, rounds: int) -> tuple[float, float, float]:
    """Milliseconds of the compiled op and of the reference, and the median of the ratios of neighbours in time."""
    repeats = max(1, int(0.02 / seconds(call, 2)))
    pairs = []
    for _ in range(rounds):
        compiled = seconds(call, repeats)
        with reference_ops():
            pairs.append((compiled, seconds(call, repeats)))
    ratio = statistics.median(reference / compiled for compiled, reference in pairs)
    return 1e3 * min(p[0] for p in pairs), 1e3 * min(p[1] for p in pairs), ratio


def main() -> None:
    dtype = getattr(torch, sys.argv[1]) if len(sys.argv) > 1 else torch.float32
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    load("cpu")
    keep_freed_memory()  # as training does
    print(f"{dtype}, {torch.get_num_threads()} thread(s)\n{'':52} compiled  reference  ratio")
    words = sys.argv[3:]
    for case in cases(dtype):
        if not all(word in case.name for word in words):
            continue
        compiled, reference, ratio = compare(case.call, rounds)
        print(f"{case.name:50} {compiled:8.2f} ms {reference:8.2f} ms {ratio:6.2f}", flush=True)


if __name__ == "__main__":
    main()

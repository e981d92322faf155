"""Nanoseconds of a random number, ours and of torch's generator:
`OMP_NUM_THREADS=2 python tests/bench/bench_random.py [ROUNDS]`.

Two comparisons: the op with a generator of torch that is there already, and `stylegan.rng.normal` as programs call it with one
that is made for the draw. They are timed in turns in one process, on the clock; a ratio is the median of the pairs'.

Ratios on two cores of an AMD EPYC with AVX-512, which other programs had most of. A large draw takes the op 1.2 ns a normal
number and 0.7 ns a uniform one with one thread, torch 3.4 and 2.8 at best; with AVX2 alone the op's ratios are 1.9 to 2.6.

                           op               rng
    threads               1     2         1     2
    normal 2x512         1.2   1.2       0.9   0.9
    normal 8x350000      2.5   2.6       2.6   2.5
    normal 64x3x256x256  2.8   3.7       2.8   3.5
    uniform 2x512        1.3   1.3       0.9   0.9
    uniform 8x350000     5.5   2.8       5.2   2.9
    uniform 64x3x256x256 3.6   3.8       6.8   3.8
"""

import math
import statistics
import sys
from collections.abc import Callable, Sequence
from time import perf_counter

import torch

from stylegan import rng
from stylegan.ops.backend import load
from stylegan.ops.memory import keep_freed_memory
from stylegan.ops.normal import normal, uniform

CPU = torch.device("cpu")
# Latents of two images, layer noise of eight at 256 pixels, noise of path lengths or images of a whole batch.
SHAPES = ((2, [512]), (8, [350_000]), (64, [3, 256, 256]))
KINDS = {"normal": (normal, rng.normal, torch.randn), "uniform": (uniform, rng.uniform, torch.rand)}


def seconds(call: Callable[[], object], repeats: int) -> float:
    started = perf_counter()
    for _ in range(repeats):
        call()
    return (perf_counter() - started) / repeats


def compare(name: str, n: int, shape: Sequence[int], rounds: int) -> tuple[list[float], list[float]]:
    """Least nanoseconds a number of the op, torch, `rng` and torch with a new generator; the ratios of the two pairs."""
    op, ours, torchs = KINDS[name]
    generator, indices, size = torch.Generator().manual_seed(1), torch.arange(n), math.prod(shape)
    calls = [
        lambda: op(1, indices, size),
        lambda: torchs([n, *shape], generator=generator),
        lambda: ours(0, "noise/Gmain", range(1000, 1000 + n), shape, CPU),
        lambda: torchs([n, *shape], generator=rng.generator(0, "noise/Gmain", 1000)),
    ]
    repeats = max(1, int(0.001 / max(seconds(call, 2) for call in calls)))
    times = [[seconds(call, repeats) for call in calls] for _ in range(rounds)]
    least = [1e9 * min(column) / (n * size) for column in zip(*times, strict=True)]
    return least, [statistics.median(row[i + 1] / row[i] for row in times) for i in (0, 2)]


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    load("cpu")
    keep_freed_memory()  # as training does
    print(f"{torch.get_num_threads()} thread(s)\n{'':24}  op  torch  ratio    rng  torch, new generator  ratio")
    for name in KINDS:
        for n, shape in SHAPES:
            least, ratios = compare(name, n, shape, rounds)
            title = f"{name} {'x'.join(map(str, (n, *shape)))}"
            texts = (
                f"{a:6.2f} {b:6.2f} ns {ratio:6.2f}"
                for a, b, ratio in zip(least[::2], least[1::2], ratios, strict=True)
            )
            print(f"{title:20}", "  ".join(texts), flush=True)


if __name__ == "__main__":
    main()

"""Time the mean of gradients over two ranks: `python tests/bench/bench_reduce.py [RESOLUTION [PAIRS [MB ...]]]` (32 10 4 1).

Two processes on gloo, one thread each, run the backward pass of a generator's phase (G and D of StyleGAN2, two images) and
reduce G's gradients: in one flat all-reduce after it, and in buckets of each size MB during it. The two take turns; printed
are the median milliseconds of each, and the median of the pairs' ratios: time with buckets to time without.

On two cores that others used five times over: 15 MiB of gradients, ratios of 0.95 (4 MiB) and 0.96 (1 MiB); with WIDTH = 512 at
64 pixels 103 MiB, 0.89 (25 MiB). There the reduction takes the time of the cores that compute; what it is worth between
machines, or on GPUs, was not measured.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from statistics import median
from time import perf_counter

import torch
import torch.distributed as dist
from torch import Tensor

from stylegan.models.build import DiscriminatorConfig, StyleGAN2Config
from stylegan.training.reduction import GradientBuckets

RANKS = 2
WIDTH = 128  # feature maps at most


def reduce_flat(parameters: Sequence[Tensor]) -> None:
    """What buckets are compared with."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= RANKS
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view(gradient.shape))


def measure(rank: int, folder: str, resolution: int, pairs: int, sizes: list[float]) -> None:
    """One rank; the first one prints."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=RANKS)
    torch.manual_seed(0)
    shape = {"resolution": (resolution, resolution), "channels": 3, "c_dim": 0}
    G = StyleGAN2Config(channel_max=WIDTH).build(**shape)
    D = DiscriminatorConfig(channel_max=WIDTH).build(**shape).requires_grad_(False)
    parameters = list(G.parameters())
    torch.manual_seed(rank)

    def phase(buckets: GradientBuckets | None) -> float:
        for p in parameters:
            p.grad = None
        loss = D(G(torch.randn(2, G.z_dim))).sum()
        dist.barrier()
        started = perf_counter()
        with nullcontext() if buckets is None else buckets.reducing("G"):
            loss.backward()
        if buckets is None:
            reduce_flat(parameters)
        return (perf_counter() - started) * 1000

    for size in sizes:
        buckets = GradientBuckets(parameters, size)
        ways: list[Callable[[], float]] = [lambda: phase(None), lambda buckets=buckets: phase(buckets)]
        times = [[way() for way in ways] for _ in range(pairs + 1)][1:]  # the first learns the order
        if rank == 0:
            flat, bucketed = (median(column) for column in zip(*times, strict=True))
            ratio = median(b / f for f, b in times)
            megabytes = sum(p.grad.nbytes for p in parameters if p.grad is not None) / 2**20
            found = f"flat {flat:.0f} ms, buckets of {size:g} MiB {bucketed:.0f} ms, ratio {ratio:.2f}"
            print(f"{megabytes:.0f} MiB of gradients: {found}", flush=True)
    dist.destroy_process_group()


def main(arguments: list[str]) -> None:
    """Start both ranks."""
    resolution, pairs = (int(argument) for argument in (*arguments[:2], *("32", "10")[len(arguments) :]))
    sizes = [float(argument) for argument in arguments[2:]] or [4.0, 1.0]
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(measure, (folder, resolution, pairs, sizes), nprocs=RANKS)  # pyright: ignore[reportPrivateImportUsage]


if __name__ == "__main__":
    main(sys.argv[1:])

"""Seconds of an iteration on this machine, against what the machine can do and against the reference ops.

All that is compared is run in turns within a round, and ratios are medians of the rounds' own ratios: what else the
machine does then hits both sides. A single number of seconds from a machine that is shared means little.
"""

import copy
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any

import torch
from torch import Tensor, nn

from stylegan.bench.workload import Workload, weighted
from stylegan.ops.backend import reference_ops
from stylegan.ops.update import lerp_
from stylegan.training.adam import Adam

CLOCKS = ("wall", "cpu")
PEAK_SHAPES = ((8, 128, 32), (4, 256, 32))  # N, channels, side: convolutions that reach what a processor can do
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Timer:
    """Measures seconds.

    Attributes:
        clock: `wall`, or `cpu`: seconds of the processor, divided by the number of threads. The second leaves out the time in
            which other processes had the core, but counts that in which threads wait for each other.
    """

    clock: str = "wall"

    def __call__(self, call: Callable[[], object]) -> float:
        """Seconds of one call."""
        now, share = (perf_counter, 1) if self.clock == "wall" else (process_time, torch.get_num_threads())
        started = now()
        call()
        return (now() - started) / share


def peak_gflops(dtype: torch.dtype, timer: Timer) -> float:
    """GFLOP/s of torch's own 3x3 convolution in its best layout: the best of a few, now."""
    best = 0.0
    for n, channels, side in PEAK_SHAPES:
        x = torch.ones(n, channels, side, side, dtype=dtype).contiguous(memory_format=torch.channels_last)
        w = torch.ones(channels, channels, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
        gflop = 2 * 9 * x.numel() * channels / 1e9
        with torch.no_grad():
            seconds = min(timer(lambda x=x, w=w: torch.conv2d(x, w, padding=1)) for _ in range(3))
        best = max(best, gflop / seconds)
    return best


def measure_iteration(
    work: Workload, gflop: float, *, rounds: int, timer: Timer, compare: bool, progress: Progress
) -> dict[str, Any]:
    """Time the phases of an iteration in turns with the peak and, if asked for, with the reference ops.

    Args:
        work: On the CPU.
        gflop: Of the weighted iteration (`cost.iteration_cost`).
        rounds: How often; a first round more warms up.
        timer: The clock.
        compare: Whether the reference ops run, too.
        progress: Is told what is going on.

    Returns:
        Medians: `seconds` by phase and of the weighted `iteration`, `peak_gflops` by dtype, `utilisation` of either peak,
        and `reference_ratio`, how many times as long the reference takes.
    """
    rows: list[dict[str, float]] = []
    for round_ in range(rounds + 1):
        row = {}
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            progress(f"round {round_} of {rounds}: peak {name}")
            row[f"peak {name}"] = peak_gflops(dtype, timer)
        for phase in work.phases:
            progress(f"round {round_} of {rounds}: {phase.name}")
            row[phase.name] = timer(lambda phase=phase: work.run(phase))
            if compare:
                with reference_ops():
                    row[f"reference {phase.name}"] = timer(lambda phase=phase: work.run(phase))
        row["iteration"] = weighted(work.phases, row)
        if compare:
            row["reference"] = weighted(work.phases, {p.name: row[f"reference {p.name}"] for p in work.phases})
        if round_ > 0:
            rows.append(row)

    def median(value: Callable[[dict[str, float]], float]) -> float:
        return statistics.median(map(value, rows))

    names = [*(phase.name for phase in work.phases), "iteration"]
    peaks = {name: median(lambda row, name=name: row[f"peak {name}"]) for name in ("fp32", "bf16")}
    result: dict[str, Any] = {
        "seconds": {name: median(lambda row, name=name: row[name]) for name in names},
        "peak_gflops": peaks,
        "utilisation": {
            name: median(lambda row, name=name: gflop / row["iteration"] / row[f"peak {name}"]) for name in peaks
        },
    }
    if compare:
        result["reference_ratio"] = median(lambda row: row["reference"] / row["iteration"])
    return result


@dataclass(frozen=True)
class Update:
    """What follows the gradients of G in an iteration: the optimizer, a check of the gradients, and the moving average.

    Attributes:
        parameters: Of G, with gradients.
        averages: Of G_ema, in their order.
        run: Does it once.
    """

    parameters: list[nn.Parameter]
    averages: list[Tensor]
    run: Callable[[], None]


def updates(G: nn.Module) -> tuple[Update, Update]:
    """The same update on two copies of a network with the same random gradients: with our ops, and as plain loops.

    The plain loops are: `nan_to_num` on every gradient, `torch.optim.Adam` parameter by parameter, and for the average a lerp
    and a copy of every parameter.
    """
    ours, theirs = (list(copy.deepcopy(G).parameters()) for _ in range(2))
    our_averages, their_averages = ([p.detach().clone() for p in G.parameters()] for _ in range(2))
    for p, q in zip(ours, theirs, strict=True):
        p.grad = torch.randn_like(p)
        q.grad = p.grad.clone()
    our_adam = Adam(list(ours), eps=1e-8)
    our_adam.set_rates(0.002, 0.0, 0.99)
    weight = torch.tensor(0.001, dtype=torch.float64, device=ours[0].device)
    their_adam = torch.optim.Adam(theirs, lr=0.002, betas=(0.0, 0.99), eps=1e-8, foreach=False, fused=False)

    @torch.no_grad()
    def update() -> None:
        assert bool(our_adam.step().isfinite())
        lerp_(our_averages, list(ours), weight)

    @torch.no_grad()
    def plain() -> None:
        for gradient in (p.grad for p in theirs if p.grad is not None):
            torch.nan_to_num(gradient, nan=0.0, posinf=1e5, neginf=-1e5, out=gradient)
        their_adam.step()
        for average, new in zip(their_averages, theirs, strict=True):
            average.copy_(new.lerp(average, 0.999))

    return Update(ours, our_averages, update), Update(theirs, their_averages, plain)


def measure_update(work: Workload, *, rounds: int, timer: Timer, progress: Progress) -> dict[str, float]:
    """Time both `updates` of G in turns.

    Returns:
        Median `seconds` and `plain_seconds`, and the median `ratio`.
    """
    ours, plain = updates(work.networks.G)
    pairs = []
    for round_ in range(rounds + 2):
        progress(f"round {round_} of {rounds}: optimizer, moving average and gradient check")
        pairs.append((timer(ours.run), timer(plain.run)))
    ratios = [b / a for a, b in pairs[2:]]
    seconds, plain_seconds = (statistics.median(column) for column in zip(*pairs[2:], strict=True))
    return {"seconds": seconds, "plain_seconds": plain_seconds, "ratio": statistics.median(ratios)}

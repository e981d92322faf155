"""Step 5: seconds and memory of an iteration, in the formats and with the back ends that there are."""

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch

from stylegan.bench.workload import weighted
from stylegan.ops.backend import Backend, activate, reference_ops
from stylegan.training.graphs import WARM_UP
from tests.gpu.steps.iteration import Iteration, Recipe
from tests.gpu.steps.record import Record, free_memory, run, seconds, synchronize, torch_settings

PUBLISHED = {  # s/kimg, for orientation: other cards, whole trainings with loading and augmentation
    "paper256": "21.6 on a V100 (StyleGAN2-ADA, 256 px)",
    "stylegan3_t256": "49.8 on an A100 (StyleGAN3-T, 256 px)",
    "stylegan3_r256": "56.7 on an A100 (StyleGAN3-R, 256 px)",
}
NEEDS = 8.0  # seconds that a variant is given
NEEDS_BENCHMARK = 35.0  # cuDNN then tries ten algorithms for each of an iteration's convolutions, some 250


@dataclass(frozen=True)
class Variant:
    """One measurement.

    Attributes:
        recipe: What is trained.
        reference: With torch's own functions instead of the compiled ops.
        tf32: With it.
        benchmark: cuDNN tries its algorithms first.
        deterministic: cuDNN takes only algorithms that give the same bits each time.
        whole: Whether iterations are run as in training, instead of phase by phase.
    """

    recipe: Recipe
    reference: bool = False
    tf32: bool = False
    benchmark: bool = False
    deterministic: bool = False
    whole: bool = False

    @property
    def name(self) -> str:
        """For people."""
        r = self.recipe
        ops = "reference" if self.reference else "compiled"
        parts = [r.name, f"{r.resolution} px", f"batch {r.batch}", r.precision, ops]
        parts += ["tf32"] * self.tf32 + ["benchmark"] * self.benchmark + ["deterministic"] * self.deterministic
        return ", ".join([*parts, *["ADA"] * r.augment, *["whole"] * self.whole, *["graphs"] * r.graphs])

    @property
    def needs(self) -> float:
        """Seconds."""
        return NEEDS_BENCHMARK if self.benchmark else NEEDS


def variants(tiny: bool) -> list[Variant]:
    """The most important first."""
    if tiny:
        small = Recipe("demo64", 16, 4)
        return [Variant(small), Variant(small, reference=True), Variant(small, whole=True)]
    paper = {p: Recipe("paper256", 256, 8, p) for p in ("fp32", "bf16", "fp16")}
    alias = {p: Recipe("stylegan3_t256", 256, 8, p) for p in ("fp32", "bf16")}
    large = {p: Recipe("stylegan2_ada_paper1024", 1024, 4, p) for p in ("fp32", "bf16")}
    graphs = lambda recipe: replace(recipe, graphs=True)  # noqa: E731
    ADA = {p: Recipe("paper256", 256, 8, p, augment=True) for p in ("fp32", "bf16")}
    return [
        Variant(paper["bf16"], whole=True),
        Variant(graphs(paper["bf16"]), whole=True),
        Variant(paper["fp32"], whole=True),
        Variant(graphs(paper["fp32"]), whole=True),
        Variant(ADA["bf16"], whole=True),
        Variant(graphs(ADA["bf16"]), whole=True),
        Variant(graphs(large["bf16"]), whole=True),
        Variant(large["bf16"], whole=True),
        Variant(graphs(alias["bf16"]), whole=True),
        Variant(alias["bf16"], whole=True),
        Variant(large["fp32"], whole=True),
        Variant(graphs(paper["fp16"]), whole=True),
        Variant(paper["fp32"]),
        Variant(paper["bf16"]),
        Variant(paper["fp32"], reference=True),
        Variant(paper["bf16"], reference=True),
        Variant(graphs(Recipe("paper256", 256, 32, "bf16")), whole=True),
        Variant(graphs(alias["fp32"]), whole=True),
        Variant(graphs(paper["fp32"]), whole=True, tf32=True),
        Variant(graphs(paper["bf16"]), whole=True, benchmark=True),
        Variant(paper["bf16"], whole=True, benchmark=True),
        Variant(graphs(paper["fp32"]), whole=True, benchmark=True),
        Variant(Recipe("stylegan3_r256", 256, 8, "bf16"), whole=True),
        Variant(paper["fp32"], deterministic=True),
    ]


def step(record: Record) -> None:
    """One after the other, each with networks of its own."""
    activate(Backend.compiled, record.device)
    for variant in variants(record.tiny):
        record.attempt(variant.name, lambda variant=variant: measure(record, variant), variant.needs)
        free_memory(record.device)


def measure(record: Record, variant: Variant) -> dict[str, Any]:
    """Median milliseconds by phase, with its update; s/kimg of the weighted iteration; memory; what measuring took.

    Memory is the most that was allocated at a time, in GB: first while everything ran for the first times, when cuDNN may
    try algorithms that need more, then afterwards.
    """
    device, took, clock = record.device, {}, _Clock()
    with ExitStack() as stack:
        stack.enter_context(
            torch_settings(tf32=variant.tf32, benchmark=variant.benchmark, deterministic=variant.deterministic)
        )
        if variant.reference:
            stack.enter_context(reference_ops())
        _forget_peak(device)
        iteration = Iteration(variant.recipe, device)
        synchronize(device)
        took["build"] = clock.lap()
        calls = {} if variant.whole else iteration.phase_calls()
        for call in calls.values() or [iteration.run]:
            for _ in range(1 if record.tiny else WARM_UP + 1):
                call()
        synchronize(device)
        took["warm-up"] = clock.lap()
        warm_up_gb = _forget_peak(device)
        if variant.whole:
            # The first one has all phases; over 16 each runs as often as it should.
            count, iteration.state.step = 2 if record.tiny else 16, 0

            def many() -> None:
                for _ in range(count):
                    iteration.whole()

            per_iteration = seconds(device, many) / count
            result: dict[str, Any] = {}
        else:
            phases = {name: record.median(call, warm_up=0) for name, call in calls.items()}
            result = {"ms": {name: round(value * 1e3, 2) for name, value in phases.items()}}
            per_iteration = weighted(iteration.phases, phases)
        took["measuring"] = clock.lap()
    result |= {
        "iteration_ms": round(per_iteration * 1e3, 2),
        "sec_per_kimg": round(per_iteration * 1000 / variant.recipe.batch, 2),
        "took": took,
    }
    if variant.recipe.name in PUBLISHED:
        result["published"] = PUBLISHED[variant.recipe.name]
    if device.type == "cuda":
        result |= {"peak_gb": _forget_peak(device), "warm_up_peak_gb": warm_up_gb}
    return result


class _Clock:
    """Seconds between two looks at it."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def lap(self) -> float:
        now = time.monotonic()
        passed, self._last = now - self._last, now
        return round(passed, 2)


def _forget_peak(device: torch.device) -> float:
    """The most GB that were allocated at a time since the last call."""
    if device.type != "cuda":
        return 0.0
    peak = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return round(peak / 1e9, 2)


if __name__ == "__main__":
    run(step)

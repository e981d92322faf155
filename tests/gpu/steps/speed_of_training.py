"""Step 5: seconds and memory of an iteration, in the formats and with the back ends that there are."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from stylegan.bench.workload import weighted
from stylegan.ops.backend import Backend, activate, reference_ops
from tests.gpu.steps.iteration import Iteration, Recipe
from tests.gpu.steps.record import Record, free_memory, run, seconds, synchronize
from tests.gpu.steps.speed_of_ops import tf32

PUBLISHED = {  # s/kimg, for orientation: other cards, whole trainings with loading and augmentation
    "paper256": "21.6 on a V100 (StyleGAN2-ADA, 256 px)",
    "stylegan3_t256": "49.8 on an A100 (StyleGAN3-T, 256 px)",
    "stylegan3_r256": "56.7 on an A100 (StyleGAN3-R, 256 px)",
}


@dataclass(frozen=True)
class Variant:
    """One measurement.

    Attributes:
        recipe: What is trained.
        reference: With torch's own functions instead of the compiled ops.
        tf32: With it.
        benchmark: cuDNN tries its algorithms first.
        whole: Whether draws on the CPU and their copies are measured, too.
    """

    recipe: Recipe
    reference: bool = False
    tf32: bool = False
    benchmark: bool = True
    whole: bool = False

    @property
    def name(self) -> str:
        """For people."""
        r = self.recipe
        parts = [
            r.name,
            f"{r.resolution} px",
            f"batch {r.batch}",
            r.precision,
            "reference" if self.reference else "compiled",
        ]
        parts += ["tf32"] * self.tf32 + ["no benchmark"] * (not self.benchmark) + ["ADA"] * r.augment
        return ", ".join([*parts, *["with draws"] * self.whole])


def variants(tiny: bool) -> list[Variant]:
    """The most important first."""
    if tiny:
        small = Recipe("demo64", 16, 4)
        return [Variant(small), Variant(small, reference=True), Variant(small, whole=True)]
    paper = {p: Recipe("paper256", 256, 8, p) for p in ("fp32", "bf16", "fp16")}
    alias = {p: Recipe("stylegan3_t256", 256, 8, p) for p in ("fp32", "bf16", "fp16")}
    large = {p: Recipe("stylegan2_ada_paper1024", 1024, 4, p) for p in ("fp32", "bf16", "fp16")}
    return [
        *(Variant(paper[p], reference=reference) for p in ("fp32", "bf16") for reference in (False, True)),
        Variant(paper["fp16"]),
        Variant(paper["fp32"], tf32=True),
        Variant(paper["fp32"], benchmark=False),
        Variant(paper["fp32"], whole=True),
        *(Variant(Recipe("paper256", 256, 32, p)) for p in ("bf16", "fp32")),
        *(Variant(large[p], reference=reference) for p in ("bf16",) for reference in (False, True)),
        *(Variant(alias[p], reference=reference) for p in ("fp32", "bf16") for reference in (False, True)),
        Variant(large["fp32"]),
        Variant(Recipe("paper256", 256, 32, "fp32"), tf32=True),
        Variant(Recipe("paper256", 256, 32, "fp16")),
        Variant(Recipe("paper256", 256, 32, "bf16"), reference=True),
        Variant(Recipe("stylegan3_t256", 256, 32, "bf16")),
        Variant(alias["fp16"]),
        Variant(Recipe("stylegan3_r256", 256, 8, "fp32")),
        Variant(Recipe("stylegan3_r256", 256, 8, "bf16")),
        Variant(Recipe("paper256", 256, 8, "fp32", augment=True), whole=True),
        Variant(Recipe("paper256", 256, 64, "bf16")),
    ]


def step(record: Record) -> None:
    """One after the other, each with networks of its own."""
    activate(Backend.compiled, record.device)
    for variant in variants(record.tiny):
        record.attempt(variant.name, lambda variant=variant: measure(record, variant))
        free_memory(record.device)


def measure(record: Record, variant: Variant) -> dict[str, Any]:
    """Median milliseconds by phase, with its update; s/kimg of the weighted iteration; memory."""
    device, cuda = record.device, record.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    with ExitStack() as stack:
        stack.enter_context(tf32(variant.tf32))
        stack.enter_context(reference_ops()) if variant.reference else None
        torch.backends.cudnn.benchmark = variant.benchmark
        iteration = Iteration(variant.recipe, device)
        if variant.whole:
            iterations = (
                2 if record.tiny else 16
            )  # the first has all phases; over 16 of them each runs as often as it should
            iteration.whole()
            synchronize(device)
            iteration.state.step = 0

            def many() -> None:
                for _ in range(iterations):
                    iteration.whole()

            per_iteration = seconds(device, many) / iterations
            result: dict[str, Any] = {}
        else:
            phases = {name: record.median(call, budget=0.3) for name, call in iteration.phase_calls().items()}
            result = {"ms": {name: round(value * 1e3, 2) for name, value in phases.items()}}
            per_iteration = weighted(iteration.phases, phases)
    result |= {
        "iteration_ms": round(per_iteration * 1e3, 2),
        "sec_per_kimg": round(per_iteration * 1000 / variant.recipe.batch, 2),
        "published": PUBLISHED.get(variant.recipe.name, "") if variant.recipe.resolution == 256 else "",
    }
    if cuda:
        result["peak_gb"] = round(torch.cuda.max_memory_allocated(device) / 1e9, 2)
    return result


if __name__ == "__main__":
    run(step)

"""`stylegan bench`: run what was asked for, print tables, and write the numbers as JSON."""

import json
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from stylegan.bench.cost import Cost, as_json, iteration_cost
from stylegan.bench.speed import CLOCKS, Progress, Timer, measure_iteration, measure_update
from stylegan.bench.workload import configuration, workload
from stylegan.errors import UserError
from stylegan.files import atomic_write
from stylegan.models.layers import Precision
from stylegan.ops.backend import Backend, activate
from stylegan.ops.memory import keep_freed_memory
from stylegan.training.config import TrainConfig, resolved
from stylegan.training.memory import check_training_memory

RESOLUTIONS = (32, 64, 128, 256, 512, 1024)
BATCH_SIZES = (1, 4, 16, 64)
MEASURED_BATCH = 4  # the smallest that all phases can use: minibatch statistics in D, halved batches in Greg
LARGEST_MEASURED = 256  # pixels: from there on an iteration takes minutes on a CPU


@dataclass(frozen=True)
class BenchOptions:
    """What `stylegan bench` was asked for.

    Attributes:
        names: Configurations (`workload.CONFIGURATIONS`) or experiments.
        resolution, batch_size: Instead of the configuration's own; None leaves it.
        precision: `fp32`, `bf16` or `fp16` for G and D.
        rounds: Repetitions.
        threads: Of torch; None leaves it.
        clock: `wall` or `cpu`, see `Timer`.
        compare: Whether the reference ops are timed, too.
        out: JSON file to write; None for none.
    """

    names: tuple[str, ...] = ("demo64",)
    resolution: int | None = None
    batch_size: int | None = None
    precision: str = "fp32"
    rounds: int = 5
    threads: int | None = None
    clock: str = "wall"
    compare: bool = True
    out: Path | None = None

    def __post_init__(self) -> None:
        if self.precision not in Precision.__members__:
            raise UserError(f"--precision {self.precision}: give one of {', '.join(Precision.__members__)}")
        if self.clock not in CLOCKS:
            raise UserError(f"--clock {self.clock}: give one of {', '.join(CLOCKS)}")
        for name in ("resolution", "batch_size", "rounds", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name.replace('_', '-')} {value}: must be at least 1")


def bench(options: BenchOptions) -> dict[str, Any]:
    """Time iterations; print a table a configuration, and return what goes into the JSON file.

    Raises:
        UserError: Unknown configuration, or the compiled ops cannot be built.
    """
    console = Console()
    result = {"machine": _prepare(options), "configurations": {}}
    for name in options.names:
        config, resolution, batch_size = _sized(name, options)
        costs = iteration_cost(config, resolution, batch_size)
        work = workload(config, resolution=resolution, batch_size=batch_size, device="cpu")
        timer = Timer(options.clock)
        with console.status(name) as status:

            def progress(text: str, name: str = name) -> None:
                status.update(f"{name}: {text}")

            gflop = costs["iteration"].gflop
            found = measure_iteration(
                work, gflop, rounds=options.rounds, timer=timer, compare=options.compare, progress=progress
            )
            found["update"] = measure_update(work, rounds=max(options.rounds, 5), timer=timer, progress=progress)
        found |= {"resolution": resolution, "batch_size": batch_size, "gflop": gflop, "parameters": work.parameters}
        result["configurations"][name] = found
        console.print(_speed_table(name, found, costs))
    console.print("Medians of paired rounds; on a shared machine only the ratios mean something.")
    _write(options.out, result)
    return result


def bench_cost(options: BenchOptions) -> dict[str, Any]:
    """Count what iterations cost, without computing anything."""
    console, result = Console(), {}
    for name in options.names:
        config, resolution, batch_size = _sized(name, options)
        costs = iteration_cost(config, resolution, batch_size)
        table = Table(title=f"{name}: {resolution} px, batch {batch_size}")
        for heading in ("", "GFLOP", "ops", "GB of other ops", "GB saved"):
            table.add_column(heading, justify="right")
        for phase, cost in costs.items():
            row = (f"{cost.gflop:.0f}", f"{cost.ops:.0f}", f"{cost.other_gb:.2f}", f"{cost.saved_gb:.2f}")
            table.add_row(phase, *row)
        console.print(table)
        result[name] = {"resolution": resolution, "batch_size": batch_size, "costs": as_json(costs)}
    _write(options.out, result)
    return result


def bench_growth(options: BenchOptions) -> dict[str, Any]:
    """How cost grows with resolution and batch; seconds up to 256 pixels at one batch size, one round each."""
    console, machine, rows = Console(), _prepare(options), []
    config, _, _ = _sized(options.names[0], options)
    table = Table(title=f"{options.names[0]}: one weighted iteration")
    for heading in ("px", "batch", "M parameters", "GFLOP", "ops", "GB of other ops", "GB saved", "s"):
        table.add_column(heading, justify="right")
    with console.status("") as status:
        for resolution in RESOLUTIONS if options.resolution is None else (options.resolution,):
            for batch_size in BATCH_SIZES if options.batch_size is None else (options.batch_size,):

                def progress(text: str, where: str = f"{resolution} px, batch {batch_size}") -> None:
                    status.update(f"{where}: {text}")

                row = _growth_row(config, resolution, batch_size, options, progress)
                rows.append(row)
                seconds = "" if row["seconds"] is None else f"{row['seconds']:.2f}"
                numbers = (
                    f"{row['gflop']:.0f}",
                    f"{row['ops']:.0f}",
                    f"{row['other_gb']:.1f}",
                    f"{row['saved_gb']:.2f}",
                )
                table.add_row(str(resolution), str(batch_size), f"{row['parameters'] / 1e6:.1f}", *numbers, seconds)
    console.print(table)
    result = {"machine": machine, "growth": rows}
    _write(options.out, result)
    return result


def _growth_row(
    config: TrainConfig, resolution: int, batch_size: int, options: BenchOptions, progress: Progress
) -> dict[str, Any]:
    progress("counting")
    cost = iteration_cost(config, resolution, batch_size)["iteration"]
    measured = resolution <= LARGEST_MEASURED and batch_size == (options.batch_size or MEASURED_BATCH)
    device = "cpu" if measured else "meta"
    work = workload(config, resolution=resolution, batch_size=batch_size, device=device)
    row = {"resolution": resolution, "batch_size": batch_size, "parameters": sum(work.parameters.values())}
    row |= as_json({"cost": cost})["cost"] | {"seconds": None}
    if measured:
        timer = Timer(options.clock)
        found = measure_iteration(work, cost.gflop, rounds=1, timer=timer, compare=False, progress=progress)
        row["seconds"] = found["seconds"]["iteration"]
    return row


def _prepare(options: BenchOptions) -> dict[str, Any]:
    """Set torch up as for training, and say what was measured on."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    ops = activate(Backend.compiled, torch.device("cpu"))
    return {
        "processor": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "ops": ops.name,
        "keeps_freed_memory": keep_freed_memory(),
        "clock": options.clock,
        "precision": options.precision,
    }


def _sized(name: str, options: BenchOptions) -> tuple[TrainConfig, int, int]:
    """A configuration in the precision asked for, the side of its images, and its batch."""
    config, precision = configuration(name), Precision[options.precision]
    model = config.model
    for network in (model.G, model.D):
        if not hasattr(network, "precision") and precision is not Precision.fp32:
            raise UserError(f"precision={precision.name}: a {network.kind} computes in fp32 only")
    G, D = (replace(n, precision=precision) if hasattr(n, "precision") else n for n in (model.G, model.D))
    model = replace(model, G=G, D=D)
    side = options.resolution or config.data.resolution
    config = resolved(replace(config, model=model), resolution=(side, side), images=config.data.count, ranks=1)
    batch_size = options.batch_size or config.training.micro_batch or 1
    asked = replace(config, training=replace(config.training, batch_size=batch_size))
    check_training_memory(asked, {"resolution": (side, side), "channels": 3, "c_dim": 0})
    return config, side, batch_size


def _speed_table(name: str, found: dict[str, Any], costs: dict[str, Cost]) -> Table:
    table = Table(title=f"{name}: {found['resolution']} px, batch {found['batch_size']}", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for phase, seconds in found["seconds"].items():
        table.add_row(phase, f"{seconds:.3f} s, {costs[phase].gflop:.0f} GFLOP")
    for kind, share in found["utilisation"].items():
        table.add_row(f"of the {kind} peak", f"{share:.0%} ({found['peak_gflops'][kind]:.0f} GFLOP/s)")
    if "reference_ratio" in found:
        table.add_row("reference ops take", f"{found['reference_ratio']:.2f} times as long")
    update = found["update"]
    table.add_row(
        "optimizer and average", f"{update['seconds'] * 1e3:.2f} ms, plain loops {update['ratio']:.2f} times that"
    )
    table.add_row("images/s", f"{found['batch_size'] / found['seconds']['iteration']:.1f} (phases alone)")
    return table


def _write(out: Path | None, result: dict[str, Any]) -> None:
    if out is not None:
        atomic_write(out, json.dumps(result, indent=2) + "\n")

"""Counts of what an iteration costs that do not depend on the machine, made on the meta device, where nothing is computed.

They stand in for measurements on devices that nobody here has: they cannot show how fast a kernel is, but a change that doubles
the bytes which pass through memory shows at once, everywhere.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from stylegan.augment.build import AugmentConfig, AugmentKind
from stylegan.bench.workload import WholeIteration, Workload, weighted, workload
from stylegan.ops import torch_private
from stylegan.ops.torch_private import TorchDispatchMode, flop_registry, tree_leaves
from stylegan.training.config import TrainConfig
from stylegan.training.memory import Saved

# Ops that look at a tensor in another way, make room without filling it, or speak to the profiler: no pass over memory.
VIEWS = frozenset(
    name
    for line in (
        "view _unsafe_view reshape permute transpose t expand slice select unsqueeze squeeze detach as_strided split",
        "split_with_sizes unbind alias narrow chunk unfold diagonal empty empty_like new_empty empty_strided set_ item",
        "new_empty_strided _reshape_alias is_same_size lift_fresh detach_ _local_scalar_dense",
        "_record_function_enter_new _record_function_exit",
    )
    for name in line.split()
)
COMPUTE_BOUND = 8  # FLOPs a byte: with fewer, a convolution waits for memory like any other op


@dataclass(frozen=True)
class Cost:
    """What one phase, or the weighted iteration, costs.

    Attributes:
        gflop: Multiplications and additions of convolutions and matrix products, in units of 10^9.
        ops: Ops that the dispatcher starts, views left out: kernels, for a GPU.
        other_gb: Bytes in and out of all ops but compute-bound convolutions, in units of 10^9.
        saved_gb: Bytes that the backward pass needs kept besides parameters, in units of 10^9. Of an iteration: the most of
            any phase.
        host_reads: How often the host asks for a value, for which it would have to wait. Of an iteration: with all that belongs
            to it besides the losses: draws, ADA's augmentations, updates, averages, sums for the log.
    """

    gflop: float
    ops: float
    other_gb: float
    saved_gb: float
    host_reads: int


class HostReads(TorchDispatchMode):
    """Counts where values leave the meta device, and makes some up."""

    def __init__(self) -> None:
        super().__init__()
        self.host_reads = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name, to = func.__name__.split(".")[0], torch.device(kwargs.get("device") or "meta")
        asks = name == "_local_scalar_dense" or (name == "_to_copy" and to.type == "cpu")
        if not asks or not args[0].is_meta:
            return self.count(func, args, kwargs)
        self.host_reads += 1
        made_up = torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        return made_up if name == "_to_copy" else made_up.item()

    def count(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the op."""
        return func(*args, **kwargs)


class _Counter(HostReads):
    def __init__(self) -> None:
        super().__init__()
        self.flops = self.ops = self.other_bytes = 0

    def count(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the op, and count what it costs."""
        out = func(*args, **kwargs)
        name = func.__name__.split(".")[0]
        formula = flop_registry.get(torch_private.packet(func))
        flops = formula(*args, **kwargs, out_val=out) if formula else 0
        self.flops += flops
        if name not in VIEWS:
            moved = sum(_bytes(t) for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor))
            self.ops += 1
            self.other_bytes += 0 if "conv" in name and flops > COMPUTE_BOUND * moved else moved
        return out


def phase_cost(work: Workload, name: str) -> Cost:
    """Run one phase on the meta device and count."""
    phase = next(p for p in work.phases if p.name == name)
    saved = Saved(work.networks.G, work.networks.D)
    with saved, _Counter() as counter:
        work.run(phase)
    return Cost(counter.flops / 1e9, counter.ops, counter.other_bytes / 1e9, saved.bytes / 1e9, counter.host_reads)


def iteration_cost(config: TrainConfig, resolution: int, batch_size: int) -> dict[str, Cost]:
    """The costs of all phases by name, and of the weighted `iteration`."""
    work = workload(config, resolution=resolution, batch_size=batch_size, device="meta")
    costs = {phase.name: phase_cost(work, phase.name) for phase in work.phases}
    gflop, ops, other_gb = (
        weighted(work.phases, {name: getattr(cost, field) for name, cost in costs.items()})
        for field in ("gflop", "ops", "other_gb")
    )
    saved_gb, reads = max(cost.saved_gb for cost in costs.values()), host_reads(config, resolution, batch_size)
    return {**costs, "iteration": Cost(gflop, ops, other_gb, saved_gb, reads)}


def host_reads(config: TrainConfig, resolution: int, batch_size: int) -> int:
    """How often the host asks for a value in a whole iteration with all phases and ADA."""
    augment = AugmentConfig(AugmentKind.ada, p=0.5, interval=1)
    iteration = WholeIteration(replace(config, augment=augment), resolution, batch_size, torch.device("meta"))
    iteration.run()  # makes what later ones have
    with HostReads() as counter:
        iteration.run()
    return counter.host_reads


def as_json(costs: dict[str, Cost]) -> dict[str, dict[str, float]]:
    """Rounded as they are kept in a file."""
    return {name: {k: round(v, 3) for k, v in asdict(cost).items()} for name, cost in costs.items()}


def risen(costs: dict[str, Cost], recorded: Path, configuration: str) -> list[str]:
    """Where costs are higher than a file (`tests/bench/costs.json`) says of a configuration, or where it says nothing; one line
    each."""
    before = json.loads(recorded.read_text())["configurations"].get(configuration, {}).get("costs", {})
    found = []
    for name, values in as_json(costs).items():
        for field, value in values.items():
            old = before.get(name, {}).get(field)
            if old is None or value > old:
                found.append(f"{name}.{field}: {value}, recorded is {old}")
    return found


def _bytes(t: Tensor) -> int:
    """Of the elements that lie in memory; a broadcast one counts once."""
    count = t.numel()
    for size, stride in zip(t.shape, t.stride(), strict=True):
        if stride == 0 and size > 1:
            count //= size
    return count * t.element_size()


def _register(op: Any, formula: Callable[..., int]) -> None:
    if op not in flop_registry:
        register_flop_formula(op)(formula)


def _conv2d_flops(x: list[int], w: list[int], *_: Any, out_shape: list[int], **__: Any) -> int:
    return 2 * _product(w) * out_shape[0] * out_shape[2] * out_shape[3]


def _conv2d_input_flops(dy: list[int], w: list[int], *_: Any, out_shape: list[int], **__: Any) -> int:
    return 2 * _product(w) * dy[0] * dy[2] * dy[3]


def _conv2d_weight_flops(dy: list[int], x: list[int], *_: Any, out_shape: list[int], **__: Any) -> int:
    return 2 * _product(out_shape) * dy[0] * dy[2] * dy[3]


def _demodulation_flops(s: list[int], w: list[int], *_: Any, **__: Any) -> int:
    return 2 * s[0] * s[1] * w[0]


def _demodulation_grad_flops(
    dd: list[int], s: list[int], w: list[int], d: list[int], wanted: list[bool], *_: Any, **__: Any
) -> int:
    return _demodulation_flops(s, w) * sum(wanted)


def _demodulation_grad2_flops(
    dds: Any, ddw: Any, dd: list[int], s: list[int], w: list[int], d: list[int], wanted: list[bool], *_: Any, **__: Any
) -> int:
    up = (dds is not None) + (
        ddw is not None
    )  # v takes a product for each; the results two, and one more for the other
    return _demodulation_flops(s, w) * (up + wanted[0] * (1 + up) + wanted[1] * (1 + up))


def _product(sizes: list[int]) -> int:
    result = 1
    for size in sizes:
        result *= size
    return result


_register(torch.ops.stylegan.conv2d, _conv2d_flops)
_register(torch.ops.stylegan.conv2d_input, _conv2d_input_flops)
_register(torch.ops.stylegan.conv2d_weight, _conv2d_weight_flops)
_register(torch.ops.stylegan.demodulation, _demodulation_flops)
_register(torch.ops.stylegan.demodulation_grad, _demodulation_grad_flops)
_register(torch.ops.stylegan.demodulation_grad2, _demodulation_grad2_flops)

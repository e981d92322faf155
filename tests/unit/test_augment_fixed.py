"""Augmentation where shapes are fixed: it runs where no value can be read, and always by the same ops."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from stylegan.augment import geometry
from stylegan.augment.ada import ADAController
from stylegan.augment.blur import blurred
from stylegan.augment.diffaugment import POLICIES, DiffAugment
from stylegan.augment.pipe import Augment, AugmentPipe
from stylegan.augment.strengths import PRESETS, PipeConfig
from stylegan.ops.torch_private import TorchDispatchMode, identity, tree_leaves

SIZE = (12, 10)
WAYS = [*PRESETS, "DiffAugment"]


def way_of(name: str, *, fixed: bool = True) -> Augment:
    if name == "DiffAugment":
        return DiffAugment(POLICIES, resolution=SIZE)
    return AugmentPipe(PipeConfig(preset=name), channels=3, resolution=SIZE, fixed=fixed)


def twice_differentiated(way: Augment, indices: Tensor, p: Tensor, images: Tensor) -> Tensor:
    """As R1 does it: the gradient's gradient of augmented and blurred images."""
    augmented = way.draw(0, "x", indices, p, images.device)(blurred(images, p * 2, 2.0))
    (gradient,) = torch.autograd.grad(augmented.pow(3).sum(), images, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), images)
    return second


class Trace(TorchDispatchMode):
    """Notes every op, with all that it is given and gives: tensors by shape, dtype and device, the rest by value; and ops that
    are given a tensor of which no op before has heard, such as one of Python's numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.ops: list[tuple[Any, ...]] = []
        self.surprised: list[str] = []
        self._known: dict[int, Tensor] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = tree_leaves((args, dict(kwargs or {})))
        out = func(*args, **(kwargs or {}))
        if any(isinstance(x, Tensor) and identity(x.untyped_storage()) not in self._known for x in given):
            self.surprised.append(str(func))
        leaves = [*given, *tree_leaves(out)]
        self._known |= {identity(x.untyped_storage()): x for x in leaves if isinstance(x, Tensor)}
        noted = [(x.shape, x.dtype, x.device) if isinstance(x, Tensor) else x for x in leaves]
        self.ops.append((str(func), *noted))
        return out


def traced(run: Callable[[], Any], trace: Trace | None = None) -> Trace:
    with trace or Trace() as made:
        run()
    return made


def on_meta() -> tuple[Tensor, Tensor, Tensor]:
    """Indices, p and images."""
    indices = torch.empty(4, dtype=torch.int64, device="meta")
    p, images = torch.empty([], dtype=torch.float64, device="meta"), torch.empty(4, 3, *SIZE, device="meta")
    return indices, p, images.requires_grad_(True)


def second_time(way: Augment) -> Trace:
    """What an iteration on `meta` runs after one in which constants were made."""
    indices, p, images = on_meta()
    run = lambda: twice_differentiated(way, indices, p, images)  # noqa: E731
    trace = traced(run)
    trace.ops.clear()
    trace.surprised.clear()
    return traced(run, trace)


@pytest.mark.parametrize("name", WAYS)
def test_no_value_is_read_and_nothing_comes_from_the_host(name: str) -> None:
    """On `meta` a read raises, and every tensor comes from an op on it or is known from the time before."""
    trace = second_time(way_of(name))
    tensors = [x for op in trace.ops for x in op if isinstance(x, tuple) and len(x) == 3]
    assert len(trace.ops) > 50 and {device.type for _, _, device in tensors} == {"meta"}
    assert not trace.surprised


def test_what_reads_values_fails_on_meta_and_what_comes_from_the_host_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail."""
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        second_time(way_of("bg", fixed=False))
    pair = lambda x, y, device: torch.tensor([x, y], dtype=torch.float64, device=device)  # noqa: E731
    monkeypatch.setattr(geometry, "_pair", pair)
    assert second_time(way_of("bg")).surprised


@pytest.mark.parametrize("name", WAYS)
def test_whatever_is_drawn_the_ops_are_the_same(name: str) -> None:
    """Ops, shapes and Python's numbers, with other indices and p from nothing to all."""
    images = torch.rand(4, 3, *SIZE).requires_grad_(True)
    traces = {}
    for fixed in (True, False):
        way = way_of(name, fixed=fixed)
        runs = [(torch.arange(4), 0.0), (torch.tensor([7, 2, 90, 5]), 0.3), (torch.arange(40, 44), 1.0)]
        runs = [(indices, torch.tensor(p, dtype=torch.float64)) for indices, p in runs]
        twice_differentiated(way, *runs[0], images)
        traces[fixed] = [traced(lambda i=i, p=p, way=way: twice_differentiated(way, i, p, images)).ops for i, p in runs]
    first, *others = traces[True]
    assert all(other == first for other in others)
    if name != "DiffAugment":
        assert any(other != traces[False][0] for other in traces[False][1:]), "the other way looks at what is drawn"


def test_ada_adapts_where_no_value_can_be_read() -> None:
    ada = ADAController(0.5, 0.6, 500, 2, 1.0, "meta")
    p = ada.p
    for _ in range(5):
        ada.update(torch.empty(8, device="meta"))
    assert ada.p is p and p.device.type == "meta" and ada.r_t is not None and ada.iterations == 1
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        ada.state_dict()


def test_margins_of_stretches_without_end_are_those_of_the_side() -> None:
    config = PipeConfig(preset="bgc", scale_std=100, aniso_std=100)
    drawn = AugmentPipe(config, channels=3, resolution=(32, 32), fixed=True).draw(0, "s", [0, 1], 0.5, "cpu")
    assert drawn.margin == (31, 31, 31, 31)

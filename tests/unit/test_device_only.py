"""An iteration works on the device alone: it runs where nothing can be read, and, recorded, once more with other values."""

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import pytest
import torch
from torch import Tensor

from stylegan.augment.build import AugmentConfig, AugmentKind
from stylegan.augment.strengths import PipeConfig
from stylegan.errors import UserError
from stylegan.losses.logistic import LogisticConfig
from stylegan.models.mapping import MappingConfig
from stylegan.models.stylegan3 import StyleGAN3Config
from stylegan.schedule import Ramp, StageConfig
from stylegan.training.adam import OptimConfig
from stylegan.training.graphs import WARM_UP, GraphMode, Graphs, build_graphs
from stylegan.training.step import OnNonfinite, Outcome
from stylegan.training.totals import Values
from tests.unit.growing import GrowingDConfig, GrowingGConfig
from tests.unit.tiny import tiny_pair
from tests.unit.traces import Trace, TraceRecorder, tensors
from tests.unit.training import Iterations, Training, training_of

SHAPE: dict[str, Any] = {"resolution": (16, 16), "channels": 3, "c_dim": 0}
GIVEN = 4  # small lists that an iteration is given: positions, the rates of two optimisers, the weight of the average
LAZY: dict[str, Any] = {"r1_interval": 2, "pl_interval": 2}  # every phase soon enough


def plain() -> Training:
    loss = LogisticConfig(r1_gamma=Ramp(2, 0.5, 0.1), style_mixing_prob=0.5, **LAZY)
    optim = OptimConfig(G_lr=Ramp(0.004, 0.001, 0.06), beta2=Ramp(0.9, 0.99, 0.06), beta1=Ramp(0, 0.5, 0.06))
    return training_of(*tiny_pair(), loss, optim)


def augmented(kind: AugmentKind) -> Training:
    pipe = PipeConfig(preset="bgcfnc")
    p: Any = 0.3 if kind is AugmentKind.ada else Ramp(0.2, 1, 0.05)
    augment = AugmentConfig(kind, p=p, pipe=pipe, interval=2, speed_kimg=0.2)
    return training_of(*tiny_pair(), LogisticConfig(r1_gamma=1.0, **LAZY), augment=augment)


def alias_free() -> Training:
    _, D = tiny_pair()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = StyleGAN3Config(
            num_layers=4, z_dim=8, w_dim=8, channel_base=128, channel_max=8, mapping=MappingConfig(num_layers=1)
        )
        G = config.build(**SHAPE)
    loss = LogisticConfig(r1_gamma=1.0, pl_weight=0, style_mixing_prob=0, blur_sigma=Ramp(1.5, 0, 0.05), r1_interval=2)
    return training_of(G, D, loss)


def growing() -> Training:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        G, D = GrowingGConfig().build(**SHAPE), GrowingDConfig().build(**SHAPE)
    stages = [
        StageConfig(resolution=4, batch_size=8),
        StageConfig(start_kimg=0.04, resolution=8, fade_kimg=0.05, batch_size=8, lr=0.001),
    ]
    loss = LogisticConfig(r1_gamma=1.0, pl_weight=0, style_mixing_prob=0, r1_interval=2)
    return training_of(G, D, loss, stages=stages)


TRAININGS: dict[str, Callable[[], Training]] = {
    "stylegan2, everything changes": plain,
    "ADA": lambda: augmented(AugmentKind.ada),
    "a ramp of p": lambda: augmented(AugmentKind.fixed),
    "DiffAugment": lambda: augmented(AugmentKind.diffaugment),
    "stylegan3, blur": alias_free,
    "growing": growing,
}


def images_of(training: Training, device: str = "cpu") -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, [24, 3, 16, 16], dtype=torch.uint8, generator=generator).to(device)


class Places(Trace):
    """Notes what leaves the device or comes to it, and what takes its size from values."""

    SIZED_BY_VALUES = ("nonzero", "masked_select", "unique", "repeat_interleave", "_local_scalar_dense", "bincount")

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        arrays = [t for t in tensors((args, kwargs, out)) if t.device.type != "meta" and t.ndim > 0]
        if arrays or func.__name__.split(".")[0] in self.SIZED_BY_VALUES:
            self.found[str(func)] += 1
        index = args[1] if func.__name__.startswith("index.") else ()
        if any(t is not None and t.dtype in (torch.bool, torch.uint8) for t in index):
            self.found["index by a mask"] += 1
        return out


@pytest.mark.parametrize("policy", [OnNonfinite.clamp, OnNonfinite.skip])
@pytest.mark.parametrize("name", TRAININGS)
def test_an_iteration_runs_where_nothing_can_be_read(name: str, policy: OnNonfinite) -> None:
    with torch.device("meta"):
        training = TRAININGS[name]()
    inside = Places()

    def watched(name: str, shape: Hashable, body: Callable[[], Outcome]) -> Outcome:
        with inside:
            return body()

    iterations = Iterations(training, images_of(training, "meta"), how=watched)
    for _ in range(2):
        iterations.run(policy)  # fills caches and makes Adam's moments
    inside.found.clear()
    with Places() as places:
        report = iterations.run(policy)
    assert not +inside.found, "a phase neither reads nor is given anything but by its addresses"
    assert set(places.found) <= {"aten._to_copy.default", "aten.copy_.default", "aten.lift_fresh.default"}
    assert places.found.total() <= 2 * GIVEN
    assert training.state.step == 3 and all(values.flat.device.type == "meta" for values in report.values)


def state_of(training: Training) -> list[Tensor]:
    state = training.state
    made = [t for name in ("G", "D", "G_ema") for t in getattr(state, name).state_dict().values()]
    for optimizer in (state.G_opt, state.D_opt):
        made += [*tensors(list(optimizer.state.values())), optimizer.nonfinite]
    return [*made, state.pl_mean]


@pytest.mark.parametrize("name", TRAININGS)
def test_a_recorded_iteration_done_again_is_the_next_one(name: str) -> None:
    """As a CUDA graph would: what is not a value on the device at a place that stays is that of the recording for ever."""
    usual, recorded = (TRAININGS[name]() for _ in range(2))
    for training in (usual, recorded):
        for optimizer in (training.state.G_opt, training.state.D_opt):
            optimizer.adopts = False  # as on a GPU
    recorder = TraceRecorder(lambda: state_of(recorded))
    graphs = Graphs(recorder, pytest.fail, must=True)
    runs = [Iterations(usual, images_of(usual)), Iterations(recorded, images_of(recorded), graphs)]
    for _ in range(11):
        told = [run.run() for run in runs]
        for ours, theirs in zip(*(report.values for report in told), strict=True):
            assert ours.names == theirs.names and torch.equal(ours.flat, theirs.flat)
    for ours, theirs in zip(*(state_of(training) for training in (recorded, usual)), strict=True):
        assert torch.equal(ours, theirs)
    assert len(recorder.recorded) >= len(usual.phases)
    before = TRAININGS[name]().state.G.state_dict()
    assert any(not torch.equal(value, before[k]) for k, value in recorded.state.G.state_dict().items())


@pytest.mark.parametrize("name", ["stylegan2, everything changes", "ADA", "growing"])
def test_two_iterations_are_the_same_ops(name: str) -> None:
    """Shapes, formats and Python's numbers, however the settings changed meanwhile."""
    training = TRAININGS[name]()
    found: dict[tuple[str, Hashable], list[list[str]]] = {}

    def traced(name: str, shape: Hashable, body: Callable[[], Outcome]) -> Outcome:
        with Trace() as trace:
            outcome = body()
        found.setdefault((name, shape), []).append(trace.signature())
        return outcome

    iterations = Iterations(training, images_of(training), how=traced)
    for optimizer in (training.state.G_opt, training.state.D_opt):
        optimizer.adopts = False
    for _ in range(10):
        iterations.run()
    compared = 0
    for key, signatures in found.items():
        for before, after in zip(signatures[WARM_UP:], signatures[WARM_UP + 1 :], strict=False):
            differ = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
            assert not differ, (key, differ[0])
            compared += 1
    assert compared >= len(training.phases)


class Refuses:
    """A recorder that cannot."""

    def forget(self) -> None: ...

    def warm_up(self, body: Callable[[], Outcome]) -> Outcome:
        return body()

    def record(self, body: Callable[[], Outcome]) -> Any:
        raise RuntimeError("operation not permitted\nwhen stream is capturing")


def outcome() -> Outcome:
    return Outcome(Values((("loss", 1),), torch.ones(1)), torch.ones([]), None)


def test_what_cannot_be_captured_is_told_once_and_runs_as_usual() -> None:
    told: list[str] = []
    graphs = Graphs(Refuses(), told.append, must=False)
    for _ in range(5):
        for name in ("Gmain", "Dmain"):
            assert graphs.run(name, "shape", outcome).norm == 1
    (message,) = told
    assert "Gmain cannot be captured as a CUDA graph (operation not permitted)" in message
    assert "training.cuda_graphs=never" in message
    must = Graphs(Refuses(), pytest.fail, must=True)
    with pytest.raises(UserError, match=r"training\.cuda_graphs=auto goes on without"):
        for _ in range(WARM_UP + 1):
            must.run("Gmain", "shape", outcome)


def test_a_new_shape_is_captured_anew() -> None:
    recorder = TraceRecorder(list)
    graphs = Graphs(recorder, pytest.fail, must=True)
    for shape in ("small", "large"):
        for _ in range(WARM_UP + 3):
            graphs.run("Gmain", shape, outcome)
    assert len(recorder.recorded) == 2


def test_what_a_graph_left_is_copied() -> None:
    graphs = Graphs(TraceRecorder(list), pytest.fail, must=True)
    first, second = [graphs.run("Gmain", "shape", outcome) for _ in range(WARM_UP + 2)][-2:]
    assert first.values.flat.data_ptr() != second.values.flat.data_ptr()
    places = [graphs.place("real", torch.full([2], float(i))) for i in range(2)]
    assert places[0].data_ptr() == places[1].data_ptr() and places[1].tolist() == [1, 1]


def test_graphs_need_one_gpu() -> None:
    cpu = torch.device("cpu")
    assert build_graphs(GraphMode.auto, cpu, 1, pytest.fail) is None
    assert build_graphs(GraphMode.never, torch.device("cuda"), 1, pytest.fail) is None
    assert build_graphs(GraphMode.auto, torch.device("cuda"), 2, pytest.fail) is None
    for device, ranks, says in ((cpu, 1, "this is device=cpu"), (torch.device("cuda"), 2, "this is 2 ranks")):
        with pytest.raises(UserError, match=says):
            build_graphs(GraphMode.always, device, ranks, pytest.fail)

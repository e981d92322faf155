"""Phases as CUDA graphs: the thousand ops of a phase are recorded once and started as one from then on.

A graph holds addresses, not values. So everything that changes between iterations lies on the device where it always lay:
parameters and moments, the scalars of `Dials`, what `Graphs.place` keeps of a batch. Nothing in a phase reads a value
(`tests/unit/test_device_only.py` holds that without a GPU).
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import torch
from torch import Tensor

from stylegan.errors import UserError
from stylegan.training.step import Outcome
from stylegan.training.totals import Values

WARM_UP = 2
"""Times that a phase runs as usual first: libraries choose their algorithms then, caches fill, Adam makes its moments."""


class GraphMode(Enum):
    """Whether phases are captured."""

    auto = "auto"
    """On one GPU; what cannot be captured runs as usual, and that is told."""
    always = "always"
    """Or training stops."""
    never = "never"
    """Not at all."""


def build_graphs(mode: GraphMode, device: torch.device, ranks: int, tell: Callable[[str], None]) -> "Graphs | None":
    """What captures phases, where the mode, the device and the number of ranks say so.

    Raises:
        UserError: `always`, and there is no GPU or there are several ranks.
    """
    if mode is GraphMode.always and (device.type != "cuda" or ranks > 1):
        here = f"{ranks} ranks" if ranks > 1 else f"device={device}"
        raise UserError(f"training.cuda_graphs=always needs one process with one GPU, and this is {here}; choose auto")
    if mode is GraphMode.never or device.type != "cuda" or ranks > 1:
        return None
    return Graphs(CudaRecorder(), tell, must=mode is GraphMode.always)


class Recorder(Protocol):
    """Records what a phase does."""

    def forget(self) -> None:
        """What was recorded is not run any more."""
        ...

    def warm_up(self, body: Callable[[], Outcome]) -> Outcome:
        """Run it as it is."""
        ...

    def record(self, body: Callable[[], Outcome]) -> tuple[Callable[[], None], Outcome]:
        """Record it without running it.

        Returns:
            What runs it, and where it then leaves its outcome.

        Raises:
            RuntimeError: It does what cannot be recorded, or there is no memory.
        """
        ...


class CudaRecorder:
    """Records what is started on a GPU; all recordings share one pool of memory, since they never run at once."""

    def __init__(self) -> None:
        self._aside = torch.cuda.Stream()
        self.forget()

    def forget(self) -> None:
        """See `Recorder`. A pool that nothing is recorded in any more cannot be used again."""
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, body: Callable[[], Outcome]) -> Outcome:
        """See `Recorder`. It runs beside the default stream, on which nothing can be recorded."""
        self._aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._aside):
            outcome = body()
        torch.cuda.current_stream().wait_stream(self._aside)
        return outcome

    def record(self, body: Callable[[], Outcome]) -> tuple[Callable[[], None], Outcome]:
        """See `Recorder`."""
        graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            # Other threads may pin memory meanwhile, which only a mode of this thread allows.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._aside, capture_error_mode="thread_local"):
                outcome = body()
        except RuntimeError:
            torch.cuda.set_stream(before)  # torch leaves its own where the end of the capture fails, too
            raise
        return graph.replay, outcome


@dataclass
class _Phase:
    runs: int = 0
    replay: Callable[[], None] | None = None
    outcome: Outcome | None = None


class Graphs:
    """Captures every phase after some runs, again in every stage of a training.

    Args:
        recorder: Records what a phase does.
        tell: Takes a message for people.
        must: Whether a phase that cannot be captured stops training.
    """

    def __init__(self, recorder: Recorder, tell: Callable[[str], None], *, must: bool) -> None:
        self._recorder, self._tell, self._must = recorder, tell, must
        self._shape: Hashable = None
        self._phases: dict[str, _Phase] = {}
        self._places: dict[tuple[str, torch.Size, torch.dtype], Tensor] = {}
        self._given_up = False

    @property
    def captured(self) -> list[str]:
        """The names of the phases that run from graphs."""
        return [name for name, phase in self._phases.items() if phase.replay is not None]

    def place(self, name: str, t: Tensor) -> Tensor:
        """A copy of a tensor that changes from iteration to iteration, always at the same place for a name and shape."""
        key = name, t.shape, t.dtype
        if key not in self._places:
            self._places[key] = torch.empty_like(t)
        return self._places[key].copy_(t)

    def run(self, name: str, shape: Hashable, body: Callable[[], Outcome]) -> Outcome:
        """See `Run`."""
        if shape != self._shape:
            self._shape, self._phases = shape, {}
            self._recorder.forget()
        phase = self._phases.setdefault(name, _Phase())
        if phase.replay is None and phase.runs >= WARM_UP and not self._given_up:
            self._capture(name, phase, body)
        if phase.replay is None or phase.outcome is None:
            phase.runs += 1
            return self._recorder.warm_up(body)
        phase.replay()
        # Another phase's graph may use the same memory for what it makes on the way.
        values, norm, signs = phase.outcome
        return Outcome(
            Values(values.names, values.flat.clone()), norm.clone(), None if signs is None else signs.clone()
        )

    def _capture(self, name: str, phase: _Phase, body: Callable[[], Outcome]) -> None:
        try:
            phase.replay, phase.outcome = self._recorder.record(body)
        except RuntimeError as error:
            cause = error.__context__ or error  # of an end that fails because of what came before
            why = (
                f"{name} cannot be captured as a CUDA graph ({(str(cause).splitlines() or [type(cause).__name__])[0]})"
            )
            if self._must:
                raise UserError(f"{why}; training.cuda_graphs=auto goes on without") from error
            self._given_up = True
            self._tell(f"warning: {why}; training goes on without graphs (training.cuda_graphs=never)")

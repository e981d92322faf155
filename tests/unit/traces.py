"""What an iteration does, op by op: recorded, compared and done again, as a CUDA graph would do it, on a CPU."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from stylegan.ops.torch_private import TorchDispatchMode, identity, tree_leaves
from stylegan.training.step import Outcome

Op = tuple[Any, tuple[Any, ...], dict[str, Any], Any]


class Trace(TorchDispatchMode):
    """Notes every op with its arguments and results.

    Attributes:
        ops: In order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ops: list[Op] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if "profiler" not in str(func):
            self.ops.append((func, args, kwargs or {}, out))
        return out

    def signature(self) -> list[str]:
        """All that does not lie in memory: ops, shapes, formats, numbers of Python."""
        return [
            f"{func} {[_described(leaf) for leaf in tree_leaves((args, kw, out))]}" for func, args, kw, out in self.ops
        ]

    def replay(self) -> None:
        """Do it again, with what now lies where the arguments lay, and leave the results where they were left."""
        with torch.no_grad():
            for func, args, kwargs, out in self.ops:
                made = func(*args, **kwargs)
                given = {identity(t.untyped_storage()) for t in tensors((args, kwargs))}
                for old, new in zip(tensors(out), tensors(made), strict=True):
                    if identity(old.untyped_storage()) not in given:  # else it is a view, or was written in place
                        _once(old).copy_(_once(new))


class TraceRecorder:
    """Stands in for `CudaRecorder`: a recording runs nothing, as far as the state shows.

    Args:
        state: All tensors that a phase may change; they are put back after a recording.
    """

    def __init__(self, state: Callable[[], Sequence[Tensor]]) -> None:
        self._state = state
        self.recorded: list[Trace] = []

    def forget(self) -> None:
        """Nothing is held."""

    def warm_up(self, body: Callable[[], Outcome]) -> Outcome:
        """Run it."""
        return body()

    def record(self, body: Callable[[], Outcome]) -> tuple[Callable[[], None], Outcome]:
        """Run it, note what it does, and undo it."""
        before = [(t, t.detach().clone()) for t in self._state()]
        with Trace() as trace:
            outcome = body()
        with torch.no_grad():
            for t, value in before:
                t.copy_(value)
        self.recorded.append(trace)
        return trace.replay, outcome


def tensors(tree: Any) -> list[Tensor]:
    """All tensors of nested lists, tuples and dictionaries."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _once(t: Tensor) -> Tensor:
    """The part that lies in memory of one that is repeated by strides of 0."""
    return t[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in t.stride())]


def _described(leaf: Any) -> str:
    return f"{leaf.dtype} {list(leaf.shape)} {leaf.stride()} {leaf.device}" if isinstance(leaf, Tensor) else repr(leaf)

"""Every part of torch that we use though it is not public, and what differs between its versions. All of it stands here.

These parts may change without notice: with another torch, look here first. Each was seen on torch 2.9.1, 2.11.0 and 2.14.1,
by running `tests/ops`, `tests/unit`, `tests/golden` and `tests/integration`.

What is called in a training step is an alias, so that it costs no call more than torch's own name.

Not API, and so not here: names inside of files that torch.save writes (`stylegan/interop/pickled.py` reads them as text), and
where torch's headers and libraries lie (`stylegan/ops/libraries.py`).

In C++, which this file cannot stand in for: `at::_fused_adam_`, `at::_foreach_add_` and `at::_foreach_lerp_`, the same
functions as below (`csrc/bind_update_cpu.cpp`). `tests/cuda/emulated.py` uses two more private parts, for itself.

What differs between versions, and is written so that all of them take it:

    2.11    In C++ `sum({0, 1})` is ambiguous: `sum(at::IntArrayRef{0, 1})`.
    2.9     torch.compile stops at `isinstance(x, A | B)`: what it traces says `isinstance(x, (A, B))`.
    2.9     torch.export.load makes every parameter ask for gradients: networks are exported with buffers instead.
    2.9     gloo tells of its connections on standard output, which is for results: `chatter_on_stderr`.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._library import custom_ops
from torch.utils import _python_dispatch, _pytree, flop_counter

# What `torch.library.custom_op`, which is public, returns.
CustomOpDef = custom_ops.CustomOpDef

# Inside of the body an op goes past autograd to its kernel, with no graph made; for the second, also past the counts of what
# was written in place.
BelowAutograd: Callable[[], AbstractContextManager[Any]] = torch._C._AutoDispatchBelowAutograd
BelowInPlaceCounts: Callable[[], AbstractContextManager[Any]] = torch._C._AutoDispatchBelowADInplaceOrView

# Whether vmap, grad or the like of torch.func is at work: they do not take an autograd.Function that has no rule for them.
in_functorch: Callable[[], bool] = torch._C._are_functorch_transforms_active

# Whether the backward pass that is running will come to a node; RuntimeError where the node is a leaf that was asked for.
will_run: Callable[[Any], bool] = torch._C._will_engine_execute_node

# Functions of whole lists, which torch.optim and torch.nn.utils consist of.
foreach_add_: Callable[..., Any] = torch._foreach_add_  # pyright: ignore[reportPrivateImportUsage]
foreach_copy_: Callable[..., Any] = torch._foreach_copy_  # pyright: ignore[reportPrivateImportUsage]
foreach_lerp_: Callable[..., Any] = torch._foreach_lerp_  # pyright: ignore[reportPrivateImportUsage]
foreach_norm: Callable[..., tuple[Tensor, ...]] = torch._foreach_norm  # pyright: ignore[reportPrivateImportUsage]
fused_adam_: Callable[..., Any] = torch._fused_adam_  # pyright: ignore[reportPrivateImportUsage]

# A torch.library.Library whose kernels are gone when the `with` ends.
scoped_library: Callable[[str, str], AbstractContextManager[torch.library.Library]] = torch.library._scoped_library

# Sees every op that the dispatcher runs; torch's manual describes it at this private place.
TorchDispatchMode = _python_dispatch.TorchDispatchMode

# All leaves of nested lists, tuples and dictionaries.
tree_leaves = _pytree.tree_leaves

# FLOP formulas by op (`packet`); only the function that adds to it is public.
flop_registry: dict[Any, Any] = flop_counter.flop_registry


def remove(library: torch.library.Library) -> None:
    """Take back all that a library has registered."""
    library._destroy()


def name(op: CustomOpDef) -> str:
    """With the namespace: `stylegan::bias_act`."""
    return op._qualname


def overload(op: CustomOpDef) -> Any:
    """What the dispatcher calls: `torch.ops.stylegan.bias_act.default`."""
    return op._opoverload


def body(op: CustomOpDef) -> Callable[..., Any]:
    """The function that `torch.library.custom_op` was given: the reference."""
    return op._init_fn


def packet(function: Any) -> Any:
    """`torch.ops.stylegan.bias_act` of its overload `torch.ops.stylegan.bias_act.default`."""
    return function._overloadpacket


def identity(storage: torch.UntypedStorage) -> int:
    """The address of the storage itself: on the meta device its data have none."""
    return storage._cdata


@contextmanager
def chatter_on_stderr() -> Iterator[None]:
    """What this process writes to standard output inside of the body, C++ included, goes to standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)

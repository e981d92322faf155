"""The ops of `stylegan` with the CUDA kernels, run on the CPU, behind them."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

from stylegan.ops._build import build
from stylegan.ops.backend import OPS
from stylegan.ops.torch_private import name as qualified
from stylegan.ops.torch_private import overload, scoped_library
from tests.cuda.building import NAMESPACE, emulated_library


@cache
def library() -> ctypes.CDLL:
    """Build and load the emulated library, once a process."""
    path = build(emulated_library())
    for op in OPS:
        schema = str(overload(op)._schema).partition("::")[2]
        torch.library.define(f"{NAMESPACE}::{schema.partition('(')[0]}", "(" + schema.partition("(")[2])
    torch.ops.load_library(str(path))
    return ctypes.CDLL(str(path))


@contextmanager
def emulated_ops() -> Iterator[None]:
    """Inside of the body the CUDA kernels are what `stylegan`'s ops run for tensors on the CPU, where an op has one:
    convolutions are torch's own on a GPU."""
    library()
    with scoped_library("stylegan", "IMPL") as overrides:
        for op in OPS:
            _, _, name = qualified(op).partition("::")
            if not torch._C._dispatch_has_kernel_for_dispatch_key(f"{NAMESPACE}::{name}", "CPU"):
                continue
            overrides.impl(name, getattr(getattr(torch.ops, NAMESPACE), name).default, "CPU", allow_override=True)
        yield


@contextmanager
def recording(path: Path) -> Iterator[None]:
    """Write every launch inside of the body to a file, for replay.

    Tensors must be made after `track_allocations`, or the recording does not know how long they are.
    """
    if not library().emulation_record(str(path).encode()):
        raise OSError(f"cannot write {path}")
    try:
        yield
    finally:
        library().emulation_record(None)


def track_allocations() -> None:
    """Let torch take its memory on the CPU from an allocator that fills it with NaN and knows its ends. For good."""
    library().emulation_track_allocations()

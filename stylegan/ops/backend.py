"""Which implementation of the ops is in use: compiled kernels or the reference in torch's own functions.

The bodies of the custom ops are the reference. A compiled library registers its kernels for CPU or CUDA with the dispatcher,
where they come before the bodies; the reference is chosen again by registering the bodies once more, after them.
"""

import enum
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from stylegan.errors import UserError
from stylegan.ops import (
    bias_act,
    conv2d,
    demodulation,
    filtered_lrelu,
    modulated_epilogue,
    modulation,
    normal,
    torch_private,
    update,
    upfirdn2d,
)
from stylegan.ops._build import BuildError, BuildSpec, build, is_built
from stylegan.ops.libraries import cpu_library, cuda_library

NAMESPACE = "stylegan"
OPS: tuple[Any, ...] = (
    bias_act._bias_act,
    bias_act._bias_act_grad,
    bias_act._bias_act_grad2,
    conv2d._conv2d,
    conv2d._conv2d_input,
    conv2d._conv2d_weight,
    demodulation._demodulation,
    demodulation._demodulation_grad,
    demodulation._demodulation_grad2,
    upfirdn2d._upfirdn2d,
    filtered_lrelu._filtered_lrelu,
    filtered_lrelu._filtered_lrelu_masked,
    modulated_epilogue._modulated_epilogue,
    modulated_epilogue._modulated_epilogue_grad,
    modulated_epilogue._modulated_epilogue_grad2,
    modulation._modulation_grad,
    modulation._modulation_grad2,
    normal._normal,
    normal._uniform,
    update._adam_,
    update._lerp_,
)


class Backend(enum.Enum):
    """Where the ops come from."""

    auto = "auto"
    compiled = "compiled"
    reference = "reference"


@dataclass
class OpsConfig:
    """Options of the ops."""

    backend: Backend = field(
        default=Backend.auto,
        metadata={"help": "compiled, reference, or auto: compiled where that can be built, else reference"},
    )


@dataclass
class SamplingOpsConfig(OpsConfig):
    """Options of the ops where a few pictures are made: these are done before a compiler would be."""

    backend: Backend = field(
        default=Backend.auto,
        metadata={
            "help": "compiled, reference, or auto: compiled if training or `stylegan precompile` has built them before, else "
            "reference; pictures differ by a grey level at most"
        },
    )


@dataclass(frozen=True)
class Active:
    """What `activate` did.

    Attributes:
        name: `compiled` or `reference`.
        warning: Why `auto` did not get the compiled ops, else None.
    """

    name: str
    warning: str | None = None


_loaded: set[str] = set()
_overrides: list[torch.library.Library] = []


def activate(backend: Backend, device: torch.device, *, build_for_auto: bool = True) -> Active:
    """Choose the ops for all that runs on `device`'s type from here on; build the library if it is not in the cache.

    Args:
        backend: What was asked for.
        device: cpu or cuda.
        build_for_auto: False for work that takes less time than the build: `auto` then takes the compiled ops only if they
            are in the cache already, and does not warn where they are not.

    Raises:
        UserError: `compiled` was asked for and cannot be had. The message names the cause, the log and the fix.
    """
    if backend is Backend.reference:
        _use_reference(True)
        return Active("reference")
    if backend is Backend.auto and not build_for_auto and not _in_cache(device.type):
        _use_reference(True)
        return Active("reference")
    try:
        load(device.type)
    except BuildError as error:
        if backend is Backend.compiled:
            raise UserError(f"ops.backend=compiled: {error}; or use ops.backend=reference, which is slower") from error
        _use_reference(True)
        return Active("reference", f"the ops run in their slower reference form, because {error}")
    _use_reference(False)
    return Active("compiled")


def in_use(device: torch.device) -> str:
    """Which ops run on `device`'s type: `compiled` or `reference`."""
    return "compiled" if device.type in _loaded and not _overrides else "reference"


def load(device_type: str) -> Path:
    """Build and load the library for `cpu` or `cuda`, once a process, and return its path.

    Raises:
        BuildError: It cannot be built or loaded.
    """
    library = build(_library(device_type))
    if device_type not in _loaded:
        try:
            torch.ops.load_library(str(library))
        except OSError as error:
            raise BuildError(f"cannot load {library}: {error}; delete {library.parent} and try again") from None
        _loaded.add(device_type)
    return library


def build_all(architectures: Sequence[str]) -> list[Path]:
    """Compile what is not in the cache: the CPU library and a CUDA library for each compute capability, such as `8.0`.

    Raises:
        UserError: A name is no compute capability, or a library cannot be built.
    """
    for name in architectures:
        if not re.fullmatch(r"\d+\.\d[af]?", name):
            raise UserError(f"--arch {name} is no compute capability; they look like 8.0 or 9.0")
    return [build(spec) for spec in [cpu_library(), *(cuda_library([name]) for name in architectures)]]


@contextmanager
def reference_ops() -> Iterator[None]:
    """The reference inside of the body, also where compiled ops are in use outside."""
    with torch_private.scoped_library(NAMESPACE, "IMPL") as library:
        _register_bodies(library)
        yield


class TorchOpsOnly(TorchFunctionMode):
    """Inside of the body, calls of our ops run their reference. What is traced then holds torch's own operations only."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The hook of torch: every function of torch that is called comes by here."""
        return _BODIES.get(func, func)(*args, **(kwargs or {}))


_BODIES: dict[Any, Any] = {torch_private.overload(op): torch_private.body(op) for op in OPS}


def _in_cache(device_type: str) -> bool:
    try:
        return is_built(_library(device_type))
    except BuildError:  # no compiler: its version is part of the name
        return False


def _library(device_type: str) -> BuildSpec:
    return cpu_library() if device_type == "cpu" else cuda_library(_visible_architectures())


def _use_reference(wanted: bool) -> None:
    if wanted and _loaded and not _overrides:
        _overrides.append(torch.library.Library(NAMESPACE, "IMPL"))
        _register_bodies(_overrides[0])
    elif not wanted and _overrides:
        torch_private.remove(_overrides.pop())


def _register_bodies(library: torch.library.Library) -> None:
    for op in OPS:
        for key in ("CPU", "CUDA"):
            library.impl(torch_private.overload(op), torch_private.body(op), key, allow_override=True)


def _visible_architectures() -> list[str]:
    """The compute capabilities of the devices of this process, or `$TORCH_CUDA_ARCH_LIST`."""
    chosen = os.environ.get("TORCH_CUDA_ARCH_LIST", "").replace(";", " ").split()
    if chosen:
        return [name.removesuffix("+PTX") for name in chosen]
    if not torch.cuda.is_available():
        raise BuildError("no CUDA device can be seen, so that it is unknown what to compile for; name it with --arch")
    found = {torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())}
    return [f"{major}.{minor}" for major, minor in sorted(found)]

"""Building the CUDA kernels for the CPU, and what to do where a compiler is missing."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from stylegan.ops._build import BuildSpec, CompilerMissingError, Source, compiler_available, nvcc
from stylegan.ops.libraries import CSRC

EMULATOR = Path(__file__).parent / "emulator"
KERNELS = ("bias_act", "upfirdn2d", "filtered_lrelu", "modulated_epilogue", "demodulation", "normal", "update")
NAMESPACE = "stylegan_emulated"
# No contraction of a * b + c: sanitizers and optimisation then leave every bit as it is.
HOST_FLAGS = ("-std=c++20", "-ffp-contract=off", "-fno-strict-aliasing", "-Wno-unknown-pragmas")


def need_compiler() -> None:
    """Skip the calling test where no C++ compiler is; on CI that is a failure."""
    if not compiler_available():
        _missing("no C++ compiler")


def need_nvcc() -> Path:
    """The CUDA compiler; where there is none the calling test is skipped, and on CI fails."""
    try:
        return nvcc()
    except CompilerMissingError as error:
        return _missing(str(error))


def need_program(name: str) -> str:
    """Path of a program that comes with the CUDA toolkit or the compiler."""
    return shutil.which(name) or str(_missing(f"no {name}"))


def _missing(what: str) -> Path:
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"{what}, and on CI the CUDA sources must be checked")
    pytest.skip(f"{what}: the CUDA sources are not checked")


def emulated_library() -> BuildSpec:
    """The CUDA bindings and kernels as a library for the CPU, with ops in the namespace `stylegan_emulated`."""
    torch_root = Path(torch.__file__).parent
    kernel = EMULATOR / "kernel.cpp"
    return BuildSpec(
        "stylegan_emulated",
        [
            Source(CSRC / "bindings_cuda.cpp", (f"-DSTYLEGAN_NAMESPACE={NAMESPACE}", "-DSTYLEGAN_KEY=CPU")),
            Source(EMULATOR / "tracking.cpp"),
            *(Source(kernel, (f'-DSTYLEGAN_KERNEL="{name}.cu"',), f"-{name}") for name in KERNELS),
        ],
        headers=sources_of_kernels(),
        include_dirs=[EMULATOR, CSRC, torch_root / "include"],
        flags=[*HOST_FLAGS, "-O1", f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"],
        link_flags=[f"-L{torch_root / 'lib'}", "-ltorch_cpu", "-lc10"],
        versions=[f"torch {torch.__version__}"],
    )


def sources_of_kernels() -> Sequence[Path]:
    """All that the kernels are made of, for cache keys."""
    return sorted(
        [
            *CSRC.glob("*.cu"),
            *CSRC.glob("*.cuh"),
            *CSRC.glob("*.h"),
            *CSRC.glob("bind_*cuda.cpp"),
            *EMULATOR.rglob("*.h"),
        ]
    )

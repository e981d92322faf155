"""What the compiled ops are built from: one library for the CPU, one for CUDA."""

import platform
from collections.abc import Sequence
from pathlib import Path

import torch

from stylegan.ops._build import BuildSpec, Source, cuda_home

CSRC = Path(__file__).parent / "csrc"
# A NaN must come out as NaN, so that training sees it: no -ffast-math.
NUMERICS = ("-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd", "-ffp-contract=fast")
# -O3 takes longer to compile; what it would gain at run time was not measured.
VECTORISED = ("-O2", "-ftree-vectorize", "-fvect-cost-model=dynamic")
# Kernels that make the same bits on every machine and device: no a * b + c rounded once.
EXACT = {"normal_cpu": ("-ffp-contract=off",)}
# at::parallel_for is a template of torch's headers: without this it is compiled into a plain loop. Both link to one libgomp,
# and with it to one pool of threads, since torch's own copy goes by the same name.
OPENMP = "-fopenmp"
# Instruction sets that a CPU kernel is compiled for on x86-64, besides the plain one; chosen at run time.
INSTRUCTION_SETS = {
    "avx2": ("-mavx2", "-mfma", "-mf16c"),
    "avx512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"),
}


def cpu_library() -> BuildSpec:
    """The CPU kernels (`*_cpu.cpp`, without torch headers, once for every instruction set) and their bindings.

    The bindings (`bind_*cpu.cpp`) are compiled as one file, since most of the time goes into torch's headers.
    """
    sets = INSTRUCTION_SETS if platform.machine() in ("x86_64", "AMD64") else {}
    dispatched = [*sets, "plain"]
    all_bindings, parts = CSRC / "bindings_cpu.cpp", sorted(CSRC.glob("bind_*cpu.cpp"))
    kernels = sorted(set(CSRC.glob("*_cpu.cpp")) - {all_bindings, *parts})
    sources = [Source(all_bindings)]  # first: it takes longest
    for path in kernels:
        for name in dispatched:
            exact = EXACT.get(path.stem, ())
            flags = (*VECTORISED, *NUMERICS, *exact, *sets.get(name, ()), f"-DSTYLEGAN_ISA={name}")
            sources.append(Source(path, flags, f"-{name}"))
    return BuildSpec(
        "stylegan_cpu",
        sources,
        headers=[*sorted(CSRC.glob("*.h")), *parts, _torch_options()],
        include_dirs=_torch_include(),
        library_dirs=_torch_libraries(),
        flags=["-std=c++20", "-O1", "-DNDEBUG", OPENMP, *(f"-DSTYLEGAN_{name.upper()}" for name in sets), *_abi()],
        link_flags=["-ltorch_cpu", "-lc10", OPENMP],
        versions=_torch_versions(),
    )


def cuda_library(architectures: Sequence[str]) -> BuildSpec:
    """The CUDA kernels (`*.cu`, without torch headers) and their bindings (`bind_*cuda.cpp`, compiled as one file).

    Args:
        architectures: Compute capabilities such as `8.0`; the last one also as PTX, for devices that come later.

    Raises:
        BuildError: There is no CUDA toolkit.
    """
    home = cuda_home()
    numbers = [architecture.replace(".", "") for architecture in architectures]
    codes = [f"-gencode=arch=compute_{number},code=sm_{number}" for number in numbers]
    codes.append(f"-gencode=arch=compute_{numbers[-1]},code=compute_{numbers[-1]}")
    return BuildSpec(
        "stylegan_cuda",
        [CSRC / "bindings_cuda.cpp", *sorted(CSRC.glob("*.cu"))],
        headers=[
            *(path for kind in ("*.h", "*.cuh", "bind_*cuda.cpp") for path in sorted(CSRC.glob(kind))),
            _torch_options(),
        ],
        include_dirs=[*_torch_include(), home / "include"],
        library_dirs=[*_torch_libraries(), *(home / name for name in ("lib64", "lib", "targets/x86_64-linux/lib"))],
        flags=["-std=c++20", "-O2", "-DNDEBUG", *_abi()],
        cuda_flags=["-std=c++17", "-O3", "--threads=2", *codes],
        link_flags=["-ltorch_cpu", "-ltorch_cuda", "-lc10", "-lc10_cuda", "-lcudart"],
        versions=_torch_versions(),
    )


def _torch_root() -> Path:
    return Path(torch.__file__).parent


def _torch_include() -> list[Path]:
    return [_torch_root() / "include"]


def _torch_libraries() -> list[Path]:
    return [_torch_root() / "lib"]


def _torch_options() -> Path:
    """The one header of torch in which builds of the same commit differ."""
    return _torch_root() / "include" / "ATen" / "Config.h"


def _torch_versions() -> list[str]:
    """What tells torch's headers apart: version with the kind of build, such as 2.9.0+cpu, and commit."""
    return [f"torch {torch.__version__}", f"commit {torch.version.git_version}"]


def _abi() -> list[str]:
    return [f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"]

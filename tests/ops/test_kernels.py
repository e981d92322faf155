"""What only the compiled kernels can get wrong: instruction sets, 64-bit positions, memory errors."""

import ctypes
import dataclasses
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stylegan.ops._build import Source, build, compiler
from stylegan.ops.backend import load, reference_ops
from stylegan.ops.libraries import INSTRUCTION_SETS, cpu_library
from tests.ops import fuzz
from tests.ops.cases import SAMPLES
from tests.ops.test_use import everything

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def only_compiled(ops: str) -> None:
    if ops != "compiled":
        pytest.skip("about the compiled kernels")


def run_python(code: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([sys.executable, *code], env=env, text=True, capture_output=True, check=False)


def compare_all() -> None:
    """Every sample, compiled and reference; run in a process of its own with another instruction set."""
    load("cpu")
    for entry in SAMPLES:
        compiled = everything(entry)
        with reference_ops():
            want = everything(entry)
        for a, b in zip(compiled, want, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    print(f"compared {len(SAMPLES)}")


@pytest.mark.parametrize("name", ["plain", "avx2"])
def test_lesser_instruction_sets(name: str) -> None:
    if name != "plain" and (name not in INSTRUCTION_SETS or "AVX" not in torch.backends.cpu.get_cpu_capability()):
        pytest.skip(f"this machine has no {name}")
    code = ["-c", "from tests.ops.test_kernels import compare_all; compare_all()"]
    result = run_python(code, STYLEGAN_INSTRUCTION_SET=name)
    assert f"compared {len(SAMPLES)}" in result.stdout, result.stderr


class BiasActParams(ctypes.Structure):
    """`BiasActParams` of csrc/bias_act.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "y", "dy", "ddx", "b", "out")),
        *((name, ctypes.c_int64) for name in ("numel", "channels", "inner")),
        *((name, ctypes.c_int32) for name in ("order", "dtype", "act")),
        *((name, ctypes.c_double) for name in ("alpha", "gain", "clamp")),
    )


class Upfirdn2dParams(ctypes.Structure):
    """`Upfirdn2dParams` of csrc/upfirdn2d.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "f", "y")),
        ("dtype", ctypes.c_int32),
        *((name, ctypes.c_int64) for name in ("n", "c", "in_h", "in_w", "out_h", "out_w")),
        ("x_stride", ctypes.c_int64 * 4),
        ("y_stride", ctypes.c_int64 * 4),
        *((name, ctypes.c_int64) for name in ("f_h", "f_w")),
        *((name, ctypes.c_bool) for name in ("separable", "flip")),
        *((name, ctypes.c_int64) for name in ("up_x", "up_y", "down_x", "down_y", "pad_x", "pad_y")),
        ("gain", ctypes.c_double),
    )


class FirPlan(ctypes.Structure):
    """`FirPlan` of csrc/fir.h."""

    _fields_ = (
        ("separable", ctypes.c_bool),
        *((name, ctypes.c_int64) for name in ("h", "w")),
        *((name, ctypes.c_void_p) for name in ("vertical", "horizontal", "taps")),
    )


BF16 = 3


@dataclasses.dataclass
class Vast:
    """A bfloat16 tensor of more than 2^31 elements; of its memory exists what is touched."""

    length: int

    def __post_init__(self) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_NORESERVE
        self.memory = mmap.mmap(-1, 2 * self.length, flags=flags)
        self.tensor = torch.frombuffer(self.memory, dtype=torch.bfloat16)


@pytest.mark.skipif(not hasattr(mmap, "MAP_NORESERVE"), reason="needs memory that is reserved and not used")
def test_positions_beyond_two_to_the_31() -> None:
    library = ctypes.CDLL(str(load("cpu")))
    height, width = 50_000, 60_000
    x, y = Vast(height * width), Vast(height * width)
    assert height * width > 2**31
    x.tensor[-3 * width :] = 2.0
    bias = BiasActParams(x=x.tensor.data_ptr(), out=y.tensor.data_ptr(), numel=height * width, channels=1)
    bias.inner, bias.dtype, bias.gain, bias.clamp = height * width, BF16, 3.0, float("inf")
    run = library["_ZN8stylegan5plain8bias_actERKNS_13BiasActParamsEll"]
    run(ctypes.byref(bias), ctypes.c_int64(height * width - 1000), ctypes.c_int64(height * width))
    assert y.tensor[-1000:].eq(6).all() and not y.tensor[-2000:-1000].any() and not y.tensor[:1000].any()

    strides = (ctypes.c_int64 * 4)(height * width, height * width, width, 1)
    taps = (ctypes.c_double * 2)(1, 1)
    pointer = ctypes.cast(taps, ctypes.c_void_p)
    plan = FirPlan(separable=True, h=2, w=2, vertical=pointer, horizontal=pointer)
    fir = Upfirdn2dParams(x=x.tensor.data_ptr(), y=y.tensor.data_ptr(), dtype=BF16, n=1, c=1, in_h=height, in_w=width)
    fir.out_h, fir.out_w, fir.x_stride, fir.y_stride = height, width, strides, strides
    fir.up_x = fir.up_y = fir.down_x = fir.down_y = fir.pad_x = fir.pad_y = 1
    run = library["_ZN8stylegan5plain9upfirdn2dERKNS_15Upfirdn2dParamsERKNS_7FirPlanEll"]
    run(ctypes.byref(fir), ctypes.byref(plan), ctypes.c_int64(height - 2), ctypes.c_int64(height - 1))
    row = y.tensor[-2 * width : -width]
    assert row[0] == 4 and row[1:].eq(8).all()


def test_made_up_arguments() -> None:
    fuzz.run(60)


@pytest.mark.slow
def test_made_up_arguments_under_sanitizers() -> None:
    """AddressSanitizer finds what reads or writes past an array, UndefinedBehaviorSanitizer what overflows."""
    spec = cpu_library()
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize=vptr", "-fno-sanitize-recover=undefined", "-g1"]
    plain = [source for source in spec.files if source.label in ("", "-plain")]
    sources = [Source(s.path, [*(flag for flag in s.flags if flag != "-O2"), "-O1"], s.label) for s in plain]
    flags = [flag for flag in spec.flags if not flag.startswith("-DSTYLEGAN_AVX")]
    checked = dataclasses.replace(
        spec,
        name="stylegan_cpu_sanitized",
        sources=sources,
        flags=[*flags, *sanitize],
        link_flags=[*spec.link_flags, *sanitize],
    )
    runtime = subprocess.run(
        [*compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(runtime).is_absolute():
        pytest.skip("the compiler has no AddressSanitizer")
    result = run_python(
        ["-m", "tests.ops.fuzz", str(build(checked)), "60"],
        LD_PRELOAD=runtime,
        ASAN_OPTIONS="detect_leaks=0:allocator_may_return_null=1",
        UBSAN_OPTIONS="print_stacktrace=1",
    )
    assert "no crash" in result.stdout, result.stderr[-3000:]

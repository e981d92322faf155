"""What only the compiled kernels can get wrong: instruction sets, memory errors."""

import dataclasses
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
from tests.ops.test_normal import all_kinds
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
    compiled = all_kinds()
    with reference_ops():
        assert all(torch.equal(a, b) for a, b in zip(compiled, all_kinds(), strict=True)), "numbers differ"
    print(f"compared {len(SAMPLES)}")


@pytest.mark.parametrize("name", ["plain", "avx2"])
def test_lesser_instruction_sets(name: str) -> None:
    if name != "plain" and (name not in INSTRUCTION_SETS or "AVX" not in torch.backends.cpu.get_cpu_capability()):
        pytest.skip(f"this machine has no {name}")
    code = ["-c", "from tests.ops.test_kernels import compare_all; compare_all()"]
    result = run_python(code, STYLEGAN_INSTRUCTION_SET=name)
    assert f"compared {len(SAMPLES)}" in result.stdout, result.stderr


WORKS = """
import os, numpy, torch
from stylegan.ops.backend import load
load("cpu")
torch.set_num_threads({threads})
x = torch.from_numpy(numpy.ones([16, 64, 32, 32], numpy.float32))
before = len(os.listdir("/proc/self/task"))
torch.ops.stylegan.bias_act(x, None, "lrelu", 0.2, 1.0, float("inf"), 1)
print("started", len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux lists them")
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_share_the_work(threads: int) -> None:
    """at::parallel_for is a plain loop where the library is compiled without OpenMP."""
    result = run_python(["-c", WORKS.format(threads=threads)])
    assert result.stdout.split() == ["started", str(threads - 1)], result.stderr


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
    runtimes = [
        subprocess.run(
            [*compiler(), f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libstdc++.so")
    ]
    if not all(Path(path).is_absolute() for path in runtimes):
        pytest.skip("the compiler has no AddressSanitizer")
    result = run_python(
        ["-m", "tests.ops.fuzz", str(build(checked)), "60"],
        LD_PRELOAD=" ".join(runtimes),  # the second because Python itself is no C++ program
        ASAN_OPTIONS="detect_leaks=0:allocator_may_return_null=1",
        UBSAN_OPTIONS="print_stacktrace=1",
    )
    assert "no crash" in result.stdout, result.stderr[-3000:]

"""What nvcc made of the kernels, run by the interpreter: the same results, no planted fault unseen, no cost risen."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.cuda.building import KERNELS, need_nvcc
from tests.cuda.counting import FILE, measure, nvcc_version
from tests.cuda.faults import FAULTS, KERNEL, plant
from tests.cuda.nvcc import ptx
from tests.cuda.ptx.arithmetic import convert, insert_bits, multiply, permute_bytes, shift
from tests.cuda.ptx.parse import PtxError, parse
from tests.cuda.ptx.recorded import launches, run
from tests.cuda.record import recorded

FLOATS = {"f16": np.float16, "f32": np.float32}
# nvcc contracts a * b + c, the host compiler does not.
RTOL = {"f16": 2e-3, "f32": 2e-5}


def agrees(got: np.ndarray, want: np.ndarray, dtype: str) -> bool:
    """Whether an allocation's bytes are the same, or its numbers close; codes may lie on the other side of a kink."""
    if np.array_equal(got, want):
        return True
    for kind in (FLOATS[dtype], np.float32):  # sums of float16 are float32
        if want.size % np.dtype(kind).itemsize == 0:
            a, b = got.view(kind).astype(np.float64), want.view(kind).astype(np.float64)
            same_nan = np.array_equal(np.isnan(a), np.isnan(b))
            if same_nan and np.allclose(
                a, b, rtol=RTOL[dtype], atol=RTOL[dtype] * np.nanmax(np.abs(b)), equal_nan=True
            ):
                return True
    return False


@pytest.mark.parametrize(
    ("kernel", "dtype"),
    [
        *((name, "f16") for name in KERNELS if name not in ("demodulation", "update")),
        *((name, "f32") for name in ("bias_act", "upfirdn2d", "demodulation", "update")),
    ],
)
def test_the_ptx_computes_what_the_emulation_does(kernel: str, dtype: str, recordings: Path) -> None:
    need_nvcc()
    listed = [one for nhwc in (False, True) for one in launches(recorded(recordings, kernel, dtype, nhwc))]
    compiled = parse(ptx(kernel).read_text(), {launch.kernel for launch in listed})
    assert len(compiled) >= 2
    for launch in listed:
        for got, want in run(launch, compiled[launch.kernel])[1]:
            same = np.array_equal(got, want) if kernel == "normal" else agrees(got, want, dtype)
            assert same, launch.kernel


def test_every_planted_fault_is_found(recordings: Path, tmp_path: Path) -> None:
    need_nvcc()
    recording = recorded(recordings, KERNEL, "f16", nhwc=False)

    def compile_fault(name: str) -> Path:
        csrc = plant(FAULTS[name], tmp_path / name)
        return ptx(KERNEL, flags=("-DSTYLEGAN_HALF_ONLY",), csrc=csrc)

    with ThreadPoolExecutor(2) as pool:
        compiled = list(pool.map(compile_fault, FAULTS))
    for (name, fault), path in zip(FAULTS.items(), compiled, strict=True):
        listed = [launch for launch in launches(recording) if "separable" in launch.kernel]
        kernels = parse(path.read_text(), {launch.kernel for launch in listed})
        found = None
        try:
            for launch in listed:
                if found is None:
                    results = run(launch, kernels[launch.kernel])[1]
                    found = None if all(agrees(*result, "f16") for result in results) else "wrong result"
        except PtxError as error:
            found = str(error)
        assert found is not None, f"{name}: nothing was found"
        assert fault.ptx in found, f"{name}: {found}"


def test_no_cost_has_risen(recordings: Path) -> None:
    need_nvcc()
    kept = json.loads(FILE.read_text())
    if kept["nvcc"] != nvcc_version():
        pytest.skip(f"counts.json is of nvcc {kept['nvcc']}, here is {nvcc_version()}: it writes other PTX")
    costs = measure(recordings)
    assert costs.keys() == kept["calls"].keys()
    for name, cost in costs.items():
        for key, value in cost.items():
            known = kept["calls"][name][key]
            assert value <= known, f"{name}: {key} rose from {known} to {value}; see tests/cuda/counting.py"


def test_arithmetic_of_the_interpreter() -> None:
    a = np.array([0x80000001, 7], np.uint32)
    assert multiply(a, a, ("hi", "u32")).tolist() == [(int(x) * int(x)) >> 32 for x in a]
    assert multiply(a.view(np.int32), a.view(np.int32), ("wide", "s32")).tolist() == [
        int(x) ** 2 for x in a.view(np.int32)
    ]
    assert shift("shr", a.view(np.int32), np.array([40, 1], np.uint32)).tolist() == [-1, 3]
    assert shift("shl", a, np.array([32, 1], np.uint32)).tolist() == [0, 14]
    assert permute_bytes(a[:1], np.array([0x44332211], np.uint32), np.array([0x7604], np.uint32)).tolist() == [
        0x44330111
    ]
    start, length = np.array([4, 28], np.uint32), np.array([8, 32], np.uint32)
    assert insert_bits(a, np.array([0xFFFFFFFF, 1], np.uint32), start, length).tolist() == [0xFFFFF01F, 0x70000001]
    bits = convert(np.array([1.00390625, np.nan], np.float32), "bf16", "f32", ("rn", "bf16", "f32"))
    assert bits.tolist() == [0x3F80, 0x7FFF]  # a tie goes to the even neighbour
    assert convert(np.array([2.5, -2.5], np.float32), "s32", "f32", ("rni", "s32", "f32")).tolist() == [2, -2]


def test_the_interpreter_refuses_what_it_does_not_know() -> None:
    with pytest.raises(PtxError, match="unknown directive"):
        parse(".visible .entry k(\n)\n{\n.maxfoo 3;\nret;\n}\n")

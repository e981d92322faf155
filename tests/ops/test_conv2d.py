"""The convolution family: against torch in float64, to second order, on the compiled kernels and on the reference."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn import grad as gradients

from stylegan.ops.conv2d import conv2d, conv_transpose2d
from stylegan.ops.torch_private import TorchDispatchMode

CL = torch.channels_last


def draw(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Normal numbers, in channels_last where they are an image or a weight."""
    values = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + sum(shape)))
    return values.to(dtype).contiguous(memory_format=CL)


# N, I, H, W, O, k, stride, padding, groups. The first ones are in the table of the Winograd kernels.
CASES = [
    (2, 32, 8, 8, 32, 3, 1, 1, 1),
    (1, 64, 24, 20, 96, 3, 1, 1, 1),  # panels of two widths
    (3, 48, 15, 23, 32, 3, 1, 1, 1),  # odd sides: tiles stick out at the right and below; 48 is not a power of two
    (1, 32, 64, 16, 80, 3, 1, 1, 1),
    (2, 32, 33, 33, 32, 3, 2, 0, 1),  # stride 2, as D and, transposed, G have it: the gradient by the weight
    (3, 48, 24, 31, 32, 3, 2, 1, 1),
    (1, 64, 31, 64, 80, 3, 2, 2, 1),  # the stride steps over the last column
    (2, 33, 8, 8, 32, 3, 1, 1, 1),  # no whole vectors
    (2, 4, 5, 7, 6, 3, 1, 1, 1),
    (2, 4, 9, 9, 6, 3, 2, 0, 1),
    (2, 6, 8, 7, 4, 3, 2, 1, 2),  # the stride steps over the last row
    (2, 3, 6, 6, 5, 1, 1, 0, 1),
    (1, 2, 5, 4, 3, 4, 1, 2, 1),
    (1, 1, 1, 1, 1, 1, 1, 0, 1),
]
WINOGRAD = 7  # as many of them are


def arguments(case: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, dict[str, Any]]:
    n, i, h, w, o, k, stride, padding, groups = case
    rest: dict[str, Any] = {"stride": stride, "padding": padding, "groups": groups}
    return draw(n, i, h, w, dtype=dtype), draw(o, i // groups, k, k, dtype=dtype, seed=1), rest


def close(got: Tensor, want: Tensor, tolerance: float) -> None:
    """Within a share of the largest value: sums of thousands of terms cancel to small numbers here and there."""
    assert got.shape == want.shape
    want = want.detach()
    torch.testing.assert_close(got.double(), want.double(), rtol=0, atol=tolerance * want.abs().max().item())


@pytest.mark.parametrize("memory_format", [CL, torch.contiguous_format], ids=["nhwc", "nchw"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_float32_agrees_with_torch_in_float64(case: tuple[int, ...], memory_format: torch.memory_format) -> None:
    x, w, rest = arguments(case)
    y = F.conv2d(x, w, **rest)
    dy = draw(*y.shape, seed=2)
    wanted = [
        y,
        gradients.conv2d_input(x.shape, w, dy, **rest),
        gradients.conv2d_weight(x, w.shape, dy, **rest),
    ]
    x, w, dy = (t.float().contiguous(memory_format=memory_format) for t in (x, w, dy))
    y = conv2d(x.requires_grad_(), w.requires_grad_(), **rest)
    got = [y, *torch.autograd.grad(y, [x, w], dy)]
    for result, want in zip(got, wanted, strict=True):
        assert result.dtype == torch.float32 and result.is_contiguous(memory_format=memory_format)
        close(result, want, 2e-6)


@pytest.mark.parametrize("case", CASES[: WINOGRAD + 1], ids=str)
def test_what_the_table_says(case: tuple[int, ...], ops: str) -> None:
    """Winograd's algorithm rounds differently, so that one can see where it is in use: here, but not in the reference."""
    x, w, rest = arguments(case, torch.float32)
    winograd = ops == "compiled" and case in CASES[:WINOGRAD]
    y = conv2d(x, w.requires_grad_(), **rest)
    assert torch.equal(y, F.conv2d(x, w, **rest)) is not (winograd and rest["stride"] == 1)
    dy = draw(*y.shape, dtype=torch.float32, seed=2)
    (dw,) = torch.autograd.grad(y, w, dy)
    assert torch.equal(dw, gradients.conv2d_weight(x, w.shape, dy, **rest)) is not winograd


@pytest.mark.parametrize("case", CASES[WINOGRAD:], ids=str)
def test_gradients_of_both_orders(case: tuple[int, ...]) -> None:
    x, w, rest = arguments(case)
    x, w = x.requires_grad_(), w.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: conv2d(x, w, **rest), (x, w), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x, w: conv2d(x, w, **rest), (x, w), fast_mode=True)
    dy = draw(*conv2d(x, w, **rest).shape, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda dy, w: conv_transpose2d(dy, w, **rest), (dy, w), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda dy, w: conv_transpose2d(dy, w, **rest), (dy, w), fast_mode=True)


@pytest.mark.parametrize("case", CASES[:WINOGRAD], ids=str)
def test_second_order_of_the_winograd_kernels(case: tuple[int, ...]) -> None:
    """Every member of the family differentiated by each argument, in float32 and by torch in float64."""
    results = []
    for function, dtype in ((conv2d, torch.float32), (F.conv2d, torch.float64)):
        x, w, rest = arguments(case, dtype)
        x, w = x.requires_grad_(), w.requires_grad_()
        y = function(x, w, **rest)
        dx, dw = torch.autograd.grad(y, [x, w], draw(*y.shape, dtype=dtype, seed=2), create_graph=True)
        of_dx = torch.autograd.grad(dx, w, draw(*dx.shape, dtype=dtype, seed=3), retain_graph=True)
        of_dw = torch.autograd.grad(dw, x, draw(*dw.shape, dtype=dtype, seed=4), retain_graph=True)
        results.append([*of_dx, *of_dw])
    for got, want in zip(*results, strict=True):
        close(got, want, 2e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", [CASES[1], CASES[9]], ids=str)
def test_half_types_are_rounded_once(case: tuple[int, ...], dtype: torch.dtype) -> None:
    x, w, rest = arguments(case)
    x, w = x.to(dtype).requires_grad_(), w.to(dtype).requires_grad_()
    y = conv2d(x, w, **rest)
    dy = draw(*y.shape, seed=2).to(dtype)
    got = [y, *torch.autograd.grad(y, [x, w], dy)]
    x, w = (t.detach().double().requires_grad_() for t in (x, w))
    y = F.conv2d(x, w, **rest)
    for result, want in zip(got, [y, *torch.autograd.grad(y, [x, w], dy.double())], strict=True):
        assert result.dtype == dtype
        close(result, want, torch.finfo(dtype).eps)


def test_a_gradient_that_nobody_asked_for_is_not_computed() -> None:
    """R1's first derivative is by the image alone, though the weights want gradients of the second."""
    ran: list[str] = []

    class Note(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            ran.append(func.__name__)
            return func(*args, **(kwargs or {}))

    x, w, _ = arguments(CASES[8])
    x, w = x.requires_grad_(), w.requires_grad_()
    with Note():
        (dx,) = torch.autograd.grad(conv2d(x, w, padding=1).square().sum(), x, create_graph=True)
    assert "conv2d_input.default" in ran and "conv2d_weight.default" not in ran
    with Note():
        dx.square().sum().backward()
    assert "conv2d_weight.default" in ran
    assert w.grad is not None and w.grad.any()


@pytest.mark.parametrize("case", [CASES[1], CASES[10]], ids=str)
def test_opcheck(case: tuple[int, ...]) -> None:
    x, w, rest = arguments(case, torch.float32)
    tail = [[rest["stride"]] * 2, [rest["padding"]] * 2, rest["groups"]]
    dy = draw(*conv2d(x, w, **rest).shape, dtype=torch.float32)
    x, w, dy = x.requires_grad_(), w.requires_grad_(), dy.requires_grad_()
    torch.library.opcheck(torch.ops.stylegan.conv2d.default, (x, w, *tail))
    torch.library.opcheck(torch.ops.stylegan.conv2d_input.default, (dy, w, list(x.shape[2:]), *tail))
    torch.library.opcheck(torch.ops.stylegan.conv2d_weight.default, (dy, x, list(w.shape[2:]), *tail))


def test_empty_batch() -> None:
    x, w, _ = arguments(CASES[0], torch.float32)
    x = x[:0].requires_grad_()
    y = conv2d(x, w.requires_grad_(), padding=1)
    y.sum().backward()
    assert y.shape == (0, 32, 8, 8) and x.grad is not None and w.grad is not None
    assert x.grad.shape == x.shape and not w.grad.any()


def test_a_broadcast_gradient() -> None:
    x, w, _ = arguments(CASES[0], torch.float32)
    x.requires_grad_()
    (dx,) = torch.autograd.grad(conv2d(x, w, padding=1).sum(), x)
    assert dx.is_contiguous(memory_format=CL)
    close(dx, gradients.conv2d_input(x.shape, w.double(), torch.ones(2, 32, 8, 8).double(), padding=1), 2e-6)


def test_autocast() -> None:
    x, w, _ = arguments(CASES[0], torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = conv2d(x.bfloat16(), w, padding=1)
    assert y.dtype == torch.bfloat16


def test_compile_and_export_see_one_op() -> None:
    class Layer(torch.nn.Module):
        def forward(self, x: Tensor, w: Tensor) -> Tensor:
            return conv_transpose2d(conv2d(x, w, padding=1), w, stride=2)

    x, w, _ = arguments((1, 4, 6, 6, 4, 3, 1, 1, 1), torch.float32)
    program = torch.export.export(Layer(), (x, w))
    torch.testing.assert_close(program.module()(x, w), Layer()(x, w))
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert names == ["stylegan.conv2d.default", "stylegan.conv2d_input.default"]


@pytest.mark.parametrize(
    ("x", "w", "rest", "names"),
    [
        ([2, 4, 8], [4, 4, 3, 3], {}, r"\(2, 4, 8\)"),
        ([2, 4, 8, 8], [4, 3, 3, 3], {}, r"\(4, 3, 3, 3\)"),
        ([2, 4, 8, 8], [3, 2, 3, 3], {"groups": 2}, "2 groups"),
        ([2, 4, 2, 2], [4, 4, 3, 3], {}, "does not fit into"),
        ([2, 4, 8, 8], [4, 4, 3, 3], {"stride": 0}, "stride"),
        ([2, 4, 8, 8], [4, 4, 3, 3], {"padding": [1, -1]}, "padding"),
        ([2, 4, 8, 8], [4, 4, 3, 3], {"padding": [1, 1, 1]}, "padding"),
    ],
)
def test_wrong_arguments_are_named(x: list[int], w: list[int], rest: dict, names: str) -> None:
    with pytest.raises(ValueError, match=names):
        conv2d(torch.zeros(x), torch.zeros(w), **rest)


def test_mixed_dtypes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"float32.*float64"):
        conv2d(torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 3, 3).double())


IN_A_PROCESS = """
import hashlib, json, torch
from stylegan.ops.backend import Backend, activate
from stylegan.ops.conv2d import conv2d
torch.set_num_threads({threads})
activate(Backend.compiled, torch.device("cpu"))
draw = torch.Generator().manual_seed(0)
x, w, dy = (torch.randn(s, generator=draw).contiguous(memory_format=torch.channels_last)
            for s in ([8, 32, 40, 24], [256, 32, 3, 3], [8, 256, 40, 24]))
y = conv2d(x.requires_grad_(), w.requires_grad_(), padding=1)
results = [y.detach(), *torch.autograd.grad(y, [x, w], dy)]
print(json.dumps([[hashlib.sha256(r.contiguous().numpy()).hexdigest(), r.double().square().sum().item()] for r in results]))
"""


def in_a_process(threads: int, instruction_set: str) -> list[list]:
    """Hashes and sums of squares of a layer's results, for a number of threads and an instruction set."""
    run = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS.format(threads=threads)],
        env={**os.environ, "STYLEGAN_INSTRUCTION_SET": instruction_set, "OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout)


def test_results_do_not_depend_on_threads_and_hardly_on_the_instruction_set(ops: str) -> None:
    if ops == "reference":
        pytest.skip("of the compiled kernels")
    one = in_a_process(1, "plain")
    assert [digest for digest, _ in in_a_process(2, "plain")] == [digest for digest, _ in one]
    for instruction_set in ("avx2", "avx512"):  # what the machine does not have is plain again
        for (_, got), (_, want) in zip(in_a_process(2, instruction_set), one, strict=True):
            assert got == pytest.approx(want, rel=1e-6)

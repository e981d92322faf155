"""The CUDA kernels, compiled by the host compiler and run thread by thread on the CPU, behind the ops.

First the tests of `tests/ops`, imported, so that they run once more with these kernels; then calls that aim at each kernel.
Shared memory and new tensors hold NaN until they are written. What this cannot show: what ptxas makes of the kernels, and
anything that a driver or a GPU does. See README.md.
"""

from collections.abc import Iterator

import pytest
import torch

from tests.cuda.building import need_compiler
from tests.cuda.calls import Call, calls
from tests.cuda.emulated import emulated_ops
from tests.ops.test_golden import (
    test_bias_act,
    test_conv2d_resample,
    test_filtered_lrelu,
    test_modulated_conv2d,
    test_upfirdn2d,
)
from tests.ops.test_ops import (
    test_empty_batch,
    test_gradients_keep_the_memory_format,
    test_gradients_of_a_product_with_what_is_not_finite,
    test_gradients_of_first_and_second_order,
    test_half_types_are_computed_in_float32,
    test_odd_strides,
    test_opcheck,
    test_the_product_beside_its_gradients_is_that_of_torch,
    test_third_order_of_the_epilogue_raises,
    test_values_in_every_dtype_and_memory_format,
)
from tests.ops.test_update import (
    test_a_graph_notices_that_a_parameter_was_changed,
    test_a_step_that_is_skipped_leaves_every_bit,
    test_a_step_with_what_is_not_finite_is_one_with_clamped_gradients,
    test_an_adam_that_skips_keeps_its_state,
    test_going_on_from_a_state_dict_is_exact,
    test_lerp,
    test_lists_of_different_lengths_are_refused,
    test_steps_are_those_of_torch,
    test_tensors_that_do_not_go_together_are_refused,
    test_the_formulas_of_the_paper,
    test_what_is_not_finite_is_counted,
)

AGAIN = (
    test_a_graph_notices_that_a_parameter_was_changed,
    test_a_step_that_is_skipped_leaves_every_bit,
    test_a_step_with_what_is_not_finite_is_one_with_clamped_gradients,
    test_an_adam_that_skips_keeps_its_state,
    test_bias_act,
    test_conv2d_resample,
    test_empty_batch,
    test_filtered_lrelu,
    test_going_on_from_a_state_dict_is_exact,
    test_gradients_keep_the_memory_format,
    test_gradients_of_a_product_with_what_is_not_finite,
    test_gradients_of_first_and_second_order,
    test_half_types_are_computed_in_float32,
    test_lerp,
    test_lists_of_different_lengths_are_refused,
    test_modulated_conv2d,
    test_odd_strides,
    test_opcheck,
    test_steps_are_those_of_torch,
    test_tensors_that_do_not_go_together_are_refused,
    test_the_formulas_of_the_paper,
    test_the_product_beside_its_gradients_is_that_of_torch,
    test_third_order_of_the_epilogue_raises,
    test_upfirdn2d,
    test_values_in_every_dtype_and_memory_format,
    test_what_is_not_finite_is_counted,
)
RTOL = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


@pytest.fixture(autouse=True)
def _emulated() -> Iterator[None]:
    need_compiler()
    with emulated_ops():
        yield


def compare(call: Call, rtol: float) -> int:
    """Check a call against its reference in float64; returns how many results were compared."""
    checked = 0
    for i, (got, want) in enumerate(zip(call.run(), call.reference(), strict=True)):
        if call.exact:
            assert torch.equal(got, want), call.name
            checked += 1
            continue
        if got.dtype == torch.uint8:  # codes: rounding may put a number on the other side of a kink
            assert got.shape == want.shape
            assert rtol > 1e-9 or torch.equal(got, want), call.name
            continue
        atol = rtol * float(want.abs().max()) if want.numel() else 0.0
        torch.testing.assert_close(
            got.double(), want, rtol=rtol, atol=atol, msg=lambda m, i=i: f"{call.name}, {i}: {m}"
        )
        checked += 1
    return checked


@pytest.mark.parametrize("nhwc", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", RTOL, ids=str)
def test_every_kernel(dtype: torch.dtype, nhwc: bool) -> None:
    assert sum(compare(call, RTOL[dtype]) for call in calls(dtype, nhwc)) > 200


@pytest.mark.parametrize("order", ["reverse", "random:5"])
def test_the_order_of_threads_and_blocks_does_not_matter(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for nhwc in (False, True):
        listed = list(calls(torch.float16, nhwc, thorough=False))
        want = [call.run() for call in listed]
        monkeypatch.setenv("EMULATION_ORDER", order)
        for call, results in zip(listed, want, strict=True):
            for a, b in zip(call.run(), results, strict=True):
                assert torch.equal(a, b), call.name
        monkeypatch.delenv("EMULATION_ORDER")


@pytest.mark.parametrize("nhwc", [False, True], ids=["nchw", "nhwc"])
def test_what_is_larger_than_32_bits_can_count_is_cut_into_parts(nhwc: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit far below 2^31: a tensor that long would not fit into a test."""
    for limit in (3000, 300, 100):
        monkeypatch.setenv("EMULATION_LAUNCH_LIMIT", str(limit))
        for call in calls(torch.float32, nhwc):
            cut = call.name.startswith("bias_act") or (
                call.name.startswith("modulated_epilogue (2, 8") and limit >= 256
            )
            cut = cut or (call.name.startswith("normal") and call.args[2] <= 4 * limit)
            assert not cut or compare(call, RTOL[torch.float32])


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5), (7,)])
def test_any_dense_order_of_dimensions(shape: tuple[int, ...]) -> None:
    """bias_act takes tensors of any rank, and keeps the order in which they lie in memory."""
    from stylegan.ops.bias_act import bias_act

    x = torch.randn(shape).permute(*reversed(range(len(shape))))
    for dim in range(x.ndim):
        b = torch.randn(x.shape[dim])
        got = bias_act(x, b, dim=dim, act="lrelu")
        want = torch.nn.functional.leaky_relu((x.movedim(dim, -1) + b).movedim(-1, dim), 0.2) * 2**0.5
        torch.testing.assert_close(got, want)
        assert got.stride() == x.stride()


def test_inputs_without_memory_of_their_own() -> None:
    """Gradients often come expanded: all strides zero."""
    from stylegan.ops.bias_act import bias_act
    from stylegan.ops.upfirdn2d import upfirdn2d

    x = torch.ones(()).expand(2, 3, 8, 8)
    torch.testing.assert_close(bias_act(x, torch.ones(3), act="relu"), torch.full((2, 3, 8, 8), 2 * 2**0.5))
    torch.testing.assert_close(upfirdn2d(x, torch.ones(4, 4)), torch.full((2, 3, 5, 5), 16.0))


def test_nan_stays_nan() -> None:
    """A clamp must not hide that training broke."""
    from stylegan.ops.bias_act import bias_act

    for act in ("linear", "relu", "lrelu", "tanh", "swish"):
        y = bias_act(torch.full((2, 3, 2, 2), float("nan")), torch.ones(3), act=act, clamp=1.0)
        assert y.isnan().all(), act

"""The ops against recorded results of the reference implementations: values, first and second order gradients."""

import pytest
import torch
from torch import Tensor

from stylegan.ops import upfirdn2d as fir
from stylegan.ops.bias_act import ACTIVATIONS, bias_act
from stylegan.ops.conv2d_resample import conv2d_resample
from stylegan.ops.filtered_lrelu import filtered_lrelu
from stylegan.ops.modulated_conv2d import modulated_conv2d
from tests.golden.golden import Golden, load

MODULATED = ("modulated_conv2d_sg2", "modulated_conv2d_sg2_scale")


def indices(name: str, key: str = "cases") -> range:
    return range(len(load(name).config[key]))


def leaf(golden: Golden, key: str) -> Tensor | None:
    t = golden.get(key)
    return None if t is None else t.requires_grad_()


def arguments(case: dict, *without: str) -> dict:
    return {key: value for key, value in case.items() if key not in without}


@pytest.mark.parametrize("i", indices("bias_act"))
def test_bias_act(i: int) -> None:
    golden, p = load("bias_act"), f"case{i:02d}"
    case = golden.config["cases"][i]
    assert ACTIVATIONS[case["act"]].alpha == case["def_alpha"]
    assert ACTIVATIONS[case["act"]].gain == pytest.approx(case["def_gain"])
    x, b, dy = (leaf(golden, f"{p}/in/{key}") for key in ("x", "b", "dy"))
    assert x is not None and dy is not None and (b is not None) == case["bias"]
    y = bias_act(x, b, **arguments(case, "bias", "def_alpha", "def_gain"))
    golden.assert_close(f"{p}/out/y", y)
    (dx,) = torch.autograd.grad(y, x, dy, create_graph=True)
    golden.assert_close(f"{p}/out/dx", dx)
    if b is not None:
        golden.assert_close(f"{p}/out/db", torch.autograd.grad(y, b, dy, retain_graph=True)[0])
    penalty = (dx * golden.tensor(f"{p}/in/r")).sum()
    ddx, ddy = torch.autograd.grad(penalty, [x, dy], allow_unused=True, materialize_grads=True)
    golden.assert_close(f"{p}/out/ddx", ddx)
    golden.assert_close(f"{p}/out/ddy", ddy)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("i", indices("upfirdn2d"))
def test_upfirdn2d(i: int, memory_format: torch.memory_format) -> None:
    golden, p = load("upfirdn2d"), f"case{i:02d}"
    x = golden.tensor(f"{p}/in/x").contiguous(memory_format=memory_format).requires_grad_()
    y = fir.upfirdn2d(x, golden.get(f"{p}/in/f"), **arguments(golden.config["cases"][i], "filter"))
    golden.assert_close(f"{p}/out/y", y)
    golden.assert_close(f"{p}/out/dx", torch.autograd.grad(y, x, golden.tensor(f"{p}/in/dy"))[0])


@pytest.mark.parametrize("i", indices("filtered_lrelu"))
def test_filtered_lrelu(i: int) -> None:
    golden, p = load("filtered_lrelu"), f"case{i:02d}"
    x, b, dy = (leaf(golden, f"{p}/in/{key}") for key in ("x", "b", "dy"))
    assert x is not None and dy is not None
    options = arguments(golden.config["cases"][i], "bias", "fu", "fd")
    y = filtered_lrelu(x, golden.get(f"{p}/in/fu"), golden.get(f"{p}/in/fd"), b, **options)
    golden.assert_close(f"{p}/out/y", y)
    (dx,) = torch.autograd.grad(y, x, dy, create_graph=True)
    golden.assert_close(f"{p}/out/dx", dx)
    if b is not None:
        golden.assert_close(f"{p}/out/db", torch.autograd.grad(y, b, dy, retain_graph=True)[0])
    (ddy,) = torch.autograd.grad((dx * golden.tensor(f"{p}/in/r")).sum(), dy)
    golden.assert_close(f"{p}/out/ddy", ddy)


@pytest.mark.parametrize("i", indices("filter_helpers", "setup_cases"))
def test_setup_filter(i: int) -> None:
    golden = load("filter_helpers")
    f = fir.setup_filter(**golden.config["setup_cases"][i])
    golden.assert_close(f"setup{i:02d}/out/f", f, golden.config["setup_tol"])


@pytest.mark.parametrize("i", indices("filter_helpers", "op_cases"))
def test_filter_helpers(i: int) -> None:
    golden, p = load("filter_helpers"), f"op{i:02d}"
    case = golden.config["op_cases"][i]
    y = getattr(fir, case["op"])(golden.tensor(f"{p}/in/x"), golden.tensor(f"{p}/in/f"), **arguments(case, "op"))
    golden.assert_close(f"{p}/out/y", y)


@pytest.mark.parametrize("i", indices("conv2d_resample"))
def test_conv2d_resample(i: int) -> None:
    golden, p = load("conv2d_resample"), f"case{i:02d}"
    x, w = leaf(golden, f"{p}/in/x"), leaf(golden, f"{p}/in/w")
    assert x is not None and w is not None
    y = conv2d_resample(x, w, golden.get(f"{p}/in/f"), **arguments(golden.config["cases"][i], "filter"))
    golden.assert_close(f"{p}/out/y", y)
    for key, grad in zip(("dx", "dw"), torch.autograd.grad(y, [x, w], golden.tensor(f"{p}/in/dy")), strict=True):
        golden.assert_close(f"{p}/out/{key}", grad)


@pytest.mark.parametrize("flip_fused", [False, True], ids=["as recorded", "other path"])
@pytest.mark.parametrize(("name", "i"), [(name, i) for name in MODULATED for i in indices(name)])
def test_modulated_conv2d(name: str, i: int, flip_fused: bool) -> None:
    golden, p = load(name), f"case{i:02d}"
    case = arguments(golden.config["cases"][i], "noise")
    case["fused_modconv"] = case.get("fused_modconv", True) != flip_fused
    leaves = {key: leaf(golden, f"{p}/in/{key}") for key in ("x", "w", "s", "noise")}
    y = modulated_conv2d(**leaves, f=golden.get(f"{p}/in/f"), **case)
    golden.assert_close(f"{p}/out/y", y)
    present = {key: t for key, t in leaves.items() if t is not None}
    grads = torch.autograd.grad(y, list(present.values()), golden.tensor(f"{p}/in/dy"))
    for key, grad in zip(present, grads, strict=True):
        golden.assert_close(f"{p}/out/d{key}", grad)

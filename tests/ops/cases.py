"""What every op is checked with: one list of samples per op, and a slow reference that only has to be right."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from stylegan.ops.bias_act import ACTIVATIONS, bias_act
from stylegan.ops.upfirdn2d import four_sides, pair, setup_filter, upfirdn2d


@dataclass(frozen=True)
class Sample:
    """One call: the shape of x, the shape of the other differentiable input (or None), and keyword arguments."""

    shape: tuple[int, ...]
    bias: int | None
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class OpCase:
    """An op as users call it, its dispatched name, a float64 reference and samples."""

    op: Callable[..., Tensor]
    dispatched: str
    reference: Callable[..., Tensor]
    samples: tuple[Sample, ...]


def inputs(
    sample: Sample, dtype: torch.dtype = torch.float64, memory_format: Any = torch.contiguous_format
) -> list[Any]:
    """Random tensors for a sample, the same for every dtype, and clear of kinks."""
    generator = torch.Generator().manual_seed(math.prod(sample.shape) + 17 * (sample.bias or 0))
    x = torch.randn(sample.shape, generator=generator, dtype=torch.float64).to(dtype)
    x = x.contiguous(memory_format=memory_format) if x.ndim == 4 else x
    if sample.bias is None:
        return [x]
    return [x, torch.randn(sample.bias, generator=generator, dtype=torch.float64).to(dtype)]


def bias_act_reference(
    x: Tensor, b: Tensor | None = None, *, dim=1, act="linear", alpha=None, gain=None, clamp=None
) -> Tensor:
    """The formula, with torch's own functions."""
    alpha = ACTIVATIONS[act].alpha if alpha is None else alpha
    gain = ACTIVATIONS[act].gain if gain is None else gain
    if b is not None:
        x = (x.movedim(dim, -1) + b).movedim(-1, dim)
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "linear": lambda t: t,
        "relu": F.relu,
        "lrelu": lambda t: torch.where(t < 0, alpha * t, t),
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "elu": F.elu,
        "selu": F.selu,
        "softplus": F.softplus,
        "swish": lambda t: t * torch.sigmoid(t),
    }
    y = functions[act](x) * gain
    return y if clamp is None else y.clamp(-clamp, clamp)


def upfirdn2d_reference(x: Tensor, f: Tensor | None, *, up=1, down=1, padding=0, flip_filter=False, gain=1.0) -> Tensor:
    """The definition, step by step: insert zeros, pad or crop, sum over taps of shifted images, keep every down-th."""
    f = torch.ones(1, 1) if f is None else f
    f = (f.outer(f) if f.ndim == 1 else f).double()
    (ux, uy), (dx, dy) = pair(up), pair(down)
    n, c, height, width = x.shape
    fh, fw = f.shape
    spread = x.new_zeros(n, c, height * uy, width * ux)
    spread[:, :, ::uy, ::ux] = x
    spread = F.pad(spread, four_sides(padding))
    out_h, out_w = spread.shape[2] - fh + 1, spread.shape[3] - fw + 1
    y = x.new_zeros(n, c, out_h, out_w)
    for ky in range(fh):
        for kx in range(fw):
            tap = f[ky, kx] if flip_filter else f[fh - 1 - ky, fw - 1 - kx]
            y = y + gain * tap * spread[:, :, ky : ky + out_h, kx : kx + out_w]
    return y[:, :, ::dy, ::dx]


def _bias_act_samples() -> Iterator[Sample]:
    for act in ACTIVATIONS:
        yield Sample((2, 3, 4, 5), 3, {"act": act})
        yield Sample((2, 3, 4, 5), 3, {"act": act, "gain": 0.7, "clamp": 0.6})
        yield Sample((3, 5), None, {"act": act, "gain": -1.3, "clamp": 2.0})
    yield Sample((2, 4, 3, 3), 3, {"act": "lrelu", "alpha": 1.4, "dim": 2})
    yield Sample((4, 3, 2), 2, {"act": "tanh", "dim": -1})
    yield Sample((2, 1, 3, 3), 1, {"act": "lrelu", "alpha": 0.0})


def _upfirdn2d_samples() -> Iterator[Sample]:
    low_pass, crooked = setup_filter([1, 3, 3, 1]), setup_filter([[1, -2, 3], [4, 5, -1]], normalize=False)
    taps = torch.tensor([1.0, 2.0, -3.0, 4.0, 0.5])
    yield Sample((2, 3, 4, 6), None, {"f": low_pass, "up": 2, "padding": [2, 1, 2, 1], "gain": 4})  # image of skip
    yield Sample((2, 3, 4, 6), None, {"f": low_pass, "down": 2, "padding": 1})  # discriminator's skip
    yield Sample((2, 3, 4, 6), None, {"f": low_pass, "padding": 2})  # blur before a strided convolution
    yield Sample((1, 2, 5, 4), None, {"f": None, "up": 2, "padding": [-1, 2, 0, 1]})
    yield Sample((1, 2, 5, 7), None, {"f": crooked, "up": [2, 3], "down": [3, 2], "padding": [1, 4, 0, 2], "gain": 1.5})
    yield Sample((2, 1, 6, 5), None, {"f": crooked, "up": 3, "padding": [-3, 5, 2, -6], "flip_filter": True})
    yield Sample((1, 2, 9, 8), None, {"f": crooked, "down": [1, 2], "padding": [-2, -1, 3, -1]})
    yield Sample((1, 2, 5, 6), None, {"f": taps, "up": 2, "down": [1, 2], "padding": [3, 4, 2, 2], "gain": 0.7})
    yield Sample((1, 2, 5, 6), None, {"f": taps, "down": 2, "padding": [3, 1], "flip_filter": True})


CASES = {
    "bias_act": OpCase(bias_act, "bias_act", bias_act_reference, tuple(_bias_act_samples())),
    "upfirdn2d": OpCase(upfirdn2d, "upfirdn2d", upfirdn2d_reference, tuple(_upfirdn2d_samples())),
}
SAMPLES = [(name, i) for name, case in CASES.items() for i in range(len(case.samples))]


def pick(name_and_index: tuple[str, int]) -> tuple[OpCase, Sample]:
    """The case and sample of an entry of `SAMPLES`."""
    name, index = name_and_index
    return CASES[name], CASES[name].samples[index]

"""What every op is checked with: one list of samples per op, and a slow reference that only has to be right."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from stylegan.ops.bias_act import ACTIVATIONS, bias_act
from stylegan.ops.demodulation import demodulation
from stylegan.ops.filtered_lrelu import filtered_lrelu
from stylegan.ops.modulated_epilogue import modulated_epilogue
from stylegan.ops.modulation import modulation_grad
from stylegan.ops.upfirdn2d import four_sides, pair, setup_filter, upfirdn2d


@dataclass(frozen=True)
class Sample:
    """One call: the shapes of the differentiable inputs by name, x first, and the other arguments."""

    shapes: dict[str, tuple[int, ...]]
    kwargs: dict[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """That of x."""
        return self.shapes["x"]


@dataclass(frozen=True)
class OpCase:
    """An op as users call it, its dispatched name, a float64 reference and samples.

    Attributes:
        wide: Inputs that stay float32 where x is of a half type.
    """

    op: Callable[..., Tensor]
    dispatched: str
    reference: Callable[..., Tensor]
    samples: tuple[Sample, ...]
    wide: tuple[str, ...] = ()


def inputs(
    case: OpCase,
    sample: Sample,
    dtype: torch.dtype = torch.float64,
    memory_format: Any = torch.contiguous_format,
) -> dict[str, Tensor]:
    """Random tensors for a sample, the same for every dtype; d, factors, are positive, and some of s, styles, are zero."""
    generator = torch.Generator().manual_seed(sum(math.prod(shape) for shape in sample.shapes.values()))
    tensors = {}
    for name, shape in sample.shapes.items():
        t = torch.randn(shape, generator=generator, dtype=torch.float64)
        t = t.abs() + 0.5 if name == "d" else t.relu() if name == "s" else t
        t = t.to(torch.float32 if name in case.wide and dtype in (torch.float16, torch.bfloat16) else dtype)
        tensors[name] = t.contiguous(memory_format=memory_format) if name == "x" and t.ndim == 4 else t
    return tensors


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


def upfirdn2d_reference(
    x: Tensor, f: Tensor | None, added: Tensor | None = None, *, up=1, down=1, padding=0, flip_filter=False, gain=1.0
) -> Tensor:
    """The definition, step by step: insert zeros, pad or crop, sum over taps of shifted images, keep every down-th, add."""
    f = torch.ones(1, 1) if f is None else f
    f = f.double()
    f = f.outer(f) if f.ndim == 1 else f
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
    y = y[:, :, ::dy, ::dx]
    return y if added is None else y + added


def filtered_lrelu_reference(
    x: Tensor,
    fu=None,
    fd=None,
    b=None,
    *,
    up=1,
    down=1,
    padding=0,
    gain=2**0.5,
    slope=0.2,
    clamp=None,
    flip_filter=False,
) -> Tensor:
    """The three steps, one after the other."""
    x = x if b is None else x + b[:, None, None]
    u = upfirdn2d_reference(x, fu, up=up, padding=padding, gain=up * up, flip_filter=flip_filter)
    v = torch.where(u < 0, slope * u, u) * gain
    v = v if clamp is None else v.clamp(-clamp, clamp)
    return upfirdn2d_reference(v, fd, down=down, flip_filter=flip_filter)


def modulated_epilogue_reference(
    x: Tensor, d=None, noise=None, b=None, *, act="linear", alpha=0.2, gain=None, clamp=None
) -> Tensor:
    """The steps, one after the other."""
    t = x if d is None else x * d[:, :, None, None]
    t = t if noise is None else t + noise
    return bias_act_reference(t, b, act=act, alpha=alpha, gain=gain, clamp=clamp)


def demodulation_planar(x: Tensor, w: Tensor) -> Tensor:
    """The op with styles x."""
    return demodulation(x, w)


def demodulation_nhwc(x: Tensor, w: Tensor) -> Tensor:
    """And with weights in channels_last, in which networks keep them."""
    return demodulation(x, w.contiguous(memory_format=torch.channels_last))


def demodulation_reference(x: Tensor, w: Tensor) -> Tensor:
    """Equation 3 of StyleGAN2 as it stands, with weights per image."""
    per_image = w[None] * x[:, None, :, None, None]
    return 1 / (per_image.square().sum([2, 3, 4]) + 1e-8).sqrt()


class _Modulation(torch.autograd.Function):
    """x * s, times b if there is one, with the gradients that our op makes; the one by b takes the product from it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, s: Tensor, b: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, s, b)
        return modulation_reference(x, s, b).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (up,), (x, s, b) = gradients, ctx.saved_tensors
        if b is None:
            return *modulation_grad(up, x, s)[:2], None
        dx, ds, y = modulation_grad(up * b[:, None, None], x, s, True)
        return dx, ds, (up * y).sum([0, 2, 3])


def modulation(x: Tensor, s: Tensor, b: Tensor | None = None) -> Tensor:
    """The product, whose first gradient is an op and the second another."""
    return _Modulation.apply(x, s, b)


def modulation_reference(x: Tensor, s: Tensor, b: Tensor | None = None) -> Tensor:
    """The product."""
    y = x * s[:, :, None, None]
    return y if b is None else y * b[:, None, None]


def _sample(shape: tuple[int, ...], bias: int | None = None, **kwargs: Any) -> Sample:
    return Sample({"x": shape} if bias is None else {"x": shape, "b": (bias,)}, kwargs)


def _bias_act_samples() -> Iterator[Sample]:
    for act in ACTIVATIONS:
        yield _sample((2, 3, 4, 5), 3, act=act)
        yield _sample((2, 3, 4, 5), 3, act=act, gain=0.7, clamp=0.6)
        yield _sample((3, 5), act=act, gain=-1.3, clamp=2.0)
    yield _sample((2, 4, 3, 3), 3, act="lrelu", alpha=1.4, dim=2)
    yield _sample((4, 3, 2), 2, act="tanh", dim=-1)
    yield _sample((2, 1, 3, 3), 1, act="lrelu", alpha=0.0)
    yield _sample((1, 1, 1, 1), 1, act="lrelu")
    yield _sample((2, 67, 1, 13), 67, act="lrelu")
    yield _sample((3, 0, 2, 2), 0, act="lrelu")


def _upfirdn2d_samples() -> Iterator[Sample]:
    low_pass, crooked = setup_filter([1, 3, 3, 1]), setup_filter([[1, -2, 3], [4, 5, -1]], normalize=False)
    taps = torch.tensor([1.0, 2.0, -3.0, 4.0, 0.5])
    long = torch.linspace(-1, 2, 15)
    yield _sample((2, 3, 4, 6), f=low_pass, up=2, padding=[2, 1, 2, 1], gain=4)  # image of skip
    yield _sample((2, 3, 4, 6), f=low_pass, down=2, padding=1)  # discriminator's skip
    yield _sample((2, 3, 4, 6), f=low_pass, padding=2)  # blur before a strided convolution
    yield _sample((1, 2, 5, 4), f=None, up=2, padding=[-1, 2, 0, 1])
    yield _sample((1, 2, 5, 7), f=crooked, up=[2, 3], down=[3, 2], padding=[1, 4, 0, 2], gain=1.5)
    yield _sample((2, 1, 6, 5), f=crooked, up=3, padding=[-3, 5, 2, -6], flip_filter=True)
    yield _sample((1, 2, 9, 8), f=crooked, down=[1, 2], padding=[-2, -1, 3, -1])
    yield _sample((1, 2, 5, 6), f=taps, up=2, down=[1, 2], padding=[3, 4, 2, 2], gain=0.7)
    yield _sample((1, 2, 5, 6), f=taps, down=2, padding=[3, 1], flip_filter=True)
    yield _sample((1, 19, 11, 13), f=low_pass, up=2, padding=[2, 1, 2, 1])  # more channels than a vector holds
    yield _sample((1, 19, 11, 13), f=low_pass, down=2, padding=1)
    yield _sample((1, 17, 11, 23), f=long, down=3, padding=9)
    yield _sample((1, 2, 11, 23), f=long, up=3, padding=[20, 21, 7, 8])
    yield _sample((1, 3, 7, 29), f=long, padding=7)
    yield _sample((1, 2, 3, 75), f=low_pass, up=2, padding=[2, 1, 2, 1])  # more than one strip
    yield _sample((1, 1, 1, 1), f=None)
    for shape, result, arguments in (
        ((2, 3, 4, 6), (2, 3, 8, 12), {"f": low_pass, "up": 2, "padding": [2, 1, 2, 1], "gain": 4}),
        ((1, 19, 11, 13), (1, 19, 22, 26), {"f": low_pass, "up": 2, "padding": [2, 1, 2, 1]}),
        ((2, 16, 8, 8), (2, 16, 8, 8), {"f": setup_filter([1, 2, 1]), "padding": 1}),  # oneDNN's without `added`
        ((1, 2, 9, 8), (1, 2, 5, 3), {"f": crooked, "down": [1, 2], "padding": [-2, -1, 3, -2]}),
        ((1, 17, 11, 23), (1, 17, 5, 9), {"f": long, "down": 3, "padding": 9}),
    ):
        yield Sample({"x": shape, "added": result}, arguments)


def _filtered_lrelu_samples() -> Iterator[Sample]:
    taps, long = torch.tensor([1.0, 3.0, -2.0, 1.5]), torch.linspace(-0.4, 1, 12)
    crooked = torch.tensor([[1.0, -2.0, 3.0], [4.0, 5.0, -1.0]]) / 4
    yield _sample((2, 3, 4, 5), 3, fu=taps, fd=taps, up=2, down=2, padding=[3, 2, 3, 2])
    yield _sample((1, 2, 5, 4), 2, fu=None, fd=None, clamp=0.7)
    yield _sample((1, 2, 4, 5), fu=crooked, fd=taps, up=2, down=1, padding=[1, 4, 3, 0], slope=0.0, flip_filter=True)
    yield _sample((1, 3, 6, 7), 3, fu=taps, fd=crooked, up=3, down=2, padding=[-2, 3, 4, -3], gain=0.8, clamp=0.5)
    yield _sample((1, 35, 5, 3), 35, fu=long, fd=long, up=2, down=2, padding=[11, 10, 11, 10], clamp=1.0)
    yield _sample((1, 1, 70, 3), 1, fu=taps, fd=None, up=2, down=1, padding=[2, 2, 2, 3])  # more than one band
    yield _sample((1, 2, 5, 61), 2, fu=long, fd=long, up=2, down=2, padding=[9, 8, 9, 8], clamp=1.0)  # and strip
    around = torch.arange(12) - 5.5
    radial = torch.cos((around[:, None].square() + around.square()).sqrt() / 5) / 20  # equals its mirror images
    yield _sample((2, 17, 7, 9), 17, fu=long, fd=radial, up=2, down=2, padding=[11, 10, 11, 10])
    yield _sample((1, 3, 13, 12), 3, fu=long.repeat_interleave(2), fd=long, up=4, down=2, padding=[-2, -5, -3, -6])


def _modulated_epilogue_samples() -> Iterator[Sample]:
    x, d, b = (2, 3, 4, 5), (2, 3), (3,)
    for act in ("linear", "lrelu"):
        yield Sample({"x": x, "d": d, "noise": (2, 1, 4, 5), "b": b}, {"act": act})
        yield Sample({"x": x, "d": d, "noise": (4, 5), "b": b}, {"act": act, "gain": 0.7, "clamp": 0.8})
        yield Sample({"x": x, "b": b}, {"act": act, "clamp": 0.5})
    yield Sample({"x": x, "d": d}, {})
    yield Sample({"x": x, "noise": (4, 5)}, {"act": "lrelu", "alpha": 0.0})
    yield Sample({"x": (1, 1, 1, 1), "d": (1, 1), "noise": (1, 1), "b": (1,)}, {"act": "lrelu"})
    yield Sample(
        {"x": (1, 37, 31, 29), "d": (1, 37), "noise": (1, 1, 31, 29), "b": (37,)}, {"act": "lrelu", "clamp": 1.0}
    )


def _demodulation_samples() -> Iterator[Sample]:
    yield Sample({"x": (2, 3), "w": (4, 3, 3, 3)}, {})
    yield Sample({"x": (1, 1), "w": (1, 1, 1, 1)}, {})
    yield Sample({"x": (3, 5), "w": (2, 5, 2, 3)}, {})
    yield Sample({"x": (2, 67), "w": (129, 67, 3, 3)}, {})  # more than one chunk of output channels


def _modulation_samples() -> Iterator[Sample]:
    for n, c, h, w in ((2, 3, 4, 5), (1, 1, 1, 1), (2, 16, 8, 4), (2, 67, 1, 13), (1, 37, 31, 29)):
        yield Sample({"x": (n, c, h, w), "s": (n, c)}, {})
        yield Sample({"x": (n, c, h, w), "s": (n, c), "b": (c,)}, {})


CASES = {
    "bias_act": OpCase(bias_act, "bias_act", bias_act_reference, tuple(_bias_act_samples())),
    "upfirdn2d": OpCase(upfirdn2d, "upfirdn2d", upfirdn2d_reference, tuple(_upfirdn2d_samples())),
    "filtered_lrelu": OpCase(
        filtered_lrelu, "filtered_lrelu", filtered_lrelu_reference, tuple(_filtered_lrelu_samples())
    ),
    "modulated_epilogue": OpCase(
        modulated_epilogue,
        "modulated_epilogue",
        modulated_epilogue_reference,
        tuple(_modulated_epilogue_samples()),
        wide=("d", "noise", "b"),
    ),
    "modulation": OpCase(
        modulation, "modulation_grad", modulation_reference, tuple(_modulation_samples()), wide=("s",)
    ),
    "demodulation": OpCase(demodulation_planar, "demodulation", demodulation_reference, tuple(_demodulation_samples())),
    "demodulation-nhwc": OpCase(
        demodulation_nhwc, "demodulation", demodulation_reference, tuple(_demodulation_samples())
    ),
}
SAMPLES = [(name, i) for name, case in CASES.items() for i in range(len(case.samples))]


def pick(name_and_index: tuple[str, int]) -> tuple[OpCase, Sample]:
    """The case and sample of an entry of `SAMPLES`."""
    name, index = name_and_index
    return CASES[name], CASES[name].samples[index]

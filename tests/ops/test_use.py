"""The ops where programs use them: autocast, torch.compile, torch.export, threads, forked workers."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from stylegan.ops.bias_act import bias_act
from stylegan.ops.filtered_lrelu import filtered_lrelu
from stylegan.ops.modulated_conv2d import modulated_conv2d
from stylegan.ops.modulated_epilogue import modulated_epilogue
from stylegan.ops.upfirdn2d import setup_filter, upfirdn2d
from tests.ops.cases import SAMPLES, inputs, pick


class Layers(nn.Module):
    """All ops one after the other, [N, 4, 8, 8] -> [N, 4, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, 3, 3, generator=torch.Generator().manual_seed(1)))
        self.bias = nn.Parameter(torch.zeros(4))
        self.register_buffer("f", setup_filter([1, 3, 3, 1]))

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        f = self.get_buffer("f")
        x = upfirdn2d(x, f, up=2, padding=[2, 1, 2, 1], gain=4)
        x = modulated_conv2d(x, self.weight, s, padding=1)
        x = modulated_epilogue(x, s + 1, b=self.bias, act="lrelu", clamp=100)
        x = filtered_lrelu(x, f, f, up=2, down=2, padding=[3, 2, 3, 2])
        x = bias_act(x, self.bias.to(x.dtype), act="swish")
        return upfirdn2d(x, f, down=2, padding=1)


def arguments() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 8, 8, generator=generator).contiguous(memory_format=torch.channels_last)
    return x, torch.rand(2, 4, generator=generator)


def gradients(call: Callable[..., Tensor], layers: Layers) -> list[Tensor]:
    x, s = (t.requires_grad_() for t in arguments())
    y = call(x, s)
    return [y, *torch.autograd.grad(y.float().square().sum(), [x, s, *layers.parameters()])]


def test_autocast() -> None:
    layers = Layers()
    want = gradients(layers, layers)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = gradients(layers, layers)
    for a, b in zip(got, want, strict=True):
        assert (a.float() - b).norm() < 0.05 * b.norm()


def test_compile_without_graph_breaks() -> None:
    """First order, which is all that torch.compile has; without its code generator, which would take a minute for all ops."""
    layers = Layers()
    torch.compiler.reset()
    compiled = torch.compile(layers, fullgraph=True, backend="aot_eager")
    for a, b in zip(gradients(compiled, layers), gradients(layers, layers), strict=True):
        torch.testing.assert_close(a, b)


def test_compile_with_its_code_generator(ops: str) -> None:
    """As its users call torch.compile, C++ and all; one op, since every line of generated code takes seconds to compile."""
    if ops == "reference":
        pytest.skip("which kernels an op has makes no difference to generated code")

    def double(x: Tensor, b: Tensor) -> Tensor:
        return 2 * bias_act(x, b, act="lrelu", clamp=1.0)

    torch.compiler.reset()
    compiled = torch.compile(double, fullgraph=True, backend="inductor")
    results = []
    for call in (compiled, double):
        x, b = (
            torch.linspace(-2, 2, 8).reshape(1, 2, 2, 2).requires_grad_(),
            torch.tensor([0.5, -0.25], requires_grad=True),
        )
        y = call(x, b)
        results.append([y, *torch.autograd.grad(y.square().sum(), [x, b])])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want)


def test_export() -> None:
    layers = Layers().eval().requires_grad_(False)
    program = torch.export.export(layers, arguments())
    assert any("stylegan.upfirdn2d" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(*arguments()), layers(*arguments()))


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    x = torch.randn(3, 24, 66, 50).contiguous(memory_format=torch.channels_last)
    d, noise, b, f = torch.rand(3, 24) + 0.5, torch.randn(3, 1, 66, 50), torch.randn(24), setup_filter([1, 3, 3, 1])
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            leaves = [t.clone().requires_grad_() for t in (x, d, noise, b)]
            y = modulated_epilogue(*leaves, act="lrelu", clamp=2)
            y = filtered_lrelu(upfirdn2d(y, f, padding=2), f, f, leaves[3], up=2, down=2, padding=[3, 2, 3, 2])
            first = torch.autograd.grad(y.square().sum(), leaves, create_graph=True)
            results.append([y, *first, *torch.autograd.grad(first[1].square().sum(), leaves[:2])])
    finally:
        torch.set_num_threads(1)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


def everything(entry: tuple[str, int]) -> list[Tensor]:
    """The result of a sample and its first gradients."""
    case, sample = pick(entry)
    args = {name: t.requires_grad_() for name, t in inputs(case, sample, torch.float32).items()}
    y = case.op(**args, **sample.kwargs)
    return [t.detach() for t in (y, *torch.autograd.grad(y.sum(), list(args.values())))]


def test_python_threads_at_once() -> None:
    want = [everything(entry) for entry in SAMPLES]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(everything, SAMPLES * 3))
    for a, b in zip(got, want * 3, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def as_numbers(entry: tuple[str, int]) -> list[float]:
    return [float(t.sum()) for t in everything(entry)]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_workers() -> None:
    entries = SAMPLES[::5]
    want = [as_numbers(entry) for entry in entries]  # the ops are in use before the fork
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(as_numbers, entries).get(timeout=60) == want

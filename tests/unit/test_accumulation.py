"""Gradients of parts that compute in 16 bits are added in float32: over micro-batches, and within one pass where a weight is
used more than once (R1 and path length differentiate twice)."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from stylegan.losses.base import Batch
from stylegan.losses.logistic import LogisticConfig
from stylegan.models.base import Generator
from stylegan.models.build import StyleGAN2Config
from stylegan.models.layers import Precision
from stylegan.models.mapping import MappingConfig
from stylegan.models.stylegan3 import StyleGAN3Config
from stylegan.ops.torch_private import TorchDispatchMode
from tests.unit.test_precision import networks
from tests.unit.training import Training, training_of

PHASES = ("Gmain", "Greg", "Dmain", "Dreg")
SMALL: dict[str, Any] = {"z_dim": 16, "w_dim": 16, "precision": Precision.bf16, "reduced_blocks": 2}
SMALL |= {"channel_base": 256, "channel_max": 16, "mapping": MappingConfig(num_layers=2)}


class SixteenBitSums(TorchDispatchMode):
    """Counts the additions of 16-bit tensors by shape, but for those of features: their height is neither 1 nor 3, or they are
    rows of 32x32 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: Counter[tuple[int, ...]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        adds = func.overloadpacket in (torch.ops.aten.add, torch.ops.aten.add_)
        features = adds and (out.shape[2] not in (1, 3) if out.ndim == 4 else 32 * 32 in out.shape)
        if adds and out.dtype in (torch.bfloat16, torch.float16) and not features:
            self.shapes[tuple(out.shape)] += 1
        return out


def training(make_G: Callable[[], Generator] | None = None) -> Training:
    """Two of four resolutions compute in bf16."""
    G, D = networks(Precision.bf16, reduced_blocks=2)
    return training_of(G if make_G is None else make_G(), D, LogisticConfig(r1_gamma=1.0, pl_decay=0.0))


def batch(phase: str, G: Generator, seed: int) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    drawn: dict[str, Any] = {
        "real": torch.randn(4, 3, 32, 32, generator=draw).clamp(-1, 1),
        "z": torch.randn(4, 16, generator=draw),
        "noise": torch.randn(4, G.noise_size, generator=draw),
        "path_noise": torch.randn(4, 3, 32, 32, generator=draw),
    }
    drawn |= dict.fromkeys(("augment_real", "augment_fake", "z_mix")) | {"constant_noise": False}
    return Batch(phase, c=torch.zeros(4, 0), real_c=torch.zeros(4, 0), **drawn)


@pytest.mark.parametrize("name", PHASES)
def test_micro_batches_are_added_in_float32(name: str) -> None:
    made = training()
    phase, network = made.phase(name), getattr(made.state, made.phase(name).network)
    batches = [batch(name, made.state.G, seed) for seed in range(4)]

    def gradients(batches: list[Batch]) -> dict[str, Tensor]:
        made.accumulate(phase, batches)
        return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}

    first, *others = (gradients([one]) for one in batches)
    got = gradients(batches)
    assert len(got) > 15 and all(g.dtype is torch.float32 for g in got.values())
    for key, gradient in got.items():
        want = first[key] / 4  # of four: exact
        for other in others:
            want = want + other[key] / 4
        assert torch.equal(gradient, want), key


@pytest.mark.parametrize("name", PHASES)
@pytest.mark.parametrize(
    "make_G",
    [
        lambda: StyleGAN2Config(**SMALL).build(resolution=(32, 32), channels=3, c_dim=0),
        lambda: StyleGAN2Config(**SMALL, fused_modconv=True).build(resolution=(32, 32), channels=3, c_dim=0),
        lambda: StyleGAN3Config(**SMALL, num_layers=5, margin_size=2).build(resolution=(32, 32), channels=3, c_dim=0),
    ],
    ids=["stylegan2", "fused_modconv", "stylegan3"],
)
def test_no_two_gradients_of_a_weight_are_added_in_16_bits(make_G: Callable[[], Generator], name: str) -> None:
    made = training(make_G)
    with SixteenBitSums() as sums:
        made.accumulate(made.phase(name), [batch(name, made.state.G, seed) for seed in range(2)])
    assert not sums.shapes


def test_one_rounded_copy_of_a_weight_that_is_used_twice_would_be_found() -> None:
    w, x = torch.randn(3, 4, requires_grad=True), torch.randn(2, 3, dtype=torch.bfloat16)
    rounded = w.bfloat16()
    with SixteenBitSums() as sums:
        ((x @ rounded).sum().float() + (2 * x @ rounded).sum().float()).backward()
    assert sums.shapes == {(3, 4): 1}

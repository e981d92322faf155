"""R3GAN's networks: equal to recorded numbers of the authors' code, new ones as the paper says, and what they refuse."""

import math
from typing import Any

import pytest
import torch

from stylegan.config.groups import read_experiment
from stylegan.errors import UserError
from stylegan.models.layers import Precision
from stylegan.models.r3gan import R3GANConfig, R3GANDiscriminatorConfig, ResidualBlock
from stylegan.ops.upfirdn2d import downsample2d, setup_filter, upsample2d
from stylegan.schedule import Plan, StageConfig, schedules_of
from stylegan.training.state import ema_decay
from tests.golden.golden import Golden, load
from tests.golden.networks import new_r3gan, r3gan, recorded_names


def network(golden: Golden) -> Any:
    return r3gan(golden, golden.config["kwargs"], "param/")


def compare_gradients(golden: Golden, made: Any, kind: str, gradients: dict[str, torch.Tensor]) -> None:
    """With all that the file has under `out/KIND/`."""
    names = recorded_names(made, golden.state(f"out/{kind}/"))
    assert set(names) == set(gradients)
    for ours, theirs in names.items():
        golden.assert_close(f"out/{kind}/{theirs}", gradients[ours])


@pytest.mark.parametrize("name", ["r3gan_g_c0_r16", "r3gan_g_c5_r8"])
@pytest.mark.usefixtures("ops")
def test_generator(name: str) -> None:
    golden = load(name)
    G, z, c = network(golden), golden.tensor("in/z").requires_grad_(), golden.tensor("in/c")
    seen = {}
    for i, stage in enumerate(G.stage_names):
        getattr(G, stage).block1.register_forward_hook(lambda _, __, x, i=i: seen.update({i: x}))
    img = G(z, c)
    golden.assert_close("out/img", img)
    for i, x in seen.items():
        golden.assert_close(f"out/act/stage{i}", x[:1])
    (img * golden.tensor("in/r")).sum().backward()
    assert z.grad is not None
    golden.assert_close("out/dz", z.grad)
    compare_gradients(golden, G, "grad", {k: p.grad for k, p in G.named_parameters()})


@pytest.mark.parametrize("name", ["r3gan_d_c0_r16", "r3gan_d_c5_r8"])
@pytest.mark.usefixtures("ops")
def test_discriminator(name: str) -> None:
    golden = load(name)
    D, img, c = network(golden), golden.tensor("in/img").requires_grad_(), golden.tensor("in/c")
    logits = D(img, c)
    golden.assert_close("out/logits", logits[:, 0])
    for i, x in enumerate(D.features(img)):
        golden.assert_close(f"out/act/stage{i}", x[:1])
    (dx,) = torch.autograd.grad(logits.sum(), img, create_graph=True)
    golden.assert_close("out/dx", dx)
    penalty = dx.square().sum(dim=[1, 2, 3])
    golden.assert_close("out/penalty", penalty)
    (logits[:, 0] * golden.tensor("in/q")).sum().backward(retain_graph=True)
    compare_gradients(golden, D, "grad", {k: p.grad.clone() for k, p in D.named_parameters()})
    D.zero_grad()
    penalty.mean().backward()
    compare_gradients(golden, D, "penalty_grad", {k: p.grad for k, p in D.named_parameters() if p.grad is not None})


def test_resampling() -> None:
    golden = load("r3gan_resample")
    for i, case in enumerate(golden.config["cases"]):
        taps = torch.tensor(case["filter"], dtype=torch.float64)
        taps = torch.nn.functional.conv1d(
            taps.view(1, 1, -1), torch.ones(1, 1, 2, dtype=torch.float64), padding=1
        ).flatten()
        f = setup_filter(taps.tolist())
        x = golden.tensor(f"case{i:02}/in/x").requires_grad_()
        y = (upsample2d if case["op"] == "up" else downsample2d)(x, f)
        golden.assert_close(f"case{i:02}/out/y", y)
        (y * golden.tensor(f"case{i:02}/in/dy")).sum().backward()
        assert x.grad is not None
        golden.assert_close(f"case{i:02}/out/dx", x.grad)


def test_new_networks_are_as_recorded() -> None:
    """Every parameter: its shape, and its size over three draws of ours against one of theirs."""
    for recorded in load("r3gan_init").config["networks"]:
        made: dict[str, list[torch.Tensor]] = {}
        for seed in range(3):
            torch.manual_seed(seed)
            for name, parameter in new_r3gan(recorded["kwargs"]).named_parameters():
                made.setdefault(name, []).append(parameter.detach())
        theirs = {parameter["name"]: parameter for parameter in recorded["params"]}
        names = recorded_names(new_r3gan(recorded["kwargs"]), theirs)
        assert set(names) == set(made)
        for ours, name in names.items():
            want, got = theirs[name], torch.stack(made[ours])
            assert list(got.shape[1:]) == want["shape"], ours
            if want["zero"]:
                assert not got.any(), ours
            else:
                size = got.square().mean().sqrt().item()
                assert size == pytest.approx(want["std"], rel=6 / math.sqrt(2 * want["n"])), ours
                assert abs(got.mean().item()) < 6 * want["std"] / math.sqrt(want["n"]), ours


def test_a_new_block_is_the_identity_and_its_branch_has_the_right_size() -> None:
    depth, side = 14, 16
    torch.manual_seed(0)
    block, x = ResidualBlock(64, 2, 8, depth), torch.randn(8, 64, side, side)
    assert torch.equal(block(x), x)
    with torch.no_grad():  # what comes to the third convolution, by a third one that hands everything on
        block.weight3.copy_(torch.eye(64, 128).view(64, 128, 1, 1))
    branch = block(x) - x
    expected = depth**-0.5 * (3 * side - 2) / (3 * side)
    assert branch.square().mean().sqrt().item() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("preset", sorted(load("r3gan_tables").config["presets"]))
def test_published_sizes(preset: str) -> None:
    recorded = load("r3gan_tables").config["presets"][preset]
    wide: dict[str, Any] = {}
    if "ImageNet" in preset:
        wide = {"channel_base": 64 * 1536, "channel_max": 1536, "group_width": 32}
    for kind, config in (("G", R3GANConfig(**wide)), ("D", R3GANDiscriminatorConfig(**wide))):
        kwargs = recorded[f"{kind}_kwargs"]
        side = 4 * 2 ** (len(kwargs["WidthPerStage"]) - 1)
        with torch.device("meta"):
            made = config.build(resolution=(side, side), channels=3, c_dim=kwargs.get("ConditionDimension", 0))
        assert sum(p.numel() for p in made.parameters()) == recorded[f"params_{kind}"]
        assert sum(1 for _ in made.parameters()) + 0 == recorded[f"num_tensors_{kind}"]


RECIPES = {
    "r3gan_cifar10": "CIFAR10-cond",
    "r3gan_ffhq64": "FFHQ-64",
    "r3gan_ffhq256": "FFHQ-256",
    "r3gan_imagenet32": "ImageNet-32",
    "r3gan_imagenet64": "ImageNet-64",
}
# Our settings by the names there, and how many of their units are one of ours.
SCHEDULES = {"loss.gamma": ("gamma", 1), "optim.G_lr": ("lr", 1), "optim.D_lr": ("lr", 1), "optim.beta2": ("beta2", 1)}
SCHEDULES |= {"augment.p": ("aug", 1), "optim.ema_kimg": ("ema", 1000)}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_the_published_ones(name: str) -> None:
    recorded, config = load("r3gan_tables").config["presets"][RECIPES[name]], read_experiment(name)
    count = len(recorded["G_kwargs"]["WidthPerStage"])
    shape: Any = {"resolution": (4 << count - 1,) * 2, "channels": 3}
    for kind in ("G", "D"):
        kwargs = recorded[f"{kind}_kwargs"]
        with torch.device("meta"):
            made = getattr(config.model, kind).build(**shape, c_dim=kwargs.get("ConditionDimension", 0))
        stages = [getattr(made, stage) for stage in made.stage_names]
        assert sum(p.numel() for p in made.parameters()) == recorded[f"params_{kind}"]
        assert [stage.block0.weight3.shape[0] for stage in stages] == kwargs["WidthPerStage"]
        assert [stage.block0.groups for stage in stages] == kwargs["CardinalityPerStage"]
        reduced = {i for i, stage in enumerate(stages) if stage.dtype is torch.bfloat16}
        assert reduced == {i % count for i in recorded[f"bf16_stages_{kind}"]}
    schedules = schedules_of(config)
    plan = Plan(schedules, [StageConfig()], 1, shape["resolution"], config.training.batch_size or 0)
    for row in recorded["schedule"]:
        now = plan.moment(row["nimg"], plan.stage(row["nimg"]))
        for ours, (theirs, unit) in SCHEDULES.items():
            assert now.settings[ours] * unit == pytest.approx(row[theirs], rel=1e-12), (ours, row["nimg"])
        beta = row["ema_beta"][str(config.training.batch_size)]
        assert ema_decay(now, config.optim.ema_rampup) == pytest.approx(beta, rel=1e-12)


def test_another_precision_leaves_the_options_of_other_networks_alone() -> None:
    config = R3GANConfig(channel_base=64, channel_max=8, group_width=8)
    G, twin = (config.build(resolution=(8, 8), channels=3, c_dim=0) for _ in range(2))
    G.set_precision(Precision.bf16)
    assert G.precision is Precision.bf16 and twin.precision is config.precision is Precision.fp32


def test_bf16_is_near() -> None:
    golden = load("r3gan_g_c0_r16")
    G = network(golden)
    G.config.reduced_blocks = 2  # as recorded
    G.set_precision(Precision.bf16)
    img, want = G(golden.tensor("in/z")), golden.tensor("out/img")
    assert 0 < float((img.detach() - want).norm() / want.norm()) < 2 * float(golden.config["bf16_rel_l2"])
    with pytest.raises(UserError, match="no bound"):
        G.set_precision(Precision.fp16)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"widths": "16,8"}, "need 3 stages"),
        ({"widths": "16,x,8"}, "a whole number for every stage"),
        ({"widths": "16,9,8", "groups": "2,4,2"}, "no multiple of its 4 groups"),
        ({"precision": Precision.fp16}, "no bound"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], why: str) -> None:
    for config in (R3GANConfig, R3GANDiscriminatorConfig):
        with pytest.raises(UserError, match=why):
            config(**options).build(resolution=(16, 16), channels=3, c_dim=0)

"""Every architecture of the tables, and two that are in none: what generic code may rely on, and what it must ask for."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from stylegan.errors import UserError
from stylegan.interop.snapshot import read_companions, read_snapshot
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.models.base import Discriminator, Generator, NetworkConfig
from stylegan.models.build import DISCRIMINATORS, GENERATORS, build_discriminator_from_metadata, build_from_metadata
from stylegan.models.discriminator import DiscriminatorConfig
from stylegan.models.generator import require_w
from stylegan.models.growing import Growing
from stylegan.models.layers import Architecture, Precision
from stylegan.models.metadata import model_metadata, weights_architecture
from stylegan.models.progan import ProGANConfig, ProGANDiscriminatorConfig
from stylegan.models.r3gan import R3GANConfig, R3GANDiscriminatorConfig
from stylegan.models.stylegan1 import StyleGAN1Config, StyleGAN1DiscriminatorConfig
from stylegan.models.stylegan2 import StyleGAN2Config
from stylegan.models.stylegan3 import StyleGAN3Config
from tests.unit.growing import GrowingDConfig, GrowingGConfig
from tests.unit.tiny import tiny_pair
from tests.unit.without_w import WithoutW, WithoutWConfig

SHAPE: dict[str, Any] = {"resolution": (16, 16), "channels": 3, "c_dim": 2}
G_CONFIGS = [*GENERATORS.values(), WithoutWConfig, GrowingGConfig]
SIZES: dict[str, Any] = {"channel_base": 64, "channel_max": 8}
D_CONFIGS = [*DISCRIMINATORS.values(), GrowingDConfig]


@pytest.fixture(autouse=True)
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables, with the test's own networks."""
    for config in (WithoutWConfig, GrowingGConfig):
        monkeypatch.setitem(GENERATORS, config.kind, config)
    monkeypatch.setitem(DISCRIMINATORS, GrowingDConfig.kind, GrowingDConfig)


def narrow(config_type: type[NetworkConfig[Any]]) -> NetworkConfig[Any]:
    """The options of a small network of any kind."""
    names = {f.name for f in dataclasses.fields(config_type)}
    small = {"z_dim": 8, "w_dim": 8, "channel_base": 64, "channel_max": 8, "margin_size": 4}
    return config_type(**{name: value for name, value in small.items() if name in names})


def test_tables_name_every_kind_once() -> None:
    kinds = {**GENERATORS, **DISCRIMINATORS}
    assert len(kinds) == len(GENERATORS) + len(DISCRIMINATORS)
    assert all(config_type().kind == kind for kind, config_type in kinds.items())


@pytest.mark.parametrize("config_type", [*G_CONFIGS, *D_CONFIGS])
def test_every_option_has_help_and_a_known_mark(config_type: type[NetworkConfig[Any]]) -> None:
    for f in dataclasses.fields(config_type):
        assert f.metadata["help"] and f.metadata.get("weights") in (None, "any", "alike"), f.name


@pytest.mark.parametrize("config_type", [*G_CONFIGS, *D_CONFIGS])
def test_another_kind_is_refused(config_type: Any) -> None:
    group = "model/G" if config_type in G_CONFIGS else "model/D"
    with pytest.raises(UserError, match=rf"kind=elsewhere.*options of {config_type.kind}.*{group}=NAME"):
        config_type(kind="elsewhere")


@pytest.mark.parametrize("config_type", [*G_CONFIGS, *D_CONFIGS])
def test_networks_describe_themselves_and_are_built_again(config_type: type[NetworkConfig[Any]]) -> None:
    with torch.device("meta"):
        network = config_type().build(resolution=(64, 64), channels=4, c_dim=3)
        meta = json.loads(json.dumps(model_metadata(network)))
        build = build_from_metadata if config_type in G_CONFIGS else build_discriminator_from_metadata
        twin = build(meta)
    assert set(meta) == {"kind", "config", "resolution", "channels", "c_dim"} and "kind" not in meta["config"]
    assert type(twin) is type(network) and twin.config == network.config
    assert (twin.resolution, twin.channels, twin.c_dim) == ((64, 64), 4, 3)
    layout = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert layout == {name: tensor.shape for name, tensor in twin.state_dict().items()} and layout
    assert weights_architecture(meta)["kind"] == config_type.kind


@pytest.mark.parametrize("config_type", G_CONFIGS)
def test_generators_keep_their_promise(config_type: type[NetworkConfig[Generator]]) -> None:
    G = narrow(config_type).build(**SHAPE)
    z, c = torch.randn(3, G.z_dim), torch.eye(2)[[0, 1, 0]]
    image = G(z, c)
    assert image.shape == (3, 3, 16, 16) and image.dtype is torch.float32
    assert torch.equal(G(z, c), image) and torch.equal(G(z, c, noise_mode="const"), image)
    for mode in ("none", "random"):
        noise = torch.randn(3, G.noise_size) if mode == "random" else None
        assert G(z, c, noise_mode=mode, noise=noise).shape == image.shape
    with pytest.raises(UserError, match="noise_mode"):
        G(z, c, noise_mode="loud")
    G.set_precision(G.precision)
    torch.testing.assert_close(G(z, c), image)


@pytest.mark.parametrize("config_type", D_CONFIGS)
def test_discriminators_keep_their_promise(config_type: type[NetworkConfig[Discriminator]]) -> None:
    D = narrow(config_type).build(**SHAPE)
    assert D.minibatch_group is None or D.minibatch_group >= 0
    one, two, c = torch.randn(4, 3, 16, 16), torch.randn(4, 3, 16, 16), torch.eye(2)[[0, 1, 0, 1]]
    together = D(torch.cat([one, two]), torch.cat([c, c]), batches=2)
    torch.testing.assert_close(together, torch.cat([D(one, c), D(two, c)]))
    assert together.shape == (8, 1)


@pytest.mark.parametrize("config_type", [*G_CONFIGS, *D_CONFIGS])
def test_channels_that_nobody_shows_are_refused(config_type: type[NetworkConfig[Any]]) -> None:
    with pytest.raises(UserError, match="2 channels"):
        narrow(config_type).build(resolution=(16, 16), channels=2, c_dim=0)


def test_what_weights_depend_on_is_marked_beside_the_option() -> None:
    G, D = tiny_pair()
    meta = model_metadata(G)
    config = weights_architecture(meta)["config"]
    assert set(meta["config"]) - set(config) == {"precision", "reduced_blocks"}
    alike = weights_architecture(meta, alike=True)["config"]
    assert set(config) - set(alike) == {"conv_clamp", "fused_modconv"}
    assert set(config["mapping"]) - set(alike["mapping"]) == {"w_avg_beta"}
    ours = weights_architecture(model_metadata(D))["config"]
    left = set(ours) - set(weights_architecture(model_metadata(D), alike=True)["config"])
    assert left == {"conv_clamp", "freeze_layers", "minibatch_std_group"}


def test_w_is_asked_for() -> None:
    G = WithoutWConfig().build(**SHAPE)
    with pytest.raises(UserError, match=r"style mixing needs a network with w; without_w has none: loss\.style_mixing"):
        require_w(G, "style mixing", "loss.style_mixing_prob=0")
    styled, _ = tiny_pair()
    assert require_w(styled, "style mixing", "") is styled


def test_a_network_of_one_format_says_so() -> None:
    G = WithoutWConfig().build(**SHAPE)
    assert G.precision is Precision.fp32
    with pytest.raises(UserError, match="precision=fp16: a without_w network computes in fp32 only"):
        G.set_precision(Precision.fp16)


def test_a_snapshot_needs_no_w(tmp_path: Path) -> None:
    G, D = WithoutWConfig().build(**SHAPE), GrowingDConfig().build(**SHAPE)
    save_snapshot(tmp_path / "a.safetensors", G, provenance={}, companions={"G": copy.deepcopy(G), "D": D})
    again = read_snapshot(tmp_path / "a.safetensors").G
    assert isinstance(again, WithoutW)
    z, c = torch.randn(2, 8), torch.eye(2)
    assert torch.equal(again(z, c), G(z, c))
    found = read_companions(tmp_path / "a.safetensors")
    image = G(z, c)
    assert torch.equal(found["D"](image, c), D(image, c)) and torch.equal(found["G"](z, c), image)


def test_only_what_grows_has_stages() -> None:
    assert isinstance(GrowingGConfig().build(**SHAPE), Growing)
    assert isinstance(GrowingDConfig().build(**SHAPE), Growing)
    others = (StyleGAN3Config, R3GANConfig, R3GANDiscriminatorConfig, WithoutWConfig)
    assert not any(isinstance(narrow(config).build(**SHAPE), Growing) for config in others)


GROW: list[tuple[Any, Any]] = [
    (ProGANConfig(z_dim=8, **SIZES), ProGANDiscriminatorConfig(**SIZES)),
    (ProGANConfig(z_dim=8, **SIZES), ProGANDiscriminatorConfig(pool_last=True, **SIZES)),
    (StyleGAN1Config(z_dim=8, w_dim=8, **SIZES), StyleGAN1DiscriminatorConfig(**SIZES)),
    (StyleGAN2Config(z_dim=8, w_dim=8, **SIZES), DiscriminatorConfig(architecture=Architecture.skip, **SIZES)),
]


@pytest.mark.parametrize(("G_config", "D_config"), GROW)
@pytest.mark.parametrize(("side", "alpha"), [(4, 1.0), (8, 1.0), (8, 0.25), (16, 1.0), (16, 0.25)])
def test_stages_of_networks_that_grow(G_config: Any, D_config: Any, side: int, alpha: float) -> None:
    torch.manual_seed(0)
    G, D = G_config.build(**SHAPE), D_config.build(**SHAPE)
    z, c = torch.randn(2, 8), torch.eye(2)

    def images(resolution: int, alpha: float) -> torch.Tensor:
        G.set_stage((resolution, resolution), torch.tensor(alpha, dtype=torch.float64) if alpha < 1 else None)
        return G(z, c)

    def logits(image: torch.Tensor, alpha: float) -> torch.Tensor:
        fading = torch.tensor(alpha, dtype=torch.float64) if alpha < 1 else None
        D.set_stage((image.shape[2], image.shape[3]), fading)
        return D(image, c)

    image = images(side, alpha)
    assert image.shape == (2, 3, side, side)
    logits(image, alpha).sum().backward()
    beyond = {f"b{larger}" for larger in (4, 8, 16) if larger > side}
    for network in (G, D):
        trained = {name for name, p in network.named_parameters() if p.grad is not None}
        assert trained and not any(part in beyond for name in trained for part in name.split("."))
        blocks = {part for name in trained for part in name.split(".") if part.startswith("b") and part[1:].isdigit()}
        assert blocks == {f"b{smaller}" for smaller in (4, 8, 16) if smaller <= side}
    if side > 4:
        older = nn.functional.interpolate(images(side // 2, 1.0), (side, side))
        torch.testing.assert_close(images(side, 0.0), older)
        torch.testing.assert_close(image, older + alpha * (images(side, 1.0) - older))
        if D.config.kind != DiscriminatorConfig.kind:  # which takes smaller images by a filter
            torch.testing.assert_close(logits(image, 0.0), logits(nn.functional.avg_pool2d(image, 2), 1.0))
        assert not torch.allclose(logits(image, 0.0), logits(image, 1.0))
    assert len(D.features(image)) == max([4, 8, 16].index(side), 1)
    with pytest.raises(UserError, match="discriminator needs images of shape"):
        D(torch.zeros(2, 3, 2 * side, 2 * side), c)
    with pytest.raises(UserError, match="no stage"):
        G.set_stage((32, 32), None)


@pytest.mark.parametrize("G_config", [pair[0] for pair in GROW[1:]])
@pytest.mark.parametrize(("side", "alpha"), [(4, 1.0), (8, 0.25), (16, 1.0)])
def test_a_snapshot_of_a_stage_shows_it_in_full_size(G_config: Any, side: int, alpha: float, tmp_path: Path) -> None:
    G, z, c = G_config.build(**SHAPE), torch.randn(2, 8), torch.eye(2)
    G.set_stage((side, side), torch.tensor(alpha, dtype=torch.float64) if alpha < 1 else None)
    save_snapshot(tmp_path / "a.safetensors", G, provenance={})
    again = read_snapshot(tmp_path / "a.safetensors").G
    shown = nn.functional.interpolate(G(z, c), (16, 16))
    assert torch.equal(again(z, c), shown) and again.resolution == (16, 16)
    save_snapshot(tmp_path / "b.safetensors", again, provenance={})
    assert torch.equal(read_snapshot(tmp_path / "b.safetensors").G(z, c), shown)


def test_a_stage_that_a_file_cannot_have_is_refused() -> None:
    meta = model_metadata(GrowingGConfig().build(**SHAPE))
    for stage in ({"resolution": [8, 8]}, {"resolution": [8], "alpha": 1}, {"resolution": [8, 8], "alpha": 2}, 8):
        with pytest.raises(UserError, match="stage"):
            build_from_metadata({**meta, "stage": stage})
    with pytest.raises(UserError, match="no stage of 32x32"):
        build_from_metadata({**meta, "stage": {"resolution": [32, 32], "alpha": 1}})


def test_stylegan2_grows_where_every_block_has_the_image() -> None:
    _, D = tiny_pair()
    G = StyleGAN2Config(z_dim=8, w_dim=8, architecture=Architecture.orig, **SIZES).build(**SHAPE)
    for network, name in ((G, "G"), (D, "D")):
        network.set_stage((16, 16), None)
        with pytest.raises(UserError, match=rf"architecture=.*does not grow.*model\.{name}\.architecture=skip"):
            network.set_stage((8, 8), None)


@pytest.mark.parametrize(("side", "alpha"), [(4, 1.0), (4, 0.25), (8, 1.0), (8, 0.25), (16, 1.0), (16, 0.25)])
def test_stages_of_growing_networks(side: int, alpha: float) -> None:
    torch.manual_seed(0)
    G, D = GrowingGConfig().build(**SHAPE), GrowingDConfig().build(**SHAPE)
    names = list(G.state_dict())
    z, c = torch.randn(2, 8), torch.eye(2)

    def fading(alpha: float) -> torch.Tensor | None:
        return torch.tensor(alpha, dtype=torch.float64) if alpha < 1 else None

    def images(resolution: int, alpha: float) -> torch.Tensor:
        G.set_stage((resolution, resolution), fading(alpha))
        return G(z, c)

    def logits(image: torch.Tensor, alpha: float) -> torch.Tensor:
        D.set_stage((image.shape[2], image.shape[3]), fading(alpha))
        return D(image, c)

    image = images(side, alpha)
    assert image.shape == (2, 3, side, side)
    logits(image, alpha).sum().backward()
    level = [4, 8, 16].index(side)
    blended = [level - 1] if level > 0 and alpha < 1 else []
    for network in (G, D):
        trained = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
        convs = {f"convs.{i}" for i in range(level + 1)}
        images_of = {f"{'torgb' if network is G else 'fromrgb'}.{i}" for i in [*blended, level]}
        assert trained == {f"{module}.{part}" for module in {*convs, *images_of, "fc"} for part in ("weight", "bias")}
    if level > 0:
        older = nn.functional.interpolate(images(side // 2, 1.0), (side, side))
        torch.testing.assert_close(images(side, 0.0), older)
        torch.testing.assert_close(image, older + alpha * (images(side, 1.0) - older))
        smaller = nn.functional.avg_pool2d(image, 2)
        torch.testing.assert_close(logits(image, 0.0), logits(smaller, 1.0))
        assert not torch.allclose(logits(image, 0.0), logits(image, 1.0))
    G.set_stage((side, side), fading(alpha))
    twin = copy.deepcopy(G)
    G.set_stage((16, 16), None)
    assert torch.equal(twin(z, c), image), "a copy is at the same stage"
    assert list(G.state_dict()) == names and G.resolution == (16, 16)
    with pytest.raises(UserError, match="no stage"):
        G.set_stage((32, 32), None)

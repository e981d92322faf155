"""Configurations compose, explain themselves, and a resume changes only what it may."""

import re
import sys
from dataclasses import fields
from math import isfinite
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from stylegan.assemble import build_plan
from stylegan.augment.strengths import PipeConfig
from stylegan.config.groups import flatten, register, to_typed
from stylegan.config.resume import MAY_CHANGE
from stylegan.config.saved import save_config
from stylegan.errors import UserError
from stylegan.files import shipped
from stylegan.models.stylegan3 import StyleGAN3Config
from stylegan.schedule import Ramp, Shape
from stylegan.training.config import TrainConfig, resolved
from stylegan.training.job import rounds_of
from tests.integration.command import run_here

EXPERIMENTS = sorted(path.stem for path in shipped("configs/experiment").glob("*.yaml"))


def compose(*overrides: str) -> TrainConfig:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    register()
    with initialize_config_dir(str(shipped("configs").resolve()), version_base="1.3"):
        return to_typed(hydra_compose("train", list(overrides)), TrainConfig)


# What each recipe is for: (H, W), channels, size of the labels.
MADE_FOR = {
    **dict.fromkeys(EXPERIMENTS, ((256, 256), 3, 0)),
    **{name: ((1024, 1024), 3, 0) for name in EXPERIMENTS if name.endswith("1024")},
    **{name: ((512, 512), 3, 0) for name in EXPERIMENTS if name.endswith("512")},
    "debug": ((16, 16), 3, 0),
    "demo": ((64, 64), 3, 0),
    "demo_growing": ((64, 64), 3, 0),
    "demo_stylegan3": ((32, 32), 3, 0),
    "demo_r3gan": ((32, 32), 3, 0),
    "portrait128": ((128, 128), 3, 0),
    "r3gan_cifar10": ((32, 32), 3, 10),
    "r3gan_ffhq64": ((64, 64), 3, 0),
    "r3gan_imagenet32": ((32, 32), 3, 1000),
    "r3gan_imagenet64": ((64, 64), 3, 1000),
    "stylegan2_ada_cifar": ((32, 32), 3, 10),
    "stylegan2_cifar": ((32, 32), 3, 10),
    "stylegan2_gray": ((28, 28), 1, 10),
    "stylegan2_rect": ((512, 256), 3, 0),
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_builds_on_the_meta_device(name: str) -> None:
    resolution, channels, c_dim = MADE_FOR[name]
    config = resolved(compose(f"experiment={name}"), resolution=resolution, images=1000, ranks=1)
    with torch.device("meta"):
        G, D = (
            n.build(resolution=resolution, channels=channels, c_dim=c_dim) for n in (config.model.G, config.model.D)
        )
        image = G(torch.empty(4, G.z_dim), torch.empty(4, c_dim))
        logits = D(image, torch.empty(4, c_dim))
    assert image.shape == (4, channels, *resolution) and logits.shape == (4, 1)
    phases, plan = config.loss.phases(G), build_plan(config, resolution)
    assert {phase.network for phase in phases} == {"G", "D"}
    now = plan.moment(0, plan.stage(0))
    assert all(isfinite(value) for value in now.settings.values())
    assert plan.stage(round(config.training.kimg * 1000)).resolution == resolution
    config.augment.build(channels=channels, resolution=resolution)
    rounds_of(config.training, plan, D.minibatch_group)
    tree = flatten(OmegaConf.to_container(OmegaConf.structured(config)))
    left_open = {key for key, value in tree.items() if value is None}
    assert left_open <= NONE_IS_NONE, "config.yaml says what follows from the data"


NONE_IS_NONE = {
    *(f"model.{network}.{option}" for network in "GD" for option in ("widths", "groups", "c_embed_dim")),
    "run_dir",
    "init_from",
    "training.start_kimg",
    "data.max_images",
    "metrics.best",
    "augment.pipe.preset",
}
NONE_IS_NONE |= {f"augment.pipe.{f.name}" for f in fields(PipeConfig) if f.default is None}
NONE_IS_NONE |= {f"model.{name}.mapping.{key}" for name in "GD" for key in ("hidden_dim", "embed_dim")}
NONE_IS_NONE |= {f"model.{name}.{key}" for name in "GD" for key in ("conv_clamp", "cmap_dim")} | {"model.G.filter_size"}


def test_composing_opens_no_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("the data set was opened")

    monkeypatch.setattr("stylegan.data.archive.ImageDataset.__init__", opened)
    assert compose("experiment=ada_auto", "data.path=nowhere.zip").training.batch_size is None


def test_what_follows_from_the_data_gives_way_to_what_is_said() -> None:
    config = compose("experiment=ada_auto", "training.batch_size=24", "model.G.channel_base=8192", "loss.r1_gamma=3")
    config = resolved(config, resolution=(512, 512), images=10**6, ranks=2)
    assert (config.training.batch_size, config.training.micro_batch) == (24, 12)
    assert (config.model.G.channel_base, config.model.D.channel_base) == (8192, 32768)
    assert (config.loss.r1_gamma, config.optim.G_lr, config.optim.ema_kimg, config.optim.loss_scale) == (
        3,
        0.0025,
        7.5,
        1,
    )
    assert resolved(config, resolution=(64, 64), images=5, ranks=1) == config, "nothing is left open"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["+model.X=3"], "there is no setting model.X"),
        (["model/G=stylegan3", "model.G.num_layer=3"], "model.G.num_layer; did you mean 'model.G.num_layers'"),
        (["model/G=stylegan4"], "there is no model/G=stylegan4; did you mean 'stylegan3'"),
        (["loss=hing"], "there is no loss=hing; there are: logistic"),
        (
            ["experiment=demo_stylegan3", "model/G=stylegan2"],
            "experiment=demo_stylegan3 sets num_layers, which the networks",
        ),
    ],
)
def test_names_that_do_not_exist(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run_here("train", "experiment=debug", *arguments, capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 2 and says in result.err, result.err


@pytest.mark.parametrize("choice", ["model=stylegan3", "model/G=stylegan3"])
def test_networks_are_groups_of_their_own(choice: str) -> None:
    config = compose("experiment=debug", choice, "model/D=stylegan2_discriminator", "model.G.num_layers=5")
    assert isinstance(config.model.G, StyleGAN3Config) and config.model.G.num_layers == 5


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("model.G.kind=stylegan3", "model/G=NAME"),
        ("optim.G_lr={start: 1, end: 2}", "optim.G_lr: the ramp lacks kimg"),
        ("optim.G_lr={start: 1, end: 2, kimg: 3, shape: round}", "optim.G_lr.shape=round: choose linear or cosine"),
        ("optim.G_lr={start: 1, end: 2, kimg: 3, to: 4}", "optim.G_lr: a ramp has no to"),
        ("optim.G_lr={start: 1, end: x, kimg: 3}", "optim.G_lr.end=x is no finite number"),
        ("optim.G_lr=-1", "optim.G_lr=-1 must be positive"),
        ("optim.G_lr=fast", "optim.G_lr=fast is no finite number"),
        ("optim.beta2={start: 0.9, end: 1, kimg: 3}", "optim.beta2=1 must be from 0 to below 1"),
        ("loss.r1_gamma=nan", "loss.r1_gamma=nan is no finite number"),
        ("loss.blur_sigma={start: 1, end: 0, kimg: -3}", "loss.blur_sigma.kimg=-3 must not be negative"),
    ],
)
def test_wrong_values_are_refused_by_name(override: str, says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        compose("experiment=debug", override)


OURS = ("demo", "debug", "portrait")


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if not name.startswith(OURS)])
def test_every_number_of_a_published_recipe_has_its_source(name: str) -> None:
    lines = shipped(f"configs/experiment/{name}.yaml").read_text().splitlines()
    for line in lines:
        setting = line.strip().split("#")[0]
        ours = setting.startswith(("workers", "checkpoint_kimg", "snapshot_kimg", "grid_images"))
        if setting and not setting.strip().endswith(":") and not ours:
            assert "#" in line, f"{name}: {line!r} names no source"


def test_a_saved_configuration_reads_back_equal(tmp_path: Path) -> None:
    config = compose(
        "experiment=stylegan2_ffhq256",
        "training.micro_batch=8",
        "training.on_nonfinite=rollback",
        "optim.G_lr={start: 0.1, end: 0.2, kimg: 3, shape: cosine}",
        "training.stages=[{resolution: 128}, {start_kimg: 100, fade_kimg: 50}]",
        "model.D.conv_clamp=null",
    )
    config = resolved(config, resolution=(256, 256), images=1000, ranks=1)
    save_config(config, tmp_path / "config.yaml")
    schema = OmegaConf.structured(TrainConfig())
    assert config.optim.G_lr == Ramp(0.1, 0.2, 3, Shape.cosine)
    merged = OmegaConf.merge(schema, OmegaConf.load(tmp_path / "config.yaml"))
    assert to_typed(merged, TrainConfig) == config  # pyright: ignore[reportArgumentType]


def test_what_may_change_exists() -> None:
    assert set(MAY_CHANGE) <= set(flatten(OmegaConf.to_container(OmegaConf.structured(TrainConfig()))))


def test_help_lists_every_setting_with_its_meaning(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run_here("train", "--help", capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 0
    for key in flatten(OmegaConf.to_container(OmegaConf.structured(TrainConfig()))):
        lines = [line for line in result.out.splitlines() if line.strip().startswith(f"{key}=")]
        assert lines and len(lines[0].split(maxsplit=1)) == 2, f"{key} has no help"
    assert "experiment: ada_auto, debug, demo" in result.out and "torchrun" in result.out
    assert "figure" not in result.out and "augment.policy=[color,translation,cutout]  diffaugment" in result.out


def test_cfg_job_prints_the_configuration(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_here("train", "experiment=debug", "--cfg", "job", capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 0 and OmegaConf.create(result.out).training.kimg == 0.064


def test_a_sweep_makes_one_run_a_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra.core.hydra_config import HydraConfig

    from tests.integration.images import write_archive

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # as in a process that has composed nothing before
    archive = write_archive(tmp_path / "noise.zip")
    arguments = [
        "-m",
        "experiment=debug",
        "seed=1,2",
        f"data.path={archive}",
        "training.kimg=0.008",
        "data.cache=false",
    ]
    result = run_here("train", *arguments, capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 0, result.err
    for number, seed in enumerate([1, 2]):
        saved = OmegaConf.load(tmp_path / "runs" / "debug" / str(number) / "config.yaml")
        assert saved.seed == seed
    assert sorted(p.name for p in tmp_path.iterdir()) == ["noise.zip", "runs"]
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["debug", "multirun"]
    assert sorted(p.name for p in (tmp_path / "runs" / "debug").iterdir()) == ["0", "1"]
    assert "hydra" in sys.modules

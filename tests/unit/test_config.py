"""Configurations compose, explain themselves, and a resume changes only what it may."""

import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from stylegan.config.groups import flatten, register, to_typed
from stylegan.config.resume import MAY_CHANGE, save_config
from stylegan.config.schema import StyleGAN2Model, TrainConfig
from stylegan.files import shipped
from stylegan.training.batch import split_positions
from tests.integration.command import run_here

EXPERIMENTS = sorted(path.stem for path in shipped("configs/experiment").glob("*.yaml"))


def compose(*overrides: str) -> TrainConfig:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    register()
    with initialize_config_dir(str(shipped("configs").resolve()), version_base="1.3"):
        return to_typed(hydra_compose("train", list(overrides)), TrainConfig)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes_and_its_networks_can_be_built(name: str) -> None:
    config = compose(f"experiment={name}")
    if name in ("demo", "demo_stylegan3", "debug"):  # the others are large
        shape = {"resolution": (config.data.resolution, config.data.resolution), "channels": 3, "c_dim": 0}
        config.model.G.build(**shape)
        config.model.D.build(**shape)
    batch = config.training.batch_size
    split_positions(batch, 1, config.training.micro_batch or batch, config.model.D.minibatch_std_group)


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in ("demo", "demo_stylegan3", "debug")])
def test_every_number_of_a_published_recipe_has_its_source(name: str) -> None:
    lines = shipped(f"configs/experiment/{name}.yaml").read_text().splitlines()
    for line in lines:
        setting = line.strip().split("#")[0]
        ours = setting.startswith(("workers", "checkpoint_kimg", "snapshot_kimg", "grid_images"))
        if setting and not setting.strip().endswith(":") and not ours:
            assert "#" in line, f"{name}: {line!r} names no source"


def test_a_saved_configuration_reads_back_equal(tmp_path: Path) -> None:
    config = compose("experiment=stylegan2_ffhq256", "training.micro_batch=8", "training.on_nonfinite=rollback")
    save_config(config, tmp_path / "config.yaml")
    schema = OmegaConf.structured(TrainConfig(model=StyleGAN2Model()))
    merged = OmegaConf.merge(schema, OmegaConf.load(tmp_path / "config.yaml"))
    assert to_typed(merged, TrainConfig) == config  # pyright: ignore[reportArgumentType]


def test_what_may_change_exists() -> None:
    assert set(MAY_CHANGE) <= set(
        flatten(OmegaConf.to_container(OmegaConf.structured(TrainConfig(model=StyleGAN2Model()))))
    )


def test_help_lists_every_setting_with_its_meaning(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run_here("train", "--help", capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 0
    for key in flatten(OmegaConf.to_container(OmegaConf.structured(TrainConfig(model=StyleGAN2Model())))):
        lines = [line for line in result.out.splitlines() if line.strip().startswith(f"{key}=")]
        assert lines and len(lines[0].split(maxsplit=1)) == 2, f"{key} has no help"
    assert "experiment: ada_auto, debug, demo" in result.out and "torchrun" in result.out


def test_cfg_job_prints_the_configuration(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_here("train", "experiment=debug", "--cfg", "job", capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 0 and OmegaConf.create(result.out).training.kimg == 0.064


def test_a_sweep_makes_one_run_a_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.integration.images import write_archive

    monkeypatch.chdir(tmp_path)
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
    assert "hydra" in sys.modules

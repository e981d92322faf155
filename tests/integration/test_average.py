"""Averages of another length after a training, against those that were tracked in it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import stylegan
from stylegan import run_dir as layout
from stylegan.data.loader import DataConfig
from stylegan.errors import UserError
from stylegan.interop.snapshot import read_snapshot
from stylegan.interop.snapshot_writer import add_provenance
from stylegan.losses.logistic import LogisticConfig
from stylegan.models.discriminator import DiscriminatorConfig
from stylegan.models.generator import StyleBased
from stylegan.models.mapping import MappingConfig
from stylegan.models.stylegan2 import StyleGAN2Config
from stylegan.training.adam import OptimConfig
from stylegan.training.config import ModelConfig, TrainConfig, TrainingConfig
from stylegan.training.rebuild import average
from tests.integration.images import write_archive
from tests.integration.test_resume import same_state

SMALL: dict[str, Any] = {"channel_base": 64, "channel_max": 8}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("data") / "noise.zip", count=20)


def train(archive: Path, run_dir: Path, kimg: float, lengths: list[float]) -> None:
    stylegan.train(
        TrainConfig(
            run_dir=str(run_dir),
            device="cpu",
            data=DataConfig(path=str(archive), workers=0),
            model=ModelConfig(
                G=StyleGAN2Config(z_dim=8, w_dim=8, mapping=MappingConfig(num_layers=2), **SMALL),
                D=DiscriminatorConfig(minibatch_std_group=4, **SMALL),
            ),
            loss=LogisticConfig(r1_gamma=1, pl_weight=0, style_mixing_prob=0),
            optim=OptimConfig(ema_power=lengths),
            training=TrainingConfig(
                kimg=kimg, batch_size=4, grid_images=1, snapshot_kimg=0.02, checkpoint_kimg=0.04, keep_checkpoints=9
            ),
        )
    )


@pytest.fixture(scope="module")
def run(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen snapshots of three averages; the middle one is there to compare with."""
    folder = tmp_path_factory.mktemp("average") / "run"
    train(archive, folder, 0.32, [0.05, 0.08, 0.1])
    return folder


def parameters(path: Path) -> torch.Tensor:
    return torch.cat([p.detach().flatten().double() for p in read_snapshot(path).G.parameters()])


def test_a_tracked_length_is_rebuilt_from_the_others(run: Path, tmp_path: Path) -> None:
    tracked = parameters(layout.power_path(run, 0.08, 320))
    for power in layout.powers(run):
        if power.sigma == 0.08:
            power.path.rename(tmp_path / power.path.name)
    try:
        told = average(run, 0.08, tmp_path / "out.safetensors")
    finally:
        for path in tmp_path.glob("power-*"):
            path.rename(run / layout.SNAPSHOTS / path.name)
    got, others = parameters(tmp_path / "out.safetensors"), [layout.power_path(run, s, 320) for s in (0.05, 0.1)]
    moved = (tracked - parameters(others[0])).norm()
    assert (got - tracked).norm() < 0.03 * moved, "as near as its profile"
    assert "error of its profile 0." in told and "of 32 that" in told
    found = read_snapshot(tmp_path / "out.safetensors")
    about = found.provenance["ema_power"]
    assert about["sigma"] == 0.08 and about["of"] == [0.05, 0.1] and about["files"] == 32 and 0 < about["error"] < 0.05
    newest = read_snapshot(layout.snapshot_path(run, 320)).G
    assert isinstance(found.G, StyleBased) and isinstance(newest, StyleBased)
    buffers = dict(newest.named_buffers())
    for name, buffer in found.G.named_buffers():
        assert torch.equal(buffer, buffers[name]) == (name != "mapping.w_avg"), name
    z = torch.randn(10_000, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(found.G.mapping.w_avg, found.G.mapping(z)[:, 0].mean(dim=0))


def test_the_last_of_a_length_that_was_kept_is_itself(run: Path, tmp_path: Path) -> None:
    average(run, 0.05, tmp_path / "out.safetensors", kimg=0.2)
    torch.testing.assert_close(
        parameters(tmp_path / "out.safetensors"), parameters(layout.power_path(run, 0.05, 200)), rtol=1e-5, atol=1e-6
    )


def test_of_a_network_that_grows_only_the_last_stage_counts(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    for power in layout.powers(tmp_path / "run"):
        side = 8 if power.nimg < 200 else 16
        add_provenance(power.path, {"stage": {"resolution": [side, side], "alpha": 1.0}})
    told = average(tmp_path / "run", 0.05, tmp_path / "out.safetensors")
    assert "of 21 that" in told, told


def test_a_resume_is_equal_to_the_bit_with_them(archive: Path, tmp_path: Path) -> None:
    train(archive, tmp_path / "whole", 0.08, [0.05, 0.1])
    train(archive, tmp_path / "parts", 0.044, [0.05, 0.1])
    train(archive, tmp_path / "parts", 0.08, [0.05, 0.1])
    same_state(*(layout.checkpoint_path(tmp_path / name, 80) for name in ("whole", "parts")))
    for name in ("whole", "parts"):
        assert "2 further averages with every snapshot" in (tmp_path / name / layout.LOG).read_text()
    for sigma in (0.05, 0.1):
        one, other = (layout.power_path(tmp_path / name, sigma, 80) for name in ("whole", "parts"))
        assert torch.equal(parameters(one), parameters(other))
    with pytest.raises(UserError, match="ema_power"):
        train(archive, tmp_path / "parts", 0.1, [0.05])


def test_the_first_update_is_the_network_itself(archive: Path, tmp_path: Path) -> None:
    train(archive, tmp_path / "run", 0.004, [0.05, 0.25])
    state = torch.load(layout.checkpoint_path(tmp_path / "run", 4), weights_only=True)["state"]
    for kept in state["power"].values():
        assert all(torch.equal(kept[name], state["G"][name]) for name in kept)


@pytest.mark.parametrize(
    ("sigma", "more", "why"),
    [
        (0.0, {}, "--sigma"),
        (0.3, {}, "--sigma"),
        (float("nan"), {}, "--sigma"),
        (0.001, {}, r"error of .*, more than 5%"),
        (0.05, {"kimg": 0.001}, "no averages until"),
        (0.05, {"out": "a.pkl"}, r"ends in \.safetensors"),
    ],
)
def test_what_cannot_be_is_refused(run: Path, tmp_path: Path, sigma: float, more: dict[str, Any], why: str) -> None:
    out = tmp_path / more.pop("out", "out.safetensors")
    with pytest.raises(UserError, match=why):
        average(run, sigma, out, **more)
    assert not out.exists()
    (tmp_path / "there.safetensors").touch()
    with pytest.raises(UserError, match="exists"):
        average(run, 0.05, tmp_path / "there.safetensors")
    with pytest.raises(UserError, match="kept no averages"):
        average(tmp_path, 0.05, tmp_path / "new.safetensors")


@pytest.mark.parametrize(
    ("lengths", "why"),
    [
        ([0.0], "from 1e-06 to 0.25"),
        ([9e-7], "from 1e-06 to 0.25"),
        ([0.26], "from 1e-06 to 0.25"),
        ([float("inf")], "beyond"),
        ([0.05, 0.05], "each length once"),
        ([0.05, 0.0500004], "apart in the 6 digits"),
    ],
)
def test_lengths_that_cannot_be(lengths: list[float], why: str) -> None:
    with pytest.raises(UserError, match=rf"optim\.ema_power.*{why}"):
        OptimConfig(ema_power=lengths)


@pytest.mark.parametrize("lengths", [[1e-6, 2e-6], [0.05, 0.050001, 0.25]])
def test_every_length_has_its_own_file(lengths: list[float], tmp_path: Path) -> None:
    (tmp_path / layout.SNAPSHOTS).mkdir()
    for sigma in OptimConfig(ema_power=lengths).ema_power:
        layout.power_path(tmp_path, sigma, 4000).touch()
    assert [power.sigma for power in layout.powers(tmp_path)] == lengths

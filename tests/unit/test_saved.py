"""A run goes on with what its config.yaml says, all of it, and only with what the run itself wrote there."""

import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from stylegan.config.groups import flatten, to_typed
from stylegan.config.resume import _saved, continued
from stylegan.config.saved import _checksum, check_unedited, load_config, save_config
from stylegan.errors import UserError
from stylegan.models.stylegan3 import StyleGAN3Config
from stylegan.run_dir import CONFIG
from stylegan.schedule import Ramp
from stylegan.training.adam import OptimConfig
from stylegan.training.config import ModelConfig, TrainConfig, resolved


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """The folder of a run, as far as its configuration goes."""
    config = TrainConfig(model=ModelConfig(G=StyleGAN3Config()), optim=OptimConfig(G_lr=Ramp(0.1, 0.2, 3)))
    save_config(resolved(config, resolution=(16, 16), images=64, ranks=1), tmp_path / CONFIG)
    return tmp_path


def goes_on(run_dir: Path) -> TrainConfig:
    """What a command line that names nothing but the folder goes on with."""
    return to_typed(_saved(run_dir), TrainConfig)


def test_what_was_written_goes_on(run_dir: Path) -> None:
    check_unedited(run_dir / CONFIG)
    assert goes_on(run_dir).optim.G_lr == Ramp(0.1, 0.2, 3)


@pytest.mark.parametrize(
    "gone",
    [
        "seed",
        "training",
        "training.kimg",
        "optim.beta1",
        "loss.r1_interval",
        "model.D.mapping",
        "model.G.mapping.lr_multiplier",
        "augment.pipe.xint_max",
        "metrics.names",
        "data.path",
        "loss",
        "model.G.kind",
    ],
)
def test_no_part_may_be_missing(run_dir: Path, gone: str) -> None:
    (run_dir / CONFIG).write_text(OmegaConf.to_yaml(without(run_dir, gone)))
    with pytest.raises(UserError, match=rf"config\.yaml (lacks|names no) {gone}"):
        goes_on(run_dir)


def without(run_dir: Path, gone: str) -> dict[str, Any]:
    """The settings of a run, but for one."""
    tree: Any = OmegaConf.create()
    for key, value in flatten(load_config(run_dir / CONFIG)).items():
        if not f"{key}.".startswith(f"{gone}."):
            OmegaConf.update(tree, key, value)
    return OmegaConf.to_container(tree)  # pyright: ignore[reportReturnType]


def as_before(run_dir: Path, setting: str) -> None:
    """Make a configuration what a version without a setting would have written."""
    tree = without(run_dir, setting)
    (run_dir / CONFIG).write_text(f"# sha256: {_checksum(tree)}\n{OmegaConf.to_yaml(tree)}")
    check_unedited(run_dir / CONFIG)


def test_a_run_from_before_a_setting(run_dir: Path) -> None:
    """It goes on where the default is what there was before, unless somebody removed the setting."""
    as_before(run_dir, "optim.ema_power")
    assert goes_on(run_dir).optim == OptimConfig(G_lr=Ramp(0.1, 0.2, 3), D_lr=0.0025, ema_kimg=10.0, loss_scale=1.0)
    (run_dir / CONFIG).write_text(OmegaConf.to_yaml(load_config(run_dir / CONFIG)))
    with pytest.raises(UserError, match=r"lacks optim\.ema_power, .* with \[\]; put back what the run wrote there"):
        goes_on(run_dir)


def test_a_run_from_before_a_setting_that_changes_it(run_dir: Path) -> None:
    as_before(run_dir, "optim.eps")
    with pytest.raises(UserError, match=r"lacks optim\.eps, .* with 1e-08; it is newer than the run: start a new run"):
        goes_on(run_dir)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("seed: 0", "seed: ${oc.env:HOME}", r"has seed=\$\{oc.env:HOME\}: a saved configuration holds values"),
        ("names: []", "names: ['${oc.env:HOME}']", r"has metrics.names=\$\{oc.env:HOME\}"),
        ("seed: 0", "init_from: ${oc.env:HOME}\nseed: 0", "has init_from="),
        ("seed: 0", "seed: ???", "has no value for seed"),
        ("seed: 0", "seed: x", "config.yaml: .*'x'"),
        ("seed: 0", "seed: " + "9" * 5000, "no YAML any more"),
        ("seed: 0", "seed: " + "9" * 400, "a whole number of 1329 bits for seed"),
        ("kimg: 25000.0", "kimg: 0x" + "f" * 4000, "a whole number of 16000 bits for training.kimg"),
        ("seed: 0", "seed: .nan", "config.yaml: "),
        ("seed: 0", "sed: 0", "has sed, which is no setting; did you mean 'seed'"),
        ("seed: 0", "seed: [", "no YAML any more"),
        ("seed: 0", "seed: &a 0\nother: *a", "has aliases"),
        ("seed: 0", f"seed: {'[' * 50}{']' * 50}", "nested more than 16 deep"),
        ("seed: 0", "seed: 2001-01-01", "config.yaml"),
        ("seed: 0", "seed: 0\nseed: 1", "duplicate key"),
        ("seed: 0", "seed: 0 #" + "x" * 2**20, "more than 1048576 bytes"),
        ("kind: stylegan3", "kind: [1]", "model.G.kind"),
        ("kimg: 25000.0", "kimg: .inf", "training.kimg is a number beyond"),
    ],
)
def test_what_is_no_configuration_is_refused_by_name(run_dir: Path, old: str, new: str, says: str) -> None:
    path = run_dir / CONFIG
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=says) as caught:
        goes_on(run_dir)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"\0" * 99, b"- 1\n", b"just words", b"? [1]\n: 2\n"])
def test_what_is_not_even_yaml(run_dir: Path, content: bytes) -> None:
    (run_dir / CONFIG).write_bytes(content)
    with pytest.raises(UserError, match=re.escape(str(run_dir / CONFIG))):
        goes_on(run_dir)


def test_an_edited_value_is_noticed_but_not_another_way_to_write_it(run_dir: Path) -> None:
    path = run_dir / CONFIG
    text = path.read_text()
    path.write_text(text.replace("beta2: 0.99", "beta2:   9.9e-1  # as in the paper"))
    check_unedited(path)
    for old, new in (("beta2: 0.99", "beta2: 0.9"), ("# sha256", "# was"), ("kimg: 25000", "kimg: 26000")):
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(UserError, match="is not as the run wrote it: put that back"):
            check_unedited(path)


def test_other_networks_are_told_in_one_word(run_dir: Path) -> None:
    with pytest.raises(UserError) as caught:
        continued(TrainConfig(run_dir=str(run_dir)))
    assert "model.G.kind is stylegan3 in the run and stylegan2 here" in str(caught.value)
    assert "model.G.z_dim" not in str(caught.value) and "model.G.architecture" not in str(caught.value)

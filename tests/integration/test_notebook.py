"""What a notebook does: open images, train, load, sample, evaluate, without a command line and on any thread."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import stylegan
from stylegan import run_dir as layout
from stylegan.data.loader import DataConfig
from stylegan.errors import UserError
from stylegan.models.discriminator import DiscriminatorConfig
from stylegan.models.mapping import MappingConfig
from stylegan.models.stylegan2 import StyleGAN2Config
from stylegan.ops.backend import Backend, OpsConfig
from stylegan.training.config import ModelConfig, TrainingConfig
from tests.integration.images import write_archive
from tests.integration.test_resume import same_state


def config(folder: Path) -> stylegan.TrainConfig:
    archive = write_archive(folder / "noise.zip", count=20)
    mapping = MappingConfig(num_layers=2)
    G = StyleGAN2Config(z_dim=8, w_dim=8, channel_base=64, channel_max=8, mapping=mapping)
    return stylegan.TrainConfig(
        run_dir=str(folder / "run"),
        device="cpu",
        data=DataConfig(path=str(archive)),
        model=ModelConfig(G=G, D=DiscriminatorConfig(channel_base=64, channel_max=8)),
        training=TrainingConfig(kimg=0.016, batch_size=8, grid_images=4),
    )


def test_from_images_to_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    reference = OpsConfig(Backend.reference)  # the others take what was compiled before; here the cache is empty
    asked = replace(config(tmp_path), ops=reference)
    image, label = stylegan.open_dataset(tmp_path / "noise.zip")[0]
    assert image.shape == (3, 16, 16) and image.dtype == torch.uint8 and label.shape == (0,)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with ThreadPoolExecutor(1) as thread:  # where no signal handler can be set
        run = thread.submit(stylegan.train, asked).result()
    assert run == tmp_path / "run" and [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    G = stylegan.load_generator(run, ops="reference")
    z = torch.randn(2, G.z_dim)
    assert torch.equal(G(z), G(z)), "a loaded network repeats itself"
    images = torch.stack(list(stylegan.sample(G, range(4), stylegan.Sampling(truncation_psi=0.7))))
    assert stylegan.image_grid(images, columns=2).size == (32, 32)
    found = stylegan.evaluate(G, tmp_path / "noise.zip", ["leaks20"], batch=8)
    assert list(found) == ["leaks20"]


def test_a_run_goes_on_and_another_one_is_refused(tmp_path: Path) -> None:
    asked = config(tmp_path)
    stylegan.train(asked)
    longer = replace(asked, training=replace(asked.training, kimg=0.024))
    stylegan.train(longer)
    assert layout.checkpoints(tmp_path / "run")[-1].name == "state-000000024.pt"
    with pytest.raises(UserError, match="seed is 0 in the run and 1 here"):
        stylegan.train(replace(longer, seed=1))
    with pytest.raises(UserError, match="run_dir is missing"):
        stylegan.train(replace(longer, run_dir=None))


def test_a_run_of_an_older_version_is_refused_in_one_sentence(tmp_path: Path) -> None:
    asked = config(tmp_path)
    stylegan.train(asked)
    path = tmp_path / "run" / layout.CONFIG
    lines = [line for line in path.read_text().splitlines() if "kind: stylegan2" not in line]
    path.write_text("\n".join([*lines, ""]).replace("model:\n", "model:\n  name: stylegan2\n"))
    with pytest.raises(UserError, match=r"names no model\.G\.kind: an older version made this run") as caught:
        stylegan.train(asked)
    assert f"init_from={tmp_path / 'run'}" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [("seed: 0", "seed: [0", "no YAML"), ("run_dir: ", "- ", "no YAML"), ("seed: 0", "seed: 5", "trained with seed=0")],
)
def test_a_configuration_that_a_hand_broke_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    asked = config(tmp_path)
    stylegan.train(asked)
    path = tmp_path / "run" / layout.CONFIG
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=says):
        stylegan.train(replace(asked, seed=5) if new == "seed: 5" else asked)


def test_two_trainings_at_once_start_as_each_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [replace(config(tmp_path), seed=seed) for seed in (0, 1)]
    build = StyleGAN2Config.build

    def slow(self: StyleGAN2Config, **shape: Any) -> Any:
        network = build(self, **shape)
        time.sleep(0.3)  # the other one draws meanwhile, if it can
        return network

    monkeypatch.setattr(StyleGAN2Config, "build", slow)
    alone, together = ([replace(c, run_dir=str(tmp_path / f"{how}{c.seed}")) for c in asked] for how in "at")
    for one in alone:
        stylegan.train(one)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(stylegan.train, together))
    for pair in zip(alone, together, strict=True):
        same_state(*(layout.checkpoint_path(Path(c.run_dir or ""), 16) for c in pair))

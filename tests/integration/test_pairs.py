"""Every generator with every discriminator and every loss: it trains, or is refused with the reason."""

import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch

import stylegan
from stylegan import run_dir
from stylegan.augment.build import AugmentConfig, AugmentKind
from stylegan.data.loader import DataConfig
from stylegan.data.prepare import ensure_faces3d
from stylegan.errors import UserError
from stylegan.losses.logistic import LogisticConfig
from stylegan.losses.relativistic import RelativisticConfig
from stylegan.losses.table import LOSSES
from stylegan.losses.wgan_gp import WGANGPConfig
from stylegan.models.build import DISCRIMINATORS, GENERATORS
from stylegan.models.discriminator import DiscriminatorConfig
from stylegan.models.mapping import MappingConfig
from stylegan.models.progan import ProGANConfig, ProGANDiscriminatorConfig
from stylegan.models.r3gan import R3GANConfig, R3GANDiscriminatorConfig
from stylegan.models.stylegan1 import StyleGAN1Config, StyleGAN1DiscriminatorConfig
from stylegan.models.stylegan2 import StyleGAN2Config
from stylegan.models.stylegan3 import StyleGAN3Config
from stylegan.schedule import Ramp, Shape
from stylegan.training.adam import OptimConfig
from stylegan.training.config import ModelConfig, TrainConfig, TrainingConfig
from stylegan.training.logging import LoggingConfig
from tests.integration.test_resume import same_state
from tests.unit.tiny import tiny_pair
from tests.unit.training import training_of

SMALL: dict[str, Any] = {"channel_base": 64, "channel_max": 8}
MAPPING = MappingConfig(num_layers=2)
GROUPED = {**SMALL, "group_width": 8}
CONFIGS: dict[str, Any] = {
    "stylegan2": StyleGAN2Config(z_dim=8, w_dim=8, mapping=MAPPING, **SMALL),
    "stylegan3": StyleGAN3Config(z_dim=8, w_dim=8, mapping=MAPPING, num_layers=4, margin_size=4, **SMALL),
    "r3gan": R3GANConfig(z_dim=8, **GROUPED),
    "stylegan2_discriminator": DiscriminatorConfig(minibatch_std_group=2, **SMALL),
    "r3gan_discriminator": R3GANDiscriminatorConfig(**GROUPED),
    "progan": ProGANConfig(z_dim=8, **SMALL),
    "progan_discriminator": ProGANDiscriminatorConfig(**SMALL),
    "stylegan1": StyleGAN1Config(z_dim=8, w_dim=8, mapping=MAPPING, **SMALL),
    "stylegan1_discriminator": StyleGAN1DiscriminatorConfig(**SMALL),
    "logistic": LogisticConfig(r1_gamma=1, r1_interval=2, pl_interval=2),
    "relativistic": RelativisticConfig(),
    "wgan_gp": WGANGPConfig(),
}
NEED_W = {"logistic": ("style mixing", "loss.style_mixing_prob=0"), "relativistic": None, "wgan_gp": None}
WITHOUT_W = ("r3gan", "progan")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_faces3d(tmp_path_factory.mktemp("data") / "faces.zip", resolution=16, count=8)


def train(G: str, D: str, loss: Any, faces: Path, folder: Path, kimg: float = 0.012, **more: Any) -> None:
    config = TrainConfig(
        data=DataConfig(path=str(faces), workers=0),
        model=ModelConfig(G=CONFIGS[G], D=CONFIGS[D]),
        loss=loss,
        training=TrainingConfig(kimg=kimg, batch_size=4, grid_images=1, checkpoint_kimg=1, snapshot_kimg=1),
        run_dir=str(folder),
        device="cpu",
        **more,
    )
    stylegan.train(config)


@pytest.mark.parametrize(("G", "D", "loss"), list(itertools.product(GENERATORS, DISCRIMINATORS, LOSSES)))
def test_a_pair_trains_or_is_refused(G: str, D: str, loss: str, tmp_path: Path, faces: Path) -> None:
    settings = CONFIGS[loss]
    if G in WITHOUT_W and (needed := NEED_W[loss]) is not None:
        with pytest.raises(UserError, match=f"{needed[0]}.*{needed[1]}"):
            train(G, D, settings, faces, tmp_path / "run")
        settings = LogisticConfig(r1_gamma=1, r1_interval=2, pl_weight=0, style_mixing_prob=0)
    train(G, D, settings, faces, tmp_path / "run")
    (record,) = run_dir.read_stats(tmp_path / "run")
    assert record["nimg"] == 12 and {"loss/G", "loss/D"} <= record.keys()
    assert ("loss/D_r2" in record, "loss/D_gp" in record) == (loss == "relativistic", loss == "wgan_gp")
    assert not any(key.startswith("nonfinite/") for key in record)
    image = next(iter(stylegan.sample(stylegan.load_generator(tmp_path / "run"), [0])))
    assert image.shape == (3, 16, 16) and image.dtype == torch.uint8


def test_r3gan_resumes_to_the_bit_with_two_batches_of_reals(faces: Path, tmp_path: Path) -> None:
    settings = RelativisticConfig(gamma=Ramp(1, 0.1, 0.03, Shape.cosine))
    more: dict[str, Any] = {
        "augment": AugmentConfig(kind=AugmentKind.fixed, p=Ramp(0, 0.5, 0.02)),
        "optim": OptimConfig(G_lr=Ramp(0.002, 0.001, 0.02), beta2=Ramp(0.9, 0.99, 0.02), ema_kimg=Ramp(0, 0.02, 0.02)),
    }
    train("r3gan", "r3gan_discriminator", settings, faces, tmp_path / "whole", 0.024, **more)
    train("r3gan", "r3gan_discriminator", settings, faces, tmp_path / "parts", 0.012, **more)
    train("r3gan", "r3gan_discriminator", settings, faces, tmp_path / "parts", 0.024, **more)
    same_state(*(run_dir.checkpoint_path(tmp_path / name, 24) for name in ("whole", "parts")))


def test_a_gamma_that_is_too_large_is_told_once(faces: Path, tmp_path: Path) -> None:
    more: dict[str, Any] = {"logging": LoggingConfig(interval_kimg=0.004, tensorboard=False)}
    train("r3gan", "r3gan_discriminator", RelativisticConfig(gamma=1e7), faces, tmp_path / "run", **more)
    told = (tmp_path / "run" / run_dir.LOG).read_text()
    assert told.count("loss.gamma is too large") == 1 and "  R1 " in told
    train("r3gan", "r3gan_discriminator", RelativisticConfig(gamma=1e-3), faces, tmp_path / "fine", **more)
    assert "too large" not in (tmp_path / "fine" / run_dir.LOG).read_text()


@pytest.mark.parametrize(
    ("adversarial", "penalty", "says"),
    [
        (0.7, 6.9, None),
        (0.7, 7.1, "too large for these images; try a tenth"),
        (0.01, 0.2, "too small; try ten times as much"),
        (0.0, 3.0, "too large"),  # softplus of -110 is 0 in float32
        (float("nan"), float("nan"), None),
    ],
)
def test_what_is_said_of_gamma(adversarial: float, penalty: float, says: str | None) -> None:
    means = {"loss/D": adversarial, "loss/D_r1": penalty / 2, "loss/D_r2": penalty / 2}
    told = RelativisticConfig().warning(means)
    assert (told is None) == (says is None) and (says or "") in (told or "")


@pytest.mark.parametrize("phase", ["Dmain", "Gmain"])
def test_parts_of_a_batch_add_up_where_D_compares_images(phase: str) -> None:
    training = training_of(*tiny_pair(), RelativisticConfig(gamma=1.0), batch_size=8)
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = []
    for micro in (8, 4):
        (batches,) = training.draw(phase, images, micro=micro)
        assert len(batches) == 8 // micro
        training.accumulate(training.phase(phase), batches)
        found.append(training.gradients(training.phase(phase)))
    whole, parts = found
    rounding = torch.finfo(torch.float32).eps  # D's last bias cancels in every pair, of two numbers that are at most 1
    for name, gradient in whole.items():
        assert float((gradient - parts[name]).norm()) <= 1e-5 * float(gradient.norm()) + rounding, name


def test_real_and_generated_images_are_not_compared_with_each_other() -> None:
    G, D = tiny_pair()
    training = training_of(G, D, RelativisticConfig(gamma=1.0), batch_size=8)
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ((batch,),) = training.draw("Dmain", images)
    stats: dict[str, list[torch.Tensor]] = defaultdict(list)
    training.accumulate(training.phase("Dmain"), [batch], stats)
    (scores,) = stats["scores/real"]
    torch.testing.assert_close(scores, D(batch.real, batch.real_c).detach().flatten())

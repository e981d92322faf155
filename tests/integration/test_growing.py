"""A training that grows: stages change resolution, batch and learning rate at any image; a resume is exact, also in a fade."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import stylegan
from stylegan import run_dir as layout
from stylegan.assemble import build_plan, training_job
from stylegan.augment.build import AugmentConfig, AugmentKind
from stylegan.data.loader import DataConfig
from stylegan.errors import UserError
from stylegan.interop.snapshot import read_snapshot
from stylegan.losses.logistic import LogisticConfig
from stylegan.losses.wgan_gp import WGANGPConfig
from stylegan.models.build import DISCRIMINATORS, GENERATORS
from stylegan.models.discriminator import DiscriminatorConfig
from stylegan.models.layers import Architecture
from stylegan.models.mapping import MappingConfig
from stylegan.models.progan import ProGANConfig, ProGANDiscriminatorConfig
from stylegan.models.stylegan1 import StyleGAN1Config, StyleGAN1DiscriminatorConfig
from stylegan.models.stylegan2 import StyleGAN2Config
from stylegan.models.stylegan3 import StyleGAN3Config
from stylegan.schedule import Ramp, StageConfig
from stylegan.training.adam import OptimConfig
from stylegan.training.checkpoint import read_checkpoint
from stylegan.training.config import ModelConfig, TrainConfig, TrainingConfig, resolved
from stylegan.training.logging import LoggingConfig
from stylegan.training.memory import check_stages_memory
from tests.integration.images import write_archive
from tests.integration.test_resume import same_state
from tests.unit.growing import GrowingDConfig, GrowingGConfig

# In images: 4x4 with a batch of 8 until 24; 8x8 fades in over 30 with a batch of 4, from the evaluation at 24 on; at 70
# (which is in the middle of a held stage) 16x16.
STAGES = [
    StageConfig(resolution=4, batch_size=8, lr=0.004),
    StageConfig(start_kimg=0.022, resolution=8, fade_kimg=0.030, batch_size=4),
    StageConfig(start_kimg=0.070, resolution=16, fade_kimg=0.020, batch_size=6, lr=0.001),
]


@pytest.fixture(autouse=True)
def growing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GENERATORS, GrowingGConfig.kind, GrowingGConfig)
    monkeypatch.setitem(DISCRIMINATORS, GrowingDConfig.kind, GrowingDConfig)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("data") / "noise.zip", count=20, labels=3)


def config(archive: Path, run_dir: Path, kimg: float, **training: Any) -> TrainConfig:
    options: dict[str, Any] = {"stages": STAGES, "repeats": 3, "grid_images": 4, "snapshot_kimg": 0.1} | training
    return TrainConfig(
        run_dir=str(run_dir),
        device="cpu",
        data=DataConfig(path=str(archive), cache=False, workers=1, use_labels=True),
        model=ModelConfig(G=GrowingGConfig(), D=GrowingDConfig()),
        loss=LogisticConfig(r1_gamma=Ramp(1, 0.5, 0.1), r1_interval=2, pl_weight=0, style_mixing_prob=0),
        optim=OptimConfig(ema_beta=0.9),
        training=TrainingConfig(kimg=kimg, batch_size=8, checkpoint_kimg=0.2, **options),
        logging=LoggingConfig(interval_kimg=0.001, tensorboard=False),
    )


def test_stages_as_planned(archive: Path, tmp_path: Path) -> None:
    stylegan.train(config(archive, tmp_path / "run", 0.12))
    records = layout.read_stats(tmp_path / "run")
    seen = [
        (r["nimg"], *(r[f"settings/{name}"] for name in ("batch_size", "resolution", "optim.G_lr"))) for r in records
    ]
    # Stages are looked up every third iteration: after 0, 24, 36, 48, 60, 72, 90 and 108 images.
    assert seen == [
        *((8 * i, 8, 4, 0.004) for i in (1, 2, 3)),
        *((24 + 4 * i, 4, 8, 0.0025) for i in range(1, 13)),
        *((72 + 6 * i, 6, 16, 0.001) for i in range(1, 9)),
    ]
    alphas = {r["nimg"]: r["settings/alpha"] for r in records}
    held = {28: 2 / 30, 36: 2 / 30, 40: 14 / 30, 48: 14 / 30, 52: 26 / 30, 60: 26 / 30, 64: 1, 72: 1, 78: 0.1, 96: 1}
    assert {nimg: alphas[nimg] for nimg in held} == pytest.approx(held)
    assert [records[i]["settings/loss.r1_gamma"] for i in (0, 1, -1)] == pytest.approx([1, 0.96, 0.5])
    G = read_snapshot(layout.snapshot_path(tmp_path / "run", 120)).G
    assert G(torch.zeros(1, 8), torch.zeros(1, 3)).shape == (1, 3, 16, 16)
    assert layout.fakes_path(tmp_path / "run", 0).exists()


@pytest.mark.parametrize("stop", [0.028, 0.044, 0.072])
def test_a_resume_is_equal_to_the_bit_also_within_a_fade_and_a_held_stage(
    archive: Path, tmp_path: Path, stop: float
) -> None:
    stylegan.train(config(archive, tmp_path / "whole", 0.096))
    stylegan.train(config(archive, tmp_path / "parts", stop))
    state = read_checkpoint(layout.checkpoints(tmp_path / "parts")[-1]).state
    assert (state["stage"]["resolution"], state["held"]) == ([8, 8], {0.028: 1, 0.044: 2, 0.072: 3}[stop])
    stylegan.train(config(archive, tmp_path / "parts", 0.096))
    same_state(*(layout.checkpoint_path(tmp_path / name, 96) for name in ("whole", "parts")))


def test_what_a_stage_does_not_reach_stays_as_it_was(archive: Path, tmp_path: Path) -> None:
    stylegan.train(config(archive, tmp_path / "run", 0.016))
    state = read_checkpoint(layout.checkpoints(tmp_path / "run")[-1]).state
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = GrowingGConfig().build(resolution=(16, 16), channels=3, c_dim=3).state_dict()
    moved = {name.split(".")[1] for name, value in state["G"].items() if not torch.equal(value, fresh[name])}
    assert moved == {"0", "weight", "bias"}, "the 4x4 block and what leads to it"


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ([StageConfig(start_kimg=1)], "the first is 0"),
        ([StageConfig(), StageConfig(start_kimg=1), StageConfig(start_kimg=1)], "each other one larger"),
        ([StageConfig(resolution=12)], "resolution=12 is not the data set's 16"),
        ([StageConfig(resolution=32)], "resolution=32 is not the data set's 16"),
        (
            [StageConfig(batch_size=7)],
            r"stages: batch_size=7 cannot be divided",
        ),
        ([StageConfig(fade_kimg=1)], "that is nothing here"),
        ([StageConfig(resolution=8), StageConfig(start_kimg=1, resolution=8, fade_kimg=1)], "that is nothing here"),
    ],
)
def test_stages_that_cannot_be(archive: Path, tmp_path: Path, stages: list[StageConfig], says: str) -> None:
    wrong = config(archive, tmp_path / "run", 0.01, stages=stages, micro_batch=4)
    with pytest.raises(UserError, match=says):
        stylegan.train(wrong)
    assert not (tmp_path / "run" / layout.CONFIG).exists()


def test_augmentation_of_a_stage_that_starts_between_two_images(archive: Path, tmp_path: Path) -> None:
    stages = [StageConfig(resolution=8), StageConfig(start_kimg=0.0125, resolution=16, fade_kimg=0.01)]
    asked = config(archive, tmp_path / "run", 0.024, stages=stages, repeats=1)
    asked.augment = AugmentConfig(kind=AugmentKind.fixed, p=0.5)
    stylegan.train(asked)
    assert [r["settings/resolution"] for r in layout.read_stats(tmp_path / "run")] == [8, 8, 16]


def test_back_to_a_checkpoint_without_a_stage(archive: Path, tmp_path: Path) -> None:
    with training_job(config(archive, tmp_path / "run", 0.1), resuming=False) as job:
        before = copy.deepcopy(job.state.state_dict())
        job.state.enter(job.plan.stage(70))
        job.state.load_state_dict(before)
        assert job.state.begin(job.plan).stage.resolution == (4, 4)


def test_other_networks_do_not_grow(archive: Path, tmp_path: Path) -> None:
    wrong = config(archive, tmp_path / "run", 0.01)
    wrong.loss = LogisticConfig()
    wrong.model = ModelConfig(G=StyleGAN3Config(channel_base=64, channel_max=8))
    with pytest.raises(UserError, match=r"model\.G=stylegan3 .* do not both grow"):
        stylegan.train(wrong)
    wrong.model = ModelConfig()
    with pytest.raises(UserError, match=r"architecture=resnet does not grow.*model\.D\.architecture=skip"):
        stylegan.train(wrong)
    assert not (tmp_path / "run" / layout.CONFIG).exists()


SMALL: dict[str, Any] = {"channel_base": 64, "channel_max": 8}
PAPERS: dict[str, tuple[ModelConfig, Any]] = {
    "progan": (ModelConfig(ProGANConfig(z_dim=8, **SMALL), ProGANDiscriminatorConfig(**SMALL)), WGANGPConfig()),
    "stylegan1": (
        ModelConfig(
            StyleGAN1Config(z_dim=8, w_dim=8, mapping=MappingConfig(num_layers=2, w_avg_beta=0.995), **SMALL),
            StyleGAN1DiscriminatorConfig(**SMALL),
        ),
        LogisticConfig(r1_gamma=10, r1_interval=0, pl_weight=0, D_first=True, w_avg_twice=True, shared_cutoff=True),
    ),
    "stylegan2": (
        ModelConfig(
            StyleGAN2Config(z_dim=8, w_dim=8, mapping=MappingConfig(num_layers=2), **SMALL),
            DiscriminatorConfig(architecture=Architecture.skip, **SMALL),
        ),
        LogisticConfig(r1_gamma=1, r1_interval=2, pl_interval=2),
    ),
}
FADES = [
    StageConfig(resolution=4, batch_size=8),
    StageConfig(start_kimg=0.020, resolution=8, fade_kimg=0.024, batch_size=4),
    StageConfig(start_kimg=0.064, resolution=16, fade_kimg=0.020, batch_size=4, lr=0.001),
]


def paper(kind: str, archive: Path, run_dir: Path, kimg: float, **training: Any) -> TrainConfig:
    made = config(archive, run_dir, kimg, stages=FADES, repeats=2, **training)
    made.model, made.loss = PAPERS[kind]
    made.optim = OptimConfig(tensorflow_eps=True, reset_at_fades=True, ema_kimg=0.01, ema_rampup=0, ema_power=[0.1])
    return made


# In images: within the first fade; between the evaluations that end and begin fades; within the last one.
@pytest.mark.parametrize(
    ("kind", "stops"), [("progan", (0.036, 0.080)), ("stylegan1", (0.036,)), ("stylegan2", (0.076,))]
)
def test_networks_of_papers_resume_to_the_bit_within_fades(
    kind: str, stops: tuple[float, ...], archive: Path, tmp_path: Path
) -> None:
    stylegan.train(paper(kind, archive, tmp_path / "whole", 0.088))
    for kimg in (*stops, 0.088):
        stylegan.train(paper(kind, archive, tmp_path / "parts", kimg))
        if kimg in stops:
            state = read_checkpoint(layout.checkpoints(tmp_path / "parts")[-1]).state
            assert 0 < state["stage"]["alpha"] < 1
    same_state(*(layout.checkpoint_path(tmp_path / name, 88) for name in ("whole", "parts")))
    records = layout.read_stats(tmp_path / "whole")
    assert {r["settings/resolution"] for r in records} == {4, 8, 16}
    assert not any(key.startswith("nonfinite/") for r in records for key in r)


def test_what_a_stage_makes_is_shown_in_full_size(archive: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    stylegan.train(paper("stylegan1", archive, run_dir, 0.036))
    G = stylegan.load_generator(run_dir)
    z, c = torch.randn(2, 8), torch.eye(3)[:2]
    state = read_checkpoint(layout.checkpoints(run_dir)[-1]).state
    twin = PAPERS["stylegan1"][0].G.build(resolution=(16, 16), channels=3, c_dim=3)
    twin.load_state_dict(state["G_ema"])
    twin.set_stage((8, 8), torch.tensor(state["stage"]["alpha"], dtype=torch.float64))
    assert torch.equal(G(z, c), torch.nn.functional.interpolate(twin(z, c), (16, 16)))
    (image,) = stylegan.sample(G, [0], stylegan.Sampling(class_idx=1))
    assert image.shape == (3, 16, 16)
    with Image.open(layout.fakes_path(run_dir, 0)) as first, Image.open(layout.fakes_path(run_dir, 36)) as last:
        assert first.size == last.size


def test_memory_of_the_largest_stage_is_looked_at_before_the_first_step(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stylegan.train(paper("progan", archive, tmp_path / "run", 0.008))
    told = (tmp_path / "run" / layout.LOG).read_text()
    assert "memory: the stage of 16x16, with 4 images at once" in told
    asked = paper("progan", archive, tmp_path / "other", 0.008)
    asked.training.stages = [*FADES[:2], replace(FADES[2], batch_size=64)]
    monkeypatch.setattr("stylegan.memory.total_memory", lambda: 2_000_000)
    with pytest.raises(UserError, match=r"stage of 16x16, with 64 images at once.*in all; give training\.micro_batch="):
        stylegan.train(asked)
    assert not (tmp_path / "other" / layout.CONFIG).exists()


def test_the_estimate_follows_what_a_stage_keeps() -> None:
    model, loss = PAPERS["progan"]
    shape: dict[str, Any] = {"resolution": (16, 16), "channels": 3, "c_dim": 0}

    def estimate(stages: list[StageConfig]) -> str:
        training = TrainingConfig(batch_size=4, stages=stages)
        asked = resolved(TrainConfig(model=model, loss=loss, training=training), resolution=(16, 16), images=9, ranks=1)
        return check_stages_memory(asked, shape, build_plan(asked, (16, 16)))

    small = StageConfig(resolution=8, batch_size=8)
    assert "8x8, with 8 images" in estimate([small])
    assert "16x16, with 4 images" in estimate([small, StageConfig(start_kimg=1, fade_kimg=1)])
    assert "4x4, with 4000 images" in estimate(
        [StageConfig(resolution=4, batch_size=4000), replace(small, start_kimg=1)]
    )

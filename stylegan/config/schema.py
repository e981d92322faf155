"""Everything that train.py can be told."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from stylegan.augment.build import AugmentConfig
from stylegan.data.loader import DataConfig
from stylegan.errors import UserError
from stylegan.models.build import DiscriminatorConfig, StyleGAN2Config, StyleGAN3Config
from stylegan.ops.backend import OpsConfig
from stylegan.training.logging import LoggingConfig
from stylegan.training.loop import TrainingConfig
from stylegan.training.phases import LossConfig, OptimConfig
from stylegan.training.watch import MetricsConfig


@dataclass
class ModelConfig:
    """The two networks; `model=NAME` chooses the generator's architecture."""

    name: str = field(default="stylegan2", metadata={"help": "the generator's architecture; model=NAME sets it"})
    G: Any = MISSING
    D: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)

    def __post_init__(self) -> None:
        if MODELS.get(self.name) is not type(self):
            raise UserError(
                f"model.name={self.name}: choose the architecture by model=NAME; there are: {', '.join(MODELS)}"
            )


@dataclass
class StyleGAN2Model(ModelConfig):
    """StyleGAN2."""

    G: StyleGAN2Config = field(default_factory=StyleGAN2Config)


@dataclass
class StyleGAN3Model(ModelConfig):
    """StyleGAN3; the discriminator is that of StyleGAN2."""

    name: str = field(default="stylegan3", metadata={"help": "the generator's architecture; model=NAME sets it"})
    G: StyleGAN3Config = field(default_factory=StyleGAN3Config)


MODELS: dict[str, type[ModelConfig]] = {"stylegan2": StyleGAN2Model, "stylegan3": StyleGAN3Model}


@dataclass
class TrainConfig:
    """Everything that train.py can be told."""

    run_dir: str | None = field(
        default=None, metadata={"help": "where the run goes, or goes on; null: runs/EXPERIMENT"}
    )
    init_from: str | None = field(
        default=None,
        metadata={
            "help": "start from a run, checkpoint, snapshot or published .pkl or .pt; resolution, channels, labels may differ"
        },
    )
    seed: int = field(default=0, metadata={"help": "all random numbers are a function of it and of the image count"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or cuda:N"})
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = MISSING
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    ops: OpsConfig = field(default_factory=OpsConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)

"""Everything that a training can be told, and what follows from the data where it was not told."""

from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from typing import Any

from stylegan.augment.build import AugmentConfig
from stylegan.data.loader import DataConfig
from stylegan.errors import UserError
from stylegan.losses.logistic import LogisticConfig
from stylegan.models.discriminator import DiscriminatorConfig
from stylegan.models.layers import Precision, channel_base_of
from stylegan.models.stylegan2 import StyleGAN2Config
from stylegan.ops.backend import OpsConfig
from stylegan.schedule import StageConfig
from stylegan.training.adam import OptimConfig
from stylegan.training.graphs import GraphMode
from stylegan.training.logging import LoggingConfig
from stylegan.training.step import OnNonfinite
from stylegan.training.watch import MetricsConfig
from stylegan.values import COUNT, KIMG, SEED, check_values

KEEP = "keep"


@dataclass
class TrainingConfig:
    """How long, in what portions, and how often something is kept."""

    kimg: float = field(
        default=25000, metadata={"help": "length of the training in thousands of real images shown to D", "range": KIMG}
    )
    start_kimg: Any = field(
        default=None,
        metadata={
            "help": "with init_from=: where the count starts, in kimg, or keep: where it ended there; null: at 0"
        },
    )
    batch_size: int | None = field(
        default=32,
        metadata={
            "help": "images of one iteration over all ranks; null: by resolution and ranks (StyleGAN2-ADA, auto)",
            "range": COUNT,
        },
    )
    micro_batch: int | None = field(
        default=None,
        metadata={
            "help": "images a rank takes at once, at most; null: its whole share (w_avg and pl_mean move once each)",
            "range": COUNT,
        },
    )
    stages: list[StageConfig] = field(
        default_factory=list,
        metadata={"help": "of networks that grow: [{start_kimg, resolution, fade_kimg, batch_size, lr}, ...]"},
    )
    repeats: int = field(
        default=1,
        metadata={"help": "iterations for which a stage is held before it is looked up again", "range": COUNT},
    )
    tf32: bool = field(
        default=False,
        metadata={"help": "GPUs: float32 convolutions in TF32, faster and less exact; published runs: off"},
    )
    cuda_graphs: GraphMode = field(
        default=GraphMode.auto,
        metadata={"help": "GPUs: each phase recorded once and started as one: auto (with one GPU), always or never"},
    )
    on_nonfinite: OnNonfinite = field(
        default=OnNonfinite.clamp, metadata={"help": "gradients that are not finite: clamp, skip, rollback or stop"}
    )
    checkpoint_kimg: float = field(
        default=200, metadata={"help": "kimg from one checkpoint to the next", "range": KIMG}
    )
    snapshot_kimg: float = field(
        default=200, metadata={"help": "kimg from one snapshot and grid to the next", "range": KIMG}
    )
    keep_checkpoints: int = field(default=2, metadata={"help": "how many checkpoints are kept", "range": COUNT})
    grid_images: int = field(default=64, metadata={"help": "images in reals.png and fakes-*.png", "range": COUNT})

    def __post_init__(self) -> None:
        check_values(self, "training")
        start = self.start_kimg
        if start not in (None, KEEP) and not (type(start) in (int, float) and isfinite(start) and start >= 0):
            raise UserError(
                f"training.start_kimg={start} is neither a number of kimg nor {KEEP}, the one that init_from= brings"
            )

    @property
    def total_nimg(self) -> int:
        """Images at the end."""
        return round(self.kimg * 1000)


@dataclass
class ModelConfig:
    """The two networks. `model=NAME` chooses both, `model/G=NAME` and `model/D=NAME` one of them."""

    G: Any = field(default_factory=StyleGAN2Config)
    D: Any = field(default_factory=DiscriminatorConfig)


@dataclass
class TrainConfig:
    """Everything that a training can be told.

    From Python: `TrainConfig(run_dir="runs/mine", data=DataConfig(path="faces.zip"), training=TrainingConfig(kimg=100))`.
    """

    run_dir: str | None = field(
        default=None, metadata={"help": "where the run goes, or goes on; null: runs/EXPERIMENT"}
    )
    init_from: str | None = field(
        default=None,
        metadata={
            "help": "start from a run, checkpoint, snapshot or published .pkl or .pt; resolution, channels, labels may differ"
        },
    )
    seed: int = field(
        default=0, metadata={"help": "all random numbers are a function of it and of the image count", "range": SEED}
    )
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or cuda:N"})
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: Any = field(default_factory=LogisticConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    ops: OpsConfig = field(default_factory=OpsConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)

    def __post_init__(self) -> None:
        check_values(self)

    def check_together(self) -> None:
        """Raise `UserError` for a setting that says nothing without another one.

        Asked of the whole: where a run goes on, what is typed is only a part of it.
        """
        if (start := self.training.start_kimg) is not None and self.init_from is None:
            raise UserError(f"training.start_kimg={start} goes with init_from=, whose networks were trained so far")
        if (best := self.metrics.best) is not None and not self.metrics.names:
            raise UserError(f"metrics.best={best} goes with metrics.names=, which says what is measured")


def resolved(config: TrainConfig, *, resolution: tuple[int, int], images: int, ranks: int) -> TrainConfig:
    """The configuration with everything in it that follows from the data, so that it says what is trained.

    Args:
        config: As composed or loaded; what it says stays.
        resolution: (H, W) of the data set.
        images: Images in it, mirrored ones included.
        ranks: Processes that train together.
    """
    training, G, D = config.training, config.model.G, config.model.D
    if training.batch_size is None:
        share = auto_share(resolution, ranks, images)
        if getattr(D, "minibatch_std_group", None):
            group = min(share, D.minibatch_std_group)
            share -= share % group
            D = replace(D, minibatch_std_group=group)
        training = replace(training, batch_size=share * ranks)
    if training.micro_batch is None:
        sizes = [stage.batch_size for stage in training.stages if stage.batch_size]
        largest = max([training.batch_size or 1, *sizes])
        training = replace(training, micro_batch=max(largest // ranks, 1))
    G, D = (
        replace(network, channel_base=channel_base_of(None, resolution))
        if getattr(network, "channel_base", 0) is None
        else network
        for network in (G, D)
    )
    batch_size = training.batch_size or 1
    fp16 = any(getattr(network, "precision", None) is Precision.fp16 for network in (G, D))
    return replace(
        config,
        model=replace(config.model, G=G, D=D),
        loss=config.loss.resolved(resolution, batch_size),
        optim=config.optim.resolved(resolution, batch_size, fp16=fp16),
        training=training,
    )


def auto_share(resolution: tuple[int, int], ranks: int, images: int) -> int:
    """Images that a rank takes in an iteration, where nobody says: the public configuration `auto` of StyleGAN2-ADA.

    A rank takes 4096 / side images and at most 32, all ranks together at most 64. So far the public configuration, where side
    is a power of two; for other sides, and numbers of ranks that do not divide 64, we round down. Nothing else in it depends
    on how many images there are, as ADA itself finds out how much they are too few; we only keep a batch from being larger
    than the data set.

    Args:
        resolution: (H, W); the longer one counts.
        ranks: Processes that train together.
        images: Images of the data set.
    """
    together = min(ranks * max(min(4096 // max(resolution), 32), 1), 64, max(images, 1))
    return max(together // ranks, 1)


def described(config: TrainConfig) -> dict[str, Any]:
    """What a snapshot says about how its network was trained, as JSON."""
    return {
        "batch_size": config.training.batch_size,
        "loss": _plain(asdict(config.loss)),
        "optim": _plain(asdict(config.optim)),
        "augment": _plain(asdict(config.augment)),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value.name if hasattr(value, "name") else value

"""The root configurations, their registration with Hydra, and what a resume may change. Nothing else here imports Hydra."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from stylegan import distributed
from stylegan import run_dir as layout
from stylegan.augment.build import AugmentConfig
from stylegan.data.loader import DataConfig, images_and_resolution
from stylegan.errors import UserError, nearest, one_message
from stylegan.figures.grid import GridConfig
from stylegan.figures.images import ImagesConfig
from stylegan.figures.scanline import ScanlineConfig
from stylegan.files import atomic_write, shipped
from stylegan.models.build import DiscriminatorConfig, StyleGAN2Config, StyleGAN3Config
from stylegan.models.layers import Precision
from stylegan.ops.backend import OpsConfig, SamplingOpsConfig
from stylegan.training.auto import auto_settings
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


class NoiseMode(Enum):
    """Where the layer noise of an image comes from."""

    const = "const"
    random = "random"
    none = "none"


@dataclass
class GenerateConfig:
    """Everything that generate.py can be told."""

    network: str = field(
        default="demo",
        metadata={"help": "demo, a run's folder (its newest snapshot), or a file, also a published .pkl or .pt"},
    )
    figure: Any = MISSING
    seeds: Any = field(default="0-31", metadata={"help": "one image a seed: 0-31, [0,3,7] or 5"})
    out: str | None = field(default=None, metadata={"help": "file or folder; null: FIGURE.png here (images: a folder)"})
    overwrite: bool = field(default=False, metadata={"help": "replace what is at `out`"})
    truncation_psi: float = field(default=1.0, metadata={"help": "1: as trained; towards 0: towards the mean face"})
    truncation_cutoff: int | None = field(
        default=None, metadata={"help": "truncate only so many first layers; null: all"}
    )
    noise_mode: NoiseMode = field(default=NoiseMode.const, metadata={"help": "layer noise: const, random or none"})
    class_idx: int | None = field(default=None, metadata={"help": "class of a conditional network, from 0"})
    translate: list[float] | None = field(
        default=None, metadata={"help": "StyleGAN3: move the picture right and down, in picture sides: [0.1,0]"}
    )
    rotate: float | None = field(default=None, metadata={"help": "StyleGAN3: turn the picture clockwise, in degrees"})
    precision: Precision | None = field(
        default=None, metadata={"help": "format of the highest resolutions: fp32, bf16 or fp16; null: as trained"}
    )
    batch: int = field(default=16, metadata={"help": "images made at once"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or cuda:N"})
    ops: SamplingOpsConfig = field(default_factory=SamplingOpsConfig)
    provenance: bool = field(
        default=True,
        metadata={"help": "write into the files that they are generated, and how; false: plain files without metadata"},
    )


# What may differ when a run goes on: how long, how often, with how many helpers, where. The data set may move, not change:
# its content hash is compared with that in the checkpoint.
MAY_CHANGE = (
    "run_dir",
    "device",
    "data.path",
    "data.cache",
    "data.workers",
    "training.kimg",
    "training.micro_batch",
    "training.on_nonfinite",
    "training.checkpoint_kimg",
    "training.snapshot_kimg",
    "training.keep_checkpoints",
    "logging.interval_kimg",
    "ops.backend",
    "metrics.names",
    "metrics.every",
    "metrics.best",
    "metrics.weights",
    "metrics.batch",
)

_T = TypeVar("_T")


def register() -> None:
    """Make the configurations known to Hydra."""
    OmegaConf.register_new_resolver("auto", _auto, replace=True)
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConfig)
    for name, model in MODELS.items():
        store.store(group="model", name=name, node=model)
    store.store(name="generate_schema", node=GenerateConfig)
    store.store(group="figure", name="grid", node=GridConfig)
    store.store(group="figure", name="images", node=ImagesConfig)
    store.store(group="figure", name="scanline", node=ScanlineConfig)
    generate = GenerateConfig(figure=GridConfig())
    store.store(group="hydra/help", name="generate", node=_help("generate.py", GENERATE_HELP, generate))
    store.store(
        group="hydra/help", name="train", node=_help("train.py", TRAIN_HELP, TrainConfig(model=StyleGAN2Model()))
    )


def _auto(name: str, *, _root_: DictConfig) -> int:
    """`${auto:NAME}`: a field of `AutoSettings` for the data set that the configuration names and the ranks that torchrun
    starts. What the command line says replaces the interpolation, and a run's config.yaml holds the number."""
    data = OmegaConf.to_object(_root_.data)
    assert isinstance(data, DataConfig)
    count, resolution = images_and_resolution(data)
    return getattr(auto_settings(resolution, int(os.environ.get("WORLD_SIZE", "1")), count), name)


def to_typed(config: DictConfig, kind: type[_T]) -> _T:
    """A composed configuration as the dataclass that it is an instance of; its values are checked as they go in."""
    typed = OmegaConf.to_object(config)
    assert isinstance(typed, kind), f"a composed {kind.__name__}, not {type(typed).__name__}"
    return typed


def experiments() -> list[str]:
    """Names of the shipped experiments."""
    return sorted(path.stem for path in (shipped("configs") / "experiment").glob("*.yaml"))


def read_experiment(name: str) -> TrainConfig:
    """A shipped experiment as `train.py experiment=NAME` composes it; for commands other than train.py.

    Raises:
        UserError: There is none of that name.
    """
    if name not in experiments():
        raise UserError(f"there is no experiment={name}; {nearest(name, experiments())}")
    register()
    with hydra.initialize_config_dir(str(shipped("configs").resolve()), version_base="1.3"):
        return to_typed(hydra.compose("train", [f"experiment={name}"]), TrainConfig)


def train_config(composed: DictConfig) -> tuple[TrainConfig, bool]:
    """The configuration of a run: as composed, or, where its folder holds one, that one with what the command line changes.

    Returns:
        The configuration, with `run_dir` filled in, and whether the run goes on.

    Raises:
        UserError: The folder holds something else, or the command line asks for another run than the one in it.
    """
    hydra = HydraConfig.get()
    run_dir = Path(composed.run_dir or f"runs/{hydra.runtime.choices['experiment']}")
    if hydra.mode == RunMode.MULTIRUN:
        run_dir /= str(hydra.job.num)
    composed.run_dir = str(run_dir)
    if not layout.is_run_dir(run_dir):
        if run_dir.exists() and (not run_dir.is_dir() or any(path.name != layout.LOCK for path in run_dir.iterdir())):
            raise UserError(
                f"run_dir={run_dir} exists and is not a run of train.py; choose another run_dir, or empty it"
            )
        return to_typed(composed, TrainConfig), False
    saved = OmegaConf.load(run_dir / layout.CONFIG)
    schema = OmegaConf.structured(TrainConfig(model=_model_of(saved, run_dir)))
    base = OmegaConf.merge(schema, saved, {"run_dir": str(run_dir)})
    assert isinstance(base, DictConfig)
    return to_typed(_resumed(base, composed, list(hydra.overrides.task)), TrainConfig), True


def _model_of(saved: Any, run_dir: Path) -> ModelConfig:
    """The networks of a run's config.yaml, at their defaults. Runs from before there was a choice have StyleGAN2."""
    name = OmegaConf.select(saved, "model.name", default="stylegan2")
    if name not in MODELS:
        raise UserError(f"{run_dir / layout.CONFIG} has model.name={name}; {nearest(str(name), MODELS)}")
    return MODELS[name]()


def _resumed(base: DictConfig, composed: DictConfig, overrides: list[str]) -> DictConfig:
    """Apply to the configuration of a run what the command line names; a group such as `experiment=` names all that it sets,
    but leaves what may change as the run has it."""
    old, new = flatten(OmegaConf.to_container(base)), flatten(OmegaConf.to_container(composed))
    named = {override.lstrip("+~").split("=", 1)[0] for override in overrides}
    explicit = {key for key in new if any(key == name or key.startswith(f"{name}.") for name in named)}
    compared = set(new) if "experiment" in named else explicit
    # ${auto:...} is not evaluated: the run has what it gave for the run's data.
    given = [key for key in sorted(compared) if not str(new[key]).startswith("${auto:")]
    changed = [key for key in given if new[key] != old.get(key)]
    refused = [key for key in changed if key not in MAY_CHANGE]
    if refused:
        listed = "; ".join(f"{key} is {_shown(old.get(key))} in the run and {_shown(new[key])} here" for key in refused)
        raise UserError(
            f"run_dir={base.run_dir} holds a run with another configuration: {listed}. Leave these out to continue it, or "
            "choose another run_dir (init_from= starts from its networks)"
        )
    for key in changed:
        if key in explicit:
            OmegaConf.update(base, key, new[key])
    return base


def save_config(config: TrainConfig, path: Path) -> None:
    """Write a configuration as YAML, whole or not at all."""
    atomic_write(path, OmegaConf.to_yaml(OmegaConf.structured(config)))


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`; lists are values."""
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    return {k: v for name, sub in tree.items() for k, v in flatten(sub, f"{prefix}.{name}" if prefix else name).items()}


def run_entry(run: Callable[[DictConfig], None], root: Callable[[], Any], config_path: Path, config_name: str) -> None:
    """Compose a configuration from the command line and run an entry script's function with it, once or, in a sweep, often.

    A mistake of the user ends the process with one message and exit code 2.

    Args:
        run: What the script does with the composed configuration.
        root: Makes the script's configuration with its defaults, to propose names from.
        config_path: The folder of the YAML files.
        config_name: The file to start from.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # lets Hydra's exceptions reach us as they are

    def guarded(function: Callable[[], None]) -> None:
        with one_message(), distributed.one_voice():
            try:
                function()
            except (HydraException, OmegaConfBaseException) as error:
                if (ours := _within(error)) is not None:
                    raise ours from None
                raise UserError(_explain(error, root())) from error

    # Hydra announces every exception of a job but lets SystemExit pass: therefore the job is guarded by itself, too.
    def job(composed: DictConfig) -> None:
        guarded(lambda: run(composed))

    register()
    guarded(hydra.main(version_base="1.3", config_path=str(config_path), config_name=config_name)(job))


def _within(error: BaseException | None) -> UserError | None:
    """Our own error, which OmegaConf wraps in others of its own where an interpolation met it."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    return error


def _chain(error: BaseException) -> list[BaseException]:
    """An error and what it was raised from."""
    return [error, *_chain(error.__cause__)] if error.__cause__ is not None else [error]


def _shown(value: Any) -> Any:
    return value.name if isinstance(value, Enum) else value


def _explain(error: Exception, root: Any) -> str:
    """What Hydra or OmegaConf complains about, in one line, with the nearest name where a name is unknown."""
    if isinstance(error, MissingConfigException) and error.options is not None and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"there is no {group}={name}; {nearest(name, error.options)}"
    lines = [line for link in _chain(error) for line in str(link).splitlines() if line.strip()]
    if lines and lines[0].startswith("Could not override '"):
        key = lines[0].split("'")[1]
        keys = flatten(dataclasses.asdict(root))
        if key not in keys:
            return f"there is no setting {key}; {nearest(key, keys)}"
    kept = [line.strip() for line in lines if not line.startswith(("To append to your config", "    reference_type"))]
    return "; ".join(dict.fromkeys(kept))


TRAIN_HELP = """Train a style-based GAN.

  python train.py                                            a demo on rendered faces, on any machine
  python train.py experiment=NAME data.path=images.zip       a recipe on your images (stylegan prepare makes the archive)
  python train.py run_dir=runs/NAME                          go on exactly where that run stopped
  python train.py -m seed=0,1,2                              one run per value
  python train.py --cfg job                                  print the configuration and stop
  torchrun --standalone --nproc-per-node=N train.py ...      N processes or GPUs"""


GENERATE_HELP = """Make a picture from a trained network.

  python generate.py network=runs/demo seeds=0-31 out=grid.png
  python generate.py network=demo figure=images seeds=[0,3,7] out=faces truncation_psi=0.7"""


def _help(app: str, header: str, root: Any) -> dict[str, str]:
    """A help page for Hydra's `--help`, made from the documentation of the dataclasses' fields."""
    settings = "\n".join(f"  {name:<34} {text}" for name, text in _field_help(root))
    page = f"{header}\n\nSettings (name=value), with what they are when not given:\n\n{settings}"
    page = page.replace("$", "$$")
    groups = "\n\nRecipes and other groups (group=name):\n\n$APP_CONFIG_GROUPS"
    return {"app_name": app, "header": "", "footer": "", "template": page + groups}


def _field_help(config: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    for item in dataclasses.fields(config):
        value, key = getattr(config, item.name), f"{prefix}{item.name}"
        if dataclasses.is_dataclass(value):
            yield from _field_help(value, f"{key}.")
            continue
        shown = "null" if value is None else _shown(value)
        yield f"{key}={shown}", item.metadata.get("help", "")

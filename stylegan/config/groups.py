"""The configurations' registration with Hydra, and composed configurations as dataclasses."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from stylegan.config.help import GENERATE_HELP, TRAIN_HELP, choice_page, help_page
from stylegan.config.schema import train_schema
from stylegan.config.script import Script, names_in, script_of
from stylegan.errors import UserError, nearest
from stylegan.figures.config import GenerateConfig
from stylegan.figures.grid import Grid
from stylegan.figures.table import FIGURES
from stylegan.files import shipped
from stylegan.losses.table import LOSSES
from stylegan.models.build import DISCRIMINATORS, GENERATORS
from stylegan.training.config import TrainConfig

_T = TypeVar("_T")
_TABLES: dict[str, Mapping[str, type[Any]]] = {"model/G": GENERATORS, "model/D": DISCRIMINATORS, "loss": LOSSES}
_FIGURES: dict[str, Mapping[str, type[Any]]] = {"figure": FIGURES}


def register(typed: Sequence[str] = ()) -> None:
    """Make the configurations known to Hydra: each table is a group of its own.

    Args:
        typed: The settings on the command line; the help page is about the figure that they choose.
    """
    store = ConfigStore.instance()
    store.store(name="train_schema", node=train_schema())
    store.store(name="generate_schema", node=GenerateConfig)
    for group, table in (*_TABLES.items(), *_FIGURES.items()):
        for name, config in table.items():
            store.store(group=group, name=name, node=config)
    chosen = next((word.removeprefix("figure=") for word in typed if word.startswith("figure=")), None)
    if chosen in FIGURES:
        generate = choice_page("generate.py", "figure", chosen, FIGURES[chosen])
    else:
        generate = help_page("generate.py", GENERATE_HELP, GenerateConfig(figure=Grid()), _FIGURES, brief=["figure"])
    store.store(group="hydra/help", name="generate", node=generate)
    train = help_page("train.py", TRAIN_HELP, TrainConfig(), _TABLES, names_in(shipped("configs")))
    store.store(group="hydra/help", name="train", node=train)


def _within(error: BaseException | None) -> UserError | None:
    """Our own error, which OmegaConf wraps in those of its own."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    return error


def train_script() -> Script:
    """What train.py can be told."""
    return script_of("train", TrainConfig, _TABLES, names_in(shipped("configs")))


def generate_script() -> Script:
    """What generate.py can be told."""
    return script_of("generate", GenerateConfig, _FIGURES, {}, ["figure=grid"])


def to_typed(config: DictConfig, kind: type[_T]) -> _T:
    """A composed configuration as the dataclass that it is an instance of; its values are checked as they go in.

    Raises:
        UserError: A value that cannot be, or a setting that does not exist (Hydra's `+` adds any).
    """
    try:
        typed = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise _within(error) or UserError(" ".join(str(error).split())) from error
    assert isinstance(typed, kind), f"a composed {kind.__name__}, not {type(typed).__name__}"
    known = flatten(OmegaConf.to_container(OmegaConf.structured(typed)))
    for key in flatten(OmegaConf.to_container(config)):
        if key not in known:
            raise UserError(f"there is no setting {key}; {nearest(key, known)}")
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


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`; lists are values."""
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    return {k: v for name, sub in tree.items() for k, v in flatten(sub, f"{prefix}.{name}" if prefix else name).items()}

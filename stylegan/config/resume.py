"""Which run a command line means: a new one, or one that goes on; and what may differ then."""

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from stylegan import run_dir as layout
from stylegan.config.groups import flatten, to_typed
from stylegan.config.saved import is_unedited, load_config
from stylegan.errors import UserError, nearest
from stylegan.files import refuse_link
from stylegan.losses.table import LOSSES
from stylegan.models.build import DISCRIMINATORS, GENERATORS
from stylegan.schedule import Ramp
from stylegan.training.config import ModelConfig, TrainConfig
from stylegan.values import check_text

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


def train_config(composed: DictConfig) -> tuple[TrainConfig, bool]:
    """The configuration of a run: as composed, or, where its folder holds one, that one with what the command line changes.

    Returns:
        The configuration, with `run_dir` filled in, and whether the run goes on.

    Raises:
        UserError: The folder holds something else, or the command line asks for another run than the one in it.
    """
    hydra = HydraConfig.get()
    if composed.run_dir is not None:
        check_text(composed.run_dir, "run_dir")
    run_dir = Path(composed.run_dir or f"runs/{hydra.runtime.choices['experiment']}")
    if hydra.mode == RunMode.MULTIRUN:
        run_dir /= str(hydra.job.num)
        refuse_link(run_dir)  # nobody named this one
    composed.run_dir = str(run_dir)
    if not _holds_run(run_dir):
        return to_typed(composed, TrainConfig), False
    new = _settings(OmegaConf.structured(to_typed(composed, TrainConfig)))
    named = {override.split("=", 1)[0].replace("/", ".") for override in hydra.overrides.task}
    explicit = {
        key for key in new if any(f"{key}.".startswith(f"{name}.") or name.startswith(f"{key}.") for name in named)
    }
    # A group such as `experiment=` names all that it sets, but leaves what may change as the run has it. What a group leaves
    # open follows from the data, as it did when the run began.
    compared = {
        key for key in new if key in named or (new[key] is not None and ("experiment" in named or key in explicit))
    }
    return to_typed(_resumed(_saved(run_dir), new, compared, explicit), TrainConfig), True


def continued(config: TrainConfig) -> tuple[TrainConfig, bool]:
    """The same for a configuration that was made in Python: it names all that it holds but what is None.

    Raises:
        UserError: As `train_config`, or there is no `run_dir`.
    """
    if config.run_dir is None:
        raise UserError("run_dir is missing: TrainConfig(run_dir='runs/mine', ...) says where the run goes")
    if not _holds_run(Path(config.run_dir)):
        return config, False
    new = _settings(OmegaConf.structured(config))
    named = {key for key, value in new.items() if value is not None}
    return to_typed(_resumed(_saved(Path(config.run_dir)), new, named, named), TrainConfig), True


def _settings(config: Any) -> dict[str, Any]:
    """All settings of a configuration by name; a ramp is one value."""
    flat = flatten(OmegaConf.to_container(config, enum_to_str=True))
    parts = [f.name for f in fields(Ramp)]
    for name in {key.rpartition(".")[0] for key in flat}:
        if all(f"{name}.{part}" in flat for part in parts):
            flat[name] = {part: flat.pop(f"{name}.{part}") for part in parts}
    return flat


def _holds_run(run_dir: Path) -> bool:
    """Whether a run can go on there; raises `UserError` where something else is in the way."""
    if layout.is_run_dir(run_dir):
        return True
    if run_dir.exists() and (not run_dir.is_dir() or any(path.name != layout.LOCK for path in run_dir.iterdir())):
        raise UserError(f"run_dir={run_dir} exists and is not a run of train.py; choose another run_dir, or empty it")
    return False


def _saved(run_dir: Path) -> DictConfig:
    """What a run's config.yaml holds."""
    path = run_dir / layout.CONFIG
    saved = load_config(path)
    config = _schema_of(saved, run_dir)
    schema, newer = OmegaConf.structured(config), set(_newer(config))
    known, there = flatten(OmegaConf.to_container(schema)), flatten(saved)
    for key in there:
        if key not in known and key.rpartition(".")[0] not in known:  # what is in a ramp is checked with it
            raise UserError(f"{path} has {key}, which is no setting; {nearest(key, known)}")
    unedited = is_unedited(path)
    for key, default in known.items():
        if default is None or _holds(there, key) or (unedited and key in newer):
            continue
        what = "it is newer than the run:" if unedited else "put back what the run wrote there, or"
        raise UserError(
            f"{path} lacks {key}, without which the run would go on with {default}; {what} start a new run with "
            f"init_from={run_dir}"
        )
    try:
        base = OmegaConf.merge(schema, saved, {"run_dir": str(run_dir)})
    except OmegaConfBaseException as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}; put back what the run wrote there") from None
    assert isinstance(base, DictConfig)
    return base


def _holds(settings: Iterable[str], key: str) -> bool:
    """Whether a setting, or a part of it, is among some, by name."""
    return any(f"{name}.".startswith(f"{key}.") for name in settings)


def _newer(config: Any, group: str = "") -> Iterator[str]:
    """The settings that runs of older versions lack, and whose defaults are what these versions did."""
    for f in fields(config):
        if is_dataclass(value := getattr(config, f.name)):
            yield from _newer(value, f"{group}{f.name}.")
        elif f.metadata.get("newer"):
            yield f"{group}{f.name}"


def _schema_of(saved: Any, run_dir: Path) -> TrainConfig:
    """The configuration of a run's kind of networks and loss, at its defaults."""
    chosen: dict[str, Any] = {}
    for key, table in (("model.G", GENERATORS), ("model.D", DISCRIMINATORS), ("loss", LOSSES)):
        kind = flatten(saved).get(f"{key}.kind")
        if kind is None:
            raise UserError(
                f"{run_dir / layout.CONFIG} names no {key}.kind: an older version made this run, and this one cannot go on "
                f"with it; start a new run with init_from={run_dir}"
            )
        if not isinstance(kind, str) or kind not in table:
            raise UserError(f"{run_dir / layout.CONFIG} has {key}.kind={kind}; {nearest(str(kind), table)}")
        chosen[key] = table[kind]()
    return TrainConfig(model=ModelConfig(G=chosen["model.G"], D=chosen["model.D"]), loss=chosen["loss"])


def _resumed(base: DictConfig, new: dict[str, Any], compared: set[str], explicit: set[str]) -> DictConfig:
    """Apply to the configuration of a run what is asked for.

    Args:
        base: Of the run.
        new: What is asked for, flat.
        compared: What of it must agree with the run, unless it may change.
        explicit: What of it changes the run, where it may.
    """
    old = _settings(base)
    changed = [key for key in sorted(compared) if new[key] != old.get(key)]
    # Other networks, or another loss, have other settings: that says it all.
    replaced = tuple(f"{key.removesuffix('kind')}" for key in changed if key.endswith(".kind"))
    changed = [key for key in changed if key.endswith(".kind") or not (replaced and key.startswith(replaced))]
    if refused := [key for key in changed if key not in MAY_CHANGE]:
        there = flatten(load_config(Path(base.run_dir) / layout.CONFIG))
        listed = "; ".join(
            f"{key} is {old.get(key)} in the run and {new[key]} here"
            if old.get(key) is None or _holds(there, key)
            else f"{key} is {new[key]} here and newer than the run, which had nothing of it: {key}={old[key]} goes on as before"
            for key in refused
        )
        raise UserError(
            f"run_dir={base.run_dir} holds a run with another configuration: {listed}. Leave these out to continue it, or "
            "choose another run_dir (init_from= starts from its networks)"
        )
    for key in changed:
        if key in explicit:
            OmegaConf.update(base, key, new[key])
    return base

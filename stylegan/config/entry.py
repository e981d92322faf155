"""What the entry scripts have in common: compose, run, and turn a mistake of the user into one message."""

import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from stylegan import distributed
from stylegan.config.groups import flatten, register
from stylegan.errors import UserError, nearest, one_message


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


def _explain(error: Exception, root: Any) -> str:
    """What Hydra or OmegaConf complains about, in one line, with the nearest name where a name is unknown."""
    if isinstance(error, MissingConfigException) and error.options is not None and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"there is no {group}={name}; {nearest(name, error.options)}"
    lines = [line for link in _chain(error) for line in str(link).splitlines() if line.strip()]
    recipe, foreign = (
        re.search(pattern, " ".join(lines)) for pattern in (r"In 'experiment/(\S+)'", r"Key '(\S+)' not in '")
    )
    if recipe and foreign:
        return (
            f"experiment={recipe[1]} sets {foreign[1]}, which the networks or the loss chosen here do not have: it is for "
            "others. Take experiment=debug, or write a recipe of your own beside it (configs/experiment)"
        )
    if lines and lines[0].startswith("Could not override '"):
        key = lines[0].split("'")[1]
        keys = flatten(dataclasses.asdict(root))
        if key not in keys:
            return f"there is no setting {key}; {nearest(key, keys)}"
    kept = [line.strip() for line in lines if not line.startswith(("To append to your config", "    reference_type"))]
    return "; ".join(dict.fromkeys(kept))

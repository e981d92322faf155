"""What the entry scripts have in common: compose, run, and turn a mistake of the user into one message."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from stylegan import distributed
from stylegan.config.groups import register
from stylegan.config.overrides import hydra_arguments
from stylegan.config.script import Script
from stylegan.errors import UserError, nearest, one_message

# What OmegaConf says of a value that a setting cannot have, and the same for people.
_NO_VALUE = (
    ("could not be converted to Integer", "is no whole number, written in digits"),
    ("could not be converted to Float", "is no number"),
    ("is not a valid bool", "is neither true nor false"),
    ("is not Optional", "cannot be: it is never null; leave it out, or give it a value"),
)


def run_entry(run: Callable[[DictConfig], None], script: Callable[[], Script], config_path: Path) -> None:
    """Compose a configuration from the command line and run an entry script's function with it, once or, in a sweep, often.

    A mistake of the user ends the process with one message and exit code 2.

    Args:
        run: What the script does with the composed configuration.
        script: What it can be told; the YAML file of its name is where composing starts.
        config_path: The folder of the YAML files.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # lets Hydra's exceptions reach us as they are
    typed = sys.argv
    told = script()
    failed: list[Exception] = []

    # Hydra announces every exception of a job but lets SystemExit pass: therefore the job is guarded by itself, too.
    def job(composed: DictConfig) -> None:
        sys.argv = typed  # figures record the command as it was typed
        with one_message(), distributed.one_voice():
            try:
                run(composed)
            except (HydraException, OmegaConfBaseException) as error:
                raise UserError(_explain(error, told)) from error
            except Exception as error:
                failed.append(error)
                raise

    with one_message(), distributed.one_voice():
        try:
            register(typed[1:])
            sys.argv = [typed[0], *hydra_arguments(typed[1:], told)]
            hydra.main(version_base="1.3", config_path=str(config_path), config_name=told.name)(job)()
        except UserError:
            raise
        except Exception as error:
            if error in failed:
                raise
            # Whatever Hydra and OmegaConf raise while they compose is about what was typed, also where it is no HydraException.
            raise UserError(_explain(error, told)) from error
        finally:
            sys.argv = typed


def _chain(error: BaseException) -> list[BaseException]:
    """An error and what it was raised from."""
    return [error, *_chain(error.__cause__)] if error.__cause__ is not None else [error]


def _explain(error: Exception, script: Script) -> str:
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
        if owners := script.owners.get(key):
            return (
                f"{key} is a setting of {' and '.join(owners)}, which is not chosen here; choose it, or leave {key} out"
            )
        if key not in script:
            return f"there is no setting {key}; {nearest(key, script.settings)}"
    text = " ".join(lines)
    if typed := re.match(r"Error merging override ([^ =]+)=(.*)", lines[0] if lines else ""):
        if choices := re.search(r"Invalid value '(.*)', expected one of \[(.*)\]", text):
            return f"{typed[1]}={typed[2]}: {nearest(choices[1], choices[2].split(', '))}"
        if why := next((why for said, why in _NO_VALUE if said in text), None):
            item = re.search(r"Value '(.*?)' (of type|is not)", text) if typed[2].startswith("[") else None
            return f"{typed[1]}={typed[2]}{f': {item[1]}' if item else ''} {why}"
    kept = [line.strip() for line in lines if not line.startswith(("To append to your config", "    reference_type"))]
    return "; ".join(dict.fromkeys(kept)) or f"the configuration cannot be composed: {type(error).__name__}"

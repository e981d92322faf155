"""A configuration as a file: a run's config.yaml, of values alone, with a checksum that tells when someone edited it."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from stylegan.errors import UserError
from stylegan.files import atomic_write
from stylegan.training.config import TrainConfig

LARGEST = 2**20  # bytes; ours have 4 KB
DEEPEST = 16
LARGEST_NUMBER = 10**30
_CHECKSUM = re.compile(r"# sha256: ([0-9a-f]{64})$", re.MULTILINE)


def save_config(config: TrainConfig, path: Path) -> None:
    """Write a configuration as YAML, whole or not at all: every value that it holds. What is None is none by default, and left
    out; where it is not the default, it stands there."""
    tree = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    assert isinstance(tree, dict)
    _leave_out(tree, config)
    head = "# What this run was told. Settings are changed on the command line, not here.\n"
    atomic_write(path, f"{head}# sha256: {_checksum(tree)}\n{OmegaConf.to_yaml(tree)}")


def load_config(path: Path) -> dict[str, Any]:
    """What `save_config` wrote, as plain dictionaries, lists and values, none of them checked.

    Raises:
        UserError: It cannot be read, is no YAML, too large or nested too deeply, has aliases, holds no settings, or asks for
            something to be looked up instead of holding a value.
    """
    return _load(path)[0]


def _load(path: Path) -> tuple[dict[str, Any], str]:
    """The same, and the text that it was read from."""
    wrong = "put back what the run wrote there"
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path} has more than {LARGEST} bytes, which no configuration has; {wrong}")
        text = path.read_text(encoding="utf-8")
        _check_structure(text, path)
        tree = OmegaConf.to_container(OmegaConf.create(text), resolve=False) if text.strip() else None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except UserError:
        raise
    except (
        Exception
    ) as error:  # whatever YAML, OmegaConf and Python find: not UTF-8, no YAML, a number of 5000 digits ...
        raise UserError(f"{path} is no YAML any more: {' '.join(str(error).split())[:200]}; {wrong}") from None
    if not isinstance(tree, dict) or not tree:
        raise UserError(f"{path} holds no settings; {wrong}")
    for name, value in _leaves(tree, ""):
        if isinstance(value, str) and "${" in value:
            raise UserError(
                f"{path} has {name}={value}: a saved configuration holds values, nothing is looked up; {wrong}"
            )
        if isinstance(value, int) and abs(value) >= LARGEST_NUMBER:  # OmegaConf and messages stumble over those
            raise UserError(f"{path} has a whole number of {value.bit_length()} bits for {name}; {wrong}")
        if value == "???":
            raise UserError(f"{path} has no value for {name}; {wrong}")
    return tree, text  # pyright: ignore[reportReturnType]


def is_unedited(path: Path) -> bool:
    """Whether a configuration is as `save_config`, of whatever version, wrote it; raises `UserError` as `load_config`."""
    tree, text = _load(path)
    found = _CHECKSUM.search(text)
    return found is not None and found[1] == _checksum(tree)


def check_unedited(path: Path) -> None:
    """Raise a `UserError` where a configuration is not as `save_config` wrote it."""
    if not is_unedited(path):
        raise UserError(
            f"{path} is not as the run wrote it: put that back. What may change is given on the command line, such as "
            f"`train.py run_dir={path.parent} training.kimg=...`; anything else is a new run with init_from={path.parent}"
        )


def _checksum(tree: Any) -> str:
    """Of the values, not of how they are written down."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True, default=str).encode()).hexdigest()


def _check_structure(text: str, path: Path) -> None:
    """Aliases make a little text much, and nesting exhausts who reads it: neither has a place in what we write."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > DEEPEST:
            what = "has aliases (*)" if isinstance(event, yaml.AliasEvent) else f"is nested more than {DEEPEST} deep"
            raise UserError(f"{path} {what}, which no configuration needs; put back what the run wrote there")


def _leaves(tree: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every value, also in lists, and every key, with the name of its place."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield f"{name}.{key}".lstrip("."), key
            yield from _leaves(value, f"{name}.{key}".lstrip("."))
    elif isinstance(tree, list):
        for value in tree:
            yield from _leaves(value, name)
    else:
        yield name, tree


def _leave_out(tree: dict[Any, Any], config: Any) -> None:
    for f in fields(config):
        value = getattr(config, f.name)
        if value is None and (f.default is None or f.default is MISSING):
            del tree[f.name]
        elif is_dataclass(value) and isinstance(tree[f.name], dict):
            _leave_out(tree[f.name], value)

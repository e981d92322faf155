"""A configuration as a file: a run's config.yaml."""

from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from stylegan.files import atomic_write
from stylegan.training.config import TrainConfig


def save_config(config: TrainConfig, path: Path) -> None:
    """Write a configuration as YAML, whole or not at all: every value that it holds. What is None is none by default, and left
    out; where it is not the default, it stands there."""
    tree = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    assert isinstance(tree, dict)
    _leave_out(tree, config)
    atomic_write(path, OmegaConf.to_yaml(tree))


def _leave_out(tree: dict[Any, Any], config: Any) -> None:
    for f in fields(config):
        value = getattr(config, f.name)
        if value is None and (f.default is None or f.default is MISSING):
            del tree[f.name]
        elif is_dataclass(value) and isinstance(tree[f.name], dict):
            _leave_out(tree[f.name], value)

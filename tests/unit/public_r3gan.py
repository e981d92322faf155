"""Pickles in the layout of R3GAN's public code, made from recorded parameters."""

import pickle
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.golden.golden import Golden, load


@contextmanager
def public_modules() -> Iterator[Callable[[str, str], nn.Module]]:
    """Makes objects of classes that exist only within."""
    made = {name: types.ModuleType(name) for name in ("training", "training.networks", "R3GAN", "R3GAN.Networks")}
    sys.modules.update(made)

    def instance(module: str, name: str) -> nn.Module:
        if not hasattr(made[module], name):
            kind = type(name, (nn.Module,), {"__module__": module})
            setattr(made[module], name, kind)
        return getattr(made[module], name)()

    try:
        yield instance
    finally:
        for name in made:
            del sys.modules[name]


def public(golden: Golden, outer: str, instance: Callable[[str, str], nn.Module], reduced: int = 0) -> nn.Module:
    """A network of a file as the public code holds it."""
    wrapper = instance("training.networks", outer)
    wrapper.c_dim = golden.config["kwargs"].get("ConditionDimension", 0)  # pyright: ignore[reportAttributeAccessIssue]
    wrapper.Model = instance("R3GAN.Networks", outer)
    for name in [*golden.config["params"], *golden.config["buffers"]]:
        *path, leaf = name.split(".")
        place: Any = wrapper.Model
        for i, part in enumerate(path):
            if part not in place._modules:
                is_list = i + 1 < len(path) and path[i + 1].isdigit()
                place.add_module(part, nn.ModuleList() if is_list else instance("R3GAN.Networks", "Layer"))
            place = place._modules[part]
        tensor = golden.tensor(f"param/{name}")
        if name in golden.config["buffers"]:
            place.register_buffer(leaf, tensor)
        else:
            place.register_parameter(leaf, nn.Parameter(tensor))
    stages: Any = wrapper.Model.MainLayers  # pyright: ignore[reportAttributeAccessIssue]
    for stage in list(stages)[len(stages) - reduced :]:
        stage.DataType = torch.bfloat16
    return wrapper


def write(path: Path, *, generator: str, discriminator: str, reduced: int = 0, **more: Any) -> tuple[Golden, Golden]:
    g, d = load(generator), load(discriminator)
    with public_modules() as instance:
        G, D = public(g, "Generator", instance, reduced), public(d, "Discriminator", instance)
        content = {"G": G, "D": D, "G_ema": G, "training_set_kwargs": {"path": "x.zip"}, "cur_nimg": 5000, **more}
        with path.open("wb") as file:
            pickle.dump(content, file)
    return g, d

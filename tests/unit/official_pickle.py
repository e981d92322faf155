"""Pickles in the layout of the official ProGAN and StyleGAN for TensorFlow, made from recorded parameters."""

import io
import pickle
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.golden.golden import Golden, load

CLASSES = {2: "tfutil", 3: "dnnlib.tflib.network"}  # where `Network` is, by the version of its state
FUNCTIONS = {"pg_g": "G_paper", "pg_d": "D_paper", "sg1_g": "G_style", "sg1_d": "D_basic"}
COMPONENTS = {"synthesis": "G_synthesis", "mapping": "G_mapping"}
SOURCE = "import pathlib\npathlib.Path('ran').touch()\n" * 20
_NUMPY = "numpy.core.multiarray"  # of numpy 1, under which such files were written


class Made:
    """What is pickled as a `Network` with this state."""

    def __init__(self, version: int, function: str, options: dict[str, Any], variables: dict[str, Any]):
        self.module = CLASSES[version]
        self.state: dict[str, Any] = {"version": version, "name": function[0], "static_kwargs": dict(options)}
        if version == 3:
            self.state["components"] = {}
        self.state |= {"build_module_src": SOURCE, "build_func_name": function, "variables": list(variables.items())}


def network(golden: Golden, version: int, **options: Any) -> Made:
    """A network of a file as the official code holds it: `lod` is a variable, and StyleGAN's G has parts of its own."""
    function = FUNCTIONS[golden.name.rsplit("_", 2)[0]]
    options = {**golden.config["kwargs"], **options}
    variables = {key.removeprefix("param/"): golden.arrays[key] for key in golden.keys("param/")}
    lod = {"lod": np.float32(0)}
    if function != "G_style":
        return Made(version, function, options, {**lod, **variables})
    outer = {name: value for name, value in variables.items() if "/" not in name}
    G = Made(version, function, options, {**lod, **outer})
    for key, built_by in COMPONENTS.items():
        inner = {n.removeprefix(f"{built_by}/"): v for n, v in variables.items() if n.startswith(f"{built_by}/")}
        more = {"dlatent_broadcast": golden.config["num_layers"]} if key == "mapping" else {}
        G.state["components"][key] = Made(version, built_by, {**options, **more}, {**inner, **({} if more else lod)})
    return G


def dumps(content: Any, protocol: int = 4) -> bytes:
    """The pickle of `content`, with the names of that time."""
    with _stand_ins() as classes:
        file = io.BytesIO()
        _Pickler(file, protocol, classes).dump(_instances(content, classes, {}))
        return file.getvalue()


def write(
    path: Path, *, generator: str, discriminator: str, version: int = 3, protocol: int = 4
) -> tuple[Golden, Golden]:
    """Write (G, D, Gs) of two files, in which G is Gs times two, and return the two."""
    g, d = load(generator), load(discriminator)
    path.write_bytes(dumps(networks(g, d, version), protocol))
    return g, d


def networks(g: Golden, d: Golden, version: int) -> tuple[Made, Made, Made]:
    """G, D and Gs."""
    twice = Golden(g.name, g.config, {key: 2 * value for key, value in g.arrays.items()})
    return network(twice, version), network(d, version), network(g, version)


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, protocol: int, classes: dict[str, Any]):
        super().__init__(file, protocol)
        self.classes = classes

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            state = (1, value.shape, value.dtype, False, np.ascontiguousarray(value).tobytes())
            return self.classes["_reconstruct"], (np.ndarray, (0,), b"b"), state
        if isinstance(value, np.generic):
            return self.classes["scalar"], (value.dtype, value.tobytes())
        return NotImplemented


def _instances(content: Any, classes: dict[str, Any], done: dict[int, Any]) -> Any:
    """`content` with objects of those classes in the place of what is `Made`; `done`: those that were begun."""
    if isinstance(content, tuple):
        return tuple(_instances(item, classes, done) for item in content)
    if isinstance(content, dict):
        return {name: _instances(item, classes, done) for name, item in content.items()}
    if isinstance(content, Made) and id(content) not in done:
        done[id(content)] = classes[content.module]()
        vars(done[id(content)]).update(_instances(content.state, classes, done))
    return done[id(content)] if isinstance(content, Made) else content


@contextmanager
def _stand_ins() -> Iterator[dict[str, Any]]:
    """Classes and functions under names that do not exist here, or no longer."""

    def never(*arguments: Any) -> None:
        raise AssertionError("a name of a pickle was called")

    before, made = dict(sys.modules), dict[str, Any]()
    modules = {name: types.ModuleType(name) for module in CLASSES.values() for name in _with_parents(module)}
    sys.modules.update(modules | {_NUMPY: types.ModuleType(_NUMPY)})
    for module in CLASSES.values():
        made[module] = type("Network", (), {"__module__": module})
        vars(modules[module])["Network"] = made[module]
    for name in ("_reconstruct", "scalar"):
        made[name] = types.FunctionType(never.__code__, {"AssertionError": AssertionError}, name)
        made[name].__module__, made[name].__qualname__ = _NUMPY, name
        vars(sys.modules[_NUMPY])[name] = made[name]
    try:
        yield made
    finally:
        for name in {*modules, _NUMPY}:
            del sys.modules[name]
        sys.modules.update(before)


def _with_parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]

"""Pickles in the layout of the public StyleGAN tools, made from networks of ours: the golden README, "Snapshot pickles"."""

import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from stylegan.interop.nvidia import describe
from stylegan.models.base import Network

_CLASSES = {
    "Conv2d": "Conv2dLayer",
    "FullyConnected": "FullyConnectedLayer",
    "ToRGB": "ToRGBLayer",
    "GrowingStyleBased": "Generator",
    "StyleBased": "Generator",
    "StyleGAN2Discriminator": "Discriminator",
}
_HOOKS = ("_backward_hooks", "_forward_hooks", "_forward_pre_hooks", "_state_dict_hooks", "_load_state_dict_pre_hooks")


class Call:
    """What is pickled as a call of `module.name`, which does not exist here."""

    def __init__(self, module: str, name: str, *arguments: Any):
        self.module, self.name, self.arguments = module, name, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr(sys.modules[self.module], self.name), self.arguments


def _stand_in(module: str, name: str) -> Callable[..., Any]:
    def function(*arguments: Any) -> None:
        raise AssertionError(f"{module}.{name} was called")

    function.__module__, function.__qualname__, function.__name__ = module, name, name
    return function


@contextmanager
def importable(*names: tuple[str, str]) -> Iterator[None]:
    """Pretend that `module.name` exists, which pickling needs; calling it fails the test."""
    before = dict(sys.modules)
    for module, name in names:
        parts = module.split(".")
        for i in range(1, len(parts)):
            sys.modules.setdefault(".".join(parts[:i]), types.ModuleType(parts[0]))
        made = sys.modules.setdefault(module, types.ModuleType(module))
        setattr(made, name, _stand_in(module, name))
    try:
        yield
    finally:
        for module in set(sys.modules) - set(before):
            del sys.modules[module]


PERSISTENT = ("torch_utils.persistence", "_reconstruct_persistent_obj")


def module_call(module: nn.Module, *, source: str = "", **attributes: Any) -> Call:
    """A module as the public tools record it, with those of its attributes that say how it computes."""
    state: dict[str, Any] = {"training": False, **attributes}
    state["_parameters"] = OrderedDict(module._parameters)
    state["_buffers"] = OrderedDict(
        (name, buffer) for name, buffer in module._buffers.items() if name not in module._non_persistent_buffers_set
    )
    state["_non_persistent_buffers_set"] = set()
    state |= {name: OrderedDict() for name in _HOOKS}
    children = {name: child for name, child in module.named_children() if type(child).__name__ != "Styles"}
    state["_modules"] = OrderedDict((name, module_call(child, source=source)) for name, child in children.items())
    for name in ("conv_clamp", "activation"):
        if hasattr(module, name):
            state[name] = getattr(module, name)
    name = type(module).__name__
    meta = {"type": "class", "version": 6, "module_src": source, "class_name": _CLASSES.get(name, name), "state": state}
    return Call(*PERSISTENT, meta)


def network_call(network: Network, **more: Any) -> Call:
    """A network of ours as a record of the public tools, with the arguments of its constructor."""
    options = {name: value for name, value in describe(network).options.items() if name != "class_name"}
    return module_call(network, _init_args=(), _init_kwargs=options, **more)


def dumps(content: Any, protocol: int = 4) -> bytes:
    """The pickle of `content`."""
    with importable(PERSISTENT):
        return pickle.dumps(content, protocol)

"""Pickles of the official ProGAN (2018) and StyleGAN (2019), which were written for TensorFlow.

Such a file is a tuple (G, D, Gs) of `Network`s, where Gs is the moving average of G. The state of each tells the function that
builds it, the arguments of that function, and the variables, a list of names and arrays; StyleGAN's G holds the mapping and
the synthesis as `components`, which are Networks, too. The source text of the functions is also there, and not looked at.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from stylegan.errors import UnreadableError, shown
from stylegan.interop.adapters import ADAPTERS, adapter_for
from stylegan.interop.fill import MOST_TENSORS, build_and_fill, check_shared
from stylegan.interop.pickled import ArrayRecord, BuiltModule
from stylegan.models.adapter import Foreign, named, scalar
from stylegan.models.base import Network
from stylegan.models.official import OfficialLayout

NAMES = ("G", "D", "G_ema")  # in the order of the file
VERSIONS = (2, 3)
COMPONENTS = {"mapping": "G_mapping", "synthesis": "G_synthesis"}
MOST_OPTIONS = 100
LONGEST_NAME = 100
_LONGEST_LIST = 16  # of numbers, as an argument: taps of a filter


def is_tensorflow(content: Any) -> bool:
    """Whether the content of a file looks like that of the official code for TensorFlow."""
    parts = content if isinstance(content, tuple) else (content,)
    return any(isinstance(part, BuiltModule) for part in parts)


def records_from_tensorflow(content: Any) -> dict[str, Any]:
    """The networks of such a file by our names: those of a tuple (G, D, Gs), or a generator alone.

    Raises:
        UnreadableError: It holds more, or fewer.
    """
    if isinstance(content, BuiltModule):
        return {"G_ema": content}
    if len(content) != len(NAMES):
        raise UnreadableError(f"holds {len(content)} networks instead of three: G, D, and the average of G")
    return dict(zip(NAMES, content, strict=True))


def network_from_tensorflow(record: Any) -> tuple[Network, str]:
    """The network that a record describes, with its weights, at the stage of growing at which it was saved; and the name of its
    architecture.

    Raises:
        UnreadableError: It was built by an unknown function or with arguments that our networks do not have, or a variable is
            missing, left over, or of another shape or type; names the first.
    """
    foreign = _foreign(record)
    layout = adapter_for(foreign.tensors, OfficialLayout)
    check_shared(foreign.tensors.values())  # before the first is turned, for which it is copied
    return build_and_fill(*layout.to_ours(foreign)), layout.architecture


def _foreign(record: Any) -> Foreign:
    """What a record tells of a network: its variables by official names, behind the name of the function that builds it."""
    function = _function(record)
    known = {layout.marker: layout.architecture for layout in ADAPTERS if isinstance(layout, OfficialLayout)}
    if function not in known:
        among = ", ".join(f"{name} ({architecture})" for name, architecture in known.items())
        raise UnreadableError(f"is built by a function {shown(function, 40)}; known are {among}")
    options, numbers = _options(record), dict[int, Tensor]()
    tensors = {f"{function}/{name}": tensor for name, tensor in _variables(record, numbers).items()}
    components = named(record.state.get("components"), "components")
    if unknown := [name for name in components if name not in COMPONENTS]:
        raise UnreadableError(f"has a component {shown(unknown[0], 40)}; known are {', '.join(COMPONENTS)}")
    for name, component in components.items():
        inner = _function(component)
        if inner != COMPONENTS[name] or component.state.get("components"):
            raise UnreadableError(f"has a component {name} that is not built by {COMPONENTS[name]} alone")
        for option, value in _options(component).items():
            if options.setdefault(option, value) != value:
                raise UnreadableError(
                    f"is built with {option}={options[option]}, but its component {name} with {value}"
                )
        variables = _variables(component, numbers)
        tensors |= {f"{function}/{inner}/{variable}": tensor for variable, tensor in variables.items()}
    return Foreign(tensors, options, function)


def _function(record: Any) -> str:
    """The name of the function that builds a network; of a record that is one."""
    function = record.state.get("build_func_name") if isinstance(record, BuiltModule) else None
    if not isinstance(function, str):
        raise UnreadableError("is no Network that a function builds")
    return function


def _options(record: BuiltModule) -> dict[str, Any]:
    """The arguments with which a network was built."""
    version = scalar(record.state.get("version"), "version")
    if version not in VERSIONS:
        raise UnreadableError(f"is of version {version}; known are 2 (ProGAN) and 3 (StyleGAN)")
    options = named(record.state.get("static_kwargs"), "static_kwargs")
    if len(options) > MOST_OPTIONS:
        raise UnreadableError(f"is built with {len(options)} arguments; no network takes more than {MOST_OPTIONS}")
    return {name: _option(value, name) for name, value in options.items()}


def _option(value: Any, name: str) -> Any:
    if isinstance(value, list | tuple) and len(value) <= _LONGEST_LIST:
        return tuple(scalar(item, name) for item in value)
    return scalar(value, name)


def _variables(record: BuiltModule, numbers: dict[int, Tensor]) -> dict[str, Tensor]:
    """The variables of a network; those of its components have lists of their own."""
    found: dict[str, Tensor] = {}
    variables = record.state.get("variables")
    if not isinstance(variables, list | tuple) or len(variables) > MOST_TENSORS:
        raise UnreadableError(f"holds variables that are no list of up to {MOST_TENSORS}")
    for variable in variables:
        if not isinstance(variable, list | tuple) or len(variable) != 2:
            raise UnreadableError("holds a variable that is not a name and an array")
        name, value = variable
        if not isinstance(name, str) or len(name) > LONGEST_NAME or name in found:
            raise UnreadableError(f"holds a variable whose name is given twice, or is no text of up to {LONGEST_NAME}")
        if isinstance(value, ArrayRecord):
            found[name] = _tensor(value.values, numbers)
        elif isinstance(value, float):
            found[name] = torch.tensor(value)
        else:
            raise UnreadableError(f"holds {shown(name, 60)} as a {type(value).__name__}, not as an array")
    return found


def _tensor(values: np.ndarray[Any, Any], numbers: dict[int, Tensor]) -> Tensor:
    """The tensor of an array, which is read-only. `numbers`: copies by address, so that arrays that share their numbers become
    tensors that share them, which `check_shared` has to see."""
    if not values.size:
        return torch.empty(values.shape)
    address = values.ctypes.data
    if address not in numbers:
        numbers[address] = torch.from_numpy(values.reshape(-1, order="A").view(np.uint8).copy())
    dtype = torch.from_numpy(np.empty(0, values.dtype)).dtype
    return numbers[address].view(dtype).as_strided(values.shape, [step // values.itemsize for step in values.strides])

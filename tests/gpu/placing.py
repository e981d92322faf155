"""Calls of the ops, brought to a device."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tests.cuda.calls import Call


def placed(call: Call, device: torch.device) -> Call:
    """The same call with its tensors on the device, in the same memory formats."""
    return replace(call, args=tuple(_moved(a, device) for a in call.args))


def _moved(argument: Any, device: torch.device) -> Any:
    if isinstance(argument, list):
        return [_moved(a, device) for a in argument]
    return argument.to(device) if isinstance(argument, Tensor) else argument

"""Calls of the ops, brought to a device."""

from dataclasses import replace

import torch
from torch import Tensor

from tests.cuda.calls import Call


def placed(call: Call, device: torch.device) -> Call:
    """The same call with its tensors on the device, in the same memory formats."""
    return replace(call, args=tuple(a.to(device) if isinstance(a, Tensor) else a for a in call.args))

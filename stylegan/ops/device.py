"""Which device a name stands for, how exactly it computes, and how numbers get there."""

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from stylegan.errors import UserError


def pick_device(name: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda` or `cuda:1` stands for on this rank.

    Raises:
        UserError: No such device here.
    """
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device={name} is not a device; use auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device={name} is not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError(f"device={name}, but torch {torch.__version__} sees no CUDA device here; use device=cpu")
        device = torch.device("cuda", local_rank if device.index is None else device.index)
        if device.index >= torch.cuda.device_count():
            raise UserError(f"device={device}, but there are {torch.cuda.device_count()} CUDA devices (counted from 0)")
        torch.cuda.set_device(device)
    return device


def compute_exactly(*, tf32: bool = False) -> None:
    """Set how this process computes in float32 on a GPU: for scripts that own the process, since torch holds it for all.

    torch lets convolutions round their inputs to TF32's 10 bits; the papers' code, and so the published numbers, do not. cuDNN
    does not choose algorithms by trying them: two runs could choose differently, and it won nothing where we measured
    (`tests/gpu/README.md`). Nothing changes on a CPU.

    Args:
        tf32: Let convolutions and matrix products use TF32, for more speed on GPUs that have it.
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = False


def send(numbers: float | Sequence[float], to: Tensor) -> None:
    """Write numbers of the host into a tensor of their shape, without waiting for its device."""
    to.copy_(_ready(torch.tensor(numbers, dtype=to.dtype, device="cpu"), to.device), non_blocking=True)


def on_device(t: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device, without waiting for it."""
    return _ready(t, device).to(device, non_blocking=True)


def _ready(t: Tensor, device: torch.device) -> Tensor:
    """In memory from which a copy to the device need not wait; torch keeps it from being used again until that is done."""
    return t.pin_memory() if device.type == "cuda" else t

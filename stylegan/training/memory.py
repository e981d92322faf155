"""What a training takes of memory at the least, known before its networks are made."""

import math
from typing import Any

import torch
from torch import nn

from stylegan.errors import UserError
from stylegan.memory import check_images, check_memory
from stylegan.training.config import TrainConfig

FLOAT = 4  # bytes


def check_training_memory(
    config: TrainConfig, shape: dict[str, Any], *, ranks: int = 1, device: torch.device | None = None
) -> None:
    """Refuse networks and batches that this machine, or GPU, cannot hold by far.

    G, D, their gradients, the two moments of Adam for each, G_ema and further averages are counted, and the images of a batch;
    not what lies between the layers.

    Args:
        config: Resolved.
        shape: `resolution` (H, W), `channels` and `c_dim`, as networks are built with.
        ranks: Processes that share a batch.
        device: Where it trains; None: the CPU.

    Raises:
        UserError: There is too little memory, or the networks cannot be of this size.
    """
    total = torch.cuda.get_device_properties(device).total_memory if device and device.type == "cuda" else None
    (G, G_most), (D, D_most) = (_numbers(network, shape) for network in (config.model.G, config.model.D))
    largest = f"model.G. holds {G:.4g} numbers, most of them in {G_most}; model.D. {D:.4g}, most of them in {D_most}"
    check_memory(
        FLOAT * ((5 + len(config.optim.ema_power)) * G + 4 * D),
        "the networks, their gradients, averages and moments of Adam",
        f"{largest}: make them smaller",
        total,
    )
    training, metrics = config.training, config.metrics
    counts = {
        "training.batch_size": (training.batch_size or 1) / ranks,
        "training.grid_images": training.grid_images,
        **({"metrics.batch": metrics.batch} if metrics.names else {}),
    }
    for name, count in counts.items():
        check_images(count, shape["channels"], shape["resolution"], name)


def _numbers(network: Any, shape: dict[str, Any]) -> tuple[float, str]:
    """How many numbers a network of this configuration has, nearly all of them parameters, and what the largest tensor is."""
    try:
        with torch.device("meta"):
            module: nn.Module = network.build(**shape)
    except UserError:
        raise
    except RuntimeError:  # torch cannot even count the bytes of one tensor
        return math.inf, "one tensor"
    tensors = module.state_dict()
    name = max(tensors, key=lambda key: tensors[key].numel())
    return sum(tensor.numel() for tensor in tensors.values()), f"{name} {list(tensors[name].shape)}"

"""What an iteration does to whole lists of parameters: Adam, the moving average, and the look at gradients before both.

Schemas (the bodies below are the reference; compiled kernels equal them up to rounding; names that end in _ write in place):

    stylegan::adam_(params!, grads, first!, second!, steps!, lr, beta1, beta2, eps)
    stylegan::lerp_(averages!, targets, weight)              averages <- averages + weight (targets - averages)
    stylegan::square_sum(tensors) -> float64 []              of all elements of all tensors

A network has a hundred parameters, most of them small; as loops of torch ops most time goes into starting them, or into passing
over memory ten times. Here a list is one op and one pass. There are no gradients.
"""

import torch
from torch import Tensor


def adam_(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    steps: list[Tensor],
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """One step of Adam (Kingma and Ba 2015, algorithm 1), in place.

    Args:
        params: Dense, of any shapes and memory formats; each tensor of the other lists but the last has those of its parameter.
        grads: Their gradients.
        first: First moments, of the parameters' shapes.
        second: Second moments.
        steps: Steps taken so far, float32 scalars; counted up here.
        lr: Learning rate.
        beta1: Decay of the first moments.
        beta2: Decay of the second moments.
        eps: Added to the root of the second moment.

    Raises:
        ValueError: Lists of different lengths, or tensors that do not go together.
    """
    if not len(params) == len(grads) == len(first) == len(second) == len(steps):
        raise ValueError(
            f"adam_ needs five lists of one length, got {list(map(len, (params, grads, first, second, steps)))}"
        )
    _check("adam_", params, grads, first, second)
    if any(step.dtype != torch.float32 or step.numel() != 1 for step in steps):
        raise ValueError("adam_ counts steps in float32 scalars")
    if params:
        _adam_(params, grads, first, second, steps, lr, beta1, beta2, eps)


def lerp_(averages: list[Tensor], targets: list[Tensor], weight: float) -> None:
    """Move every average by the share `weight` of the way to its target, in place; exact for the weights 0 and 1.

    Raises:
        ValueError: Lists of different lengths, or tensors that do not go together.
    """
    if len(averages) != len(targets):
        raise ValueError(f"lerp_ needs two lists of one length, got {len(averages)} and {len(targets)}")
    _check("lerp_", averages, targets)
    if averages:
        _lerp_(averages, targets, weight)


def total_norm(tensors: list[Tensor]) -> Tensor:
    """The 2-norm of all elements of all tensors, a float32 scalar; infinite or NaN where they are not finite."""
    return _square_sum(tensors).sqrt().float() if tensors else torch.zeros([])


def _check(op: str, *lists: list[Tensor]) -> None:
    for i, (first, *others) in enumerate(zip(*lists, strict=True)):
        for t in others:
            if t.shape != first.shape or t.dtype != first.dtype or t.device != first.device:
                raise ValueError(
                    f"{op} needs lists of alike tensors, but number {i} is {tuple(first.shape)}, {first.dtype} on "
                    f"{first.device} in one and {tuple(t.shape)}, {t.dtype} on {t.device} in another"
                )


@torch.library.custom_op("stylegan::adam_", mutates_args=("params", "first", "second", "steps"))
def _adam_(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    steps: list[Tensor],
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    torch._foreach_add_(steps, 1)  # pyright: ignore[reportPrivateImportUsage]
    rest = {"weight_decay": 0.0, "amsgrad": False, "maximize": False}
    torch._fused_adam_(params, grads, first, second, [], steps, lr=lr, beta1=beta1, beta2=beta2, eps=eps, **rest)  # pyright: ignore[reportPrivateImportUsage]


@torch.library.custom_op("stylegan::lerp_", mutates_args=("averages",))
def _lerp_(averages: list[Tensor], targets: list[Tensor], weight: float) -> None:
    torch._foreach_lerp_(averages, targets, weight)  # pyright: ignore[reportPrivateImportUsage]


@torch.library.custom_op("stylegan::square_sum", mutates_args=())
def _square_sum(tensors: list[Tensor]) -> Tensor:
    norms = torch._foreach_norm(tensors, dtype=torch.float64)  # pyright: ignore[reportPrivateImportUsage]
    return torch.stack(norms).square().sum()


@_square_sum.register_fake
def _(tensors):
    return torch.empty([], dtype=torch.float64, device=tensors[0].device)

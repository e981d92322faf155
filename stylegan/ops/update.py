"""What an iteration does to whole lists of parameters: Adam with a look at the gradients, and the moving average.

Schemas (the bodies below are the reference; compiled kernels equal them up to rounding; names that end in _ write in place):

    stylegan::adam_(params!, grads, first!, second!, steps!, lr, beta1, beta2, eps) -> square sum of grads
    stylegan::lerp_(averages!, targets, weight)              averages <- averages + weight (targets - averages)
    stylegan::square_sum(tensors) -> float64 []              of all elements of all tensors

A network has a hundred parameters, most of them small; as loops of torch ops most time goes into starting them, or into passing
over memory ten times. Here a list is one op and one pass. There are no gradients.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from stylegan.ops.torch_private import BelowInPlaceCounts, foreach_add_, foreach_lerp_, foreach_norm, fused_adam_


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
) -> Tensor:
    """One step of Adam (Kingma and Ba 2015, algorithm 1), in place; in the same pass the gradients are looked at: a step takes
    those that are not finite for what `clamp_nonfinite_` makes of them.

    Args:
        params: Dense, of any shapes and memory formats; each tensor of the other lists but `steps` has those of its parameter.
        grads: Their gradients; nothing is written into them.
        first: First moments, of the parameters' shapes; none where beta1 is 0, since they are the gradients then.
        second: Second moments.
        steps: Steps taken so far, float32 scalars; counted up here.
        lr: Learning rate.
        beta1: Decay of the first moments.
        beta2: Decay of the second moments.
        eps: Added to the root of the second moment.

    Returns:
        The sum of the squares of all gradients as they came, a float64 scalar; infinite or NaN where one of them is not finite.

    Raises:
        ValueError: Lists of different lengths, or tensors that do not go together.
    """
    if not params:
        return torch.zeros([], dtype=torch.float64)
    # custom_op counts the versions of what it writes into by taking all lists apart in Python, which for small networks
    # takes longer than the op. Only a parameter can be something that a graph has saved.
    with BelowInPlaceCounts():
        square_sum = _adam_(params, grads, first, second, steps, lr, beta1, beta2, eps)
    increment_version(params)
    return square_sum


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


def clamp_nonfinite_(gradient: Tensor) -> None:
    """Put 0 for NaN and +-1e5 for infinities, in place: what the papers' code does before a step."""
    torch.nan_to_num(gradient, nan=0.0, posinf=1e5, neginf=-1e5, out=gradient)


def _check(op: str, *lists: list[Tensor]) -> None:
    for i, (first, *others) in enumerate(zip(*lists, strict=True)):
        shape, dtype, device = first.shape, first.dtype, first.device
        for t in others:
            if t.shape != shape or t.dtype != dtype or t.device != device:
                raise ValueError(
                    f"{op} needs lists of alike tensors, but number {i} is {tuple(shape)}, {dtype} on "
                    f"{device} in one and {tuple(t.shape)}, {t.dtype} on {t.device} in another"
                )


def _check_adam(beta1: float, steps: list[Tensor], first: list[Tensor], *others: list[Tensor]) -> None:
    """The compiled op looks by itself: in Python it takes as long as the step of a small network."""
    if bool(first) == (beta1 == 0):
        raise ValueError("adam_ takes first moments where beta1 is not 0, and only there")
    lists = [*others, first] if first else others
    if len({len(tensors) for tensors in (*lists, steps)}) > 1:
        raise ValueError(f"adam_ needs lists of one length, got {[len(tensors) for tensors in (*lists, steps)]}")
    _check("adam_", *lists)
    if any(step.dtype != torch.float32 or step.numel() != 1 for step in steps):
        raise ValueError("adam_ counts steps in float32 scalars")


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
) -> Tensor:
    _check_adam(beta1, steps, first, params, grads, second)
    square_sum = _sum_of_squares(grads)
    if not bool(square_sum.isfinite()):
        grads = [gradient.clone() for gradient in grads]
        for gradient in grads:
            clamp_nonfinite_(gradient)
    foreach_add_(steps, 1)
    rates: dict[str, Any] = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps, "weight_decay": 0.0}
    rates |= {"amsgrad": False, "maximize": False}
    fused_adam_(params, grads, first or grads, second, [], steps, **rates)
    return square_sum


@_adam_.register_fake
def _(params, grads, first, second, steps, lr, beta1, beta2, eps):
    _check_adam(beta1, steps, first, params, grads, second)
    return torch.empty([], dtype=torch.float64, device=params[0].device)


@torch.library.custom_op("stylegan::lerp_", mutates_args=("averages",))
def _lerp_(averages: list[Tensor], targets: list[Tensor], weight: float) -> None:
    foreach_lerp_(averages, targets, weight)


@torch.library.custom_op("stylegan::square_sum", mutates_args=())
def _square_sum(tensors: list[Tensor]) -> Tensor:
    return _sum_of_squares(tensors)


@_square_sum.register_fake
def _(tensors):
    return torch.empty([], dtype=torch.float64, device=tensors[0].device)


def _sum_of_squares(tensors: list[Tensor]) -> Tensor:
    norms = foreach_norm(tensors, dtype=torch.float64)
    return torch.stack(norms).square().sum()

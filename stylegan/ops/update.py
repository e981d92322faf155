"""What an iteration does to whole lists of parameters: Adam with a look at the gradients, and the moving average.

Schemas (the bodies below are the reference; compiled kernels equal them up to rounding; names that end in _ write in place):

    stylegan::adam_(params!, grads, first!, second!, steps!, rates, nonfinite!, skip) -> square sum of grads
    stylegan::lerp_(averages!, targets, weight)              averages <- averages + weight (targets - averages)

A network has a hundred parameters, most of them small; as loops of torch ops most time goes into starting them, or into passing
over memory ten times. Here a list is one op and one pass. There are no gradients.

Rates, counts and whether a step is skipped are tensors on the parameters' device. Except on a CPU, where that is free, nothing
is read from them: the host does not wait for the device, and what a CUDA graph has recorded holds with other rates.
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
    rates: Tensor,
    nonfinite: list[Tensor],
    *,
    skip: bool = False,
) -> Tensor:
    """One step of Adam (Kingma and Ba 2015, algorithm 1), in place; in the same pass the gradients are looked at: a step takes
    those that are not finite for what `clamp_nonfinite_` makes of them.

    Args:
        params: Dense, of any shapes and memory formats; each tensor of the lists of gradients and moments has those of its
            parameter. All tensors of a call are on one device.
        grads: Their gradients; nothing is written into them.
        first: First moments, of the parameters' shapes. Or none: beta1 is then 0, whatever `rates` has, and a gradient is its
            own first moment.
        second: Second moments.
        steps: Steps taken so far, float32 scalars; counted up here.
        rates: lr, beta1, beta2 and eps (added to the root of the second moment), float64 [4].
        nonfinite: To each the number of its gradient's values that are not finite is added; int64 scalars.
        skip: Where the square sum is not finite, leave parameters, moments and steps as they are.

    Returns:
        The sum of the squares of all gradients as they came, a float64 scalar; infinite or NaN where one of them is not finite.

    Raises:
        ValueError: Lists of different lengths, or tensors that do not go together.
    """
    if not params:
        return torch.zeros([], dtype=torch.float64, device=rates.device)
    # custom_op counts the versions of what it writes into by taking all lists apart in Python, which for small networks
    # takes longer than the op. Only a parameter can be something that a graph has saved.
    with BelowInPlaceCounts():
        square_sum = _adam_(params, grads, first, second, steps, rates, nonfinite, skip)
    increment_version(params)
    return square_sum


def lerp_(averages: list[Tensor], targets: list[Tensor], weight: Tensor) -> None:
    """Move every average by the share `weight` of the way to its target, in place; exact for the weights 0 and 1.

    Args:
        averages: Of any shapes and memory formats.
        targets: Of the same shapes, types and device.
        weight: A float64 scalar on their device.

    Raises:
        ValueError: Lists of different lengths, or tensors that do not go together.
    """
    if len(averages) != len(targets):
        raise ValueError(f"lerp_ needs two lists of one length, got {len(averages)} and {len(targets)}")
    _check("lerp_", averages, targets)
    if averages:
        _check_numbers("lerp_", "its weight", weight, [], averages[0].device)
        _lerp_(averages, targets, weight)


def set_where_finite_(average: Tensor, new: Tensor) -> None:
    """Give a moving average its next values, in place, where they are finite: what is not would stay for ever."""
    average.copy_(torch.where(new.isfinite(), new, average))


def clamp_nonfinite_(gradient: Tensor) -> None:
    """Put 0 for NaN and +-1e5 for infinities, in place: what the papers' code does before a step."""
    torch.nan_to_num(gradient, **_CLAMPED, out=gradient)


_CLAMPED: dict[str, Any] = {"nan": 0.0, "posinf": 1e5, "neginf": -1e5}


def _check(op: str, *lists: list[Tensor]) -> None:
    for i, (first, *others) in enumerate(zip(*lists, strict=True)):
        shape, dtype, device = first.shape, first.dtype, first.device
        for t in others:
            if t.shape != shape or t.dtype != dtype or t.device != device:
                raise ValueError(
                    f"{op} needs lists of alike tensors, but number {i} is {tuple(shape)}, {dtype} on "
                    f"{device} in one and {tuple(t.shape)}, {t.dtype} on {t.device} in another"
                )


def _check_numbers(op: str, what: str, numbers: Tensor, shape: list[int], device: torch.device) -> None:
    if list(numbers.shape) != shape or numbers.dtype != torch.float64 or numbers.device != device:
        got = f"{list(numbers.shape)}, {numbers.dtype} on {numbers.device}"
        raise ValueError(f"{op} needs {what} as float64 {shape} on {device}, got {got}")


def _check_adam(
    steps: list[Tensor], rates: Tensor, nonfinite: list[Tensor], first: list[Tensor], *others: list[Tensor]
) -> None:
    """The compiled op looks by itself: in Python it takes as long as the step of a small network."""
    lists = [*others, first] if first else others
    if len({len(tensors) for tensors in (*lists, steps, nonfinite)}) > 1:
        lengths = [len(tensors) for tensors in (*lists, steps, nonfinite)]
        raise ValueError(f"adam_ needs lists of one length, got {lengths}")
    _check("adam_", *lists)
    if any(step.dtype != torch.float32 or step.numel() != 1 for step in steps):
        raise ValueError("adam_ counts steps in float32 scalars")
    if any(count.dtype != torch.int64 or count.numel() != 1 for count in nonfinite):
        raise ValueError("adam_ counts what is not finite in int64 scalars")
    _check_numbers("adam_", "its rates", rates, [4], others[0][0].device)


@torch.library.custom_op("stylegan::adam_", mutates_args=("params", "first", "second", "steps", "nonfinite"))
def _adam_(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    steps: list[Tensor],
    rates: Tensor,
    nonfinite: list[Tensor],
    skip: bool,
) -> Tensor:
    _check_adam(steps, rates, nonfinite, first, params, grads, second)
    square_sum = torch.stack(foreach_norm(grads, dtype=torch.float64)).square().sum()
    by = _step_by_values if rates.device.type == "cpu" else _step_by_tensors
    by(params, grads, first, second, steps, rates, nonfinite, square_sum, skip)
    return square_sum


@_adam_.register_fake
def _(params, grads, first, second, steps, rates, nonfinite, skip):
    _check_adam(steps, rates, nonfinite, first, params, grads, second)
    return rates.new_empty([])


def _step_by_values(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    steps: list[Tensor],
    rates: Tensor,
    nonfinite: list[Tensor],
    square_sum: Tensor,
    skip: bool,
) -> None:
    """Where reading is free: torch's own step."""
    lr, beta1, beta2, eps = rates.tolist()
    if not bool(square_sum.isfinite()):
        foreach_add_(nonfinite, [(~gradient.isfinite()).sum() for gradient in grads])
        if skip:
            return
        grads = [torch.nan_to_num(gradient, **_CLAMPED) for gradient in grads]
    foreach_add_(steps, 1)
    settings: dict[str, Any] = {"lr": lr, "beta1": beta1 if first else 0.0, "beta2": beta2, "eps": eps}
    settings |= {"weight_decay": 0.0, "amsgrad": False, "maximize": False}
    fused_adam_(params, grads, first or grads, second, [], steps, **settings)


def _step_by_tensors(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    steps: list[Tensor],
    rates: Tensor,
    nonfinite: list[Tensor],
    square_sum: Tensor,
    skip: bool,
) -> None:
    """The same with nothing read; the bias corrections are taken out of the elements' formulas (section 2, end)."""
    lr, beta1, beta2, eps = rates.unbind()
    beta1 = beta1 if first else torch.zeros_like(beta1)
    foreach_add_(nonfinite, [(~gradient.isfinite()).sum() for gradient in grads])
    for i, (p, gradient, v, step) in enumerate(zip(params, grads, second, steps, strict=True)):
        g, t = torch.nan_to_num(gradient, **_CLAMPED), step.double() + 1
        m = torch.where(beta1 == 0, g, g + beta1 * (first[i] - g)) if first else g
        new_v = beta2 * v + (1 - beta2) * g.square()
        root = (1 - beta2**t).sqrt()
        new_p = p - lr * root / (1 - beta1**t) * (m / (new_v.sqrt() + eps * root))
        for old, new in ((p, new_p), (v, new_v), (step, t), *([(first[i], m)] if first else [])):
            old.copy_(torch.where(square_sum.isfinite(), new, old) if skip else new)


@torch.library.custom_op("stylegan::lerp_", mutates_args=("averages",))
def _lerp_(averages: list[Tensor], targets: list[Tensor], weight: Tensor) -> None:
    if weight.device.type == "cpu":
        foreach_lerp_(averages, targets, float(weight))
        return
    for average, target in zip(averages, targets, strict=True):
        average.lerp_(target, weight.to(average.dtype))

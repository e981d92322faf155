"""Gradients of our ops, and a quick way to call them.

`torch.library` knows each op's gradient: torch.compile, torch.export and opcheck go by it. Run eagerly, that way takes two or
three times as long as a small op itself (it fills in defaults, looks through all arguments for tensors, and goes twice through
the dispatcher, forward and again backward), and a training at low resolution consists of small ops. `differentiable` gives a
function that does the same with the same formulas through an autograd.Function of its own.
"""

from collections.abc import Callable
from typing import Any

import torch

from stylegan.ops import torch_private
from stylegan.ops.torch_private import BelowAutograd, CustomOpDef, in_functorch


def differentiable(
    op: CustomOpDef, backward: Callable[..., Any], setup_context: Callable[..., None] | None = None
) -> Callable[..., Any]:
    """Give an op its gradient.

    Args:
        op: The op.
        backward: `backward(ctx, *gradients of the outputs)`: a gradient or None for every argument.
        setup_context: `setup_context(ctx, inputs, output)` keeps what `backward` needs.

    Returns:
        The op as a function of all its arguments, by position.
    """
    op.register_autograd(backward, setup_context=setup_context)
    overload = torch_private.overload(op)

    def below_autograd(*inputs: Any) -> Any:
        with BelowAutograd():
            return overload(*inputs)

    def forward(ctx: Any, *inputs: Any) -> Any:
        output = below_autograd(*inputs)
        if setup_context is not None:
            setup_context(ctx, inputs, output)
        return output

    function: Any = type(
        torch_private.name(op),
        (torch.autograd.Function,),
        {"forward": staticmethod(forward), "backward": staticmethod(backward)},
    )

    def call(*inputs: Any) -> Any:
        if torch.compiler.is_compiling() or in_functorch():
            return overload(*inputs)
        return function.apply(*inputs) if torch.is_grad_enabled() else below_autograd(*inputs)

    return call


def refuse_third_order(name: str) -> Callable[..., Any]:
    """The backward function of an op of second order, for `differentiable`: zeros would pass unseen."""

    def backward(ctx: Any, *gradients: Any) -> Any:
        raise RuntimeError(f"{name} has gradients of first and second order; a third order was asked for")

    return backward

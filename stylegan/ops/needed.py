"""Which gradients a running backward pass will use.

`ctx.needs_input_grad` of a Python op says what asked for gradients when the op ran. `torch.autograd.grad(y, x)` wants those on
the way from y to x alone: R1 and path length would otherwise compute all gradients by weights and throw them away.
"""

from collections.abc import Sequence
from typing import Any

from stylegan.ops.torch_private import will_run


def needed(ctx: Any, tensors: Sequence[int]) -> list[bool]:
    """For each tensor argument of the op whose backward is running, whether anything will look at its gradient.

    Args:
        ctx: What the backward function was given.
        tensors: The positions of the op's arguments that were tensors, all of them in order; None is no tensor.
    """
    nodes = [node for node, _ in ctx.next_functions]
    return [ctx.needs_input_grad[i] and _runs(node) for i, node in zip(tensors, nodes, strict=True)]


def _runs(node: Any) -> bool:
    try:
        return will_run(node)
    except RuntimeError:  # torch does not tell it of a leaf that was asked for; that is a yes
        return True

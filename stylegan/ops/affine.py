"""Several affine maps as one batched matrix product."""

from typing import Any

import torch
from torch import Tensor

from stylegan.ops.needed import needed
from stylegan.ops.torch_private import in_functorch


def affine(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """x [L, N, I] @ w^T + b, w [L, O, I], b [L, 1, O]."""
    plain = torch.compiler.is_compiling() or in_functorch() or not torch.is_grad_enabled()
    return torch.baddbmm(b, x, w.mT) if plain else _Affine.apply(x, w, b)


class _Affine(torch.autograd.Function):
    """With a gradient by w that lies in memory as w does; torch's own is transposed, and would be copied."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return torch.baddbmm(b, x, w.mT)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (x, w), (dy,) = ctx.saved_tensors, gradients
        needs_x, needs_w, needs_b = needed(ctx, [0, 1, 2])
        dx = dy @ w if needs_x else None
        return dx, dy.mT @ x if needs_w else None, dy.sum(1, keepdim=True) if needs_b else None

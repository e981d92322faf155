"""Affine grids, and bilinear sampling that can be differentiated twice with respect to the images, which torch's own cannot.

Sampling at fixed places is linear in the images. Its adjoint spreads a gradient over the pixels that a place was read from,
and the adjoint of that is sampling again: so both are differentiable to any order. The grid gets no gradient.
"""

from typing import Any

import torch
from torch import Tensor

_BILINEAR, _ZEROS = 0, 0  # torch's codes for interpolation and for what lies outside


def affine_grid(maps: Tensor, h: int, w: int) -> Tensor:
    """Where the pixels of results come from under affine maps.

    torch's own is a matrix product, which a GPU may round to TF32: by half a pixel where sides have a thousand.

    Args:
        maps: [N, 2, 3] for column vectors (x, y, 1), where -1 and 1 are the outer edges of the border pixels on both sides.
        h, w: Size of the results, at least 2.

    Returns:
        [N, h, w, 2], as `grid_sample` takes it.
    """
    x, y = (torch.linspace(-1, 1, n, dtype=maps.dtype, device=maps.device) * (n - 1) / n for n in (w, h))
    by_x, by_y, offset = maps[:, None, None].unbind(dim=4)
    return (x[:, None] * by_x + y[:, None, None] * by_y).add_(offset)


def grid_sample(images: Tensor, grid: Tensor) -> Tensor:
    """Read images at given places; outside they are zero.

    Args:
        images: [N, C, H, W].
        grid: [N, h, w, 2], (x, y), where -1 and 1 are the outer edges of the images' border pixels.

    Returns:
        [N, C, h, w].
    """
    result = _Sample.apply(images, grid)
    assert isinstance(result, Tensor)
    return result


class _Sample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.size = images.shape
        return torch.nn.functional.grid_sample(images, grid, "bilinear", "zeros", align_corners=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (grid,) = ctx.saved_tensors
        return _Spread.apply(gradients[0], grid, ctx.size), None


class _Spread(torch.autograd.Function):
    """The adjoint of `_Sample`: [N, C, h, w] -> [N, C, H, W]."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, grid: Tensor, size: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        # Values of the images matter only to the gradient of the grid, which is not asked for.
        images = gradient.new_zeros(size)
        spread, _ = torch.ops.aten.grid_sampler_2d_backward(
            gradient, images, grid, _BILINEAR, _ZEROS, False, [True, False]
        )
        return spread

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (grid,) = ctx.saved_tensors
        return _Sample.apply(gradients[0], grid), None, None

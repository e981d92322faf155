"""What a network promises that grows while it is trained, and what such networks have in common."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor
from torch.nn.functional import interpolate

from stylegan.errors import UserError


@runtime_checkable
class Growing(Protocol):
    """A network whose resolution grows while it is trained (Karras et al. 2018, section 2)."""

    def set_stage(self, resolution: tuple[int, int], alpha: Tensor | None) -> None:
        """Work at a lower resolution from now on; a new network, and a loaded one, works at its own.

        All parameters exist from the start; those outside the stage get no gradient. The stage is no part of the state_dict.

        Args:
            resolution: (H, W) of the images that G makes or D takes.
            alpha: None: as it is. Else a scalar from 0 to 1 on the network's device, which changes from iteration to iteration
                and so is looked at in `forward` alone, by `faded`: the blocks of this resolution are blended with the image
                of half of it, doubled; 0 shows that alone.

        Raises:
            UserError: A resolution that it does not have, or a network that cannot grow with its options.
        """
        ...


class Grows:
    """The stage of a network of blocks, one a resolution.

    Attributes:
        shapes: (H, W) of the blocks, smallest first.
        level: The place of the largest block that works.
        alpha: See `Growing.set_stage`; None at the smallest block, too, before which there is nothing.
    """

    shapes: Sequence[tuple[int, int]]
    level: int
    alpha: Tensor | None

    def grow_along(self, shapes: Sequence[tuple[int, int]]) -> None:
        """Begin with all blocks; to be called by the constructor."""
        self.shapes, self.level, self.alpha = list(shapes), len(shapes) - 1, None

    def set_stage(self, resolution: tuple[int, int], alpha: Tensor | None) -> None:
        """See `Growing`."""
        if tuple(resolution) not in self.shapes:
            (h, w), there = resolution, ", ".join(f"{h}x{w}" for h, w in self.shapes)
            raise UserError(f"the network has no stage of {h}x{w} (HxW); there are {there}")
        self.level = self.shapes.index((resolution[0], resolution[1]))
        self.alpha = alpha if self.level else None


def faded(before: Tensor, after: Tensor, alpha: Tensor) -> Tensor:
    """The blend of two tensors of one shape: `before` at alpha 0, `after` at 1."""
    return before.lerp(after, alpha.to(after.dtype))


def doubled(images: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, C, 2 H, 2 W], each pixel four times."""
    return interpolate(images, scale_factor=2, mode="nearest")

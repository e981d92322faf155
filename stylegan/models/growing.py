"""What a network promises that grows while it is trained, and what such networks have in common."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor
from torch.nn.functional import interpolate

from stylegan.errors import UserError

Shape = tuple[int, int]


@runtime_checkable
class Growing(Protocol):
    """A network whose resolution grows while it is trained (Karras et al. 2018, section 2)."""

    def set_stage(self, resolution: Shape, alpha: Tensor | None, *, enlarge: bool = False) -> None:
        """Work at a lower resolution from now on; a new network works at its own.

        All parameters exist from the start; those outside the stage get no gradient. The stage is no part of the state_dict;
        `model_metadata` tells it.

        Args:
            resolution: (H, W) of the images that G makes or D takes.
            alpha: None: as it is. Else a scalar from 0 to 1 on the network's device, which changes from iteration to iteration
                and so is looked at in `forward` alone, by `faded`: the blocks of this resolution are blended with the image
                of half of it, doubled; 0 shows that alone.
            enlarge: G shows images in its own resolution all the same, each pixel so many times: what looks at them need not
                know of stages. Not while it is trained.

        Raises:
            UserError: A resolution that it does not have, or a network that cannot grow with its options.
        """
        ...

    def stage(self) -> tuple[Shape, Tensor | None]:
        """What `set_stage` was told last: the resolution, and alpha."""
        ...


class Grows:
    """The stage of a network of blocks, one a resolution.

    Attributes:
        shapes: (H, W) of the blocks, smallest first.
        level: The place of the largest block that works.
        alpha: See `Growing.set_stage`; None at the smallest block, too, before which there is nothing.
        enlarge: See there.
    """

    shapes: Sequence[Shape]
    level: int
    alpha: Tensor | None
    enlarge: bool

    def grow_along(self, shapes: Sequence[Shape]) -> None:
        """Begin with all blocks; to be called by the constructor."""
        self.shapes, self.level, self.alpha, self.enlarge = list(shapes), len(shapes) - 1, None, False

    def set_stage(self, resolution: Shape, alpha: Tensor | None, *, enlarge: bool = False) -> None:
        """See `Growing`."""
        if tuple(resolution) not in self.shapes:
            (h, w), there = resolution, ", ".join(f"{h}x{w}" for h, w in self.shapes)
            raise UserError(f"the network has no stage of {h}x{w} (HxW); there are {there}")
        self.level = self.shapes.index((resolution[0], resolution[1]))
        self.alpha, self.enlarge = alpha if self.level else None, enlarge

    def stage(self) -> tuple[Shape, Tensor | None]:
        """See `Growing`."""
        return self.shapes[self.level], self.alpha

    def shown(self, images: Tensor) -> Tensor:
        """Images [N, C, h, w] of the stage as `enlarge` has them."""
        return interpolate(images, self.shapes[-1], mode="nearest") if self.enlarge else images


def faded(before: Tensor, after: Tensor, alpha: Tensor) -> Tensor:
    """The blend of two tensors of one shape: `before` at alpha 0, `after` at 1."""
    return before.lerp(after, alpha.to(after))


def doubled(images: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, C, 2 H, 2 W], each pixel four times."""
    return interpolate(images, scale_factor=2, mode="nearest")

"""What a network promises that grows while it is trained, and what such networks have in common."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from stylegan.errors import UserError
from stylegan.models.layers import Architecture

Shape = tuple[int, int]
NetworkT = TypeVar("NetworkT")


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
    """The stage of a network of blocks, one a resolution; the constructor gives it `shapes`.

    Attributes:
        shapes: (H, W) of the blocks, smallest first.
        architecture: How its blocks know images; only where all do can it grow.
        working: How many blocks work, from the smallest on; None: all.
        alpha: See `Growing.set_stage`; None at the smallest block, too, before which there is nothing.
        enlarge: See there.
    """

    shapes: Sequence[Shape]
    architecture = Architecture.skip
    working: int | None = None
    alpha: Tensor | None = None
    enlarge = False

    @property
    def level(self) -> int:
        """The place of the largest block that works."""
        return len(self.shapes[: self.working]) - 1

    def set_stage(self, resolution: Shape, alpha: Tensor | None, *, enlarge: bool = False) -> None:
        """See `Growing`."""
        shape, whole = (resolution[0], resolution[1]), self.shapes[-1]
        if shape not in self.shapes:
            there = ", ".join(f"{h}x{w}" for h, w in self.shapes)
            raise UserError(f"the network has no stage of {shape[0]}x{shape[1]} (HxW); there are {there}")
        if self.architecture is not Architecture.skip and (shape != whole or alpha is not None):
            raise UserError(
                f"training.stages: architecture={self.architecture.name} does not grow: only the largest block knows images; "
                "give model.G.architecture=skip and model.D.architecture=skip"
            )
        level = self.shapes.index(shape)
        self.working, self.enlarge = None if shape == whole else level + 1, enlarge and shape != whole
        self.alpha = alpha if level else None

    def stage(self) -> tuple[Shape, Tensor | None]:
        """See `Growing`."""
        return self.shapes[self.level], self.alpha

    def shown(self, images: Tensor) -> Tensor:
        """Images [N, C, h, w] of a stage, each pixel so many times that they have the size of the whole network's."""
        return interpolate(images, self.shapes[-1], mode="nearest")


def at_stage(network: NetworkT, stage: Any) -> NetworkT:
    """A network at the stage up to which it was trained, as `model_metadata` tells it; G shows images of its full size.

    Raises:
        UserError: The network cannot be there.
    """
    given: dict[str, Any] = stage if isinstance(stage, dict) else {}
    shape, alpha = given.get("resolution"), given.get("alpha")
    sides = shape if isinstance(shape, list) and all(type(side) is int for side in shape) else []
    if len(sides) != 2 or not isinstance(alpha, int | float) or not 0 <= alpha <= 1 or not isinstance(network, Growing):
        raise UserError(f"the network's metadata has stage={ascii(stage)[:80]}, where this network cannot be")
    fading = None if alpha == 1 else torch.tensor(alpha, dtype=torch.float64, device="cpu")
    network.set_stage((sides[0], sides[1]), fading, enlarge=True)
    return network


def faded(before: Tensor, after: Tensor, alpha: Tensor) -> Tensor:
    """The blend of two tensors of one shape: `before` at alpha 0, `after` at 1."""
    return before.lerp(after, alpha.to(after))


def doubled(images: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, C, 2 H, 2 W], each pixel four times."""
    return interpolate(images, scale_factor=2, mode="nearest")

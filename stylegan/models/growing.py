"""What a network promises that grows while it is trained."""

from typing import Protocol, runtime_checkable

from torch import Tensor


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
            UserError: A resolution that it does not have.
        """
        ...


def faded(before: Tensor, after: Tensor, alpha: Tensor) -> Tensor:
    """The blend of two tensors of one shape: `before` at alpha 0, `after` at 1."""
    return before.lerp(after, alpha.to(after.dtype))

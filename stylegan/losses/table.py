"""The kinds of loss."""

from typing import Protocol, Self

from stylegan.losses.base import Phase
from stylegan.losses.logistic import LogisticConfig


class LossConfig(Protocol):
    """What a kind of loss is: a dataclass of options.

    Attributes:
        kind: Its name in the table.
    """

    kind: str

    def resolved(self, resolution: tuple[int, int], batch_size: int) -> Self:
        """With what follows from the data: (H, W) of the images, and images of an iteration; nothing stays None."""
        ...

    def phases(self) -> list[Phase]:
        """The parts of an iteration, in their order."""
        ...


LOSSES: dict[str, type[LossConfig]] = {"logistic": LogisticConfig}

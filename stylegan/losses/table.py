"""The kinds of loss."""

from dataclasses import Field
from typing import Any, ClassVar, Protocol, Self

from stylegan.losses.base import Phase
from stylegan.losses.logistic import LogisticConfig
from stylegan.models.base import Generator


class LossConfig(Protocol):
    """What a kind of loss is: a dataclass of options.

    Attributes:
        kind: Its name in the table.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    kind: str

    def resolved(self, resolution: tuple[int, int], batch_size: int) -> Self:
        """With what follows from the data: (H, W) of the images, and images of an iteration; nothing stays None."""
        ...

    def phases(self, G: Generator) -> list[Phase]:
        """The parts of an iteration, in their order.

        Raises:
            UserError: They need more of the generator than it has.
        """
        ...


# A new kind is a line here.
LOSSES: dict[str, type[LossConfig]] = {config.kind: config for config in (LogisticConfig,)}

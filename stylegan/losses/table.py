"""The kinds of loss, and what all of them keep to."""

from collections.abc import Mapping, Sequence
from dataclasses import Field
from typing import Any, ClassVar, Protocol, Self

from stylegan.losses.base import Phase
from stylegan.losses.logistic import LogisticConfig
from stylegan.losses.relativistic import RelativisticConfig
from stylegan.losses.wgan_gp import WGANGPConfig
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased


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

    def warning(self, means: Mapping[str, float]) -> str | None:
        """What to tell once, where the means of an interval show that a setting is far off; None: nothing."""
        ...

    def phases(self, G: Generator) -> list[Phase]:
        """The parts of an iteration, in their order.

        Raises:
            UserError: They need more of the generator than it has.
        """
        ...


# A new kind is a line here.
LOSSES: dict[str, type[LossConfig]] = {
    config.kind: config for config in (LogisticConfig, RelativisticConfig, WGANGPConfig)
}


def check_phases(phases: Sequence[Phase], G: Generator, *, adapts: bool = False) -> None:
    """Raise a `ValueError` where phases leave out something without which a training goes wrong in silence.

    Args:
        phases: Of a loss.
        G: What they train.
        adapts: Whether augmentation follows the signs of D.
    """
    names = [phase.name for phase in phases]
    if len(set(names)) < len(names):
        raise ValueError(f"phases {names}: each needs a name of its own, by which its random numbers are known")
    if missing := {"G", "D"} - {phase.network for phase in phases}:
        raise ValueError(f"phases {names}: none trains {missing.pop()}")
    if sum(phase.then_average for phase in phases) != 1:
        raise ValueError(f"phases {names}: exactly one has then_average=True, after which G_ema moves")
    always = {name for phase in phases if phase.interval == 1 for name in phase.gives}
    if isinstance(G, StyleBased) and "means" not in always:
        raise ValueError(
            f"phases {names}: none gives `means` in every iteration, which w_avg of {G.config.kind} follows"
        )
    if adapts and "signs" not in always:
        raise ValueError(f"phases {names}: none gives `signs` in every iteration, which augment=ada follows")

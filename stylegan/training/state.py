"""All that a resume needs, in one object."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stylegan.augment.ada import ADAController
from stylegan.models.discriminator import Discriminator
from stylegan.models.generator import Generator


@dataclass
class TrainState:
    """Everything that changes while a network is trained. What is not listed here is a function of it.

    Attributes:
        G: The generator.
        D: The discriminator.
        G_ema: The moving average of the generator.
        G_opt: Adam of G.
        D_opt: Adam of D.
        pl_mean: The mean path length, a scalar tensor.
        seed: The run's seed.
        nimg: Real images shown to D so far.
        step: Iterations so far.
        elapsed: Seconds of training so far, over all sittings.
        rollbacks: How often training went back to a checkpoint; it enters the random streams, so that the same numbers
            do not lead to the same end.
        ada: How often images are augmented; None where that is not adapted.
    """

    G: Generator
    D: Discriminator
    G_ema: Generator
    G_opt: torch.optim.Optimizer
    D_opt: torch.optim.Optimizer
    pl_mean: Tensor
    seed: int
    nimg: int = 0
    step: int = 0
    elapsed: float = 0.0
    rollbacks: int = 0
    ada: ADAController | None = None

    _PARTS = ("G", "D", "G_ema", "G_opt", "D_opt")
    _NUMBERS = ("seed", "nimg", "step", "elapsed", "rollbacks")

    @property
    def stream_seed(self) -> int:
        """The seed from which this stretch of training draws its numbers."""
        return self.seed + 1_000_003 * self.rollbacks

    def advance(self, batch_size: int) -> None:
        """Count one iteration."""
        self.nimg += batch_size
        self.step += 1

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and plain containers only, so that it loads without executing code."""
        parts = {name: getattr(self, name).state_dict() for name in self._PARTS}
        ada = None if self.ada is None else self.ada.state_dict()
        return {**parts, "pl_mean": self.pl_mean, "ada": ada, **{name: getattr(self, name) for name in self._NUMBERS}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state of the same architecture.

        Raises:
            KeyError, RuntimeError, ValueError: It is of another architecture.
        """
        for name in self._PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.pl_mean.copy_(state["pl_mean"])
        for name in self._NUMBERS:
            setattr(self, name, state[name])
        ada = state.get("ada")  # absent in checkpoints from before there was augmentation
        if self.ada is not None and ada is not None:
            self.ada.load_state_dict(ada)

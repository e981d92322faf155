"""How often images are augmented, adaptively (ADA)."""

from dataclasses import dataclass

from torch import Tensor

from stylegan import distributed

LEAKS_FROM = 0.8
"""From this p on augmentations may leak into generated images (Karras et al. 2020, "Training Generative Adversarial Networks
with Limited Data" (ADA), section 2)."""


@dataclass
class ADAController:
    """Keeps the discriminator from overfitting: p rises while it is too sure of the training images, and falls otherwise.

    Every `interval` iterations r_t, the mean sign of D at augmented training images (ADA, eq. 1), is compared with the target,
    and p takes one step towards more or less (section 3.1), in proportion to the images since the last one. The papers' code
    has no upper bound, though a probability above 1 acts like 1: there p runs on to 20 and would take as long to come back.
    Here p stops at `p_max`.

    Attributes:
        p: The probability now.
        target: What r_t should be.
        speed_kimg: Thousands of images in which p would go from 0 to 1 (ADA, section 3.1: 500).
        interval: Iterations from one decision to the next.
        p_max: Upper bound of p, at most 1.
        r_t: The statistic that decided last; None before.
        signs: Sum of the signs since then, over all ranks.
        count: How many these were.
        iterations: Of how many iterations.
    """

    p: float
    target: float
    speed_kimg: float
    interval: int
    p_max: float
    r_t: float | None = None
    signs: float = 0.0
    count: int = 0
    iterations: int = 0

    _STATE = ("p", "r_t", "signs", "count", "iterations")

    def update(self, signs: Tensor) -> None:
        """Take in one iteration. A collective: all ranks call it.

        Args:
            signs: -1, 0 or 1 for each training image of this rank, over all micro-batches.
        """
        local = signs.detach().double().cpu()
        total = distributed.sum_over_ranks(local.new_tensor([float(local.sum()), local.numel()]), signs.device)
        self.signs, self.count = self.signs + float(total[0]), self.count + int(total[1])
        self.iterations += 1
        if self.iterations < self.interval:
            return
        self.r_t, step = self.signs / self.count, self.count / (self.speed_kimg * 1000)
        self.signs, self.count, self.iterations = 0.0, 0, 0
        direction = (self.r_t > self.target) - (self.r_t < self.target)
        self.p = min(max(self.p + direction * step, 0.0), self.p_max)

    def warning(self, before: float) -> str | None:
        """What to say where p has come from `before` to its maximum; else None."""
        if not before < self.p == self.p_max:
            return None
        return (
            f"warning: p has reached augment.p_max={self.p_max:g}, and D still overfits (r_t {self.r_t:+.2f}, target "
            f"{self.target:g}). From p = {LEAKS_FROM:g} on augmentations may leak into generated images; more training images "
            "or a stronger penalty on D (loss.r1_gamma) help, a lower augment.p_max in a new run keeps them out"
        )

    def state_dict(self) -> dict[str, float | int | None]:
        """What changes, as plain numbers."""
        return {name: getattr(self, name) for name in self._STATE}

    def load_state_dict(self, state: dict[str, float | int | None]) -> None:
        """Go on from such numbers."""
        for name in self._STATE:
            setattr(self, name, state[name])

"""How often images are augmented: adaptively (ADA), at a fixed probability, or by a schedule."""

from dataclasses import dataclass

from torch import Tensor

from stylegan import distributed

LEAKS_FROM = 0.8
"""From this p on augmentations may leak into generated images (Karras et al. 2020, "Training Generative Adversarial Networks
with Limited Data" (ADA), section 2)."""


@dataclass(frozen=True)
class LinearStrength:
    """A probability that goes from one value to another over a stretch of training.

    Attributes:
        start, end: From 0 to 1.
        kimg: Length of the stretch in thousands of images; 0: `end` from the beginning.
    """

    start: float
    end: float
    kimg: float

    def p(self, nimg: int) -> float:
        """The probability after `nimg` images."""
        done = min(nimg / (self.kimg * 1000), 1.0) if self.kimg > 0 else 1.0
        return self.start + (self.end - self.start) * done


@dataclass
class ADAController:
    """Keeps the discriminator from overfitting: p rises while it is too sure of the training images, and falls otherwise.

    Every `interval` iterations r_t, the mean sign of D at augmented training images (ADA, eq. 1), is compared with the target,
    and p takes one step of fixed size towards more or less (section 3.1). The papers' code has no upper bound, though a
    probability above 1 acts like 1: there p runs on to 20 and would take as long to come back. Here p stops at `p_max`.

    Attributes:
        p: The probability now.
        target: What r_t should be.
        step: How far p moves at once: images of `interval` iterations as a share of the images from p = 0 to 1.
        interval: Iterations from one decision to the next.
        p_max: Upper bound of p, at most 1.
        r_t: The statistic that decided last; None before.
        signs: Sum of the signs since then, over all ranks.
        count: How many these were.
        iterations: Of how many iterations.
    """

    p: float
    target: float
    step: float
    interval: int
    p_max: float
    r_t: float | None = None
    signs: float = 0.0
    count: int = 0
    iterations: int = 0

    _STATE = ("p", "r_t", "signs", "count", "iterations")

    @staticmethod
    def step_size(batch_size: int, interval: int, speed_kimg: float) -> float:
        """The step with which p goes from 0 to 1 in `speed_kimg` thousand images (ADA, section 3.1: 500)."""
        return batch_size * interval / (speed_kimg * 1000)

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
        self.r_t = self.signs / self.count
        self.signs, self.count, self.iterations = 0.0, 0, 0
        direction = (self.r_t > self.target) - (self.r_t < self.target)
        self.p = min(max(self.p + direction * self.step, 0.0), self.p_max)

    def state_dict(self) -> dict[str, float | int | None]:
        """What changes, as plain numbers."""
        return {name: getattr(self, name) for name in self._STATE}

    def load_state_dict(self, state: dict[str, float | int | None]) -> None:
        """Go on from such numbers."""
        for name in self._STATE:
            setattr(self, name, state[name])

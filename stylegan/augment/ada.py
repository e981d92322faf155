"""How often images are augmented, adaptively (ADA)."""

from typing import Any

import torch
from torch import Tensor

from stylegan import distributed

LEAKS_FROM = 0.8
"""From this p on augmentations may leak into generated images (Karras et al. 2020, "Training Generative Adversarial Networks
with Limited Data" (ADA), section 2)."""


class ADAController:
    """Keeps the discriminator from overfitting: p rises while it is too sure of the training images, and falls otherwise.

    Every `interval` iterations r_t, the mean sign of D at augmented training images (ADA, eq. 1), is compared with the target,
    and p takes one step towards more or less (section 3.1), in proportion to the images since the last one. The papers' code
    has no upper bound, though a probability above 1 acts like 1: there p runs on to 20 and would take as long to come back.
    Here p stops at `p_max`. All this happens on the device, without a look at the numbers.

    Attributes:
        p: The probability now, float64 [] on the device; it changes in place.
        target: What r_t should be.
        speed_kimg: Thousands of images in which p would go from 0 to 1 (ADA, section 3.1: 500).
        interval: Iterations from one decision to the next.
        p_max: Upper bound of p, at most 1.
        r_t: The statistic that decided last, float64 [] on the device, a new one each time; None before.
        signs: Sum of the signs since then, over all ranks, float64 [] on the device.
        count: How many these were.
        iterations: Of how many iterations.
    """

    def __init__(
        self,
        p: float,
        target: float,
        speed_kimg: float,
        interval: int,
        p_max: float,
        device: torch.device | str = "cpu",
    ) -> None:
        """Args are where p starts, what stands above, and where D's signs will be."""
        self.target, self.speed_kimg, self.interval, self.p_max = target, speed_kimg, interval, p_max
        self.p = torch.full([], p, dtype=torch.float64, device=device)
        self.r_t: Tensor | None = None
        self.signs = torch.zeros_like(self.p)
        self.count, self.iterations = 0, 0

    def update(self, signs: Tensor) -> None:
        """Take in one iteration. A collective: all ranks call it.

        Args:
            signs: -1, 0 or 1 for each training image of this rank, over all micro-batches; as many on every rank.
        """
        total = signs.detach().sum(dtype=torch.float64)
        distributed.sum_(total)
        self.signs += total
        self.count += signs.numel() * distributed.world_size()
        self.iterations += 1
        if self.iterations < self.interval:
            return
        # A GPU would multiply by the inverse of a number from the host, and 24 of 40 would not be 0.6.
        self.r_t, step = self.signs / torch.full_like(self.signs, self.count), self.count / (self.speed_kimg * 1000)
        self.signs.zero_()
        self.count, self.iterations = 0, 0
        direction = (self.r_t > self.target).to(self.p.dtype) - (self.r_t < self.target).to(self.p.dtype)
        self.p.add_(direction * step).clamp_(0, self.p_max)

    def warning(self) -> str | None:
        """What to say where p is at its maximum and D still overfits; else None. Reads the device."""
        if self.r_t is None or float(self.p) < self.p_max or float(self.r_t) <= self.target:
            return None
        return (
            f"warning: p has reached augment.p_max={self.p_max:g}, and D still overfits (r_t {float(self.r_t):+.2f}, target "
            f"{self.target:g}). From p = {LEAKS_FROM:g} on augmentations may leak into generated images; more training images "
            "or a stronger penalty on D (loss.r1_gamma) help, a lower augment.p_max in a new run keeps them out"
        )

    def state_dict(self) -> dict[str, float | int | None]:
        """What changes, as plain numbers. Reads the device."""
        return {
            "p": float(self.p),
            "r_t": None if self.r_t is None else float(self.r_t),
            "signs": float(self.signs),
            "count": self.count,
            "iterations": self.iterations,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from such numbers."""
        self.p.fill_(state["p"])
        self.r_t = None if state["r_t"] is None else torch.full_like(self.p, state["r_t"])
        self.signs.fill_(state["signs"])
        self.count, self.iterations = state["count"], state["iterations"]

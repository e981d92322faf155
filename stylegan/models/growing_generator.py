"""What the style-based generators that grow, StyleGAN1 and StyleGAN2, have in common."""

from collections.abc import Sequence

from torch import Tensor

from stylegan.models.generator import StyleBased
from stylegan.models.growing import Growing, Grows


def ranges_by_side(sides: Sequence[int]) -> dict[str, range]:
    """`Synthesis.style_ranges` of layers that work at so many pixels, of the larger side, each: up to 8, 16 to 32, from 64 on
    (Karras et al. 2019, figure 3)."""
    # Sides are 4 to 7 times 2^k.
    coarse, middle = (sum(side < bound for side in sides) for bound in (14, 56))
    parts = {"coarse": range(coarse), "middle": range(coarse, middle), "fine": range(middle, len(sides))}
    return {name: part for name, part in parts.items() if part}


class GrowingStyleBased(StyleBased):
    """One whose synthesis network grows: two of the ws are of each block."""

    @property
    def layers_in_use(self) -> int:
        """How many of the ws, from the first one on, have an effect at this stage."""
        assert isinstance(self.synthesis, Grows)
        return 2 * self.synthesis.level + 2

    def set_stage(self, resolution: tuple[int, int], alpha: Tensor | None, *, enlarge: bool = False) -> None:
        """See `Growing`."""
        assert isinstance(self.synthesis, Growing)
        self.synthesis.set_stage(resolution, alpha, enlarge=enlarge)

    def stage(self) -> tuple[tuple[int, int], Tensor | None]:
        """See `Growing`."""
        assert isinstance(self.synthesis, Growing)
        return self.synthesis.stage()

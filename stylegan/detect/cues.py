"""What to look for in a pair of pictures, one generated and one real, in words and numbers.

To which side a cue points was measured on faces3d and `network=demo` (the README has the numbers); other networks may leave
other traces. A cue is no proof.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from stylegan.detect.background import background_smoothness
from stylegan.detect.edge import edge_step
from stylegan.detect.eyes import distance_from_aligned, eye_positions, eyes_available
from stylegan.detect.spectra import high_frequency_share, last_fall
from stylegan.detect.symmetry import left_right_difference
from stylegan.errors import UserError

Side = Literal["left", "right"]


@dataclass(frozen=True)
class Cue:
    """Something to look for in a pair.

    Attributes:
        name: `finest`, `edge`, `detail`, `halves`, `background` or `eyes`.
        left, right: What was measured on the left and on the right picture.
        generated: At which of them it points as the generated one; None where they differ too little, or where
            it tells nothing by itself.
        sentence: The same in plain words, with the numbers.
    """

    name: str
    left: float
    right: float
    generated: Side | None
    sentence: str


@dataclass(frozen=True)
class CueKind:
    """How a cue is judged and told.

    Attributes:
        name: Of the cue.
        more_is_generated: Whether the picture with the larger value is the one it points at; None: it points at neither.
        factor, least: The larger value must be above `factor` times the smaller one and `least`.
        numbers: The sentence with both values, as `str.format` takes it.
        reason: Why it points there; ends a sentence.
    """

    name: str
    more_is_generated: bool | None
    factor: float
    least: float
    numbers: str
    reason: str

    def cue(self, left: float, right: float) -> Cue:
        """The cue of two values."""
        generated: Side | None = None
        if self.more_is_generated is None:
            verdict = f"That alone tells nothing: {self.reason}."
        elif max(left, right) > self.factor * min(left, right) + self.least:
            generated = "left" if (left > right) == self.more_is_generated else "right"
            verdict = f"That points at the {generated} picture as the generated one: {self.reason}."
        else:
            verdict = "That is too close to tell anything."
        return Cue(self.name, left, right, generated, f"{self.numbers.format(left=left, right=right)} {verdict}")


# Margins leave out 12 to 28 % of the measured pairs; that of the eyes is a guess.
FINEST = CueKind(
    "finest",
    more_is_generated=True,
    factor=1.0,
    least=3.0,
    numbers="To the finest detail the power falls by {left:.1f} dB in the left picture and by {right:.1f} dB in the right one.",
    reason="networks often leave out the very finest detail",
)
EDGE = CueKind(
    "edge",
    more_is_generated=True,
    factor=1.2,
    least=0.1,
    numbers=(
        "The step to the outermost pixels is {left:.2f} times the usual one in the left picture and {right:.2f} times in the "
        "right one."
    ),
    reason="networks see zeros beyond the edge, which leaves a seam",
)
DETAIL = CueKind(
    "detail",
    more_is_generated=False,
    factor=1.25,
    least=1e-5,
    numbers="Detail finer than four pixels is {left:.2%} of what varies in the left picture and {right:.2%} in the right one.",
    reason="generated pictures are more often the softer ones",
)
HALVES = CueKind(
    "halves",
    more_is_generated=False,
    factor=1.25,
    least=0.005,
    numbers="The two halves of the face differ by {left:.1%} in the left picture and by {right:.1%} in the right one.",
    reason="halves that are much alike are a little more often generated",
)
BACKGROUND = CueKind(
    "background",
    more_is_generated=None,
    factor=1.0,
    least=0.0,
    numbers="The border is {left:.2f} times as rough as the face in the left picture and {right:.2f} times in the right one.",
    reason="look whether what is seen there could be a place",
)
EYES = CueKind(
    "eyes",
    more_is_generated=False,
    factor=1.0,
    least=0.02,
    numbers=(
        "The eyes lie {left:.1%} of the picture away from where aligned faces have them in the left picture, and {right:.1%} "
        "in the right one."
    ),
    reason="networks put the eyes where the pictures that they learned from had them",
)
MEASURES: tuple[tuple[CueKind, Callable[[Tensor], float]], ...] = (
    (FINEST, last_fall),
    (EDGE, edge_step),
    (DETAIL, high_frequency_share),
    (HALVES, left_right_difference),
    (BACKGROUND, background_smoothness),
)


def compare(left: Tensor, right: Tensor) -> list[Cue]:
    """The cues of a pair, the most telling first; that of the eyes only with the detector, and where it finds both faces.

    Args:
        left, right: uint8 or floating point [C, H, W], 0 to 255, of one size; see `picture.colours`.

    Raises:
        UserError: They are no such pictures, or of two sizes.
    """
    if left.shape[1:] != right.shape[1:]:
        raise UserError(
            f"cues compare pictures of one size, got {list(left.shape)} and {list(right.shape)}; scale one of them first"
        )
    cues = [kind.cue(measure(left), measure(right)) for kind, measure in MEASURES]
    eyes = [eye_positions(image) for image in (left, right)] if eyes_available() else []
    distances = [distance_from_aligned(found) for found in eyes if found is not None]
    return [*cues, EYES.cue(*distances)] if len(distances) == 2 else cues

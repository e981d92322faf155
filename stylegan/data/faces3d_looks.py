"""What one face of faces3d looks like: all its parameters, drawn from (split, seed, index) and from nothing else.

The same bits must come out on every processor and with every version of numpy and libc, since they decide the content
hash of the data set. So there is only integer arithmetic and IEEE-exact float operations (+ - * /) here: no sin, exp or
pow of libm, no numpy generator.
"""

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

MASK = (1 << 64) - 1
SPLITS = {"train": 1, "test": 2, "evaluation": 3}
RACES = ("caucasian", "african", "asian")


class Stream:
    """Splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"): 64 bits per step."""

    def __init__(self, *key: int) -> None:
        self._state = 0
        for part in key:
            self._state = self.bits() ^ (part * 0xD1342543DE82EF95 & MASK)
        self._state = self.bits()

    def bits(self) -> int:
        """The next 64 bits."""
        self._state = z = (self._state + 0x9E3779B97F4A7C15) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * ((self.bits() >> 11) * (1.0 / (1 << 53)))

    def normal(self, deviation: float = 1.0) -> float:
        """About normal: four 16-bit uniforms added up (Irwin-Hall); within +-3.47 deviations, without a logarithm."""
        b = self.bits()
        total = (b & 0xFFFF) + (b >> 16 & 0xFFFF) + (b >> 32 & 0xFFFF) + (b >> 48)
        return deviation * 1.7320508075688772 * ((total + 2.0) * (1.0 / 65536.0) - 2.0)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.uniform() < probability

    def choice(self, weights: Sequence[float]) -> int:
        """An index, drawn in proportion to its weight."""
        rest = self.uniform() * sum(weights)
        for index, weight in enumerate(weights):
            rest -= weight
            if rest < 0:
                return index
        return len(weights) - 1


_VECTORS = {
    # direction of the key light, and light colours (linear)
    "key_direction": 3, "key": 3, "fill": 3, "sky": 3, "ground": 3,
    # surface colours (linear)
    "skin": 3, "lips": 3, "brow": 3, "iris": 3, "eyeshadow": 3, "hair": 3, "beard": 3, "cloth": 3,
    "frame": 3, "tint": 3, "backdrop_a": 3, "backdrop_b": 3,
    # rotations, row by row, and the direction in which the backdrop's colours change
    "head_rotation": 9, "torso_rotation": 9, "roll": 2, "backdrop_direction": 2, "gaze": 2,
}  # fmt: skip
_SCALARS = (
    "camera", "zoom", "shift_x", "shift_y", "noise_seed", "grain", "blur",
    "oil", "blush", "freckles", "mottle", "shadow", "lashes", "makeup", "liner",
    "forehead_lines", "eye_lines", "cheek_lines",
    "brow_height", "brow_arch", "brow_thickness", "brow_density", "iris_radius", "pupil",
    "cap", "cap_thickness", "recede", "crown", "curl", "gloss", "streaks", "part", "parting", "fuzz",
    "sweep", "curtain", "quiff", "fringe", "fringe_slope",
    "locks", "locks_length", "locks_taper", "locks_flare", "locks_forward", "locks_front", "locks_volume",
    "locks_wave", "ears_covered",
    "beard_density", "beard_thickness", "moustache", "chin_beard", "jaw_beard",
    "glasses", "lens_width", "lens_height", "lens_square", "frame_thickness", "lens_shine", "lens_drop",
    "collar", "shoulders", "cloth_stripe", "backdrop_blob", "bokeh",
)  # fmt: skip


class Look(ctypes.Structure):
    """The parameters of one picture besides the morph weights; csrc/faces3d.h declares the same, in this order."""

    _fields_ = [(name, ctypes.c_float * size) for name, size in _VECTORS.items()] + [
        (name, ctypes.c_float) for name in _SCALARS
    ]


class Face(NamedTuple):
    """One face before rendering: its look, the nonzero morph weights by index, and the labels."""

    look: Look
    morphs: dict[int, float]
    attributes: dict[str, Any]


def sine_cosine(degrees: float) -> tuple[float, float]:
    """(sin, cos) of an angle in [-180, 180] degrees by Taylor polynomials: the same bits everywhere."""
    x = degrees * 0.008726646259971648  # half the angle in radians, |x| <= pi / 2
    y = x * x
    s = x * (1 - y / 6 * (1 - y / 20 * (1 - y / 42 * (1 - y / 72 * (1 - y / 110 * (1 - y / 156 * (1 - y / 210)))))))
    c = 1 - y / 2 * (1 - y / 12 * (1 - y / 30 * (1 - y / 56 * (1 - y / 90 * (1 - y / 132 * (1 - y / 182))))))
    return 2 * s * c, c * c - s * s


def rotation(yaw: float, pitch: float, roll: float) -> list[float]:
    """Rotation matrix (row by row) for angles in degrees: yaw to the viewer's right, pitch up, roll clockwise."""
    sy, cy = sine_cosine(yaw)
    sp, cp = sine_cosine(-pitch)
    sr, cr = sine_cosine(-roll)
    return [
        cr * cy - sr * sp * sy, -sr * cp, cr * sy + sr * sp * cy,
        sr * cy + cr * sp * sy, cr * cp, sr * sy - cr * sp * cy,
        -cp * sy, sp, cp * cy,
    ]  # fmt: skip


def linear(red: float, green: float, blue: float) -> tuple[float, float, float]:
    """A display colour in 0..1 as light; gamma 2, since a square and a root are exact and a power of 2.2 is not."""
    return max(red, 0.0) ** 2, max(green, 0.0) ** 2, max(blue, 0.0) ** 2


def mix(a: Sequence[float], b: Sequence[float], weight: float) -> tuple[float, float, float]:
    """Colour between `a` (weight 0) and `b` (weight 1)."""
    return tuple(x + (y - x) * weight for x, y in zip(a, b, strict=True))  # pyright: ignore[reportReturnType]


def clamp(x: float, low: float = 0.0, high: float = 1.0) -> float:
    """`x`, but not below `low` nor above `high`."""
    return low if x < low else high if x > high else x


def weights_of(face: Face, count: int) -> "ctypes.Array[ctypes.c_float]":
    """The morph weights of `face` as a dense float array of `count` numbers."""
    weights = (ctypes.c_float * count)()
    for k, weight in face.morphs.items():
        weights[k] = weight
    return weights

"""What one face of faces3d looks like: all its parameters, drawn from (split, seed, index) and from nothing else.

The same bits must come out on every processor and with every version of numpy and libc, since they decide the content
hash of the data set. So there is only integer arithmetic and IEEE-exact float operations (+ - * /) here: no sin, exp or
pow of libm, no numpy generator.
"""

import ctypes
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

_MASK = (1 << 64) - 1
SPLITS = {"train": 1, "test": 2, "evaluation": 3}
RACES = ("caucasian", "african", "asian")
_OPPOSITES = (
    ("decr", "incr"),
    ("in", "out"),
    ("down", "up"),
    ("backward", "forward"),
    ("concave", "convex"),
    ("compress", "uncompress"),
)


class Stream:
    """Splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"): 64 bits per step."""

    def __init__(self, *key: int) -> None:
        self._state = 0
        for part in key:
            self._state = self.bits() ^ (part * 0xD1342543DE82EF95 & _MASK)
        self._state = self.bits()

    def bits(self) -> int:
        """The next 64 bits."""
        self._state = z = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
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
    "skin": 3, "lips": 3, "brow": 3, "iris": 3, "hair": 3, "beard": 3, "cloth": 3, "backdrop_a": 3, "backdrop_b": 3,
    # rotations, row by row, and the direction in which the backdrop's colours change
    "head_rotation": 9, "torso_rotation": 9, "roll": 2, "backdrop_direction": 2, "gaze": 2,
}  # fmt: skip
_SCALARS = (
    "camera", "zoom", "shift_x", "shift_y", "noise_seed",
    "oil", "blush", "freckles", "wrinkles", "shadow", "lashes", "tan",
    "brow_height", "brow_arch", "brow_thickness", "brow_density", "iris_radius", "pupil",
    "cap", "cap_thickness", "recede", "crown", "curl", "gloss", "streaks", "part",
    "sweep", "curtain", "quiff", "locks", "locks_length", "locks_flare", "locks_front", "locks_volume", "locks_wave",
    "fringe", "fringe_slope", "ears_covered",
    "beard_density", "beard_thickness", "moustache", "chin_beard", "jaw_beard",
    "collar", "shoulders", "cloth_stripe", "backdrop_blob",
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


@functools.cache
def _details(names: tuple[str, ...]) -> tuple[tuple[str, int, int], ...]:
    """Pairs of opposite detail morphs: (stem, index of the decreasing one, index of the increasing one)."""
    index = {name: k for k, name in enumerate(names)}
    pairs = []
    for name in names:
        for less, more in _OPPOSITES:
            if name.startswith("detail/") and name.endswith(f"-{less}"):
                stem = name.removesuffix(f"-{less}")
                pairs.append((stem.removeprefix("detail/"), index[name], index[f"{stem}-{more}"]))
    return tuple(pairs)


def linear(red: float, green: float, blue: float) -> tuple[float, float, float]:
    """A display colour in 0..1 as light; gamma 2, since a square and a root are exact and a power of 2.2 is not."""
    return max(red, 0.0) ** 2, max(green, 0.0) ** 2, max(blue, 0.0) ** 2


def mix(a: Sequence[float], b: Sequence[float], weight: float) -> tuple[float, float, float]:
    """Colour between `a` (weight 0) and `b` (weight 1)."""
    return tuple(x + (y - x) * weight for x, y in zip(a, b, strict=True))  # pyright: ignore[reportReturnType]


def clamp(x: float, low: float = 0.0, high: float = 1.0) -> float:
    """`x`, but not below `low` nor above `high`."""
    return low if x < low else high if x > high else x


def draw_face(split: str, seed: int, index: int, morph_names: tuple[str, ...]) -> Face:
    """Draw face `index` of a split.

    Args:
        split: `train`, `test` or `evaluation`; their streams are disjoint.
        seed: Seed of the data set.
        index: Which face, >= 0.
        morph_names: The head model's morphs, in its order.
    """
    stream = Stream(seed & _MASK, SPLITS[split], index)
    look = Look()
    person = _person(stream)
    morphs = _shape(stream, person, morph_names)
    _expression(stream, person, morphs, {name: k for k, name in enumerate(morph_names)}, look)
    _pose(stream, person, look)
    _skin(stream, person, look)
    _hair(stream, person, look)
    _surroundings(stream, look)
    return Face(look, {k: w for k, w in morphs.items() if w != 0.0}, person)


def _person(stream: Stream) -> dict[str, Any]:
    """Sex, age and ancestry: what the rest depends on. The dictionary becomes the face's attributes."""
    side = stream.uniform()
    sex = clamp(0.5 + (1 if side < 0.5 else -1) * (0.5 - abs(stream.normal(0.12))))  # few are androgynous
    age = clamp(38 + stream.normal(15), 18, 80)
    main = stream.choice((0.42, 0.29, 0.29))
    shares = [0.0, 0.0, 0.0]
    other = (main + 1 + stream.choice((1, 1))) % 3
    blend = stream.uniform(0.2, 0.5) if stream.chance(0.25) else stream.uniform(0.0, 0.12)
    shares[main], shares[other] = 1 - blend, blend
    return {"sex": sex, "age": age, **dict(zip(RACES, shares, strict=True))}


def _shape(stream: Stream, person: dict[str, Any], names: tuple[str, ...]) -> dict[int, float]:
    """Morph weights of the permanent shape of the head."""
    index = {name: k for k, name in enumerate(names)}
    old = clamp((person["age"] - 22) / 58)
    morphs: dict[int, float] = {}
    for sex, w_sex in (("male", person["sex"]), ("female", 1 - person["sex"])):
        for age, w_age in (("young", 1 - old), ("old", old)):
            morphs[index[f"universal/{sex}-{age}"]] = w_sex * w_age
            for race in RACES:
                morphs[index[f"macro/{race}-{sex}-{age}"]] = w_sex * w_age * person[race]
    for stem, less, more in _details(names):
        spread = 0.20 if stem.startswith(("eye", "head-scale", "mouth-trans")) else 0.33
        weight = clamp(stream.normal(spread), -0.8, 0.8)
        if abs(weight) > 0.08:  # most of the time goes into blending: leave out what cannot be seen
            morphs[more if weight > 0 else less] = abs(weight)
    outline = ("oval", "round", "square", "rectangular", "triangular", "invertedtriangular")
    morphs[index[f"detail/head-{outline[stream.choice((3, 2, 2, 2, 1, 1))]}"]] = stream.uniform(0.0, 0.6)
    return morphs


def _expression(
    stream: Stream, person: dict[str, Any], morphs: dict[int, float], index: dict[str, int], look: Look
) -> None:
    """Morph weights of the expression, and the gaze."""

    def both(name: str, weight: float) -> None:
        morphs[index[f"expression/{name}Left"]] = morphs[index[f"expression/{name}Right"]] = weight

    smile = clamp(stream.uniform(-0.25, 1.1))
    mouth_open = clamp(stream.uniform(-0.8, 1.0)) * (0.75 if smile > 0.3 else 0.5)
    closed = stream.uniform(0.85, 1.0) if stream.chance(0.03) else 0.0
    frown = clamp(stream.uniform(-2.0, 0.5)) * (1 - smile)
    surprise = clamp(stream.uniform(-1.2, 0.8))
    both("mouthSmile", 0.15 + 0.85 * smile)  # the corners of the neutral mouth hang
    both("cheekSquint", 0.5 * smile)
    both("mouthUpperUp", mouth_open * (0.25 + 0.55 * smile))
    both("mouthLowerDown", mouth_open * (0.3 + 0.3 * smile))
    both("mouthFrown", 0.6 * frown)
    both("browDown", clamp(stream.uniform(-1.5, 0.4)) * (1 - surprise))
    both("browOuterUp", 0.6 * surprise)
    both("eyeBlink", closed if closed else stream.uniform(0.0, 0.12))
    both("eyeWide", clamp(0.2 + stream.normal(0.12) + 0.4 * surprise))
    both("eyeSquint", 0.35 * smile * stream.uniform())
    morphs[index["expression/browInnerUp"]] = 0.5 * surprise
    morphs[index["expression/jawOpen"]] = 0.32 * mouth_open
    morphs[index["expression/mouthPucker"]] = clamp(stream.uniform(-2.5, 0.5)) * (1 - smile)
    morphs[index["expression/mouthPressLeft"]] = clamp(stream.uniform(-2.0, 0.6)) * (1 - mouth_open)
    sideways, upwards = clamp(stream.normal(0.09), -0.22, 0.22), clamp(stream.normal(0.05), -0.12, 0.12)
    look.gaze[:] = (sideways, upwards)
    person.update(smile=smile, mouth_open=mouth_open, eyes_closed=closed, gaze_x=sideways, gaze_y=upwards)


def _pose(stream: Stream, person: dict[str, Any], look: Look) -> None:
    """Rotation of head and shoulders, and the frame."""
    yaw = clamp(stream.normal(15), -40, 40)
    pitch = clamp(stream.normal(5.5) - 1, -15, 13)
    tilt = clamp(stream.normal(4), -10, 10)
    roll = clamp(stream.normal(1.5), -4, 4)
    look.head_rotation[:] = rotation(yaw, pitch + 4 + 3 * clamp((person["age"] - 25) / 50), 0.0)  # the model bows
    look.torso_rotation[:] = rotation(0.35 * yaw + stream.normal(9), 0.0, tilt)
    look.roll[:] = sine_cosine(roll)
    look.camera = stream.uniform(9, 16)
    look.zoom = 1 + stream.normal(0.025)
    look.shift_x, look.shift_y = stream.normal(0.008), stream.normal(0.008)
    person.update(yaw=yaw, pitch=pitch, roll=roll)


def _skin(stream: Stream, person: dict[str, Any], look: Look) -> None:
    """Colours of skin, lips, eyes; marks of age."""
    base = 0.12 * person["caucasian"] + 0.76 * person["african"] + 0.26 * person["asian"]
    tone = clamp(base + stream.normal(0.075), 0.0, 1.0)
    ramp = ((0.945, 0.80, 0.735), (0.87, 0.69, 0.585), (0.73, 0.53, 0.415), (0.55, 0.375, 0.28), (0.36, 0.235, 0.18))
    step = min(int(tone * 4), 3)
    red, green, blue = mix(ramp[step], ramp[step + 1], tone * 4 - step)
    warm = stream.normal(0.012)
    yellow = 0.02 * person["asian"] + stream.normal(0.01)
    look.skin[:] = linear(red + warm, green + 0.4 * yellow, blue - warm - yellow)
    rosy = mix((0.80, 0.44, 0.43), (0.40, 0.21, 0.19), tone)
    makeup = (1 - person["sex"]) * clamp(stream.uniform(-0.6, 1.0))
    lipstick = mix((0.72, 0.16, 0.20), (0.55, 0.14, 0.28), stream.uniform())
    lips = mix(mix((red, green, blue), rosy, stream.uniform(0.45, 0.75)), lipstick, 0.75 * makeup)
    look.lips[:] = linear(*lips)
    look.tan = tone
    look.oil = stream.uniform(0.03, 0.16)
    look.blush = stream.uniform(0.1, 0.6)
    look.freckles = clamp(stream.uniform(-4.0, 0.7)) * (1 - tone)
    look.wrinkles = clamp((person["age"] - 40) / 35) * stream.uniform(0.5, 1.0)
    look.shadow = stream.uniform(0.55, 1.0)
    look.lashes = 0.45 + 0.5 * max(makeup, 0.3 * (1 - person["sex"]))
    light_eyes = person["caucasian"] * stream.uniform() > 0.4
    irises = ((0.22, 0.13, 0.08), (0.33, 0.20, 0.11), (0.36, 0.52, 0.66), (0.40, 0.50, 0.36), (0.50, 0.54, 0.56))
    kind = stream.choice((0.15, 0.25, 0.3, 0.2, 0.1) if light_eyes else (0.7, 0.3, 0, 0, 0))
    look.iris[:] = linear(*(channel + stream.normal(0.02) for channel in irises[kind]))
    look.iris_radius = stream.uniform(0.060, 0.067)
    look.pupil = stream.uniform(0.36, 0.52)
    person.update(skin_tone=tone, eye_colour=("dark brown", "brown", "blue", "green", "grey")[kind])


_HAIR_COLOURS = {
    "black": (0.115, 0.098, 0.092),
    "dark brown": (0.20, 0.135, 0.095),
    "brown": (0.345, 0.225, 0.14),
    "auburn": (0.44, 0.205, 0.11),
    "red": (0.60, 0.29, 0.12),
    "dark blond": (0.56, 0.425, 0.27),
    "blond": (0.78, 0.64, 0.42),
}


def _hair(stream: Stream, person: dict[str, Any], look: Look) -> None:
    """Colour and cut of hair, brows and beard."""
    dark = max(person["african"], person["asian"])
    kind = stream.choice((0.9, 0.1, 0, 0, 0, 0, 0) if dark > 0.45 else (0.12, 0.25, 0.25, 0.07, 0.06, 0.12, 0.13))
    name = tuple(_HAIR_COLOURS)[kind]
    grey = clamp((person["age"] - 42) / 28 + stream.normal(0.25)) * (0.45 if person["sex"] < 0.5 else 1.0)
    tone = 1 + stream.normal(0.10)
    young = tuple(channel * tone for channel in _HAIR_COLOURS[name])
    colour = mix(young, (0.70, 0.69, 0.68), 0.92 * grey)
    look.hair[:] = linear(*colour)
    brow = mix(mix(young, (0.14, 0.10, 0.08), 0.55), (0.5, 0.5, 0.5), 0.5 * grey)
    look.brow[:] = linear(*brow)
    look.beard[:] = linear(*mix(mix(young, (0.12, 0.09, 0.08), 0.35), (0.72, 0.71, 0.70), grey))
    look.brow_height = stream.normal(0.014)
    look.brow_arch = stream.uniform(0.0, 0.055) + 0.012 * (1 - person["sex"])
    look.brow_thickness = (0.026 + 0.018 * person["sex"]) * stream.uniform(0.75, 1.25)
    look.brow_density = stream.uniform(0.6, 0.95)
    look.noise_seed = stream.bits() % 1000003
    look.gloss = stream.uniform(0.15, 0.6)
    look.streaks = stream.uniform(0.25, 0.6)
    look.part = stream.uniform(-0.35, 0.35)
    person.update(hair_colour="grey" if grey > 0.6 else name)
    _haircut(stream, person, look)
    _beard(stream, person, look)


def _haircut(stream: Stream, person: dict[str, Any], look: Look) -> None:
    """Cap (hair that lies on the skull) and locks (hair that hangs)."""
    male = person["sex"] >= 0.5
    curly = person["african"] > 0.45
    losing = male and stream.chance(clamp((person["age"] - 28) / 60))
    styles = ("bald", "buzz", "short", "full", "afro", "bob", "long")
    of_men, of_women = (7, 18, 42, 24, 12 * curly, 2, 5), (0.5, 3, 10, 12, 16 * curly, 27, 42)
    style = styles[stream.choice(of_men if male else of_women)]
    look.cap = 0.0 if style == "bald" else 1.0
    low, high = {"bald": (0, 0.001), "buzz": (0.012, 0.03), "short": (0.05, 0.11), "full": (0.12, 0.20),
                 "afro": (0.22, 0.42), "bob": (0.05, 0.11), "long": (0.04, 0.10)}[style]  # fmt: skip
    look.cap_thickness = stream.uniform(low, high)
    look.curl = stream.uniform(0.7, 1.0) if curly or style == "afro" else clamp(stream.uniform(-0.8, 0.8))
    look.recede = stream.normal(0.035) + (stream.uniform(0.08, 0.28) if losing else 0.0) + (0.0 if male else -0.02)
    look.sweep = stream.normal(0.05)
    look.quiff = clamp(stream.normal(0.4), -0.4, 1.0)
    look.crown = stream.uniform(7.65, 8.15) if losing and style in ("buzz", "short") and stream.chance(0.5) else 99.0
    length = {"bald": 0.0, "buzz": 0.03, "short": 0.12, "full": 0.22, "afro": 0.3}.get(style, 0.0)
    if style in ("bob", "long"):
        fall = stream.uniform(0.55, 1.15) if style == "bob" else stream.uniform(1.3, 2.6)
        length = 0.35 + 0.25 * fall
        look.locks, look.locks_length = 1.0, fall
        look.locks_flare = stream.uniform(-0.05, 0.22)
        look.locks_front = stream.uniform(0.02, 0.36)
        look.locks_volume = stream.uniform(0.02, 0.12) + 0.06 * look.curl
        look.curtain = clamp(stream.uniform(-0.12, 0.34))
        look.ears_covered = float(stream.chance(0.6))
        look.locks_wave = stream.uniform(0.0, 0.5) + 0.5 * look.curl
    fringe = stream.uniform()
    chance = 0.34 if style in ("bob", "long") else 0.25 if style == "full" else 0.0
    look.fringe = stream.uniform(0.10, 0.36) if fringe < chance else 9.0
    look.fringe_slope = stream.normal(0.12)
    if look.fringe < 9:
        look.recede = min(look.recede, 0.0)  # a fringe needs hair to fall from
    bald = look.crown < 99 or style == "bald" or look.recede > 0.2
    person.update(hair_style=style, hair_length=clamp(length), bald=float(bald), fringe=float(look.fringe < 9))


def _beard(stream: Stream, person: dict[str, Any], look: Look) -> None:
    style = "none"
    if person["sex"] > 0.6:
        style = ("none", "stubble", "moustache", "goatee", "full")[stream.choice((0.48, 0.20, 0.06, 0.09, 0.17))]
    density = {"none": 0.0, "stubble": stream.uniform(0.2, 0.45)}.get(style, stream.uniform(0.75, 0.95))
    look.beard_density = density
    look.moustache = float(style != "none")
    look.chin_beard = float(style in ("stubble", "goatee", "full"))
    look.jaw_beard = float(style in ("stubble", "full"))
    look.beard_thickness = stream.uniform(0.02, 0.12) if style == "full" else 0.0
    person.update(beard=density, beard_style=style, glasses=0.0)


def _surroundings(stream: Stream, look: Look) -> None:
    """Light, clothes and backdrop."""
    side, rise = stream.normal(38), stream.uniform(5, 55)
    ss, cs = sine_cosine(clamp(side, -85, 85))
    sr, cr = sine_cosine(rise)
    look.key_direction[:] = (ss * cr, sr, cs * cr)
    power = stream.uniform(0.75, 1.05)
    warm = stream.normal(0.05)
    look.key[:] = (power * (1 + warm), power, power * (1 - warm))
    ambient = stream.uniform(0.22, 0.42)
    look.sky[:] = (ambient * (1 - 0.5 * warm), ambient, ambient * (1 + 0.7 * warm + 0.04))
    look.ground[:] = (0.55 * ambient * 1.08, 0.55 * ambient, 0.55 * ambient * 0.92)
    fill = stream.uniform(0.05, 0.22)
    look.fill[:] = (fill * (1 - warm), fill, fill * (1 + warm))
    grey = stream.uniform(0.08, 0.85)
    look.cloth[:] = linear(*(clamp(grey + stream.normal(0.075), 0.03, 0.92) for _ in range(3)))
    look.collar = clamp(stream.uniform(-0.35, 0.35), -0.2, 0.3)
    look.shoulders = stream.uniform(0.88, 1.12)
    look.cloth_stripe = clamp(stream.uniform(-1.5, 0.5))
    shade = stream.uniform(0.10, 0.88)
    tint = [stream.normal(0.022) for _ in range(3)]
    change = stream.normal(0.14)
    look.backdrop_a[:] = linear(*(clamp(shade + t, 0.03, 0.95) for t in tint))
    look.backdrop_b[:] = linear(*(clamp(shade + change + 0.6 * t + stream.normal(0.02), 0.03, 0.95) for t in tint))
    look.backdrop_direction[:] = sine_cosine(stream.uniform(-180, 180))
    look.backdrop_blob = clamp(stream.uniform(-0.6, 1.0))


def weights_of(face: Face, count: int) -> "ctypes.Array[ctypes.c_float]":
    """The morph weights of `face` as a dense float array of `count` numbers."""
    weights = (ctypes.c_float * count)()
    for k, weight in face.morphs.items():
        weights[k] = weight
    return weights

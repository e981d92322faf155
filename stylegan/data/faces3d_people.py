"""Who a face of faces3d is: shape of the head, expression, pose and surroundings, drawn from (split, seed, index) alone."""

import functools
from typing import Any

from stylegan.data.faces3d_looks import (
    MASK,
    RACES,
    SPLITS,
    Face,
    Look,
    Stream,
    clamp,
    linear,
    rotation,
    sine_cosine,
)  # fmt: skip
from stylegan.data.faces3d_styles import draw_glasses, draw_hair, draw_skin

_OPPOSITES = (
    ("decr", "incr"),
    ("in", "out"),
    ("down", "up"),
    ("backward", "forward"),
    ("concave", "convex"),
    ("compress", "uncompress"),
)
# Deviation of the detail morphs by the beginning of their name: noses and mouths soon look like caricatures.
_SPREAD = (
    ("nose-scale", 0.10), ("nose-trans", 0.07), ("nose-volume", 0.10), ("nose-point", 0.12), ("nose-compression", 0.08),
    ("nose", 0.13), ("mouth-trans", 0.07), ("mouth-scale", 0.12), ("mouth", 0.14), ("chin-prognathism", 0.07),
    ("chin-jaw", 0.08), ("chin", 0.15), ("cheek", 0.2), ("eye-push", 0.08), ("eye", 0.15), ("head-scale", 0.13),
    ("head", 0.2), ("forehead", 0.15),
)  # fmt: skip
# What tells women's from men's faces besides the macro morphs; men get the opposite.
_FEMININE = {
    "eye-scale": 0.18, "nose-scale-vert": -0.12, "nose-volume": -0.15, "nose-hump": -0.12, "nose-scale-horiz": -0.10,
    "nose-point-width": -0.08, "chin-width": -0.20, "chin-height": -0.10, "chin-bones": -0.15,
    "mouth-upperlip-volume": 0.15, "mouth-lowerlip-volume": 0.15, "cheek-bones": 0.12, "head-fat": -0.05,
}  # fmt: skip


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


def draw_face(split: str, seed: int, index: int, morph_names: tuple[str, ...]) -> Face:
    """Draw face `index` of a split.

    Args:
        split: `train`, `test` or `evaluation`; their streams are disjoint.
        seed: Seed of the data set.
        index: Which face, >= 0.
        morph_names: The head model's morphs, in its order.
    """
    stream = Stream(seed & MASK, SPLITS[split], index)
    look = Look()
    person = _person(stream)
    morphs = _shape(stream, person, morph_names)
    _expression(stream, person, morphs, {name: k for k, name in enumerate(morph_names)}, look)
    _pose(stream, person, look)
    draw_skin(stream, person, look)
    draw_hair(stream, person, look)
    draw_glasses(stream, person, look)
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
    feminine = 1 - 2 * person["sex"]
    for stem, less, more in _details(names):
        spread = next((value for start, value in _SPREAD if stem.startswith(start)), 0.2)
        weight = clamp(stream.normal(spread), -2.2 * spread, 2.2 * spread) + feminine * _FEMININE.get(stem, 0.0)
        if abs(weight) > 0.06:  # most of the time goes into blending: leave out what cannot be seen
            morphs[more if weight > 0 else less] = abs(weight)
    outline = ("oval", "round", "square", "rectangular", "triangular", "invertedtriangular")
    likely = (4, 2, 0.3, 0.5, 0.5, 2) if person["sex"] < 0.5 else (3, 1.5, 2, 2, 1, 1)
    morphs[index[f"detail/head-{outline[stream.choice(likely)]}"]] = stream.uniform(0.0, 0.45)
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
    frown = clamp(stream.uniform(-2.5, 0.4)) * (1 - smile)
    surprise = clamp(stream.uniform(-1.2, 0.8))
    both("mouthSmile", 0.18 + 0.72 * smile)  # the corners of the neutral mouth hang
    both("cheekSquint", 0.5 * smile)
    both("mouthUpperUp", mouth_open * (0.25 + 0.55 * smile))
    both("mouthLowerDown", mouth_open * (0.3 + 0.3 * smile))
    both("mouthFrown", 0.6 * frown)
    both("browDown", clamp(stream.uniform(-2.0, 0.3)) * (1 - surprise))
    both("browOuterUp", 0.6 * surprise)
    both("eyeBlink", closed if closed else stream.uniform(0.0, 0.12))
    both("eyeWide", clamp(0.08 + 0.1 * person["sex"] + stream.normal(0.08) + 0.3 * surprise))
    both("eyeSquint", 0.35 * smile * stream.uniform())
    morphs[index["expression/browInnerUp"]] = 0.5 * surprise
    morphs[index["expression/jawOpen"]] = 0.32 * mouth_open
    morphs[index["expression/mouthPucker"]] = clamp(stream.uniform(-3.0, 0.35)) * (1 - smile)
    both("mouthPress", clamp(stream.uniform(-2.0, 0.6)) * (1 - mouth_open))
    sideways, upwards = clamp(stream.normal(0.09), -0.22, 0.22), clamp(stream.normal(0.05), -0.12, 0.12)
    look.gaze[:] = (sideways, upwards)
    person.update(smile=smile, mouth_open=mouth_open, eyes_closed=closed, gaze_x=sideways, gaze_y=upwards)


def _pose(stream: Stream, person: dict[str, Any], look: Look) -> None:
    """Rotation of head and shoulders, and the frame."""
    yaw = clamp(stream.normal(12), -36, 36)
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


def _surroundings(stream: Stream, look: Look) -> None:
    """Light, clothes and backdrop."""
    side, rise = stream.normal(30), stream.uniform(10, 50)
    ss, cs = sine_cosine(clamp(side, -75, 75))
    sr, cr = sine_cosine(rise)
    look.key_direction[:] = (ss * cr, sr, cs * cr)
    power = stream.uniform(0.78, 1.08)
    warm = stream.normal(0.05)
    look.key[:] = (power * (1 + warm), power, power * (1 - warm))
    ambient = stream.uniform(0.22, 0.42)
    look.sky[:] = (ambient * (1 - 0.5 * warm), ambient, ambient * (1 + 0.7 * warm + 0.04))
    look.ground[:] = (0.55 * ambient * 1.08, 0.55 * ambient, 0.55 * ambient * 0.92)
    fill = stream.uniform(0.05, 0.22)
    look.fill[:] = (fill * (1 - warm), fill, fill * (1 + warm))
    grey = stream.uniform(0.06, 0.8)
    look.cloth[:] = linear(*(clamp(grey + stream.normal(0.07), 0.03, 0.9) for _ in range(3)))
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
    look.bokeh = clamp(stream.uniform(-0.7, 0.55))
    look.grain = stream.uniform(0.8, 3.2)
    look.blur = stream.uniform(0.15, 0.8)

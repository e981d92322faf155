"""Surface of a face of faces3d: skin, make-up, hair, beard and glasses, drawn after its person is known."""

from typing import Any

from stylegan.data.faces3d_looks import Look, Stream, clamp, linear, mix


def draw_skin(stream: Stream, person: dict[str, Any], look: Look) -> None:
    """Colours of skin, lips and eyes, make-up, marks of age."""
    base = 0.12 * person["caucasian"] + 0.74 * person["african"] + 0.26 * person["asian"]
    tone = clamp(base + stream.normal(0.075), 0.0, 1.0)
    ramp = ((0.925, 0.775, 0.70), (0.85, 0.67, 0.565), (0.72, 0.52, 0.41), (0.54, 0.37, 0.28), (0.36, 0.24, 0.185))
    step = min(int(tone * 4), 3)
    red, green, blue = mix(ramp[step], ramp[step + 1], tone * 4 - step)
    warm = stream.normal(0.012)
    yellow = 0.003 * person["asian"] + stream.normal(0.007)
    look.skin[:] = linear(red + warm, green + 0.4 * yellow, blue - warm - yellow)
    rosy = mix((0.78, 0.45, 0.43), (0.40, 0.21, 0.19), tone)
    makeup = clamp(stream.uniform(-0.5, 1.0)) if person["sex"] < 0.5 else 0.0
    lipstick = ((0.70, 0.13, 0.17), (0.55, 0.14, 0.27), (0.76, 0.33, 0.33), (0.50, 0.20, 0.18))[
        stream.choice((3, 2, 4, 2))
    ]
    lipstick = mix(lipstick, (0.30, 0.12, 0.12), 0.6 * tone)
    natural = mix((red, green, blue), rosy, stream.uniform(0.4, 0.7))
    look.lips[:] = linear(*mix(natural, lipstick, 0.8 * makeup if makeup > 0.25 else 0.0))
    shadows = ((0.42, 0.26, 0.20), (0.40, 0.30, 0.38), (0.32, 0.36, 0.45), (0.55, 0.35, 0.30))
    look.eyeshadow[:] = linear(*shadows[stream.choice((4, 2, 1, 3))])
    look.makeup = makeup if stream.chance(0.75) else 0.0
    look.liner = clamp(1.1 * look.makeup + stream.normal(0.15))
    look.oil = stream.uniform(0.02, 0.10)
    look.blush = stream.uniform(0.1, 0.5) + 0.3 * makeup
    look.mottle = stream.uniform(0.1, 0.32)
    freckled = stream.chance(0.10)
    look.freckles = stream.uniform(0.3, 0.7) * (1 - tone) if freckled else 0.0
    aged = clamp((person["age"] - 34) / 36)
    look.forehead_lines = aged * stream.uniform(0.2, 1.0)
    look.eye_lines = clamp(aged * stream.uniform(0.5, 1.0) + 0.25 * person["smile"])
    look.cheek_lines = clamp(aged * stream.uniform(0.5, 1.0) + 0.35 * person["smile"])
    look.shadow = stream.uniform(0.55, 1.0)
    look.lashes = 0.40 + 0.22 * (person["sex"] < 0.5) + 0.25 * makeup
    light_eyes = person["caucasian"] * stream.uniform() > 0.4
    irises = ((0.22, 0.13, 0.08), (0.33, 0.20, 0.11), (0.36, 0.50, 0.62), (0.40, 0.48, 0.35), (0.48, 0.52, 0.54))
    kind = stream.choice((0.15, 0.25, 0.3, 0.2, 0.1) if light_eyes else (0.7, 0.3, 0, 0, 0))
    look.iris[:] = linear(*(channel + stream.normal(0.02) for channel in irises[kind]))
    look.iris_radius = stream.uniform(0.063, 0.069)
    look.pupil = stream.uniform(0.36, 0.52)
    person.update(skin_tone=tone, makeup=makeup, freckles=look.freckles)
    person.update(eye_colour=("dark brown", "brown", "blue", "green", "grey")[kind])


_HAIR_COLOURS = {
    "black": (0.115, 0.098, 0.092),
    "dark brown": (0.20, 0.135, 0.095),
    "brown": (0.345, 0.225, 0.14),
    "auburn": (0.44, 0.205, 0.11),
    "red": (0.53, 0.27, 0.14),
    "dark blond": (0.56, 0.425, 0.27),
    "blond": (0.78, 0.64, 0.42),
}


def draw_hair(stream: Stream, person: dict[str, Any], look: Look) -> None:
    """Colour and cut of hair, brows and beard."""
    dark = max(person["african"], person["asian"])
    kind = stream.choice((0.9, 0.1, 0, 0, 0, 0, 0) if dark > 0.45 else (0.12, 0.25, 0.25, 0.07, 0.06, 0.12, 0.13))
    name = tuple(_HAIR_COLOURS)[kind]
    grey = clamp((person["age"] - 46) / 24 + stream.normal(0.2)) * (0.6 if person["sex"] < 0.5 else 1.0)
    tone = 1 + stream.normal(0.10)
    young = tuple(channel * tone for channel in _HAIR_COLOURS[name])
    colour = mix(young, (0.66, 0.65, 0.64), 0.92 * grey)
    look.hair[:] = linear(*colour)
    brow = mix(mix(young, (0.14, 0.10, 0.08), 0.55), (0.5, 0.5, 0.5), 0.5 * grey)
    look.brow[:] = linear(*brow)
    look.beard[:] = linear(*mix(mix(young, (0.12, 0.09, 0.08), 0.35), (0.72, 0.71, 0.70), grey))
    look.brow_height = stream.normal(0.014)
    look.brow_arch = stream.uniform(0.0, 0.045) + 0.022 * (1 - person["sex"])
    look.brow_thickness = (0.020 + 0.016 * person["sex"]) * stream.uniform(0.75, 1.25)
    look.brow_density = stream.uniform(0.6, 0.95)
    look.noise_seed = stream.bits() % 1000003
    look.gloss = stream.uniform(0.25, 0.8)
    look.streaks = stream.uniform(0.45, 0.75)
    look.part = stream.uniform(-0.35, 0.35)
    person.update(hair_colour="grey" if grey > 0.55 else name)
    _haircut(stream, person, look)
    _beard(stream, person, look)


_VOLUME = {  # how far the hair stands from the skull
    "bald": (0.0, 0.001), "buzz": (0.012, 0.03), "short": (0.05, 0.12), "full": (0.12, 0.22),
    "afro": (0.22, 0.42), "bob": (0.07, 0.14), "long": (0.06, 0.13),
}  # fmt: skip


def _haircut(stream: Stream, person: dict[str, Any], look: Look) -> None:
    """Cap (hair that lies on the skull) and locks (hair that hangs)."""
    male = person["sex"] >= 0.5
    curly = person["african"] > 0.45
    losing = male and stream.chance(clamp((person["age"] - 30) / 70))
    styles = ("bald", "buzz", "short", "full", "afro", "bob", "long")
    of_men, of_women = (6, 14, 46, 26, 14 * curly, 1, 4), (0.3, 1.5, 6, 9, 18 * curly, 30, 46)
    style = styles[stream.choice(of_men if male else of_women)]
    look.cap = 0.0 if style == "bald" else 1.0
    look.cap_thickness = stream.uniform(*_VOLUME[style])
    look.curl = stream.uniform(0.7, 1.0) if curly or style == "afro" else clamp(stream.uniform(-0.8, 0.7))
    look.fuzz = {"bald": 0.0, "buzz": 0.008}.get(style, stream.uniform(0.010, 0.018)) + 0.014 * look.curl * (
        style != "buzz"
    )
    look.recede = stream.normal(0.03) + (stream.uniform(0.08, 0.26) if losing else 0.0) + (0.02 if male else -0.03)
    look.sweep = stream.normal(0.06)
    look.quiff = clamp(stream.normal(0.4), -0.3, 0.9)
    look.crown = stream.uniform(7.65, 8.15) if losing and style in ("buzz", "short") and stream.chance(0.4) else 99.0
    look.fringe = 9.0
    straight = clamp(1 - 1.5 * look.curl)
    if style in ("short", "full", "bob", "long") and stream.chance(0.6):
        look.parting = straight * stream.uniform(0.4, 1.0)
    length = {"bald": 0.0, "buzz": 0.03, "short": 0.12, "full": 0.22, "afro": 0.3}.get(style, 0.0)
    if style in ("bob", "long"):
        length = _locks(stream, look, style)
    _fringe(stream, look, style)
    bald = look.crown < 99 or style == "bald" or look.recede > 0.2
    person.update(hair_style=style, hair_length=clamp(length), bald=float(bald), fringe=float(look.fringe < 9))


def _locks(stream: Stream, look: Look, style: str) -> float:
    """Hair that hangs; returns its length, 0..1."""
    fall = stream.uniform(0.95, 1.35) if style == "bob" else stream.uniform(1.5, 2.6)
    look.locks, look.locks_length = 1.0, fall
    look.ears_covered = float(stream.chance(0.65))
    look.locks_front = stream.uniform(0.22, 0.48) if look.ears_covered else stream.uniform(-0.12, 0.08)
    look.locks_taper = stream.uniform(0.02, 0.16)
    look.locks_flare = stream.uniform(0.0, 0.25)
    look.locks_forward = stream.uniform(0.0, 0.25)
    look.locks_volume = stream.uniform(0.02, 0.09) + 0.07 * look.curl
    look.locks_wave = stream.uniform(0.1, 0.5) + 0.6 * look.curl
    look.curtain = stream.uniform(0.15, 0.85)
    return 0.35 + 0.25 * fall


def _fringe(stream: Stream, look: Look, style: str) -> None:
    chance = {"bob": 0.36, "long": 0.28, "full": 0.35, "short": 0.2}.get(style, 0.0)
    if look.recede > 0.1 or not stream.chance(chance * (1 - 0.5 * look.curl)):
        return
    look.fringe = stream.uniform(7.60, 7.88)
    look.fringe_slope = stream.normal(0.14)
    look.recede = min(look.recede, 0.0)
    look.quiff = min(look.quiff, 0.1)
    look.parting = 0.0


def _beard(stream: Stream, person: dict[str, Any], look: Look) -> None:
    style = "none"
    if person["sex"] > 0.6:
        style = ("none", "stubble", "moustache", "goatee", "full")[stream.choice((0.50, 0.22, 0.05, 0.08, 0.15))]
    density = {"none": 0.0, "stubble": stream.uniform(0.25, 0.5)}.get(style, stream.uniform(0.8, 1.0))
    look.beard_density = density
    look.moustache = float(style != "none")
    look.chin_beard = float(style in ("stubble", "goatee", "full"))
    look.jaw_beard = float(style in ("stubble", "full"))
    look.beard_thickness = stream.uniform(0.02, 0.09) if style == "full" else 0.0
    person.update(beard=density, beard_style=style)


def draw_glasses(stream: Stream, person: dict[str, Any], look: Look) -> None:
    """Glasses for about one in eight: shape, frame, tint."""
    worn = stream.chance(0.10 + 0.08 * clamp((person["age"] - 35) / 25))
    round_, thick, tinted = stream.chance(0.4), stream.chance(0.5), stream.chance(0.14)
    look.lens_width = stream.uniform(0.205, 0.25)
    look.lens_height = stream.uniform(0.82, 0.98) if round_ else stream.uniform(0.60, 0.78)
    look.lens_square = stream.uniform(0.0, 0.2) if round_ else stream.uniform(0.45, 0.8)
    look.frame_thickness = stream.uniform(0.016, 0.027) if thick else stream.uniform(0.007, 0.010)
    look.lens_drop = stream.uniform(0.0, 0.045)
    dark = ((0.06, 0.055, 0.055), (0.20, 0.12, 0.08), (0.32, 0.10, 0.11), (0.10, 0.14, 0.25))
    metal = ((0.62, 0.62, 0.63), (0.66, 0.54, 0.34), (0.16, 0.16, 0.17))
    look.frame[:] = linear(*(dark[stream.choice((5, 3, 1, 1))] if thick else metal[stream.choice((2, 1.5, 2))]))
    look.tint[:] = (0.10, 0.095, 0.10) if tinted else (0.95, 0.96, 0.95)
    look.lens_shine = stream.uniform(0.02, 0.06) + 0.02 * tinted
    look.glasses = float(worn)
    shape = f"{'thick' if thick else 'thin'} {'round' if round_ else 'rectangular'}"
    person.update(glasses=float(worn), glasses_style=(f"{shape}, tinted" if tinted else shape) if worn else "none")

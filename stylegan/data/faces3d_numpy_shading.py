"""Colours of skin, eyes, clothes, glasses and backdrop for faces3d_numpy: csrc/faces3d_shading.h for arrays of points.

`r` are rest coordinates [N, 3], `f` fields [N, 6] (see faces3d_rig), `n` unit normals [N, 3]; colours are linear RGB.
"""

import numpy as np

from stylegan.data import faces3d_numpy_hair as hair
from stylegan.data.faces3d_looks import Look
from stylegan.data.faces3d_numpy_hair import INSIDE, LIPS, NECK, SCALP, around, blend, dot, noise, noise_at, scramble
from stylegan.data.faces3d_rig import CLOTH, EYE, EYE_CENTRE, FRAME, LASH, SKIN, TEETH, TONGUE, smooth

_PLAIN = {TEETH: (0.78, 0.73, 0.64), TONGUE: (0.40, 0.12, 0.11)}


def dressed(look: Look, r: np.ndarray) -> np.ndarray:
    """How far a point of the skin is below the neckline of the clothes; negative above."""
    x = r[:, 0] * 1.8
    front = smooth(r[:, 2], 0.1, 0.4) * np.clip(1 - x * x, 0, 1)
    return 6.0 - 0.08 * front - (look.collar * front if look.collar > 0 else look.collar) - r[:, 1]


def lashed(look: Look, r: np.ndarray) -> np.ndarray:
    """Where lashes are; the lower ones are too thin to see."""
    strand = noise(look, 0, r[:, 0] * 90, r[:, 1] * 30, r[:, 2] * 15)
    return (r[:, 1] > EYE_CENTRE[1]) & (strand < look.lashes + 0.3)


def _brow(look: Look, r: np.ndarray) -> np.ndarray:
    """How much of the skin a brow hides."""
    x, y = np.abs(r[:, 0]), r[:, 1]
    t = (x - 0.135) / 0.37
    bend = (t - 0.62) / 0.62
    height = 7.462 + look.brow_height + look.brow_arch * (1 - bend * bend)
    half = look.brow_thickness * (1 - 0.6 * np.clip(t - 0.15, 0, 1))
    ends = smooth(t, -0.06, 0.14) * (1 - smooth(t, 0.85, 1.10))
    hairs = noise(look, 7, x * 75 - y * 45, y * 22)
    d = np.abs(y - height) / half
    cover = look.brow_density * ends * (1 - smooth(d, 0.3, 1.5)) * (0.55 + 0.75 * hairs)
    return np.where((t < -0.1) | (t > 1.15), 0.0, cover)


def _make_up(look: Look, albedo: np.ndarray, r: np.ndarray) -> np.ndarray:
    if look.makeup <= 0:
        return albedo
    x, y = np.abs(r[:, 0]), r[:, 1]
    here = r[:, 2] >= 1.15
    lx, ly = (x - 0.32) / 0.20, (y - 7.36) / 0.075
    powder = look.makeup * 0.6 * (1 - smooth(lx * lx + ly * ly, 0.3, 1.2))
    albedo = blend(albedo, np.array(look.eyeshadow[:]), np.where(here, powder, 0.0))
    ax, ay = (x - 0.315) / 0.165, (y - 7.285) / 0.075
    ring = ax * ax + ay * ay - 1
    line = look.liner * (1 - smooth(ring * ring, 0.02, 0.30)) * np.where(ay > 0, 1.0, 0.55)
    return blend(albedo, np.array((0.012, 0.010, 0.010)), np.where(here, line, 0.0))


def _lines(look: Look, r: np.ndarray) -> np.ndarray:
    """How much darker lines of age and expression are: 0 .. 1."""
    x, y = np.abs(r[:, 0]), r[:, 1]
    wave = y + 0.06 * (noise(look, 5, r[:, 0] * 2.5, np.full(len(r), 3.0)) - 0.5)
    d = (wave * 8 - np.floor(wave * 8) - 0.5) / 0.12
    where = smooth(y, 7.6, 7.68) * (1 - smooth(y, 7.92, 8.02)) * (1 - smooth(x, 0.2, 0.5))
    forehead = where * noise(look, 5, r[:, 0] * 4, y * 8) / (0.5 + 0.5 * d * d)

    side = (x > 0.50) & (x < 0.70) & (y > 7.1) & (y < 7.45)
    slope = (y - 7.285) / np.where(side, x - 0.42, 1.0) * 2.2
    d = (slope - np.floor(slope) - 0.5) / 0.16
    where = smooth(x, 0.50, 0.54) * (1 - smooth(x, 0.58, 0.68)) * (1 - smooth(np.abs(slope), 1.0, 1.5))
    feet = np.where(side, where / (1 + d * d), 0.0)

    d = (y - (7.135 + 1.1 * (x - 0.30) * (x - 0.30))) / 0.022
    below = smooth(x, 0.14, 0.2) * (1 - smooth(x, 0.40, 0.5)) / (1 + d * d)
    below = np.where((y > 7.0) & (y < 7.25) & (x < 0.52), below, 0.0)

    t = (7.0 - y) / 0.36
    d = (x - (0.185 + 0.10 * t + 0.09 * t * t)) / 0.022
    cheek = smooth(t, 0.05, 0.3) * (1 - smooth(t, 0.7, 1.05)) / (1 + d * d)
    cheek = np.where((y > 6.6) & (y < 7.02), cheek, 0.0)
    eyes = look.eye_lines * (0.20 * feet + 0.15 * below)
    return 0.20 * look.forehead_lines * forehead + eyes + 0.20 * look.cheek_lines * cheek


def _skin(look: Look, r: np.ndarray, f: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Albedo [N, 3], gloss [N] and shade [N] of skin."""
    x, y, z = np.abs(r[:, 0]), r[:, 1], r[:, 2]
    cx, cy = (x - 0.42) / 0.20, (y - 6.98) / 0.20
    tip = smooth(z, 1.55, 1.7) * smooth(y, 6.82, 6.9)
    patch = look.mottle * (noise_at(look, 3, r, 13) - 0.5)
    red = patch + look.blush * (smooth(z, 0.9, 1.1) / (1 + 3 * (cx * cx + cy * cy)) + 0.6 * tip)
    albedo = np.array(look.skin[:]) * (1 - red[:, None] * np.array((0.0, 0.22, 0.20)) - 0.3 * patch[:, None])
    freckle = look.freckles * smooth(noise_at(look, 4, r, 38), 0.66, 0.80)
    freckle = freckle * smooth(z, 1.1, 1.3) * (1 - smooth(y, 7.45, 7.65))
    albedo = albedo * (1 - freckle[:, None] * np.array((0.22, 0.34, 0.40)))
    lips = smooth(f[:, LIPS], 0.2, 0.8)
    albedo = blend(albedo, np.array(look.lips[:]), 0.9 * lips)
    gloss = look.oil + 0.10 * lips

    face = z > 0.9
    ex, ey = (x - EYE_CENTRE[0]) / 0.24, (y - EYE_CENTRE[1] - 0.02) / 0.15
    d = ex * ex + ey * ey
    shade = np.where(face, (1 - 0.20 / (1 + 2 * d * d)) * (1 - _lines(look, r)), 1.0)
    albedo = _make_up(look, albedo, r)
    neck = f[:, NECK]
    shade = shade * (1 - 0.34 * look.shadow * smooth(neck, 0.02, 0.35) * (1 - 0.6 * smooth(neck, 0.6, 1.0)))
    albedo = blend(albedo, np.array((0.10, 0.02, 0.02)), f[:, INSIDE])
    albedo = blend(albedo, np.array(look.brow[:]), np.where(face, _brow(look, r), 0.0))

    whiskers = hair.beard(look, r, f) * (1 - lips) * look.beard_density
    hairless = (look.cap == 0) | ((y < 7.2) & (f[:, SCALP] < -0.4))
    h = np.where(hairless, -1.0, hair.scalp(look, r, f[:, SCALP]))
    fuzz = noise(look, 6, around(r) * 70, y * 32)
    grown = np.clip(whiskers * (0.55 + 0.5 * whiskers + 0.7 * (fuzz - 0.5)), 0, 1)
    albedo = blend(albedo, np.array(look.beard[:]) * (0.6 + 0.8 * fuzz)[:, None], grown)
    roots = smooth(h + 0.16 * (fuzz - 0.5), -0.16, 0.10)
    albedo = blend(albedo, np.array(look.hair[:]) * (0.7 + 0.6 * fuzz)[:, None], 0.88 * roots)
    gloss = gloss * (1 - 0.8 * whiskers) * (1 - 0.7 * roots)
    thickness = float(smooth(np.array(look.cap_thickness), 0.02, 0.12))
    return albedo, gloss, shade * (1 - 0.22 * smooth(h, -0.22, 0.0) * thickness)


def _eye(look: Look, r: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Albedo [N, 3], shade [N] and the lamp's reflection [N] of the eyeball."""
    side = np.where(r[:, 0] > 0, 1.0, -1.0)
    dx = r[:, 0] - side * EYE_CENTRE[0] - look.gaze[0] * 0.14
    dy = r[:, 1] - EYE_CENTRE[1] - look.gaze[1] * 0.14
    d = np.sqrt(dx * dx + dy * dy) / look.iris_radius
    shade = 1 - 0.45 * smooth(r[:, 1] - EYE_CENTRE[1], 0.0, 0.08)
    inner = smooth(side * r[:, 0], EYE_CENTRE[0] - 0.14, EYE_CENTRE[0] - 0.08)
    sclera = blend(np.array((0.60, 0.40, 0.38)), np.array((0.76, 0.73, 0.71)), inner)
    fibres = 0.75 + 0.5 * noise(look, 8, dx * 60, dy * 60, side)
    iris = np.array(look.iris[:]) * (fibres * (1 - 0.65 * smooth(d, 0.72, 1.0)))[:, None]
    iris = blend(np.full(3, 0.004), iris, smooth(d, look.pupil - 0.08, look.pupil + 0.08))
    sx, sy = dx / look.iris_radius - 0.40 * look.key_direction[0], dy / look.iris_radius - 0.30
    shine = 0.9 * (1 - smooth(np.sqrt(sx * sx + sy * sy), 0.16, 0.36))
    front = r[:, 2] >= EYE_CENTRE[2]
    albedo = np.where(front[:, None], blend(iris, sclera, smooth(d, 0.88, 1.12)), sclera)
    return albedo, shade, np.where(front, shine, 0.0)


def _cloth(look: Look, r: np.ndarray) -> np.ndarray:
    band = r[:, 1] * 9
    stripe = np.where(band - np.floor(band) < 0.5, 1.0, 1 - 0.7 * look.cloth_stripe)
    fold = 0.88 + 0.24 * noise(look, 13, r[:, 0] * 3.5 + r[:, 2], r[:, 1] * 5)
    return np.array(look.cloth[:]) * (stripe * fold)[:, None]


def _halfway(look: Look) -> np.ndarray:
    v = np.array(look.key_direction[:]) + np.array((0, 0, 1))
    return v / np.sqrt(dot(v, v))


def shade(
    look: Look, part: int, r: np.ndarray, f: np.ndarray, n: np.ndarray, lit: np.ndarray, inside: np.ndarray
) -> np.ndarray:
    """Colours of points of one part: [N, 3].

    `lit` [N] is the share of the key light that arrives, `inside` [N] whether the viewer sees the inner side.
    """
    count = len(r)
    wrap, gloss, darken, shine = np.full(3, 0.1), np.zeros(count), np.ones(count), np.zeros((count, 3))
    if part == SKIN:
        albedo, gloss, darken = _skin(look, r, f)
        below = dressed(look, r)
        clothed = (f[:, NECK] > 0.3) & (below > 0)
        albedo = np.where(clothed[:, None], _cloth(look, r), albedo)
        gloss = np.where(clothed, 0.0, gloss)
        darken = np.where(clothed, 1 - 0.3 * (1 - smooth(below, 0.0, 0.05)), darken)
        wrap = np.where(clothed[:, None], wrap, np.array((0.42, 0.27, 0.22)))
    elif part == EYE:
        albedo, darken, lamp = _eye(look, r)
        shine = lamp[:, None]
        gloss = np.full(count, 0.05)
    elif part == CLOTH:
        albedo = _cloth(look, r)
    elif part == LASH:
        brow, dark = np.array(look.brow[:]), np.array((0.012, 0.009, 0.008))
        albedo = np.broadcast_to(brow + (dark - brow) * 0.7, (count, 3))
    elif part == FRAME:
        albedo = np.broadcast_to(np.array(look.frame[:]), (count, 3))
        gloss = np.full(count, 0.35)
    elif part in _PLAIN:
        albedo = np.broadcast_to(np.array(_PLAIN[part]), (count, 3))
        darken = 0.3 + 0.7 * smooth(r[:, 2], 1.05, 1.35) if part == TEETH else np.full(count, 0.5)
        lit = 0.5 + 0.5 * lit if part == TEETH else lit  # light that the lips let through
    else:
        albedo, shine, darken = hair.colour(look, part, r, f, n, _halfway(look), lit)
        darken = np.where(inside, 0.45, 1.0) * darken
        wrap = np.full(3, 0.25)
    return (albedo * _light(look, n, wrap, lit) + _mirror(look, n, gloss, lit)) * darken[:, None] + shine


def _light(look: Look, n: np.ndarray, wrap: np.ndarray, lit: np.ndarray) -> np.ndarray:
    """Light that arrives on surfaces with normals `n`: [N, 3]."""
    key = np.array(look.key_direction[:])
    front = np.clip((dot(n, key)[:, None] + wrap) / (1 + wrap), 0, 2) * (0.12 + 0.88 * lit)[:, None]
    opposite = np.clip(dot(n, np.array((-key[0], 0.25, key[2] * 0.6 + 0.3))), 0, 1)
    ambient = blend(np.array(look.ground[:]), np.array(look.sky[:]), 0.5 + 0.5 * n[:, 1])
    return np.array(look.key[:]) * front + np.array(look.fill[:]) * opposite[:, None] + ambient


def _mirror(look: Look, n: np.ndarray, gloss: np.ndarray, lit: np.ndarray) -> np.ndarray:
    """Highlight of the key light, and the sheen of edges: [N, 3]."""
    peak = np.clip(dot(n, _halfway(look)), 0, 1)
    p4 = peak * peak * peak * peak
    p8 = p4 * p4
    edge = 1 - np.clip(n[:, 2], 0, 1)
    return np.array(look.key[:]) * (gloss * (lit * (p8 * p8 * p4 + 0.25 * p4) + 0.3 * edge * edge * edge))[:, None]


def through_lens(look: Look, colour: np.ndarray, r: np.ndarray) -> np.ndarray:
    """What lenses do to the colours [N, 3] behind them: tint, and a faint reflection."""
    streak = r[:, 0] * 0.6 + r[:, 1] * 0.8 - 0.25 * look.key_direction[0]
    band = smooth(streak, 0.05, 0.20) * (1 - smooth(streak, 0.45, 0.75))
    return colour * np.array(look.tint[:]) + np.array(look.key[:]) * (look.lens_shine * (0.25 + band))[:, None]


def backdrop(look: Look, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Colours behind the head at places x, y in 0..1: [N, 3]."""
    along = 0.5 + (x - 0.5) * look.backdrop_direction[0] + (y - 0.5) * look.backdrop_direction[1]
    colour = blend(np.array(look.backdrop_a[:]), np.array(look.backdrop_b[:]), np.clip(along, 0, 1))
    level = 1 + 0.7 * look.backdrop_blob * (noise(look, 11, x * 3, y * 3) - 0.5)
    for k in range(9 if look.bokeh > 0 else 0):
        key = (int(look.noise_seed) + 20 + k) * 0x9E3779B1
        random = scramble(np.array([key + i & 0xFFFFFFFF for i in range(4)], np.uint32))
        dx, dy = x - (1.3 * random[0] - 0.15), y - (1.1 * random[1] - 0.15)
        radius = 0.05 + 0.13 * random[2]
        disc = 1 - smooth((dx * dx + dy * dy) / (radius * radius), 0.55, 1.25)
        level = level + look.bokeh * (1.5 * random[3] - 0.55) * disc
    return colour * np.maximum(level, 0.05)[:, None]

"""Colours of skin, eyes, hair, clothes and backdrop for faces3d_numpy: csrc/faces3d_shading.h for arrays of points.

`r` are rest coordinates [N, 3], `f` fields [N, 6] (see faces3d_rig), `n` unit normals [N, 3]; colours are linear RGB.
"""

import numpy as np

from stylegan.data.faces3d_looks import Look
from stylegan.data.faces3d_rig import CAP, CLOTH, EYE, EYE_CENTRE, LASH, SKIN, TEETH, TONGUE, smooth

LIPS, SCALP, BEARD, MOUSTACHE, INSIDE, NECK = range(6)
_PLAIN = {
    TEETH: (0.72, 0.67, 0.58),
    TONGUE: (0.40, 0.12, 0.11),
    LASH: (0.012, 0.009, 0.008),
}


def _hash(x: np.ndarray, y: np.ndarray, z: np.ndarray, seed: int) -> np.ndarray:
    """A random number in [0, 1) for each point of the integer grid; 32-bit arithmetic that wraps."""
    h = np.uint32(seed * 0x9E3779B1 & 0xFFFFFFFF) + x.astype(np.uint32) * np.uint32(0x85EBCA77)
    h = h + y.astype(np.uint32) * np.uint32(0xC2B2AE3D) + z.astype(np.uint32) * np.uint32(0x27D4EB2F)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    h = (h ^ (h >> np.uint32(12))) * np.uint32(0x297A2D39)
    return ((h ^ (h >> np.uint32(15))) >> np.uint32(8)).astype(np.float64) / 16777216.0


def noise(look: Look, stream: int, x: np.ndarray, y: np.ndarray, z: np.ndarray | float = 0.0) -> np.ndarray:
    """Value noise in [0, 1): random numbers on the integer grid, smoothly interpolated."""
    seed = int(look.noise_seed) + stream
    corner, fraction = [], []
    for axis in np.broadcast_arrays(x, y, np.asarray(z, np.float64)):
        floor = np.floor(axis)
        t = axis - floor
        corner.append(floor.astype(np.int64))
        fraction.append(t * t * (3 - 2 * t))
    (ix, iy, iz), (fx, fy, fz) = corner, fraction
    planes = []
    for k in (0, 1):
        rows = []
        for j in (0, 1):
            a, b = _hash(ix, iy + j, iz + k, seed), _hash(ix + 1, iy + j, iz + k, seed)
            rows.append(a + (b - a) * fx)
        planes.append(rows[0] + (rows[1] - rows[0]) * fy)
    return planes[0] + (planes[1] - planes[0]) * fz


def _noise_at(look: Look, stream: int, r: np.ndarray, scale: float) -> np.ndarray:
    return noise(look, stream, r[:, 0] * scale, r[:, 1] * scale, r[:, 2] * scale)


def _blend(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return a + (b - a) * weight[:, None]


def scalp(look: Look, r: np.ndarray, field: np.ndarray) -> np.ndarray:
    """About the distance inside this face's hairline; positive where hair grows."""
    x, y, z = r[:, 0], r[:, 1], r[:, 2]
    corners = 0.35 + 0.65 * smooth(np.abs(x), 0.15, 0.4)
    h = field - look.recede * corners * smooth(y, 7.35, 7.8) + look.sweep * x * smooth(y, 7.7, 7.95)
    h = h + look.curtain * smooth(np.abs(x - look.part), 0.05, 0.6) * smooth(y, 7.5, 7.8)
    if look.fringe < 1:
        h = h + 0.25 * smooth(y, 7.78, 7.95)
    return np.minimum(h, look.crown - y - 0.25 * z)


def beard(look: Look, r: np.ndarray, f: np.ndarray) -> np.ndarray:
    """How densely a beard of this face's cut grows."""
    chin = (1 - smooth(np.abs(r[:, 0]), 0.20, 0.34)) * smooth(r[:, 2], 1.15, 1.3)
    cut = np.maximum(look.jaw_beard, look.chin_beard * chin)
    return np.maximum(f[:, BEARD] * cut, f[:, MOUSTACHE] * look.moustache)


def dressed(look: Look, r: np.ndarray) -> np.ndarray:
    """How far a point of the skin is below the neckline of the clothes; negative above."""
    x = r[:, 0] * 1.8
    front = smooth(r[:, 2], 0.1, 0.4) * np.clip(1 - x * x, 0, 1)
    return 6.0 - 0.08 * front - (look.collar * front if look.collar > 0 else look.collar) - r[:, 1]


def covers(look: Look, part: int, r: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Whether hair or a lash covers these points."""
    if part == LASH:
        return _noise_at(look, 0, r, 90) < look.lashes + np.where(r[:, 1] > EYE_CENTRE[1], 0.35, -0.25)
    if part == CAP:
        h = scalp(look, r, f[:, SCALP])
        soft = h + (0.10 + 0.04 * look.curl) * (_noise_at(look, 1, r, 34) - 0.5) > 0.02
        return np.where((h > 0.1) | (h < -0.06), h > 0, soft)
    x, y, z = r[:, 0], r[:, 1], r[:, 2]
    turn, hang = f[:, 2], f[:, 1]
    long = look.locks > 0
    front = look.locks_front if long else 0.42
    n = 0.5 * noise(look, 2, turn * 110, (hang + y) * 4) + 0.5 * noise(look, 12, turn * 420, (hang + y) * 9) - 0.5
    fringe = (hang <= 0) & (y + 0.20 * n > look.fringe + look.fringe_slope * x - 0.25 * x * x)
    behind = long & (hang < 0.85 + 0.24 * n)
    near = np.where((z + 0.12 * n > front) & (y < 0.95), fringe, behind)
    return np.where((z < front - 0.06) & (hang < 0.7), long, near)


def _brow(look: Look, r: np.ndarray) -> np.ndarray:
    """How much of the skin a brow hides."""
    x, y = np.abs(r[:, 0]), r[:, 1]
    t = (x - 0.135) / 0.37
    bend = (t - 0.62) / 0.62
    height = 7.462 + look.brow_height + look.brow_arch * (1 - bend * bend)
    half = look.brow_thickness * (1 - 0.6 * np.clip(t - 0.15, 0, 1))
    ends = smooth(t, -0.06, 0.10) * (1 - smooth(t, 0.88, 1.10))
    hairs = noise(look, 7, r[:, 0] * 60 + y * 30, y * 25)
    d = np.abs(y - height) / half
    cover = look.brow_density * ends * (1 - smooth(d, 0.45, 1.25)) * (0.75 + 0.5 * hairs)
    return np.where(r[:, 2] > 0.9, cover, 0.0)


def _skin(look: Look, r: np.ndarray, f: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Albedo [N, 3], gloss [N] and shade [N] of skin."""
    x, y, z = np.abs(r[:, 0]), r[:, 1], r[:, 2]
    cx, cy = (x - 0.42) / 0.20, (y - 6.98) / 0.20
    tip = smooth(z, 1.55, 1.7) * smooth(y, 6.82, 6.9)
    red = look.blush * (smooth(z, 0.9, 1.1) / (1 + 3 * (cx * cx + cy * cy)) + 0.6 * tip)
    freckle = look.freckles * smooth(_noise_at(look, 4, r, 38), 0.66, 0.80) * smooth(z, 1.1, 1.3)
    albedo = np.array(look.skin[:]) * (1 - red[:, None] * np.array((0.0, 0.22, 0.20)))
    albedo = albedo * (1 - freckle[:, None] * np.array((0.22, 0.34, 0.40)))
    lips = smooth(f[:, LIPS], 0.25, 0.75)
    albedo = _blend(albedo, np.array(look.lips[:]), 0.9 * lips)
    gloss = look.oil + 0.12 * lips

    ex, ey = (x - EYE_CENTRE[0]) / 0.24, (y - EYE_CENTRE[1] - 0.02) / 0.15
    d = ex * ex + ey * ey
    shade = np.where(z > 0.9, 1 - 0.22 / (1 + 2 * d * d), 1.0)
    forehead = smooth(y, 7.6, 7.7) * (1 - smooth(y, 7.95, 8.05)) * (1 - smooth(x, 0.35, 0.6))
    shade = shade - 0.35 * look.wrinkles * forehead * smooth(noise(look, 5, r[:, 0] * 3, y * 22), 0.55, 0.75)
    neck = f[:, NECK]
    shade = shade * (1 - 0.42 * look.shadow * smooth(neck, 0.02, 0.35) * (1 - 0.6 * smooth(neck, 0.6, 1.0)))
    albedo = _blend(albedo, np.array((0.10, 0.02, 0.02)), f[:, INSIDE])
    albedo = _blend(albedo, np.array(look.brow[:]), _brow(look, r))

    whiskers = beard(look, r, f) * (1 - lips) * look.beard_density
    h = scalp(look, r, f[:, SCALP]) if look.cap > 0 else np.full(len(r), -1.0)
    fuzz = _noise_at(look, 6, r, 40)
    fibre = (0.7 + 0.6 * fuzz)[:, None]
    albedo = _blend(albedo, np.array(look.beard[:]) * fibre, whiskers * (0.85 + 0.3 * (fuzz - 0.5)))
    gloss = gloss * (1 - 0.8 * whiskers)
    albedo = _blend(albedo, np.array(look.hair[:]) * fibre, 0.85 * smooth(h + 0.05 * (fuzz - 0.5), -0.03, 0.07))
    thickness = float(smooth(np.array(look.cap_thickness), 0.02, 0.12))
    return albedo, gloss, shade * (1 - 0.30 * smooth(h, -0.22, 0.0) * thickness)


def _eye(look: Look, r: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Albedo [N, 3], shade [N] and the lamp's reflection [N] of the eyeball."""
    side = np.where(r[:, 0] > 0, 1.0, -1.0)
    dx = r[:, 0] - side * EYE_CENTRE[0] - look.gaze[0] * 0.14
    dy = r[:, 1] - EYE_CENTRE[1] - look.gaze[1] * 0.14
    d = np.sqrt(dx * dx + dy * dy) / look.iris_radius
    shade = 1 - 0.35 * smooth(r[:, 1] - EYE_CENTRE[1], 0.01, 0.08)
    inner = smooth(side * r[:, 0], EYE_CENTRE[0] - 0.14, EYE_CENTRE[0] - 0.08)
    sclera = _blend(np.array((0.62, 0.42, 0.40)), np.array((0.80, 0.77, 0.75)), inner)
    fibres = 0.75 + 0.5 * noise(look, 8, dx * 60, dy * 60, side)
    iris = np.array(look.iris[:]) * (fibres * (1 - 0.65 * smooth(d, 0.72, 1.0)))[:, None]
    iris = _blend(np.full(3, 0.004), iris, smooth(d, look.pupil - 0.08, look.pupil + 0.08))
    sx, sy = dx / look.iris_radius - 0.42 * look.key_direction[0], dy / look.iris_radius - 0.38
    shine = 0.85 * (1 - smooth(np.sqrt(sx * sx + sy * sy), 0.14, 0.34))
    front = r[:, 2] >= EYE_CENTRE[2]
    albedo = np.where(front[:, None], _blend(iris, sclera, smooth(d, 0.90, 1.10)), sclera)
    return albedo, shade, np.where(front, shine, 0.0)


def _hair(look: Look, part: int, r: np.ndarray, f: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Albedo [N, 3] and shade [N] of hair."""
    x, y, z = r[:, 0], r[:, 1], r[:, 2]
    if part == CAP:
        tall = 4 + (18 - 4) * look.curl
        away = x - look.part
        side = np.where(away < 0, -1.0, 1.0)
        strand = noise(look, 9, x * 20 + side * y * 6, y * tall + side * 9, z * 20)
        lumps = noise(look, 10, x * 4, y * 3, z * 4)
        shade = 1 - 0.35 * smooth(y, 8.0, 8.2) * (1 - look.curl) / (1 + 900 * away * away)
    else:
        turn, along = f[:, 2], f[:, 1] + y
        strand = noise(look, 9, turn * 130, along * (2 + (9 - 2) * look.curl))
        lumps = noise(look, 10, turn * 26, along * 3)
        shade = 1 - 0.28 * smooth(f[:, 1], 0.0, 0.9)
    shade = shade * (1 - look.streaks * (0.55 * strand + 0.45 * lumps))
    c = np.clip(_dot(n, _halfway(look)), 0, 1)
    c4 = c * c * c * c
    albedo = np.array(look.hair[:]) * (1 + 0.8 * look.gloss * c4 * strand)[:, None]
    return albedo + np.array((1, 0.95, 0.9)) * (0.11 * look.gloss * c4 * c4 * (0.3 + strand))[:, None], shade


def _cloth(look: Look, y: np.ndarray) -> np.ndarray:
    band = y * 9
    return np.array(look.cloth[:]) * np.where(band - np.floor(band) < 0.5, 1.0, 1 - 0.7 * look.cloth_stripe)[:, None]


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def _halfway(look: Look) -> np.ndarray:
    v = np.array(look.key_direction[:]) + np.array((0, 0, 1))
    return v / np.sqrt(_dot(v, v))


def shade(look: Look, part: int, r: np.ndarray, f: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Colours of points of one part, lit: [N, 3]."""
    count = len(r)
    wrap, gloss, darken, shine = np.full(3, 0.1), np.zeros(count), np.ones(count), np.zeros(count)
    if part == SKIN:
        albedo, gloss, darken = _skin(look, r, f)
        below = dressed(look, r)
        clothed = (f[:, NECK] > 0.3) & (below > 0)
        albedo = np.where(clothed[:, None], _cloth(look, r[:, 1]), albedo)
        gloss = np.where(clothed, 0.0, gloss)
        darken = np.where(clothed, 1 - 0.3 * (1 - smooth(below, 0.0, 0.05)), darken)
        wrap = np.where(clothed[:, None], wrap, np.array((0.45, 0.30, 0.25)))
    elif part == EYE:
        albedo, darken, shine = _eye(look, r)
        gloss = np.full(count, 0.05)
    elif part == CLOTH:
        albedo = _cloth(look, r[:, 1])
    elif part in _PLAIN:
        albedo = np.broadcast_to(np.array(_PLAIN[part]), (count, 3))
        if part == TEETH:
            darken = 0.3 + 0.7 * smooth(r[:, 2], 1.05, 1.35)
        elif part == TONGUE:
            darken = np.full(count, 0.5)
    else:
        albedo, darken = _hair(look, part, r, f, n)
        wrap = np.full(3, 0.25)
    return (albedo * _light(look, n, wrap) + _mirror(look, n, gloss)) * darken[:, None] + shine[:, None]


def _light(look: Look, n: np.ndarray, wrap: np.ndarray) -> np.ndarray:
    """Light that arrives on surfaces with normals `n`: [N, 3]."""
    key = np.array(look.key_direction[:])
    lit = np.clip((_dot(n, key)[:, None] + wrap) / (1 + wrap), 0, 2)
    opposite = np.clip(_dot(n, np.array((-key[0], 0.25, key[2] * 0.6 + 0.3))), 0, 1)
    ambient = _blend(np.array(look.ground[:]), np.array(look.sky[:]), 0.5 + 0.5 * n[:, 1])
    return np.array(look.key[:]) * lit + np.array(look.fill[:]) * opposite[:, None] + ambient


def _mirror(look: Look, n: np.ndarray, gloss: np.ndarray) -> np.ndarray:
    """Highlight of the key light, and the sheen of edges: [N, 3]."""
    peak = np.clip(_dot(n, _halfway(look)), 0, 1)
    p4 = peak * peak * peak * peak
    p8 = p4 * p4
    edge = 1 - np.clip(n[:, 2], 0, 1)
    return np.array(look.key[:]) * (gloss * (p8 * p8 * p4 + 0.25 * p4 + 0.4 * edge * edge * edge))[:, None]


def backdrop(look: Look, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Colours behind the head at places x, y in 0..1: [N, 3]."""
    along = 0.5 + (x - 0.5) * look.backdrop_direction[0] + (y - 0.5) * look.backdrop_direction[1]
    colour = _blend(np.array(look.backdrop_a[:]), np.array(look.backdrop_b[:]), np.clip(along, 0, 1))
    cloud = noise(look, 11, x * 3, y * 3, 0.5) - 0.5
    return colour * (1 + 0.7 * look.backdrop_blob * cloud)[:, None]

"""Noise, and where hair grows and how it looks, for faces3d_numpy: csrc/faces3d_hair.h for arrays of points.

`r` are rest coordinates [N, 3], `f` fields [N, 6] (see faces3d_rig), `n` unit normals [N, 3]; colours are linear RGB.
"""

import numpy as np

from stylegan.data.faces3d_looks import Look
from stylegan.data.faces3d_rig import CAP, smooth

LIPS, SCALP, BEARD, MOUSTACHE, INSIDE, NECK = range(6)
WIDTH, HANG, TURN, REACH, LAYER = range(5)  # of locks; the cap has its layer there, too
OUTLINE = 0.6  # how far a surface may face us and still be at the outline


def scramble(h: np.ndarray | int) -> np.ndarray:
    """A random number in [0, 1) from each number of 32 bits."""
    h = np.asarray(h, np.uint32)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    h = (h ^ (h >> np.uint32(12))) * np.uint32(0x297A2D39)
    return ((h ^ (h >> np.uint32(15))) >> np.uint32(8)).astype(np.float64) / 16777216.0


def lattice(x: np.ndarray, y: np.ndarray, z: np.ndarray, seed: int) -> np.ndarray:
    """A random number in [0, 1) for each point of the integer grid; 32-bit arithmetic that wraps."""
    h = np.uint32(seed * 0x9E3779B1 & 0xFFFFFFFF) + x.astype(np.uint32) * np.uint32(0x85EBCA77)
    return scramble(h + y.astype(np.uint32) * np.uint32(0xC2B2AE3D) + z.astype(np.uint32) * np.uint32(0x27D4EB2F))


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
            a, b = lattice(ix, iy + j, iz + k, seed), lattice(ix + 1, iy + j, iz + k, seed)
            rows.append(a + (b - a) * fx)
        planes.append(rows[0] + (rows[1] - rows[0]) * fy)
    return planes[0] + (planes[1] - planes[0]) * fz


def noise_at(look: Look, stream: int, r: np.ndarray, scale: float) -> np.ndarray:
    return noise(look, stream, r[:, 0] * scale, r[:, 1] * scale, r[:, 2] * scale)


def blend(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return a + (b - a) * weight[:, None]


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Inner products along the last axis of length 3."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def around(r: np.ndarray) -> np.ndarray:
    """How far round the head a point is, counted from the forehead on both sides."""
    return np.where(r[:, 0] < 0, 40 - r[:, 0] - r[:, 2], r[:, 0] - r[:, 2])


def scalp(look: Look, r: np.ndarray, field: np.ndarray) -> np.ndarray:
    """About the distance inside this face's hairline; positive where hair grows."""
    x, y, z = r[:, 0], r[:, 1], r[:, 2]
    corners = 0.35 + 0.65 * smooth(np.abs(x), 0.15, 0.4)
    uneven = np.where(field < 0.5, 0.14 * (noise(look, 15, around(r) * 5, y * 2.5) - 0.5), 0.0)
    h = field + uneven - look.recede * corners * smooth(y, 7.35, 7.8) + look.sweep * x * smooth(y, 7.7, 7.95)
    h = h + look.curtain * smooth(np.abs(x - look.part), 0.05, 0.6) * smooth(y, 7.5, 7.8)
    if look.fringe < 9:
        low = look.fringe + look.fringe_slope * x + 0.12 * x * x
        hanging = 0.8 * (y - low) - 0.7 * smooth(np.abs(x), 0.52, 0.72)
        h = np.where(z > 0.6, np.maximum(h, hanging), h)
    return np.minimum(h, look.crown - y - 0.25 * z)


def beard(look: Look, r: np.ndarray, f: np.ndarray) -> np.ndarray:
    """How densely a beard of this face's cut grows."""
    chin = (1 - smooth(np.abs(r[:, 0]), 0.16, 0.36)) * smooth(r[:, 2], 1.1, 1.3)
    cut = np.maximum(look.jaw_beard * (0.7 + 0.3 * chin), look.chin_beard * chin)
    return np.maximum(f[:, BEARD] * cut, f[:, MOUSTACHE] * look.moustache)


def volume(look: Look, r: np.ndarray, h: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """How far above the skin the cap's hair stands."""
    lumps = 1 + (0.35 + 0.55 * look.curl) * (noise_at(look, 0, r, 5) - 0.5)
    tall = look.cap_thickness * smooth(h, 0.03, 0.34) * (0.55 + 0.45 * smooth(r[:, 1], 7.2, 8.2))
    tall = tall * (1 + look.quiff * smooth(r[:, 2], 0.6, 1.2))
    fringe = np.where((look.fringe < 9) & (r[:, 2] > 0.6), 0.035 * smooth(h, -0.05, 0.08), 0.0)
    return 0.006 + tall * lumps + fringe + layer * look.fuzz * smooth(h, -0.08, 0.12)


def covers(look: Look, part: int, r: np.ndarray, f: np.ndarray, facing: np.ndarray) -> np.ndarray:
    """Whether hair covers these points; `facing` is how much the surface turns to the viewer."""
    layer = f[:, LAYER]
    outer = layer > 0
    loose = np.where(outer, 0.44 * layer - 0.06 + 0.6 * facing, 0.0)
    if part == CAP:
        h = scalp(look, r, f[:, SCALP])
        n = 0.6 * _fibre(look, r, 1) + 0.4 * noise(look, 2, around(r) * 15, r[:, 1] * 5)
        ragged = 0.36 - (0.36 - 0.14) * smooth(np.abs(r[:, 0]), 0.45, 0.65)
        found = (n > loose) & (h + ragged * (n - 0.5) > 0.01)
        found = np.where((~outer & (h > 0.20)) | (h < -0.18), h > 0, found)
    else:
        z, turn, hang = r[:, 2], f[:, TURN], f[:, HANG]
        along = hang * look.locks_length + r[:, 1]
        front = look.locks_front * (1 + 0.25 * hang)
        n = 0.5 * noise(look, 2, turn * 330, along * 2.5) + 0.5 * noise(look, 12, turn * 70, along * 1.2)
        found = (n > loose) & (z + 0.34 * (n - 0.5) < front) & (hang < 0.82 + 0.5 * (n - 0.5)) & (z <= front + 0.14)
        found = found | (~outer & (z <= front - 0.14) & (hang <= 0.55))
    return found & ~(outer & (facing > OUTLINE))


def _fibre(look: Look, r: np.ndarray, stream: int) -> np.ndarray:
    """Strands of the cap: they run down the sides and the forehead, and sideways from the parting on top."""
    top = smooth(r[:, 1], 7.95, 8.2)
    along = 7 + (24 - 7) * look.curl
    down = noise(look, stream, around(r) * 42 + r[:, 1] * 4, r[:, 1] * along)
    sideways = noise(look, stream, r[:, 0] * along, r[:, 2] * 38 + r[:, 0] * 5)
    return np.where(top < 1, down, 0.0) * (1 - top) + np.where(top > 0, sideways, 0.0) * top


def colour(
    look: Look, part: int, r: np.ndarray, f: np.ndarray, n: np.ndarray, halfway: np.ndarray, lit: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Albedo [N, 3], highlights [N, 3] and shade [N] of hair."""
    y = r[:, 1]
    albedo = np.broadcast_to(np.array(look.hair[:]), r.shape)
    if part == CAP:
        strand, lumps = _fibre(look, r, 9), noise(look, 10, around(r) * 9, y * 3.5)
        if look.parting > 0:
            away = r[:, 0] - look.part - 0.05 * (noise(look, 14, r[:, 2] * 6, np.ones(len(r))) - 0.5)
            line = smooth(y, 7.95, 8.1) * smooth(r[:, 2], 0.2, 0.5) / (1 + 2500 * away * away)
            albedo = blend(albedo, np.array(look.skin[:]) * 0.6, 0.75 * look.parting * line)
        thickness = float(smooth(np.array(look.cap_thickness), 0.03, 0.1))
        shade = 1 - 0.25 * (1 - smooth(scalp(look, r, f[:, SCALP]), -0.05, 0.25)) * thickness
    else:
        along = f[:, HANG] * look.locks_length + y
        strand = noise(look, 9, f[:, TURN] * 210, along * (2 + (9 - 2) * look.curl))
        lumps = noise(look, 10, f[:, TURN] * 44, along * 2)
        shade = 1 - 0.25 * smooth(f[:, HANG], 0.0, 0.9)
    shade = shade * (1 - look.streaks * (0.5 * strand + 0.5 * lumps))
    tangent = np.array((0, 0.77, -0.64)) - n * (0.77 * n[:, 1] - 0.64 * n[:, 2])[:, None]
    tangent = tangent / np.sqrt(dot(tangent, tangent) + 1e-20)[:, None]
    slant = dot(tangent, halfway) + 0.30 * (lumps - 0.5) - 0.12
    across = np.clip(1 - slant * slant, 0, 1)
    a2 = across * across
    a8 = a2 * a2 * (a2 * a2)
    front = np.clip(dot(n, np.array(look.key_direction[:])) + 0.3, 0, 1) * (0.25 + 0.75 * lit)
    gloss = look.gloss * (1 - 0.6 * look.curl) * front * (0.35 + strand)
    own = np.array(look.hair[:]) * (1.1 * gloss * a8)[:, None]
    white = np.array((1, 0.95, 0.9)) * (0.10 * gloss * a8 * a8 * a8)[:, None]
    return albedo, np.array(look.key[:]) * (own + white), shade

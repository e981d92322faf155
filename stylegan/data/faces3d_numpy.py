"""The renderer of faces3d for machines without a C++ compiler: csrc/faces3d.cpp again, in numpy.

About a hundred times slower. It computes in float64 where C++ has float32, so single pixels differ. Like there, only
+ - * / and square roots are used, element by element; sums run in a fixed order (numpy.bincount), so that the result does
not depend on the processor.
"""

from dataclasses import dataclass

import numpy as np

from stylegan.data import faces3d_numpy_shading as shading
from stylegan.data.faces3d_looks import Face, Look
from stylegan.data.faces3d_rig import CAP, CLOTH, EYE, EYE_CENTRE, LASH, LOCKS, SKIN, Rig, smooth

_PIVOT = np.array((0.0, 6.35, 0.45))
_SKULL_Y = 7.5
_EDGE = -1e-4
_CHUNK = 1_000_000  # how many pairs of triangle and sample are looked at together; bounds the memory


@dataclass
class _Samples:
    """The z-buffer, flat: depth, triangle (-1 where there is none), weights of the triangle's first two corners."""

    depth: np.ndarray
    triangle: np.ndarray
    w0: np.ndarray
    w1: np.ndarray


def draw(rig: Rig, face: Face, resolution: int, samples: int) -> np.ndarray:
    """Render one face with samples x samples rays a pixel: uint8 [3, resolution, resolution]."""
    look = face.look
    rest, fields = rig.rest.astype(np.float64), rig.fields.astype(np.float64)
    position = _morph(rig, rest, face.morphs)
    normal = _normals(position, rig.triangles[rig.part == SKIN])
    _add_hair(rig, look, rest, fields, position, normal)
    _add_torso(rig, look, rest, fields, position, normal)
    position = _pose(look, fields, position)
    normal = _normals(position, rig.triangles)
    screen = _project(rig, look, rest, position, resolution * samples)
    buffer = _rasterize(rig, look, rest, fields, screen, resolution * samples)
    return _resolve(rig, look, rest, fields, normal, buffer, resolution, samples)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def _eye_middle(rig: Rig, rest: np.ndarray, position: np.ndarray, side: int) -> np.ndarray:
    chosen = (rig.kind == EYE) & ((rest[:, 0] > 0) == (side == 1))
    zeros = np.zeros(int(chosen.sum()), np.int64)
    return np.array([np.bincount(zeros, position[chosen, k])[0] for k in range(3)]) / len(zeros)


def _morph(rig: Rig, rest: np.ndarray, morphs: dict[int, float]) -> np.ndarray:
    position = rest.copy()
    for k, weight in morphs.items():
        span = slice(int(rig.morph_ptr[k]), int(rig.morph_ptr[k + 1]))
        position[rig.morph_index[span]] += rig.morph_delta[span].astype(np.float64) * weight
    eyes = (_eye_middle(rig, rest, position, 0) + _eye_middle(rig, rest, position, 1)) * 0.5
    position[rig.kind < CAP, 1:] += np.array(EYE_CENTRE)[1:] - eyes[1:]
    # Vertices of no triangle have kind 255 and do not matter.
    return position


def _normals(position: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (position[triangles[:, k]] for k in range(3))
    u, v = b - a, c - a
    normal = np.empty_like(position)
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        n = u[:, i] * v[:, j] - u[:, j] * v[:, i]
        normal[:, k] = np.bincount(triangles.reshape(-1), np.repeat(n, 3), len(position))
    return normal / np.sqrt(_dot(normal, normal) + 1e-20)[:, None]


def _add_hair(
    rig: Rig, look: Look, rest: np.ndarray, fields: np.ndarray, position: np.ndarray, normal: np.ndarray
) -> None:
    skin, cap, locks = (np.nonzero(rig.kind == part)[0] for part in (SKIN, CAP, LOCKS))
    r = rest[skin]
    x = np.abs(r[:, 0])
    pressed = (x > 0.72) & (r[:, 1] > 6.6)
    away = np.where(r[:, 0] < 0, 0.72 - x, x - 0.72)
    position[skin, 0] -= np.where(pressed, 0.85 * away * look.ears_covered, 0.0)
    position[skin] += normal[skin] * (look.beard_thickness * shading.beard(look, r, fields[skin]))[:, None]

    r = rest[cap]
    h = shading.scalp(look, r, fields[cap, shading.SCALP])
    lumps = 1 + 0.9 * look.curl * (shading.noise(look, 0, r[:, 0] * 5, r[:, 1] * 5, r[:, 2] * 5) - 0.5)
    volume = look.cap_thickness * smooth(h, -0.02, 0.35) * (0.5 + 0.5 * smooth(r[:, 1], 7.2, 8.2))
    volume = volume * (1 + look.quiff * smooth(r[:, 2], 0.6, 1.2))
    source = rig.source[cap]
    position[cap] = position[source] + normal[source] * (0.006 + volume * lumps)[:, None]

    skull = position[rig.skull]
    low, high = skull.min(0), skull.max(0)
    pad = 0.03 + 0.6 * look.cap_thickness + look.locks_volume
    middle = 0.5 * (low + high)
    radius = 0.5 * (high - low) + pad
    radius_y = high[1] - _SKULL_Y + 0.6 * pad
    u, width, hang, turn = rest[locks], fields[locks, 0], fields[locks, 1], fields[locks, 2]
    wave = look.locks_wave * 0.16 * (shading.noise(look, 0, turn * 22, hang * 5, u[:, 1] * 4) - 0.5)
    brow = 0.12 * smooth(u[:, 2], 0.2, 0.5) * (1 - smooth(u[:, 1], 0.75, 0.95)) if look.fringe < 1 else 0.0
    out = look.locks_flare * hang + wave * (0.3 + hang) + brow
    position[locks, 0] = middle[0] + u[:, 0] * (radius[0] * width + out)
    position[locks, 1] = _SKULL_Y + radius_y * u[:, 1] - look.locks_length * hang
    position[locks, 2] = middle[2] + u[:, 2] * (radius[2] * width + out)


def _add_torso(
    rig: Rig, look: Look, rest: np.ndarray, fields: np.ndarray, position: np.ndarray, normal: np.ndarray
) -> None:
    _, _, shoulder, chest = rig.landmarks
    moved = position - rest
    wide = position[shoulder, 0] / rest[shoulder, 0] * look.shoulders
    cloth = rig.kind == CLOTH
    shift = np.array((0.0, moved[shoulder, 1], 0.5 * (moved[shoulder, 2] + moved[chest, 2])))
    position[cloth] = position[cloth] * np.array((wide, 1.0, 1.0)) + shift
    dressed = (rig.kind == SKIN) & (fields[:, shading.NECK] > 0.3)
    puff = 0.03 * smooth(shading.dressed(look, rest[dressed]), -0.01, 0.06)
    position[dressed] += normal[dressed] * puff[:, None]


def _pose(look: Look, fields: np.ndarray, position: np.ndarray) -> np.ndarray:
    p = position - _PIVOT
    turned = []
    for matrix in (look.head_rotation, look.torso_rotation):
        rows = np.array(matrix[:]).reshape(3, 3)
        turned.append(np.stack([_dot(p, row) for row in rows], 1))
    head, torso = turned
    return head + (torso - head) * fields[:, shading.NECK, None] + _PIVOT


def _project(rig: Rig, look: Look, rest: np.ndarray, position: np.ndarray, pixels: int) -> np.ndarray:
    left, right = (_eye_middle(rig, rest, position, side) for side in (0, 1))
    middle = (left + right) * 0.5
    mouth = (position[rig.landmarks[0]] + position[rig.landmarks[1]]) * 0.5

    def flat(p: np.ndarray) -> np.ndarray:
        p = p - middle
        scale = look.camera / (look.camera - p[..., 2])
        return np.stack([p[..., 0] * scale, p[..., 1] * scale, p[..., 2]], -1)

    m, across = flat(mouth), flat(right) - flat(left)
    width = np.sqrt(across[0] * across[0] + across[1] * across[1])
    height = np.sqrt(m[0] * m[0] + m[1] * m[1])
    side = look.zoom * 4.25 * max(width, height)
    ax, ay = across[0] - m[1], across[1] + m[0]
    norm = np.sqrt(ax * ax + ay * ay)
    s, c = look.roll
    ux, uy = (ax * c - ay * s) / norm / side, (ay * c + ax * s) / norm / side
    p = flat(position)
    return np.stack(
        [
            (0.5 + look.shift_x + p[:, 0] * ux + p[:, 1] * uy) * pixels,
            (0.465 + look.shift_y - (p[:, 1] * ux - p[:, 0] * uy)) * pixels,
            p[:, 2],
        ],
        1,
    )


def _visible(rig: Rig, look: Look, corners: np.ndarray, size: int) -> tuple[np.ndarray, ...]:
    """Triangles that face the viewer within the frame, and the boxes of samples round them: (index, x0, x1, y0, y1)."""
    p0, p1, p2 = corners[:, 0], corners[:, 1], corners[:, 2]
    area = (p1[:, 0] - p0[:, 0]) * (p2[:, 1] - p0[:, 1]) - (p1[:, 1] - p0[:, 1]) * (p2[:, 0] - p0[:, 0])
    thin = (rig.part >= LASH) & ((rig.part != CAP) | (look.cap_thickness > 0.15))
    keep = np.where(thin, area != 0, area < 0)
    if look.cap == 0:
        keep &= rig.part != CAP
    if look.locks == 0 and look.fringe > 1:
        keep &= rig.part != LOCKS
    box = [np.clip(edge + 0.5, 0, size).astype(np.int64) for edge in (corners.min(1), corners.max(1))]
    x0, y0, x1, y1 = box[0][:, 0], box[0][:, 1], box[1][:, 0], box[1][:, 1]
    chosen = np.nonzero(keep & (x1 > x0) & (y1 > y0))[0]
    return chosen, x0[chosen], x1[chosen], y0[chosen], y1[chosen]


def _rasterize(rig: Rig, look: Look, rest: np.ndarray, fields: np.ndarray, screen: np.ndarray, size: int) -> _Samples:
    buffer = _Samples(
        np.full(size * size, -1e30), np.full(size * size, -1, np.int64), np.zeros(size * size), np.zeros(size * size)
    )
    index, x0, x1, y0, y1 = _visible(rig, look, screen[rig.triangles], size)
    count = (x1 - x0) * (y1 - y0)
    chunk = (np.cumsum(count) - count) // _CHUNK
    for number in range(int(chunk[-1]) + 1 if len(chunk) else 0):
        part = chunk == number
        n = count[part]
        which = np.repeat(np.arange(len(n)), n)
        within = np.arange(len(which)) - np.repeat(np.cumsum(n) - n, n)
        columns = (x1 - x0)[part][which]
        x, y = x0[part][which] + within % columns, y0[part][which] + within // columns
        _cover(rig, look, rest, fields, screen, index[part][which], x, y, size, buffer)
    return buffer


def _cover(
    rig: Rig, look: Look, rest: np.ndarray, fields: np.ndarray, screen: np.ndarray,
    triangle: np.ndarray, x: np.ndarray, y: np.ndarray, size: int, buffer: _Samples,
) -> None:  # fmt: skip
    """Enter pairs of a triangle and a sample (x, y) into the z-buffer, where the triangle covers the sample."""
    corner = rig.triangles[triangle]
    p0, p1, p2 = (screen[corner[:, k]] for k in range(3))
    area = (p1[:, 0] - p0[:, 0]) * (p2[:, 1] - p0[:, 1]) - (p1[:, 1] - p0[:, 1]) * (p2[:, 0] - p0[:, 0])
    px, py = x + 0.5 - p2[:, 0], y + 0.5 - p2[:, 1]
    w0 = ((p1[:, 1] - p2[:, 1]) * px + (p2[:, 0] - p1[:, 0]) * py) / area
    w1 = ((p2[:, 1] - p0[:, 1]) * px + (p0[:, 0] - p2[:, 0]) * py) / area
    w2 = 1 - w0 - w1
    depth = p0[:, 2] * w0 + p1[:, 2] * w1 + p2[:, 2] * w2
    place = y * size + x
    hit = np.nonzero((w0 >= _EDGE) & (w1 >= _EDGE) & (w2 >= _EDGE) & (depth > buffer.depth[place]))[0]
    kind = rig.part[triangle[hit]]
    covered = np.ones(len(hit), bool)
    for part in (LASH, CAP, LOCKS):
        chosen = np.nonzero(kind == part)[0]
        at = hit[chosen]
        point = (
            interpolate(rig, triangle[at], w0[at], w1[at], rest),
            interpolate(rig, triangle[at], w0[at], w1[at], fields),
        )
        covered[chosen] = shading.covers(look, part, *point)
    hit = hit[covered]
    # Of those that share a sample the nearest wins, and of equals the first triangle, as if they came one by one.
    hit = hit[np.lexsort((-triangle[hit], depth[hit], place[hit]))]
    last = np.append(place[hit][1:] != place[hit][:-1], True)[: len(hit)]
    hit = hit[last]
    at = place[hit]
    buffer.depth[at], buffer.triangle[at], buffer.w0[at], buffer.w1[at] = depth[hit], triangle[hit], w0[hit], w1[hit]


def interpolate(rig: Rig, triangle: np.ndarray, w0: np.ndarray, w1: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values of vertices [V, K] at points on triangles: [N, K]."""
    a, b, c = (values[rig.triangles[triangle, k]] for k in range(3))
    return a * w0[:, None] + b * w1[:, None] + c * (1 - w0 - w1)[:, None]


def _resolve(
    rig: Rig, look: Look, rest: np.ndarray, fields: np.ndarray, normal: np.ndarray,
    buffer: _Samples, resolution: int, samples: int,
) -> np.ndarray:  # fmt: skip
    """Shade all samples, and average those of a pixel."""
    size = resolution * samples
    y, x = np.meshgrid(np.arange(size) // samples, np.arange(size) // samples, indexing="ij")
    colour = shading.backdrop(look, (x.reshape(-1) + 0.5) / resolution, (y.reshape(-1) + 0.5) / resolution)
    part = np.where(buffer.triangle >= 0, rig.part[buffer.triangle], 255)
    for kind in range(CLOTH + 1):
        at = np.nonzero(part == kind)[0]
        if len(at) == 0:
            continue
        corners = buffer.triangle[at], buffer.w0[at], buffer.w1[at]
        n = interpolate(rig, *corners, normal)
        n = n / np.sqrt(_dot(n, n) + 1e-20)[:, None]
        if kind >= LASH:
            n = np.where(n[:, 2:] < 0, -n, n)
        point = interpolate(rig, *corners, rest), interpolate(rig, *corners, fields)
        colour[at] = shading.shade(look, kind, *point, n)
    colour = np.clip(colour, 0, 1).reshape(resolution, samples, resolution, samples, 3)
    total = np.zeros((resolution, resolution, 3))
    for j in range(samples):
        for i in range(samples):
            total += colour[:, j, :, i]
    return (np.sqrt(total / (samples * samples)) * 255 + 0.5).astype(np.uint8).transpose(2, 0, 1).copy()

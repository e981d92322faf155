"""The renderer of faces3d for machines without a C++ compiler: csrc/faces3d.cpp again, in numpy.

About a hundred times slower. It computes in float64 where C++ has float32, so single pixels differ. Like there, only
+ - * / and square roots are used, element by element; sums run in a fixed order (numpy.bincount), so that the result
does not depend on the processor.
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
    return _Renderer(rig, face.look, resolution * samples, samples).render(face.morphs)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def _normals(position: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (position[triangles[:, k]] for k in range(3))
    u, v = b - a, c - a
    normal = np.empty_like(position)
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        n = u[:, i] * v[:, j] - u[:, j] * v[:, i]
        normal[:, k] = np.bincount(triangles.reshape(-1), np.repeat(n, 3), len(position))
    return normal / np.sqrt(_dot(normal, normal) + 1e-20)[:, None]


class _Renderer:
    """One face on its way to a picture; the methods are those of the class in csrc/faces3d.cpp."""

    def __init__(self, rig: Rig, look: Look, size: int, samples: int) -> None:
        self.rig, self.look, self.size, self.samples = rig, look, size, samples
        self.rest, self.fields = rig.rest.astype(np.float64), rig.fields.astype(np.float64)
        self.position = self.rest.copy()
        self.normal = np.zeros_like(self.rest)

    def render(self, morphs: dict[int, float]) -> np.ndarray:
        self._morph(morphs)
        self.normal = _normals(self.position, self.rig.triangles[self.rig.part == SKIN])
        self._add_hair()
        self._add_torso()
        self._pose()
        self.normal = _normals(self.position, self.rig.triangles)
        return self._resolve(self._rasterize(self._project()))

    def _eye_middle(self, side: int) -> np.ndarray:
        chosen = (self.rig.kind == EYE) & ((self.rest[:, 0] > 0) == (side == 1))
        zeros = np.zeros(int(chosen.sum()), np.int64)
        return np.array([np.bincount(zeros, self.position[chosen, k])[0] for k in range(3)]) / len(zeros)

    def _morph(self, morphs: dict[int, float]) -> None:
        for k, weight in morphs.items():
            span = slice(int(self.rig.morph_ptr[k]), int(self.rig.morph_ptr[k + 1]))
            self.position[self.rig.morph_index[span]] += self.rig.morph_delta[span].astype(np.float64) * weight
        eyes = (self._eye_middle(0) + self._eye_middle(1)) * 0.5
        self.position[self.rig.kind < CAP, 1:] += np.array(EYE_CENTRE)[1:] - eyes[1:]

    def _add_hair(self) -> None:
        rest, fields, position, normal = self.rest, self.fields, self.position, self.normal
        skin, cap, locks = (np.nonzero(self.rig.kind == part)[0] for part in (SKIN, CAP, LOCKS))
        r = rest[skin]
        x = np.abs(r[:, 0])
        pressed = (x > 0.72) & (r[:, 1] > 6.6)
        away = np.where(r[:, 0] < 0, 0.72 - x, x - 0.72)
        position[skin, 0] -= np.where(pressed, 0.85 * away * self.look.ears_covered, 0.0)
        position[skin] += (
            normal[skin] * (self.look.beard_thickness * shading.beard(self.look, r, fields[skin]))[:, None]
        )

        r = rest[cap]
        h = shading.scalp(self.look, r, fields[cap, shading.SCALP])
        lumps = 1 + 0.9 * self.look.curl * (shading.noise(self.look, 0, r[:, 0] * 5, r[:, 1] * 5, r[:, 2] * 5) - 0.5)
        volume = self.look.cap_thickness * smooth(h, -0.02, 0.35) * (0.5 + 0.5 * smooth(r[:, 1], 7.2, 8.2))
        volume = volume * (1 + self.look.quiff * smooth(r[:, 2], 0.6, 1.2))
        source = self.rig.source[cap]
        position[cap] = position[source] + normal[source] * (0.006 + volume * lumps)[:, None]

        skull = position[self.rig.skull]
        low, high = skull.min(0), skull.max(0)
        pad = 0.03 + 0.6 * self.look.cap_thickness + self.look.locks_volume
        middle = 0.5 * (low + high)
        radius = 0.5 * (high - low) + pad
        radius_y = high[1] - _SKULL_Y + 0.6 * pad
        u, width, hang, turn = rest[locks], fields[locks, 0], fields[locks, 1], fields[locks, 2]
        wave = self.look.locks_wave * 0.16 * (shading.noise(self.look, 0, turn * 22, hang * 5, u[:, 1] * 4) - 0.5)
        brow = 0.12 * smooth(u[:, 2], 0.2, 0.5) * (1 - smooth(u[:, 1], 0.75, 0.95)) if self.look.fringe < 1 else 0.0
        out = self.look.locks_flare * hang + wave * (0.3 + hang) + brow
        position[locks, 0] = middle[0] + u[:, 0] * (radius[0] * width + out)
        position[locks, 1] = _SKULL_Y + radius_y * u[:, 1] - self.look.locks_length * hang
        position[locks, 2] = middle[2] + u[:, 2] * (radius[2] * width + out)

    def _add_torso(self) -> None:
        rest, fields, position = self.rest, self.fields, self.position
        _, _, shoulder, chest = self.rig.landmarks
        moved = position - rest
        wide = position[shoulder, 0] / rest[shoulder, 0] * self.look.shoulders
        cloth = self.rig.kind == CLOTH
        shift = np.array((0.0, moved[shoulder, 1], 0.5 * (moved[shoulder, 2] + moved[chest, 2])))
        position[cloth] = position[cloth] * np.array((wide, 1.0, 1.0)) + shift
        dressed = (self.rig.kind == SKIN) & (fields[:, shading.NECK] > 0.3)
        puff = 0.03 * smooth(shading.dressed(self.look, rest[dressed]), -0.01, 0.06)
        position[dressed] += self.normal[dressed] * puff[:, None]

    def _pose(self) -> None:
        p = self.position - _PIVOT
        turned = []
        for matrix in (self.look.head_rotation, self.look.torso_rotation):
            rows = np.array(matrix[:]).reshape(3, 3)
            turned.append(np.stack([_dot(p, row) for row in rows], 1))
        head, torso = turned
        self.position = head + (torso - head) * self.fields[:, shading.NECK, None] + _PIVOT

    def _project(self) -> np.ndarray:
        left, right = self._eye_middle(0), self._eye_middle(1)
        position, pixels = self.position, self.size
        middle = (left + right) * 0.5
        mouth = (position[self.rig.landmarks[0]] + position[self.rig.landmarks[1]]) * 0.5

        def flat(p: np.ndarray) -> np.ndarray:
            p = p - middle
            scale = self.look.camera / (self.look.camera - p[..., 2])
            return np.stack([p[..., 0] * scale, p[..., 1] * scale, p[..., 2]], -1)

        m, across = flat(mouth), flat(right) - flat(left)
        width = np.sqrt(across[0] * across[0] + across[1] * across[1])
        height = np.sqrt(m[0] * m[0] + m[1] * m[1])
        side = self.look.zoom * 4.25 * max(width, height)
        ax, ay = across[0] - m[1], across[1] + m[0]
        norm = np.sqrt(ax * ax + ay * ay)
        s, c = self.look.roll
        ux, uy = (ax * c - ay * s) / norm / side, (ay * c + ax * s) / norm / side
        p = flat(position)
        return np.stack(
            [
                (0.5 + self.look.shift_x + p[:, 0] * ux + p[:, 1] * uy) * pixels,
                (0.465 + self.look.shift_y - (p[:, 1] * ux - p[:, 0] * uy)) * pixels,
                p[:, 2],
            ],
            1,
        )

    def _visible(self, corners: np.ndarray) -> tuple[np.ndarray, ...]:
        """Triangles to draw, and the boxes of samples round them: (index, x0, x1, y0, y1)."""
        p0, p1, p2 = corners[:, 0], corners[:, 1], corners[:, 2]
        area = (p1[:, 0] - p0[:, 0]) * (p2[:, 1] - p0[:, 1]) - (p1[:, 1] - p0[:, 1]) * (p2[:, 0] - p0[:, 0])
        thin = (self.rig.part >= LASH) & ((self.rig.part != CAP) | (self.look.cap_thickness > 0.15))
        keep = np.where(thin, area != 0, area < 0)
        if self.look.cap == 0:
            keep &= self.rig.part != CAP
        if self.look.locks == 0 and self.look.fringe > 1:
            keep &= self.rig.part != LOCKS
        box = [np.clip(edge + 0.5, 0, self.size).astype(np.int64) for edge in (corners.min(1), corners.max(1))]
        x0, y0, x1, y1 = box[0][:, 0], box[0][:, 1], box[1][:, 0], box[1][:, 1]
        chosen = np.nonzero(keep & (x1 > x0) & (y1 > y0))[0]
        return chosen, x0[chosen], x1[chosen], y0[chosen], y1[chosen]

    def _rasterize(self, screen: np.ndarray) -> _Samples:
        size = self.size
        buffer = _Samples(
            np.full(size * size, -1e30),
            np.full(size * size, -1, np.int64),
            np.zeros(size * size),
            np.zeros(size * size),
        )
        index, x0, x1, y0, y1 = self._visible(screen[self.rig.triangles])
        count = (x1 - x0) * (y1 - y0)
        chunk = (np.cumsum(count) - count) // _CHUNK
        for number in range(int(chunk[-1]) + 1 if len(chunk) else 0):
            part = chunk == number
            n = count[part]
            which = np.repeat(np.arange(len(n)), n)
            within = np.arange(len(which)) - np.repeat(np.cumsum(n) - n, n)
            columns = (x1 - x0)[part][which]
            x, y = x0[part][which] + within % columns, y0[part][which] + within // columns
            triangle = index[part][which]
            self._cover(buffer, screen[self.rig.triangles[triangle]], triangle, x, y)
        return buffer

    def _cover(self, buffer: _Samples, corner: np.ndarray, triangle: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
        """Enter pairs of a triangle and a sample (x, y) into the z-buffer, where the triangle covers the sample."""
        p0, p1, p2 = (corner[:, k] for k in range(3))
        area = (p1[:, 0] - p0[:, 0]) * (p2[:, 1] - p0[:, 1]) - (p1[:, 1] - p0[:, 1]) * (p2[:, 0] - p0[:, 0])
        px, py = x + 0.5 - p2[:, 0], y + 0.5 - p2[:, 1]
        w0 = ((p1[:, 1] - p2[:, 1]) * px + (p2[:, 0] - p1[:, 0]) * py) / area
        w1 = ((p2[:, 1] - p0[:, 1]) * px + (p0[:, 0] - p2[:, 0]) * py) / area
        w2 = 1 - w0 - w1
        depth = p0[:, 2] * w0 + p1[:, 2] * w1 + p2[:, 2] * w2
        place = y * self.size + x
        hit = np.nonzero((w0 >= _EDGE) & (w1 >= _EDGE) & (w2 >= _EDGE) & (depth > buffer.depth[place]))[0]
        kind = self.rig.part[triangle[hit]]
        covered = np.ones(len(hit), bool)
        for part in (LASH, CAP, LOCKS):
            chosen = np.nonzero(kind == part)[0]
            at = hit[chosen]
            corners = triangle[at], w0[at], w1[at]
            point = self._between(self.rest, *corners), self._between(self.fields, *corners)
            covered[chosen] = shading.covers(self.look, part, *point)
        hit = hit[covered]
        # Of those that share a sample the nearest wins, and of equals the first triangle, as if they came one by one.
        hit = hit[np.lexsort((-triangle[hit], depth[hit], place[hit]))]
        last = np.append(place[hit][1:] != place[hit][:-1], True)[: len(hit)]
        hit = hit[last]
        at = place[hit]
        buffer.depth[at], buffer.triangle[at], buffer.w0[at], buffer.w1[at] = (
            depth[hit],
            triangle[hit],
            w0[hit],
            w1[hit],
        )

    def _between(self, values: np.ndarray, triangle: np.ndarray, w0: np.ndarray, w1: np.ndarray) -> np.ndarray:
        """Values of vertices [V, K] at points on triangles: [N, K]."""
        a, b, c = (values[self.rig.triangles[triangle, k]] for k in range(3))
        return a * w0[:, None] + b * w1[:, None] + c * (1 - w0 - w1)[:, None]

    def _resolve(self, buffer: _Samples) -> np.ndarray:
        """Shade all samples, and average those of a pixel."""
        size, samples, resolution = self.size, self.samples, self.size // self.samples
        y, x = np.meshgrid(np.arange(size) // samples, np.arange(size) // samples, indexing="ij")
        colour = shading.backdrop(self.look, (x.reshape(-1) + 0.5) / resolution, (y.reshape(-1) + 0.5) / resolution)
        part = np.where(buffer.triangle >= 0, self.rig.part[buffer.triangle], 255)
        for kind in range(CLOTH + 1):
            at = np.nonzero(part == kind)[0]
            if len(at) == 0:
                continue
            corners = buffer.triangle[at], buffer.w0[at], buffer.w1[at]
            n = self._between(self.normal, *corners)
            n = n / np.sqrt(_dot(n, n) + 1e-20)[:, None]
            if kind >= LASH:
                n = np.where(n[:, 2:] < 0, -n, n)
            point = self._between(self.rest, *corners), self._between(self.fields, *corners)
            colour[at] = shading.shade(self.look, kind, *point, n)
        colour = np.clip(colour, 0, 1).reshape(resolution, samples, resolution, samples, 3)
        total = np.zeros((resolution, resolution, 3))
        for j in range(samples):
            for i in range(samples):
                total += colour[:, j, :, i]
        return (np.sqrt(total / (samples * samples)) * 255 + 0.5).astype(np.uint8).transpose(2, 0, 1).copy()

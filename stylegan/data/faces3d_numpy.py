"""The renderer of faces3d for machines without a C++ compiler: csrc/faces3d.cpp again, in numpy.

About a hundred times slower. It computes in float64 where C++ has float32, so single pixels differ. Like there, only
+ - * / and square roots are used, element by element; sums run in a fixed order (numpy.bincount), so that the result
does not depend on the processor.
"""

from dataclasses import dataclass

import numpy as np

from stylegan.data import faces3d_numpy_hair as hair
from stylegan.data import faces3d_numpy_shading as shading
from stylegan.data.faces3d_looks import Face, Look
from stylegan.data.faces3d_numpy_hair import dot
from stylegan.data.faces3d_rig import (
    CAP,
    CLOTH,
    EYE,
    EYE_CENTRE,
    FRAME,
    LASH,
    LENS,
    LOCKS,
    SKIN,
    SKULL_Y,
    Rig,
    smooth,
)  # fmt: skip

_PIVOT = np.array((0.0, 6.35, 0.45))
_SHADOW, _SHADOW_SIDE, _SHADOW_MIDDLE = 96, 3.4, np.array((0.0, 7.1, 0.6))  # texels; units; units
_EDGE = -1e-4
_BARE = -0.32  # this far outside the hairline no hair grows
_CHUNK = 1_000_000  # how many pairs of triangle and sample are looked at together; bounds the memory


@dataclass
class _Samples:
    """The z-buffer, flat: depth, triangle (-1 where there is none), weights of the triangle's first two corners."""

    depth: np.ndarray
    triangle: np.ndarray
    w0: np.ndarray
    w1: np.ndarray

    @classmethod
    def empty(cls, count: int) -> "_Samples":
        """Nothing but backdrop."""
        return cls(np.full(count, -1e30), np.full(count, -1, np.int64), np.zeros(count), np.zeros(count))


def draw(rig: Rig, face: Face, resolution: int, samples: int) -> np.ndarray:
    """Render one face with samples x samples rays a pixel: uint8 [3, resolution, resolution]."""
    return _Renderer(rig, face.look, resolution * samples, samples).render(face.morphs)


def _normals(position: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (position[triangles[:, k]] for k in range(3))
    u, v = b - a, c - a
    normal = np.empty_like(position)
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        n = u[:, i] * v[:, j] - u[:, j] * v[:, i]
        normal[:, k] = np.bincount(triangles.reshape(-1), np.repeat(n, 3), len(position))
    return normal / np.sqrt(dot(normal, normal) + 1e-20)[:, None]


class _Renderer:
    """One face on its way to a picture; the methods are those of the class in csrc/faces3d.cpp."""

    def __init__(self, rig: Rig, look: Look, size: int, samples: int) -> None:
        self.rig, self.look, self.size, self.samples = rig, look, size, samples
        self.rest, self.fields = rig.rest.astype(np.float64), rig.fields.astype(np.float64)
        self.position = self.rest.copy()
        self.normal = np.zeros_like(self.rest)
        self.bare = np.zeros(len(self.rest), bool)  # vertices of the cap without hair

    def render(self, morphs: dict[int, float]) -> np.ndarray:
        self._morph(morphs)
        self.normal = _normals(self.position, self.rig.triangles[self.rig.part == SKIN])
        self._add_hair()
        self._add_torso()
        if self.look.glasses > 0:
            self._add_glasses()
        self._pose()
        self.normal = _normals(self.position, self.rig.triangles)
        self.shadow = self._cast_shadows()
        screen, pixels = self._project(), self.size * self.size
        buffer, lens = _Samples.empty(pixels), _Samples.empty(pixels)
        self._rasterize(screen, buffer, lens)
        return self._expose(self._shade_all(buffer, lens))

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
        position[skin] += normal[skin] * (self.look.beard_thickness * hair.beard(self.look, r, fields[skin]))[:, None]

        r = rest[cap]
        h = hair.scalp(self.look, r, fields[cap, hair.SCALP])
        self.bare[cap] = h < _BARE
        source = self.rig.source[cap]
        up = hair.volume(self.look, r, h, fields[cap, hair.LAYER])
        position[cap] = position[source] + normal[source] * up[:, None]

        skull = position[self.rig.skull]
        low, high = skull.min(0), skull.max(0)
        self._hang(
            locks, 0.5 * (low + high), np.array((0.5 * (high - low)[0], high[1] - SKULL_Y, 0.5 * (high - low)[2]))
        )

    def _hang(self, locks: np.ndarray, middle: np.ndarray, size: np.ndarray) -> None:
        """Hair that hangs follows the skull, falls towards the neck and then outwards over the shoulders."""
        look, u = self.look, self.rest[locks]
        width, hang, turn, far, layer = self.fields[locks, :5].T
        wave = look.locks_wave * 0.16 * (hair.noise(look, 0, turn * 22, hang * 5, u[:, 1] * 4) - 0.5)
        fallen = hang * look.locks_length
        pad = 0.02 + 0.6 * look.cap_thickness + look.locks_volume * (1 - 0.8 * u[:, 1]) + 0.6 * layer * look.fuzz
        taper = look.locks_taper * smooth(fallen, 0.1, 1.0)
        out = pad + look.locks_flare * smooth(fallen, 0.5, 2.2) + wave * (0.3 + hang) - taper
        forward = look.locks_forward * smooth(fallen, 0.2, 1.5) * smooth(u[:, 2], -0.4, 0.4)
        self.position[locks, 0] = middle[0] + u[:, 0] * (size[0] * far * width + out * width)
        self.position[locks, 1] = SKULL_Y + (size[1] * far + pad) * u[:, 1] - fallen
        self.position[locks, 2] = middle[2] + u[:, 2] * (size[2] * far * width + out * width) + forward

    def _add_glasses(self) -> None:
        """Two rims with lenses, a bridge, and temples that end at the ears; all of it on the morphed face."""
        look, position = self.look, self.position
        left, right = self._eye_middle(0), self._eye_middle(1)
        bridge, ear = position[self.rig.landmarks[4]], position[self.rig.landmarks[5]]
        middle = 0.5 * (right[0] - left[0]) + 0.015
        width, tube = min(look.lens_width, middle - 0.05), look.frame_thickness
        height, level = width * look.lens_height, 0.5 * (left[1] + right[1]) - look.lens_drop
        plane = max(bridge[2] + 0.05, right[2] + 0.26)
        own = np.nonzero((self.rig.kind == FRAME) | (self.rig.kind == LENS))[0]
        (rx, ry, side), (across, deep, piece, along) = self.rest[own].T, self.fields[own, :4].T
        tall = across * max(0.8 * tube, 0.012)
        across, deep = across * tube, deep * max(0.6 * tube, 0.010)

        x = 2 * along - 1
        bow = 1 - x * x
        over = (x * (middle - width), level + 0.18 * height + 0.05 * bow + across, plane + 0.03 * bow + deep)

        outer = middle + width + 0.5 * tube
        bulge = 0.6 * (0.10 * along * (1 - along) * 4)
        x = outer + (max(ear[0], outer) + 0.03 - outer) * along + bulge
        start, back = level + 0.30 * height, plane - 0.30 * outer * outer
        temple = (side * (x + 0.4 * deep), start + (ear[1] - start) * along + tall, back + (ear[2] - back) * along)

        longest = np.maximum(np.abs(rx), np.abs(ry))
        stretch = np.where(longest > 0, 1 + (1 / np.where(longest > 0, longest, 1.0) - 1) * look.lens_square, 0.0)
        x = rx * stretch * width + rx * across + middle
        rim = (side * x, level + ry * stretch * height + ry * across, plane - 0.30 * x * x + deep)
        for axis in range(3):
            position[own, axis] = np.where(piece == 1, over[axis], np.where(piece == 2, temple[axis], rim[axis]))

    def _add_torso(self) -> None:
        rest, fields, position = self.rest, self.fields, self.position
        _, _, shoulder, chest, _, _ = self.rig.landmarks
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
            turned.append(np.stack([dot(p, row) for row in rows], 1))
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

    def _cast_shadows(self) -> np.ndarray:
        """What the key light sees: a depth map along its direction, flat."""
        key = np.array(self.look.key_direction[:])
        right = np.array((key[2], 0.0, -key[0]))
        right = right / np.sqrt(dot(right, right) + 1e-20)
        up = np.array(
            (key[1] * right[2] - key[2] * right[1], key[2] * right[0] - key[0] * right[2],
             key[0] * right[1] - key[1] * right[0])
        )  # fmt: skip
        self.light_axes = right, up, key
        part = self.rig.part
        layer = self.fields[self.rig.triangles[:, 0], hair.LAYER]
        seen = self._to_light(self.position)
        area = _area(seen[self.rig.triangles])
        strands = (part == CAP) | (part == LOCKS)
        keep = (area > 0) & ~(strands & (layer > 0))
        keep &= ~self._hidden() & ((part < EYE) | (part > LASH)) & (part < FRAME)
        buffer = _Samples.empty(_SHADOW * _SHADOW)
        self._scan(seen, keep, _SHADOW, buffer, towards_light=True)
        return buffer.depth

    def _to_light(self, p: np.ndarray) -> np.ndarray:
        """Place in the shadow map, in texels, and height towards the light: [N, 3]."""
        right, up, key = self.light_axes
        p = p - _SHADOW_MIDDLE
        x, y = ((dot(p, axis) / _SHADOW_SIDE + 0.5) * _SHADOW for axis in (right, up))
        return np.stack([x, y, dot(p, key)], 1)

    def _lit(self, p: np.ndarray, facing: np.ndarray) -> np.ndarray:
        """Share of the key light that arrives at points p [N, 3]: the mean of 3 x 3 weighted comparisons."""
        q = self._to_light(p)
        outside = ((q[:, :2] < 2) | (q[:, :2] > _SHADOW - 3)).any(1)
        x, y = (np.clip(np.floor(q[:, k]), 2, _SHADOW - 3).astype(np.int64) for k in (0, 1))
        fx, fy = q[:, 0] - x, q[:, 1] - y
        limit = q[:, 2] + 0.04 + 0.09 * (1 - np.clip(facing, 0, 1))
        total = np.zeros(len(p))
        for j, wy in enumerate((1 - fy, 1.0, fy)):
            for i, wx in enumerate((1 - fx, 1.0, fx)):
                total += np.where(self.shadow[(y + j - 1) * _SHADOW + x + i - 1] <= limit, wx * wy, 0.0)
        return np.where(outside, 1.0, np.where(facing > -0.45, 0.25 * total, 0.0))

    def _hidden(self) -> np.ndarray:
        """Triangles of parts that this face does not have."""
        part, look = self.rig.part, self.look
        cap, locks, glasses = (part == CAP) & (look.cap == 0), (part == LOCKS) & (look.locks == 0), look.glasses == 0
        return cap | locks | ((part >= FRAME) & glasses) | self.bare[self.rig.triangles].all(1)

    def _rasterize(self, screen: np.ndarray, buffer: _Samples, lens: _Samples) -> None:
        part = self.rig.part
        area = _area(screen[self.rig.triangles])
        thin = (part >= LASH) & ((part != CAP) | (self.look.cap_thickness > 0.15))
        keep = np.where(thin, area != 0, area < 0) & ~self._hidden()
        self._scan(screen, keep & (part != LENS), self.size, buffer)
        self._scan(screen, keep & (part == LENS), self.size, lens)

    def _scan(
        self, screen: np.ndarray, keep: np.ndarray, size: int, buffer: _Samples, towards_light: bool = False
    ) -> None:
        """Enter the triangles to `keep` into a z-buffer of size x size samples."""
        corners = screen[self.rig.triangles]
        box = [np.clip(edge + 0.5, 0, size).astype(np.int64) for edge in (corners.min(1), corners.max(1))]
        x0, y0, x1, y1 = box[0][:, 0], box[0][:, 1], box[1][:, 0], box[1][:, 1]
        index = np.nonzero(keep & (x1 > x0) & (y1 > y0))[0]
        x0, x1, y0, y1 = x0[index], x1[index], y0[index], y1[index]
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
            self._cover(buffer, corners[triangle], triangle, x, y, size, towards_light)

    def _cover(
        self,
        buffer: _Samples,
        corner: np.ndarray,
        triangle: np.ndarray,
        x: np.ndarray,
        y: np.ndarray,
        size: int,
        towards_light: bool,
    ) -> None:
        """Enter pairs of a triangle and a sample (x, y) into the z-buffer, where the triangle covers the sample."""
        p0, p1, p2 = (corner[:, k] for k in range(3))
        area = _area(corner)
        px, py = x + 0.5 - p2[:, 0], y + 0.5 - p2[:, 1]
        w0 = ((p1[:, 1] - p2[:, 1]) * px + (p2[:, 0] - p1[:, 0]) * py) / area
        w1 = ((p2[:, 1] - p0[:, 1]) * px + (p0[:, 0] - p2[:, 0]) * py) / area
        w2 = 1 - w0 - w1
        depth = p0[:, 2] * w0 + p1[:, 2] * w1 + p2[:, 2] * w2
        place = y * size + x
        hit = np.nonzero((w0 >= _EDGE) & (w1 >= _EDGE) & (w2 >= _EDGE) & (depth > buffer.depth[place]))[0]
        kind = self.rig.part[triangle[hit]]
        covered = np.ones(len(hit), bool)
        for part in (LASH, CAP, LOCKS):
            chosen = np.nonzero(kind == part)[0]
            at = hit[chosen]
            corners = triangle[at], w0[at], w1[at]
            rest, fields = self._between(self.rest, *corners), self._between(self.fields, *corners)
            if part == LASH:
                covered[chosen] = shading.lashed(self.look, rest)
                continue
            facing = np.abs(self._between(self.normal[:, 2:], *corners)[:, 0]) * (not towards_light)
            covered[chosen] = hair.covers(self.look, part, rest, fields, facing)
        hit = hit[covered]
        # Of those that share a sample the nearest wins, and of equals the first triangle, as if they came one by one.
        hit = hit[np.lexsort((-triangle[hit], depth[hit], place[hit]))]
        last = np.append(place[hit][1:] != place[hit][:-1], True)[: len(hit)]
        hit = hit[last]
        at = place[hit]
        buffer.depth[at], buffer.triangle[at] = depth[hit], triangle[hit]
        buffer.w0[at], buffer.w1[at] = w0[hit], w1[hit]

    def _between(self, values: np.ndarray, triangle: np.ndarray, w0: np.ndarray, w1: np.ndarray) -> np.ndarray:
        """Values of vertices [V, K] at points on triangles: [N, K]."""
        a, b, c = (values[self.rig.triangles[triangle, k]] for k in range(3))
        return a * w0[:, None] + b * w1[:, None] + c * (1 - w0 - w1)[:, None]

    def _shade_all(self, buffer: _Samples, lens: _Samples) -> np.ndarray:
        """Linear colours of all samples, in 0 .. 1: [size, size, 3]."""
        size, samples, resolution = self.size, self.samples, self.size // self.samples
        y, x = np.meshgrid(np.arange(size) // samples, np.arange(size) // samples, indexing="ij")
        colour = shading.backdrop(self.look, (x.reshape(-1) + 0.5) / resolution, (y.reshape(-1) + 0.5) / resolution)
        part = np.where(buffer.triangle >= 0, self.rig.part[buffer.triangle], 255)
        key = np.array(self.look.key_direction[:])
        for kind in range(LENS):
            at = np.nonzero(part == kind)[0]
            if len(at) == 0:
                continue
            corners = buffer.triangle[at], buffer.w0[at], buffer.w1[at]
            n = self._between(self.normal, *corners)
            n = n / np.sqrt(dot(n, n) + 1e-20)[:, None]
            inside = (n[:, 2] < 0) & (kind >= LASH)
            n = np.where(inside[:, None], -n, n)
            lit = self._lit(self._between(self.position, *corners), dot(n, key))
            point = self._between(self.rest, *corners), self._between(self.fields, *corners)
            colour[at] = shading.shade(self.look, kind, *point, n, lit, inside)
        colour = np.clip(colour, 0, 1).reshape(size, size, 3)
        # Inside of a part every other sample is the mean of its neighbours, as in C++, where that saves time.
        p = part.reshape(size, size)
        y, x = np.nonzero((p[:, 1:-1] != 255) & (p[:, 1:-1] == p[:, :-2]) & (p[:, 1:-1] == p[:, 2:]))
        x = x + 1
        odd = (x + y) % 2 == 1
        y, x = y[odd], x[odd]
        colour[y, x] = (colour[y, x - 1] + colour[y, x + 1]) * 0.5
        at = np.nonzero((lens.triangle >= 0) & (lens.depth > buffer.depth))[0]
        rest = self._between(self.rest, lens.triangle[at], lens.w0[at], lens.w1[at])
        flat = colour.reshape(-1, 3)
        flat[at] = np.clip(shading.through_lens(self.look, flat[at], rest), 0, 1)
        return colour

    def _expose(self, colour: np.ndarray) -> np.ndarray:
        """The camera: a lens that blurs a little beyond the pixel, and a sensor with a little noise."""
        samples, resolution, blur = self.samples, self.size // self.samples, self.look.blur
        for _ in range(2):  # along x, then along y; both passes filter the second axis and exchange the axes
            total = np.zeros((colour.shape[0], resolution, 3))
            for i in range(samples + 2):
                at = np.clip(np.arange(resolution) * samples + i - 1, 0, self.size - 1)
                total += colour[:, at] * (blur if i in (0, samples + 1) else 1.0)
            colour = (total / (samples + 2 * blur)).transpose(1, 0, 2)
        y, x = np.meshgrid(np.arange(resolution), np.arange(resolution), indexing="ij")
        picture = np.empty((3, resolution, resolution), np.uint8)
        for k in range(3):
            seed = (int(self.look.noise_seed) * 3 + k) * 0x9E3779B1 & 0xFFFFFFFF
            key = seed + x * 0x85EBCA77 + y * 0xC2B2AE3D
            first, second = (hair.scramble((key + more & 0xFFFFFFFF).astype(np.uint32)) for more in (0, 0x27D4EB2F))
            grain = self.look.grain * (first + second - 1)
            picture[k] = np.clip(np.sqrt(colour[:, :, k]) * 255 + grain + 0.5, 0, 255).astype(np.uint8)
        return picture


def _area(corner: np.ndarray) -> np.ndarray:
    """Twice the signed areas of triangles [N, 3, 2 or more]."""
    p0, p1, p2 = corner[:, 0], corner[:, 1], corner[:, 2]
    return (p1[:, 0] - p0[:, 0]) * (p2[:, 1] - p0[:, 1]) - (p1[:, 1] - p0[:, 1]) * (p2[:, 0] - p0[:, 0])

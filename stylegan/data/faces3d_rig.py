"""The mesh of faces3d: the CC0 head, and around it a cap of hair, hanging locks, a torso and glasses.

Everything here is the same for all faces and is worked out once. "Rest" coordinates are those of the neutral head: x to
the viewer's right, y up, z towards the viewer; eyes at y = 7.28, chin at 6.17, crown at 8.49; one unit is about 10 cm.
Only elementwise + - * / and square roots of numpy are used: they give the same bits on every processor.
"""

import functools
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from stylegan.data.faces3d_looks import sine_cosine
from stylegan.files import shipped

SKIN, EYE, TEETH, TONGUE, LASH, CAP, LOCKS, CLOTH, FRAME, LENS = range(10)
_PART = {"skin": SKIN, "eye": EYE, "teeth": TEETH, "tongue": TONGUE, "eyelash": LASH}
EYE_CENTRE = (0.3078, 7.2841, 1.2454)  # of the eye at positive x
_LANDMARKS = (  # upper lip, lower lip, shoulder, chest, bridge of the nose, where the ear begins
    (0.0, 6.72, 1.62), (0.0, 6.66, 1.62), (1.1, 5.70, 0.0), (0.0, 5.75, 0.70), (0.0, 7.26, 1.6), (0.75, 7.35, 0.62),
)  # fmt: skip
LAYERS = 2  # of hair: the outer one holds single strands, which makes the edge of the hair soft
SKULL_Y = 7.5  # height of the equator of the skull
_COLUMNS, _ROWS_ROUND, _ROWS_DOWN, _RIM = 48, 9, 9, 32
_TORSO = (  # y, half width, half depth, z of the centre: rings from the collar down
    (5.93, 0.70, 0.56, 0.14), (5.86, 0.86, 0.58, 0.14), (5.80, 1.06, 0.60, 0.14), (5.77, 1.35, 0.62, 0.14),
    (5.70, 1.65, 0.64, 0.14), (5.54, 1.86, 0.68, 0.14), (5.2, 1.98, 0.76, 0.14), (4.2, 2.02, 0.85, 0.14),
)  # fmt: skip


class Rig(NamedTuple):
    """The static mesh.

    Attributes:
        rest: [V, 3] float32, rest coordinates. Of locks: sine of azimuth, height on the unit sphere, cosine of azimuth.
        fields: [V, 6] float32: lips; scalp, the distance inside the hairline; beard; moustache; inside of mouth or
            nose; neck (0 moves with the head, 1 with the torso). Of the cap, the fifth is its layer, 0 (inside) .. 1.
            Of locks: width on the unit sphere; how far they hang, 0..1; turns round the head; radius of the skull in
            this direction, in units of the ellipsoid's; layer; neck. Of glasses: see `_glasses`.
        triangles: [F, 3] int32, sorted by part.
        part: [F] uint8, one of SKIN .. LENS.
        kind: [V] uint8, the part that a vertex belongs to.
        source: [V] int32: the skin vertex that a vertex of the cap lies over, else -1.
        morph_names: Names of the K morphs.
        morph_ptr: [K + 1] int64; morph_index: [M] int32; morph_delta: [M, 3] float32.
        skull: [S] int32, vertices that the size of the skull is measured on; its last is on the forehead.
        landmarks: [6] int32: upper lip, lower lip, shoulder, chest, bridge of the nose, beginning of the ear.
    """

    rest: np.ndarray
    fields: np.ndarray
    triangles: np.ndarray
    part: np.ndarray
    kind: np.ndarray
    source: np.ndarray
    morph_names: tuple[str, ...]
    morph_ptr: np.ndarray
    morph_index: np.ndarray
    morph_delta: np.ndarray
    skull: np.ndarray
    landmarks: np.ndarray


def smooth(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Smooth step: 0 below `low`, 1 above `high`."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _polyline(x: np.ndarray, knots: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Piecewise linear function through `knots`, constant outside (numpy.interp may use fused operations)."""
    y = np.full(x.shape, knots[0][1])
    for (x0, y0), (x1, y1) in pairwise(knots):
        y = np.where(x > x0, y0 + (y1 - y0) * (np.minimum(x, x1) - x0) / (x1 - x0), y)
    return y


def _scalp(p: np.ndarray, ears: np.ndarray) -> np.ndarray:
    """About the distance inside the hairline, from rest coordinates: positive where hair grows."""
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    side = (
        (6.3, -0.35), (6.6, -0.1), (6.85, 0.1), (7.0, 0.33), (7.08, 0.62), (7.2, 0.80), (7.45, 0.84), (7.65, 0.90),
        (7.8, 1.00), (7.95, 1.22), (8.06, 1.40), (8.2, 1.9), (8.4, 2.6),
    )  # fmt: skip
    front = _polyline(y, side) - 0.03 * smooth(x, 0.35, 0.6) * smooth(y, 7.6, 7.85)  # corners of the forehead
    return np.where(ears > 0.05, -0.3, np.minimum(front - z, 1.0))


def _beard(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where beard (chin and jaw) and moustache can grow, each 0..1, from rest coordinates."""
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    cheek = _polyline(x, ((0.0, 6.62), (0.20, 6.62), (0.30, 6.76), (0.5, 6.80), (0.62, 6.92), (0.72, 7.25), (0.8, 7.3)))
    jaw = smooth(cheek - y, -0.04, 0.06) * smooth(y, 5.95, 6.2) * smooth(z, 0.55, 0.75)
    lip = (
        (1 - smooth(y + 0.3 * x, 6.85, 6.93))
        * smooth(y, 6.66, 6.74)
        * (1 - smooth(x, 0.27, 0.38))
        * smooth(z, 1.25, 1.35)
    )
    return jaw, lip


def _head(data: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rest coordinates, fields, triangles and parts of what comes from the head model."""
    rest = data["vertices"].astype(np.float64)
    names = [str(name) for name in data["part_names"]]
    keep = data["part"] != names.index("hair")  # a helper mesh for hair; ours follows the hairline instead
    triangles = data["triangles"][keep].astype(np.int32)
    part = np.array([_PART.get(name, SKIN) for name in names], np.uint8)[data["part"][keep]]
    uv = data["uv"][keep].astype(np.float64)
    masks = []
    for mask in (data["mask_lips"], data["mask_ears"]):
        column = np.clip((uv[..., 0] * 512).astype(np.int64), 0, 511)
        row = np.clip(((1 - uv[..., 1]) * 512).astype(np.int64), 0, 511)
        values = np.zeros(len(rest))
        is_skin = part == SKIN
        values[triangles[is_skin].reshape(-1)] = mask[row, column][is_skin].reshape(-1) / 255.0
        masks.append(values)
    lips, ears = masks
    x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    inside = smooth(1.43 - 1.2 * x * x - z, 0, 0.08) * (x < 0.4) * smooth(y, 6.42, 6.47) * (1 - smooth(y, 7.02, 7.06))
    neck = 1 - smooth(y + 0.55 * np.maximum(z - 0.75, 0), 5.75, 6.45)
    fields = np.stack([lips, _scalp(rest, ears), *_beard(rest), inside, neck], 1)
    return rest, fields, triangles, part


def _grid(rows: int, columns: int) -> np.ndarray:
    """Triangles of a tube of `rows` rings of `columns` vertices."""
    r, c = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    a, b = r * columns + c, r * columns + (c + 1) % columns
    d, e = a + columns, b + columns
    return np.stack([np.stack([a, d, b], -1), np.stack([b, d, e], -1)], 2).reshape(-1, 3).astype(np.int32)


def _locks(reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit hair that falls from the crown: round the skull to its equator, then straight down. (rest, fields)

    `reach` [rows round the skull, columns] says how far the skull is from an ellipsoid.
    """
    rest, fields = [], []
    for row in range(_ROWS_ROUND + _ROWS_DOWN):
        s, c = sine_cosine(90 * row / (_ROWS_ROUND - 1)) if row < _ROWS_ROUND else (1.0, 0.0)
        hang = max(0.0, (row - _ROWS_ROUND + 1) / _ROWS_DOWN)
        for column in range(_COLUMNS):
            sine, cosine = sine_cosine(360 * (column + 0.5) / _COLUMNS - 180)
            rest.append((sine, c, cosine))
            neck = min(1.0, max(0.0, hang * 2.2 - 0.35))
            far = float(reach[min(row, _ROWS_ROUND - 1), column])
            fields.append((s, hang, (column + 0.5) / _COLUMNS, far, 0.0, neck))
    return np.array(rest), np.array(fields)


def _reach(points: np.ndarray, triangles: np.ndarray, skull: np.ndarray) -> np.ndarray:
    """Where rays from the middle of the skull leave it, in units of its ellipsoid: [rows, columns], smoothed.

    Rays meet triangles as in Moeller and Trumbore 1997, "Fast, minimum storage ray-triangle intersection".
    """
    low, high = points[skull].min(0), points[skull].max(0)
    middle = np.array((0.5 * (low[0] + high[0]), SKULL_Y, 0.5 * (low[2] + high[2])))
    radius = np.array((0.5 * (high[0] - low[0]), high[1] - SKULL_Y, 0.5 * (high[2] - low[2])))
    a, b, c = (points[triangles[:, k]] - middle for k in range(3))
    u, v = b - a, c - a
    reach = np.ones((_ROWS_ROUND, _COLUMNS))
    for row in range(_ROWS_ROUND):
        s, height = sine_cosine(90 * row / (_ROWS_ROUND - 1))
        for column in range(_COLUMNS):
            sine, cosine = sine_cosine(360 * (column + 0.5) / _COLUMNS - 180)
            ray = radius * np.array((sine * s, height, cosine * s))
            p = np.stack([ray[1] * v[:, 2] - ray[2] * v[:, 1], ray[2] * v[:, 0] - ray[0] * v[:, 2],
                          ray[0] * v[:, 1] - ray[1] * v[:, 0]], 1)  # fmt: skip
            q = np.stack([u[:, 1] * a[:, 2] - u[:, 2] * a[:, 1], u[:, 2] * a[:, 0] - u[:, 0] * a[:, 2],
                          u[:, 0] * a[:, 1] - u[:, 1] * a[:, 0]], 1)  # fmt: skip
            det = u[:, 0] * p[:, 0] + u[:, 1] * p[:, 1] + u[:, 2] * p[:, 2]
            det = np.where(det == 0, 1e-30, det)
            first = -(a[:, 0] * p[:, 0] + a[:, 1] * p[:, 1] + a[:, 2] * p[:, 2]) / det
            second = (ray[0] * q[:, 0] + ray[1] * q[:, 1] + ray[2] * q[:, 2]) / det
            t = (v[:, 0] * q[:, 0] + v[:, 1] * q[:, 1] + v[:, 2] * q[:, 2]) / det
            hit = (first >= 0) & (second >= 0) & (first + second <= 1) & (t > 0.5) & (t < 1.6)
            reach[row, column] = t[hit].max() if hit.any() else 1.0
    return reach


def _glasses() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rest coordinates, fields and triangles of unit glasses, and the part of each triangle.

    Rest coordinates: (cosine, sine) of the angle round a lens and the side, -1 or 1. Fields: two coordinates across the
    tube, -1..1; kind (0 rim, 1 bridge, 2 temple, 3 lens); how far along; 0; 0.
    """
    rest, fields, triangles, parts = [], [], [], []
    corners = ((1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0), (1.0, -1.0))

    def tube(places: list[tuple[float, float, float, float]], kind: float, closed: bool) -> None:
        first = len(rest)
        for x, y, side, along in places:
            for a, b in corners:
                rest.append((x, y, side))
                fields.append((a, b, kind, along, 0.0, 0.0))
        mesh = _grid(len(places) + closed, 4)
        mesh = np.where(mesh >= 4 * len(places), mesh - 4 * len(places), mesh) + first
        triangles.extend(mesh)
        parts.extend([FRAME] * len(mesh))

    for side in (-1.0, 1.0):
        ring = []
        for step in range(_RIM):
            sine, cosine = sine_cosine(360 * step / _RIM - 180)
            ring.append((cosine, sine, side, 0.0))
        tube(ring, 0.0, True)
        tube([(0.0, 0.0, side, along / 6) for along in range(7)], 2.0, False)
        first = len(rest)
        rest.append((0.0, 0.0, side))
        rest.extend(place[:3] for place in ring)
        fields.extend([(0.0, 0.0, 3.0, 0.0, 0.0, 0.0)] * (_RIM + 1))
        fan = [(first, first + 1 + k, first + 1 + (k + 1) % _RIM) for k in range(_RIM)]
        triangles.extend(np.array(fan))
        parts.extend([LENS] * len(fan))
    tube([(0.0, 0.0, 0.0, along / 6) for along in range(7)], 1.0, False)
    return np.array(rest), np.array(fields), np.array(triangles, np.int32), np.array(parts, np.uint8)


def _torso() -> np.ndarray:
    """Rest coordinates of the clothed shoulders."""
    points = []
    for y, width, depth, middle in _TORSO:
        for column in range(_COLUMNS // 2):
            sine, cosine = sine_cosine(360 * column / (_COLUMNS // 2) - 180)
            points.append((width * sine, y - 0.10 * (y > 5.65) * max(cosine, 0.0), middle + depth * cosine))
    return np.array(points)


@functools.cache
def rig() -> Rig:
    """Load the head model and build the mesh around it (once per process)."""
    with np.load(shipped("datasets/faces3d/makehuman_head.npz"), allow_pickle=False) as file:
        data = dict(file)
    rest, fields, triangles, part = _head(data)
    kind = np.full(len(rest), 255, np.uint8)
    kind[triangles.reshape(-1)] = np.repeat(part, 3)

    points = data["vertices"].astype(np.float64)
    skull = np.nonzero((kind == SKIN) & (fields[:, 1] > 0.1) & (points[:, 1] > 7.4))[0]
    forehead = _nearest(points, kind, (0.0, 8.05, 1.4))
    skin = triangles[part == SKIN]
    high = skin[(points[skin, 1] > 7.2).all(1) & (fields[skin, 1] != -0.3).all(1)]
    hair = [_cap(points, fields, skin, len(points))]
    locks_rest, locks_fields = _locks(_reach(points, high, np.append(skull, forehead)))
    torso = _torso()
    torso_fields = np.zeros((len(torso), 6))
    torso_fields[:, 5] = 1
    glasses = _glasses()
    for layer in range(LAYERS):
        layered = locks_fields.copy()
        layered[:, 4] = layer / (LAYERS - 1)
        hair.append(_Piece(locks_rest, layered, _grid(_ROWS_ROUND + _ROWS_DOWN, _COLUMNS), LOCKS))
    pieces = [
        *hair,
        _Piece(torso, torso_fields, _grid(len(_TORSO), _COLUMNS // 2), CLOTH),
        _Piece(*glasses[:3], glasses[3]),
    ]
    return _assemble(data, (rest, fields, triangles, part, kind), pieces, np.append(skull, forehead))


class _Piece(NamedTuple):
    """Something added to the head: its vertices, triangles between them, and the part of each (or of all)."""

    rest: np.ndarray
    fields: np.ndarray
    triangles: np.ndarray
    part: np.ndarray | int
    source: np.ndarray | None = None


def _cap(points: np.ndarray, fields: np.ndarray, skin: np.ndarray, base: int) -> _Piece:
    """Copies of the skin where hair may grow, one for each layer."""
    scalp = fields[:, 1]
    front = (points[:, 1] > 7.5) & (points[:, 2] > 0.8)  # a fringe may hang here
    near = ((scalp > -0.45) | front) & (points[:, 1] > 6.2)
    hairy = skin[near[skin].any(1) & (scalp[skin] != -0.3).all(1) & (points[skin, 1] > 6.2).all(1)]
    used = np.unique(hairy)
    renumber = np.zeros(base, np.int32)
    renumber[used] = np.arange(len(used))
    layered = np.concatenate([fields[used]] * LAYERS)
    layered[:, 4] = np.repeat(np.arange(LAYERS) / (LAYERS - 1), len(used))
    mesh = np.concatenate([renumber[hairy] + layer * len(used) for layer in range(LAYERS)])
    return _Piece(np.concatenate([points[used]] * LAYERS), layered, mesh, CAP, np.concatenate([used] * LAYERS))


def _assemble(
    data: dict[str, np.ndarray], head: tuple[np.ndarray, ...], pieces: list[_Piece], skull: np.ndarray
) -> Rig:
    rest, fields, triangles, part, kind = head
    points = rest
    all_rest, all_fields, all_triangles, all_parts = [rest], [fields], [triangles], [part]
    kinds, sources = [kind], [np.full(len(rest), -1)]
    first = len(rest)
    for piece in pieces:
        parts = np.broadcast_to(np.asarray(piece.part, np.uint8), len(piece.triangles))
        own = np.zeros(len(piece.rest), np.uint8)
        own[piece.triangles.reshape(-1)] = np.repeat(parts, 3)
        all_rest.append(piece.rest)
        all_fields.append(piece.fields)
        all_triangles.append(piece.triangles + first)
        all_parts.append(parts)
        kinds.append(own)
        sources.append(np.full(len(own), -1) if piece.source is None else piece.source)
        first += len(piece.rest)
    every = np.concatenate(all_parts)
    order = np.argsort(every, kind="stable")
    return Rig(
        rest=np.concatenate(all_rest).astype(np.float32),
        fields=np.concatenate(all_fields).astype(np.float32),
        triangles=np.ascontiguousarray(np.concatenate(all_triangles)[order].astype(np.int32)),
        part=every[order],
        kind=np.concatenate(kinds),
        source=np.concatenate(sources).astype(np.int32),
        morph_names=tuple(str(name) for name in data["morph_names"]),
        morph_ptr=data["morph_ptr"].astype(np.int64),
        morph_index=data["morph_index"].astype(np.int32),
        morph_delta=data["morph_delta"].astype(np.float32),
        skull=skull.astype(np.int32),
        landmarks=np.array([_nearest(points, kind, place) for place in _LANDMARKS], np.int32),
    )


def _nearest(points: np.ndarray, kind: np.ndarray, place: tuple[float, float, float]) -> int:
    """The skin vertex nearest to `place`."""
    d = points - np.array(place)
    distance = d[:, 0] * d[:, 0] + d[:, 1] * d[:, 1] + d[:, 2] * d[:, 2]
    return int(np.argmin(np.where(kind == SKIN, distance, np.inf)))

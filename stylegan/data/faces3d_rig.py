"""The mesh of faces3d: the CC0 head, and around it a cap of hair, hanging locks and a torso.

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

SKIN, EYE, TEETH, TONGUE, LASH, CAP, LOCKS, CLOTH = range(8)
_PART = {"skin": SKIN, "eye": EYE, "teeth": TEETH, "tongue": TONGUE, "eyelash": LASH}
EYE_CENTRE = (0.3078, 7.2841, 1.2454)  # of the eye at positive x
_LANDMARKS = ((0.0, 6.72, 1.62), (0.0, 6.66, 1.62), (1.1, 5.70, 0.0), (0.0, 5.75, 0.70))
_COLUMNS, _ROWS_ROUND, _ROWS_DOWN = 64, 9, 10
_TORSO = (  # y, half width, half depth, z of the centre: rings from the collar down
    (5.93, 0.70, 0.56, 0.14), (5.86, 0.86, 0.58, 0.14), (5.80, 1.06, 0.60, 0.14), (5.77, 1.35, 0.62, 0.14),
    (5.70, 1.65, 0.64, 0.14), (5.54, 1.86, 0.68, 0.14), (5.2, 1.98, 0.76, 0.14), (4.2, 2.02, 0.85, 0.14),
)  # fmt: skip


class Rig(NamedTuple):
    """The static mesh.

    Attributes:
        rest: [V, 3] float32, rest coordinates. Of locks: sine of azimuth, height on the unit sphere, cosine of azimuth.
        fields: [V, 6] float32: lips; scalp, the distance inside the hairline; beard; moustache; inside of mouth or
            nose; neck (0 moves with the head, 1 with the torso). Of locks: width on the unit sphere; how far they hang,
            0..1; turns round the head; 0; 0; neck.
        triangles: [F, 3] int32, sorted by part.
        part: [F] uint8, one of SKIN .. CLOTH.
        kind: [V] uint8, the part that a vertex belongs to.
        source: [V] int32: the skin vertex that a vertex of the cap lies over, else -1.
        morph_names: Names of the K morphs.
        morph_ptr: [K + 1] int64; morph_index: [M] int32; morph_delta: [M, 3] float32.
        skull: [S] int32, vertices that the size of the skull is measured on; its last is on the forehead.
        landmarks: [4] int32: upper lip, lower lip, shoulder, chest.
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
    lip = (1 - smooth(y, 6.855, 6.915)) * smooth(y, 6.66, 6.74) * (1 - smooth(x, 0.27, 0.38)) * smooth(z, 1.25, 1.35)
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


def _locks() -> tuple[np.ndarray, np.ndarray]:
    """Unit hair that falls from the crown: round the skull to its equator, then straight down. (rest, fields)"""
    rest, fields = [], []
    for row in range(_ROWS_ROUND + _ROWS_DOWN):
        s, c = sine_cosine(90 * row / (_ROWS_ROUND - 1)) if row < _ROWS_ROUND else (1.0, 0.0)
        hang = max(0.0, (row - _ROWS_ROUND + 1) / _ROWS_DOWN)
        for column in range(_COLUMNS):
            sine, cosine = sine_cosine(360 * (column + 0.5) / _COLUMNS - 180)
            rest.append((sine, c, cosine))
            fields.append((s, hang, (column + 0.5) / _COLUMNS, 0.0, 0.0, min(1.0, max(0.0, hang * 2.2 - 0.35))))
    return np.array(rest), np.array(fields)


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
    base = len(rest)
    kind = np.full(base, 255, np.uint8)
    kind[triangles.reshape(-1)] = np.repeat(part, 3)

    skin = triangles[part == SKIN]
    hairy = skin[(fields[skin, 1] > -0.45).any(1) & (fields[skin, 1] != -0.3).all(1)]
    used = np.unique(hairy)
    renumber = np.zeros(base, np.int32)
    renumber[used] = np.arange(len(used)) + base
    locks_rest, locks_fields = _locks()
    torso = _torso()
    torso_fields = np.zeros((len(torso), 6))
    torso_fields[:, 5] = 1
    first_lock, first_torso = base + len(used), base + len(used) + len(locks_rest)
    pieces = [
        (triangles, part),
        (renumber[hairy], CAP),
        (_grid(_ROWS_ROUND + _ROWS_DOWN, _COLUMNS) + first_lock, LOCKS),
        (_grid(len(_TORSO), _COLUMNS // 2) + first_torso, CLOTH),
    ]
    all_parts = np.concatenate([np.broadcast_to(np.asarray(p, np.uint8), len(t)) for t, p in pieces])
    order = np.argsort(all_parts, kind="stable")
    points = data["vertices"].astype(np.float64)
    skull = np.nonzero((kind == SKIN) & (fields[:, 1] > 0.1) & (points[:, 1] > 7.4))[0]
    forehead = _nearest(points, kind, (0.0, 8.05, 1.4))
    extra = np.concatenate([np.full(len(used), CAP), np.full(len(locks_rest), LOCKS), np.full(len(torso), CLOTH)])
    return Rig(
        rest=np.concatenate([rest, rest[used], locks_rest, torso]).astype(np.float32),
        fields=np.concatenate([fields, fields[used], locks_fields, torso_fields]).astype(np.float32),
        triangles=np.ascontiguousarray(np.concatenate([t for t, _ in pieces])[order].astype(np.int32)),
        part=all_parts[order],
        kind=np.concatenate([kind, extra.astype(np.uint8)]),
        source=np.concatenate([np.full(base, -1), used, np.full(len(locks_rest) + len(torso), -1)]).astype(np.int32),
        morph_names=tuple(str(name) for name in data["morph_names"]),
        morph_ptr=data["morph_ptr"].astype(np.int64),
        morph_index=data["morph_index"].astype(np.int32),
        morph_delta=data["morph_delta"].astype(np.float32),
        skull=np.append(skull, forehead).astype(np.int32),
        landmarks=np.array([_nearest(points, kind, place) for place in _LANDMARKS], np.int32),
    )


def _nearest(points: np.ndarray, kind: np.ndarray, place: tuple[float, float, float]) -> int:
    """The skin vertex nearest to `place`."""
    d = points - np.array(place)
    distance = d[:, 0] * d[:, 0] + d[:, 1] * d[:, 1] + d[:, 2] * d[:, 2]
    return int(np.argmin(np.where(kind == SKIN, distance, np.inf)))

"""The embedded data set faces3d: portraits rendered from a CC0 head model, with exact labels, without end.

Face `index` of a split is a pure function of (split, seed, index): the same bytes on every processor, for any number of
threads, at any time. The C++ renderer is compiled on first use. Without a compiler a numpy renderer serves; its
pictures look the same but differ in some bits, so its data set has another name.
"""

import ctypes
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from stylegan.data import faces3d_numpy
from stylegan.data.faces3d_looks import SPLITS, Face, Look, weights_of
from stylegan.data.faces3d_people import draw_face
from stylegan.data.faces3d_rig import Rig, rig
from stylegan.errors import UserError, nearest
from stylegan.ops._build import compiler_available, load_library

LICENCE = "CC0-1.0"
SOURCE = "MakeHuman community base mesh (MPFB2) and Face Units by Mika Suominen, rendered by stylegan.data.faces3d"
VERSION = 2  # goes up when a change alters the pictures
MIN_RESOLUTION, MAX_RESOLUTION = 16, 1024
_FLAGS = ("-O2", "-std=c++17", "-ffp-contract=off", "-fno-fast-math", "-fno-math-errno", "-fvisibility=hidden")


class _CRig(ctypes.Structure):
    """Pointers to the arrays of a `Rig`; the same fields in the same order as `Rig` in csrc/faces3d.cpp."""

    _fields_ = [(name, ctypes.c_int32) for name in ("vertices", "triangles", "morphs", "skull_size")] + [
        (name, ctypes.c_void_p)
        for name in (
            "rest", "fields", "triangle", "part", "kind", "source",
            "morph_ptr", "morph_index", "morph_delta", "skull", "landmarks",
        )
    ]  # fmt: skip


@cache
def _native() -> tuple[ctypes.CDLL, _CRig, Rig] | None:
    """The compiled renderer, and the mesh as it wants it (the last keeps the arrays alive); None without a compiler."""
    if not compiler_available():
        return None
    folder = Path(__file__).parent / "csrc"
    headers = [folder / f"faces3d{part}.h" for part in ("", "_camera", "_hair", "_shading", "_shadow")]
    library = load_library("faces3d", [folder / "faces3d.cpp"], headers=headers, flags=_FLAGS)
    library.faces3d_render.restype = None
    library.faces3d_render.argtypes = [
        ctypes.POINTER(_CRig), ctypes.POINTER(Look), ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p,
    ]  # fmt: skip
    if library.faces3d_look_size() != ctypes.sizeof(Look):
        raise RuntimeError("faces3d_looks.Look and csrc/faces3d.cpp declare different fields")
    r = rig()
    arrays = (
        r.rest, r.fields, r.triangles, r.part, r.kind, r.source,
        r.morph_ptr, r.morph_index, r.morph_delta, r.skull, r.landmarks,
    )  # fmt: skip
    sizes = (len(r.rest), len(r.triangles), len(r.morph_names), len(r.skull))
    return library, _CRig(*sizes, *(array.ctypes.data for array in arrays)), r


def dataset_name() -> str:
    """`faces3d` where there is a C++ compiler, else `faces3d-numpy`: their bytes differ."""
    return "faces3d" if compiler_available() else "faces3d-numpy"


def default_archive(resolution: int, count: int, *, split: str = "train", seed: int = 0) -> Path:
    """Where the archive of this part of the data set lies by default, relative to the working directory."""
    named = f"{dataset_name()}-v{VERSION}-{resolution}-{count}"
    named += "" if split == "train" else f"-{split}"
    named += "" if seed == 0 else f"-seed{seed}"
    return Path("datasets") / "prepared" / f"{named}.zip"


def samples_per_side(resolution: int) -> int:
    """How many rays a pixel has along each axis: small pictures need more to be free of jagged edges."""
    return 3 if resolution <= 128 else 2


def render_face(index: int, *, split: str = "train", seed: int = 0, resolution: int = 64) -> tuple[np.ndarray, dict]:
    """Render one face.

    Args:
        index: Which face of the split, >= 0.
        split: `train`, `test` or `evaluation`.
        seed: Seed of the data set.
        resolution: Side of the picture in pixels.

    Returns:
        uint8 [3, resolution, resolution] in RGB, and its attributes: floats and strings that JSON can hold.

    Raises:
        UserError: An argument is out of range.
        BuildError: There is a compiler, but it cannot compile the renderer.
    """
    _check(index, split, resolution)
    face = draw_face(split, seed, index, rig().morph_names)
    return _draw(face, resolution), face.attributes


def render_faces(
    indices: Iterable[int], *, split: str = "train", seed: int = 0, resolution: int = 64
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Render faces one after the other: uint8 [N, 3, resolution, resolution] and N attributes. See `render_face`."""
    faces = [render_face(index, split=split, seed=seed, resolution=resolution) for index in indices]
    pictures = [picture for picture, _ in faces]
    shape = (0, 3, resolution, resolution)
    return np.stack(pictures) if pictures else np.zeros(shape, np.uint8), [attributes for _, attributes in faces]


def iterate_faces(
    count: int, resolution: int, *, split: str = "train", seed: int = 0, threads: int = 1, start: int = 0
) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Yield faces start ... start + count - 1 in order, rendered in `threads` threads. See `render_face`."""
    _check(start, split, resolution)
    if threads < 1:
        raise UserError(f"threads={threads}: rendering needs at least one; give threads=1 or more")
    _native()  # compile before the threads start, so that a failure is reported once
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[tuple[np.ndarray, dict[str, Any]]]] = deque()
        try:
            for index in range(start, start + count):
                pending.append(pool.submit(render_face, index, split=split, seed=seed, resolution=resolution))
                if len(pending) >= 4 * threads:  # enough to keep the threads busy, few enough to keep memory small
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _check(index: int, split: str, resolution: int) -> None:
    if split not in SPLITS:
        raise UserError(f"split={split!r} is not a part of faces3d; {nearest(split, SPLITS)}")
    if not MIN_RESOLUTION <= resolution <= MAX_RESOLUTION:
        raise UserError(f"resolution={resolution} of faces3d must be from {MIN_RESOLUTION} to {MAX_RESOLUTION}")
    if index < 0:
        raise UserError(f"index={index} of faces3d must not be negative")


def _draw(face: Face, resolution: int) -> np.ndarray:
    samples = samples_per_side(resolution)
    native = _native()
    if native is None:
        return faces3d_numpy.draw(rig(), face, resolution, samples)
    library, c_rig, mesh = native
    picture = np.empty((3, resolution, resolution), np.uint8)
    weights = weights_of(face, len(mesh.morph_names))
    library.faces3d_render(c_rig, face.look, weights, resolution, samples, picture.ctypes.data)
    return picture

"""faces3d: a pure function of (split, seed, index), equal everywhere, with labels that tell the truth."""

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stylegan.data import faces3d, faces3d_numpy
from stylegan.data.faces3d_looks import Face, Stream, rotation, sine_cosine
from stylegan.data.faces3d_people import draw_face
from stylegan.data.faces3d_rig import SKIN, rig
from stylegan.errors import UserError
from stylegan.ops._build import compiler_available

needs_compiler = pytest.mark.skipif(not compiler_available(), reason="no C++ compiler")
PRINT_HASH = """
import hashlib
from stylegan.data.faces3d import render_faces
pictures, attributes = render_faces([0, 1, 2, 3, 12, 17, 21, 85], resolution=48)  # fringe, glasses, bald, tinted
print(hashlib.sha256(pictures.tobytes() + repr(attributes).encode()).hexdigest())
"""
PIN = "638ece5af8aca591cb84cbfeda0936a0c014b0935b61b3f80611399cbc9664f0"  # of PRINT_HASH; goes with VERSION


def draw(index: int) -> Face:
    return draw_face("train", 0, index, rig().morph_names)


def picture_of(face: Face, resolution: int = 64) -> np.ndarray:
    return faces3d._draw(face, resolution)


@pytest.fixture
def fresh_renderer() -> Iterator[None]:
    """The choice of renderer is made once per process; forget it before and after a test that changes it."""
    faces3d._native.cache_clear()
    yield
    faces3d._native.cache_clear()


def test_a_face_does_not_depend_on_its_company() -> None:
    pictures, attributes = faces3d.render_faces([7, 3, 7], resolution=32)
    alone, its_attributes = faces3d.render_face(3, resolution=32)
    assert pictures.shape == (3, 3, 32, 32) and pictures.dtype == np.uint8
    assert np.array_equal(pictures[1], alone) and attributes[1] == its_attributes
    assert np.array_equal(pictures[0], pictures[2]) and not np.array_equal(pictures[0], pictures[1])


def test_splits_and_seeds_are_different_people() -> None:
    settings = [("train", 0), ("test", 0), ("evaluation", 0), ("train", 1), ("train", -1)]
    ages = {faces3d.render_face(5, split=split, seed=seed, resolution=16)[1]["age"] for split, seed in settings}
    assert len(ages) == len(settings)


def test_the_same_face_at_another_resolution() -> None:
    small, _ = faces3d.render_face(2, resolution=32)
    large, _ = faces3d.render_face(2, resolution=128)
    shrunk = np.sqrt((large.astype(float) ** 2).reshape(3, 32, 4, 32, 4).mean((2, 4)))
    assert np.abs(shrunk - small).mean() < 3


@pytest.mark.parametrize("threads", [1, 4])
def test_iteration_is_in_order_for_any_number_of_threads(threads: int) -> None:
    expected, attributes = faces3d.render_faces(range(2, 22), resolution=24)
    found = list(faces3d.iterate_faces(20, 24, threads=threads, start=2))
    assert np.array_equal(np.stack([picture for picture, _ in found]), expected)
    assert [labels for _, labels in found] == attributes
    assert list(faces3d.iterate_faces(0, 24)) == []


def dispatched_features() -> str:
    """The processor features that this numpy can be told not to use here (naming others would be an error)."""
    code = "import numpy; print(*getattr(numpy, '_core', numpy.core)._multiarray_umath.__cpu_dispatch__)"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return " ".join(names)


@needs_compiler
def test_bytes_do_not_depend_on_the_processor() -> None:
    plain = {k: v for k, v in os.environ.items() if k not in ("NPY_DISABLE_CPU_FEATURES", "GLIBC_TUNABLES")}
    poor = plain | {
        "NPY_DISABLE_CPU_FEATURES": dispatched_features(),
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F",
    }
    hashes = []
    for environment in (plain, poor):
        command = [sys.executable, "-W", "ignore", "-c", PRINT_HASH]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        hashes.append(result.stdout.strip())
    assert hashes[0] == hashes[1]
    assert hashes[0] == PIN  # the pictures changed: if you meant it, raise faces3d.VERSION and record the new hash


@needs_compiler
def test_bytes_do_not_depend_on_the_optimizer(fresh_renderer: None, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, _ = faces3d.render_faces((0, 12, 85), resolution=48)
    faces3d._native.cache_clear()
    monkeypatch.setattr(faces3d, "_FLAGS", tuple("-O0" if flag == "-O2" else flag for flag in faces3d._FLAGS))
    assert np.array_equal(faces3d.render_faces((0, 12, 85), resolution=48)[0], usual)


@needs_compiler
def test_the_numpy_renderer_draws_the_same_faces() -> None:
    for index in (0, 12, 17, 21, 48, 85):  # long hair, fringe, glasses and full hair, bald, afro, tinted glasses
        face = draw(index)
        difference = np.abs(picture_of(face, 40).astype(int) - faces3d_numpy.draw(rig(), face, 40, 3))
        assert difference.mean() < 0.1 and np.mean(difference > 8) < 0.01


@needs_compiler
def test_numpy_serves_without_a_compiler(fresh_renderer: None, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, attributes = faces3d.render_face(0, resolution=32)
    faces3d._native.cache_clear()
    monkeypatch.setenv("CXX", "/no/such/compiler")
    picture, same_attributes = faces3d.render_face(0, resolution=32)
    assert faces3d.dataset_name() == "faces3d-numpy" and "faces3d-numpy" in faces3d.default_archive(32, 10).name
    assert same_attributes == attributes
    assert np.abs(picture.astype(int) - compiled).mean() < 0.1


def test_attributes_are_plain_and_in_range() -> None:
    _, attributes = faces3d.render_faces(range(40), resolution=16)
    assert json.loads(json.dumps(attributes)) == attributes
    keys = set(attributes[0])
    for labels in attributes:
        assert set(labels) == keys
        unit = ("sex", "skin_tone", "smile", "mouth_open", "eyes_closed", "hair_length", "beard", "bald", "caucasian")
        assert all(0 <= labels[name] <= 1 for name in unit)
        assert labels["glasses"] in (0.0, 1.0) and (labels["glasses_style"] == "none") == (labels["glasses"] == 0)
        assert 18 <= labels["age"] <= 80 and abs(labels["yaw"]) <= 36 and abs(labels["pitch"]) <= 15
        assert math.isclose(labels["caucasian"] + labels["african"] + labels["asian"], 1)
    assert {labels["sex"] > 0.5 for labels in attributes} == {True, False}
    assert len({labels["hair_style"] for labels in attributes}) >= 4


def test_the_population_is_that_of_an_aligned_face_set() -> None:
    people = [draw(index).attributes for index in range(800)]
    assert 0.08 < np.mean([labels["glasses"] for labels in people]) < 0.16
    assert np.mean([abs(labels["yaw"]) < 25 for labels in people]) > 0.9
    assert 0.4 < np.mean([labels["sex"] > 0.5 for labels in people]) < 0.6
    assert {"thick round", "thin round", "thick rectangular", "thin rectangular"} <= {
        p["glasses_style"] for p in people
    }
    assert np.mean([labels["freckles"] > 0 for labels in people]) < 0.2
    assert all(labels["makeup"] == 0 for labels in people if labels["sex"] > 0.5)
    grey = {colour: [p["age"] for p in people if (p["hair_colour"] == "grey") == colour] for colour in (True, False)}
    assert np.mean(grey[True]) > np.mean(grey[False]) + 15


def test_glasses_are_where_the_label_says() -> None:
    """They change the picture near the eyes and towards the ears, and only there."""
    seen = 0
    for index in range(40):
        face = draw(index)
        if not face.attributes["glasses"]:
            assert face.look.glasses == 0
            continue
        seen += 1
        worn = picture_of(face, 128).astype(int)
        face.look.glasses = 0.0
        changed = np.abs(worn - picture_of(face, 128)).max(0) > 12
        assert changed[44:76].mean() > 0.03  # the eyes are in row 59.5
        assert changed[:36].sum() == 0 and changed[90:].sum() == 0
    assert seen >= 2


def test_tinted_lenses_darken_the_eyes() -> None:
    face = draw(17)
    face.look.tint[:] = (1.0, 1.0, 1.0)
    clear = picture_of(face, 128).astype(int)
    face.look.tint[:] = (0.1, 0.1, 0.1)
    darker = clear - picture_of(face, 128)
    rows, _ = np.nonzero(darker.max(0) > 10)
    assert len(rows) > 300 and abs(rows.mean() - 0.465 * 128) < 8 and darker.min() >= 0


def test_the_camera_adds_a_little_grain_and_nothing_else() -> None:
    face = draw(3)
    face.look.grain = 0.0
    clean = picture_of(face).astype(int)
    face.look.grain = 3.0
    grain = picture_of(face).astype(int) - clean
    inside = (clean > 5) & (clean < 250)
    assert np.abs(grain).max() <= 3 and abs(grain[inside].mean()) < 0.1 and 0.8 < grain[inside].std() < 1.6


def test_the_chin_casts_a_shadow_on_the_neck() -> None:
    """Light from the front reaches forehead and throat, light from above only the forehead."""
    face = draw(21)  # bald, and so without hair's shadow
    face.look.head_rotation[:] = face.look.torso_rotation[:] = rotation(0, 4, 0)
    throat = np.argmin(((rig().rest - np.array((0, 6.0, 0.9))) ** 2).sum(1) + 9 * (rig().kind != SKIN))
    places = [rig().skull[-1], throat]
    for rise, expected in ((0, (1, 1)), (55, (1, 0))):
        s, c = sine_cosine(rise)
        face.look.key_direction[:] = (0.0, s, c)
        renderer = faces3d_numpy._Renderer(rig(), face.look, 16, 1)  # the compiled one draws the same: see above
        renderer.render(face.morphs)
        assert np.allclose(renderer._lit(renderer.position[places], np.ones(2)), expected, atol=0.2)


def test_make_up_colours_the_lids_only() -> None:
    face = next(face for face in map(draw, range(40)) if face.attributes["makeup"] > 0.3 and not face.look.glasses)
    pictures = []
    for strength in (0.0, 1.0):
        face.look.makeup, face.look.liner = strength, 0.0
        pictures.append(picture_of(face, 128).astype(int))
    rows, _ = np.nonzero(np.abs(pictures[0] - pictures[1]).max(0) > 4)
    assert len(rows) > 60 and rows.min() > 40 and rows.max() < 72


def eye_pixels(face: Face) -> np.ndarray:
    """Where the picture depends on the colour of the iris: bool [128, 128]."""
    pictures = []
    for channel in (0.0, 1.0):
        face.look.iris[:] = (channel, channel, channel)
        pictures.append(picture_of(face, 128).astype(int))
    return np.abs(pictures[0] - pictures[1]).max(0) > 20


def test_eyes_are_where_the_alignment_puts_them() -> None:
    seen = 0
    for index in range(12):
        face = draw(index)
        face.look.gaze[:] = (0.0, 0.0)
        rows, columns = np.nonzero(eye_pixels(face))
        if face.attributes["eyes_closed"] > 0 or len(rows) < 20:
            continue
        seen += 1
        left, right = columns < 64, columns >= 64
        assert abs(rows.mean() / 128 - 0.465) < 0.04
        assert 0.33 < columns[left].mean() / 128 < 0.44 and 0.56 < columns[right].mean() / 128 < 0.67
    assert seen >= 8


def test_closed_eyes_hide_the_iris() -> None:
    names = rig().morph_names
    blink = [names.index("expression/eyeBlinkLeft"), names.index("expression/eyeBlinkRight")]
    wide = [names.index("expression/eyeWideLeft"), names.index("expression/eyeWideRight")]
    face = draw(2)
    opened, closed = ({**face.morphs, **dict.fromkeys(wide, 0.0), **dict.fromkeys(blink, w)} for w in (0.0, 1.0))
    assert eye_pixels(face._replace(morphs=opened)).sum() > 10 * eye_pixels(face._replace(morphs=closed)).sum()


def test_a_turned_head_shows_more_of_one_cheek() -> None:
    """Positive yaw turns to the viewer's right: relative to the eyes, the visible skin then lies to the left."""
    centres = []
    for yaw in (-25, 25):
        face = draw(21)  # bald
        face.look.head_rotation[:] = rotation(yaw, 0, 0)
        marked = []
        for level in (0.05, 0.8):
            face.look.skin[:] = (level, level, level)
            marked.append(picture_of(face).astype(int))
        _, columns = np.nonzero((np.abs(marked[0] - marked[1]).max(0) > 10)[:48])
        centres.append(columns.mean())
    assert centres[0] > 32 > centres[1]


def test_own_sine_and_cosine_are_right() -> None:
    for degrees in np.linspace(-180, 180, 97):
        s, c = sine_cosine(float(degrees))
        assert math.isclose(s, math.sin(math.radians(degrees)), abs_tol=1e-9)
        assert math.isclose(c, math.cos(math.radians(degrees)), abs_tol=1e-9)
    matrix = np.array(rotation(20, -7, 5)).reshape(3, 3)
    assert np.allclose(matrix @ matrix.T, np.eye(3)) and math.isclose(np.linalg.det(matrix), 1)
    assert (np.array(rotation(20, 10, 0)).reshape(3, 3) @ (0, 0, 1) > 0).all()  # looks right, up and at the viewer


def test_streams_are_uniform_and_independent() -> None:
    stream = Stream(0, 1, 2)
    uniform = np.array([stream.uniform() for _ in range(4000)])
    normal = np.array([stream.normal() for _ in range(4000)])
    assert abs(uniform.mean() - 0.5) < 0.02 and abs(uniform.var() - 1 / 12) < 0.005
    assert abs(normal.mean()) < 0.06 and abs(normal.var() - 1) < 0.08
    starts = {Stream(seed, split, index).bits() for seed in range(8) for split in (1, 2, 3) for index in range(40)}
    assert len(starts) == 8 * 3 * 40
    # Splitmix64 itself: the first two numbers after state 0 are known from its reference implementation.
    known = Stream()
    known._state = 0
    assert [known.bits(), known.bits()] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


def test_python_and_c_agree_on_the_look() -> None:
    """Names and order of the fields, which sizes alone would not catch."""
    header = (Path(faces3d.__file__).parent / "csrc" / "faces3d.h").read_text()
    body = re.search(r"struct Look \{.*?\n(.*?)\};", header, re.DOTALL)
    assert body
    declared = re.findall(r"(\w+)(?:\[\d\])?(?=[,;])", body.group(1))
    assert declared == [field[0] for field in faces3d.Look._fields_]


def test_bad_arguments_are_named() -> None:
    with pytest.raises(UserError, match="did you mean 'train'"):
        faces3d.render_face(0, split="trian")
    with pytest.raises(UserError, match="resolution=8 "):
        faces3d.render_face(0, resolution=8)
    with pytest.raises(UserError, match="index=-1"):
        faces3d.render_face(-1)
    with pytest.raises(UserError, match="threads=0"):
        next(faces3d.iterate_faces(1, 16, threads=0))


def test_archives_of_different_settings_have_different_names() -> None:
    archives = {
        faces3d.default_archive(64, 100),
        faces3d.default_archive(32, 100),
        faces3d.default_archive(64, 200),
        faces3d.default_archive(64, 100, split="test"),
        faces3d.default_archive(64, 100, seed=3),
    }
    assert len(archives) == 5 and all(path.parts[:2] == ("datasets", "prepared") for path in archives)

"""Cues of one picture and of a pair, by what must hold for pictures that were made for it."""

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from stylegan.data.align import face_square
from stylegan.detect import eyes
from stylegan.detect.background import background_smoothness
from stylegan.detect.cues import EYES as EYES_CUE
from stylegan.detect.cues import MEASURES, CueKind, compare
from stylegan.detect.edge import edge_step
from stylegan.detect.eyes import distance_from_aligned, eye_positions, eyes_available
from stylegan.detect.picture import colours
from stylegan.detect.regions import EYES, border, face_region
from stylegan.detect.spectra import high_frequency_share, last_fall, spectrum
from stylegan.detect.symmetry import left_right_difference, left_right_map
from stylegan.errors import UserError
from stylegan.rng import generator

ALL = [left_right_difference, background_smoothness, edge_step, high_frequency_share, last_fall]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator(seed, "test"))


def blurred(image: Tensor) -> Tensor:
    return F.avg_pool2d(image[None].double(), 5, stride=1, padding=2, count_include_pad=False)[0]


@pytest.fixture
def without_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "facenet_pytorch", None)


# one picture


def test_colours() -> None:
    image = noise(4, 16, 20)
    torch.testing.assert_close(colours(image[:3]), image[:3].double() / 255)
    torch.testing.assert_close(colours(image[:1].float()), colours(image[:1]))
    image[3, :8], image[3, 8:] = 0, 255
    seen = colours(image)
    assert seen.shape == (3, 16, 20) and seen[:, :8].eq(1).all()  # clear is white
    torch.testing.assert_close(seen[:, 8:], image[:3, 8:].double() / 255)


@pytest.mark.parametrize("measure", [*ALL, left_right_map, spectrum, eye_positions])
def test_what_is_no_picture(measure: Any) -> None:
    for image in (noise(2, 16, 16), noise(16, 16), noise(3, 15, 16), noise(1, 3, 16, 16)):
        with pytest.raises(UserError, match="sides of at least 16 pixels"):
            measure(image)
    with pytest.raises(UserError, match="uint8 or float, got int64"):
        measure(noise(1, 16, 16).long())
    for value in (-1.0, 256.0, math.nan):
        with pytest.raises(UserError, match="from 0 to 255"):
            measure(torch.full((1, 16, 16), value))


@pytest.mark.parametrize("measure", ALL)
def test_grey_is_colour_of_three_like_channels(measure: Any) -> None:
    image = noise(1, 40, 48)
    grey = measure(image)
    opaque = torch.cat([image.expand(3, -1, -1), torch.full_like(image, 255)])
    assert (
        measure(image.expand(3, -1, -1))
        == pytest.approx(grey)
        == measure(opaque)
        == pytest.approx(measure(image.float()))
    )
    assert math.isfinite(grey) and math.isfinite(measure(torch.full((3, 16, 16), 77.0)))


@pytest.mark.parametrize("width", [32, 33])
def test_halves(width: int) -> None:
    image = noise(3, 40, width)
    alike = torch.maximum(image, image.flip(2))
    assert left_right_difference(alike) == 0 and not left_right_map(alike).any()
    differences = left_right_map(image)
    assert torch.equal(differences, differences.flip(1)) and differences.shape == (40, width)
    assert left_right_difference(image) == left_right_difference(image.flip(2)) > 0.2
    y, x = 16, width // 2 - 3
    alike[:, y, x] = alike[:, y, x] // 2  # one pixel, which has one mirror image
    rows, columns = face_region(40, width)
    changed = 2 * float((alike[:, y, x].double() - alike[:, y, width - 1 - x]).abs().mean()) / 255
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    assert left_right_difference(alike) == pytest.approx(changed / area)


def test_half_black_half_white_differs_by_all() -> None:
    image = torch.zeros(1, 32, 32)
    image[..., 16:] = 255
    assert left_right_difference(image) == 1


def test_what_lies_beside_the_face_does_not_count_for_its_halves() -> None:
    image = torch.full((1, 64, 64), 90.0)
    image[:, :, :15] = 200
    assert left_right_difference(image) == 0 < float(left_right_map(image).max())


def test_regions() -> None:
    """An aligned face, cut out as `crop_face` does, has its eyes where `EYES` says, within the region of the face."""
    left, right, mouth = np.array([100.0, 100.0]), np.array([150.0, 100.0]), np.array([125.0, 100.0 + 50 * 2 / 1.8])
    square = face_square(np.array([left, right, mouth - np.array([20, 0]), mouth + np.array([20, 0])]))
    corner = np.array(square.centre) - square.side / 2
    found = [tuple((eye + 0.5 - corner) / square.side) for eye in (left, right)]
    assert found == [pytest.approx(eye, abs=1e-3) for eye in EYES]
    rows, columns = face_region(200, 100)
    assert all(rows.start < 200 * y < rows.stop and columns.start < 100 * x < columns.stop for x, y in EYES)
    for width in (16, 33, 50):
        _, across = face_region(20, width)
        assert across.start == width - across.stop
    mask = border(80, 40)
    assert int(mask.sum()) == 80 * 40 - 60 * 30 and not mask[rows.start // 2, 20] and torch.equal(mask, mask.flip(0, 1))


def test_background() -> None:
    image = noise(3, 64, 64)
    assert background_smoothness(image) == pytest.approx(1, abs=0.05)  # all alike
    flat = torch.full_like(image, 130)
    flat[:, 9:-9, 9:-9] = image[:, 9:-9, 9:-9]  # one pixel more than an eighth: gradients look at neighbours
    assert background_smoothness(flat) == 0
    half = image.double()
    half[:, border(64, 64)] = half[:, border(64, 64)] / 2
    assert background_smoothness(half) == pytest.approx(background_smoothness(image) / 2, rel=0.1)


def test_the_gradient_of_a_ramp() -> None:
    """A border that rises by 3 a pixel around a face that is flat: the face counts as one step a pixel."""
    ramp = (torch.arange(64.0) * 3).expand(1, 64, 64).clone()
    ramp[:, 10:-9, 10:-9] = 64
    ramp[:, 9:-8, 9:10] = ramp[:, 9:-8, 8:9]
    assert 2.5 < background_smoothness(ramp) < 4
    across = (torch.arange(64.0) * 3).expand(1, 64, 64)
    assert background_smoothness(across) == pytest.approx(1) == background_smoothness(across.transpose(1, 2))


def test_the_edge() -> None:
    image = noise(3, 64, 80)
    assert edge_step(image) == pytest.approx(1, abs=0.1)  # all alike
    assert (
        edge_step(image)
        == pytest.approx(edge_step(image.transpose(1, 2)))
        == pytest.approx(edge_step(image.flip(1, 2)))
    )
    repeated = F.pad(image[None].double(), (1, 1, 1, 1), mode="replicate")[0, :, 1:-1]
    repeated[:, 0], repeated[:, -1] = repeated[:, 1], repeated[:, -2]
    assert edge_step(repeated) == 0
    ramp = torch.arange(40.0).expand(1, 40, 40) * 4
    assert edge_step(ramp + ramp.transpose(1, 2) / 2) == pytest.approx(1)
    for side in range(4):  # a seam of three steps at one of four sides
        seam = (ramp + ramp.transpose(1, 2))[:, :, :].clone().rot90(side, (1, 2))
        seam[:, :, 0] = seam[:, :, 1] - 12 if seam[0, 5, 1] < seam[0, 5, 2] else seam[:, :, 1] + 12
        turned = seam.rot90(-side, (1, 2)).clamp(0, 255)
        assert 1.3 < edge_step(turned) < 1.7
    assert edge_step(torch.full((1, 32, 32), 9.0)) == 0


def test_the_share_of_white_noise() -> None:
    """Flat over the plane of frequencies: all but the disc of a quarter of a cycle a pixel, pi / 16."""
    shares = [high_frequency_share(noise(3, 64, 64, seed=i)) for i in range(20)]
    assert sum(shares) / 20 == pytest.approx(1 - math.pi / 16, abs=0.01)


def test_checkerboards_are_high_and_slow_waves_low() -> None:
    soft = blurred(noise(1, 64, 64)) / 2 + 50
    board = 20 * ((torch.arange(64)[:, None] + torch.arange(64)) % 2)
    assert high_frequency_share(soft) < 0.2
    assert high_frequency_share(soft + board) > 2 * high_frequency_share(soft)
    assert high_frequency_share(board[None].double()) == pytest.approx(1, abs=1e-6)
    assert high_frequency_share(torch.full((3, 33, 40), 77.7)) == 0
    along = torch.arange(64.0)
    for cycles, share in [(8, 0), (12, 0), (20, 1), (30, 1)]:  # half of Nyquist is 16 cycles
        wave = 100 + 50 * torch.sin(2 * math.pi * cycles * along / 64)
        for image in (wave.expand(1, 64, 64), wave[:, None].expand(1, 64, 64)):
            assert high_frequency_share(image) == pytest.approx(share, abs=1e-3)


def test_a_level_of_brightness_changes_no_spectrum() -> None:
    image = noise(1, 32, 48).double() / 2
    assert high_frequency_share(image) == pytest.approx(high_frequency_share(image + 100))
    torch.testing.assert_close(spectrum(image), spectrum(image + 100))
    torch.testing.assert_close(spectrum(image / 10), spectrum(image).sub(20).clamp(min=-120))  # decibels


def test_the_spectrum_of_white_noise_is_its_variance() -> None:
    levels = torch.stack([spectrum(noise(1, 32, 32, seed=i)) for i in range(200)])
    assert levels.shape == (200, 17) and levels.dtype == torch.float64
    power = (10 ** (levels / 10)).mean(dim=0)
    assert (power[2:] * 12 - 1).abs().max() < 0.15  # uniform from 0 to 1: 1 / 12


@pytest.mark.parametrize("cycles", [5, 11])
def test_a_wave_peaks_at_its_frequency(cycles: int) -> None:
    wave = 100 + 50 * torch.sin(2 * math.pi * cycles * torch.arange(32) / 32)
    assert int(spectrum(wave.expand(1, 32, 32)).argmax()) == cycles
    assert int(spectrum(wave[:, None].expand(3, 32, 40)).argmax()) == cycles


def test_a_wave_that_does_not_fit_leaks_little() -> None:
    """The side lobes of a Hann window fall by 18 dB an octave; without a window half a cycle too much is seen everywhere."""
    wave = 100 + 50 * torch.sin(2 * math.pi * 5.5 * torch.arange(64) / 64)
    levels = spectrum(wave.expand(1, 64, 64))
    assert float(levels[24:].max()) < float(levels.max()) - 60


def test_the_last_fall() -> None:
    falls = [last_fall(noise(3, 64, 64, seed=i)) for i in range(10)]
    assert abs(sum(falls) / 10) < 0.3  # white noise
    image = noise(1, 64, 64).double()
    y, x = (torch.fft.fftfreq(64, dtype=torch.float64) for _ in range(2))
    high = (y[:, None].square() + x.square()).sqrt() > 0.4
    filtered = torch.fft.ifft2(torch.fft.fft2(image - 127) * torch.where(high, 0.1, 1.0)).real + 127
    assert last_fall(filtered.clamp(0, 255)) == pytest.approx(20 + last_fall(image), abs=2)


# eyes


def test_without_the_detector(without_detector: None) -> None:
    assert not eyes_available()
    with pytest.raises(UserError, match=r"finding eyes needs .* pip install --no-deps facenet-pytorch"):
        eye_positions(noise(3, 32, 32))
    assert "eyes" not in [cue.name for cue in compare(noise(3, 32, 32), noise(3, 32, 32, seed=1))]


class Detector:
    """In place of the package: it finds eyes at the brightest two pixels, and no face in a flat picture."""

    def __init__(self, **options: Any) -> None: ...

    def detect(self, image: Image.Image, landmarks: bool) -> tuple[Any, Any, Any]:
        assert landmarks and image.mode == "RGB"
        rows, columns = np.nonzero(np.asarray(image)[..., 1] == 255)
        if len(rows) < 2:
            return None, None, None
        places = sorted(zip(columns.tolist(), rows.tolist(), strict=True))
        return None, None, np.array([[*places, (9, 9), (8, 9), (9, 8)]], np.float32)


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module = ModuleType("facenet_pytorch")
    module.MTCNN = Detector  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "facenet_pytorch", module)
    eyes._detector.cache_clear()
    yield
    eyes._detector.cache_clear()


def with_eyes(*places: tuple[int, int]) -> Tensor:
    image = torch.full((1, 40, 80), 100, dtype=torch.uint8)
    for x, y in places:
        image[:, y, x] = 255
    return image


def test_eyes_in_fractions(detector: None) -> None:
    assert eyes_available()
    found = eye_positions(with_eyes((29, 18), (49, 19)))
    assert found is not None and found.dtype == torch.float64
    torch.testing.assert_close(found, torch.tensor([[29.5 / 80, 18.5 / 40], [49.5 / 80, 19.5 / 40]]).double())
    assert eye_positions(with_eyes()) is None


def test_eyes_in_a_pair(detector: None) -> None:
    aligned, off = with_eyes((29, 18), (49, 18)), with_eyes((20, 10), (40, 10))
    cue = compare(off, aligned)[-1]
    assert cue.name == "eyes" and cue.generated == "right" and cue.left > 0.1 and cue.right < 0.02
    assert compare(aligned, off)[-1].generated == "left" and compare(aligned, aligned)[-1].generated is None
    assert compare(with_eyes(), aligned)[-1].name != "eyes"
    assert distance_from_aligned(torch.tensor(EYES)) == pytest.approx(0, abs=1e-6)
    assert distance_from_aligned(torch.tensor(EYES) + torch.tensor([0.03, -0.04])) == pytest.approx(0.05)


def test_the_detector_is_not_imported_before_it_is_needed(tmp_path: Path) -> None:
    (tmp_path / "facenet_pytorch.py").write_text("raise SystemExit('imported')")
    program = "import stylegan.detect.cues; from stylegan.detect.eyes import eyes_available; assert eyes_available()"
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": paths})


# a pair


def test_a_pair(without_detector: None) -> None:
    sharp, soft = noise(3, 64, 64), blurred(noise(3, 64, 64, seed=1))
    cues = {cue.name: cue for cue in compare(soft, sharp)}
    assert list(cues) == [kind.name for kind, _ in MEASURES] == ["finest", "edge", "detail", "halves", "background"]
    for (_, measure), cue in zip(MEASURES, cues.values(), strict=True):
        assert (cue.left, cue.right) == (measure(soft), measure(sharp))
    assert cues["finest"].generated == cues["detail"].generated == "left"
    assert (
        f"{cues['detail'].left:.2%}" in cues["detail"].sentence
        and f"{cues['detail'].right:.2%}" in cues["detail"].sentence
    )
    assert "points at the left picture" in cues["detail"].sentence
    assert cues["background"].generated is None and "alone tells nothing" in cues["background"].sentence


def test_a_pair_the_other_way_round(without_detector: None) -> None:
    a, b = noise(3, 64, 64), blurred(noise(3, 64, 64, seed=1))
    other = {"left": "right", "right": "left", None: None}
    for cue, swapped in zip(compare(a, b), compare(b, a), strict=True):
        assert (cue.left, cue.right, cue.generated) == (swapped.right, swapped.left, other[swapped.generated])
    assert all(cue.generated is None for cue in compare(a, a))
    flat = torch.zeros(1, 32, 32)
    assert all(cue.generated is None for cue in compare(flat, flat))


def test_pictures_of_two_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="one size"):
        compare(noise(3, 32, 32), noise(3, 32, 40))


def test_margins() -> None:
    kind = CueKind("x", True, factor=1.5, least=0.1, numbers="{left} {right}", reason="why")
    assert kind.cue(1.7, 1.0).generated == "left" and kind.cue(1.0, 1.7).generated == "right"
    assert kind.cue(1.55, 1.0).generated is None and kind.cue(0.05, 0.0).generated is None
    assert kind.cue(1.7, 1.0).sentence == "1.7 1.0 That points at the left picture as the generated one: why."
    assert "too close" in kind.cue(1.5, 1.0).sentence
    for kind in (*(kind for kind, _ in MEASURES), EYES_CUE):
        points_at = {True: "left", False: "right", None: None}[kind.more_is_generated]
        assert kind.cue(9.0, 0.1).generated == points_at

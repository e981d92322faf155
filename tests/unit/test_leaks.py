"""The leak check finds what our own augmentations do to images, and nothing where there is nothing."""

import pytest
import torch
from torch import Tensor

from stylegan.augment.pipe import AugmentPipe
from stylegan.augment.strengths import PipeConfig
from stylegan.errors import UserError
from stylegan.metrics.leaks import STATISTICS, _distance, leaks
from stylegan.rng import generator


def pictures(n: int, seed: int, size: tuple[int, int] = (32, 32), channels: int = 3) -> Tensor:
    """Smooth reddish images that are brighter at the top, uint8."""
    coarse = torch.rand(n, channels, 6, 6, generator=generator(seed, "pictures")) - 0.5
    x = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic", align_corners=False) * 0.5
    x[:, 0] += 0.3
    x += torch.linspace(0.2, -0.2, size[0])[:, None]
    return ((x + 0.4).clamp(0, 1) * 255).to(torch.uint8)


def augmented(images: Tensor, preset: str | None, p: float, **switches: float) -> Tensor:
    config = PipeConfig(preset=preset, **switches)  # pyright: ignore[reportArgumentType]
    pipe = AugmentPipe(config, channels=images.shape[1], resolution=(images.shape[2], images.shape[3]))
    drawn = pipe.draw(0, "leak", range(len(images)), p, "cpu")
    return (drawn(images.float() / 127.5 - 1) * 127.5 + 128).clamp(0, 255).to(torch.uint8)


REAL = pictures(400, 0)


def test_equal_sets_have_no_distance_however_they_come() -> None:
    report = leaks(REAL.split(64), REAL.split(100))
    assert [report.numbers[f"leak_{s.name}"] for s in STATISTICS] == pytest.approx([0] * len(STATISTICS), abs=1e-12)
    assert leaks([REAL], [REAL]).numbers == pytest.approx(report.numbers, abs=1e-12)
    assert (report.reals, report.fakes) == (400, 400)


@pytest.mark.parametrize(
    ("preset", "switches", "finds"),
    [
        (None, {"rotate90": 1.0}, ["orientation", "top_bottom"]),
        (None, {"rotate": 1.0}, ["orientation", "top_bottom"]),
        (None, {"xfrac": 1.0}, ["border_mirror"]),
        (None, {"hue": 1.0}, ["hue"]),
        (None, {"saturation": 1.0}, ["saturation"]),
        (None, {"brightness": 1.0}, ["brightness"]),
        (None, {"contrast": 1.0}, ["contrast"]),
        ("bgc", {}, ["orientation", "hue", "brightness", "border_mirror"]),
    ],
)
def test_each_leak_shows_where_it_should(preset: str | None, switches: dict[str, float], finds: list[str]) -> None:
    """Two fifths of the images leak: more than three times as far as other images of the same kind are."""
    other = pictures(400, 1)
    numbers = leaks([REAL], [augmented(other, preset, 0.4, **switches)]).numbers
    clean = leaks([REAL], [other]).numbers
    for name in finds:
        key = f"leak_{name}"
        assert numbers[key] > 3 * max(clean[key], numbers[f"{key}_floor"] / 2), (name, numbers[key], clean[key])
    assert all(clean[f"leak_{s.name}"] < 0.02 for s in STATISTICS)


def test_an_untouched_colour_stays_untouched() -> None:
    other = pictures(400, 1)
    turned, clean = (leaks([REAL], [x]).numbers for x in (other.rot90(1, (2, 3)), other))
    for name in ("hue", "saturation", "brightness", "contrast"):
        assert turned[f"leak_{name}"] == pytest.approx(clean[f"leak_{name}"], abs=1e-6)


def test_distances_by_brute_force() -> None:
    a, b = (torch.rand(36, dtype=torch.float64, generator=generator(seed, "histogram")) for seed in (0, 1))
    a, b = a / a.sum(), b / b.sum()
    flow = (a - b).cumsum(0)
    assert _distance(a, b, circular=False) == pytest.approx(float(flow.abs().mean()))
    circular = min(float((flow - constant).abs().mean()) for constant in flow)
    assert _distance(a, b, circular=True) == pytest.approx(circular)
    one = torch.eye(36, dtype=torch.float64)
    assert _distance(one[1], one[35], circular=True) == pytest.approx(2 / 36)
    assert _distance(one[1], one[35], circular=False) == pytest.approx(34 / 36)
    nothing = torch.zeros(36, dtype=torch.float64)
    assert _distance(nothing, one[3], circular=True) == 0.5 and _distance(nothing, nothing, circular=True) == 0


@pytest.mark.parametrize(("channels", "size"), [(1, (8, 8)), (4, (16, 40))])
def test_other_images(channels: int, size: tuple[int, int]) -> None:
    images = pictures(30, 0, size, channels)
    report = leaks([images], [images])
    names = {c.statistic.name for c in report.comparisons}
    assert ("hue" in names) == (channels == 4)
    if channels == 4:
        opaque = images.clone()
        opaque[:, 3] = 255
        assert leaks([images], [opaque]).numbers == report.numbers
    picture = report.picture()
    assert picture.mode == "RGB" and picture.width == 900 and len(picture.getcolors(10**6) or []) > 3


@pytest.mark.parametrize(
    ("real", "fake", "says"),
    [
        ([REAL], [REAL.float()], "float32"),
        ([REAL], [REAL[:, :, :16]], "16, 32"),
        ([REAL[:, :2]], [REAL[:, :2]], "channels"),
        ([REAL[:, :, :4]], [REAL[:, :, :4]], "8x8"),
        ([REAL[:1]], [REAL], "at least 2"),
        ([REAL], [], "at least 2"),
    ],
)
def test_what_cannot_be_compared(real: list[Tensor], fake: list[Tensor], says: str) -> None:
    with pytest.raises(UserError, match=says):
        leaks(real, fake)

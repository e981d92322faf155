"""A metric is one class and one line of the table: what is added works at once, what lacks something fails by its name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stylegan.errors import UserError
from stylegan.metrics import ppl
from stylegan.metrics.collect import Collector, RowsCollector, Tensors
from stylegan.metrics.evaluate import open_reals
from stylegan.metrics.features import FeatureNetwork
from stylegan.metrics.lpips import LoadedLpips, Lpips
from stylegan.metrics.metric import FeatureMetric, Outcome, Output, PixelMetric
from stylegan.metrics.names import listed, parse, parse_all
from stylegan.metrics.runner import Evaluator, Settings
from stylegan.metrics.table import METRICS, check_metric
from stylegan.models.base import Generator
from stylegan.rng import normal
from tests.integration.images import write_archive
from tests.unit.tiny import tiny_pair

CPU = torch.device("cpu")


class ColourDistance(PixelMetric):
    """How far the mean colours are apart, in grey levels."""

    name = "colour"
    help = "distance of the mean colours"
    outputs = (Output("colour", higher=False),)
    least = 3

    def collector(self, reader: None, count: int) -> Collector:
        return RowsCollector(count, lambda batch: batch.images.float().mean((2, 3)))

    def compare(self, real: Tensors, fake: Tensors, *, seed: int, device: torch.device) -> Outcome:
        return Outcome({"colour": float((real["rows"].mean(0) - fake["rows"].mean(0)).norm())})


@dataclass
class PlainConfig:
    """Of `PlainGenerator`."""

    kind: str = "plain"

    def build(self, *, resolution: tuple[int, int], channels: int, c_dim: int) -> "PlainGenerator":
        return PlainGenerator(resolution[0], c_dim)


class PlainGenerator(Generator):
    """A generator without w, mapping or noise: z, c -> images, and nothing else."""

    def __init__(self, side: int = 16, c_dim: int = 0) -> None:
        super().__init__(PlainConfig(), resolution=(side, side), channels=3, c_dim=c_dim)
        self.z_dim = 3
        self.shade = nn.Parameter(torch.full([1], 0.25))

    def forward(self, z: Tensor, c: Tensor | None = None, **noise: Any) -> Tensor:
        return (z[:, :, None, None] * self.shade).expand(-1, -1, *self.resolution)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_archive(tmp_path / "reals.zip", count=6)
    write_archive(tmp_path / "few.zip", count=2)
    return tmp_path


def evaluator(data: Path, *names: str, **settings: Any) -> Evaluator:
    return Evaluator(parse_all(names), open_reals(data, False), Settings(batch=4, **settings), CPU)


def test_a_class_and_a_line_make_a_metric(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "colour", ColourDistance())
    measure = evaluator(folder / "reals.zip", "colour5", "leaks5")
    G: Any = PlainGenerator().eval()
    found = measure.measure(G)
    assert list(found.values) == list(measure.higher_is_better) == ["colour5", "leaks5"]
    assert measure.higher_is_better["colour5"] is False and (found.fakes, found.reals) == (5, 6)
    reals = torch.stack([measure.dataset[i][0] for i in range(6)]).float().mean((0, 2, 3))
    shades = normal(0, "metrics/fakes/z", range(5), [3], CPU) * 0.25
    fakes = (shades * 127.5 + 127.5).round().clamp(0, 255).mean(0)
    assert found.values["colour5"] == pytest.approx(float((reals - fakes).norm()), rel=1e-5)
    again = evaluator(folder / "reals.zip", "colour5").measure(G).values
    assert again == {"colour5": found.values["colour5"]}, "from the cache of the reals, and alone"
    assert "colour50k: distance of the mean colours" in listed()
    with pytest.raises(UserError, match="colour needs at least 3 images"):
        parse("colour2")
    with pytest.raises(UserError, match="takes no other features"):
        parse("colour5_vgg16")
    with pytest.raises(UserError, match="did you mean 'colour5k'"):
        parse("color5k")
    with pytest.raises(UserError, match=r"colour5 needs at least 3 real images, and .*few\.zip gives 2"):
        evaluator(folder / "few.zip", "colour5")


class Unnamed(ColourDistance):
    name = ""


class Helpless(ColourDistance):
    help = ""


class Silent(ColourDistance):
    outputs = ()


class Copycat(ColourDistance):
    outputs = (Output("colour", higher=False), Output("precision", higher=True))


class OtherRows(FeatureMetric):
    """Collects something of its own, but says no name for it: it would get what kid collected."""

    name = "colour"
    help = "none"
    outputs = (Output("colour", higher=False),)

    def collector(self, reader: FeatureNetwork, count: int) -> Collector:
        return RowsCollector(count, lambda batch: batch.features[:, :1])

    def compare(self, real: Tensors, fake: Tensors, *, seed: int, device: torch.device) -> Outcome:
        return Outcome({"colour": 0.0})


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        (Unnamed(), "Unnamed does not say its name"),
        (Helpless(), "Helpless does not say its help"),
        (Silent(), "Silent does not say its outputs"),
        (Copycat(), "Copycat has the output 'precision' in common with pr"),
        (OtherRows(), "OtherRows collects what FeatureMetric.collected does not name"),
        (METRICS["kid"], "KernelDistance calls itself 'kid'"),
        (ColourDistance, "is no instance of ImageMetric or NetworkMetric"),
    ],
)
def test_a_line_whose_class_lacks_something_fails_by_name(
    metric: Any, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS, "colour", metric)
    with pytest.raises(TypeError) as error:
        parse("colour5")
    assert str(error.value).startswith("METRICS['colour']: ") and says in str(error.value)


def test_a_class_without_a_method_cannot_be_a_line() -> None:
    class Formless(PixelMetric):
        name, help, outputs = "formless", "nothing", (Output("formless", higher=True),)

    with pytest.raises(TypeError, match=r"Formless .*collector.*compare"):
        Formless()  # pyright: ignore[reportAbstractUsage]


def test_a_metric_that_finds_something_else_than_it_promises(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(ColourDistance):
        outputs = (Output("other", higher=False),)

    monkeypatch.setitem(METRICS, "colour", Other())
    G: Any = PlainGenerator().eval()
    with pytest.raises(TypeError, match=r"Other promises \['other'\] and found \['colour'\]"):
        evaluator(folder / "reals.zip", "colour5").measure(G)


def test_every_line_says_all() -> None:
    for name, metric in METRICS.items():
        assert check_metric(name, metric, METRICS) is metric


class Pixels(Lpips):
    """Mean squared difference in place of LPIPS."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a.double() - b.double()).square().mean((1, 2, 3))


def test_a_generator_without_w(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its images are compared, and paths in Z measured; what needs w says so."""
    monkeypatch.setattr(ppl, "load_lpips", lambda *_: LoadedLpips("", Pixels(), {}))
    G: Any = PlainGenerator().eval()
    length = evaluator(folder / "reals.zip", "ppl_zend6").measure(G).values["ppl_zend6"]
    # Shades are z / 4 on the unit sphere, so that a path's length is its squared angle / 16, a third of it in each channel.
    assert 0 < length < torch.pi**2 / 16 / 3
    for name, says in (
        ("ppl_wend6", "ppl_wend6 needs a network with w; plain has none: measure path lengths in Z"),
        ("eqt6", "eqt6 needs a network with w; plain has none: leave it out"),
    ):
        with pytest.raises(UserError) as error:
            evaluator(folder / "reals.zip", name).check(G)
        assert str(error.value).startswith(says)


def test_pictures_too_small_for_lpips_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ppl, "load_lpips", lambda *_: LoadedLpips("", Pixels(), {}))
    measure = evaluator(folder / "reals.zip", "ppl_wend_crop6")
    with pytest.raises(UserError, match=r"16x16 LPIPS would see 8x8 pixels.*leave out _crop, or"):
        measure.check(tiny_pair()[0])

"""Scores of people and detectors: against numbers by hand, brute force, and data where the answer is known."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.detect.classifier import SpectrumClassifier
from stylegan.detect.score import CHANCE, auc, score_interval
from stylegan.detect.spectra import spectrum
from stylegan.rng import generator


@pytest.mark.parametrize(
    "right, played, low, high",
    [
        (8, 10, 0.4902, 0.9433),
        (5, 10, 0.2366, 0.7634),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (1, 1, 0.2065, 1.0),
    ],
)
def test_intervals_by_hand(right: int, played: int, low: float, high: float) -> None:
    """For none right of n the formula gives 0 to z^2 / (n + z^2)."""
    assert score_interval(right, played) == pytest.approx((low, high), abs=1e-4)


def test_an_interval_solves_its_equation() -> None:
    """Its ends are the p for which (share - p)^2 = z^2 p (1 - p) / n."""
    for right, played in [(3, 7), (60, 100), (501, 1000)]:
        for p in score_interval(right, played):
            assert (right / played - p) ** 2 == pytest.approx(1.959964**2 * p * (1 - p) / played, rel=1e-5)


def test_none_and_all_belong_to_their_intervals() -> None:
    for played in range(1, 200):
        assert score_interval(0, played)[0] == 0.0
        assert score_interval(played, played)[1] == 1.0


def test_intervals_of_nothing_and_of_nonsense() -> None:
    assert score_interval(0, 0) == (0.0, 1.0)
    for right, played in [(2, 1), (-1, 4), (0, -1)]:
        with pytest.raises(ValueError, match="cannot be"):
            score_interval(right, played)


def test_area_against_all_pairs() -> None:
    random = generator(0, "test")
    positive = torch.randint(8, (50,), generator=random)  # with many ties
    negative = torch.randint(6, (31,), generator=random)
    more = (positive[:, None] > negative).double() + 0.5 * (positive[:, None] == negative)
    assert auc(positive, negative) == pytest.approx(float(more.mean()), abs=1e-12)
    assert auc(negative, positive) == pytest.approx(1 - float(more.mean()), abs=1e-12)
    assert auc(positive, positive) == CHANCE and auc(positive + 10, negative) == 1
    for bad in (torch.empty(0), torch.tensor([1.0, torch.nan])):
        with pytest.raises(ValueError, match="scores of both kinds"):
            auc(bad, negative)


def noise(count: int, seed: int, blurred: bool = False) -> Tensor:
    """Spectra of white noise, or of noise blurred a little, [count, 17]."""
    images = torch.rand(count, 1, 34, 34, generator=generator(seed, "test")) * 255
    images = images.lerp(F.avg_pool2d(images, 3, stride=1, padding=1), 0.3) if blurred else images
    return torch.stack([spectrum(image[:, 1:-1, 1:-1]) for image in images])


def test_the_classifier_tells_blurred_from_sharp_noise() -> None:
    classifier = SpectrumClassifier.fit(noise(60, 0), noise(40, 1, blurred=True))
    sharp, blurred = classifier.score(noise(80, 2)), classifier.score(noise(80, 3, blurred=True))
    assert auc(blurred, sharp) > 0.99
    assert float(blurred.mean()) > 0.5 and float(sharp.mean()) < -0.5
    assert float((blurred > 0).double().mean()) > 0.9 < float((sharp < 0).double().mean())


def test_the_classifier_is_at_chance_where_nothing_differs() -> None:
    classifier = SpectrumClassifier.fit(noise(200, 4), noise(200, 5))
    assert abs(auc(classifier.score(noise(200, 6)), classifier.score(noise(200, 7))) - CHANCE) < 0.12  # 4 deviations


def test_both_kinds_weigh_the_same() -> None:
    """One kind ten times over, and features in other units: scores stay as they were."""
    real, fake, asked = noise(20, 8), noise(20, 9, blurred=True), noise(5, 10)
    scores = SpectrumClassifier.fit(real, fake).score(asked)
    torch.testing.assert_close(SpectrumClassifier.fit(real.repeat(10, 1), fake).score(asked), scores)
    units = torch.linspace(1, 9, real.shape[1], dtype=torch.float64)
    in_other_units = SpectrumClassifier.fit(real * units - 3, fake * units - 3).score(asked * units - 3)
    torch.testing.assert_close(in_other_units, scores)


def test_the_ridge_against_its_normal_equations() -> None:
    """Of equal numbers of both kinds, ridge regression by the pseudo-inverse of the data with the penalty as extra rows."""
    real, fake = noise(30, 11), noise(30, 12, blurred=True)
    classifier = SpectrumClassifier.fit(real, fake, ridge=0.5)
    x = torch.cat([real, fake])
    x = (x - x.mean(dim=0)) / x.std(dim=0, correction=0).clamp(min=1e-9)
    rows = torch.cat([x, (0.5 * 60) ** 0.5 * torch.eye(x.shape[1], dtype=torch.float64)])
    targets = torch.cat([-torch.ones(30), torch.ones(30), torch.zeros(x.shape[1])]).double()
    torch.testing.assert_close(classifier.weight, torch.linalg.pinv(rows) @ targets)


def test_what_the_classifier_refuses() -> None:
    x = torch.zeros(3, 4)
    for real, fake in [(x, x[:, :3]), (x, x[:0]), (x[:0], x), (x[0], x)]:
        with pytest.raises(ValueError, match="spectra must be"):
            SpectrumClassifier.fit(real, fake)
    for real, fake in [(x, x / 0), (x / 0, x)]:
        with pytest.raises(ValueError, match="finite"):
            SpectrumClassifier.fit(real, fake)
    with pytest.raises(ValueError, match="above 0"):
        SpectrumClassifier.fit(x, x, ridge=0)

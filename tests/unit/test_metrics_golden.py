"""The formulas of the metrics equal the recorded results of the papers' code."""

import pytest

from stylegan.metrics import equivariance, precision_recall
from stylegan.metrics.fid import Moments, frechet_distance
from stylegan.metrics.inception_score import SplitScores
from stylegan.metrics.kid import mean_discrepancy, squared_discrepancy
from stylegan.metrics.ppl import cropped_mean, slerp
from tests.golden.golden import Golden, load


@pytest.fixture(scope="module")
def golden() -> Golden:
    return load("metrics")


def value(golden: Golden, name: str) -> float:
    return float(golden.arrays[f"f64/out/{name}"])


def test_fid(golden: Golden) -> None:
    real, fake = (Moments.empty(64) for _ in range(2))
    for moments, side in ((real, "real"), (fake, "fake")):
        for batch in golden.tensor(f"in/{side}_features").split(100):  # batches make no difference
            moments.add(batch)
        for got, key in ((moments.mean, "mean"), (moments.covariance(), "cov")):
            golden.assert_close(f"f64/out/{side}_{key}", got, golden.config["tol"]["real_mean/cov"])
    assert frechet_distance(real, fake) == pytest.approx(value(golden, "fid"), rel=1e-6, abs=1e-6)


def test_kid(golden: Golden) -> None:
    real, fake = golden.tensor("in/real_features"), golden.tensor("in/fake_features")
    subsets = zip(golden.tensor("in/kid_idx_fake"), golden.tensor("in/kid_idx_real"), strict=True)
    assert mean_discrepancy(real, fake, subsets) == pytest.approx(value(golden, "kid"), rel=2e-5, abs=1e-7)
    whole = float(squared_discrepancy(real.double(), fake.double()))
    assert whole == pytest.approx(value(golden, "kid_all_one_subset"), rel=2e-5, abs=1e-7)


def test_precision_and_recall(golden: Golden) -> None:
    real, fake = golden.tensor("in/pr_real"), golden.tensor("in/pr_fake")
    got = precision_recall.precision_recall(real, fake)
    assert got == pytest.approx([value(golden, "precision"), value(golden, "recall")], abs=0.0029296875)
    exact = precision_recall.precision_recall(real.double(), fake.double(), half=False)
    assert exact == (value(golden, "precision_f64"), value(golden, "recall_f64"))


def test_inception_score(golden: Golden) -> None:
    logits = golden.tensor("in/logits")
    scores = SplitScores(len(logits), logits.shape[1], golden.config["num_splits"])
    for start in range(0, len(logits), 64):  # batches that straddle the splits
        scores.add(logits[start : start + 64], start)
    assert scores.score() == pytest.approx([value(golden, "is_mean"), value(golden, "is_std")], rel=1e-5)


def test_path_length(golden: Golden) -> None:
    assert cropped_mean(golden.tensor("in/ppl_dist")) == pytest.approx(value(golden, "ppl"), rel=1e-6)
    got = slerp(*(golden.tensor(f"in/slerp_{name}") for name in "abt"))
    golden.assert_close("out/slerp", got, golden.config["tol"]["out/slerp"])


def test_equivariance_operators() -> None:
    golden = load("equivariance_ops")
    x = golden.tensor("in/x")
    for i, (tx, ty) in enumerate(golden.config["translations"]):
        for name, operator in (
            ("integer", equivariance.integer_translation),
            ("fractional", equivariance.fractional_translation),
        ):
            both(golden, f"out/{name}{i}", operator(x, tx, ty))
    for i, angle in enumerate(golden.config["angles_rad"]):
        both(golden, f"out/apply_fractional_rotation{i}", equivariance.rotation(x, angle))
        both(golden, f"out/apply_fractional_pseudo_rotation{i}", equivariance.pseudo_rotation(x, angle))


def both(golden: Golden, key: str, got: equivariance.Transformed) -> None:
    golden.assert_close(f"{key}/img", got[0])
    golden.assert_close(f"{key}/mask", got[1])

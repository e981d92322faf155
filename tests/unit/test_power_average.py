"""Averages with power-function profiles: the formulas against recorded numbers of the authors' code, and against a walk."""

import numpy as np
import pytest

from stylegan.training.power_average import coefficients, decay, gamma_of, inner_product, sigma_of
from tests.golden.golden import Golden, load


@pytest.fixture(scope="module")
def golden() -> Golden:
    return load("phema")


def close(golden: Golden, key: str, got: object) -> None:
    want, tol = golden.arrays[key], golden.config["tol"].get(key, {"rtol": 1e-9, "atol": 1e-12})
    np.testing.assert_allclose(np.asarray(got), want, rtol=max(tol["rtol"], 1e-9), atol=tol["atol"])


def test_exponents_and_lengths(golden: Golden) -> None:
    close(golden, "f64/out/gamma", [gamma_of(s) for s in golden.arrays["f64/in/std"]])
    close(golden, "f64/out/std_of_gamma", [sigma_of(g) for g in golden.arrays["f64/in/gamma"]])
    for name in ("beta0", "beta1"):
        batches = golden.arrays[f"f64/{name}/in/batches"]
        times = batches.cumsum()
        found = [
            [decay(gamma_of(s), int(t), int(n)) for t, n in zip(times, batches, strict=True)]
            for s in golden.config["cases"][name]["std"]
        ]
        close(golden, f"f64/{name}/out/beta", found)


def test_inner_products(golden: Golden) -> None:
    t_a, s_a, t_b, s_b = golden.arrays["f64/corr/in/pairs"].T
    gammas = [np.array([gamma_of(s) for s in sigmas]) for sigmas in (s_a, s_b)]
    close(golden, "f64/corr/out", inner_product(t_a, gammas[0], t_b, gammas[1]))


@pytest.mark.parametrize("name", ["rec0", "rec1", "rec2"])
def test_coefficients(golden: Golden, name: str) -> None:
    times, sigmas = (golden.arrays[f"f64/{name}/in/{key}"].tolist() for key in ("t", "std"))
    case = golden.config["cases"][name]
    for i, sigma in enumerate(golden.arrays[f"f64/{name}/in/out_std"]):
        found, error = coefficients(times, sigmas, sigma, case["out_t"])
        want = golden.arrays[f"f64/{name}/out/coefs"][:, i]
        np.testing.assert_allclose(found, want, rtol=0, atol=1e-12 * case["cond"] * np.abs(want).max() + 1e-12)
        assert error == pytest.approx(golden.arrays[f"f64/{name}/out/rel_error"][i], rel=1e-3, abs=1e-6)


def test_a_walk_is_averaged_anew(golden: Golden) -> None:
    """Parameters that move for 800 steps: what was tracked adds up to what was not, nearly, and as recorded."""
    case, arrays = golden.config["cases"]["walk0"], golden.arrays
    batches, params = arrays["f64/walk0/in/batches"], arrays["f64/walk0/in/params"]
    averages = {sigma: np.zeros(4) for sigma in (*case["std"], *case["track"])}
    kept, t = [], 0
    for step, (n, p) in enumerate(zip(batches, params, strict=True)):
        t += int(n)
        for sigma, value in averages.items():
            averages[sigma] = value + (p - value) * (1 - decay(gamma_of(sigma), t, int(n)))
        if (step + 1) % case["every"] == 0:
            kept += [(t, sigma, averages[sigma].copy()) for sigma in case["std"]]
    times, sigmas, values = zip(*kept, strict=True)
    close(golden, "f64/walk0/out/snapshots", values)
    for i, sigma in enumerate(case["track"]):
        factors, _ = coefficients(times, sigmas, sigma, t)
        got = factors @ np.array(values)
        np.testing.assert_allclose(got, arrays["f64/walk0/out/reconstructed"][i], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(averages[sigma], arrays["f64/walk0/out/tracked"][i], rtol=1e-9, atol=1e-12)
        assert np.linalg.norm(got - averages[sigma]) < 0.01 * np.linalg.norm(averages[sigma])

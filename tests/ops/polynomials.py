"""The polynomials of stylegan/ops/normal.py: `python -m tests.ops.polynomials` fits them and prints how far off they are.

Each is the one of its degree whose largest relative error is about the least, with coefficients in float32, the first of which
is given.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.polynomial import polyval

Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Fit:
    """A function of q = x^2 for x up to `end`, and the first coefficient and degree of its polynomial."""

    function: Function
    end: float
    first: float
    degree: int

    @property
    def points(self) -> np.ndarray:
        """Where errors are looked at: closer together at the ends."""
        return self.end**2 * (1 - np.cos(np.linspace(1e-3, np.pi, 2000))) / 2

    def error(self, coefficients: np.ndarray) -> float:
        """The largest relative one, in units of half a last place of 24 bits."""
        q = self.points
        return float(np.abs(polyval(q, coefficients) / self.function(q) - 1).max() * 2**24)

    def best(self) -> np.ndarray:
        """The coefficients from the first one on (Lawson's algorithm: least squares, weighted anew by the errors)."""
        q = self.points
        want, first = self.function(q), float(np.float32(self.first))
        powers = (q[:, None] / q[-1]) ** np.arange(1, self.degree + 1) / want[:, None]
        rest, weight = 1 - first / want, np.ones_like(q)
        best = np.array([first, *np.zeros(self.degree)])
        for _ in range(100):
            root = np.sqrt(weight)
            found = np.linalg.lstsq(powers * root[:, None], rest * root, rcond=None)[0]
            weight = weight * np.abs(powers @ found - rest)
            weight = weight / weight.mean() + 1e-12
            scaled = [first, *found / q[-1] ** np.arange(1, self.degree + 1)]
            best = min(best, np.array(scaled).astype(np.float32).astype(np.float64), key=self.error)
        return best


FITS = {
    "ARTANH": Fit(lambda q: 4 * np.arctanh(np.sqrt(q)) / np.sqrt(q), 1 / 3, 4.0, 4),
    "SINE": Fit(lambda q: np.sin(np.pi / 4 * np.sqrt(q)) / np.sqrt(q), 1.0, np.pi / 4, 3),
    "COSINE": Fit(lambda q: np.cos(np.pi / 4 * np.sqrt(q)), 1.0, 1.0, 4),
}


def main() -> None:
    """Print them."""
    for name, fit in FITS.items():
        best = fit.best()
        print(name, ", ".join(f"{c:.9g}" for c in best), f"error {fit.error(best):.3f} of half a last place")


if __name__ == "__main__":
    main()

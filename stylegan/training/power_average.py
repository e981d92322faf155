"""Averages of a network over its training with power-function profiles (Karras et al. 2024, "Analyzing and Improving the
Training Dynamics of Diffusion Models" (EDM2), section 3 and appendix C): of two or three that were tracked, any other can be
made later.

The average with exponent gamma weights the network after t of T images by t^gamma. Its length is told as sigma, the standard
deviation of that profile relative to T, which does not change while a network trains on.
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np

LONGEST = 0.25  # the largest sigma that is taken; a profile that weights all of the training alike has 0.289


@cache
def gamma_of(sigma: float) -> float:
    """The exponent of the profile of a length: the largest root of appendix C, equation 123.

    Args:
        sigma: Above 0, below 0.289.
    """
    inverse = sigma**-2
    roots = np.roots([1, 7, 16 - inverse, 12 - inverse])
    return float(roots.real.max())


def sigma_of(gamma: float) -> float:
    """The length of the profile of an exponent: equation 122 there."""
    return math.sqrt((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3)))


def decay(gamma: float, nimg: int, batch_size: int) -> float:
    """The share that an average keeps in an update (equation 127).

    Args:
        gamma: Of its profile.
        nimg: Images so far, those of this iteration included.
        batch_size: Images of this iteration.
    """
    return (1 - batch_size / nimg) ** (gamma + 1)


def inner_product(t_a: np.ndarray, gamma_a: np.ndarray, t_b: np.ndarray, gamma_b: np.ndarray) -> np.ndarray:
    """Of two profiles, that of an average after t_a images and that after t_b (appendix C.2); arrays that broadcast."""
    later = np.maximum(t_a, t_b)
    exponent = np.where(t_a < t_b, gamma_b, -gamma_a)
    return (gamma_a + 1) * (gamma_b + 1) * (t_a / t_b) ** exponent / ((gamma_a + gamma_b + 1) * later)


def coefficients(
    times: Sequence[float], sigmas: Sequence[float], sigma: float, target: float
) -> tuple[np.ndarray, float]:
    """With what factors averages that were kept add up to one of another length, and how near that comes.

    Args:
        times: Images after which each was kept, none more than `target`.
        sigmas: Their lengths.
        sigma: The length that is wanted.
        target: Images after which it is wanted.

    Returns:
        float64 [N], of sum 1; and the L2 distance of the profile that they give from the one that is wanted, relative to it.
    """
    t, gammas = np.asarray(times, np.float64), np.array([gamma_of(s) for s in sigmas])
    wanted = np.array(gamma_of(sigma))
    A = inner_product(t[:, None], gammas[:, None], t, gammas)
    b = inner_product(t, gammas, np.array(float(target)), wanted)
    found = np.linalg.solve(A, b)
    found = found / found.sum()
    whole = float(inner_product(np.array(float(target)), wanted, np.array(float(target)), wanted))
    distance = max(float(found @ A @ found - 2 * found @ b + whole), 0.0)
    return found, math.sqrt(distance / whole)

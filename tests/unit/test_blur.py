"""The blur of what D sees, against a sum over taps, and with a sigma that lies on the device."""

import pytest
import torch
from torch import Tensor

from stylegan.augment.blur import blurred
from stylegan.rng import generator

SIGMAS = [0.2, 0.4, 1.0, 7 / 3, 5.0]


def images() -> Tensor:
    return torch.rand(2, 3, 9, 14, dtype=torch.float64, generator=generator(0, "images")) * 2 - 1


@pytest.mark.parametrize("sigma", SIGMAS)
def test_against_a_sum_over_taps(sigma: float) -> None:
    """2^-(i / sigma)^2 up to three sigmas on both axes, with zeros around the images."""
    reach = int(3 * sigma)
    taps = {i: 2 ** -((i / sigma) ** 2) for i in range(-reach, reach + 1)}
    total, x = sum(taps.values()), images()
    padded, want = torch.nn.functional.pad(x, [reach] * 4), torch.zeros_like(x)
    for i, a in taps.items():
        for j, b in taps.items():
            want += a * b / total**2 * padded[:, :, reach + i : reach + i + 9, reach + j : reach + j + 14]
    torch.testing.assert_close(blurred(x, sigma, sigma), want, rtol=0, atol=1e-6)  # taps are float32


@pytest.mark.parametrize("sigma", [0.0, *SIGMAS])
def test_a_larger_filter_gives_the_same_and_sigma_may_be_a_tensor(sigma: float) -> None:
    """float32's taps may be divided by a sum that was rounded in another order."""
    x = images()
    exact = blurred(x, sigma, sigma)
    for largest in (sigma, 5.0, 10.0):
        for given in (sigma, torch.tensor(sigma, dtype=torch.float64)):
            torch.testing.assert_close(blurred(x, given, largest), exact, rtol=0, atol=0 if largest == sigma else 3e-7)
    assert torch.equal(exact, x) == (sigma * 3 < 1)


def test_without_a_blur_images_are_returned_as_they_are() -> None:
    x = images()
    assert blurred(x, 0.0, 0.0) is x and blurred(x, 0.3, 0.3) is x
    assert torch.equal(blurred(x, torch.zeros([], dtype=torch.float64), 10.0), x)

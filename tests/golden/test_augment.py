"""The pipeline of the ADA paper: images and gradients against recorded numbers, at three percentiles of every distribution."""

from typing import Any

import pytest
import torch

from stylegan.augment.filtering import filter_bank
from stylegan.augment.geometry import SYM6, wavelet
from stylegan.augment.pipe import AugmentPipe
from stylegan.augment.strengths import GROUPS, PRESETS, PipeConfig
from tests.golden.golden import Golden, load

FILES = ("augment_each", "augment_presets", "augment_gray_presets")


@pytest.fixture(scope="module", params=FILES)
def golden(request: pytest.FixtureRequest) -> Golden:
    return load(request.param)


def config_of(name: str, switches: dict[str, Any]) -> PipeConfig:
    """The preset of that name, which must switch on what the recording did, or single switches."""
    if name not in PRESETS or len(switches) == 1:
        return PipeConfig(preset=None, **switches)
    assert {c for group in PRESETS[name] for c in GROUPS[group]} == switches.keys()
    return PipeConfig(preset=name)


@pytest.mark.parametrize("fixed", [False, True])
def test_images_and_gradients(golden: Golden, fixed: bool) -> None:
    compared = 0
    for key in golden.keys("out/"):
        _, shape, spec, percentile, *gradient = key.split("/")
        if gradient:
            continue
        images, noise, r = (golden.tensor(f"in/{shape}/{name}") for name in ("images", "image_noise", "r"))
        n, channels, H, W = images.shape
        config = config_of(spec, golden.config["specs"][spec])
        pipe = AugmentPipe(config, channels=channels, resolution=(H, W), fixed=fixed)
        images.requires_grad_(True)
        augmented = pipe.at_percentile(n, float(percentile[1:]), noise)(images)
        golden.assert_close(key, augmented)
        compared += 1
        if f"{key}/dx" in golden.arrays:
            (dx,) = torch.autograd.grad((augmented * r).sum(), images)
            golden.assert_close(f"{key}/dx", dx)
            compared += 1
    assert compared == len(golden.keys("out/"))


def test_filters(golden: Golden) -> None:
    torch.testing.assert_close(wavelet(torch.device("cpu")), golden.tensor("param/Hz_geom"), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(
        filter_bank(torch.device("cpu")).float(), golden.tensor("param/Hz_fbank"), rtol=1e-6, atol=1e-8
    )


def test_the_wavelet_is_orthogonal() -> None:
    """Its shifts by even numbers are orthonormal: enlarging and reducing again gives the image back."""
    taps = torch.tensor(SYM6, dtype=torch.float64)
    products = [float((taps[2 * k :] * taps[: len(taps) - 2 * k]).sum()) for k in range(6)]
    assert products == pytest.approx([1, 0, 0, 0, 0, 0], abs=1e-11)
    torch.testing.assert_close(taps.sum(), torch.tensor(2**0.5, dtype=torch.float64), rtol=0, atol=1e-11)

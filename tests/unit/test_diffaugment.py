"""DiffAugment against loops over images and pixels, and its ranges."""

import pytest
import torch
from torch import Tensor

from stylegan.augment.diffaugment import POLICIES, DiffAugment
from stylegan.rng import generator


def images(n: int, channels: int, size: tuple[int, int]) -> Tensor:
    return torch.rand(n, channels, *size, dtype=torch.float64, generator=generator(0, "images")) * 2 - 1


@pytest.mark.parametrize(("channels", "size"), [(3, (8, 8)), (1, (7, 12)), (4, (9, 6)), (3, (1, 1))])
def test_against_loops(channels: int, size: tuple[int, int]) -> None:
    x, (H, W) = images(5, channels, size), size
    drawn = DiffAugment(POLICIES, resolution=size).draw(0, "x", range(5), 0.0, "cpu")
    assert drawn.brightness is not None and drawn.saturation is not None and drawn.contrast is not None
    assert drawn.shift is not None and drawn.hole is not None
    want = torch.zeros_like(x)
    for i in range(5):
        picture = x[i].clone()
        colour = picture[:3] + drawn.brightness[i]
        colour = (colour - colour.mean(dim=0)) * drawn.saturation[i] + colour.mean(dim=0)
        picture[:3] = (colour - colour.mean()) * drawn.contrast[i] + colour.mean()
        (dx, dy), (left, top) = drawn.shift[i].tolist(), drawn.hole[i].tolist()
        for row in range(H):
            for column in range(W):
                hole = left <= column < left + (W + 1) // 2 and top <= row < top + (H + 1) // 2
                if 0 <= row - dy < H and 0 <= column - dx < W and not hole:
                    want[i, :, row, column] = picture[:, row - dy, column - dx]
    torch.testing.assert_close(drawn(x), want)


def test_ranges() -> None:
    """Zhao et al. 2020: brightness within half, saturation 0..2, contrast 0.5..1.5, an eighth of a side, a hole of a half."""
    n = 4000
    drawn = DiffAugment(POLICIES, resolution=(16, 24)).draw(0, "x", range(n), 0.0, "cpu")
    for value, low, high in ((drawn.brightness, -0.5, 0.5), (drawn.saturation, 0, 2), (drawn.contrast, 0.5, 1.5)):
        assert value is not None and low <= float(value.min()) and float(value.max()) < high
        assert float(value.mean()) == pytest.approx((low + high) / 2, abs=0.03 * (high - low))
        assert float(value.std()) == pytest.approx((high - low) / 12**0.5, rel=0.05)
    assert drawn.shift is not None and drawn.hole is not None
    assert [column.unique().tolist() for column in drawn.shift.T] == [list(range(-3, 4)), list(range(-2, 3))]
    assert [column.unique().tolist() for column in drawn.hole.T] == [list(range(-6, 19)), list(range(-4, 13))]


def test_policies_division_and_derivatives() -> None:
    x = images(4, 4, (6, 6))
    coloured = DiffAugment(["color"], resolution=(6, 6)).draw(0, "x", range(4), 0.0, "cpu")
    assert torch.equal(coloured(x)[:, 3], x[:, 3]) and coloured.shift is None and coloured.hole is None
    everything = DiffAugment(POLICIES, resolution=(6, 6))
    drawn = everything.draw(0, "x", range(4), 0.0, "cpu")
    part = everything.draw(0, "x", [2, 0], 0.0, "cpu")
    torch.testing.assert_close(part(x[[2, 0]]), drawn(x)[[2, 0]], rtol=0, atol=1e-12)
    assert not torch.equal(drawn(x), everything.draw(0, "x", range(4, 8), 0.0, "cpu")(x))
    x.requires_grad_(True)
    assert torch.autograd.gradcheck(drawn, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: drawn(x) ** 3, x, fast_mode=True)

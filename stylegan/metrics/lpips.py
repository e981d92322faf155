"""LPIPS: how different two pictures look (Zhang et al. 2018, "The unreasonable effectiveness of deep features", equation 1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from stylegan.metrics.features import VGG16, torchvision_files
from stylegan.metrics.weights import Published, Weights, fill, find_weights

LPIPS = "lpips"
HEADS = Published(
    "vgg.pth",
    "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/vgg.pth",
    "lpips/weights/v0.1/vgg.pth of PerceptualSimilarity, also in the PyPI package lpips",
)
SMALLEST = 16  # pixels of a side
WIDTHS = (64, 128, 256, 512, 512)
STAGES = (4, 9, 16, 23, 30)  # where VGG16's list of layers is cut: after the last ReLU of each resolution
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's mean and deviation for pictures in -1 .. 1


class Lpips(nn.Module):
    """VGG16's features up to the fifth resolution, and a weight for each channel (the heads)."""

    def __init__(self) -> None:
        import torchvision  # not above: it takes longer to import than everything else here

        super().__init__()
        with torch.device("meta"):
            self.features: nn.Module = torchvision.models.vgg16(weights=None, init_weights=False).features
            heads = [nn.Sequential(nn.Identity(), nn.Conv2d(width, 1, 1, bias=False)) for width in WIDTHS]
            # The names of the authors' file: lin0.model.1.weight. The place before it was a dropout's.
            self.heads = nn.ModuleDict({f"lin{i}": nn.ModuleDict({"model": head}) for i, head in enumerate(heads)})
        self._heads = tuple(heads)  # a tuple, lest they be registered twice

    @property
    def head_weights(self) -> list[Tensor]:
        """The weight of each channel of each resolution, [1, C, 1, 1]."""
        return [weight for head in self._heads for weight in head.parameters()]

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The distance [N] of pictures [N, 3, H, W] in [-1, 1], pair by pair; H and W at least 16."""
        shift, scale = (a.new_tensor(values)[:, None, None] for values in (SHIFT, SCALE))
        x = (torch.cat([a, b]) - shift) / scale
        total = a.new_zeros(len(a))
        layers = list(self.features.children())
        for start, end, head in zip((0, *STAGES), STAGES, self._heads, strict=False):
            for layer in layers[start:end]:
                x = layer(x)
            unit = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
            difference = (unit[: len(a)] - unit[len(a) :]).square()
            total = total + head(difference).mean((1, 2, 3))
        return total


@dataclass(frozen=True)
class LoadedLpips:
    """LPIPS with its weights.

    Attributes:
        name: Empty for the published weights, else `lpips-` and eight digits of the hash of those that are not.
        network: See `Lpips`.
        weights: The SHA-256 of the files, by what they hold.
    """

    name: str
    network: Lpips
    weights: dict[str, str]


def load_lpips(device: torch.device, given: Mapping[str, Path] | None = None) -> LoadedLpips:
    """LPIPS with VGG16 (torchvision's weights) and the authors' heads, version 0.1.

    Args:
        device: Where it computes.
        given: Files for `vgg16` and `lpips`; see `stylegan.metrics.weights`.

    Raises:
        UserError: A file cannot be had or does not fit.
    """
    given = given or {}
    heads = find_weights(LPIPS, [HEADS], given.get(LPIPS))
    trunk = find_weights(VGG16, torchvision_files(VGG16)[:1], given.get(VGG16))
    network = Lpips()
    fill_lpips(network, trunk, heads)
    foreign = [weights.sha256[:8] for weights in (heads, trunk) if weights.published is None]
    network = network.to(device).eval().requires_grad_(False)
    name = "-".join([LPIPS, *foreign]) if foreign else ""
    return LoadedLpips(name, network, {LPIPS: heads.sha256, VGG16: trunk.sha256})


def fill_lpips(network: Lpips, trunk: Weights, heads: Weights | None) -> None:
    """Load VGG16's weights, and those of the heads where they are wanted; raises `UserError` where they do not fit."""
    fill(_Prefixed(network.features), trunk, VGG16)
    if heads is not None:
        fill(network.heads, heads, LPIPS)


class _Prefixed(nn.Module):
    """VGG16's `features` under the names that they have in its file."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features

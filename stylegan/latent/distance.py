"""How different two pictures look, as something that an optimisation can follow."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.errors import UserError
from stylegan.metrics.features import VGG16, torchvision_files
from stylegan.metrics.lpips import HEADS, LPIPS, SHIFT, SMALLEST, STAGES, Lpips, fill_lpips
from stylegan.metrics.lpips import SCALE as DEVIATION
from stylegan.metrics.weights import find_weights, is_at_hand
from stylegan.models.base import Discriminator

LARGEST = 256  # pixels of a side that VGG16 is shown; larger pictures are made smaller (Karras et al. 2020, appendix D)


class Measure(StrEnum):
    """What `choose_distance` can be told."""

    auto = "auto"
    vgg16 = "vgg16"
    discriminator = "discriminator"
    pixels = "pixels"


@dataclass(frozen=True)
class Distance:
    """A distance between pictures: the sum of the squared differences of their features.

    Attributes:
        name: What is compared, for people.
        features: float [N, C, H, W] in [-1, 1] -> [N, F], differentiable.
        is_lpips: Whether it is LPIPS (Zhang et al. 2018), so that thresholds for LPIPS mean something.
    """

    name: str
    features: Callable[[Tensor], Tensor]
    is_lpips: bool = False

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        """Of pictures [N, C, H, W], pair by pair, [N]."""
        return (self.features(a) - self.features(b)).square().sum(dim=1)


def choose_distance(
    measure: Measure, D: Discriminator | None, resolution: tuple[int, int], device: torch.device
) -> Distance:
    """A distance by name.

    Args:
        measure: `vgg16`; `discriminator`; `pixels`; or `auto`, the first of these that is at hand. Nothing is downloaded for
            `auto`.
        D: The network's own discriminator, where its file holds one.
        resolution: (H, W) of the pictures.
        device: Where it computes.

    Raises:
        UserError: What was asked for is not at hand, or cannot see pictures of that size.
    """
    if measure is Measure.auto:
        if is_at_hand(torchvision_files(VGG16)[0]) and min(resolution) >= SMALLEST:
            measure = Measure.vgg16
        else:
            measure = Measure.pixels if D is None else Measure.discriminator
    if measure is Measure.vgg16:
        if min(resolution) < SMALLEST:
            raise UserError(
                f"figure.distance=vgg16: pictures of {resolution[1]}x{resolution[0]} are too small for it, it needs "
                f"{SMALLEST} pixels; choose figure.distance=pixels"
            )
        return _vgg16(device)
    if measure is Measure.discriminator:
        if D is None:
            raise UserError(
                "figure.distance=discriminator: this file holds no discriminator; give a run's folder, a checkpoint's run or a "
                "converted pickle, or choose figure.distance=pixels"
            )
        return Distance("features of the network's own discriminator", _of_discriminator(D.to(device)))
    return Distance("pixels at several scales", at_several_scales)


def at_several_scales(img: Tensor) -> Tensor:
    """Pictures and their halves, quarters and so on, down to 8 pixels: the distance is the sum of the mean squared errors."""
    levels = []
    while True:
        levels.append(img.flatten(1) / img[0].numel() ** 0.5)
        if min(img.shape[2:]) < 16:
            return torch.cat(levels, dim=1)
        img = F.avg_pool2d(img, 2)


def unit_features(maps: list[Tensor], weights: list[Tensor] | None = None) -> Tensor:
    """Feature maps [N, C, H, W] as LPIPS compares them: each pixel's vector at length 1, averaged over the pixels."""
    parts = []
    for i, x in enumerate(maps):
        unit = x.float() / (x.float().square().sum(1, keepdim=True) + 1e-20).sqrt()
        if weights is not None:
            unit = unit * weights[i]
        parts.append(unit.flatten(1) / (x.shape[2] * x.shape[3]) ** 0.5)
    return torch.cat(parts, dim=1)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of uint8 pictures [N, C, H, W], pair by pair, in dB [N]; infinite where they are equal."""
    error = (a.double() - b.double()).square().flatten(1).mean(dim=1)
    return 10 * (255**2 / error).log10()


def _of_discriminator(D: Discriminator) -> Callable[[Tensor], Tensor]:
    D = D.eval().requires_grad_(False)
    return lambda img: unit_features(D.features(img))


def _vgg16(device: torch.device) -> Distance:
    """LPIPS where its heads are at hand too, else VGG16's features with all channels alike."""
    network = Lpips()
    is_lpips = is_at_hand(HEADS)
    heads = find_weights(LPIPS, [HEADS]) if is_lpips else None
    trunk_weights = find_weights(VGG16, torchvision_files(VGG16)[:1], instead="choose figure.distance=pixels")
    fill_lpips(network, trunk_weights, heads)
    trunk = network.features.to(device).eval().requires_grad_(False)
    weights = [head.to(device).clamp(min=0).sqrt() for head in network.head_weights] if is_lpips else None
    layers = list(trunk.children())

    def features(img: Tensor) -> Tensor:
        x = _as_rgb(img)
        if max(x.shape[2:]) > LARGEST:
            scale = LARGEST / max(x.shape[2:])
            x = F.interpolate(x, size=[max(round(side * scale), 1) for side in x.shape[2:]], mode="area")
        shift, deviation = (x.new_tensor(values)[:, None, None] for values in (SHIFT, DEVIATION))
        x, maps = (x - shift) / deviation, []
        for start, end in zip((0, *STAGES), STAGES, strict=False):
            for layer in layers[start:end]:
                x = layer(x)
            maps.append(x)
        return unit_features(maps, weights)

    return Distance("LPIPS (VGG16)" if is_lpips else "features of VGG16", features, is_lpips)


def _as_rgb(img: Tensor) -> Tensor:
    """[N, 3, H, W] of 1, 3 or 4 channels; what is clear becomes white."""
    match img.shape[1]:
        case 3:
            return img
        case 1:
            return img.expand(-1, 3, -1, -1)
        case _:
            alpha = (img[:, 3:] + 1) / 2
            return img[:, :3] * alpha + (1 - alpha)

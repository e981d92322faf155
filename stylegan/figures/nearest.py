"""Real images beside generated ones, and the nearest of them to each."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.bars import with_bar
from stylegan.data.archive import ImageDataset
from stylegan.data.loader import open_dataset
from stylegan.errors import UserError
from stylegan.figures.base import Request
from stylegan.metrics.features import load_features
from stylegan.models.base import Generator

PIXELS = "pixels"
_SIDE = 32  # to which images are made smaller for a comparison of pixels


@dataclass(frozen=True)
class Nearest:
    """The nearest real image to each generated one.

    Attributes:
        images: uint8 [N, C, H, W].
        names: In the archive.
        distances: Root mean square over the features.
        measure: What was compared, for people.
    """

    images: Tensor
    names: list[str]
    distances: list[float]
    measure: str


def open_reals(data: str, G: Generator, least: int) -> ImageDataset:
    """An archive whose images can stand beside the network's.

    Raises:
        UserError: There is none, its images have another size or other channels, or are fewer than `least`.
    """
    dataset = open_dataset(data)
    if (dataset.resolution, dataset.channels) != (G.resolution, G.channels):
        (h, w), (H, W) = dataset.resolution, G.resolution
        raise UserError(
            f"figure.data={data} holds images of {w}x{h} with {dataset.channels} channel(s), the network makes {W}x{H} with "
            f"{G.channels}: they cannot be compared; prepare the data at that size"
        )
    if len(dataset) < least:
        raise UserError(f"figure.data={data} has {len(dataset)} images, and {least} are needed; give fewer seeds")
    return dataset


def find_nearest(images: Tensor, dataset: ImageDataset, features: str, G: Generator, request: Request) -> Nearest:
    """Compare every generated image with every real one; a batch of real images is in memory at a time.

    Args:
        images: uint8 [N, C, H, W].
        dataset: The real ones.
        features: `pixels` (at 32x32), or a feature network as metrics know it.
        G: Says where features are computed.
        request: Of the figure: batch and progress.

    Raises:
        UserError: There is no such network, or its weights cannot be had.
    """
    device = next(G.parameters()).device
    network = None if features == PIXELS else load_features(features, device)

    def read(batch: Tensor) -> Tensor:
        if network is not None:
            return network(batch.to(device))[0].cpu().float()
        small = F.interpolate(batch.float(), size=(min(_SIDE, batch.shape[2]), min(_SIDE, batch.shape[3])), mode="area")
        return small.flatten(1)

    ours = torch.cat([read(images[start : start + 16]) for start in range(0, len(images), 16)])
    best, row = torch.full([len(images)], torch.inf), torch.zeros(len(images), dtype=torch.long)
    size = request.sampling.batch
    starts = range(0, len(dataset), size)
    for start in with_bar(starts, "real images", len(starts), show=request.progress):
        batch = torch.stack([dataset[i][0] for i in range(start, min(start + size, len(dataset)))])
        distance, index = torch.cdist(ours, read(batch), compute_mode="donot_use_mm_for_euclid_dist").min(dim=1)
        nearer = distance < best
        best, row = torch.where(nearer, distance, best), torch.where(nearer, index + start, row)
    found = torch.stack([dataset[int(i)][0] for i in row])
    measure = f"pixels at {_SIDE}x{_SIDE}, grey levels" if network is None else network.name
    names = [dataset.names[int(i)] for i in row]
    return Nearest(found, names, (best / ours.shape[1] ** 0.5).tolist(), measure)

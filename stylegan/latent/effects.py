"""How far a direction moves what it is meant to, and how far the rest, by the attributes that a network reads from faces."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stylegan.bars import with_bar
from stylegan.inference import Sampling, locate
from stylegan.interop.latents import Latents
from stylegan.latent.direction_file import Direction
from stylegan.latent.named import attribute_columns, read_attributes
from stylegan.metrics.attribute_network import AttributeNetwork
from stylegan.models.base import Generator


@dataclass(frozen=True)
class Effects:
    """A table of what directions do.

    Attributes:
        names: Of the directions.
        attributes: That were read.
        moved: float [directions, attributes]: the mean change from `-reach` to `+reach`, in standard deviations of the
            attribute among the network's own pictures.
        reach: In standard deviations of w along each direction.
        count: Seeds.
    """

    names: list[str]
    attributes: list[str]
    moved: Tensor
    reach: float
    count: int

    def intended(self, name: str) -> tuple[float, list[tuple[str, float]]]:
        """How far a direction moves the attribute that it is named after (0 where it is none), and the others, most first."""
        row = dict(zip(self.attributes, self.moved[self.names.index(name)].tolist(), strict=True))
        own = row.pop(name, 0.0)
        return own, sorted(row.items(), key=lambda item: -abs(item[1]))


def effects(
    G: Generator,
    directions: Sequence[Direction],
    network: AttributeNetwork,
    sampling: Sampling,
    *,
    layers: Sequence[int],
    reach: float = 2.0,
    count: int = 100,
    progress: bool = False,
) -> Effects:
    """Measure them on the pictures of seeds from 0 on.

    Args:
        G: The generator.
        directions: See there.
        network: Reads the attributes.
        sampling: Class, precision and batch.
        layers: The ws that are moved.
        reach: To both sides, in standard deviations of w.
        count: Seeds.
        progress: Show a progress bar.
    """
    plain = Sampling(class_idx=sampling.class_idx, precision=sampling.precision, batch=sampling.batch)
    points = locate(G, range(count), plain)
    scale = read_attributes(G, points, network, plain).std(dim=0).clamp(min=1e-6)
    rows = []
    for direction in with_bar(directions, "effects of directions", len(directions), show=progress):
        ends = [read_attributes(G, along(points, direction, side * reach, layers), network, plain) for side in (-1, 1)]
        rows.append((ends[1] - ends[0]).mean(dim=0) / scale)
    names = [direction.name for direction in directions]
    columns = attribute_columns()
    return Effects(names, list(columns), torch.stack(rows)[:, list(columns.values())], reach, count)


def along(points: Latents, direction: Direction, amount: float, layers: Sequence[int]) -> Latents:
    """Latents moved by so many standard deviations; of ws only some layers, and z of a network without w."""
    way = amount * direction.stdev * direction.vector
    if points.ws is None:
        assert points.z is not None
        return replace(points, z=points.z + way.to(points.z))
    ws = points.ws.clone()
    ws[:, list(layers)] += way.to(ws)
    return replace(points, z=None, ws=ws)

"""Directions of a network by name: `pca:0`, `sefa:2`, `age`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stylegan.errors import UserError, nearest
from stylegan.inference import Sampling, render, sample_ws
from stylegan.latent.directions import boundary, factorised, principal_components, without
from stylegan.metrics.attribute_network import ATTRIBUTES, Choice, load_attributes, places
from stylegan.models.generator import StyleBased

SAMPLES = 5000  # ws from which components and deviations are found
SCORED = 2000  # images whose attributes are read


@dataclass(frozen=True)
class Direction:
    """A direction in W.

    Attributes:
        name: As it was asked for.
        vector: Of length 1, float32 [w_dim].
        stdev: The standard deviation of w along it; steps are measured in it.
    """

    name: str
    vector: Tensor
    stdev: float


class Directions:
    """Finds the directions of a network; what several of them need is computed once.

    Args:
        G: The generator.
        sampling: Class, precision and batch of the ws and images from which they are found. Truncation does not count.
        progress: Show a progress bar on a terminal's stderr.
    """

    def __init__(self, G: StyleBased, sampling: Sampling, *, progress: bool = False) -> None:
        self.G, self.progress = G, progress
        self.sampling = Sampling(class_idx=sampling.class_idx, precision=sampling.precision, batch=sampling.batch)
        self.w = sample_ws(G, range(SAMPLES), self.sampling)[:, 0].cpu()
        self._scores: Tensor | None = None

    def find(self, name: str, layers: Sequence[int], given: Sequence[str] = ()) -> Direction:
        """A direction by name: `pca:K` (GANSpace), `sefa:K` (of the layers that are edited), or an attribute of faces3d.

        Args:
            name: See above; K counts from 0. Of an attribute that is a word: `hair_colour=black`.
            layers: The ws that will be moved.
            given: Directions that it shall leave alone.

        Raises:
            UserError: There is no such direction, with the nearest.
        """
        vector = without(self._vector(name, layers), [self._vector(other, layers) for other in given])
        stdev = float(((self.w.double() - self.w.double().mean(dim=0)) @ vector.double()).std(correction=0))
        return Direction(name, vector.float(), stdev)

    def _vector(self, name: str, layers: Sequence[int]) -> Tensor:
        if match := re.fullmatch(r"(pca|sefa):([0-9]{1,6})", name):
            number = int(match[2])
            if number >= self.G.w_dim:
                raise UserError(
                    f"{name}: this network has the directions {match[1]}:0 to {match[1]}:{self.G.w_dim - 1}"
                )
            if match[1] == "pca":
                return _with_fixed_sign(principal_components(self.w, number + 1).vectors[number])
            maps = self.G.synthesis.style_maps
            _, vectors = factorised([maps[i].weight.detach().cpu() for i in layers])
            return _with_fixed_sign(vectors[number])
        columns = attribute_columns()
        if name not in columns:
            raise UserError(f"there is no direction {name}; {nearest(name, ['pca:0', 'sefa:0', *columns])}")
        if self._scores is None:
            self._scores = self._read()
        return boundary(self.w[: len(self._scores)].double(), self._scores[:, columns[name]], share=0.1)

    def _read(self) -> Tensor:
        """What the attribute network of faces3d says of the images of the first ws, [N, 20]."""
        device = next(self.G.parameters()).device
        network, _, _ = load_attributes(device)
        ws = self.w[:SCORED, None].expand(-1, self.G.num_ws, -1).to(device)
        images = list(render(self.G, ws, self.sampling, progress=self.progress))
        return torch.cat([network.read(torch.stack(images[i : i + 64]).to(device)) for i in range(0, len(images), 64)])


def attribute_columns() -> dict[str, int]:
    """The columns of what the attribute network reads, by name of a direction."""
    found = {}
    for attribute in ATTRIBUTES:
        start = places()[attribute.name].start
        if isinstance(attribute, Choice):
            found |= {f"{attribute.name}={value}": start + i for i, value in enumerate(attribute.values)}
        else:
            found[attribute.name] = start
    return found


def _with_fixed_sign(vector: Tensor) -> Tensor:
    """Eigenvectors have no sign of their own: the largest entry becomes positive, so that a name means one direction."""
    return vector * vector[vector.abs().argmax()].sign()

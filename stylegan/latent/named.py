"""Directions of a network by name: `pca:0`, `sefa:2`, `age`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylegan.errors import UserError, nearest
from stylegan.inference import Sampling, latents, locate, render, sample_ws
from stylegan.interop.latents import Latents
from stylegan.latent.direction_file import Direction
from stylegan.latent.directions import boundary, factorised, principal_components, without
from stylegan.latent.scores import read_scores
from stylegan.metrics.attribute_network import ATTRIBUTES, AttributeNetwork, Choice, load_attributes, places
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased

SAMPLES = 5000  # ws from which components and deviations are found
SCORED = 2000  # images whose attributes are read
_MOST_OF_AN_END = 2000  # points of each end between which a plane is looked for


def is_of_faces3d(provenance: Mapping[str, Any]) -> bool:
    """Whether a network was trained on faces3d, by what its file says: whether attributes can be read from its pictures."""
    data = provenance.get("data")
    return isinstance(data, dict) and str(data.get("name", "")).startswith("faces3d")


class Directions:
    """Finds the directions of a network; what several of them need is computed once.

    Args:
        G: The generator.
        sampling: Class, precision and batch of the ws and images from which they are found. Truncation does not count.
        classifier: A file that `stylegan attributes --train` wrote, by which attributes are read; None: the one for faces3d.
        scores: A CSV file of scores by seed; each of its columns is the name of a direction.
        known: Directions that were found before, by name.
        progress: Show a progress bar on a terminal's stderr.

    Raises:
        UserError: A file cannot be read.
    """

    def __init__(
        self,
        G: Generator,
        sampling: Sampling,
        *,
        classifier: Path | None = None,
        scores: Path | None = None,
        known: Mapping[str, Direction] | None = None,
        progress: bool = False,
    ) -> None:
        self.G, self.progress, self.classifier, self.known = G, progress, classifier, dict(known or {})
        self.sampling = Sampling(class_idx=sampling.class_idx, precision=sampling.precision, batch=sampling.batch)
        self.seeds, self.scores = ([], {}) if scores is None else read_scores(scores)
        self.points = self._points(range(SAMPLES))
        self._read_scores: Tensor | None = None

    @property
    def dim(self) -> int:
        """The size of a direction: w_dim, or z_dim for a network without w."""
        return self.points.shape[1]

    def find(self, name: str, layers: Sequence[int], given: Sequence[str] = ()) -> Direction:
        """A direction by name: one that is known, a column of the scores, `pca:K` (GANSpace), `sefa:K` (of the layers that are
        edited, or the first layer of a network without w), or an attribute.

        Args:
            name: See above; K counts from 0. Of an attribute that is a word: `hair_colour=black`.
            layers: The ws that will be moved.
            given: Directions that it shall leave alone.

        Raises:
            UserError: There is no such direction, with the nearest.
        """
        if name in self.known and not given:
            return self.known[name]
        vector = without(self._vector(name, layers).double(), [self._vector(other, layers).double() for other in given])
        if not vector.isfinite().all():
            raise UserError(
                f"{name}: nothing is left of it without {', '.join(given)}; leave something out of figure.given"
            )
        centred = self.points.double() - self.points.double().mean(dim=0)
        return Direction(name, vector.float(), float((centred @ vector.double()).std(correction=0)))

    def _vector(self, name: str, layers: Sequence[int]) -> Tensor:
        if name in self.known:
            return self.known[name].vector
        if name in self.scores:
            return self._boundary(self._points(self.seeds), self.scores[name])
        if match := re.fullmatch(r"(pca|sefa):([0-9]{1,6})", name):
            return self._unsupervised(match[1], int(match[2]), layers)
        columns = attribute_columns()
        if name not in columns:
            there = [*self.known, *self.scores, "pca:0", "sefa:0", *columns]
            raise UserError(f"there is no direction {name}; {nearest(name, there)}")
        if self._read_scores is None:
            self._read_scores = self._read()
        return self._boundary(self.points[: len(self._read_scores)], self._read_scores[:, columns[name]])

    def _unsupervised(self, kind: str, number: int, layers: Sequence[int]) -> Tensor:
        if number >= self.dim:
            raise UserError(f"{kind}:{number}: this network has the directions {kind}:0 to {kind}:{self.dim - 1}")
        if kind == "pca":
            if not isinstance(self.G, StyleBased):
                raise UserError(
                    f"{kind}:{number}: z varies alike in all directions, and this network has no w; take sefa:0"
                )
            return _with_fixed_sign(principal_components(self.points, number + 1).vectors[number])
        if isinstance(self.G, StyleBased):
            maps = self.G.synthesis.style_maps
            matrices = [maps[i].weight.detach().cpu() for i in layers]
        else:
            matrices = [first_weight(self.G)]
        return _with_fixed_sign(factorised(matrices)[1][number])

    @staticmethod
    def _boundary(points: Tensor, scores: Tensor) -> Tensor:
        known = int(scores.isfinite().sum())
        return boundary(points.double(), scores, share=min(0.1, _MOST_OF_AN_END / max(known, 1)))

    def _points(self, seeds: Sequence[int]) -> Tensor:
        """w of seeds, [N, w_dim], or their z, on the CPU."""
        if isinstance(self.G, StyleBased):
            return torch.cat(
                [sample_ws(self.G, seeds[i : i + 1000], self.sampling)[:, 0].cpu() for i in range(0, len(seeds), 1000)]
            )
        return latents(seeds, self.G.z_dim)

    def _read(self) -> Tensor:
        """What the attribute network says of the images of the first points, [N, 20]."""
        network = load_attributes(next(self.G.parameters()).device, self.classifier)[0]
        points = locate(self.G, range(min(SCORED, len(self.points))), self.sampling)
        return read_attributes(self.G, points, network, self.sampling, progress=self.progress)


def read_attributes(
    G: Generator, points: Latents, network: AttributeNetwork, sampling: Sampling, *, progress: bool = False
) -> Tensor:
    """What an attribute network says of the images of latents, [N, 20], on the CPU."""
    device = next(G.parameters()).device
    images = list(render(G, points, sampling, progress=progress))
    parts = [network.read(torch.stack(images[i : i + 64]).to(device)).cpu() for i in range(0, len(images), 64)]
    return torch.cat(parts)


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


def first_weight(G: Generator) -> Tensor:
    """The matrix [outputs, z_dim] that z meets first in a network without w.

    Raises:
        UserError: There is none.
    """
    for module in G.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim == 2 and weight.shape[1] >= G.z_dim:
            return weight.detach().cpu()[:, : G.z_dim]  # behind z there may be a label
    raise UserError(f"sefa: a {G.config.kind} network has no dense first layer to factorise; take an attribute")


def _with_fixed_sign(vector: Tensor) -> Tensor:
    """Eigenvectors have no sign of their own: the largest entry becomes positive, so that a name means one direction."""
    return vector * vector[vector.abs().argmax()].sign()

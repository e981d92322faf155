"""Metrics that move a generator's inputs: path length and equivariance. They get the network itself, not its images."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as File
from typing import Any

import torch
from torch import Tensor, nn

from stylegan import distributed
from stylegan.errors import UserError
from stylegan.metrics.equivariance import Motion, decibels, squared_errors
from stylegan.metrics.lpips import load_lpips
from stylegan.metrics.names import Request
from stylegan.metrics.ppl import Path, cropped_mean, path_lengths
from stylegan.metrics.stream import rank_starts
from stylegan.rng import generator

MOVED_TOGETHER = 4  # pictures that share one random movement
MOTIONS = {"eqt": Motion(), "eqt_frac": Motion(fraction=True), "eqr": Motion(turn=True)}


def check_movable(G: Any, request: Request) -> None:
    """Raise `UserError` where the metric needs an input that this network does not have."""
    if request.kind.name in MOTIONS and not hasattr(getattr(G.synthesis, "input", None), "transform"):
        raise UserError(
            f"{request.name}: this network ({type(G).__name__}) starts from a learned constant that cannot be moved or turned; "
            "equivariance is measured of networks whose input has a transform, such as StyleGAN3's"
        )


class NetworkMetrics:
    """Some of these metrics, with the networks that they need.

    Args:
        requests: Which.
        files: Files of weights by network's name.
        device: Where networks compute.

    Attributes:
        requests: As given.
        weights: The SHA-256 of the files in use.
        total: Pictures (pairs of them for path lengths) that `measure` makes.
    """

    def __init__(self, requests: Sequence[Request], files: Mapping[str, File], device: torch.device) -> None:
        self.requests, self._device = list(requests), device
        self.total = sum(request.count for request in self.requests)
        needs_lpips = any(request.kind.name not in MOTIONS for request in self.requests)
        self._lpips = load_lpips(device, files) if needs_lpips else None
        self.weights = dict(self._lpips.weights_sha256) if self._lpips else {}

    def feature_name(self, request: Request) -> str:
        """What the metric's name says about its features: nothing, unless they are not the published ones."""
        return self._lpips.name if self._lpips and request.kind.name not in MOTIONS else ""

    def measure(
        self, G: nn.Module, labels: Tensor | None, seed: int, batch: int, advance: Callable[[int], None]
    ) -> dict[str, float]:
        """The values by full name.

        Args:
            G: In eval mode.
            labels: Labels that are drawn from, float32 [M, c_dim], or None.
            seed: Of latents, noise and movements.
            batch: Pairs of pictures at once, for path lengths.
            advance: Called with how many pictures more are done.
        """
        values = {}
        for request in self.requests:
            if request.kind.name in MOTIONS:
                value = self._equivariance(G, request, labels, seed, advance)
            else:
                value = self._path_length(G, request, labels, seed, batch, advance)
            values[request.output(request.kind.name, self.feature_name(request))] = value
        return values

    def _path_length(
        self, G: Any, request: Request, labels: Tensor | None, seed: int, batch: int, advance: Callable[[int], None]
    ) -> float:
        assert self._lpips is not None
        _, where, *crop = request.kind.name.split("_")
        path = Path(in_w=where.startswith("w"), ends=where.endswith("end"), crop=bool(crop))
        lengths = torch.zeros(request.count, dtype=torch.float64)
        for start in rank_starts(request.count, batch):
            n = min(batch, request.count - start)
            random = generator(seed, f"metrics/{request.kind.name}", start)
            c = _drawn(labels, n, random)
            lengths[start : start + n] = path_lengths(G, self._lpips.network, path, c, random, n).double()
            advance(n)
        return cropped_mean(distributed.sum_over_ranks(lengths, self._device))

    def _equivariance(
        self, G: Any, request: Request, labels: Tensor | None, seed: int, advance: Callable[[int], None]
    ) -> float:
        sums = torch.zeros(2, dtype=torch.float64)
        for start in rank_starts(request.count, MOVED_TOGETHER):
            n = min(MOVED_TOGETHER, request.count - start)
            random = generator(seed, f"metrics/{request.kind.name}", start)
            z, c = torch.randn([n, G.z_dim], generator=random), _drawn(labels, n, random)
            with torch.inference_mode():
                ws = G.mapping(z.to(self._device), None if c is None else c.to(self._device))
            sums += squared_errors(_renderer(G, ws), G.resolution, MOTIONS[request.kind.name], random)
            advance(n)
        return decibels(distributed.sum_over_ranks(sums, self._device))


def _renderer(G: Any, ws: Tensor) -> Callable[[Tensor], Tensor]:
    def render(transform: Tensor) -> Tensor:
        kept = G.synthesis.input.transform.clone()
        G.synthesis.input.transform.copy_(transform)
        try:
            return G.synthesis(ws, noise_mode="const").float()
        finally:
            G.synthesis.input.transform.copy_(kept)

    return render


def _drawn(labels: Tensor | None, n: int, random: torch.Generator) -> Tensor | None:
    return None if labels is None else labels[torch.randint(len(labels), [n], generator=random)]

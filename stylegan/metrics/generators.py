"""What metrics ask of a generator beyond z, c -> images."""

import torch
from torch import Tensor

from stylegan.errors import UserError
from stylegan.models.generator import Generator


def require_w(G: Generator, what: str, instead: str) -> Generator:
    """The generator as one that has w: a mapping network, and a synthesis network that takes its output.

    Args:
        G: Any generator.
        what: What needs w, as the beginning of a sentence.
        instead: How to do without.

    Raises:
        UserError: It has none.
    """
    if not (hasattr(G, "mapping") and hasattr(G, "synthesis")):
        raise UserError(f"{what} needs a network with w; {type(G).__name__} has none: {instead}")
    return G


def draw_noise(G: Generator, n: int, random: torch.Generator) -> Tensor:
    """The flat noise of n images, standard normal float32 [n, noise_size], on the CPU; of a network without noise [n, 0]."""
    return torch.randn([n, getattr(getattr(G, "synthesis", None), "noise_size", 0)], generator=random)


def images_of(G: Generator, z: Tensor, c: Tensor | None, noise: Tensor) -> Tensor:
    """The images [N, C, H, W] of z, c and layer noise, on the network's device; without noise it is not told of any."""
    return G(z, c, noise_mode="random", noise=noise) if noise.shape[1] else G(z, c)

"""Moving and turning what a StyleGAN3 network shows, for as long as one wishes."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from stylegan.errors import UserError
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased
from stylegan.models.stylegan3 import SynthesisInput, SynthesisNetwork


@contextmanager
def moved(G: Generator, translate: Sequence[float], rotate: float) -> Iterator[None]:
    """A network that shows its pictures moved and turned inside of the body, and as before after it.

    Args:
        G: The generator.
        translate: To the right and down, in image sides.
        rotate: Degrees clockwise, about the centre; before the translation.

    Raises:
        UserError: The network cannot be moved.
    """
    origin = movable_input(G)
    before = origin.transform.clone()
    cos, sin = math.cos(math.radians(rotate)), math.sin(math.radians(rotate))
    movement = torch.tensor([[cos, -sin, translate[0]], [sin, cos, translate[1]], [0, 0, 1]], dtype=torch.float64)
    origin.set_transform(torch.linalg.inv(movement).float())
    try:
        yield
    finally:
        origin.set_transform(before)


def movable(G: Generator) -> bool:
    """Whether what a network shows can be moved."""
    return isinstance(G, StyleBased) and isinstance(G.synthesis, SynthesisNetwork)


def movable_input(G: Generator) -> SynthesisInput:
    """The input whose transform moves what a network shows.

    Raises:
        UserError: It has none.
    """
    if isinstance(G, StyleBased) and isinstance(G.synthesis, SynthesisNetwork):
        return G.synthesis.input
    raise UserError(
        f"translate, rotate: a {G.config.kind} network starts from something that cannot be moved; StyleGAN3 networks can "
        "(model=stylegan3)"
    )

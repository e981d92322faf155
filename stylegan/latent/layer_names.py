"""Layers as people choose them: `coarse`, `middle`, `fine`, `all`, `0-3`, `1,4,6`."""

import re

from stylegan.errors import UserError, nearest
from stylegan.models.base import Generator
from stylegan.models.generator import require_w


def style_layers(G: Generator, text: str, name: str = "figure.layers") -> list[int]:
    """Which of a network's ws are meant, in order, each once.

    Args:
        G: The network.
        text: Names and numbers with commas between; numbers go from 0 to `G.num_ws` - 1, ranges hold both ends.
        name: What the option is called in messages.

    Raises:
        UserError: The network has no w, no such layers, or the text names none.
    """
    style_based = require_w(G, f"{name}={text}", "choose a figure that works in z")
    known = {"all": range(style_based.num_ws), **style_based.synthesis.style_ranges}
    found: set[int] = set()
    for part in (part.strip() for part in text.split(",")):
        match = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", part)
        if part in known:
            found.update(known[part])
        elif match:
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first:
                raise UserError(f"{name}={text}: the range {part} runs backwards; write {last}-{first}")
            if last >= style_based.num_ws:
                raise UserError(f"{name}={text}: this network takes layers 0 to {style_based.num_ws - 1}")
            found.update(range(first, last + 1))
        elif part in ("coarse", "middle", "fine"):
            have = ", ".join(f"{key} ({value[0]}-{value[-1]})" for key, value in known.items())
            raise UserError(
                f"{name}={text}: a {G.config.kind} network of this size has no {part} layers; it has {have}"
            )
        else:
            raise UserError(
                f"{name}={text}: {part!r} is no layer; {nearest(part, known)}, or numbers such as 0-3 (0 to "
                f"{style_based.num_ws - 1})"
            )
    return sorted(found)


def trained_without_mixing(G: Generator) -> str:
    """A sentence for the caption of a figure that mixes styles; empty where the architecture is trained for it."""
    if G.config.kind == "stylegan3":
        return "StyleGAN3 is trained without style mixing."
    return ""

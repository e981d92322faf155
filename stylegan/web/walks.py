"""A clip that goes from face to face and back to the first: WebP, or MP4 where the extra `video` is installed."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from stylegan.figures.base import Clip
from stylegan.figures.clips import require_av, write_clip
from stylegan.figures.curve import Pieces, Spline
from stylegan.interop.latents import Latents, join
from stylegan.web.faces import MOST_PARENTS, Recipe

FPS = 12
SUFFIXES = {"image/webp": ".webp", "video/mp4": ".mp4"}


class Walk(BaseModel):
    """Faces to go through, in their order; the settings of the picture are those of the first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    faces: list[Recipe] = Field(min_length=2, max_length=MOST_PARENTS, description="key frames of a loop")
    seconds: Annotated[float, Field(ge=0.25, le=2, allow_inf_nan=False, description="from a face to the next")] = 1.0


def frames_of(points: Sequence[Latents], seconds: float) -> list[Latents]:
    """The latents of a loop through some: a periodic spline in w, arcs on the sphere in z. Noise stays that of the first."""
    keys, first = join([Latents(("key",), z=point.z, ws=point.ws) for point in points]), points[0]
    count = max(round(seconds * FPS), 1) * len(points)
    times = torch.arange(count) * len(points) / count
    if keys.ws is not None:
        found = Spline(keys.ws, closed=True).at(times).float()
        return [Latents(("walk",), ws=ws[None], noise=first.noise) for ws in found]
    assert keys.z is not None
    found = Pieces(keys.z, closed=True, spherical=True).at(times).float()
    return [Latents(("walk",), z=z[None], noise=first.noise) for z in found]


async def drawn(points: Sequence[Latents], draw: Callable[[Latents], Awaitable[Tensor]], at_once: int) -> list[Tensor]:
    """The pictures of latents, some at a time: others who ask come in between."""
    made: list[Tensor] = []
    for start in range(0, len(points), at_once):
        made += await asyncio.gather(*(draw(point) for point in points[start : start + at_once]))
    return made


def clip_bytes(images: Sequence[Tensor], media_type: str, about: Mapping[str, Any]) -> bytes:
    """A file of frames, uint8 [C, H, W], that says that it is generated; raises `UserError` where MP4 lacks its extra."""

    def frames(indices: Sequence[int]) -> Iterator[Tensor]:
        return (images[i] for i in indices)

    if media_type == "video/mp4":
        require_av()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"walk{SUFFIXES[media_type]}"
        write_clip(Clip(len(images), frames, FPS), path, about)
        return path.read_bytes()

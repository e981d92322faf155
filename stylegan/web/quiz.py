"""Which of two is generated? Pairs of a real and a generated picture that leave the server in the same way.

Size, resampling, file format, quality and metadata are the same for both, so that only the pictures themselves can tell. Where
the archive's images are larger or smaller than the network's, they would have to be resampled, and this alone would tell them:
such archives are refused.
"""

import asyncio
import io
import random
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from stylegan.data.archive import ImageDataset
from stylegan.data.convert import on_white
from stylegan.detect.cues import compare
from stylegan.detect.score import CHANCE, score_interval
from stylegan.errors import UserError
from stylegan.figures.pixels import to_pixels
from stylegan.models.base import Generator
from stylegan.web.pictures import QUALITY

MEDIA_TYPE = "image/jpeg"  # as photographs come, and as the web would recode the others
_PAIRS = 500  # that wait for an answer; the oldest is forgotten
Side = Literal["left", "right"]


class Answer(BaseModel):
    """What a player says of a pair, and the score before it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    generated: Side = Field(description="the picture that is taken for generated")
    right: Annotated[int, Field(ge=0, le=10**9, description="right answers before")] = 0
    played: Annotated[int, Field(ge=0, le=10**9, description="answers before")] = 0

    @model_validator(mode="after")
    def _no_more_right_than_played(self) -> "Answer":
        if self.right > self.played:
            raise ValueError(f"{self.right} right answers of {self.played}")
        return self


@dataclass(frozen=True)
class Pair:
    """Two pictures, uint8 [C, H, W]."""

    left: Tensor
    right: Tensor
    generated: Side
    seed: int


def open_reals(path: Path, G: Generator) -> ImageDataset:
    """The archive of a quiz.

    Raises:
        UserError: It is no archive, or its images have another size or other channels than the network's.
    """
    reals = ImageDataset(path)
    if reals.resolution != tuple(G.resolution) or reals.channels != G.channels:
        H, W = reals.resolution
        wanted = f"{G.resolution[1]}x{G.resolution[0]}"
        raise UserError(
            f"{path}: images of {W}x{H} with {reals.channels} channels, the network makes {wanted} with {G.channels}; "
            f"scaling would tell them apart: prepare them with `stylegan prepare SOURCE DEST --resolution {wanted}`"
        )
    return reals


def as_shown(image: Tensor) -> bytes:
    """The file of a picture of a pair, whichever it is, from uint8 [C, H, W]."""
    buffer = io.BytesIO()
    on_white(to_pixels(image)).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


class Quiz:
    """The pairs that wait for an answer.

    Args:
        reals: Real images.
    """

    def __init__(self, reals: ImageDataset) -> None:
        self.reals = reals
        self._random = random.SystemRandom()
        self._pairs: OrderedDict[str, Pair] = OrderedDict()

    async def ask(self, generated: Tensor, seed: int) -> str:
        """The name of a new pair of a generated picture and a real one, each at either side."""
        index = self._random.randrange(len(self.reals))
        real = (await asyncio.to_thread(self.reals.__getitem__, index))[0]
        name, left = secrets.token_hex(16), self._random.random() < CHANCE
        pair = Pair(generated, real, "left", seed) if left else Pair(real, generated, "right", seed)
        self._pairs[name] = pair
        while len(self._pairs) > _PAIRS:
            self._pairs.popitem(last=False)
        return name

    def picture(self, name: str, side: Side) -> Tensor | None:
        """One of a pair that waits; None: there is none."""
        pair = self._pairs.get(name)
        return None if pair is None else getattr(pair, side)

    def answer(self, name: str, said: Answer) -> Mapping[str, Any] | None:
        """Whether it is right, what to look for on this pair, and the score; a pair is answered once. None: there is none."""
        pair = self._pairs.pop(name, None)
        if pair is None:
            return None
        correct = said.generated == pair.generated
        right, played = said.right + correct, said.played + 1
        low, high = score_interval(right, played)
        return {
            "correct": correct,
            "generated": pair.generated,
            "seed": pair.seed,
            "cues": [asdict(cue) for cue in compare(pair.left, pair.right)],
            "right": right,
            "played": played,
            "interval": [low, high],
            "chance": CHANCE,
        }

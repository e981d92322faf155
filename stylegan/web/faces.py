"""A face as a recipe: numbers that stand in an address, and the latent that they mean."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from stylegan.errors import UserError, nearest
from stylegan.figures.blend import blend_ws, blend_z
from stylegan.inference import MAX_SEED, Sampling, locate
from stylegan.interop.latents import Latents, join
from stylegan.latent.direction_file import Direction
from stylegan.latent.effects import along
from stylegan.latent.layer_names import style_layers
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased, require_w

MOST_PARENTS = 8
MOST_POINTS = 8
PARTS = ("coarse", "middle", "fine")
Seed = Annotated[int, Field(ge=0, le=MAX_SEED, description="a whole number that stands for a face")]
Weight = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]


UploadName = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Move(BaseModel):
    """A point of the picture and where it shall be, in fractions of the picture's width and height."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    x: Fraction
    y: Fraction
    to_x: Fraction
    to_y: Fraction


class Recipe(BaseModel):
    """How a face is made; the same recipe gives the same bytes from the same server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seeds: list[Seed] = Field(default=[], max_length=MOST_PARENTS, description="one face, or its parents")
    uploads: list[UploadName] = Field(
        default=[], max_length=MOST_PARENTS, description="photographs that were found: parents after the seeds"
    )
    weights: list[Weight] = Field(default=[], max_length=MOST_PARENTS, description="of the parents; none: all alike")
    coarse: int | None = Field(
        default=None, ge=0, lt=MOST_PARENTS, description="take pose and shape from this parent alone"
    )
    middle: int | None = Field(default=None, ge=0, lt=MOST_PARENTS, description="take features from this parent alone")
    fine: int | None = Field(default=None, ge=0, lt=MOST_PARENTS, description="take colours from this parent alone")
    moves: dict[Annotated[str, Field(max_length=100)], Annotated[float, Field(ge=-20, le=20, allow_inf_nan=False)]] = (
        Field(default={}, max_length=32, description="along directions of the network, in standard deviations")
    )
    drags: list[Move] = Field(default=[], max_length=MOST_POINTS, description="points to move, after all else")
    psi: float | None = Field(
        default=None,
        ge=-2,
        le=2,
        allow_inf_nan=False,
        description="truncation: 1 is off, 0 the mean face; none: of seeds as the network's paper shows them, else off",
    )
    noise: int | None = Field(
        default=None, ge=0, le=MAX_SEED, description="seed of other layer noise; none: the network's own"
    )
    class_idx: int | None = Field(default=None, ge=0, le=2**31, description="class of a conditional network")
    x: float = Field(
        default=0.0, ge=-1, le=1, allow_inf_nan=False, description="StyleGAN3: to the right, in picture sides"
    )
    y: float = Field(default=0.0, ge=-1, le=1, allow_inf_nan=False, description="StyleGAN3: down")
    rotate: float = Field(default=0.0, ge=-360, le=360, allow_inf_nan=False, description="StyleGAN3: degrees clockwise")

    @model_validator(mode="after")
    def _parents_that_there_are(self) -> "Recipe":
        parents = len(self.seeds) + len(self.uploads)
        if not 1 <= parents <= MOST_PARENTS:
            raise ValueError(f"a face has 1 to {MOST_PARENTS} parents, here are {parents}")
        if self.weights and len(self.weights) != parents:
            raise ValueError(f"{parents} seeds have {len(self.weights)} weights; give one each")
        if self.weights and not any(self.weights):
            raise ValueError("all weights are 0")
        for part in PARTS:
            parent = getattr(self, part)
            if parent is not None and parent >= parents:
                raise ValueError(f"{part}={parent}: there are {parents} parents, counted from 0")
        return self


@dataclass(frozen=True)
class Photograph:
    """A photograph that was found in the network.

    Attributes:
        point: Its latent.
        G: A copy of the network that was tuned to it; None: the network itself shows it.
    """

    point: Latents
    G: Generator | None = None


def _none_is_taken(name: str) -> Photograph:
    raise UserError(f"upload={name}: this server takes no photographs; `stylegan serve --allow-upload` does")


@dataclass(frozen=True)
class Faces:
    """What turns recipes into latents of one network.

    Attributes:
        G: The network.
        directions: That it knows, by name.
        uploaded: A photograph by its name.
    """

    G: Generator
    directions: Mapping[str, Direction]
    uploaded: Callable[[str], Photograph] = _none_is_taken

    def sampling(self, recipe: Recipe) -> Sampling:
        """How the latent of a recipe is shown; raises `UserError` for what the network cannot."""
        options: dict[str, Any] = {"translate": (recipe.x, recipe.y), "rotate": recipe.rotate}
        if not isinstance(self.G, StyleBased):
            options["class_idx"] = recipe.class_idx
        return Sampling(**options)

    def shower(self, *recipes: Recipe) -> Generator:
        """The network that shows recipes, or what was tuned to their photograph; raises `UserError` where these are several."""
        found = {name: self.uploaded(name).G for recipe in recipes for name in recipe.uploads}
        tuned = {name: G for name, G in found.items() if G is not None}
        if len(tuned) > 1:
            raise UserError(
                f"upload={','.join(tuned)}: the network was tuned to each of them, and no network shows both; send them again "
                "without tuning"
            )
        return next(iter(tuned.values()), self.G)

    def point(self, recipe: Recipe) -> Latents:
        """The latent of a recipe, on the CPU; raises `UserError` for what the network cannot."""
        layers = range(self.G.num_ws) if isinstance(self.G, StyleBased) else []
        own: dict[str, Any] = {"class_idx": recipe.class_idx, "batch": 1}
        if isinstance(self.G, StyleBased) and (cutoff := self.G.picture_truncation[1]) is not None:
            own["truncation_cutoff"] = min(cutoff, self.G.num_ws)
        if recipe.noise is not None:
            own |= {"noise_mode": "random", "noise_seed": recipe.noise}
        parents = [
            locate(self.G, [seed], Sampling(truncation_psi=recipe.psi, **own))
            for seed in [*recipe.seeds, *(self.uploaded(name).point for name in recipe.uploads)]
        ]
        point = parents[0] if len(parents) == 1 else self._child(recipe, join(parents))
        for name, amount in recipe.moves.items():
            if name not in self.directions:
                raise UserError(f"moves: there is no direction {name}; {nearest(name, self.directions)}")
            point = along(point, self.directions[name], amount, layers)
        cpu = {part: value.cpu() for part in ("z", "ws", "noise") if (value := getattr(point, part)) is not None}
        if "ws" in cpu:
            cpu.pop("z", None)
        return Latents(("face",), **cpu)

    def _child(self, recipe: Recipe, parents: Latents) -> Latents:
        weights = torch.tensor(recipe.weights or [1.0] * len(parents), dtype=torch.float64)
        weights = weights / weights.sum()
        if parents.ws is None:
            assert parents.z is not None
            return Latents(("child",), z=blend_z(parents.z, weights)[None], noise=_first(parents))
        ws = blend_ws(parents.ws, weights)
        for part in PARTS:
            if (parent := getattr(recipe, part)) is not None:
                layers = style_layers(self.G, part, "layers")
                ws[layers] = parents.ws[parent, layers]
        return Latents(("child",), ws=ws[None], noise=_first(parents))


def parts_of(G: Generator) -> list[str]:
    """Which of coarse, middle and fine layers a network has."""
    if not isinstance(G, StyleBased):
        return []
    ranges = require_w(G, "mix", "").synthesis.style_ranges
    return [part for part in PARTS if part in ranges]


def _first(parents: Latents) -> torch.Tensor | None:
    return None if parents.noise is None else parents.noise[:1]

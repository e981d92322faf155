"""What the server answers of one network, and the threads behind it."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from fastapi import Request, Response
from torch import Tensor

import stylegan
from stylegan.data.archive import ImageDataset
from stylegan.errors import UserError
from stylegan.inference import MAX_SEED, Sampling
from stylegan.interop.latents import Latents
from stylegan.latent.direction_file import Direction
from stylegan.metrics.attribute_network import ATTRIBUTES, AttributeNetwork, Scalar
from stylegan.models.base import Discriminator, Generator
from stylegan.models.generator import StyleBased
from stylegan.models.movement import movable
from stylegan.web.drags import Drags
from stylegan.web.engine import BusyError, Engine, Made
from stylegan.web.faces import Faces, Recipe, parts_of
from stylegan.web.pictures import FORMATS, chosen_format, encoded, entity_tag
from stylegan.web.problems import problem
from stylegan.web.quiz import MEDIA_TYPE, Answer, Quiz, Side, as_shown
from stylegan.web.survey import Survey, asked, description
from stylegan.web.uploads import Uploads
from stylegan.web.walks import SUFFIXES, Walk, clip_bytes, drawn, frames_of

SECONDS = 30.0  # that a request waits for its picture
SECONDS_OF_CLIP = 120.0
POOL = 8  # faces that are made ahead for a reload
FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Site:
    """What is served.

    Attributes:
        G: The network, in eval mode.
        name: Of its file.
        sha256: Of its file.
        card: Its model card, in Markdown.
        directions: By name.
        attributes: Reads faces; None: the network is not of such faces.
        surveyed: Seeds whose attributes are read ahead.
        batch: Pictures of a forward pass.
        rate: Requests a second that a client may make of the API.
        reals: Real images for the quiz; None: there is none.
        allow_upload: Take photographs.
        hosts: Names by which the server may be asked; None: any.
        D: The network's discriminator, by which photographs are compared; None: by pixels.
    """

    G: Generator
    name: str
    sha256: str
    card: str = ""
    directions: Mapping[str, Direction] | None = None
    attributes: AttributeNetwork | None = None
    surveyed: int = 2000
    batch: int = 8
    rate: float = 50.0
    reals: ImageDataset | None = None
    allow_upload: bool = False
    hosts: frozenset[str] | None = None
    D: Discriminator | None = None


class Answers:
    """What the routes answer, and the threads behind them."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.faces = Faces(site.G, site.directions or {})
        self.engine: Engine
        self.survey: Survey | None = None
        self.uploads: Uploads | None = None
        self._seeds = random.SystemRandom()
        self._pool: asyncio.Queue[tuple[int, Made]] = asyncio.Queue()
        self.quiz = None if site.reals is None else Quiz(site.reals)
        self._walking = asyncio.Lock()
        self._filling: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to compute."""
        self.engine = Engine(self.site.G, batch=self.site.batch, reader=self.site.attributes)
        if self.site.allow_upload:
            self.uploads = Uploads(self.site.G, self.site.D, self.engine)
            self.faces = replace(self.faces, uploaded=self.uploads.found)
        self._drags = Drags(self.engine)
        if self.site.attributes is not None and self.site.surveyed:
            self.survey = Survey(self.engine, self.faces, self.site.surveyed)
        self._fill()

    def close(self) -> None:
        """Finish what is asked for, and end."""
        if self.survey is not None:
            self.survey.close()
        self.engine.close()

    @property
    def about(self) -> dict[str, Any]:
        """See the route."""
        G = self.site.G
        style_based = isinstance(G, StyleBased)
        attributes: list[dict[str, Any]] = []
        if self.site.attributes is not None:
            attributes = [
                {"name": a.name, "low": a.low, "high": a.high, "unit": a.unit}
                if isinstance(a, Scalar)
                else {"name": a.name, "values": list(a.values)}
                for a in ATTRIBUTES
            ]
        return {
            "name": self.site.name,
            "sha256": self.site.sha256,
            "kind": G.config.kind,
            "width": G.resolution[1],
            "height": G.resolution[0],
            "classes": list(G.class_names) or [str(i) for i in range(G.c_dim)],
            "truncation": style_based,
            "psi": G.picture_truncation[0] if isinstance(G, StyleBased) else 1.0,
            "noise": G.noise_size > 0,
            "clips": [name for name in SUFFIXES if name == "image/webp" or find_spec("av") is not None],
            "moves": movable(G),
            "parts": parts_of(G),
            "directions": list(self.faces.directions),
            "drags": style_based,
            "attributes": attributes,
            "uploads": self.uploads is not None,
            "quiz": self.quiz is not None,
            "card": self.site.card,
        }

    def survey_of(self) -> Survey:
        """The survey; raises `UserError` where the network has no attributes."""
        if self.survey is None:
            raise UserError(
                "nothing reads attributes of this network's pictures; serve one that was trained on faces3d"
            )
        return self.survey

    def find(self, attributes: Sequence[tuple[str, str]], count: int) -> dict[str, Any]:
        """See the route."""
        if not attributes:
            raise UserError("name an attribute, such as ?sex=female&age=50-")
        found = self.survey_of().find(asked(attributes), count)
        return {"seeds": found.seeds, "accepted": found.accepted, "tried": found.tried}

    async def image(self, request: Request, recipe: Recipe | None) -> Response:
        """A picture, from what was made ahead where any will do."""
        media_type = chosen_format(request.headers.get("accept"))
        if media_type is None:
            return problem(406, f"Pictures are sent as {', '.join(FORMATS)}.")
        headers = {"Vary": "Accept", "Cache-Control": "no-store"}
        if recipe is None and self.site.G.c_dim == 0:
            seed, picture = await asyncio.wait_for(self._pool.get(), SECONDS)
            self._fill()
            recipe = Recipe(seeds=[seed])
        else:
            if recipe is None or not (recipe.seeds or recipe.uploads):
                changes: dict[str, Any] = {"seeds": [self._any_seed()]}
                recipe = recipe or Recipe(seeds=[0])
                if self.site.G.c_dim and recipe.class_idx is None:
                    changes["class_idx"] = self._seeds.randrange(self.site.G.c_dim)
                recipe = recipe.model_copy(update=changes)
            elif not recipe.uploads:
                tag = entity_tag(self.site.sha256, stylegan.__version__, media_type, recipe.model_dump())
                headers |= {"Cache-Control": FOR_EVER, "ETag": tag}
                if tag in request.headers.get("if-none-match", ""):
                    return Response(status_code=304, headers=headers)
            picture = await self._picture(recipe)
        headers["X-Seed"] = ",".join(map(str, recipe.seeds))
        if recipe.class_idx is not None:
            headers["X-Class"] = str(recipe.class_idx)
        body = await asyncio.to_thread(self._encoded, picture, media_type, recipe, headers)
        return Response(body, media_type=media_type, headers=headers)

    def uploads_of(self) -> Uploads:
        """The photographs; raises `UserError` where the server takes none."""
        if self.uploads is None:
            raise UserError("this server takes no photographs; `stylegan serve --allow-upload` does")
        return self.uploads

    def _quiz(self) -> Quiz:
        if self.quiz is None:
            raise UserError("this server has no real pictures; start it with `stylegan serve --data ARCHIVE`")
        return self.quiz

    async def quiz_pair(self) -> dict[str, Any]:
        """See the route."""
        quiz, seed = self._quiz(), self._any_seed()
        class_idx = self._seeds.randrange(self.site.G.c_dim) if self.site.G.c_dim else None
        generated = await self._picture(Recipe(seeds=[seed], class_idx=class_idx))
        return {"pair": await quiz.ask(generated.image, seed)}

    async def quiz_picture(self, pair: str, side: Side) -> Response:
        """See the route."""
        image = self._quiz().picture(pair, side)
        if image is None:
            return _gone()
        body = await asyncio.to_thread(as_shown, image)
        return Response(body, media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"})

    async def quiz_answer(self, pair: str, said: Answer) -> Any:
        """See the route."""
        told = await asyncio.to_thread(self._quiz().answer, pair, said)
        return _gone() if told is None else told

    async def animation(self, request: Request, walk: Walk) -> Response:
        """A clip; one is made at a time."""
        media_type = chosen_format(request.headers.get("accept"), SUFFIXES)
        if media_type is None:
            return problem(406, f"Clips are sent as {', '.join(SUFFIXES)}.")
        if self._walking.locked():
            raise BusyError
        sampling, G = self.faces.sampling(walk.faces[0]), self.faces.shower(*walk.faces)

        async def draw(point: Latents) -> Tensor:
            return (await self._of(point, sampling, G)).image

        async with self._walking, asyncio.timeout(SECONDS_OF_CLIP):
            points = [await self._point(recipe, G) for recipe in walk.faces]
            images = await drawn(frames_of(points, walk.seconds), draw, self.site.batch)
        about = {"network": self.site.name, "network_sha256": self.site.sha256, "walk": walk.model_dump()}
        body = await asyncio.to_thread(clip_bytes, images, media_type, about)
        return Response(body, media_type=media_type, headers={"Vary": "Accept", "Cache-Control": "no-store"})

    async def _picture(self, recipe: Recipe) -> Made:
        G = self.faces.shower(recipe)
        return await self._of(await self._point(recipe, G), self.faces.sampling(recipe), G)

    async def _point(self, recipe: Recipe, G: Generator) -> Latents:
        point = await asyncio.to_thread(self.faces.point, recipe)
        return await self._drags.point(recipe, point, G) if recipe.drags else point

    async def _of(self, point: Latents, sampling: Sampling, G: Generator) -> Made:
        return await asyncio.wait_for(asyncio.wrap_future(self.engine.submit(point, sampling, G)), SECONDS)

    def _encoded(self, made: Made, media_type: str, recipe: Recipe, headers: dict[str, str]) -> bytes:
        if made.attributes is not None:
            headers["X-Description"] = description(made.attributes)
        about = {"network": self.site.name, "network_sha256": self.site.sha256, "recipe": recipe.model_dump()}
        return encoded(made.image, media_type, {**about, "seeds": recipe.seeds})

    def _any_seed(self) -> int:
        return self._seeds.randrange(min(2**31, MAX_SEED))

    def _fill(self) -> None:
        """Make faces ahead, for the next reloads."""
        if self.site.G.c_dim == 0 and not self._filling:
            task = asyncio.get_running_loop().create_task(self._make_ahead())
            self._filling.add(task)
            task.add_done_callback(self._filling.discard)

    async def _make_ahead(self) -> None:
        while self.engine.alive and self._pool.qsize() < POOL:
            seed = self._any_seed()
            try:
                picture = await self._picture(Recipe(seeds=[seed]))
            except (TimeoutError, BusyError):
                await asyncio.sleep(0.2)
                continue
            await self._pool.put((seed, picture))


def _gone() -> Response:
    return problem(404, "This pair was answered, or forgotten; ask for a new one.")

"""The application: the routes of the API and of the pages."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Request, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

import stylegan
from stylegan.errors import UserError
from stylegan.web.answers import Answers, Site
from stylegan.web.faces import MOST_PARENTS, MOST_POINTS, Recipe
from stylegan.web.pictures import FORMATS
from stylegan.web.problems import answer_with_problems, problem
from stylegan.web.protection import Protection, Rates
from stylegan.web.quiz import MEDIA_TYPE, Answer, Side
from stylegan.web.uploads import LARGEST
from stylegan.web.walks import SUFFIXES, Walk

PairName = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
PAGES = ("", "mix", "find", "quiz", "about")


class Files(StaticFiles):
    """The files of the pages. They are small and sent whole: a refused range would be told in another form than all else."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI 3."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)

    def file_response(self, *args: Any, **options: Any) -> Response:
        """As a file, of which no ranges are offered."""
        response = super().file_response(*args, **options)
        response.headers["accept-ranges"] = "none"
        return response


def query_recipe(
    seed: Annotated[
        list[int] | None, Query(description="one face, or parents; none: a new face", max_length=MOST_PARENTS)
    ] = None,
    upload: Annotated[
        list[str] | None, Query(description="photographs that were found", max_length=MOST_PARENTS)
    ] = None,
    weight: Annotated[list[float] | None, Query(description="of the parents", max_length=MOST_PARENTS)] = None,
    coarse: Annotated[int | None, Query(description="parent, from 0, whose pose and shape it gets")] = None,
    middle: Annotated[int | None, Query(description="parent whose features it gets")] = None,
    fine: Annotated[int | None, Query(description="parent whose colours it gets")] = None,
    move: Annotated[list[str] | None, Query(description="along a direction: age~1.5", max_length=32)] = None,
    drag: Annotated[
        list[str] | None, Query(description="a point and where it shall be: 0.4~0.5~0.45~0.5", max_length=MOST_POINTS)
    ] = None,
    psi: Annotated[float | None, Query(description="truncation; none: as the network's paper has it")] = None,
    noise: Annotated[int | None, Query(description="seed of other layer noise")] = None,
    class_idx: Annotated[int | None, Query(alias="class", description="of a conditional network")] = None,
    x: Annotated[float, Query(description="StyleGAN3: to the right")] = 0.0,
    y: Annotated[float, Query(description="StyleGAN3: down")] = 0.0,
    rotate: Annotated[float, Query(description="StyleGAN3: clockwise, degrees")] = 0.0,
) -> Recipe | None:
    """The recipe of an address; None: any face. Raises `UserError` for numbers that no recipe has."""
    moves: dict[str, float] = {}
    for text in move or ():
        name, tilde, amount = text.rpartition("~")
        try:
            moves[name] = float(amount)
        except ValueError:
            tilde = ""
        if not tilde:
            raise UserError(f"move={text}: write a direction and how far, such as age~1.5")
    drags: list[dict[str, float]] = []
    for text in drag or ():
        try:
            numbers = [float(number) for number in text.split("~")]
        except ValueError:
            numbers = []
        if len(numbers) != 4:
            raise UserError(f"drag={text}: write x~y~to_x~to_y in fractions of the picture, such as 0.4~0.5~0.45~0.5")
        drags.append(dict(zip(("x", "y", "to_x", "to_y"), numbers, strict=True)))
    whole: dict[str, Any] = {"psi": psi, "noise": noise, "class_idx": class_idx, "x": x, "y": y, "rotate": rotate}
    parents = {
        "coarse": coarse,
        "middle": middle,
        "fine": fine,
        "weights": weight or [],
        "moves": moves,
        "drags": drags,
        "uploads": upload or [],
    }
    try:
        recipe = Recipe(seeds=seed or ([] if upload else [0]), **whole, **parents)
    except ValidationError as error:
        told = error.errors()[0]
        raise UserError(f"{'.'.join(map(str, told['loc'])) or 'recipe'}: {told['msg']}") from None
    if not seed and not upload:
        if recipe != Recipe(seeds=[0], psi=psi, class_idx=class_idx):
            raise UserError("seed: name the face that these settings are about")
        return None if recipe == Recipe(seeds=[0]) else recipe.model_copy(update={"seeds": []})
    return recipe


def build_app(site: Site) -> FastAPI:
    """The application of a network; its engine starts with it and ends with it."""
    registry = CollectorRegistry()
    answers = Answers(site)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        answers.start()
        yield
        if answers.uploads is not None:
            await answers.uploads.close()
        await asyncio.to_thread(answers.close)

    app = FastAPI(
        title=f"Faces of {site.name}",
        version=stylegan.__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        lifespan=lifespan,
    )
    answer_with_problems(app)
    larger = {"/api/v1/uploads": LARGEST} if site.allow_upload else {}
    rates = Rates(site.rate, 4 * site.rate)
    app.add_middleware(Protection, rates=rates, registry=registry, larger=larger, hosts=site.hosts)  # pyright: ignore[reportArgumentType]
    binary = {"type": "string", "format": "binary"}
    pictures: dict[int | str, dict[str, Any]] = {
        200: {"content": {name: {"schema": binary} for name in FORMATS}},
        304: {"description": "The picture that the client has is this one."},
    }
    wrong: dict[int | str, dict[str, Any]] = {
        status: {"description": text, "content": {"application/problem+json": {"schema": {"type": "object"}}}}
        for status, text in [
            (406, "No such format."),
            (422, "Numbers that mean nothing."),
            (429, "Too many."),
            (503, "Busy."),
        ]
    }

    @app.get("/api/v1/image", responses={**pictures, **wrong}, response_class=Response)
    @app.get("/image", responses={**pictures, **wrong}, response_class=Response, include_in_schema=False)
    async def image(request: Request, recipe: Annotated[Recipe | None, Depends(query_recipe)]) -> Response:
        """A face as PNG, WebP or JPEG, by `Accept`; a new one where no seed is named."""
        return await answers.image(request, recipe)

    @app.post("/api/v1/mix", responses={**pictures, **wrong}, response_class=Response)
    async def mix(request: Request, recipe: Recipe) -> Response:
        """The same for a recipe as JSON."""
        return await answers.image(request, recipe)

    moving: dict[int | str, dict[str, Any]] = {200: {"content": {name: {"schema": binary} for name in SUFFIXES}}}

    @app.post("/api/v1/animation", responses={**moving, **wrong}, response_class=Response)
    async def animation(request: Request, walk: Walk) -> Response:
        """A loop from face to face as WebP or MP4, by `Accept`."""
        return await answers.animation(request, walk)

    @app.get("/api/v1/network", responses=wrong)
    async def network() -> dict[str, Any]:
        """What the network is, and what can be done with it."""
        return answers.about

    @app.get("/api/v1/find", responses=wrong)
    async def find(request: Request, count: Annotated[int, Query(ge=1, le=100)] = 24) -> dict[str, Any]:
        """Seeds of faces with some attributes: `?sex=female&age=50-`, and how many of how many have them."""
        return answers.find(
            [(name, value) for name, value in request.query_params.multi_items() if name != "count"], count
        )

    @app.get("/api/v1/distribution", responses=wrong)
    async def distribution() -> dict[str, Any]:
        """The attributes of the network's own faces, as far as they were read."""
        return answers.survey_of().distribution()

    photograph = {"requestBody": {"required": True, "content": {"image/*": {"schema": binary}}}}

    @app.post("/api/v1/uploads", responses=wrong, openapi_extra=photograph)
    async def upload(
        request: Request,
        class_idx: Annotated[int | None, Query(alias="class", ge=0, le=2**31)] = None,
        tune: Annotated[bool, Query(description="tune a copy of the network to it, too")] = False,
    ) -> dict[str, str]:
        """Find a photograph, JPEG, PNG or WebP, in the network: its name, to be asked for and to be mixed with others."""
        return {"upload": answers.uploads_of().add(await request.body(), class_idx, tune)}

    @app.get("/api/v1/uploads/{name}", responses=wrong)
    async def upload_told(name: PairName) -> dict[str, Any]:
        """How far a search is."""
        return answers.uploads_of().told(name)

    @app.delete("/api/v1/uploads/{name}", responses=wrong, status_code=204)
    async def upload_cancel(name: PairName) -> None:
        """Stop a search, or forget what it found."""
        answers.uploads_of().cancel(name)

    @app.post("/api/v1/quiz", responses=wrong)
    async def quiz() -> dict[str, Any]:
        """A pair of a real and a generated picture, by its name."""
        return await answers.quiz_pair()

    jpeg: dict[int | str, dict[str, Any]] = {200: {"content": {MEDIA_TYPE: {"schema": binary}}}}
    gone: dict[int | str, dict[str, Any]] = {404: {"description": "No such pair waits."}}

    @app.get("/api/v1/quiz/{pair}/{side}", responses={**jpeg, **wrong, **gone}, response_class=Response)
    async def quiz_picture(pair: PairName, side: Side) -> Response:
        """A picture of a pair."""
        return await answers.quiz_picture(pair, side)

    @app.post("/api/v1/quiz/{pair}", responses={**wrong, **gone})
    async def quiz_answer(pair: PairName, said: Answer) -> Any:
        """Whether an answer is right, what to look for on this pair, and the score against chance with its interval."""
        return await answers.quiz_answer(pair, said)

    @app.get("/livez", include_in_schema=False)
    async def livez() -> Response:
        return Response("alive\n", media_type="text/plain")

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        if not answers.engine.alive:
            return problem(503, "The network does not answer.", {"Retry-After": "1"})
        return Response("ready\n", media_type="text/plain")

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

    static = files("stylegan.web") / "static"
    shell = (static / "index.html").read_bytes()
    for page in PAGES:

        @app.get(f"/{page}", include_in_schema=False)
        async def _() -> Response:
            return Response(shell, media_type="text/html; charset=utf-8", headers={"Cache-Control": "no-cache"})

    app.mount("/static", Files(directory=str(static)), name="static")
    return app

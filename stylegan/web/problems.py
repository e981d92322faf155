"""Errors as `application/problem+json` (RFC 9457)."""

import json
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from stylegan.errors import UserError, shown
from stylegan.web.engine import BusyError

MEDIA_TYPE = "application/problem+json"


def problem_bytes(status: int, detail: str, **more: Any) -> bytes:
    """The body of an answer that says what is wrong."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": shown(detail, 1000)}
    return json.dumps({**body, **more}, ensure_ascii=True).encode()


def problem(status: int, detail: str, headers: dict[str, str] | None = None, **more: Any) -> Response:
    """The answer."""
    return Response(problem_bytes(status, detail, **more), status, headers, MEDIA_TYPE)


def answer_with_problems(app: FastAPI) -> None:
    """Let an application answer so, whatever is raised in it."""

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> Response:
        wrong = [
            {"where": ".".join(map(str, item["loc"]))[:100], "what": shown(item["msg"], 200)} for item in error.errors()
        ]
        said = "; ".join(f"{item['where']}: {item['what']}" for item in wrong[:5])
        return problem(422, said or "The request is not understood.", errors=wrong[:20])

    @app.exception_handler(UserError)
    async def _(request: Request, error: UserError) -> Response:
        return problem(422, str(error))

    @app.exception_handler(BusyError)
    async def _(request: Request, error: BusyError) -> Response:
        return problem(503, "Too many pictures are being made; try again.", {"Retry-After": "1"})

    @app.exception_handler(TimeoutError)
    async def _(request: Request, error: TimeoutError) -> Response:
        return problem(503, "This took too long; try again.", {"Retry-After": "2"})

    @app.exception_handler(ClientDisconnect)
    async def _(request: Request, error: ClientDisconnect) -> Response:  # to nobody; it is not our error
        return problem(400, "The request ended before its body did.")

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> Response:
        return problem(error.status_code, str(error.detail), dict(error.headers or {}))

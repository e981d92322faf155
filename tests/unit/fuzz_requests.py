"""Sends thousands of odd requests to the application of `stylegan serve`, in this process. See `fuzzing`.

They begin as good ones of every route; then parameters, JSON, headers, the path, the method or the way in which the body comes
are changed. They go past HTTP's parser, in the form in which uvicorn hands them on. Whatever is asked: no error of ours,
refusals in one form and in words, no more than so many bytes in so many seconds, and nothing of this machine's files but the
pages' own. Counted are the answers by their status.
"""

import asyncio
import contextlib
import copy
import io
import json
import logging
import random
import re
import sys
import time
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote, unquote, urlencode, urlsplit

import torch
from fastapi import FastAPI
from PIL import Image

from stylegan.inference import MAX_SEED
from stylegan.latent.direction_file import Direction
from stylegan.latent.drag import DragOptions
from stylegan.metrics.attribute_network import ATTRIBUTES, load_attributes
from stylegan.models.stylegan3 import StyleGAN3Config
from stylegan.web.answers import Site
from stylegan.web.app import PAGES, build_app
from stylegan.web.protection import HEADERS
from stylegan.web.quiz import open_reals
from stylegan.web.serve import names_of
from tests.unit import fuzz_uploads, fuzzing
from tests.unit.fuzz_uploads import noise, saved
from tests.unit.tiny import tiny_pair

SECONDS = 15.0  # that an answer may take on a machine on which others compute, too
LARGEST = 4 << 20  # bytes of an answer
LONGEST = 65_536  # bytes of a body, but for photographs
STATUSES = {200, 204, 206, 304, 307, 400, 404, 405, 406, 408, 413, 416, 421, 422, 503}
STATIC = {path.name: path.read_bytes() for path in Path(str(files("stylegan.web") / "static")).iterdir()}
SHELL = STATIC["index.html"]
UPLOAD, PAIR = "{upload}", "{pair}"  # stand for names that the server gave
# fmt: off
NUMBERS = [
    "0", "1", "-1", "2", "0.5", "-0.0", "7", "8", "20", "-20.5", "1e400", "-1e400", "1e-400", "5e-324", "nan", "NaN",
    "-nan", "inf",
    "-Infinity", "0x10", "1_000", "\u0661\u0662", "\uff11", "²", "½", "+1", " 1 ", "1 ", "01", "1.", ".5", "1,2", "1e5",
    "true", "null", "9" * 30,
    "9" * 5000, str(2**31), str(2**32 - 1), str(2**32), str(2**63), str(2**64), str(-(2**63)), "0." + "3" * 3000,
]
TEXTS = [
    "", " ", "~", "~~~", "pca:0~1", "pca:0~-3.5", "pca:0~nan", "pca:0~1e400", "~1", "pca:0", "pca:0~", "a~b~c",
    "0.5~0.5~0.6~0.5",
    "0.1~0.2~0.3", "0~0~1~1", "1~1~0~2", "0.5~0.5~0.5~0.5~0.5", "{", "}", "{}", "[]", "'", '"', "\\", "a\0b", "\0", "\n",
    "\r\nX: y",
    "\x1b[31m", "\ufffd", "\u202e", "日本", "ü" * 200, "x" * 20_000, "../../../etc/passwd", "/etc/passwd",
    "file:///etc/passwd", "${HOME}",
    "%(a)s", "{0}", "<script>", "'; --", "female", "male", "yes", "no", "50-", "-40", "20..30", "30-20", "-", "..",
    "-20..-5", "black",
    "black|brown", "black|", "|", "f" * 32, "0" * 32, "F" * 32, "0" * 31, UPLOAD, PAIR, "left", "right", "None",
]
ACCEPTS = [
    "", "*/*", "image/*", "image/png", "image/webp", "image/jpeg", "video/mp4", "image/webp,image/png;q=0.9", "text/html",
    "*", "/",
    "image/png;q=nan, image/webp", "image/png;q=inf", "image/png;q=-1", "image/png;q=1e400", "image/png;q=", "image/png;q",
    "image/png;q=0.5;q=0.1", ";q=1", ",,,", ", image/jpeg", "image/png;q=0, */*", "image/" + "x" * 5000, "a/b," * 5000,
    "IMAGE/PNG",
    "image/png;x=\"a,b\";q=0.1", "\xff\xfe", "image/png ; q = 0.1", "*/*;q=0", "image/avif, image/*;q=0.1",
]
TYPES = [
    "application/json", "application/json; charset=utf-16", "application/json; charset=nonsense", "APPLICATION/JSON", "",
    ";", "a",
    "application/ld+json", "text/plain", "multipart/form-data", "multipart/form-data; boundary=x", "image/png", "\xff",
    "x" * 5000,
    "application/x-www-form-urlencoded", "application/json; charset*=utf-8''x", "application/json\t",
    'application/json; a="',
]
OTHER_HEADERS = [
    ("if-none-match", ["*", '""', 'W/"x"', "x" * 5000, '"' + "0" * 32 + '"', "\xff", ","]),
    ("if-modified-since", ["0", "", "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "x" * 5000,
        "1 1 1 1 1 1 1", "99"]),
    ("if-range", ['"x"', "0", "\xff", "Thu, 01 Jan 1970 00:00:00 GMT"]),
    ("range", [
        "bytes=0-", "bytes=0-9", "bytes=-5", "bytes=5-1", "bytes=", "bytes", "bytes=x-y", "x=0-1", "bytes=0-0,2-3,1-1",
        "bytes=-",
        "bytes=99999999-", "bytes=0-1," + ",".join(f"{i}-" for i in range(98)), "bytes=0-" + "9" * 5000, "bytes=--1",
        "bytes=-" + "9" * 30,
        "bytes=\u0660-\u0661", "bytes=0-,0-,0-", "bytes=-0", "\xff",
    ]),
    ("host", [
        "localhost", "localhost:8000", "evil.example", "[::1]", "[", "]", "[]:", ":", "", "a" * 5000, "\xff",
        "127.0.0.1@x", ".",
        "LOCALHOST.", "localhost..", "x/../..", "a b", "{upload}",
    ]),
    ("content-length", ["0", "1", "-1", "x", "", "1e3", "65537", "99999999999", "9" * 5000, "\u0661", "+1", "0x10",
        "1, 1", "²"]),
    ("transfer-encoding", ["chunked", "gzip", "x"]), ("content-encoding", ["gzip", "br", "x"]),
        ("expect", ["100-continue"]),
    ("cookie", ["a=b", "x" * 5000]), ("authorization", ["Basic x", "Bearer"]), ("x-forwarded-for", ["1.2.3.4", "\xff"]),
    ("x-forwarded-proto", ["javascript"]), ("x-forwarded-prefix", ["/../.."]), ("origin", ["https://evil.example", "null"]),
    ("accept-encoding", ["gzip", "identity;q=0"]), ("upgrade", ["websocket"]), ("x-request-id", ["x" * 100]),
        ("user-agent", [""]),
    ("x-http-method-override", ["DELETE"]), ("forwarded", ["host=evil.example"]), ("x-original-url", ["/etc/passwd"]),
]
PIECES = [
    "..", "%2e%2e", "%2E%2e", ".", "", "/", "%2f", "%5c", "\\", "..%2f..%2f", "..%5c", "%00", "%0a", "%ff", "%c0%ae",
    "%252e%252e", "%", "~",
    "app.py", "..%2fapp.py", "../app.py", "%2e%2e%2fapp.py", "main.js", "main.js%00.png", "x" * 300, "x" * 20_000,
    "a/" * 2000, "etc/passwd",
    "%2fetc%2fpasswd", "/etc/passwd", "C:", ";", "*", "{name}", "static", "index.html", "api", "v1", "image", "uploads",
    "quiz", "left",
    "0" * 32, UPLOAD, PAIR, "@evil.example", "proc/self/environ", "日本", ".git", "__pycache__", "?", "#",
]
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "X" * 300,
"G!"]
# fmt: on


@dataclass(frozen=True)
class Ask:
    """A request.

    Attributes:
        method: Of HTTP.
        path: As it stands in the request, without the query.
        query: Names and values, not yet encoded; or the text itself.
        headers: Names in small letters, and values.
        body: JSON, or bytes.
        pieces: In how many the body comes.
        breaks: The client goes before it ends.
    """

    method: str
    path: str
    query: "list[tuple[str, str]] | bytes" = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: Any = b""
    pieces: int = 1
    breaks: bool = False


@dataclass(frozen=True)
class Answer:
    """What came, and for which path.

    Attributes:
        path: As it stood in the request.
        status, headers, body: Of the answer.
        seconds: Until its end.
    """

    path: str
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    seconds: float

    def header(self, name: str) -> str:
        """Its value; empty where it is not there."""
        return next((value for key, value in self.headers if key == name), "")


class Server:
    """An application in the event loop of this process, for as long as the process runs."""

    def __init__(self, loop: asyncio.AbstractEventLoop, app: FastAPI, side: int) -> None:
        self.loop, self.side = loop, side
        self._app, self._photograph = app, ""
        self._life = app.router.lifespan_context(app)  # never left: its threads end with the process
        loop.run_until_complete(self._life.__aenter__())

    def ask(self, ask: Ask) -> Answer:
        """What it answers. A photograph that it takes is waited for: none may be lost on its way."""
        text = repr(ask)
        if UPLOAD in text:
            ask = with_name(ask, UPLOAD, self._upload())
        if PAIR in text:
            ask = with_name(ask, PAIR, json.loads(self._answer(Ask("POST", "/api/v1/quiz")).body).get("pair", "0" * 32))
        answer = self._answer(ask)
        if (ask.method, ask.path, answer.status) == ("POST", "/api/v1/uploads", 200):
            name, until = json.loads(answer.body)["upload"], time.monotonic() + SECONDS
            while self._state(name) in ("waiting", "searching"):
                assert time.monotonic() < until, "a photograph is looked for without end"
                self.loop.run_until_complete(asyncio.sleep(0.01))
        return answer

    def _answer(self, ask: Ask) -> Answer:
        return self.loop.run_until_complete(asked(self._app, ask))

    def _upload(self) -> str:
        """The name of a photograph that was found; there is none where the server takes none."""
        if self._state(self._photograph or "0" * 32) != "done":
            sent = Ask("POST", "/api/v1/uploads", body=saved(noise("RGB", (24, 20), 0), "PNG"))
            self._photograph = json.loads(self.ask(sent).body).get("upload", "0" * 32)
        return self._photograph

    def _state(self, name: str) -> str:
        return json.loads(self._answer(Ask("GET", f"/api/v1/uploads/{name}")).body).get("state", "")


def with_name(ask: Ask, sign: str, name: str) -> Ask:
    """A request with a name where a sign stands for it."""
    query, body = ask.query, ask.body
    if not isinstance(query, bytes):
        query = [(key.replace(sign, name), value.replace(sign, name)) for key, value in query]
    if not isinstance(body, bytes):
        body = json.dumps(body).replace(sign, name).encode()
    return replace(ask, path=ask.path.replace(sign, name), query=query, body=body)


async def asked(app: FastAPI, ask: Ask) -> Answer:
    """What an application answers to a request, as uvicorn would hand it on."""
    body = ask.body if isinstance(ask.body, bytes) else json.dumps(ask.body).encode()
    headers = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in ask.headers]
    if body and ask.pieces == 1 and "content-length" not in dict(ask.headers):
        headers.append((b"content-length", str(len(body)).encode()))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 1234),
        "root_path": "",
        "state": {},
        "method": ask.method,
        "path": unquote(ask.path),
        "raw_path": ask.path.encode("ascii", "replace"),
        "query_string": ask.query if isinstance(ask.query, bytes) else urlencode(ask.query).encode(),
        "headers": headers,
    }
    step = max(-(-len(body) // ask.pieces), 1)
    parts = [body[start : start + step] for start in range(0, len(body), step)] or [b""]
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages[-1] = {"type": "http.disconnect"} if ask.breaks else {**messages[-1], "more_body": False}
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        if not messages:
            await asyncio.Event().wait()  # the client waits for its answer
        return messages.pop(0)

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    begun = time.monotonic()
    await app(scope, receive, send)
    seconds = time.monotonic() - begun
    assert sent and sent[0]["type"] == "http.response.start", f"no answer begins: {sent[:1]}"
    assert not sent[-1].get("more_body", False), "the answer does not end"
    told = [(key.decode("latin-1"), value.decode("latin-1")) for key, value in sent[0]["headers"]]
    return Answer(ask.path, sent[0]["status"], told, b"".join(message["body"] for message in sent[1:]), seconds)


def check(server: Server, ask: Ask, answer: Answer, secrets: Sequence[bytes]) -> None:
    """Raise an `AssertionError` where an answer is none that may be."""
    assert answer.status in STATUSES, f"{answer.status}: {answer.body[:500]}"
    assert answer.seconds < SECONDS, f"{answer.seconds:.1f} seconds"
    assert len(answer.body) < LARGEST, f"{len(answer.body)} bytes"
    names = [name for name, _ in answer.headers]
    assert all(names.count(name) == 1 for name in (*HEADERS, "x-request-id")), names
    head = "\n".join(f"{name}: {value}" for name, value in answer.headers)
    assert head.count("\n") == len(names) - 1 and "\r" not in head and "\0" not in head, ascii(head)
    assert len(head) < 2**14, f"{len(head)} bytes of headers"
    if answer.status < 400 and (ask.breaks or len(ask.body) > LONGEST):
        return  # to nobody, or to one who goes on sending while it is answered
    empty = ask.method.upper() == "HEAD" or answer.status in (204, 304)
    assert empty or answer.header("content-length") in ("", str(len(answer.body))), "not as long as it says"
    found = [secret for secret in secrets if secret in answer.body or secret in head.encode("latin-1")]
    assert not found, f"it tells {found}"
    if answer.status >= 400:
        check_problem(answer)
    elif answer.status == 307:
        where = urlsplit(answer.header("location"))
        assert unquote(where.path).strip("/") == unquote(answer.path).strip("/") and where.scheme == "http", where
    elif answer.body:
        check_content(server, answer)


def check_problem(answer: Answer) -> None:
    """See RFC 9457."""
    kind = answer.header("content-type")
    assert kind == "application/problem+json", f"{answer.status} as {kind!r}: {answer.body[:200]}"
    told = json.loads(answer.body)
    assert told["status"] == answer.status and told["title"]
    assert isinstance(told["detail"], str) and 0 < len(told["detail"]) < 1100 and told["detail"].isprintable()
    assert answer.status != 503 or answer.header("retry-after")


def check_content(server: Server, answer: Answer) -> None:
    """A picture of the network, JSON, or what is among the files of the pages."""
    kind, body = answer.header("content-type").partition(";")[0], answer.body
    if answer.status == 206:
        pieces = re.split(rb"\r\n\r\n(.*?)\r\n--", body, flags=re.DOTALL)[1::2] if kind.startswith("multi") else [body]
        assert all(any(piece in content for content in STATIC.values()) for piece in pieces), "a piece of something"
    elif kind in ("image/png", "image/webp", "image/jpeg"):
        with Image.open(io.BytesIO(body)) as picture:
            picture.load()
            assert picture.size == (server.side, server.side) and picture.get_format_mimetype() == kind
    elif kind == "video/mp4":
        assert body[4:8] == b"ftyp"
    elif kind == "application/json":
        json.loads(body, parse_constant=not_json)
    elif kind == "text/plain":
        assert body in (b"alive\n", b"ready\n") or body.startswith(b"# HELP stylegan_requests_total"), body[:200]
    else:
        assert body in STATIC.values(), f"{kind}: {body[:200]}"


def not_json(text: str) -> None:
    """Raise an error for what JSON does not have."""
    raise AssertionError(f"{text} is no JSON")


def good(rng: random.Random) -> Ask:
    """A request that is answered, with what there can be in one."""
    accept = [("accept", rng.choice(ACCEPTS[1:8]))] if rng.random() < 0.7 else []
    match rng.randrange(24):
        case 0 | 1 | 2 | 3 | 4:
            return Ask("GET", "/api/v1/image", good_query(rng), accept)
        case 5:
            return Ask("GET", "/image", [], accept)
        case 6 | 7 | 8:
            return as_json("/api/v1/mix", good_recipe(rng), accept)
        case 9:
            walk = {
                "faces": [good_recipe(rng) for _ in range(rng.choice([2, 2, 3]))],
                "seconds": rng.choice([0.25, 0.5]),
            }
            return as_json("/api/v1/animation", walk, [("accept", rng.choice(["image/webp", "video/mp4", "*/*"]))])
        case 10 | 11 | 12:
            return Ask("GET", "/api/v1/find", good_conditions(rng))
        case 13:
            kind = rng.choice(["PNG", "JPEG", "WEBP", "GIF"])
            content = saved(noise("RGB", (24, 20), rng.randrange(5)), kind)
            content = fuzz_uploads.changed(content, rng) if rng.random() < 0.3 else content
            query = [("tune", rng.choice(["true", "1", "off"]))] if rng.random() < 0.3 else []
            return Ask("POST", "/api/v1/uploads", query, [("content-type", "image/png")], content)
        case 14 | 15:
            return Ask("DELETE" if rng.random() < 0.1 else "GET", f"/api/v1/uploads/{UPLOAD}")
        case 16:
            return Ask("POST", "/api/v1/quiz")
        case 17:
            return Ask("GET", f"/api/v1/quiz/{PAIR}/{rng.choice(['left', 'right'])}")
        case 18:
            played = rng.randrange(20)
            said = {"generated": rng.choice(["left", "right"]), "right": rng.randint(0, played), "played": played}
            return as_json(f"/api/v1/quiz/{PAIR}", said, [])
        case 19 | 20 | 21:
            return Ask("GET", f"/static/{rng.choice(sorted(STATIC))}")
        case 22:
            return Ask("GET", f"/{rng.choice(PAGES)}")
        case _:
            own = ["/livez", "/readyz", "/metrics", "/api/v1/openapi.json", "/api/v1/network", "/api/v1/distribution"]
            return Ask("GET", rng.choice(own))


def as_json(path: str, body: Any, headers: list[tuple[str, str]]) -> Ask:
    """JSON that is sent."""
    return Ask("POST", path, [], [("content-type", "application/json"), *headers], body)


def good_recipe(rng: random.Random) -> dict[str, Any]:
    """Of a face: JSON as `Recipe` describes it."""
    recipe: dict[str, Any] = {"seeds": [rng.choice([0, 1, 85, MAX_SEED]) for _ in range(rng.choice([1, 1, 2, 3, 8]))]}
    parents = len(recipe["seeds"])
    more: list[tuple[str, Callable[[], Any]]] = [
        ("weights", lambda: [rng.choice([0, 1, 2.5, 1000]) for _ in range(parents - 1)] + [1]),
        ("coarse", lambda: rng.randrange(parents)),
        ("fine", lambda: rng.randrange(parents)),
        ("moves", lambda: {"pca:0": rng.choice([-20, 0, 1.5, 20])}),
        ("psi", lambda: rng.choice([-2, 0, 0.7, 2])),
        ("noise", lambda: rng.choice([0, 7, MAX_SEED])),
        ("class_idx", lambda: rng.randrange(3)),
        ("x", lambda: rng.uniform(-1, 1)),
        ("rotate", lambda: rng.uniform(-360, 360)),
        (
            "drags",
            lambda: [{key: rng.random() for key in ("x", "y", "to_x", "to_y")} for _ in range(rng.choice([1, 2]))],
        ),
    ]
    for name, value in rng.sample(more, rng.choice([0, 0, 1, 1, 2])):
        recipe[name] = value()
    if rng.random() < 0.1:
        recipe |= {"uploads": [UPLOAD], "seeds": []}
        recipe = {key: value for key, value in recipe.items() if key not in ("weights", "coarse", "fine")}
    return recipe


def good_query(rng: random.Random) -> list[tuple[str, str]]:
    """The same as an address."""
    names = {
        "seeds": "seed",
        "weights": "weight",
        "uploads": "upload",
        "moves": "move",
        "drags": "drag",
        "class_idx": "class",
    }
    found = list[tuple[str, str]]()
    for name, value in good_recipe(rng).items():
        values = [f"{key}~{amount}" for key, amount in value.items()] if name == "moves" else value
        for item in values if isinstance(values, list) else [values]:
            text = "~".join(map(str, item.values())) if isinstance(item, dict) else str(item)
            found.append((names.get(name, name), text))
    return found


def good_conditions(rng: random.Random) -> list[tuple[str, str]]:
    """Attributes that are looked for."""
    values = {
        "sex": "female",
        "age": "20-60",
        "hair_colour": "black|brown",
        "glasses": "no",
        "beard": "no",
        "yaw": "-30..30",
    }
    chosen = rng.sample(sorted(values), rng.choice([1, 1, 2, 4]))
    count = [("count", rng.choice(["1", "24", "100"]))] if rng.random() < 0.3 else []
    return [*((name, values[name]) for name in chosen), *count]


def changed(ask: Ask, rng: random.Random) -> Ask:
    """A request with something odd about it."""
    kinds = [odd_query, odd_query, odd_headers, odd_path, odd_method, odd_body, odd_body, odd_way]
    if not ask.query:
        kinds = kinds[1:]
    if ask.body:
        kinds += [odd_body] * 4
    return rng.choice(kinds)(ask, rng)


def odd_query(ask: Ask, rng: random.Random) -> Ask:
    """Another value, name or number of a parameter; or bytes that are no query."""
    if isinstance(ask.query, bytes) or rng.random() < 0.1:
        text = urlencode(ask.query).encode() if isinstance(ask.query, list) else ask.query
        nonsense = [
            b"%",
            b"%zz",
            b"%00",
            b"&&&;;",
            b"=",
            b"seed=%ff",
            b"seed=1&" * 2000,
            b"seed",
            b"?",
            b"a=b=c",
            b"\xff",
        ]
        return replace(ask, query=fuzzing.flip(text, rng) if text and rng.random() < 0.6 else rng.choice(nonsense))
    query = list(ask.query)
    names = ["seed", "upload", "weight", "coarse", "middle", "fine", "move", "drag", "psi", "noise", "class", "x", "y"]
    names += ["rotate", "count", "tune", *(attribute.name for attribute in ATTRIBUTES)]
    name = rng.choice(names) if rng.random() < 0.9 else rng.choice(TEXTS)
    value = rng.choice([*NUMBERS, *TEXTS]) if rng.random() < 0.6 else str(rng.randrange(3))
    if not query or rng.random() < 0.3:
        return replace(ask, query=[*query, (name, value)])
    at = rng.randrange(len(query))
    match rng.randrange(6):
        case 0:
            query += [query[at]] * rng.choice([1, 1, 8, 100])
        case 1:
            del query[at]
        case 2:
            rng.shuffle(query)
        case _:
            query[at] = query[at][0], value
    return replace(ask, query=query)


def odd_headers(ask: Ask, rng: random.Random) -> Ask:
    """One or two more, or others."""
    headers = dict(ask.headers)
    for _ in range(rng.choice([1, 1, 2])):
        name, values = rng.choice([("accept", ACCEPTS), ("content-type", TYPES), *OTHER_HEADERS])
        if rng.random() < 0.3:
            name, values = rng.choice([("accept", ACCEPTS), ("range", dict(OTHER_HEADERS)["range"])])
        headers[name] = rng.choice(values)
    if rng.random() < 0.1:
        headers.pop(rng.choice(sorted(headers)))
    twice = [rng.choice(list(headers.items()))] if headers and rng.random() < 0.1 else []
    return replace(ask, headers=[*headers.items(), *twice])


def odd_path(ask: Ask, rng: random.Random) -> Ask:
    """Another piece of it, one more or less, a slash more, or the same in other letters."""
    pieces = (ask.path or "/").split("/")
    at = rng.randrange(1, len(pieces))
    piece = rng.choice(PIECES)
    match rng.randrange(8):
        case 0:
            pieces[at] = piece
        case 1:
            pieces.insert(at, piece)
        case 2:
            pieces.append(piece)
        case 3:
            pieces.append("")
        case 4:
            del pieces[at]
        case 5:
            pieces[at] = "".join(rng.choice([letter, f"%{ord(letter):02x}"]) for letter in pieces[at])
        case 6:
            pieces[at] = rng.choice([pieces[at].upper(), pieces[at] + piece, piece + pieces[at], pieces[at][:-1]])
        case _:
            pieces = ["", "static", *(rng.choice(PIECES) for _ in range(rng.choice([1, 2, 3, 5])))]
    return replace(
        ask, path=quote("/".join(pieces), safe="/%\\:;*{}~@?#") if rng.random() < 0.9 else quote("/".join(pieces))
    )


def odd_method(ask: Ask, rng: random.Random) -> Ask:
    """Another."""
    return replace(ask, method=rng.choice(METHODS))


def odd_body(ask: Ask, rng: random.Random) -> Ask:
    """Other values in JSON; JSON that is damaged, deep, double or in another encoding; a damaged photograph; or one at all."""
    if isinstance(ask.body, bytes):
        body = ask.body or rng.choice([b"x", b"{}", bytes(100)])
        return replace(ask, body=fuzzing.flip(body, rng))
    if rng.random() < 0.7:
        body = copy.deepcopy(ask.body)
        for _ in range(rng.choice([1, 1, 2])):
            with contextlib.suppress(Exception):  # a second change may not find what the first one took
                fuzzing.change(body, rng, odd_number if rng.random() < 0.3 else fuzzing.odd)
        return replace(ask, body=body)
    text = json.dumps(ask.body)
    others = [
        text[:1] + '"psi": 1, "seeds": [1], ' + text[1:],
        text.replace("1", rng.choice(["NaN", "Infinity", "9" * 5000, "1e999", "01", "1.", "-", "0x1"])),
        text.replace("[", "[" * rng.choice([2, 1000, 30_000])),
        '{"a":' * rng.choice([100, 10_000]),
        "\ufeff" + text,
        f"[{text}]",
        text + text,
        text + " " * rng.choice([100, 70_000]),
        "//" + text,
        rng.choice(
            ["", "null", "0", '""', "[]", "{}", "true", "'x'", "{", '"\\ud800"', '{"\\ud800": 1}', '{"seeds": [1],}']
        ),
    ]
    if rng.random() < 0.3:
        return replace(ask, body=fuzzing.flip(text.encode(), rng))
    return replace(ask, body=rng.choice(others).encode(rng.choice(["utf-8"] * 6 + ["utf-16", "utf-32", "utf-7"])))


def odd_number(rng: random.Random) -> Any:
    """One that may be right elsewhere."""
    numbers = [0, 1, 2, 3, 0.5, 1.0, -1, 100]
    return rng.choice([*numbers, [], [0], [0, 1], {}, {"pca:0": 1}, "left", "1", UPLOAD, [UPLOAD], None, True])


def odd_way(ask: Ask, rng: random.Random) -> Ask:
    """The body comes in pieces, is more than may be, or is broken off."""
    large = bytes(11 << 20) if rng.random() < 0.1 else b"x" * 66_000
    body = ask.body if rng.random() < 0.7 else rng.choice([large, b" " * 100, b""])
    return replace(ask, body=body, pieces=rng.choice([1, 2, 3, 50]), breaks=rng.random() < 0.3)


class Log(logging.Handler):
    """Keeps what the server logs of a request."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines = list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging`."""
        self.lines.append(self.format(record))


def servers(folder: Path, loop: asyncio.AbstractEventLoop) -> list[Server]:
    """One with everything, of which most is asked; one whose network has classes, which has nothing; one of StyleGAN3."""
    plain, classes = tiny_pair()[0], tiny_pair(c_dim=3)[0]
    moving = StyleGAN3Config(z_dim=8, w_dim=8, channel_base=512, channel_max=16, num_layers=5).build(
        resolution=(32, 32), channels=3, c_dim=0
    )
    for i in range(3):
        noise("RGB", (16, 16), i).save(folder / f"{i}.png")
    about: dict[str, Any] = {"name": "tiny.safetensors", "sha256": "0" * 64, "card": "# tiny\n", "rate": 1e9}
    everything = about | {
        "directions": {"pca:0": Direction("pca:0", torch.nn.functional.normalize(torch.ones(8), dim=0), 1.0)},
        "attributes": load_attributes(torch.device("cpu"))[0],
        "surveyed": 16,
        "allow_upload": True,
    }
    made = []
    for G, options in ((plain, everything), (classes, about), (moving, {**about, "hosts": names_of("127.0.0.1", [])})):
        reals = open_reals(folder, G) if "surveyed" in options else None
        site = Site(G.eval().requires_grad_(False), reals=reals, **options)
        made.append(Server(loop, build_app(site), G.resolution[0]))
    return made


def shorten() -> None:
    """Let searches, tunings and drags end after a step, in this process."""
    for name, value in {
        "uploads.STEPS": 1,
        "uploads.TUNING_STEPS": 1,
        "drags.OPTIONS": DragOptions(steps=1),
    }.items():
        mock.patch(f"stylegan.web.{name}", value).start()


def prepare(folder: Path) -> Callable[[random.Random], Callable[[], str | None]]:
    """See `fuzzing.judge`."""
    loop, log, lost = asyncio.new_event_loop(), Log(), list[str]()
    loop.set_exception_handler(lambda _, context: lost.append(str(context)))
    logger = logging.getLogger("stylegan.web")
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    shorten()
    known = servers(folder, loop)
    repository = Path(__file__).parents[2]
    secrets = [str(place).encode() for place in (repository, folder, sys.prefix, Path(torch.__file__).parents[1])]
    secrets += [b"site-packages", b"Traceback (most recent", b'File "']

    def make(rng: random.Random) -> Callable[[], str | None]:
        server = rng.choices(known, [4, 1, 1])[0]
        ask = good(rng)
        for _ in range(rng.choice([0, 1, 1, 1, 1, 2, 3])):
            ask = changed(ask, rng)

        def call() -> str:
            log.lines.clear()
            answer = server.ask(ask)
            short = replace(ask, body=ask.body[:300] if isinstance(ask.body, bytes) else ask.body)
            told = f"{ascii(short)[:1000]} -> {answer.status} {answer.headers[:3]} {answer.body[:200]}"
            try:
                check(server, ask, answer, secrets)
            except Exception as error:
                raise AssertionError(f"{error} | {told}") from error
            assert all(line.isprintable() and len(line) < 2000 for line in log.lines), (log.lines, told)
            assert not lost, (lost.pop(), told)
            return str(answer.status)

        return call

    return make


if __name__ == "__main__":
    fuzzing.judge("fuzz_requests", prepare)

"""Sends thousands of odd requests to a server of a tiny network, byte by byte. See `fuzzing`.

An answer may be a picture, a refusal as problem+json, or the HTTP library's own to what is no HTTP. It is a failure where the
server breaks (500), takes long, tells of its files, or gives one away.
"""

import contextlib
import json
import logging
import random
import socket
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_from_bytes, urlsplit

from stylegan.errors import UserError
from stylegan.web.app import build_app
from tests.integration.web_server import running, site
from tests.unit import fuzzing
from tests.unit.tiny import tiny_pair

NAME = "0123456789abcdef" * 2
RECIPE = {
    "seeds": [3, 5], "uploads": [], "weights": [1, 0.5], "coarse": 0, "middle": 1, "fine": None, "moves": {"pca:0": 1.5},
    "psi": 0.7, "noise": 4, "class_idx": None, "x": 0, "y": 0, "rotate": 0,
}  # fmt: skip
GETS = [
    "/api/v1/image?seed=3", "/image?seed=5&psi=0.5", "/api/v1/image?seed=3&seed=5&weight=1&weight=2&coarse=0&fine=1",
    "/api/v1/image?seed=7&move=pca:0~1.5&noise=3", "/api/v1/image", "/api/v1/network", "/api/v1/distribution",
    "/api/v1/find?sex=female&age=50-&count=5", "/api/v1/openapi.json",
    f"/api/v1/uploads/{NAME}", f"/api/v1/quiz/{NAME}/left", "/", "/mix?seed=3",
    "/metrics", "/livez", "/readyz", "/static/main.js", "/static/style.css", "/static/../app.py", "/static/%2e%2e/app.py",
    "/static/..%2fapp.py", "//etc/passwd", "/static//etc/passwd", "/static/%00", "/static/main.js/",
]  # fmt: skip
POSTS = [
    ("/api/v1/mix", RECIPE), ("/api/v1/animation", {"faces": [{"seeds": [3]}, {"seeds": [5]}], "seconds": 0.25}),
    ("/api/v1/quiz", {}), (f"/api/v1/quiz/{NAME}", {"generated": "left"}), ("/api/v1/uploads", {}),
]  # fmt: skip
HEADERS = {
    "Accept": [
        "image/png", "image/webp;q=0.9, image/png;q=x", "*/*", "image/*;q=-1", "image/png;q=nan", "text/html", ",;,",
        "a" * 9000,
    ],
    "If-None-Match": ['"x"', "*", 'W/"x", "y"', '"' * 500], "Range": ["bytes=0-9", "bytes=9-0", "bytes=-" + "9" * 30, "x"],
    "Host": ["localhost", "evil.example", "", "a b", "[::1]:80", "localhost:99999", "\xfc"], "Cookie": ["a=b", "=" * 3000],
    "Content-Type": ["application/json", "text/plain", "multipart/form-data", "application/json; charset=utf-16", "\xff"],
    "Content-Length": ["5", "-1", "99999999999999999999", "x", "0"], "Transfer-Encoding": ["chunked", "gzip", "x"],
    "X-Forwarded-For": ["1.2.3.4", "x" * 500], "Origin": ["https://evil.example", "null"], "Expect": ["100-continue"],
    "Sec-Fetch-Site": ["cross-site", "x"], "Connection": ["upgrade"], "Upgrade": ["websocket", "h2c"],
}  # fmt: skip
SECRETS = [
    str(Path(__file__).parents[2]).encode(),
    b"site-packages",
    b"Traceback",
    b"def build_app",
    b"root:x:0",
    tempfile.gettempdir().encode(),
]
LARGEST_ANSWER = 2_000_000  # bytes
PATIENCE = 0.3  # seconds


def odd_text(rng: random.Random) -> str:
    """A value for a query, in the form of an address."""
    match rng.randrange(5):
        case 0:
            return quote_from_bytes(rng.randbytes(rng.choice([1, 3, 40])))
        case 1:
            return rng.choice(
                [
                    "",
                    "%",
                    "%zz",
                    "+",
                    "~",
                    "a~b~c",
                    "1~2~3~4",
                    "nan",
                    "inf",
                    "-1",
                    "1e400",
                    "٣",
                    "1_0",
                    "0x1",
                    "3~" * 99,
                ]
            )
        case _:
            return quote(str(fuzzing.odd(rng))[:3000].encode("utf-8", "replace").decode())


def odd_target(target: str, rng: random.Random) -> str:
    """An address with another query or path."""
    parts = urlsplit("http://x" + target) if not target.startswith("//") else urlsplit(target[1:])
    path, pairs = parts.path, [pair for pair in parts.query.split("&") if pair]
    for _ in range(rng.choice([0, 1, 1, 2])):
        names = [
            "seed",
            "upload",
            "weight",
            "coarse",
            "middle",
            "fine",
            "move",
            "drag",
            "psi",
            "noise",
            "class",
            "x",
            "y",
            "rotate",
        ]
        match rng.randrange(6):
            case 0 if pairs:
                pairs.pop(rng.randrange(len(pairs)))
            case 1 if pairs:
                at = rng.randrange(len(pairs))
                pairs[at] = f"{pairs[at].split('=')[0]}={odd_text(rng)}"
            case 2:
                pairs += [rng.choice(pairs or ["seed=1"])] * rng.choice([1, 9, 200])
            case 3:
                path = rng.choice(
                    [path + "/", path.upper(), "/" + path, path + "%2e%2e", path + odd_text(rng)[:300], path[:-1]]
                )
            case _:
                pairs.append(
                    f"{rng.choice([*names, 'count', 'sex', 'age', 'tune', odd_text(rng)[:20]])}={odd_text(rng)}"
                )
    return path + ("?" + "&".join(pairs) if pairs else "")


def odd_body(good: object, rng: random.Random) -> bytes:
    """JSON with something wrong in it, or no JSON."""
    value = json.loads(json.dumps(good))
    for _ in range(rng.choice([0, 1, 1, 2])):
        if isinstance(value, dict) and value:
            with contextlib.suppress(IndexError):  # nothing is left to change
                fuzzing.change(value, rng)
    with contextlib.suppress(ValueError, RecursionError, UnicodeEncodeError):
        text = json.dumps(value, ensure_ascii=rng.random() < 0.8).encode()
        return text if rng.random() < 0.85 else fuzzing.flip(text, rng)
    return rng.choice(
        [b"", b"[" * 5000, b'{"seeds": [' + b"9" * 5000 + b"]}", b"\xff\xfe", b'{"seeds":[3],"seeds":[5]}', b"NaN"]
    )


def request(rng: random.Random) -> bytes:
    """All of a request."""
    method, body = "GET", b""
    if rng.random() < 0.6:
        target = rng.choice(GETS)
    else:
        target, good = rng.choice(POSTS)
        method, body = "POST", odd_body(good, rng)
    if rng.random() < 0.6:
        target = odd_target(target, rng)
    if rng.random() < 0.06:
        method = rng.choice(["HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT", "get", "X" * 300])
    headers = {
        "Host": "localhost",
        "Connection": "close",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    for name in rng.sample(sorted(HEADERS), rng.choice([0, 0, 1, 1, 2])):
        headers[name] = rng.choice(HEADERS[name])
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    whole = "\r\n".join(lines).encode("latin-1", "replace") + body
    return fuzzing.flip(whole, rng) if rng.random() < 0.03 else whole


def asked(address: tuple[str, int], content: bytes) -> bytes:
    """What a server answers until it closes the connection. It may wait for the rest of a request; there is none."""
    with socket.create_connection(address, timeout=PATIENCE) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(content)
        answer = b""
        while True:
            try:
                part = connection.recv(1 << 16)
            except TimeoutError:
                assert connection.gettimeout() == PATIENCE, "the server keeps a connection that has ended"
                connection.settimeout(10 * PATIENCE)
                connection.shutdown(socket.SHUT_WR)
                continue
            if not part:
                return answer
            answer += part
            assert len(answer) < LARGEST_ANSWER, "the answer has no end"
    return b""


def judged(content: bytes, answer: bytes) -> str:
    """`answered`, `kept off` or `cut off`; `UserError` is raised for a refusal in words."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head:
        return "cut off"
    status = int(head.split(b" ", 2)[1])
    assert status < 500 or status == 503, answer[:500]
    assert not any(secret in answer for secret in SECRETS), answer[:2000]
    if status < 400:
        return "answered"
    if b"application/problem+json" in head.lower() and not content.startswith(b"HEAD"):
        told = json.loads(body)
        assert told["status"] == status and told["detail"], told
        raise UserError(told["detail"])
    return "kept off"


class Broken(logging.Handler):
    """What the server's library says of requests that broke the application."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.told.append(self.format(record))


def prepare(folder: Path) -> Callable[[random.Random], Callable[[], str | None]]:
    """See `fuzzing.judge`. The server ends with the process, which the judge ends."""
    warnings.simplefilter("ignore")
    server = contextlib.ExitStack()
    G, _ = tiny_pair()
    app = build_app(site(G.eval().requires_grad_(False), allow_upload=True))
    base = server.enter_context(running(app))
    broken = Broken(logging.ERROR)
    for logger in ("uvicorn.error", "stylegan.web"):
        logging.getLogger(logger).addHandler(broken)
    address = ("127.0.0.1", int(base.rpartition(":")[2]))

    def make(rng: random.Random) -> Callable[[], str | None]:
        content = request(rng)

        def call() -> str:
            answer = asked(address, content)
            assert not broken.told, broken.told.pop()
            return judged(content, answer)

        return call

    make.server = server  # pyright: ignore[reportFunctionMemberAccess]
    return make


if __name__ == "__main__":
    fuzzing.judge("fuzz_requests", prepare)

"""What every request passes: a name, a limit of its client's rate and of its size, headers, the access log, metrics."""

import asyncio
import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any

from fastapi import HTTPException
from prometheus_client import CollectorRegistry, Counter, Histogram

from stylegan.errors import shown
from stylegan.web.problems import problem_bytes

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
        "connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), browsing-topics=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
LIMITED = ("/api/", "/image")  # paths whose answers are computed
_CLIENTS = 10_000  # whose rates are remembered
log = logging.getLogger("stylegan.web")


class Rates:
    """A bucket of tokens for each client: `rate` a second, up to `burst` at once."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self.clock = rate, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """0 where the client may go on now, else the seconds after which it may."""
        now = self.clock()
        tokens, before = self._buckets.pop(client, (self.burst, now))
        tokens = min(tokens + (now - before) * self.rate, self.burst)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if allowed else tokens, now)
        while len(self._buckets) > _CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / self.rate


class Protection:
    """ASGI middleware around the whole application.

    Args:
        app: What it protects.
        rates: Of clients.
        registry: Where metrics are counted.
        largest: Bytes of a request's body.
        larger: The same for some paths.
        patience: Seconds in which a body must have come.
        hosts: Names by which it may be asked, in small letters; None: any. A page elsewhere whose name is made to lead here
            ("DNS rebinding") would otherwise be taken for ours by the browser.
    """

    def __init__(
        self,
        app: App,
        *,
        rates: Rates,
        registry: CollectorRegistry,
        largest: int = 65_536,
        larger: Mapping[str, int] | None = None,
        patience: float = 10.0,
        hosts: Collection[str] | None = None,
    ) -> None:
        self.app, self.rates, self.largest, self.patience = app, rates, largest, patience
        self.larger, self.hosts = larger or {}, hosts
        self.requests = Counter(
            "stylegan_requests", "Requests by path and status", ["path", "status"], registry=registry
        )
        self.seconds = Histogram("stylegan_request_seconds", "Time until the answer's end", ["path"], registry=registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI 3."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, status, begun, name = time.perf_counter(), 500, False, uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = name

        async def answer(message: MutableMapping[str, Any]) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                own = [(key.encode(), value.encode()) for key, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *own, (b"x-request-id", name.encode())]
            await send(message)

        client = (scope.get("client") or ("unknown", 0))[0]
        largest = self.larger.get(scope["path"], self.largest)
        try:
            if self.hosts is not None and (host := _host(scope)) and host not in self.hosts:
                await _refuse(answer, 421, f"This server is not called {host}; --allow-host {host} lets it be.", {})
            elif scope["path"].startswith(LIMITED) and (wait := self.rates.wait(client)):
                await _refuse(answer, 429, "Too many requests; wait a little.", {"retry-after": str(int(wait) + 1)})
            elif not scope["query_string"].isascii():  # some parsers let it through; nothing below expects it
                await _refuse(answer, 400, "An address has ASCII letters alone; write others as %XX, in UTF-8.", {})
            elif (length := _length(scope)) is None or length > largest:
                await _refuse(answer, 413, _too_long(largest), {"connection": "close"})
            else:
                await self.app(scope, self._bounded(receive, largest, lambda: begun), answer)
        except Exception:  # of ours: the log has it all, the client its number
            log.exception("request %s", name)
            if begun:
                raise
            await _refuse(answer, 500, f"Something went wrong here; the server's log has it under {name}.", {})
        finally:
            seconds, route = time.perf_counter() - start, _route(scope)
            self.requests.labels(route, str(status)).inc()
            self.seconds.labels(route).observe(seconds)
            asked = shown(scope["path"], 200)
            log.info("%s %s %s %d %.1f ms %s", client, scope["method"], asked, status, seconds * 1000, name)

    def _bounded(self, receive: Receive, largest: int, begun: Callable[[], bool]) -> Receive:
        """No more than the allowed bytes and seconds, whatever the client says of its body, or does not.

        Where an answer has begun it is too late for another one: then the client is taken for gone.
        """
        taken, whole, until = 0, False, time.monotonic() + self.patience

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal taken, whole
            if whole:  # what comes now is that the client has gone
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(until - time.monotonic(), 0))
            except TimeoutError:
                return refused(408, f"A request's body must come within {self.patience:g} seconds.")
            taken += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            return refused(413, _too_long(largest)) if taken > largest else message

        def refused(status: int, why: str) -> MutableMapping[str, Any]:
            if begun():
                return {"type": "http.disconnect"}
            raise HTTPException(status, why, {"connection": "close"})

        return bounded


def _too_long(largest: int) -> str:
    return f"A request's body may have {largest} bytes."


def _length(scope: Scope) -> int | None:
    """What a request says of its body's length; 0 where it does not; None where that is no number."""
    said = next((value for key, value in scope["headers"] if key == b"content-length"), b"0")
    return int(said) if said.isdigit() and len(said) < 16 else None


def _host(scope: Scope) -> str:
    """The name by which a request asks, without its port; empty where it does not say, which browsers always do."""
    said = next((value for key, value in scope["headers"] if key == b"host"), b"").decode("latin-1").lower()
    name = said[1:].partition("]")[0] if said.startswith("[") else said.partition(":")[0]
    return name.removesuffix(".")


def _route(scope: Scope) -> str:
    """The path as the application knows it: what was asked for would be a label of its own for everybody's nonsense."""
    route = scope.get("route")
    return getattr(route, "path", "other")


async def _refuse(send: Send, status: int, detail: str, headers: dict[str, str]) -> None:
    body = problem_bytes(status, detail)
    said = {"content-type": "application/problem+json", "content-length": str(len(body)), **headers}
    raw = [(key.encode(), value.encode()) for key, value in said.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})

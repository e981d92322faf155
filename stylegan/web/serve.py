"""`stylegan serve`: from a network's name to a running server."""

import ipaddress
import logging
import math
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from stylegan.errors import UserError, of_option
from stylegan.inference import Sampling, load, resolve_network
from stylegan.interop.card import model_card
from stylegan.interop.companions import find_discriminator
from stylegan.interop.difference import network_name, network_sha256, summands
from stylegan.interop.networks import read_whole_snapshot
from stylegan.latent.direction_file import Direction, read_directions
from stylegan.latent.finding import beside
from stylegan.latent.named import Directions, is_of_faces3d
from stylegan.metrics.attribute_network import load_attributes
from stylegan.models.base import Discriminator, Generator
from stylegan.models.generator import StyleBased
from stylegan.ops.backend import Backend, activate
from stylegan.ops.device import compute_exactly, pick_device

_NAMED = ("age", "sex", "smile", "yaw", "pitch", "skin_tone", "hair_length", "beard", "glasses")

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServeOptions:
    """What the command is told.

    Attributes:
        host, port: Where it listens; port 0: any that is free.
        device: Where it computes.
        directions: A file of `stylegan directions`; None: the one beside the network, or some that are found now.
        data: An archive of real images, for the quiz.
        batch: Pictures of a forward pass; None: by their size.
        rate: Requests a second of one client.
        allow_upload: Take photographs.
        allow_host: Further names by which it may be asked.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    device: str = "auto"
    directions: Path | None = None
    data: Path | None = None
    batch: int | None = None
    rate: float = 50.0
    allow_upload: bool = False
    allow_host: tuple[str, ...] = ()


def require_web() -> Any:
    """uvicorn; raises a `UserError` with the pip command where the extra is missing."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise UserError(
            f"stylegan serve needs the extra `web` ({error.name} is missing): pip install 'stylegan[web]', in a clone pip "
            "install -e '.[web]'"
        ) from None
    return uvicorn


def serve(network: str, options: ServeOptions) -> None:
    """Load the network and answer until Ctrl-C; raises `UserError` where it cannot be."""
    uvicorn = require_web()
    from stylegan.web.app import build_app

    check_options(options)
    with listening(options.host, options.port) as door:  # a port that is taken is told before anything is loaded
        app = build_app(site_of(network, options))
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
        logging.getLogger("stylegan.web").setLevel(logging.INFO)
        host = f"[{options.host}]" if ":" in options.host else options.host
        print(f"faces of {network}: http://{host}:{door.getsockname()[1]}/   (Ctrl-C ends)", flush=True)
        config = uvicorn.Config(
            app,
            access_log=False,  # ours knows the time and the request's id
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=10,
            limit_concurrency=1000,
            h11_max_incomplete_event_size=16_384,
            log_level="warning",
        )
        uvicorn.Server(config).run(sockets=[door])


def check_options(options: ServeOptions) -> None:
    """Raise a `UserError` for what is no number of requests, or no name by which a browser may ask."""
    if not 0 < options.rate < math.inf:
        raise UserError(f"--rate {options.rate}: write how many requests a second one client may make, such as 50")
    for name in options.allow_host:
        if not re.fullmatch(r"[0-9A-Za-z._-]+", name) and not _is_ipv6(name):
            raise UserError(
                f"--allow-host {name}: write a name alone, such as faces.example: no http://, no port, no pattern, and letters "
                "outside ASCII as browsers send them (xn--...)"
            )


def _is_ipv6(name: str) -> bool:
    try:
        return isinstance(ipaddress.ip_address(name), ipaddress.IPv6Address)
    except ValueError:
        return False


def listening(host: str, port: int) -> socket.socket:
    """A socket of an address; raises `UserError` where it cannot be had."""
    try:
        door = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, UnicodeError, TypeError) as error:  # TypeError: a name that has no encoding, such as `ü..x`
        why = getattr(error, "strerror", None) or "this is no address"
        raise UserError(f"--host {host} --port {port}: {why}; choose another (--port 0: any that is free)") from None
    # Those who come inherit it. asyncio sets it where it opens the socket itself; without it the body of an answer waits for
    # the acknowledgement of its headers, 40 ms.
    door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return door


def site_of(network: str, options: ServeOptions) -> Any:
    """What is served of a network: itself, its words, and where it is of faces3d, attributes and directions."""
    from stylegan.web.answers import Site
    from stylegan.web.quiz import open_reals

    if options.allow_upload and find_spec("resource") is None:
        raise UserError(
            "--allow-upload: this system cannot limit the process in which photographs are decoded; leave it out"
        )
    path = resolve_network(network)
    found = load(network)
    device = pick_device(options.device)
    G = found.G_ema.to(device).eval().requires_grad_(False)
    compute_exactly()
    activate(Backend.auto, device, build_for_auto=False)
    with of_option("--data"):
        reals = None if options.data is None else open_reals(options.data, G)  # before what takes time
    of_faces = is_of_faces3d(found.provenance)
    directions = _directions(G, _kept(G, path, options.directions), named=of_faces)
    attributes = load_attributes(device)[0] if of_faces else None
    card = model_card(path, read_whole_snapshot(path)) if found.source is None else ""
    return Site(
        G,
        network_name(path),
        network_sha256(path),
        card,
        directions=directions,
        attributes=attributes,
        batch=options.batch or _batch(G),
        rate=options.rate,
        allow_upload=options.allow_upload,
        hosts=names_of(options.host, options.allow_host),
        D=_discriminator(network, path, device) if options.allow_upload else None,
        reals=reals,
    )


def names_of(host: str, allowed: Sequence[str]) -> frozenset[str] | None:
    """By which names a server may be asked: those of this machine and what is allowed; None: any, where all may reach it."""
    if not allowed and host not in _LOOPBACK and not host.startswith("127."):
        return None
    return frozenset({*_LOOPBACK, *(name.lower().removesuffix(".") for name in (host, *allowed))})


def _kept(G: Generator, network: Path, given: Path | None) -> dict[str, Direction]:
    """Directions of the file that is given, else of the one that `stylegan directions` left beside the network, or beside what
    it was tuned from; none where there is none."""
    if given is not None:
        with of_option("--directions"):
            return read_directions(given, G)
    file = next((file for file in (beside(network), beside(summands(network)[0])) if file.exists()), None)
    return {} if file is None else read_directions(file, G)


def _directions(G: Generator, kept: dict[str, Direction], *, named: bool) -> dict[str, Direction]:
    """Those that were kept, the best known first; else the first components, and for faces3d attributes."""
    if kept:
        return {name: kept[name] for name in [*(name for name in _NAMED if name in kept), *kept]}
    if G.c_dim:
        return {}
    layers = range(G.num_ws) if isinstance(G, StyleBased) else []
    names = [f"pca:{i}" for i in range(3)] if isinstance(G, StyleBased) else ["sefa:0", "sefa:1"]
    known = Directions(G, Sampling(), progress=True)
    return {name: known.find(name, layers) for name in [*(_NAMED if named else ()), *names]}


def _discriminator(network: str, path: Path, device: torch.device) -> Discriminator | None:
    """The network's own, by whose features photographs are compared."""
    D = find_discriminator(network, path)
    return None if D is None else D.to(device).eval().requires_grad_(False)


def _batch(G: Generator) -> int:
    """As many as take no longer than a moment."""
    largest = max(G.resolution)
    if next(G.parameters()).device.type == "cuda":
        return 16
    return 8 if largest <= 64 else 4 if largest <= 128 else 1

"""A running server for tests, in a thread of this process, on a port that was free."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI

from stylegan.latent.direction_file import Direction
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased
from stylegan.web.answers import Site


def site(G: Generator, **more: Any) -> Site:
    """A network with one direction, on a server that limits nobody's rate."""
    name, size = ("pca:0", G.w_dim) if isinstance(G, StyleBased) else ("sefa:0", G.z_dim)
    direction = Direction(name, torch.nn.functional.normalize(torch.ones(size), dim=0), 1.0)
    return Site(G, "tiny.safetensors", "0" * 64, "# tiny\n", **{"directions": {name: direction}, "rate": 1e6, **more})


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The address of an application that answers while the block runs."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()

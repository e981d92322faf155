"""Requests a second of `stylegan serve` with shared forward passes, against one picture a pass.

    python tests/bench/serve_load.py [--seconds 8] [--network demo]

Two servers are started, one with `--batch 8` and one with `--batch 1`; 1, 8 and 64 clients ask them for pictures of seeds in
turn, in pairs, and the ratio of their requests a second is printed, with the time until the first picture of a new browser.
"""

import argparse
import asyncio
import itertools
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

SERVE = [sys.executable, "-c", "from stylegan.cli import main; main()", "serve"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each run")
    parser.add_argument("--pairs", type=int, default=3, help="runs of each kind")
    parser.add_argument("--network", default="demo")
    options = parser.parse_args()
    with server(options.network, 8) as shared, server(options.network, 1) as single:
        for clients in (1, 8, 64):
            ratios, rates = [], []
            for _ in range(options.pairs):
                one, other = (asyncio.run(load(base, clients, options.seconds)) for base in (shared, single))
                ratios.append(one / other)
                rates.append(one)
            print(
                f"{clients} clients: {statistics.median(rates):.0f} requests/s, {statistics.median(ratios):.2f} times those "
                f"of one picture a pass ({', '.join(f'{ratio:.2f}' for ratio in ratios)})"
            )
        times = [first_picture(shared) for _ in range(20)]
        print(f"a new face: {statistics.median(times) * 1000:.0f} ms, the slowest of 20 {max(times) * 1000:.0f} ms")


@contextmanager
def server(network: str, batch: int) -> Iterator[str]:
    """A server in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*SERVE, network, "--port", str(port), "--batch", str(batch), "--rate", "1000000"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    base = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                survey = httpx.get(f"{base}/api/v1/distribution", timeout=60).json()
                if survey.get("faces", 2000) >= 2000:  # or nothing reads attributes
                    break
            except httpx.ConnectError:
                assert process.poll() is None, "the server ended"
            time.sleep(0.5)
        yield base
    finally:
        process.terminate()
        process.wait()


async def load(base: str, clients: int, seconds: float) -> float:
    """Requests a second."""
    seeds, certificates, done = itertools.count(), ssl.create_default_context(), 0
    until = time.perf_counter() + seconds

    async def one() -> None:
        nonlocal done
        async with httpx.AsyncClient(base_url=base, timeout=60, verify=certificates) as client:
            while time.perf_counter() < until:
                (await client.get(f"/api/v1/image?seed={next(seeds)}")).raise_for_status()
                done += 1

    start = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(clients)))
    return done / (time.perf_counter() - start)


def first_picture(base: str) -> float:
    """Seconds until a new face is there."""
    start = time.perf_counter()
    httpx.get(f"{base}/image", headers={"Accept": "image/webp"}).raise_for_status()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

"""The server under many clients, and under whatever its description allows."""

import asyncio
import re
import signal
import ssl
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck

from stylegan.web.app import build_app
from tests.integration.web_server import running, site
from tests.unit.test_inference import tiny

CLIENTS, REQUESTS, SEEDS = 100, 2000, 25


def resident() -> float:
    """Megabytes that this process has in memory."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads its memory from /proc")
def test_many_clients_get_their_own_pictures_or_503_and_memory_stays() -> None:
    headers, certificates = {"Accept": "image/png"}, ssl.create_default_context()  # one: each client would read its own

    async def load(base: str, expected: dict[int, bytes], requests: int) -> Counter[int]:
        statuses: Counter[int] = Counter()

        async def one(number: int) -> None:
            async with httpx.AsyncClient(base_url=base, headers=headers, timeout=60, verify=certificates) as client:
                for i in range(requests // CLIENTS):
                    seed = (number + 7 * i) % SEEDS
                    answer = await client.get(f"/api/v1/image?seed={seed}")
                    statuses[answer.status_code] += 1
                    if answer.status_code == 200:
                        assert answer.headers["x-seed"] == str(seed) and answer.content == expected[seed]
                    else:
                        assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0

        await asyncio.gather(*(one(number) for number in range(CLIENTS)))
        return statuses

    with running(build_app(site(tiny()))) as base:
        expected = {
            seed: httpx.get(f"{base}/api/v1/image?seed={seed}", headers=headers).content for seed in range(SEEDS)
        }
        assert len(set(expected.values())) == SEEDS
        asyncio.run(load(base, expected, REQUESTS // 4))
        before = resident()
        statuses = asyncio.run(load(base, expected, REQUESTS))
        assert statuses.total() == REQUESTS and statuses[200] > 0
        assert resident() - before < 50, statuses


def test_a_client_that_never_sends_its_body_holds_nobody_up() -> None:
    async def ask(base: str) -> None:
        host, port = base.removeprefix("http://").split(":")
        slow = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
        for _, writer in slow:
            writer.write(b"POST /api/v1/mix HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n{")
            await writer.drain()
        async with httpx.AsyncClient(base_url=base) as client:
            for seed in range(5):
                assert (await client.get(f"/api/v1/image?seed={seed}")).status_code == 200
        for _, writer in slow:
            writer.close()

    with running(build_app(site(tiny()))) as base:
        asyncio.run(ask(base))


def test_nothing_that_the_description_allows_breaks_it() -> None:
    with running(build_app(site(tiny()))) as base:
        schema = schemathesis.openapi.from_url(f"{base}/api/v1/openapi.json")
        operations = [operation for found in schema.get_all_operations() if (operation := found.ok()) is not None]  # pyright: ignore[reportAttributeAccessIssue]
        assert len(operations) >= 6
        for operation in operations:

            @hypothesis.settings(
                max_examples=40,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
            )
            @hypothesis.given(case=operation.as_strategy())
            def ask(case: schemathesis.Case) -> None:
                answer = case.call()
                assert answer.status_code in (200, 304, 406, 413, 422, 503), answer.text
                if answer.status_code >= 400:
                    assert answer.headers["content-type"] == ["application/problem+json"]

            ask()


def test_the_command_opens_and_ends_by_ctrl_c(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from stylegan.cli import main; main()", "serve", "--port=0", "--device=cpu"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
        assert found is not None, process.communicate()
        answer = httpx.get(f"{found[0]}api/v1/image?seed=85&move=smile~2", timeout=60)
        assert answer.status_code == 200 and answer.headers["x-description"].startswith("A ")
        again = subprocess.run([*command[:-2], f"--port={found[1]}"], capture_output=True, text=True, check=False)
        assert again.returncode == 2 and "choose another" in again.stderr
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode in (0, 130) and "Traceback" not in err, err
    assert "GET /api/v1/image 200" in err and not list(tmp_path.iterdir())

"""The server, asked by HTTP: what it answers, to whom, with which bytes, and what it refuses."""

import asyncio
import copy
import io
import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image
from torch import Tensor

import stylegan
from stylegan.data.archive import ImageDataset
from stylegan.data.faces3d import render_faces
from stylegan.detect.classifier import SpectrumClassifier
from stylegan.detect.score import auc
from stylegan.detect.spectra import spectrum
from stylegan.errors import UserError
from stylegan.figures.pixels import to_pixels
from stylegan.inference import Sampling, load_generator, resolve_network, sample, to_uint8
from stylegan.interop.difference import save_difference
from stylegan.latent.direction_file import Direction, save_directions
from stylegan.metrics.attribute_network import load_attributes, places
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased
from stylegan.models.mapping import MappingConfig
from stylegan.models.progan import ProGANConfig
from stylegan.models.stylegan1 import StyleGAN1Config
from stylegan.rng import normal
from stylegan.web.answers import Site
from stylegan.web.app import build_app
from stylegan.web.engine import BusyError, Engine, equal_sizes
from stylegan.web.faces import Faces, Recipe
from stylegan.web.pictures import chosen_format
from stylegan.web.protection import Protection, Rates
from stylegan.web.quiz import Quiz, as_shown, open_reals
from stylegan.web.serve import ServeOptions, names_of, site_of
from stylegan.web.walks import frames_of
from tests.integration.web_server import site
from tests.unit.test_inference import tiny
from tests.unit.test_stylegan3 import tiny as tiny3

PNG = {"Accept": "image/png"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(build_app(site(tiny()))) as asked:
        yield asked


def pixels(content: bytes) -> torch.Tensor:
    """uint8 [C, H, W]."""
    picture = Image.open(io.BytesIO(content))
    return torch.tensor(list(picture.tobytes()), dtype=torch.uint8).reshape(*picture.size[::-1], 3).permute(2, 0, 1)


def drawn(G: Generator, seed: int, **options: Any) -> torch.Tensor:
    """What `generate.py` shows for a seed."""
    return next(iter(sample(G, [seed], Sampling(**options))))


def test_a_seed_is_the_picture_that_generate_shows(client: TestClient) -> None:
    answer = client.get("/api/v1/image?seed=85", headers=PNG)
    assert answer.status_code == 200 and answer.headers["x-seed"] == "85"
    assert torch.equal(pixels(answer.content), drawn(tiny(), 85))
    lower = client.get("/api/v1/image?seed=85&psi=0.5", headers=PNG)
    assert torch.equal(pixels(lower.content), drawn(tiny(), 85, truncation_psi=0.5))


def test_at_psi_0_all_are_the_mean_face(client: TestClient) -> None:
    one, other = (client.get(f"/api/v1/image?seed={seed}&psi=0", headers=PNG).content for seed in (1, 2))
    assert torch.equal(pixels(one), pixels(other))


def test_without_a_seed_it_is_somebody_else_each_time(client: TestClient) -> None:
    answers = [client.get("/image", headers=PNG) for _ in range(20)]
    assert len({answer.headers["x-seed"] for answer in answers}) == 20
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}
    again = client.get(f"/image?seed={answers[0].headers['x-seed']}", headers=PNG)
    assert again.content == answers[0].content, "the address does not bring the face back"


def test_a_picture_of_a_seed_stays_and_is_known_again(client: TestClient) -> None:
    answer = client.get("/api/v1/image?seed=3", headers=PNG)
    assert "immutable" in answer.headers["cache-control"] and answer.headers["vary"] == "Accept"
    tag = answer.headers["etag"]
    assert client.get("/api/v1/image?seed=3", headers={**PNG, "If-None-Match": tag}).status_code == 304
    assert client.get("/api/v1/image?seed=4", headers={**PNG, "If-None-Match": tag}).status_code == 200
    assert client.get("/api/v1/image?seed=3", headers={"Accept": "image/webp", "If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize("kind", ["png", "webp", "jpeg"])
def test_every_format_says_that_it_is_generated(client: TestClient, kind: str) -> None:
    answer = client.get("/api/v1/image?seed=3", headers={"Accept": f"image/{kind}"})
    assert answer.headers["content-type"] == f"image/{kind}"
    assert Image.open(io.BytesIO(answer.content)).format == kind.upper()
    assert b"neural network" in answer.content or b"trainedAlgorithmicMedia" in answer.content
    if kind == "webp":  # without loss
        assert torch.equal(
            torch.tensor(list(Image.open(io.BytesIO(answer.content)).convert("RGB").tobytes()), dtype=torch.uint8),
            drawn(tiny(), 3).permute(1, 2, 0).flatten(),
        )


def test_accept() -> None:
    assert chosen_format(None) == chosen_format("*/*") == chosen_format("image/*") == "image/png"
    assert chosen_format("image/avif,image/webp,*/*;q=0.8") == "image/webp"
    assert chosen_format("image/jpeg;q=0.5, image/png;q=0.4") == "image/jpeg"
    assert chosen_format("image/*;q=0.5, image/png;q=0") == "image/webp"
    assert chosen_format("text/html") is None and chosen_format("image/png;q=nonsense") is None
    assert chosen_format("image/png;q=nan, image/webp;q=0.1") == "image/webp"
    assert chosen_format("*/*", ["image/webp", "video/mp4"]) == "image/webp"


def test_a_child_of_one_parent_is_the_parent_and_layers_come_from_whom_they_should(client: TestClient) -> None:
    def mixed(**recipe: Any) -> torch.Tensor:
        answer = client.post("/api/v1/mix", json=recipe, headers=PNG)
        assert answer.status_code == 200, answer.text
        return pixels(answer.content)

    alone = mixed(seeds=[5])
    assert torch.equal(mixed(seeds=[5, 6], weights=[1, 0]), alone)
    everything = dict.fromkeys(client.get("/api/v1/network").json()["parts"], 0)
    assert everything and torch.equal(mixed(seeds=[5, 6], weights=[0, 1], **everything), alone)
    assert not torch.equal(mixed(seeds=[5, 6], weights=[0, 1], coarse=0), alone)
    assert torch.equal(mixed(seeds=[5], moves={"pca:0": 0}), alone)
    assert not torch.equal(mixed(seeds=[5], moves={"pca:0": 2}), alone)
    assert not torch.equal(mixed(seeds=[5], noise=1), alone)
    by_address = client.get("/api/v1/image?seed=5&seed=6&weight=1&weight=3&coarse=1&move=pca:0~1.5", headers=PNG)
    assert torch.equal(pixels(by_address.content), mixed(seeds=[5, 6], weights=[1, 3], coarse=1, moves={"pca:0": 1.5}))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("seed=-1", "greater than or equal to 0"),
        ("seed=4294967296", "less than or equal"),
        ("seed=one", "valid integer"),
        ("seed=1&psi=nan", "finite"),
        ("seed=1&psi=9", "less than or equal to 2"),
        ("seed=1&weight=1&weight=2", "1 seeds have 2 weights"),
        ("seed=1&seed=2&weight=0&weight=0", "all weights are 0"),
        ("seed=1&coarse=1", "counted from 0"),
        ("seed=1&move=nothing~1", "there is no direction"),
        ("seed=1&move=pca:0", "write a direction and how far"),
        ("seed=1&move=pca:0~inf", "finite"),
        ("seed=1&class=0", "class"),
        ("seed=1&x=0.1", "StyleGAN3"),
        ("coarse=1", "counted from 0"),
        ("noise=1", "name the face"),
        ("&".join(["seed=1"] * 9), "at most 8"),
    ],
)
def test_numbers_that_mean_nothing_are_refused_in_words(client: TestClient, path: str, said: str) -> None:
    answer = client.get(f"/api/v1/image?{path}")
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]


def test_other_refusals(client: TestClient) -> None:
    assert client.get("/api/v1/image?seed=1", headers={"Accept": "text/html"}).status_code == 406
    assert client.get("/nothing/here").status_code == 404
    assert client.get("/nothing/here").headers["content-type"] == "application/problem+json"
    assert client.get("/api/v1/mix").status_code == 405
    assert client.post("/api/v1/mix", json={"seeds": [1], "path": "/etc/passwd"}).status_code == 422
    assert client.post("/api/v1/mix", content=b"[" * 10_000).status_code == 422
    assert client.post("/api/v1/mix", content=b" " * 70_000).status_code == 413
    assert client.get("/api/v1/find?sex=female").status_code == 422  # nothing reads attributes of this network
    for path in ("/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static//etc/passwd"):
        assert client.get(path).status_code == 404, path


def test_odd_ranges_are_passed_over(client: TestClient) -> None:
    """Found by `fuzz_requests`: such were refused as text/plain, all else as application/problem+json."""
    whole = client.get("/static/main.js")
    assert whole.headers["accept-ranges"] == "none"
    for said in ("bytes", "bytes=99999999-", "bytes=5-1", "bytes=0-9"):
        answer = client.get("/static/main.js", headers={"Range": said})
        assert answer.status_code == 200 and answer.content == whole.content, said


def told_to(app: FastAPI, path: str, messages: list[dict[str, Any]], query: bytes = b"") -> tuple[int, dict[str, Any]]:
    """The status and the JSON of what an application answers where a body comes in such messages, or no more of it comes."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "query_string": query, "root_path": ""}
    headers = [(b"content-type", b"application/json")]

    async def asked() -> None:
        async with app.router.lifespan_context(app):
            await app({**scope, "headers": headers}, receive, send)

    asyncio.run(asked())
    assert (b"content-type", b"application/problem+json") in sent[0]["headers"], sent
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.mark.parametrize("path", ["/api/v1/mix", "/api/v1/uploads"])
@pytest.mark.parametrize(
    ("last", "status", "says"),
    [
        ({"type": "http.request", "body": bytes(11 << 20), "more_body": False}, 413, "may have"),
        ({"type": "http.disconnect"}, 400, ""),
        (None, 408, "within 0.2 seconds"),
    ],
)
def test_bodies_that_are_too_long_too_slow_or_broken_off_are_no_error_of_ours(
    path: str, last: dict[str, Any] | None, status: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by `fuzz_requests`: without a length before them they ended in 500 and a traceback in the log, or said nothing."""
    monkeypatch.setitem(Protection.__init__.__kwdefaults__ or {}, "patience", 0.2)
    messages = [{"type": "http.request", "body": b"{", "more_body": True}, *([last] if last else [])]
    answer = told_to(build_app(site(tiny(), allow_upload=True)), path, messages)
    assert answer[0] == answer[1]["status"] == status and says in answer[1]["detail"]


def test_an_address_in_other_bytes_than_ascii_is_refused() -> None:
    """Found by `fuzz_requests`: with a slash too many it was an error of ours. Not every parser lets it through."""
    messages = [{"type": "http.request", "body": b"", "more_body": False}]
    status, told = told_to(build_app(site(tiny())), "/mix/", messages, b"\xbb")
    assert status == 400 and "ASCII" in told["detail"]


def test_every_answer_has_its_headers(client: TestClient) -> None:
    for path in ("/", "/api/v1/image?seed=1", "/nothing", "/api/v1/image?seed=-1", "/static/main.js"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer" and re.fullmatch("[0-9a-f]{32}", headers["x-request-id"])
        assert "access-control-allow-origin" not in headers


def test_the_pages_have_no_inline_script_and_name_no_other_host(client: TestClient) -> None:
    shell = client.get("/").text
    assert shell == client.get("/mix").text == client.get("/find").text == client.get("/about").text
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=|https?://", shell)


def test_health_and_metrics(client: TestClient) -> None:
    assert client.get("/livez").status_code == client.get("/readyz").status_code == 200
    client.get("/some/nonsense")
    metrics = client.get("/metrics").text
    assert 'stylegan_requests_total{path="/api/v1/image",status="200"}' in metrics and "nonsense" not in metrics
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404
    assert "/api/v1/image" in client.get("/api/v1/openapi.json").json()["paths"]


def test_who_asks_too_often_waits_and_others_do_not() -> None:
    now = [0.0]
    rates = Rates(2.0, 3.0, clock=lambda: now[0])
    assert [rates.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert rates.wait("b") == 0
    now[0] = 0.5
    assert rates.wait("a") == 0 and rates.wait("a") > 0
    with TestClient(build_app(site(tiny(), rate=0.1))) as asked:
        assert [asked.get("/api/v1/network").status_code for _ in range(2)] == [429, 429]
        assert int(asked.get("/api/v1/network").headers["retry-after"]) > 0
        assert asked.get("/image").status_code == 429
        assert asked.get("/livez").status_code == 200


def test_other_names_than_its_own_are_refused() -> None:
    assert names_of("0.0.0.0", []) is None and names_of("::", []) is None
    assert names_of("127.0.0.5", []) == {"127.0.0.1", "127.0.0.5", "localhost", "::1"}
    assert names_of("::1", []) == {"127.0.0.1", "localhost", "::1"}
    names = names_of("127.0.0.1", ["Faces.Example."])
    assert names is not None and "faces.example" in names
    with TestClient(build_app(site(tiny(), hosts=names))) as asked:
        for host in (
            "localhost",
            "localhost:8000",
            "127.0.0.1:1",
            "[::1]:8000",
            "[::1]",
            "FACES.example:80",
            "faces.example.",
        ):
            assert asked.get("/api/v1/network", headers={"Host": host}).status_code == 200, host
        for host in (
            "evil.example",
            "evil.example:8000",
            "localhost.evil.example",
            "[::2]:8000",
            "127.0.0.1@evil.example",
        ):
            answer = asked.get("/image", headers={"Host": host})
            assert answer.status_code == 421 and answer.headers["content-type"] == "application/problem+json", host
            assert "--allow-host" in answer.json()["detail"]


def test_a_seeds_bytes_do_not_depend_on_who_asks_at_the_same_time(ops: str) -> None:
    G = tiny()
    with TestClient(build_app(site(G))) as asked:
        alone = {seed: asked.get(f"/api/v1/image?seed={seed}", headers=PNG).content for seed in range(8)}
        with ThreadPoolExecutor(8) as pool:
            for _ in range(3):
                together = pool.map(lambda s: (s, asked.get(f"/api/v1/image?seed={s}", headers=PNG).content), range(8))
                assert dict(together) == alone


def test_requests_share_a_pass_and_a_full_queue_refuses() -> None:
    G = tiny()
    faces = Faces(G, {})
    recipe = Recipe(seeds=[1])
    engine = Engine(G, batch=8, deadline=0.2, queue=8)
    gate = threading.Event()
    engine.call(gate.wait)
    futures = [engine.submit(faces.point(Recipe(seeds=[i])), faces.sampling(recipe)) for i in range(8)]
    gate.set()
    images = [future.result(20).image for future in futures]
    assert engine.passes == 2 and engine.made == 9
    assert all(torch.equal(image, drawn(G, i)) for i, image in enumerate(images))
    slow, gate = Engine(G, batch=8, queue=2), threading.Event()
    held = slow.call(gate.wait)
    while not held.running():
        time.sleep(0.01)
    waiting = [slow.submit(faces.point(recipe), faces.sampling(recipe)) for _ in range(2)]
    with pytest.raises(BusyError):
        slow.submit(faces.point(recipe), faces.sampling(recipe))
    gate.set()
    slow.close()  # what waits is made still
    assert all(torch.equal(future.result(20).image, drawn(G, 1)) for future in waiting)
    with pytest.raises(BusyError):
        slow.submit(faces.point(recipe), faces.sampling(recipe))
    engine.close()


def test_a_smaller_pass_is_taken_where_it_gives_the_same_bits() -> None:
    class Moody(torch.nn.Module):
        """A network that sees how many are asked for: with less than 4 it shows something else."""

        def __init__(self, G: StyleBased) -> None:
            super().__init__()
            self.synthesis = G.synthesis

        def forward(self, ws: torch.Tensor, **options: Any) -> torch.Tensor:
            return self.synthesis(ws, **options) * (1.0 if len(ws) >= 4 else 0.9)

    assert equal_sizes(tiny(), 1) == [1]
    assert equal_sizes(tiny(), 8)[-1] == 8 and set(equal_sizes(tiny(c_dim=3), 8)) <= {1, 2, 4, 8}
    G = copy.deepcopy(tiny())
    G.synthesis = Moody(G)  # pyright: ignore[reportAttributeAccessIssue]
    assert equal_sizes(G, 8)[-1] == 8 and not {1, 2} & set(equal_sizes(G, 8))


def test_a_pass_that_fails_is_told_to_those_who_asked_and_to_nobody_else() -> None:
    G = tiny()
    faces, recipe = Faces(G, {}), Recipe(seeds=[1])
    engine = Engine(G, batch=8, deadline=0.0)
    broken = engine.submit(faces.point(recipe), Sampling(translate=(0.1, 0.0), batch=8))
    with pytest.raises(UserError):
        broken.result(20)
    assert torch.equal(engine.submit(faces.point(recipe), faces.sampling(recipe)).result(20).image, drawn(G, 1))
    engine.close()


def test_a_network_of_classes() -> None:
    with TestClient(build_app(site(tiny(c_dim=3), directions=None))) as asked:
        assert asked.get("/api/v1/network").json()["classes"] == ["0", "1", "2"]
        answer = asked.get("/api/v1/image?seed=4&class=2", headers=PNG)
        assert torch.equal(pixels(answer.content), drawn(tiny(c_dim=3), 4, class_idx=2))
        anybody = asked.get("/image", headers=PNG)
        again = f"/image?seed={anybody.headers['x-seed']}&class={anybody.headers['x-class']}"
        assert asked.get(again, headers=PNG).content == anybody.content
        assert asked.get("/api/v1/image?seed=4&class=3").status_code == 422


def test_stylegan3_turns_and_moves() -> None:
    G = tiny3().eval().requires_grad_(False)
    with TestClient(build_app(site(G, directions=None))) as asked:
        assert asked.get("/api/v1/network").json()["moves"]
        answer = asked.get("/api/v1/image?seed=4&x=0.25&rotate=30", headers=PNG)
        assert torch.equal(pixels(answer.content), drawn(G, 4, translate=(0.25, 0.0), rotate=30.0))


def test_dragging_moves_a_point_and_gives_the_same_bytes_again() -> None:
    G = stylegan.load_generator("demo")
    recipe = {"seeds": [3], "psi": 0.7, "drags": [{"x": 0.5, "y": 0.6, "to_x": 0.6, "to_y": 0.6}]}
    with TestClient(build_app(Site(G, "demo", "0" * 64, rate=1e6))) as asked:
        answer = asked.post("/api/v1/mix", json=recipe, headers=PNG)
        assert answer.status_code == 200, answer.text
        plain = asked.get("/api/v1/image?seed=3&psi=0.7", headers=PNG).content
        assert answer.content != plain
        assert asked.get("/api/v1/image?seed=3&psi=0.7&drag=0.5~0.6~0.6~0.6", headers=PNG).content == answer.content
        still = {**recipe, "drags": [{"x": 0.5, "y": 0.6, "to_x": 0.5, "to_y": 0.6}]}
        assert torch.equal(pixels(asked.post("/api/v1/mix", json=still, headers=PNG).content), pixels(plain))
        for wrong in ("0.5~0.6~0.6", "0.5~0.6~0.6~2", "a~b~c~d", "0.5~0.6~0.6~nan"):
            assert asked.get(f"/api/v1/image?seed=3&drag={wrong}").status_code == 422, wrong
    with TestClient(build_app(Site(G, "demo", "0" * 64, rate=1e6))) as asked:  # another server comes to the same
        assert asked.post("/api/v1/mix", json=recipe, headers=PNG).content == answer.content


def test_others_get_their_pictures_while_points_are_dragged() -> None:
    G = stylegan.load_generator("demo")
    with TestClient(build_app(Site(G, "demo", "0" * 64, rate=1e6))) as asked, ThreadPoolExecutor(2) as pool:
        move = "drag=0.5~0.6~0.9~0.1"
        asked.get("/api/v1/image?seed=1")
        dragged = pool.submit(lambda: asked.get(f"/api/v1/image?seed=3&{move}"))
        answered = 0
        while not dragged.done():
            assert asked.get(f"/api/v1/image?seed={answered}").status_code == 200
            answered += not dragged.done()
        assert dragged.result().status_code == 200 and answered > 2


def sent(asked: TestClient, content: bytes, *, tune: bool = False) -> dict[str, Any]:
    """What became of a photograph."""
    answer = asked.post(f"/api/v1/uploads?tune={tune}", content=content)
    assert answer.status_code == 200, answer.text
    name = answer.json()["upload"]
    while (told := asked.get(f"/api/v1/uploads/{name}").json())["state"] in ("waiting", "searching"):
        time.sleep(0.05)
    return {**told, "upload": name}


def file_of(picture: Image.Image, kind: str = "PNG") -> bytes:
    """Its bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def test_a_photograph_is_found_and_mixed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("stylegan.web.uploads.STEPS", 100)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    G = stylegan.load_generator("demo")
    wanted = drawn(G, 4)
    photograph = to_pixels(wanted).resize((256, 256), Image.Resampling.NEAREST)
    with TestClient(build_app(Site(G, "demo", "0" * 64, rate=1e6, allow_upload=True))) as asked:
        assert asked.get("/api/v1/network").json()["uploads"]
        told = sent(asked, file_of(photograph))
        assert told["state"] == "done" and told["step"] == 100
        answer = asked.get(f"/api/v1/image?upload={told['upload']}", headers=PNG)
        assert answer.headers["cache-control"] == "no-store" and "etag" not in answer.headers
        found = pixels(answer.content).float()
        mean = pixels(asked.get("/api/v1/image?seed=1&psi=0", headers=PNG).content).float()
        assert (found - wanted).square().mean() < (mean - wanted).square().mean() / 2
        whole = {"seeds": [5], "uploads": [told["upload"]], "weights": [0, 1]}
        assert torch.equal(pixels(asked.post("/api/v1/mix", json=whole, headers=PNG).content), found.byte())
        assert asked.delete(f"/api/v1/uploads/{told['upload']}").status_code == 204
        assert asked.get(f"/api/v1/image?upload={told['upload']}").status_code == 422
    assert not list(tmp_path.iterdir())


def test_a_network_is_tuned_to_a_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylegan.web.uploads.STEPS", 40)
    monkeypatch.setattr("stylegan.web.uploads.TUNING_STEPS", 40)
    G = stylegan.load_generator("demo")
    before = {name: value.clone() for name, value in G.state_dict().items()}
    photograph = to_pixels(
        to_uint8(F.interpolate(normal(0, "a photograph", [0], [3, 4, 4], "cpu"), (64, 64), mode="bilinear"))[0]
    )
    wanted = pixels(file_of(photograph)).float()
    with TestClient(build_app(Site(G, "demo", "0" * 64, rate=1e6, allow_upload=True))) as asked:

        def image(query: str) -> torch.Tensor:
            return pixels(asked.get(f"/api/v1/image?{query}", headers=PNG).content).float()

        plain, tuned = (sent(asked, file_of(photograph), tune=tune) for tune in (False, True))
        assert plain["state"] == tuned["state"] == "done" and tuned["step"] == tuned["steps"] == 80
        near, nearer = ((image(f"upload={told['upload']}") - wanted).square().mean() for told in (plain, tuned))
        assert nearer < 0.8 * near
        assert torch.equal(image("seed=4"), drawn(G, 4).float())  # others get the network as it was
        assert all(torch.equal(value, before[name]) for name, value in G.state_dict().items())
        assert torch.equal(image(f"seed=4&upload={plain['upload']}&weight=1&weight=0"), drawn(G, 4).float())
        assert not torch.equal(image(f"seed=4&upload={tuned['upload']}&weight=1&weight=0"), drawn(G, 4).float())
        again = sent(asked, file_of(photograph), tune=True)
        both = asked.get(f"/api/v1/image?upload={tuned['upload']}&upload={again['upload']}")
        assert both.status_code == 422 and "no network shows both" in both.json()["detail"]
        third = sent(asked, file_of(photograph), tune=True)
        assert asked.get(f"/api/v1/uploads/{third['upload']}").status_code == 200
        assert asked.get(f"/api/v1/uploads/{tuned['upload']}").status_code == 422  # two are kept
        walk = {"faces": [{"uploads": [again["upload"]]}, {"uploads": [third["upload"]]}], "seconds": 0.25}
        assert asked.post("/api/v1/animation", json=walk).status_code == 422


def test_photographs_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylegan.web.uploads.STEPS", 1)
    photograph = file_of(Image.effect_noise((64, 64), 50).convert("RGB"))
    with TestClient(build_app(site(tiny(), allow_upload=True))) as asked:
        monkeypatch.setattr("stylegan.web.uploads.MINUTES", 0.02)
        told = sent(asked, photograph)
        assert told["state"] == "done"
        time.sleep(1.3)
        assert asked.get(f"/api/v1/uploads/{told['upload']}").status_code == 422
        assert "forgotten" in asked.get(f"/api/v1/image?upload={told['upload']}").json()["detail"]
        monkeypatch.setattr("stylegan.web.uploads.MINUTES", 60)
        monkeypatch.setattr("stylegan.web.uploads.KEPT", 2)
        names = [sent(asked, photograph)["upload"] for _ in range(4)]
        assert [asked.get(f"/api/v1/uploads/{name}").status_code for name in names] == [422, 422, 200, 200]


def test_what_is_no_photograph_is_refused_and_hurts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylegan.web.uploads.STEPS", 1)
    photograph = file_of(Image.effect_noise((64, 64), 50).convert("RGB"))
    bomb = file_of(Image.new("1", (20_000, 20_000)))
    with TestClient(build_app(site(tiny(), allow_upload=True))) as asked:
        for content, said in (
            (b"", "no whole JPEG"),
            (b"GIF89a" + bytes(100), "no whole JPEG"),
            (photograph[: len(photograph) // 2], "no whole JPEG"),
            (file_of(Image.new("RGB", (8, 8))), "too few"),
            (bomb, "too many"),
            (file_of(Image.new("RGB", (64, 64)), "TIFF"), "no whole JPEG"),
        ):
            told = sent(asked, content)
            assert told["state"] == "failed" and said in told["problem"], told
        assert asked.post("/api/v1/uploads", content=bytes((10 << 20) + 1)).status_code == 413
        assert sent(asked, photograph)["state"] == "done"
        assert asked.get("/api/v1/uploads/" + "0" * 32).status_code == 422
    with TestClient(build_app(site(tiny()))) as asked:
        assert asked.post("/api/v1/uploads", content=photograph).status_code == 422
        assert asked.post("/api/v1/uploads", content=bytes(100_000)).status_code == 413


def test_a_body_that_says_no_length_has_limits_too() -> None:
    with TestClient(build_app(site(tiny(), allow_upload=True))) as asked:
        answer = asked.post("/api/v1/uploads", content=(bytes(1 << 20) for _ in range(11)))
        assert answer.status_code == 413 and "may have 10485760 bytes" in answer.json()["detail"]


def test_a_search_is_stopped_and_a_full_queue_refuses() -> None:
    photograph = file_of(Image.effect_noise((64, 64), 50).convert("RGB"))
    with TestClient(build_app(site(tiny(), allow_upload=True))) as asked:
        names = [asked.post("/api/v1/uploads", content=photograph).json()["upload"] for _ in range(4)]
        assert asked.post("/api/v1/uploads", content=photograph).status_code == 503
        assert asked.get(f"/api/v1/uploads/{names[3]}").json()["ahead"] == 3
        assert asked.get(f"/api/v1/image?upload={names[3]}").status_code == 422
        for name in names:
            assert asked.delete(f"/api/v1/uploads/{name}").status_code == 204
        assert asked.post("/api/v1/uploads", content=photograph).status_code == 200


def test_find_gives_the_faces_that_have_what_is_asked_for() -> None:
    G, count = stylegan.load_generator("demo"), 16
    reader = load_attributes(torch.device("cpu"))[0]
    read = reader.read(torch.stack(list(sample(G, list(range(count)), Sampling(batch=8)))))
    male = [seed for seed in range(count) if float(read[seed, places()["sex"]][0]) > 0.5]
    with TestClient(build_app(Site(G, "demo", "0" * 64, attributes=reader, surveyed=count, rate=1e6))) as asked:
        while asked.get("/api/v1/distribution").json()["faces"] < count:
            time.sleep(0.05)
        assert asked.get("/api/v1/find?sex=male").json() == {"seeds": male, "accepted": len(male), "tried": count}
        assert asked.get("/api/v1/find?sex=male&count=2").json()["seeds"] == male[:2]
        told = asked.get("/api/v1/distribution").json()["attributes"]
        assert sum(told["age"]["counts"]) == sum(told["hair_colour"]["counts"].values()) == count
        words = asked.get(f"/api/v1/image?seed={male[0]}").headers["x-description"]
        assert words.startswith("A man of about ")
        for wrong in ("age=20-&age=30-", "age=nan-", "nothing=1", "sex={", "count=0&sex=male", ""):
            assert asked.get(f"/api/v1/find?{wrong}").status_code == 422, wrong


def test_an_animation_is_a_loop_through_its_faces(client: TestClient) -> None:
    recipes = [{"seeds": [seed]} for seed in (1, 2, 3)]
    answer = client.post("/api/v1/animation", json={"faces": recipes, "seconds": 0.5}, headers={"Accept": "image/webp"})
    assert answer.status_code == 200, answer.text
    clip = Image.open(io.BytesIO(answer.content))
    assert getattr(clip, "n_frames", 1) == 18 and b"trainedAlgorithmicMedia" in answer.content
    G = tiny()
    faces = Faces(G, {})
    points = [faces.point(Recipe(seeds=[seed])) for seed in (1, 2, 3)]
    frames = frames_of(points, 0.5)
    for key, point in zip(frames[::6], points, strict=True):
        assert key.ws is not None and point.ws is not None
        torch.testing.assert_close(key.ws, point.ws, rtol=1e-6, atol=1e-6)
    assert client.post("/api/v1/animation", json={"faces": recipes[:1]}).status_code == 422
    assert client.post("/api/v1/animation", json={"faces": recipes, "seconds": 1e9}).status_code == 422


def test_errors_of_our_own_give_no_secrets_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret path /home/somebody")

    with TestClient(build_app(site(tiny()))) as asked:
        monkeypatch.setattr("stylegan.web.answers.encoded", broken)
        answer = asked.get("/api/v1/image?seed=1")
    assert answer.status_code == 500 and "secret" not in answer.text
    assert json.loads(answer.text)["status"] == 500 and answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"] in answer.text
    told = [record for record in caplog.records if answer.headers["x-request-id"] in record.getMessage()]
    assert told and told[0].exc_info is not None and "secret" in str(told[0].exc_info[1])


@pytest.fixture
def reals(tmp_path: Path) -> Path:
    """Noise of a size."""
    random = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    return tmp_path


def test_the_quiz_counts_and_tells_nothing_before(reals: Path) -> None:
    with TestClient(build_app(site(tiny(), reals=open_reals(reals, tiny())))) as asked:
        assert asked.get("/api/v1/network").json()["quiz"]
        right = played = 0
        sides = set()
        for _ in range(12):
            pair = asked.post("/api/v1/quiz").json()
            assert set(pair) == {"pair"}
            shown = {side: asked.get(f"/api/v1/quiz/{pair['pair']}/{side}") for side in ("left", "right")}
            left, other = ({**answer.headers, "content-length": 0, "x-request-id": ""} for answer in shown.values())
            assert {**left, "date": ""} == {**other, "date": ""} and left["cache-control"] == "no-store"
            assert all(b"neural" not in answer.content for answer in shown.values())
            said = {"generated": "left", "right": right, "played": played}
            told = asked.post(f"/api/v1/quiz/{pair['pair']}", json=said).json()
            sides.add(told["generated"])
            right, played = right + (told["generated"] == "left"), played + 1
            assert (told["right"], told["played"]) == (right, played)
            assert told["correct"] == (told["generated"] == "left") and told["cues"][0]["sentence"]
            assert told["interval"][0] <= right / played <= told["interval"][1]
            # Of the same server: a pass of another size may round a pixel of one face in a hundred otherwise.
            picture = as_shown(pixels(asked.get(f"/api/v1/image?seed={told['seed']}", headers=PNG).content))
            assert shown[told["generated"]].content == picture, "it is another than the one it says"
            assert asked.post(f"/api/v1/quiz/{pair['pair']}", json=said).status_code == 404
        assert sides == {"left", "right"}
        assert asked.post("/api/v1/quiz/" + "0" * 32, json={"generated": "left"}).status_code == 404
        assert asked.get("/api/v1/quiz/..%2f..%2fetc/left").status_code in (404, 422)
        assert asked.post("/api/v1/quiz/" + "0" * 32, json={"generated": "up"}).status_code == 422


def test_a_quiz_takes_no_archive_whose_scaling_would_tell(client: TestClient, reals: Path) -> None:
    assert client.post("/api/v1/quiz").status_code == 422
    Image.new("RGB", (32, 32)).save(reals / "0.png")
    for path in reals.glob("[1-3].png"):
        path.unlink()
    with pytest.raises(UserError, match="--resolution 16x16"):
        open_reals(reals, tiny())


def test_nothing_but_the_pictures_tells_real_from_generated() -> None:
    """A spectrum classifier on faces3d, half of them sent as real ones and half as generated ones, gains nothing."""
    images = torch.from_numpy(render_faces(list(range(2400)), resolution=32)[0])
    shuffled = images[torch.randperm(2400, generator=torch.Generator().manual_seed(0))]
    sent = []
    for image in shuffled[:1200]:  # as the archive gives them
        sent.append(pixels(as_shown(image)))
    quiz = Quiz(cast(ImageDataset, _Reals(shuffled[:1])))
    for seed, image in enumerate(shuffled[1200:]):  # as the network gives them
        name = asyncio.run(quiz.ask(image, seed))
        pair = cast(Tensor, quiz.picture(name, "left")), cast(Tensor, quiz.picture(name, "right"))
        sent.append(pixels(as_shown(next(shown for shown in pair if torch.equal(shown, image)))))
    features = torch.stack([spectrum(image) for image in sent])
    real, generated = features[:1200], features[1200:]
    classifier = SpectrumClassifier.fit(real[:200], generated[:200])
    score = auc(classifier.score(generated[200:]), classifier.score(real[200:]))
    assert abs(score - 0.5) < 0.05
    other = torch.stack([spectrum(blurred(image)) for image in sent[1200:]])  # the test can fail
    able = SpectrumClassifier.fit(real[:200], other[:200])
    assert auc(able.score(other[200:]), able.score(real[200:])) > 0.9


class _Reals(list):
    """Images as an archive gives them."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().__getitem__(index), torch.zeros(0)


def blurred(image: Tensor) -> Tensor:
    """What another resampling does."""
    half = torch.nn.functional.interpolate(image[None].float(), scale_factor=0.75, mode="bilinear", antialias=True)
    return torch.nn.functional.interpolate(half, size=image.shape[1:], mode="bilinear")[0].round().byte()


def test_directions_beside_a_network_are_taken_the_best_known_first(tmp_path: Path) -> None:
    shutil.copy(resolve_network("portrait"), tmp_path / "mine.safetensors")
    own = tmp_path / "mine.directions.safetensors"
    shutil.copy(resolve_network("portrait").with_name("portrait.directions.safetensors"), own)
    served = site_of(str(tmp_path / "mine.safetensors"), ServeOptions(device="cpu"))
    assert list(served.directions)[:3] == ["age", "sex", "smile"] and "pca:2" in served.directions
    before, after = (load_generator("portrait") for _ in range(2))
    after.load_state_dict({name: value + (name == "synthesis.b4.const") for name, value in after.state_dict().items()})
    save_difference(tmp_path / "me.safetensors", before, after)
    tuned = f"{tmp_path / 'mine.safetensors'}+{tmp_path / 'me.safetensors'}"
    assert list(site_of(tuned, ServeOptions(device="cpu")).directions) == list(served.directions)
    own_way = Direction("pca:0", served.directions["age"].vector, 1.0)
    save_directions(tmp_path / "mine+me.directions.safetensors", [own_way], after, "me", {})
    assert list(site_of(tuned, ServeOptions(device="cpu")).directions) == ["pca:0"]
    shutil.copy(resolve_network("demo"), tmp_path / "mine.safetensors")
    with pytest.raises(UserError, match=r"^\S*mine\.directions\.safetensors holds directions of another network"):
        site_of(str(tmp_path / "mine.safetensors"), ServeOptions(device="cpu"))


@pytest.mark.parametrize("option", ["data", "directions"])
def test_a_wrong_file_is_told_with_its_option(tmp_path: Path, option: str) -> None:
    (tmp_path / "wrong").write_text("nothing of use")
    for name in ("wrong", "missing"):
        named: dict[str, Any] = {option: tmp_path / name}
        with pytest.raises(UserError, match=rf"^--{option}: .*{re.escape(str(tmp_path / name))}") as caught:
            site_of("demo", ServeOptions(device="cpu", **named))
        assert str(caught.value).count("--data") == (option == "data")


def test_networks_that_grew_are_shown_as_their_papers_do() -> None:
    sizes: dict[str, Any] = {"channel_base": 64, "channel_max": 8}
    shape: dict[str, Any] = {"resolution": (16, 16), "channels": 3, "c_dim": 0}
    styled = StyleGAN1Config(z_dim=8, w_dim=8, mapping=MappingConfig(num_layers=2), **sizes).build(**shape).eval()
    styled.mapping.w_avg.normal_()
    styled.set_stage((8, 8), torch.tensor(0.5), enlarge=True)
    with TestClient(build_app(site(styled.requires_grad_(False)))) as asked:
        about = asked.get("/api/v1/network").json()
        assert (about["kind"], about["truncation"], about["psi"], about["noise"]) == ("stylegan1", True, 0.7, True)
        for query, psi in (("", None), ("&psi=1", 1.0), ("&psi=0.3", 0.3)):
            shown = pixels(asked.get(f"/api/v1/image?seed=5{query}", headers=PNG).content)
            assert torch.equal(shown, drawn(styled, 5, truncation_psi=psi))
    without = ProGANConfig(z_dim=8, **sizes).build(**shape).eval()
    with TestClient(build_app(site(without.requires_grad_(False)))) as asked:
        about = asked.get("/api/v1/network").json()
        assert (about["kind"], about["truncation"], about["psi"], about["drags"]) == ("progan", False, 1.0, False)
        assert torch.equal(pixels(asked.get("/api/v1/image?seed=5", headers=PNG).content), drawn(without, 5))
        moved = asked.get("/api/v1/image?seed=5&move=sefa:0~2", headers=PNG)
        assert moved.status_code == 200 and not torch.equal(pixels(moved.content), drawn(without, 5))
        refused = asked.get("/api/v1/image?seed=5&psi=0.5", headers=PNG)
        assert refused.status_code == 422 and "progan has none" in refused.json()["detail"]

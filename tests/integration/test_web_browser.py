"""The pages in a real browser: Chromium, where it is installed; CI demands it."""

import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, Route, sync_playwright

import stylegan
from stylegan.data.faces3d import render_faces
from stylegan.inference import resolve_network
from stylegan.interop.card import model_card
from stylegan.interop.difference import network_sha256
from stylegan.interop.networks import read_whole_snapshot
from stylegan.latent.direction_file import Direction
from stylegan.metrics.attribute_network import load_attributes
from stylegan.web.answers import Site
from stylegan.web.app import build_app
from stylegan.web.quiz import open_reals
from tests.integration.web_server import running

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZES = [(360, 740), (768, 1024), (1440, 900)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the demo network, on which some attributes are known, with eight rendered heads for the quiz."""
    reals = tmp_path_factory.mktemp("reals")
    for i, image in enumerate(render_faces(list(range(8)), resolution=64)[0]):
        Image.fromarray(image.transpose(1, 2, 0)).save(reals / f"{i}.png")
    G = stylegan.load_generator("demo")
    direction = Direction("pca:0", torch.nn.functional.normalize(torch.ones(128), dim=0), 1.0)
    attributes = load_attributes(torch.device("cpu"))[0]
    path = resolve_network("demo")
    card = model_card(path, read_whole_snapshot(path))
    site = Site(
        G,
        path.name,
        network_sha256(path),
        card,
        directions={"pca:0": direction},
        attributes=attributes,
        surveyed=40,
        rate=1e6,
        reals=open_reals(reals, G),
        allow_upload=True,
    )
    with pytest.MonkeyPatch.context() as patch, running(build_app(site)) as address:
        patch.setattr("stylegan.web.uploads.STEPS", 20)
        patch.setattr("stylegan.web.uploads.TUNING_STEPS", 10)
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        assert not os.environ.get("STYLEGAN_NEED_CHROMIUM"), "CI must have Chromium: apt-get install chromium"
        pytest.skip("no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, base: str) -> Iterator[Page]:
    """A page with an empty profile, in which nothing may go wrong and nobody else may be asked."""
    context = browser.new_context(accept_downloads=True)
    page, wrong = context.new_page(), []
    page.set_default_timeout(30_000)
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith((base, "blob:")) else wrong.append(asked.url))
    yield page
    context.close()
    assert not wrong


def settled(page: Page) -> str:
    """When the picture stands: its words."""
    page.wait_for_load_state("networkidle")
    page.wait_for_function("() => document.querySelector('.portrait')?.naturalWidth > 0")
    return page.locator(".caption").last.inner_text()


def shown(page: Page) -> bytes:
    """The pixels of the picture that is shown."""
    settled(page)
    return json.dumps(
        page.evaluate("""() => {
            const image = document.querySelector('.portrait');
            const canvas = Object.assign(document.createElement('canvas'), { width: 64, height: 64 });
            canvas.getContext('2d').drawImage(image, 0, 0, 64, 64);
            return Array.from(canvas.getContext('2d').getImageData(0, 0, 64, 64).data);
        }""")
    ).encode()


def from_5_to_somebody(page: Page, base: str) -> str:
    """A page that went from seed 5 to a new face by the keyboard: its address."""
    page.goto(f"{base}/?seed=5")
    settled(page)
    page.keyboard.press(" ")
    page.wait_for_function("() => location.search !== '?seed=5'")
    settled(page)
    return page.url


def slide(page: Page, name: str, value: float) -> None:
    """Move a slider."""
    page.locator(f"input[data-name='{name}']").evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", str(value)
    )


def test_a_reload_is_somebody_else_and_the_address_brings_a_face_back(page: Page, base: str) -> None:
    page.goto(base)
    first, address = shown(page), page.url
    assert "seed=" in address
    page.goto(base)
    assert shown(page) != first
    page.goto(address)
    assert shown(page) == first


def test_at_truncation_0_everybody_is_the_mean_face(page: Page, base: str) -> None:
    page.goto(f"{base}/?seed=1")
    one = shown(page)
    slide(page, "Truncation", 0)
    page.wait_for_url("**psi=0*")
    mean = shown(page)
    page.goto(f"{base}/?seed=2&psi=0")
    assert shown(page) == mean != one


def test_saving_gives_a_png_that_says_what_it_is(page: Page, base: str) -> None:
    page.goto(f"{base}/?seed=5")
    settled(page)
    with page.expect_download() as download:
        page.keyboard.press("s")
    assert download.value.suggested_filename == "face-5.png"
    picture = Image.open(io.BytesIO(Path(download.value.path()).read_bytes()))
    assert picture.format == "PNG" and json.loads(picture.info["stylegan"])["recipe"]["seeds"] == [5]


def test_the_keyboard_is_enough(page: Page, base: str) -> None:
    after = from_5_to_somebody(page, base)
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**seed=5")
    page.keyboard.press("ArrowRight")
    page.wait_for_url(after)
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()
    page.goto(f"{base}/?seed=5")
    settled(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"


def test_a_picture_that_comes_late_leaves_the_address_alone(page: Page, base: str) -> None:
    after = from_5_to_somebody(page, base)
    waiting: list[Route] = []
    page.route(re.compile(r"/api/v1/image\?seed=5$"), lambda route: waiting.append(route))  # noqa: PLW0108
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**seed=5")
    page.keyboard.press("ArrowRight")
    page.wait_for_url(after)
    page.wait_for_timeout(100)
    for route in waiting:
        route.continue_()
    settled(page)
    page.wait_for_timeout(100)
    assert waiting and page.url == after


def test_the_shelf_keeps_goes_out_and_comes_in(page: Page, base: str, tmp_path: Path) -> None:
    for seed in (5, 6):
        page.goto(f"{base}/?seed={seed}")
        settled(page)
        page.keyboard.press("k")
    assert page.locator("#kept li").count() == 2
    page.goto(f"{base}/mix?seed=5&seed=6")
    settled(page)
    page.get_by_role("button", name="Keep").click()
    assert "child of 5, 6" in page.locator("#kept li").first.inner_text()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    path = tmp_path / "shelf.json"
    download.value.save_as(path)
    faces = json.loads(path.read_text())["faces"]
    assert [face["recipe"]["seeds"] for face in faces] == [[5, 6], [6], [5]]
    for _ in range(3):
        page.locator("#kept li button").first.click()
    assert page.locator("#kept li").count() == 0 and page.locator("#empty").is_visible()
    page.set_input_files("#import", path)
    page.wait_for_function("() => document.querySelectorAll('#kept li').length === 3")
    path.write_text('{"faces": [{"recipe": {"seeds": ["<img src=x onerror=alert(1)>"]}}]}')
    page.set_input_files("#import", path)
    page.wait_for_function("() => document.getElementById('said')?.textContent.includes('holds no shelf')")
    assert page.locator("#kept li").count() == 3


def test_the_family_tree_knows_whose_child_a_face_is(page: Page, base: str) -> None:
    page.goto(f"{base}/?seed=5")
    settled(page)
    alone = {"weights": [], "moves": {}, "drags": []}
    shelf = [
        {"name": "of both", "recipe": {**alone, "seeds": [5, 6], "weights": [1, 1]}},
        {"name": "of 6", "recipe": {**alone, "seeds": [6], "moves": {"pca:0": 2}}},
        {"name": "five", "recipe": {**alone, "seeds": [5], "psi": 0.7}},
        {"name": "nobody's", "recipe": {**alone, "seeds": [9]}},
    ]
    page.evaluate("faces => localStorage.setItem('stylegan-shelf-1', JSON.stringify(faces))", shelf)
    page.reload()
    settled(page)
    button = page.get_by_role("button", name="Family tree")
    button.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.textContent") == "Close"
    tree = page.locator("#tree")
    assert tree.locator("ul[aria-label=Parents] li").all_inner_texts() == ["5", "6 (not kept)"]
    assert tree.locator("ul[aria-label=Parents] li img").first.get_attribute("alt") == "five"
    assert tree.locator("ul[aria-label=Children] li").all_inner_texts() == ["child of 5, 6", "6, changed"]
    assert tree.locator("ul[aria-label='No relatives'] li").all_inner_texts() == ["9"]
    lines = [path.get_attribute("d") or "" for path in tree.locator("path").all()]
    ends = [(int(line[1:].split()[0]), int(line.split()[-2])) for line in lines]
    assert ends == [(52, 52), (156, 52), (156, 156)]  # 5 and 6 to the first, 6 to the second
    lefts = [
        page.evaluate("e => e.getBoundingClientRect().left", item.element_handle())
        for item in tree.locator("section li").all()
    ]
    assert lefts[0] == lefts[2] and lefts[1] == lefts[3] == lefts[0] + 104, "lines would not meet the faces"
    found = Axe().run(page).response["violations"]
    assert not [wrong["id"] for wrong in found if wrong["impact"] in ("serious", "critical")]
    page.keyboard.press("Escape")
    assert not tree.is_visible() and page.evaluate("document.activeElement.id") == "family"
    button.click()
    tree.locator("ul[aria-label=Children] a").first.click()
    page.wait_for_url("**/mix?seed=5&seed=6*")
    settled(page)


HOSTILE = [
    {"seeds": [1, 2, 3, 4, 5, 6, 7, 8, 9]},
    {"seeds": [-1]},
    {"seeds": [2**32]},
    {"seeds": [1.5]},
    {"seeds": "5"},
    {"seeds": [], "uploads": ["../../etc/passwd"]},
    {"seeds": [5], "uploads": [["0" * 32]]},
    {},
    None,
    [],
]


def test_a_shelf_from_a_file_is_not_believed(page: Page, base: str, tmp_path: Path) -> None:
    page.goto(f"{base}/?seed=5")
    settled(page)
    page.keyboard.press("k")
    path = tmp_path / "shelf.json"
    for text in [
        "nonsense",
        "[]",
        "{}",
        "null",
        '{"faces": 5}',
        "[" * 5000,
        json.dumps({"faces": [{"recipe": r} for r in HOSTILE]}),
    ]:
        path.write_text(text)
        page.evaluate("document.getElementById('said').textContent = ''")
        page.set_input_files("#import", path)
        page.wait_for_function("() => document.getElementById('said').textContent.includes('holds no shelf')")
        assert page.locator("#kept li").count() == 1
    odd = {
        "seeds": [6, 7], "uploads": None, "weights": [1, "x"], "coarse": 2, "fine": 1, "class_idx": 0.5, "evil": "x",
        "psi": "1", "noise": -3, "x": 9, "moves": {"pca:0": 2, "smile": "<b>", "a" * 101: 1},
        "drags": [{"x": 0.5, "y": 0.5, "to_x": 2, "to_y": 0.5}],
    }  # fmt: skip
    text = json.dumps({"faces": [{"name": "<img src=x onerror=alert(1)>" * 9, "recipe": odd}]})
    path.write_text(text.replace('"moves": {', '"__proto__": {"stolen": 1}, "moves": {'))
    page.set_input_files("#import", path)
    page.wait_for_function("() => document.querySelectorAll('#kept li').length === 2")
    kept = json.loads(page.evaluate("localStorage.getItem('stylegan-shelf-1')"))[0]
    assert kept["name"].startswith("<img") and len(kept["name"]) == 100
    assert kept["recipe"] == {
        "seeds": [6, 7], "uploads": [], "weights": [], "coarse": None, "middle": None, "fine": 1, "psi": None, "noise": None,
        "x": 0, "y": 0, "rotate": 0, "class_idx": None, "drags": [], "moves": {"pca:0": 2},
    }  # fmt: skip
    assert page.evaluate("({}).stolen === undefined")


def test_a_photograph_that_the_server_forgot_leaves_words(browser: Browser, base: str) -> None:
    page = browser.new_page()  # the browser itself notes the picture that is not there as an error
    page.goto(f"{base}/?seed=5")
    settled(page)
    shelf = [{"name": "of a photograph", "recipe": {"seeds": [5], "uploads": ["0" * 32]}}]
    page.evaluate("faces => localStorage.setItem('stylegan-shelf-1', JSON.stringify(faces))", shelf)
    page.reload()
    page.locator("#kept .gone").wait_for()
    assert page.locator("#kept .gone").inner_text() == "The server has forgotten this photograph"
    page.get_by_role("button", name="Family tree").click()
    page.locator("#tree .gone").nth(1).wait_for()
    assert page.locator("#tree ul[aria-label=Parents] li").all_inner_texts()[0].strip() == "5 (not kept)"
    page.close()


def test_a_mix_changes_what_it_should(page: Page, base: str) -> None:
    page.goto(f"{base}/?seed=5")
    parent = shown(page)
    page.goto(f"{base}/mix?seed=5&seed=6")
    child = shown(page)
    slide(page, "Weight 2", 0)
    page.wait_for_url("**weight=0*")
    assert shown(page) == parent != child
    slide(page, "pca:0", 3)
    page.wait_for_url("**move=*")
    assert shown(page) != parent
    slide(page, "pca:0", 0)
    page.wait_for_function("() => !location.search.includes('move')")
    page.select_option("[data-part=coarse]", "1")
    page.wait_for_url("**coarse=1*")
    assert shown(page) != parent
    page.get_by_role("button", name="Add a parent").click()
    page.wait_for_function("() => new URLSearchParams(location.search).getAll('seed').length === 3")
    settled(page)


def test_dragging_moves_a_point(page: Page, base: str) -> None:
    page.goto(f"{base}/mix?seed=3&weight=1")
    before = shown(page)
    box = page.locator(".portrait").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 0.6 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.6 * box["height"], steps=3)
    page.mouse.up()
    page.wait_for_url("**drag=0.5*", timeout=60_000)
    assert shown(page) != before and page.locator(".canvas line").count() == 1
    assert page.locator("[data-drag='0-to_x']").input_value() == "60"
    page.get_by_role("button", name="Remove point 1").click()
    page.wait_for_function("() => !location.search.includes('drag')")
    assert shown(page) == before


def test_a_photograph_becomes_a_parent(page: Page, base: str, tmp_path: Path) -> None:
    page.goto(f"{base}/mix?seed=5&weight=1")
    alone = shown(page)
    path = tmp_path / "photograph.png"
    Image.effect_noise((100, 120), 60).convert("RGB").save(path)
    page.locator("#tune").check()
    page.set_input_files("#photograph", path)
    page.wait_for_url("**upload=*", timeout=60_000)
    assert shown(page) != alone and page.get_by_role("button", name="Remove photograph 1").count() == 1
    path.write_bytes(b"no photograph")
    page.set_input_files("#photograph", path)
    page.wait_for_function("() => document.getElementById('said')?.textContent.includes('no whole JPEG')")
    page.get_by_role("button", name="Remove photograph 1").click()
    page.wait_for_function("() => !location.search.includes('upload')")
    assert shown(page) == alone


def test_a_clip_goes_through_the_shelf(page: Page, base: str) -> None:
    for seed in (5, 6):
        page.goto(f"{base}/?seed={seed}")
        settled(page)
        page.keyboard.press("k")
    page.goto(f"{base}/mix?seed=5&seed=6")
    settled(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Make a clip").click()
    clip = Image.open(io.BytesIO(Path(download.value.path()).read_bytes()))
    assert clip.format == "WEBP" and getattr(clip, "n_frames", 1) == 24


def test_faces_are_found_by_attributes(page: Page, base: str) -> None:
    page.goto(f"{base}/find")
    page.wait_for_selector("[data-attribute=sex]")
    page.wait_for_function(
        "() => fetch('/api/v1/distribution').then((a) => a.json()).then((told) => told.faces === 40)"
    )
    page.select_option("[data-attribute=sex]", "female")
    page.wait_for_selector("#found li")
    said = re.search(r"(\d+) of (\d+) faces", page.locator(".caption").first.inner_text())
    assert said is not None and 0 < int(said[1]) < int(said[2]) == 40
    page.locator("#found a").first.click()
    assert "woman" in settled(page)


def test_the_quiz_counts(page: Page, base: str) -> None:
    page.goto(f"{base}/quiz")
    for played in range(1, 4):
        page.wait_for_function("() => document.getElementById('verdict')?.textContent.startsWith('Choose')")
        page.keyboard.press("ArrowLeft")
        page.wait_for_function(f"() => document.getElementById('score')?.textContent.includes('of {played} right')")
        assert page.locator("#verdict").inner_text().startswith(("Right: the left", "Wrong: the right"))
        assert page.locator("#cues li").count() >= 4
        page.keyboard.press(" ")
    page.goto(f"{base}/quiz")
    page.locator("#right").click()
    page.wait_for_function("() => document.getElementById('score')?.textContent.includes('of 4 right')")
    assert "95 % interval" in page.locator("#score").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/?seed=7", "/mix?seed=3&seed=5", "/find", "/quiz", "/about"])
def test_everybody_can_use_it_at_every_size(browser: Browser, base: str, path: str, scheme: str) -> None:
    for width, height in SIZES:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # pyright: ignore[reportArgumentType]
        page = context.new_page()
        page.goto(f"{base}{path}")
        page.wait_for_load_state("networkidle")
        page.wait_for_selector("main h1")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width, "it scrolls to the side"
        assert len(page.screenshot()) > 1000
        if width == SIZES[0][0]:
            found = Axe().run(page).response["violations"]
            serious = [wrong for wrong in found if wrong["impact"] in ("serious", "critical")]
            assert not serious, json.dumps([[w["id"], w["nodes"][0]["html"]] for w in serious])[:2000]
        context.close()


def test_the_page_stands_still_while_it_loads(browser: Browser, base: str) -> None:
    page = browser.new_page()
    page.add_init_script("""
        window.shift = 0;
        new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) window.shift += entry.value;
        }).observe({ type: 'layout-shift', buffered: true });
    """)
    page.goto(f"{base}/?seed=7")
    settled(page)
    page.wait_for_timeout(300)
    assert page.evaluate("window.shift") < 0.02
    page.close()

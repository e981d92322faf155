"""Sheets and pages: right pixels in the right cell, text that can be read, the same as PNG and as PDF."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from stylegan.errors import UserError
from stylegan.figures.grid import Grid
from stylegan.figures.page import Lettering, Page
from stylegan.figures.pixels import to_pixels
from stylegan.figures.sheet import Print, Sheet

pypdfium2 = pytest.importorskip("pypdfium2")


def tile(color: tuple[int, int, int], size: tuple[int, int] = (8, 6)) -> Image.Image:
    return Image.new("RGB", size, color)


def noise(seed: int) -> Image.Image:
    return to_pixels(torch.randint(256, (3, 6, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8))


def test_without_text_the_pixels_are_the_images() -> None:
    cells = [[noise(0), noise(1)], [None, noise(2)]]
    picture = Sheet(cells).page(Print()).picture()
    assert picture.size == (16, 12)
    assert picture.crop((8, 0, 16, 6)).tobytes() == noise(1).tobytes()
    assert picture.crop((8, 6, 16, 12)).tobytes() == noise(2).tobytes()
    assert (np.asarray(picture.crop((0, 6, 8, 12))) == 255).all()
    assert Sheet(cells, gap=3).page(Print()).picture().size == (19, 15)


@pytest.mark.parametrize("width", [8.5, 17.0])
def test_with_text_every_pixel_is_a_whole_number_of_pixels(width: float) -> None:
    sheet = Sheet([[noise(0), noise(1)]], columns=["a", "b"], rows=["row"], captions=[["c", "d\ne"]], caption="f")
    page = sheet.page(Print(width))
    picture = np.asarray(page.picture())
    assert page.dpi >= 200
    assert page.width / page.dpi * 2.54 == pytest.approx(width, rel=0.02)
    inches = width / 2.54 - (Lettering().width("row") + 6) / 72
    scale = round(page.dpi * inches / 16)
    first = find(picture, np.asarray(noise(0)).repeat(scale, 0).repeat(scale, 1))
    second = find(picture, np.asarray(noise(1)).repeat(scale, 0).repeat(scale, 1))
    assert first is not None and second is not None
    assert (second[0] - first[0], second[1] - first[1]) == (0, 8 * scale)


def find(picture: np.ndarray, part: np.ndarray) -> tuple[int, int] | None:
    """Where a part lies in a picture: row and column."""
    h, w, _ = part.shape
    for y, x in zip(*np.nonzero((picture[: -h + 1, : -w + 1] == part[0, 0]).all(axis=-1)), strict=True):
        if np.array_equal(picture[y : y + h, x : x + w], part):
            return int(y), int(x)
    return None


def test_a_given_dpi_makes_the_width() -> None:
    page = Sheet([[noise(0), noise(1)]], rows=["a row"]).page(Print(8.5, 300))
    assert page.width == pytest.approx(8.5 / 2.54 * 300, abs=2)


def test_letters_are_as_high_as_in_print() -> None:
    for dpi in (200.0, 400.0):
        page = Page(int(dpi), int(dpi), dpi)
        page.text(dpi / 2, dpi / 2, "H", points=36)
        ink = np.asarray(page.picture().convert("L")) < 128
        high = np.nonzero(ink.any(axis=1))[0]
        assert 0.6 * 36 / 72 < (high[-1] - high[0]) / dpi < 0.85 * 36 / 72  # the height of capitals


def test_upright_text_runs_from_bottom_to_top() -> None:
    page = Page(200, 200, 100)
    page.text(100, 100, "L", points=72, upright=True)
    ink = np.asarray(page.picture().convert("L")) < 128
    rows, columns = np.nonzero(ink.any(axis=1))[0], np.nonzero(ink.any(axis=0))[0]
    assert rows[-1] - rows[0] < columns[-1] - columns[0]  # an L is higher than wide
    box = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert box[-3:].mean() > 0.8 and box[:, -3:].mean() > 0.8  # its stem lies below, its foot rises at the right


def test_too_much_text_is_refused_with_the_width() -> None:
    with pytest.raises(UserError, match=r"figure.width_cm=2: the labels leave no room"):
        Sheet([[noise(0)]], rows=["a very long label of a row"]).page(Print(2))


def test_a_page_has_a_largest_size() -> None:
    with pytest.raises(UserError, match=r"a figure of \d+x\d+ pixels is too large"):
        Sheet([[noise(0)]] * 500, caption="x").page(Print(50))
    with pytest.raises(UserError, match=r"figure.width_cm=100 figure.dpi=2000: that is more than 20000 pixels"):
        Grid(width_cm=100, dpi=2000)


def test_captions_are_cut_and_the_last_is_wrapped() -> None:
    long = " ".join(["word"] * 60)
    short = Sheet([[noise(0)]], caption="word").page(Print(8.5))
    assert Sheet([[noise(0)]], caption=long).page(Print(8.5)).height > short.height * 1.05
    texts = words(Sheet([[noise(0)]], caption=long, captions=[[long]]).page(Print(8.5)))
    assert texts.count("word") > 60 and "..." in texts


def words(page: Page) -> str:
    document = pypdfium2.PdfDocument(page.pdf("title"))
    return document[0].get_textpage().get_text_bounded()


def test_pdf_has_text_as_text_and_images_as_they_are() -> None:
    pytest.importorskip("reportlab")
    page = Sheet([[noise(0)], [noise(1)]], rows=["seed 3", "seed 85"], caption="psi 0.7").page(Print(8.5))
    content = page.pdf("title", "subject", "keywords")
    assert content == page.pdf("title", "subject", "keywords")
    document = pypdfium2.PdfDocument(content)
    assert document[0].get_width() == pytest.approx(8.5 / 2.54 * 72, rel=0.02)
    assert document[0].get_textpage().get_text_bounded().split() == ["seed", "3", "seed", "85", "psi", "0.7"]
    assert (document.get_metadata_dict()["Subject"], document.get_metadata_dict()["Keywords"]) == (
        "subject",
        "keywords",
    )
    drawn = np.asarray(document[0].render(scale=page.dpi / 72).to_pil().convert("RGB")).astype(int)
    ours = np.asarray(page.picture()).astype(int)
    height, width = (min(a, b) for a, b in zip(drawn.shape[:2], ours.shape[:2], strict=True))
    assert np.abs(drawn[:height, :width] - ours[:height, :width]).mean() < 6


def test_letters_that_the_font_has_not(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert Lettering().readable("Zoe 0.7") == "Zoe 0.7"
    assert Lettering().readable("Zoë 中") == "Zoe \\u4e2d"
    assert "the built-in font has no ë 中; figure.font=FILE.ttf" in capsys.readouterr().err
    built_in = ImageFont.load_default(10)
    (tmp_path / "font.ttf").write_bytes(built_in.path.getvalue())  # pyright: ignore[reportAttributeAccessIssue]
    assert Lettering(str(tmp_path / "font.ttf")).width("seed") == pytest.approx(Lettering().width("seed"), rel=0.01)
    (tmp_path / "no.ttf").write_bytes(b"no font")
    for wrong in ("no.ttf", "nowhere.ttf", "."):
        with pytest.raises(UserError, match=r"font"):
            Lettering(str(tmp_path / wrong))


def test_transparent_images_keep_alpha_without_text_and_lie_on_paper_with_it() -> None:
    clear = Image.new("RGBA", (8, 6), (255, 0, 0, 0))
    assert Sheet([[clear]]).page(Print()).picture().mode == "RGBA"
    page = Sheet([[clear]], caption="x").page(Print(8.5))
    assert page.picture().getpixel((page.width // 2, 10)) == (255, 255, 255)
    buffer = io.BytesIO()
    page.picture().save(buffer, format="PNG")

"""Photographs as the child process of the server decodes them."""

import io

import numpy as np
import pytest
from PIL import Image

from stylegan.web import decoding


def file_of(picture: Image.Image, kind: str = "PNG", **more: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **more)  # pyright: ignore[reportArgumentType]
    return out.getvalue()


def halves(width: int, height: int) -> Image.Image:
    """Red on the left, blue on the right."""
    picture = Image.new("RGB", (width, height), "red")
    picture.paste("blue", (width // 2, 0, width, height))
    return picture


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGB"), ("PNG", "L"), ("PNG", "P"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("WEBP", "RGB")]
)
def test_the_middle_is_kept_and_scaled(kind: str, mode: str) -> None:
    wide = Image.new("RGB", (200, 40), "black")
    wide.paste("white", (80, 0, 120, 40))  # the middle 40 x 40
    found = decoding.decoded(file_of(wide.convert(mode), kind), 20, 20)
    assert found.mode == "RGB" and found.size == (20, 20)
    assert np.asarray(found)[:, 2:-2].min() > 240


def test_a_picture_that_lies_on_its_side_is_put_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    found = np.asarray(decoding.decoded(file_of(halves(32, 32), exif=exif), 16, 16)).astype(int)
    assert (found[:7, :, 0] > 200).all() and (found[9:, :, 2] > 200).all()


def test_what_is_transparent_is_white() -> None:
    clear = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    assert np.asarray(decoding.decoded(file_of(clear), 16, 16)).min() == 255
    half = Image.new("RGBA", (32, 32), (0, 0, 0, 128))
    assert abs(int(np.asarray(decoding.decoded(file_of(half), 16, 16)).mean()) - 127) <= 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no whole"),
        (b"x" * 1000, "no whole"),
        (file_of(halves(64, 64), "GIF"), "no whole"),
        (file_of(halves(64, 64), "BMP"), "no whole"),
        (file_of(halves(64, 64))[:-30], "no whole"),
        (file_of(halves(15, 64)), "15x64 pixels are too few"),
        (file_of(Image.new("1", (8000, 6251))), "8000x6251 pixels are too many; 50 million are the most"),
    ],
)
def test_anything_else_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(decoding.RefusedError, match=why):
        decoding.decoded(content, 16, 16)

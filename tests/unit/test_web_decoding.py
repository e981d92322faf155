"""What a photograph that somebody sends becomes: upright, on white, of the size that is wanted; or a refusal in words."""

import asyncio
import random
import struct

import numpy as np
import pytest
from PIL import Image

from stylegan.errors import UserError
from stylegan.web.decoding import FORMATS, MOST_PIXELS, RefusedError, pixels_of
from stylegan.web.uploads import decoded
from tests.unit.fuzz_uploads import ORIENTATION, chunks, genuine, joined, noise, refused_kinds, saved, sixteen_bits

QUARTERS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))  # top left, top right, bottom left, bottom right
# Which of them is where after the turn or mirroring that a photograph asks for (Exif 2.32, tag 0x0112).
UPRIGHT = {1: "0123", 2: "1032", 3: "3210", 4: "2301", 5: "0213", 6: "2031", 7: "3120", 8: "1302"}


def quarters(side: int = 32) -> Image.Image:
    """A picture whose quarters have different colours."""
    picture = np.array(QUARTERS, dtype=np.uint8).reshape(2, 2, 3)
    return Image.fromarray(picture.repeat(side // 2, 0).repeat(side // 2, 1))


def pixels(content: bytes, width: int = 16, height: int = 16) -> np.ndarray:
    """uint8 [height, width, 3]."""
    return np.frombuffer(pixels_of(content, width, height), dtype=np.uint8).reshape(height, width, 3)


def corners(picture: np.ndarray) -> list[tuple[int, ...]]:
    """The colours of the corners, rounded to where JPEG cannot have changed them."""
    rounded = (picture.astype(int) + 64) // 128 * 255 // 2
    return [tuple(min(round(v / 127.5), 1) * 255 for v in rounded[y, x]) for y in (1, -2) for x in (1, -2)]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_photograph_is_turned_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    expected = [QUARTERS[int(i)] for i in UPRIGHT[orientation]]
    assert corners(pixels(saved(quarters(), kind, exif=exif))) == expected


def test_what_is_transparent_is_white() -> None:
    clear = Image.new("RGBA", (32, 32), (200, 0, 0, 0))
    half = Image.new("RGBA", (32, 32), (200, 0, 100, 128))
    for kind in ("PNG", "WEBP"):
        assert (pixels(saved(clear, kind, lossless=True)) == 255).all()
        assert np.abs(pixels(saved(half, kind, lossless=True)) - np.array([227, 127, 177.0])).max() <= 1
    grey = Image.new("L", (32, 32), 7)
    assert (pixels(saved(grey, "PNG", transparency=7)) == 255).all()
    assert (pixels(saved(grey, "PNG", transparency=8)) == 7).all()
    palette = Image.new("P", (32, 32), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert (pixels(saved(palette, "PNG")) == [10, 20, 30]).all()
    assert (pixels(saved(palette, "PNG", transparency=1)) == 255).all()


def test_the_middle_is_taken_and_the_size_is_the_one_that_is_asked_for() -> None:
    wide = Image.new("RGB", (96, 32), "red")
    wide.paste(quarters(), (32, 0))
    assert (pixels(saved(wide, "PNG"), 32, 32) == np.asarray(quarters())).all()
    for width, height in ((1, 1), (16, 64), (300, 2)):
        assert pixels(saved(wide, "PNG"), width, height).shape == (height, width, 3)


def test_pixels_of_every_kind_are_taken() -> None:
    picture = noise("RGB", (16, 16), 0)
    assert (pixels(saved(picture, "PNG")) == np.asarray(picture)).all()
    assert (pixels(saved(picture, "WEBP", lossless=True)) == np.asarray(picture)).all()
    grey = noise("L", (16, 16), 0)
    assert (pixels(saved(grey, "PNG")) == np.asarray(grey)[..., None]).all()
    cmyk = pixels(saved(quarters().convert("CMYK"), "JPEG", quality=95, subsampling=0))
    assert corners(cmyk) == list(QUARTERS)
    first = {"save_all": True, "append_images": [noise("RGB", (16, 16), 1)], "lossless": True}
    for kind in ("PNG", "WEBP"):  # of an animation, the first frame
        assert (pixels(saved(picture, kind, **first)) == np.asarray(picture)).all()
    deep = pixels(sixteen_bits((16, 16)))
    numbers = [random.Random(y).randbytes(6 * 16) for y in range(16)]
    upper = np.frombuffer(b"".join(numbers), dtype=">u2").reshape(16, 16, 3) // 256
    assert (deep == upper).all()


def claiming(width: int, height: int) -> bytes:
    """A PNG that says that it has so many pixels."""
    found = chunks(saved(quarters(), "PNG"))
    return joined([(b"IHDR", struct.pack(">II", width, height) + found[0][1][8:]), *found[1:]])


@pytest.mark.parametrize(
    ("size", "says"),
    [
        ((MOST_PIXELS // 10_000, 10_001), "5000x10001 pixels are too many; 50 million are the most"),
        ((MOST_PIXELS // 10_000, 10_000), "no whole JPEG"),  # not too many, but they are not there
        ((2**31 - 1, 2**31 - 1), "too many"),
        ((15, 4000), "15x4000 pixels are too few; a side has 16 at the least"),
        ((4000, 15), "too few"),
        ((0, 16), "no whole JPEG"),
    ],
)
def test_sizes_are_refused_before_a_pixel_is_decoded(
    size: tuple[int, int], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as in the child process
    with pytest.raises(RefusedError, match=says):
        pixels_of(claiming(*size), 16, 16)


def test_other_formats_are_refused() -> None:
    for content in (*refused_kinds(), b"", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"RIFF\0\0\0\0WEBP"):
        with pytest.raises(RefusedError, match=r"^this is no whole JPEG, PNG or WebP file$"):
            pixels_of(content, 16, 16)


@pytest.mark.parametrize("number", range(len(genuine())))
def test_half_a_file_is_refused(number: int) -> None:
    content = genuine()[number]
    assert pixels_of(content, 16, 16)
    with pytest.raises(RefusedError, match="no whole"):
        pixels_of(content[: len(content) // 3], 16, 16)


def odd_exif() -> bytes:
    """A JPEG whose EXIF data holds text where its type says a fraction: of an orientation, so that it is written anew."""
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x011A] = 6, 72.0
    return saved(quarters(), "JPEG", exif=exif).replace(
        struct.pack(">HHI", 0x011A, 5, 1), struct.pack(">HHI", 0x011A, 2, 8)
    )


def test_what_makes_a_decoder_stumble_is_refused_like_all_else() -> None:
    """Found by `fuzz_uploads`: an IndexError and a TypeError left the decoder, and with them a traceback the process."""
    png = chunks(saved(quarters(), "PNG"))
    with pytest.raises(RefusedError, match="no whole"):
        pixels_of(joined([*png[:-1], (b"iCCP", b"x\0"), png[-1]]), 16, 16)
    with pytest.raises(RefusedError, match="no whole"):
        pixels_of(odd_exif(), 16, 16)


def in_child(content: bytes) -> np.ndarray:
    """What the server gets of the child process."""
    return asyncio.run(decoded(content, (16, 16))).permute(1, 2, 0).numpy()


def test_the_child_process_gives_the_same() -> None:
    content = saved(noise("RGBA", (40, 30), 0), "PNG")
    assert (in_child(content) == pixels(content)).all()
    with pytest.raises(UserError, match=r"^20000x20000 pixels are too many; 50 million are the most$"):
        in_child(saved(Image.new("1", (20_000, 20_000)), "PNG"))


def test_warnings_of_the_decoder_are_told_to_nobody() -> None:
    """Found by `fuzz_uploads`: the message to whoever sent the file began with one, and with a path of this machine."""
    more = {"save_all": True, "append_images": [quarters()]}
    content = saved(quarters(), "MPO", **more)
    broken = content.replace(b"MPF\0II", b"MPF\0xx", 1)[: content.index(b"\xff\xda") + 40]
    with pytest.warns(UserWarning, match="malformed MPO"), pytest.raises(RefusedError):
        pixels_of(broken, 16, 16)
    with pytest.raises(UserError, match=r"^this is no whole JPEG, PNG or WebP file$"):
        in_child(broken)


def test_as_many_pixels_as_are_allowed_fit_into_the_memory_of_the_child_process() -> None:
    most = saved(Image.new("RGBA", (5000, MOST_PIXELS // 5000), (1, 2, 3, 255)), "PNG", compress_level=1)
    assert (in_child(most) == [1, 2, 3]).all()

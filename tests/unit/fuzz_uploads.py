"""Decodes thousands of odd photographs, in this process, as the server's child process does. See `fuzzing`."""

import io
import random
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from stylegan.errors import UserError
from stylegan.web import decoding
from tests.unit import fuzzing

MODES = ("RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "I;16")
WIDTH, HEIGHT = 24, 16


def photographs() -> list[bytes]:
    """Good files of every kind that is taken, and of some that are not, small."""
    made = []
    noise = Image.effect_noise((37, 29), 80).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    for kind in ("JPEG", "PNG", "WEBP", "GIF"):
        for mode in MODES:
            for more in (
                {},
                {"exif": exif},
                {"save_all": True, "append_images": [noise.rotate(90)]},
                {"progressive": True},
            ):
                out = io.BytesIO()
                try:
                    (noise.convert("I").convert(mode) if mode == "I;16" else noise.convert(mode)).save(
                        out, kind, **more
                    )
                except (OSError, ValueError, KeyError):
                    continue  # this format has no such mode
                made.append(out.getvalue())
    return made


def huge(content: bytes, rng: random.Random) -> bytes:
    """A PNG that says that it is larger than it is."""
    at = content.find(b"IHDR") + 4
    return content[:at] + rng.choice([2**31 - 1, 2**16, 7071, 1, 0]).to_bytes(4, "big") * 2 + content[at + 8 :]


def prepare(folder: Path) -> Callable[[random.Random], Callable[[], str | None]]:
    """See `fuzzing.judge`."""
    good = photographs()

    def make(rng: random.Random) -> Callable[[], str | None]:
        content = rng.choice(good)
        for _ in range(rng.choice([0, 1, 1, 2])):
            content = fuzzing.flip(content, rng, range(min(len(content), rng.choice([40, 200, 10_000]))))
        if rng.random() < 0.1:
            content = huge(content, rng)

        def call() -> None:
            try:
                picture = decoding.decoded(content, WIDTH, HEIGHT)
            except decoding.RefusedError as error:
                raise UserError(str(error)) from None
            assert picture.size == (WIDTH, HEIGHT) and picture.mode == "RGB"

        return call

    return make


if __name__ == "__main__":
    fuzzing.judge("fuzz_uploads", prepare)

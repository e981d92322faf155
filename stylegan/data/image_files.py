"""Image files: by which names they are known, and how they are opened. Nothing else in `stylegan` opens one.

What a file is, Pillow tells by its first bytes, not by its name, and for some kinds it starts another program: Ghostscript for
EPS. Only the formats below are tried, whatever a file is called.
"""

import struct
import zipfile
import zlib
from functools import cache
from io import BufferedIOBase
from pathlib import Path
from typing import IO, cast

from PIL import Image

IMAGE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".gif", ".jp2", ".avif")
)
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "TIFF", "PPM", "GIF", "JPEG2000", "AVIF")  # Pillow's names of these
IMAGE_BYTES = 2**28  # of a file; Pillow refuses more pixels than a larger one would need
# What PIL, zlib and zipfile raise for files that are damaged, cut short, locked or not images at all; decoders of damaged
# files stumble anywhere.
BROKEN_IMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile),
    *(
        ArithmeticError,
        LookupError,
        TypeError,
        AttributeError,
        AssertionError,
        MemoryError,
        Image.DecompressionBombError,
    ),
)


def open_image(file: IO[bytes] | BufferedIOBase) -> Image.Image:
    """Open an image of one of the `FORMATS`; its pixels are decoded when they are asked for, from the file, which stays open.

    Raises:
        PIL.UnidentifiedImageError: It is of none of these formats.
        Others of `BROKEN_IMAGE`: It is damaged, or so large that Pillow takes it for an attack.
    """
    return Image.open(cast(IO[bytes], file), formats=_known_formats())


def is_image_name(name: str) -> bool:
    """Whether a file is taken for an image: by its suffix, and not hidden."""
    parts = name.split("/")
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and Path(parts[-1]).suffix.lower() in IMAGE_SUFFIXES


@cache
def _known_formats() -> tuple[str, ...]:
    """The formats that this build of Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)

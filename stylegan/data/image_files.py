"""Image files: by which names they are known, and how they are opened. Nothing else in `stylegan` opens one.

What a file is, Pillow tells by its first bytes, not by its name, and for some kinds it starts another program: Ghostscript for
EPS. Only the formats below are tried, whatever a file is called. HEIC and JPEG XL need packages that Pillow loads as plug-ins;
where one is installed, its files are images like others.
"""

import importlib
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any, cast

from PIL import Image

from stylegan.errors import UnreadableError

IMAGE_SUFFIXES = frozenset(
    (
        *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".avif", ".avifs", ".tga", ".icb", ".vda", ".vst"),
        *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    )
)
# Pillow's names of these. TGA has no mark at its beginning by which to know it, so it is tried when no other fits.
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "TIFF", "PPM", "GIF", "JPEG2000", "AVIF", "TGA")
CONTACT_SHEET = ".contact-sheet.png"  # ends the name of a picture of an archive, which is no image of a data set
IMAGE_PIXELS = 2**26  # 8192x8192, of which conversions need some 16 bytes each
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


@dataclass(frozen=True)
class PlugIn:
    """A package that teaches Pillow a format.

    Attributes:
        package: As pip knows it.
        module: As Python does.
        format: Pillow's name of what it reads.
        register: To be called with the module; some need no more than to be imported.
    """

    package: str
    module: str
    format: str
    register: Callable[[Any], None] = lambda module: None

    @property
    def installed(self) -> bool:
        """Whether it can be imported."""
        return _found(self.module)


_HEIF = PlugIn("pillow-heif", "pillow_heif", "HEIF", lambda module: module.register_heif_opener())
_JXL = PlugIn("pillow-jxl-plugin", "pillow_jxl", "JXL")
PLUG_INS = {".heic": _HEIF, ".heif": _HEIF, ".hif": _HEIF, ".jxl": _JXL}


def open_image(file: IO[bytes] | BufferedIOBase, most: int = IMAGE_PIXELS) -> Image.Image:
    """Open an image of one of the `FORMATS`, or of an installed plug-in's; see `PLUG_INS`.

    Its pixels are decoded when they are asked for, from the file, which stays open.

    Args:
        file: The file.
        most: Pixels that an image may have.

    Raises:
        UnreadableError: It has more; a file of one colour is small, however many they are.
        PIL.UnidentifiedImageError: It is of none of these formats.
        Others of `BROKEN_IMAGE`: It is damaged, or so large that Pillow takes it for an attack.
    """
    image = Image.open(cast(IO[bytes], file), formats=_known_formats())
    if image.width * image.height > most:
        raise UnreadableError(f"it has {image.width}x{image.height} pixels, more than {most} (see --max-pixels)")
    return image


def why_no_image(name: str) -> str:
    """Why a file is not taken for an image, by its name; empty if it is.

    Args:
        name: With `/` between its parts, and neither `.` nor `..` among them.

    Returns:
        What can follow a number of such files, as `3 hidden`.
    """
    parts = name.split("/")
    if any(is_hidden(part) for part in parts):
        return "hidden"
    if parts[-1].endswith(CONTACT_SHEET):
        return "contact sheets of --inspect"
    suffix = Path(parts[-1]).suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return ""
    plug_in = PLUG_INS.get(suffix)
    if plug_in is None:
        return f"named {suffix}" if suffix else "named without a suffix"
    return "" if plug_in.installed else f"named {suffix}, which can be read after pip install {plug_in.package}"


def is_image_name(name: str) -> bool:
    """Whether a file is taken for an image: by its suffix, and not hidden."""
    return not why_no_image(name)


def is_hidden(part: str) -> bool:
    """Whether a file or folder of this name is left alone, with all that is in it."""
    return part.startswith(".") or part == "__MACOSX"


@cache
def _known_formats() -> tuple[str, ...]:
    """The formats that this build of Pillow has, and those of plug-ins."""
    Image.init()
    plug_ins = dict.fromkeys(plug_in for plug_in in PLUG_INS.values() if plug_in.installed)
    for plug_in in plug_ins:
        plug_in.register(importlib.import_module(plug_in.module))
    return tuple(name for name in (*FORMATS[:-1], *(item.format for item in plug_ins), "TGA") if name in Image.OPEN)


@cache
def _found(module: str) -> bool:
    return find_spec(module) is not None

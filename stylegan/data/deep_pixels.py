"""Pixels of 16 and 32 bits, and the transparent colour of a PNG: where Pillow's own conversions lose or invert something."""

import math
import re
import sys
from dataclasses import dataclass

import numpy as np
from PIL import Image

from stylegan.data.image_files import open_image
from stylegan.errors import UserError

_PHOTOMETRIC = 262  # TIFF's tag PhotometricInterpretation
_ORIENTATION = 274  # EXIF's, and TIFF's
_GREY_STEPS = {"L;2": 85, "L;4": 17}  # by which Pillow multiplies grey of 2 and 4 bits, but not its transparent value
_COLOURS = re.compile(r"(RGB|RGBA|RGBX);16[LBN]")
_OTHER_BYTE = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}


@dataclass(frozen=True)
class Levels:
    """Which values of pixels with 16 or 32 bits, as they are stored, are black and white; those beyond become the same.

    Attributes:
        low, high: Black and white. None: the whole range of 16 bits; pixels of 32 bits have no range of their own.
    """

    low: float | None = None
    high: float | None = None

    @property
    def given(self) -> bool:
        """Whether they are other than what the kind of pixels says."""
        return self.low is not None

    def to_bytes(self, values: np.ndarray) -> np.ndarray:
        """Values of any shape to uint8, rounded. Raises `ValueError` where some are no finite numbers."""
        low, high = (0.0, 65535.0) if self.low is None or self.high is None else (self.low, self.high)
        if not np.isfinite(values).all():
            raise ValueError("some of its pixels are no finite numbers")
        scaled = (values.astype(np.float64).clip(low, high) - low) * (255 / (high - low))
        return np.floor(scaled + 0.5).astype(np.uint8)


FULL = Levels()


def parse_levels(text: str) -> Levels | None:
    """`full`, `auto` (None: to be measured) or `LOW:HIGH`. Raises `UserError` for anything else."""
    if text in ("full", "auto"):
        return FULL if text == "full" else None
    low, _, high = text.partition(":")
    try:
        levels = Levels(float(low), float(high))
    except ValueError:
        levels = FULL
    if levels.low is None or levels.high is None or not -math.inf < levels.low < levels.high < math.inf:
        raise UserError(f"--range {text}: give full, auto, or LOW:HIGH such as 0:4095, the values of black and white")
    return levels


def to_eight_bits(image: Image.Image, levels: Levels) -> Image.Image:
    """An opened image with 8 bits a channel: in mode L, RGB or RGBA if it had more, else as it is.

    The upper 8 bits of 16-bit colour are taken, and other 16 bits are rounded, unless `levels` say what is black and white.

    Args:
        image: As `open_image` gives it, with its pixels not yet decoded. Its file is read again if need be.
        levels: See `Levels`.

    Raises:
        ValueError: Its pixels have 32 bits, whose range nobody knows, and `levels` are not given, or cannot be applied.
        Others of `BROKEN_IMAGE`: It is damaged.
    """
    raw, bits = _raw_mode(image), _grey_bits(image)
    clear = image.info.get("transparency") if image.format == "PNG" else None
    alpha: np.ndarray | None = None
    if bits is not None:
        if bits == 32 and not levels.given:
            raise ValueError(f"its pixels have 32 bits (mode {image.mode}), of unknown range: give --range LOW:HIGH")
        values = np.asarray(image)
        pixels = levels.to_bytes(values)
        if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0:  # white, which Pillow heeds for 8 bits and less only
            pixels = 255 - pixels
    elif ";16" in raw and (levels.given or isinstance(clear, tuple)):
        values = _all_bits(image, raw)
        pixels = levels.to_bytes(values[..., :3]) if levels.given else (values[..., :3] >> 8).astype(np.uint8)
        alpha = (values[..., 3] >> 8).astype(np.uint8) if image.mode == "RGBA" else None
    elif raw in _GREY_STEPS and isinstance(clear, int):
        values = pixels = np.asarray(image)
        clear *= _GREY_STEPS[raw]
    else:
        return image
    if isinstance(clear, int | tuple):
        differs = values != np.asarray(clear)
        alpha = (differs if differs.ndim == 2 else differs.any(-1)).astype(np.uint8) * 255
    result = Image.fromarray(pixels)
    if alpha is not None:
        result = result.convert("RGB")
        result.putalpha(Image.fromarray(alpha))
    result.getexif()[_ORIENTATION] = image.getexif().get(_ORIENTATION, 1)
    return result


def used_bits(image: Image.Image) -> int:
    """How many of its 16 bits the brightest pixel of an opened image needs, as far as Pillow tells; 0 for other images."""
    if _grey_bits(image) == 16:
        return int(np.asarray(image).max()).bit_length()
    if not _COLOURS.fullmatch(_raw_mode(image)):
        return 0
    return (int(np.asarray(image)[..., :3].max()) << 8 | 255).bit_length()


def has_sixteen_bits(image: Image.Image) -> bool:
    """Whether `used_bits` has something to say, as far as the header of an opened image tells."""
    return _grey_bits(image) == 16 or bool(_COLOURS.fullmatch(_raw_mode(image)))


def _grey_bits(image: Image.Image) -> int | None:
    """16 or 32: bits of a grey pixel; None for 8, and for colour."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return 16  # what has more than 8 bits in PGM, Pillow scales to 16
    return 32 if image.mode in ("I", "F") else None


def _raw_mode(image: Image.Image) -> str:
    """How the pixels of an opened image are stored, in Pillow's words; empty where it does not tell, or they are decoded."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _all_bits(image: Image.Image, raw: str) -> np.ndarray:
    """Pixels of 16-bit colour, uint16 [H, W, C]. Pillow decodes the upper bytes; told the other byte order, the lower ones."""
    file = getattr(image, "fp", None)
    if file is None or not _COLOURS.fullmatch(raw):
        raise ValueError(f"its 16 bits are stored in a way of which the upper 8 are read only ({raw}); save it as RGB")
    upper = np.asarray(image).astype(np.uint16)
    file.seek(0)
    with open_image(file, image.width * image.height) as again:
        other = raw[:-1] + _OTHER_BYTE[raw[-1]]
        vars(again)["tile"] = [type(tile)(*tile[:3], _with_raw_mode(tile.args, other)) for tile in vars(again)["tile"]]
        return upper << 8 | np.asarray(again)


def _with_raw_mode(arguments: object, raw: str) -> object:
    return (raw, *arguments[1:]) if isinstance(arguments, tuple) else raw

"""Images of networks as files for the web, which say that they are generated, and what was asked for in `Accept`."""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from stylegan.data.convert import on_white
from stylegan.figures.pixels import to_pixels
from stylegan.interop.provenance import png_text, xmp_packet

FORMATS = {"image/png": "PNG", "image/webp": "WEBP", "image/jpeg": "JPEG"}
QUALITY = 92
_PARTS = 32  # of an Accept header that are looked at


def chosen_format(accept: str | None, formats: Iterable[str] = FORMATS) -> str | None:
    """The media type to answer with, by RFC 9110's rules for `Accept`: the first where all are alike; None: none is meant."""
    offered = list(formats)
    wanted: dict[str, tuple[int, float]] = {}
    for part in (accept or "*/*").split(",")[:_PARTS]:
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        share = next((value for key, _, value in (p.partition("=") for p in parameters) if key == "q"), "1")
        try:
            quality = float(share)
        except ValueError:
            quality = 0.0
        quality = min(quality, 1.0) if quality > 0 else 0.0  # nan, too
        for kind in offered:
            family = kind.partition("/")[0] + "/*"
            exact = 2 if name == kind else 1 if name == family else 0 if name == "*/*" else -1
            if exact >= 0 and exact >= wanted.get(kind, (-1, 0.0))[0]:
                wanted[kind] = (exact, quality)
    best = max(wanted.items(), key=lambda item: (item[1][1], item[1][0], -offered.index(item[0])), default=None)
    return best[0] if best is not None and best[1][1] > 0 else None


def encoded(image: Tensor, media_type: str, about: Mapping[str, Any]) -> bytes:
    """A file of an image, uint8 [C, H, W], with its provenance."""
    picture, buffer = to_pixels(image), io.BytesIO()
    xmp = xmp_packet(about).encode()
    match FORMATS[media_type]:
        case "PNG":
            picture.save(buffer, "PNG", pnginfo=png_text(about), compress_level=3)
        case "WEBP":
            picture.save(buffer, "WEBP", lossless=True, method=2, xmp=xmp)
        case _:
            on_white(picture).save(buffer, "JPEG", quality=QUALITY, xmp=xmp)
    return buffer.getvalue()


def entity_tag(*parts: object) -> str:
    """A strong ETag of what determines a picture's bytes."""
    return f'"{hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]}"'

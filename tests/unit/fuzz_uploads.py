"""Decodes thousands of odd photographs as the server's child process does. See `fuzzing`.

PNG, JPEG and WebP of every kind, changed in their bytes or in a chunk whose checksum is made right again, and files of kinds
that are refused. Each gives pixels of the size that is asked for, or the one error that is declared; some are sent to the child
process itself, which must come to the same.
"""

import asyncio
import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stylegan.errors import UserError
from stylegan.web import decoding
from stylegan.web.uploads import decoded
from tests.unit import fuzzing

SIZES = (0, 1, 15, 16, 17, 255, 2000, 7071, 7072, 65_535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
CHILD = 0.01  # of the cases are sent to a child process, too
ORIENTATION = 0x0112


def noise(mode: str, size: tuple[int, int], seed: int) -> Image.Image:
    """A picture with pixels of a mode."""
    numbers = np.random.default_rng(seed)
    if mode == "I;16":
        return Image.fromarray(numbers.integers(0, 2**16, size[::-1], dtype=np.uint16))
    colours = Image.fromarray(numbers.integers(0, 256, (*size[::-1], 4), dtype=np.uint8))
    return colours if mode == "RGBA" else colours.convert("RGB").convert(mode)


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """Its file."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def genuine() -> list[bytes]:
    """Small photographs of every kind that is taken."""
    size, exif = (24, 20), Image.Exif()
    exif[ORIENTATION] = 6
    exif[0x010E] = "words " * 10
    files = [saved(noise(mode, size, i), "PNG") for i, mode in enumerate(["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])]
    files += [saved(noise("P", size, 0), "PNG", transparency=bytes(range(256))), sixteen_bits(size)]
    files += [saved(noise("RGB", size, 0), "PNG", transparency=(1, 2, 3), exif=exif)]
    files += [saved(noise("L", size, 0), "PNG", transparency=3), saved(noise("I;16", size, 0), "PNG", transparency=3)]
    files += [saved(noise(mode, size, i), "JPEG", exif=exif) for i, mode in enumerate(["L", "RGB", "CMYK"])]
    files += [saved(noise("RGB", size, 0), "JPEG", progressive=True, icc_profile=bytes(200), comment=b"words")]
    files += [saved(noise("RGBA", size, 0), "WEBP", lossless=lossless, exif=exif) for lossless in (False, True)]
    more = {"save_all": True, "append_images": [noise("RGB", size, i) for i in range(2)]}
    files += [saved(noise("RGB", size, 3), kind, **more) for kind in ("PNG", "WEBP", "MPO")]
    return files


def sixteen_bits(size: tuple[int, int]) -> bytes:
    """A PNG of 16 bits a channel, which Pillow reads but does not write."""
    width, height = size
    rows = b"".join(b"\0" + random.Random(y).randbytes(6 * width) for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return joined([(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def refused_kinds() -> list[bytes]:
    """Photographs of kinds that are not taken."""
    picture = noise("RGB", (24, 20), 0)
    return [saved(picture, kind) for kind in ("GIF", "TIFF", "BMP", "PPM", "TGA", "ICO", "PCX", "PDF")]


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """The name and content of each chunk of a whole PNG."""
    found, at = [], 8
    while at < len(png):
        length, name = struct.unpack(">I4s", png[at : at + 8])
        found.append((name, png[at + 8 : at + 8 + length]))
        at += length + 12
    return found


def joined(found: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of chunks, with right lengths and checksums."""
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in found
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def odd_png(content: bytes, rng: random.Random) -> bytes:
    """One with other chunks: changed, unpacked, changed and packed again, repeated, exchanged, new, or of another size."""
    found = chunks(content)
    for _ in range(rng.choice([1, 1, 2])):
        at, other = rng.randrange(len(found)), rng.randrange(len(found))
        name, data = found[at]
        match rng.randrange(7):
            case 0 | 1:
                found[at] = name, fuzzing.flip(data, rng)
            case 2 if name in (b"IDAT", b"fdAT"):
                skipped = 4 * (name == b"fdAT")
                found[at] = name, data[:skipped] + zlib.compress(fuzzing.flip(zlib.decompress(data[skipped:]), rng))
            case 3:
                found[at], found[other] = found[other], found[at]
            case 4:
                found.insert(other, found[at])
            case 5:
                found.insert(at, odd_chunk(rng))
            case _:
                found[0] = b"IHDR", odd_head(found[0][1], rng)
        if rng.random() < 0.1:
            break  # what is packed must be so still for another change
        found = chunks(joined(found)) if all(whole(*chunk) for chunk in found) else found[:1]
        if len(found) < 2:
            return content
    return joined(found)


def whole(name: bytes, data: bytes) -> bool:
    """Whether a chunk can be unpacked."""
    try:
        return name not in (b"IDAT", b"fdAT") or bool(zlib.decompress(data[4 * (name == b"fdAT") :]))
    except zlib.error:
        return False


def odd_head(head: bytes, rng: random.Random) -> bytes:
    """The first chunk of a PNG that tells another size, depth or kind of pixels."""
    if rng.random() < 0.5:
        return head[:8] + bytes(
            [rng.choice([1, 2, 4, 8, 16, 3]), rng.choice([0, 2, 3, 4, 6, 1]), 0, 0, rng.randrange(3)]
        )
    size = [rng.choice(SIZES) if rng.random() < 0.7 else 20 for _ in range(2)]
    return struct.pack(">II", *size) + head[8:]


def odd_chunk(rng: random.Random) -> tuple[bytes, bytes]:
    """A chunk that a PNG may have besides its pixels."""
    packed = zlib.compress(bytes(rng.choice([10, 2**22])))
    name = rng.choice(
        [b"tRNS", b"PLTE", b"eXIf", b"iCCP", b"zTXt", b"iTXt", b"tEXt", b"gAMA", b"acTL", b"fcTL", b"pHYs"]
    )
    data = {b"iCCP": b"x\0\0" + packed, b"zTXt": b"x\0\0" + packed, b"iTXt": b"x\0\1\0\0\0" + packed}
    return name, data[name] if name in data and rng.random() < 0.7 else rng.randbytes(rng.choice([0, 1, 3, 26, 768]))


def odd_jpeg(content: bytes, rng: random.Random) -> bytes:
    """One whose frame tells another size, or with a changed segment: EXIF, tables, the frame, or the pixels."""
    frame = next(at for at in (content.find(b"\xff\xc0"), content.find(b"\xff\xc2")) if at > 0)
    match rng.randrange(4):
        case 0:
            height, width = (rng.choice(SIZES[:10]) if rng.random() < 0.7 else 20 for _ in range(2))
            return content[: frame + 5] + struct.pack(">HH", height, width) + content[frame + 9 :]
        case 1:
            return fuzzing.flip(content, rng, range(frame, frame + 20))
        case 2:
            return fuzzing.flip(content, rng, range(2, min(200, len(content))))
        case _:
            return fuzzing.flip(content, rng, range(content.find(b"\xff\xda"), len(content)))


def odd_webp(content: bytes, rng: random.Random) -> bytes:
    """One that tells another size, or is changed in its head or its pixels."""
    match rng.randrange(3):
        case 0 if content[12:16] == b"VP8X":
            size = b"".join(min(rng.choice(SIZES), 2**24 - 1).to_bytes(3, "little") for _ in range(2))
            return content[:24] + size + content[30:]
        case 1:
            return fuzzing.flip(content, rng, range(12, 70))
        case _:
            return fuzzing.flip(content, rng)


def changed(content: bytes, rng: random.Random) -> bytes:
    """An odd photograph."""
    if rng.random() < 0.25:
        return fuzzing.flip(content, rng)
    if rng.random() < 0.05:
        return content[: rng.randrange(len(content))]
    change = {b"\x89": odd_png, b"\xff": odd_jpeg, b"R": odd_webp}.get(content[:1], fuzzing.flip)
    return change(content, rng)


def read(content: bytes, width: int, height: int, in_child: bool) -> str:
    """Decode it; what came of it."""
    try:
        pixels = decoding.pixels_of(content, width, height)
        found = "read"
        assert len(pixels) == 3 * width * height, f"{len(pixels)} bytes of {width}x{height} pixels"
    except decoding.RefusedError as error:
        pixels, found = None, str(error)
    if in_child:
        try:
            image = asyncio.run(decoded(content, (height, width)))
            assert pixels == image.permute(1, 2, 0).numpy().tobytes(), f"a child makes pixels of it, here it is {found}"
        except UserError as error:
            assert pixels is None and str(error) == found, f"a child says {error}, here it is {found}"
    if pixels is None:
        raise UserError(found)
    return found


def prepare(folder: Path) -> Callable[[random.Random], Callable[[], str | None]]:
    """See `fuzzing.judge`."""
    Image.MAX_IMAGE_PIXELS = None  # as in the child process
    taken, others = genuine(), refused_kinds()

    def make(rng: random.Random) -> Callable[[], str | None]:
        content = rng.choice(taken) if rng.random() < 0.95 else rng.choice(others)
        content = changed(content, rng) if rng.random() < 0.97 else content
        size = rng.choice([(16, 16), (16, 16), (64, 64), (8, 32), (1, 1), (300, 2)])
        return partial(read, content, *size, rng.random() < CHILD)

    return make


if __name__ == "__main__":
    fuzzing.judge("fuzz_uploads", prepare)

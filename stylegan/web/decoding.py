"""The child process in which an uploaded file becomes pixels: `python -I decoding.py WIDTH HEIGHT`, file in, RGB out.

It is run as a file, so that it loads Pillow and nothing else, and holds itself to limits before it looks at a byte. What breaks
the decoder breaks this process alone. Exit code 3: the message on stderr is for whoever sent the file.
"""

import io
import sys

from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP")
MOST_PIXELS = 50_000_000
SECONDS = 10
MEMORY = 2 << 30


def main() -> None:
    """Read stdin, write width x height x 3 bytes to stdout: the middle of the picture, upright, scaled."""
    import resource  # here: Windows has none, and the server, which reads the constants, may run there

    for what, limit in (
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),  # no files; pipes are none
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (limit, limit))
    width, height = int(sys.argv[1]), int(sys.argv[2])
    try:
        sys.stdout.buffer.write(decoded(sys.stdin.buffer.read(), width, height).tobytes())
    except RefusedError as error:
        sys.stderr.write(str(error))
        sys.exit(3)


class RefusedError(Exception):
    """A file that is no photograph for us; the message is for whoever sent it."""


def decoded(content: bytes, width: int, height: int) -> Image.Image:
    """The middle of a photograph, RGB, upright, on white, scaled to `width` x `height` pixels.

    Raises:
        RefusedError: It is no whole JPEG, PNG or WebP file, or has too many or too few pixels.
    """
    Image.MAX_IMAGE_PIXELS = None  # ours is asked before a pixel is decoded
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
        if picture.width * picture.height > MOST_PIXELS:
            raise RefusedError(
                f"{picture.width}x{picture.height} pixels are too many; {MOST_PIXELS // 10**6} million are the most"
            )
        if min(picture.size) < 16:
            raise RefusedError(f"{picture.width}x{picture.height} pixels are too few; 16 a side are the fewest")
        upright = ImageOps.exif_transpose(picture).convert("RGBA")
    except (OSError, SyntaxError, ValueError, MemoryError, EOFError):
        raise RefusedError("this is no whole JPEG, PNG or WebP file") from None
    on_white = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright).convert("RGB")
    return ImageOps.fit(on_white, (width, height), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()

"""The child process in which an uploaded file becomes pixels: `python -I decoding.py WIDTH HEIGHT`, file in, RGB out.

It is run as a file, so that it loads Pillow and nothing else, and holds itself to limits before it looks at a byte. What breaks
the decoder breaks this process alone. Exit code 3: the message on stderr is for whoever sent the file.
"""

import io
import sys
import warnings

from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP")
MOST_PIXELS = 50_000_000
FEWEST = 16  # pixels of a side
SECONDS = 10
MEMORY = 2 << 30


class RefusedError(Exception):
    """A file that is no photograph; the message is for whoever sent it."""


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
    warnings.simplefilter("ignore")  # they would be told to whoever sent the file, with paths of this machine
    Image.MAX_IMAGE_PIXELS = None  # ours is asked before a pixel is decoded
    try:
        pixels = pixels_of(sys.stdin.buffer.read(), int(sys.argv[1]), int(sys.argv[2]))
    except RefusedError as error:
        sys.stderr.write(str(error))
        sys.exit(3)
    sys.stdout.buffer.write(pixels)


def pixels_of(content: bytes, width: int, height: int) -> bytes:
    """The middle of a picture: upright as its EXIF data says, on white where it is transparent, the first frame, scaled.

    Args:
        content: A file. It may come from anybody; `main` sets limits of time and memory before it calls this.
        width, height: Of what is wanted, in pixels.

    Returns:
        width x height x 3 bytes: rows from the top, RGB.

    Raises:
        RefusedError: It is no whole file of `FORMATS`, or has more than `MOST_PIXELS` or a side of less than `FEWEST`.
    """
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
        if picture.width * picture.height > MOST_PIXELS:
            most = f"{MOST_PIXELS // 10**6} million are the most"
            raise RefusedError(f"{picture.width}x{picture.height} pixels are too many; {most}")
        if min(picture.size) < FEWEST:
            least = f"a side has {FEWEST} at the least"
            raise RefusedError(f"{picture.width}x{picture.height} pixels are too few; {least}")
        upright = ImageOps.exif_transpose(picture).convert("RGBA")
        on_white = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright).convert("RGB")
        return ImageOps.fit(on_white, (width, height), Image.Resampling.LANCZOS).tobytes()
    except RefusedError:
        raise
    except Exception:  # a decoder of damaged files raises whatever the line raises at which it stumbles
        raise RefusedError("this is no whole JPEG, PNG or WebP file") from None


if __name__ == "__main__":
    main()

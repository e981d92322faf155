"""Figures that move, as files: H.264 (extra `video`), GIF and WebP, with a batch of frames in memory at a time; film strips."""

import io
import json
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from PIL import GifImagePlugin, Image
from torch import Tensor

from stylegan.bars import with_bar
from stylegan.errors import UserError
from stylegan.figures.base import Clip
from stylegan.figures.pixels import image_grid, to_pixels
from stylegan.files import atomic_path
from stylegan.interop.provenance import DESCRIPTION, xmp_packet

GIF_FPS = 50  # most players take a delay of less than two hundredths of a second for ten
_BT709 = 1  # as H.264 and PyAV count colour spaces
_LIMITED = 1  # range of luminance: 16 to 235
_TOGETHER = 32  # frames of WebP that are compressed as differences from each other


def require_av() -> Any:
    """PyAV; raises a `UserError` with the pip command where it is missing."""
    try:
        import av
    except ImportError:
        raise UserError(
            "MP4 needs the extra `video`: pip install 'stylegan[video]', in a clone pip install -e '.[video]'; or choose "
            "another format, such as out=NAME.webp"
        ) from None
    return av


def write_clip(clip: Clip, path: Path, about: Mapping[str, Any] | None, *, progress: bool = False) -> None:
    """Write a clip in the format of the name's end, whole or not at all.

    GIF has at most `GIF_FPS` frames a second: of faster clips every second frame is left out, or more. Where width or height
    is odd, H.264 gets one more row or column, a copy of the last.

    Args:
        clip: What is written.
        path: Ends in .mp4, .gif or .webp.
        about: How it was made; None: plain files.
        progress: Show a progress bar.

    Raises:
        UserError: The file cannot be written.
    """
    suffix = path.suffix.lower()
    with atomic_path(path) as temporary:
        if suffix == ".mp4":
            _write_mp4(clip, temporary, about, progress)
        elif suffix == ".gif":
            _write_gif(clip, temporary, about, progress)
        else:
            _write_webp(clip, temporary, about, progress)


def film_strip(clip: Clip) -> Image.Image:
    """`clip.strip` frames side by side, evenly spaced: of a loop from the first on, else both ends included."""
    count = min(clip.strip, clip.count)
    last = clip.count if clip.loops else clip.count - 1
    gaps = count if clip.loops else max(count - 1, 1)
    return image_grid(torch.stack(list(clip.frames([round(i * last / gaps) for i in range(count)]))), columns=count)


def _frames(clip: Clip, indices: range, progress: bool) -> Iterator[Tensor]:
    return iter(with_bar(clip.frames(indices), "frames", len(indices), show=progress))


def _write_mp4(clip: Clip, path: Path, about: Mapping[str, Any] | None, progress: bool) -> None:
    av = require_av()
    try:
        # The index comes first, so that a browser begins to play at once; no time and no version of the writer, so that the
        # same frames are the same bytes.
        options = {"movflags": "+faststart", "fflags": "+bitexact"}
        with av.open(str(path), "w", format="mp4", options=options) as container:
            if about is not None:
                container.metadata["comment"] = f"{DESCRIPTION} {json.dumps(about, sort_keys=True)}"
            stream = None
            for frame in _frames(clip, range(clip.count), progress):
                rgb = _on_paper(frame)
                rgb = torch.nn.functional.pad(
                    rgb[None].float(), [0, rgb.shape[2] % 2, 0, rgb.shape[1] % 2], mode="replicate"
                )[0].to(torch.uint8)
                if stream is None:
                    # The number of threads changes the bytes.
                    encoder = {"crf": "16", "preset": "medium", "threads": "1", "flags": "+bitexact"}
                    stream = container.add_stream(
                        "libx264", rate=Fraction(clip.fps).limit_denominator(1001), options=encoder
                    )
                    stream.height, stream.width, stream.pix_fmt = rgb.shape[1], rgb.shape[2], "yuv420p"
                    context = stream.codec_context
                    context.colorspace = context.color_primaries = context.color_trc = _BT709
                    context.color_range = _LIMITED
                picture = av.VideoFrame.from_ndarray(rgb.permute(1, 2, 0).contiguous().numpy(), format="rgb24")
                picture = picture.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED)
                container.mux(stream.encode(picture))
            if stream is not None:
                container.mux(stream.encode())
    except av.FFmpegError as error:
        raise OSError(getattr(error, "errno", None), str(getattr(error, "strerror", None) or error)) from None


def _write_gif(clip: Clip, path: Path, about: Mapping[str, Any] | None, progress: bool) -> None:
    """Pillow's own writer keeps all frames until the last; here each goes to the file as it comes, with its own colours."""
    step = -(-int(clip.fps * 100) // (GIF_FPS * 100))
    indices = range(0, clip.count, step)
    with path.open("wb") as file:
        for i, frame in enumerate(_frames(clip, indices, progress)):
            image = to_pixels(_on_paper(frame)).quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
            if i == 0:
                info: dict[str, Any] = {"loop": 0, "duration": 1}
                if about is not None:
                    info["comment"] = f"{DESCRIPTION} {json.dumps(about, sort_keys=True)}"
                header, _ = GifImagePlugin.getheader(image.copy(), info=info)
                file.writelines(header)
            delay = _until(clip, indices, i + 1, 100) - _until(clip, indices, i, 100)
            parts = GifImagePlugin.getdata(image, duration=delay * 10, include_color_table=True)
            file.writelines(parts)
        file.write(b";")


def _write_webp(clip: Clip, path: Path, about: Mapping[str, Any] | None, progress: bool) -> None:
    """Pillow's writer takes a list of all frames; here it gets some at a time, and their pieces are put into one file.

    The container (RIFF; WebP Container Specification): VP8X with the size, ANIM, an ANMF a frame, and XMP.
    """
    indices, size = range(clip.count), (0, 0)
    frames = _frames(clip, indices, progress)
    with path.open("wb") as file:
        file.write(b"RIFF\0\0\0\0WEBP")
        for start in range(0, clip.count, _TOGETHER):
            numbers = range(start, min(start + _TOGETHER, clip.count))
            images = [to_pixels(_on_paper(next(frames))) for _ in numbers]
            delays = [_until(clip, indices, i + 1, 1000) - _until(clip, indices, i, 1000) for i in numbers]
            if start == 0:
                size = images[0].size
                corner = b"".join((side - 1).to_bytes(3, "little") for side in size)
                flags = 0x02 | (0x04 if about is not None else 0)  # it moves; it has XMP
                file.write(_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + corner))
                file.write(_chunk(b"ANIM", bytes(4) + (0).to_bytes(2, "little")))  # for ever
            for piece in _moving(images, delays):
                file.write(_chunk(b"ANMF", piece))
        if about is not None:
            file.write(_chunk(b"XMP ", xmp_packet(about).encode()))
        length = file.tell() - 8
        file.seek(4)
        file.write(length.to_bytes(4, "little"))


def _moving(images: list[Image.Image], delays: list[int]) -> Iterator[bytes]:
    """The contents of the ANMF chunks of some frames, of which the first depends on none before."""
    buffer = io.BytesIO()
    more = {"append_images": images[1:], "save_all": True} if len(images) > 1 else {}
    images[0].save(buffer, format="WEBP", duration=delays, quality=92, method=4, **more)
    content, position, still = buffer.getvalue(), 12, b""
    while position < len(content):
        name, length = content[position : position + 4], int.from_bytes(content[position + 4 : position + 8], "little")
        end = position + 8 + length + length % 2
        if name == b"ANMF":
            yield content[position + 8 : position + 8 + length]
        elif name in (b"VP8 ", b"VP8L"):
            still = content[position:end]
        position = end
    if still:  # frames that are all the same are written as one that does not move
        numbers = (0, 0, images[0].width - 1, images[0].height - 1, sum(delays))
        yield b"".join(number.to_bytes(3, "little") for number in numbers) + b"\2" + still


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)


def _until(clip: Clip, indices: range, i: int, unit: int) -> int:
    """When the i-th of the frames that are written begins, in so many parts of a second; rounding does not add up."""
    frame = indices[i] if i < len(indices) else clip.count
    return round(frame * unit / clip.fps)


def _on_paper(frame: Tensor) -> Tensor:
    """uint8 [3, H, W] of 1, 3 or 4 channels; what is clear becomes white."""
    if frame.shape[0] == 4:
        alpha = frame[3:].float() / 255
        return (frame[:3].float() * alpha + 255 * (1 - alpha)).round().to(torch.uint8)
    return frame.expand(3, -1, -1)

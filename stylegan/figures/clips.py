"""Figures that move, as files: H.264 (extra `video`), GIF, WebP, or a film strip. A batch of frames is in memory at a time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stylegan.errors import UserError
from stylegan.figures.base import Clip


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

    Args:
        clip: What is written.
        path: Ends in .mp4, .gif, .webp, or .png for a film strip.
        about: How it was made; None: plain files.
        progress: Show a progress bar.

    Raises:
        UserError: The file cannot be written.
    """
    raise NotImplementedError

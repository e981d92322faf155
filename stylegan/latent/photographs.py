"""Pictures of the user's own, as a network's training data were made: read, aligned where that is wanted, cut and scaled."""

import io
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from stylegan.data.align import crop_face
from stylegan.data.convert import Fit, ResizeFilter, convert_pixels, fit_image, image_array
from stylegan.data.image_files import BROKEN_IMAGE, IMAGE_BYTES, is_image_name, open_image
from stylegan.data.landmarks import Landmarks, open_landmarks
from stylegan.errors import UserError, shown
from stylegan.files import read_file
from stylegan.values import at_home

MOST = 1000
_MANY_PICTURES = ("MPO",)  # photographs with a preview or a second view beside them; no animation


def find_photographs(pictures: Sequence[str], option: str) -> list[Path]:
    """The files that are named, and the images of folders that are, by name.

    Raises:
        UserError: There is none of that name, a folder has no images, or there are too many.
    """
    found: list[Path] = []
    for name in pictures:
        path = Path(at_home(name))
        if path.is_dir():
            inside = sorted(item for item in path.iterdir() if item.is_file() and is_image_name(item.name))
            if not inside:
                raise UserError(f"{option}={name}: this folder holds no images; name a picture")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise UserError(f"{option}={name}: there is no such file; name a picture, or a folder of pictures")
    if len(found) > MOST:
        raise UserError(f"{option}: {len(found)} pictures; {MOST} at a time are the most")
    return found


def read_photographs(
    paths: Sequence[Path], resolution: tuple[int, int], channels: int, landmarks: str | None
) -> Tensor:
    """Pictures for a network: the middle of each, as large as fits, or its face.

    Args:
        paths: The files.
        resolution: (H, W) of the network.
        channels: Of the network.
        landmarks: To align by, as `data.landmarks.open_landmarks` takes it; None: as they are.

    Returns:
        uint8 [N, C, H, W].

    Raises:
        UserError: One cannot be read, is an animation or too large, or has no face.
    """
    names = [path.name for path in paths]
    faces = None if landmarks is None else open_landmarks(landmarks, names, "figure.landmarks=")
    made = [_read(path, resolution, channels, faces) for path in paths]
    return torch.stack(made)


def _read(path: Path, resolution: tuple[int, int], channels: int, landmarks: Landmarks | None) -> Tensor:
    content = read_file(path, IMAGE_BYTES, "picture")
    try:
        with open_image(io.BytesIO(content)) as opened:
            if getattr(opened, "n_frames", 1) > 1 and opened.format not in _MANY_PICTURES:
                raise UserError(f"{path} is an animation of {opened.n_frames} frames; save one of them as PNG")  # pyright: ignore[reportAttributeAccessIssue]
            image = convert_pixels(opened, channels)
        if landmarks is not None:
            image = _face(path, image, landmarks, max(resolution))
        pixels = image_array(fit_image(image, resolution, Fit.COVER, ResizeFilter.LANCZOS))
    except UnidentifiedImageError:  # whose message names an object in memory
        raise UserError(f"{path} is no image of a known kind; give a PNG, JPEG, WebP or TIFF") from None
    except BROKEN_IMAGE as error:
        why = shown(error, 300) or type(error).__name__
        raise UserError(
            f"cannot read the picture {path}: {why.replace(' (see --max-pixels)', '')}; give another one"
        ) from None
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()


def _face(path: Path, image: Image.Image, landmarks: Landmarks, side: int) -> Image.Image:
    try:
        return crop_face(image, landmarks(path.name, image), side)
    except ValueError as error:
        raise UserError(
            f"{path} cannot be aligned: {shown(error, 300)}; give a picture of a face, landmarks in figure.landmarks=FILE, or "
            "figure.align=false for one that is aligned already"
        ) from None

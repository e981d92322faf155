"""One image of any kind -> the pixels of an archive: kind, orientation, crop, scale, and PNG bytes."""

import io
from enum import StrEnum
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms, ImageOps

from stylegan.data.archive import CHANNELS_OF_MODE
from stylegan.data.deep_pixels import FULL, Levels, to_eight_bits

MODE_OF_CHANNELS = {channels: mode for mode, channels in CHANNELS_OF_MODE.items()}


class Fit(StrEnum):
    """How an image of another shape is made to fit."""

    COVER = "cover"  # scaled to cover the target, the middle of it is kept
    CONTAIN = "contain"  # scaled to lie within the target, the rest is black (transparent with 4 channels)
    STRETCH = "stretch"  # scaled in each direction by itself
    NONE = "none"  # left as it is: all images must have one size


class ResizeFilter(StrEnum):
    """How an image is scaled; all three average over the source pixels when they make it smaller."""

    BOX = "box"
    BICUBIC = "bicubic"
    LANCZOS = "lanczos"


def convert_pixels(image: Image.Image, channels: int, levels: Levels = FULL) -> Image.Image:
    """An opened image of any kind as 8-bit grey, RGB or RGBA in sRGB, turned upright as its EXIF data says.

    16 bits become 8 by rounding (of 16-bit RGB, the upper 8 bits are taken), or as `levels` say. Colours are converted by
    the embedded profile; a profile that is damaged or belongs to another kind of pixels is ignored, as viewers do.
    Transparent pixels are laid on white where there is no alpha channel to keep them. Of an animation, the first frame is
    taken. An image in sRGB that is of the right kind already keeps its very pixels.

    Args:
        image: As `open_image` gives it, with its pixels not yet decoded.
        channels: 1, 3 or 4.
        levels: What is black and white in pixels of 16 or 32 bits.

    Raises:
        ValueError: See `to_eight_bits`.
        OSError and others of `BROKEN_IMAGE`: The file is damaged.
    """
    profile = image.info.get("icc_profile")
    image = to_eight_bits(image, levels)
    ImageOps.exif_transpose(image, in_place=True)  # else it copies what is upright already
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = _to_srgb(image if image.mode == "RGBA" else image.convert("RGBA"), profile)
        if channels != 4:
            image = on_white(image)
    else:
        image = _to_srgb(image.convert("RGB") if image.mode == "P" else image, profile)
    mode = MODE_OF_CHANNELS[channels]
    if image.mode not in ("1", "L", "RGB", "RGBA"):
        image = image.convert("RGB")  # palettes, CMYK, YCbCr, LAB: not all of them convert to grey directly
    return image if image.mode == mode else image.convert(mode)


def on_white(image: Image.Image) -> Image.Image:
    """An image with an alpha channel (RGBA) laid on white, as RGB; any other as it is."""
    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The image in sRGB by its embedded profile, with its alpha channel if it has one."""
    if not profile:
        return image
    if image.mode == "RGBA":
        opaque = _to_srgb(image.convert("RGB"), profile)
        opaque.putalpha(image.getchannel("A"))
        return opaque
    transform = _srgb_transform(profile, image.mode)
    converted = None if transform is None else transform.apply(image)
    return image if converted is None else converted


@lru_cache(maxsize=32)
def _srgb_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From pixels of `mode` with a colour profile to RGB in sRGB; None where nothing should be done."""
    space = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}.get(mode)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if space is None or ImageCms.core.profile_frombytes(profile).xcolor_space.strip() != space:
            return None
        # Without its cache a transform may be shared by threads (Little CMS API, cmsDoTransform).
        transform = ImageCms.ImageCmsTransform(
            source,
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            mode,
            "RGB",
            intent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.NOCACHE | ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return None if mode in ("L", "RGB") and _changes_nothing(transform, mode) else transform
    except (ImageCms.PyCMSError, OSError):
        return None


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform moves no colour of a coarse lattice by more than 2 of 255: sRGB under one of its many names."""
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    lattice = levels[None] if mode == "L" else np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    before = Image.fromarray(lattice)
    after = transform.apply(before)
    assert after is not None, "a transform gives an image unless it works in place"
    change = np.asarray(after).astype(int) - np.asarray(before.convert("RGB")).astype(int)
    return bool(np.abs(change).max() <= 2)


def is_enlarged(size: tuple[float, float], resolution: tuple[int, int] | None, fit: Fit) -> bool:
    """Whether `fit_image` makes pixels up: an image of `size` (width, height) is scaled by more than 1."""
    if fit is Fit.NONE or resolution is None:
        return False
    scales = (resolution[1] / size[0], resolution[0] / size[1])
    return (min if fit is Fit.CONTAIN else max)(scales) > 1


def fit_image(image: Image.Image, resolution: tuple[int, int] | None, fit: Fit, resize: ResizeFilter) -> Image.Image:
    """Crop and scale an image to `resolution` (H, W). One that has it already is returned as it is.

    Cropping happens first and at whole pixels: where no scaling is needed, none of the pixels changes.
    """
    if fit is Fit.NONE or resolution is None or image.size == resolution[::-1]:
        return image
    H, W = resolution
    w, h = image.size
    resample = Image.Resampling[resize.name]
    if fit is Fit.CONTAIN:
        scale = min(W / w, H / h)
        w, h = max(round(w * scale), 1), max(round(h * scale), 1)
        canvas = Image.new(image.mode, (W, H))
        canvas.paste(image.resize((w, h), resample), ((W - w) // 2, (H - h) // 2))
        return canvas
    if fit is Fit.COVER:
        scale = max(W / w, H / h)
        crop_w, crop_h = min(max(round(W / scale), 1), w), min(max(round(H / scale), 1), h)
        left, top = (w - crop_w) // 2, (h - crop_h) // 2
        image = image.crop((left, top, left + crop_w, top + crop_h))
    return image if image.size == (W, H) else image.resize((W, H), resample)


def image_array(image: Image.Image) -> np.ndarray:
    """The pixels of an 8-bit image, uint8 [H, W, C], also for C = 1."""
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def encode_png(pixels: np.ndarray) -> bytes:
    """Pixels, uint8 [H, W, C], as a PNG file with nothing else in it: no colour profile, EXIF data or comment."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    # At 256x256, level 6 takes two to three times as long as 3 for files 4 % smaller; they decode equally fast.
    image.save(buffer, "png", compress_level=3)
    return buffer.getvalue()

"""Files of all kinds: colour profiles, 16 bits, CMYK, animations, progressive and truncated files."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from stylegan.data.archive import ImageDataset
from stylegan.data.convert import convert_pixels
from stylegan.data.prepare import ImageOptions, prepare_images


def reopened(image: Image.Image, kind: str, **options: object) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return Image.open(io.BytesIO(buffer.getvalue()))


def smooth(size: int = 64) -> Image.Image:
    random = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(random).resize((size, size), Image.Resampling.BICUBIC)


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile() -> bytes:
    """A profile whose red is sRGB's green and the other way round: the sRGB profile with two of its tags exchanged."""
    profile = bytearray(srgb_profile())
    places = {
        bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12)
    }
    red, green = places[b"rXYZ"], places[b"gXYZ"]
    profile[red : red + 4], profile[green : green + 4] = profile[green : green + 4], profile[red : red + 4]
    return bytes(profile)


def test_colours_are_converted_by_the_embedded_profile() -> None:
    image = smooth()
    expected = np.asarray(image)[..., [1, 0, 2]].astype(int)
    found = np.asarray(convert_pixels(reopened(image, "png", icc_profile=swapped_profile()), 3)).astype(int)
    assert np.abs(found - expected).max() <= 2
    transparent = image.copy()
    transparent.putalpha(128)
    found = np.asarray(convert_pixels(reopened(transparent, "png", icc_profile=swapped_profile()), 4)).astype(int)
    assert np.abs(found[..., :3] - expected).max() <= 2 and (found[..., 3] == 128).all()
    palette = image.quantize(32)
    expected = np.asarray(palette.convert("RGB"))[..., [1, 0, 2]].astype(int)
    found = np.asarray(convert_pixels(reopened(palette, "png", icc_profile=swapped_profile()), 3)).astype(int)
    assert np.abs(found - expected).max() <= 2


@pytest.mark.parametrize(
    "profile", [srgb_profile(), b"damaged" * 30, swapped_profile()[:200]], ids=["srgb", "bad", "cut"]
)
def test_pixels_in_srgb_do_not_change(profile: bytes) -> None:
    assert np.array_equal(
        np.asarray(convert_pixels(reopened(smooth(), "png", icc_profile=profile), 3)), np.asarray(smooth())
    )


def test_a_profile_for_other_pixels_is_ignored() -> None:
    grey = smooth().convert("L")
    found = convert_pixels(reopened(grey, "png", icc_profile=swapped_profile()), 1)
    assert np.array_equal(np.asarray(found), np.asarray(grey))


def test_a_lab_profile_of_grey_pictures_is_no_error() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    found = convert_pixels(reopened(smooth(), "tiff", icc_profile=lab), 3)
    assert np.array_equal(np.asarray(found), np.asarray(smooth()))


def test_files_of_all_kinds_become_one_archive(tmp_path: Path) -> None:
    """Each looks like the same picture, as closely as its kind allows."""
    folder = tmp_path / "in"
    folder.mkdir()
    image = smooth()
    image.save(folder / "01-plain.png")
    image.save(folder / "02-progressive.jpg", progressive=True, quality=95)
    image.convert("CMYK").save(folder / "03-cmyk.jpg", quality=95)
    image.save(folder / "04-animated.webp", save_all=True, append_images=[Image.new("RGB", image.size)], lossless=True)
    image.save(folder / "05-animated.png", save_all=True, append_images=[Image.new("RGB", image.size)])
    image.quantize(256).save(folder / "06-palette.gif", save_all=True, append_images=[Image.new("P", image.size)])
    image.convert("RGBA").save(folder / "07-alpha.tif")
    image.save(folder / "08-plain.bmp")
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.rotate(180).save(folder / "09-turned.jpg", exif=exif, quality=95)
    (folder / "10-truncated.jpg").write_bytes((folder / "02-progressive.jpg").read_bytes()[:900])
    (folder / "11-truncated.png").write_bytes((folder / "01-plain.png").read_bytes()[:900])
    (folder / "12-text.jpg").write_text("no image at all")
    (folder / "13-empty.png").touch()
    result = prepare_images(folder, tmp_path / "out.zip", ImageOptions((64, 64)))
    assert result.count == 9
    assert [name[:2] for name, _ in result.skipped] == ["10", "11", "12", "13"]
    assert all(reason for _, reason in result.skipped)
    dataset = ImageDataset(tmp_path / "out.zip")
    for i in range(9):
        error = np.abs(dataset[i][0].permute(1, 2, 0).numpy().astype(int) - np.asarray(image).astype(int)).mean()
        assert error < 8, f"image {i} differs by {error} on average"
    lossless = {"04-animated.webp", "05-animated.png", "07-alpha.tif", "08-plain.bmp"}
    assert lossless <= {name for name, _ in result.duplicates}


def test_sixteen_bits_of_grey_with_an_orientation(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 64 * 32).reshape(32, 64).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(values).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        found = np.asarray(convert_pixels(image, 3))
    assert np.array_equal(found[..., 0], np.round(values[::-1, ::-1] / 257).astype(np.uint8))

"""Pixels of more than 8 bits, transparent colours, images that are too small, warnings: nothing changes unsaid."""

import io
import json
import logging
import struct
import threading
import warnings
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from stylegan.data.archive import ImageDataset
from stylegan.data.convert import Fit, convert_pixels, is_enlarged
from stylegan.data.deep_pixels import FULL, Levels, parse_levels, used_bits
from stylegan.data.image_files import open_image
from stylegan.data.image_warnings import kept_warnings
from stylegan.data.prepare import ImageOptions, prepare_images
from stylegan.errors import UserError
from tests.unit.test_prepare_resume import interrupted_after

GREY = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8) + np.arange(8, dtype=np.uint16)
ORDERS: tuple[Literal["<", ">"], ...] = ("<", ">")
COLOURS = np.stack([GREY, GREY[::-1], GREY.T], -1)
AS_IS = ImageOptions(None, fit=Fit.NONE, workers=1)


def converted(file: bytes, channels: int = 1, levels: Levels = FULL) -> np.ndarray:
    with open_image(io.BytesIO(file)) as image:
        return np.asarray(convert_pixels(image, channels, levels))


def tiff(
    values: np.ndarray, photometric: int = 1, *, order: Literal["<", ">"] = "<", orientation: int = 1, kind: int = 1
) -> bytes:
    """Values [H, W] or [H, W, C], numbers of 8 to 32 bits (`kind`: 1 whole, 3 with a fraction), as one uncompressed strip."""
    H, W = values.shape[:2]
    channels = values.shape[2] if values.ndim == 3 else 1
    bits = values.dtype.itemsize * 8
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    fields = {
        **{256: W, 257: H, 259: 1, 262: photometric, 273: 8, 274: orientation, 277: channels, 278: H, 279: len(data)},
        339: kind,
    }
    entries = [struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in fields.items()]
    place = 8 + len(data)  # of what does not fit into an entry
    entries.append(
        struct.pack(f"{order}HHI{channels}H", 258, 3, channels, *[bits] * channels).ljust(12, b"\0")
        if channels < 3
        else struct.pack(f"{order}HHII", 258, 3, channels, place)
    )
    entries.sort(key=lambda entry: struct.unpack(f"{order}H", entry[:2]))
    several = struct.pack(f"{order}4H", *[bits] * 4)
    start = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, place + len(several))
    return start + data + several + struct.pack(f"{order}H", len(entries)) + b"".join(entries) + b"\0" * 4


def png(values: np.ndarray, bits: int, kind: int, transparency: bytes = b"") -> bytes:
    """Values [H, W] or [H, W, C] of so many bits, as a PNG of that kind (0 grey, 2 RGB, 6 RGBA) with a chunk tRNS."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    H, W = values.shape[:2]
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in values]
    else:
        spread = np.unpackbits(values.astype(np.uint8).reshape(H, -1, 1), axis=-1)[..., 8 - bits :]
        rows = [np.packbits(row.ravel()).tobytes() for row in spread]
    content = zlib.compress(b"".join(b"\0" + row for row in rows))
    header = struct.pack(">IIBBBBB", W, H, bits, kind, 0, 0, 0)
    told = chunk(b"tRNS", transparency) if transparency else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + told + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def test_white_is_zero(tmp_path: Path) -> None:
    expected = np.round(GREY / 257).astype(np.uint8)
    assert np.array_equal(converted(tiff(GREY)), expected) and np.array_equal(
        converted(tiff(GREY, order=">")), expected
    )
    assert np.array_equal(converted(tiff(65535 - GREY, photometric=0)), expected)
    turned = converted(tiff(65535 - GREY[::-1, ::-1], photometric=0, orientation=3))
    assert np.array_equal(turned, expected)
    small = converted(tiff(4095 - (GREY >> 4), photometric=0), levels=Levels(0, 4095))
    assert np.array_equal(small, np.round((GREY >> 4) * (255 / 4095)).astype(np.uint8))
    assert np.array_equal(converted(tiff(255 - expected, photometric=0)), expected)  # which Pillow does


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_value_of_grey(bits: int) -> None:
    most = 2**bits - 1
    values = np.random.default_rng(0).integers(0, most + 1, (8, 16))
    values[0, :2] = 0, most
    if bits == 16:
        values[0, 2] = 257 * 77 + 1  # the same 8 bits as the transparent value
    for clear in (0, most, most // 3, min(257 * 77, most)):
        values[1, 0] = clear
        found = converted(png(values, bits, 0, struct.pack(">H", clear)), 4)
        assert np.array_equal(found[..., 3], np.where(values == clear, 0, 255))
        assert np.array_equal(found[..., 0], np.floor(values * (255 / most) + 0.5))
        assert converted(png(values, bits, 0, struct.pack(">H", clear)), 3)[1, 0].tolist() == [255] * 3


def test_the_transparent_value_of_sixteen_bits_of_colour() -> None:
    values = COLOURS.copy()
    values[0, 0] = values[0, 1] = 0x1234, 0x5678, 0x9ABC
    values[0, 1, 0] += 1  # differs in the lower byte only
    found = converted(png(values, 16, 2, struct.pack(">3H", *values[0, 0])), 4)
    assert np.array_equal(found[..., :3], values >> 8)
    assert found[0, 0, 3] == 0 and (found[..., 3] == 0).sum() == 1
    eight = (values >> 8).astype(np.uint8)
    found = converted(png(eight, 8, 2, struct.pack(">3H", *eight[0, 0])), 4)
    assert (found[0, :2, 3] == 0).all() and (found[..., 3] == 0).sum() == 2


@pytest.mark.parametrize(("low", "high"), [(0, 4095), (1000, 30000), (0, 65535), (-5, 70000)])
def test_a_range_of_values(low: int, high: int) -> None:
    def expected(values: np.ndarray) -> np.ndarray:
        return np.floor((values.clip(low, high).astype(float) - low) / (high - low) * 255 + 0.5).astype(np.uint8)

    levels = Levels(low, high)
    for order in ORDERS:
        assert np.array_equal(converted(tiff(GREY, order=order), levels=levels), expected(GREY))
        assert np.array_equal(converted(tiff(COLOURS, 2, order=order), 3, levels), expected(COLOURS))
        assert np.array_equal(
            converted(tiff(GREY.astype(np.float32), order=order, kind=3), levels=levels), expected(GREY)
        )
    assert np.array_equal(converted(png(GREY, 16, 0), levels=levels), expected(GREY))
    assert np.array_equal(converted(png(COLOURS, 16, 2), 3, levels), expected(COLOURS))
    clear = np.concatenate([COLOURS, GREY[..., None]], -1)
    found = converted(png(clear, 16, 6), 4, levels)
    assert np.array_equal(found[..., :3], expected(COLOURS)) and np.array_equal(found[..., 3], GREY >> 8)
    eight = np.round(GREY / 257).astype(np.uint8)
    assert np.array_equal(converted(png(eight, 8, 0), levels=levels), eight)  # whose range is known


def test_sixteen_bits_of_pgm() -> None:
    file = b"P5 8 8 65535\n" + GREY.astype(">u2").tobytes()
    assert np.array_equal(converted(file), np.round(GREY / 257).astype(np.uint8))


def test_what_no_range_fits() -> None:
    with pytest.raises(ValueError, match=r"32 bits .* give --range LOW:HIGH"):
        converted(tiff(GREY.astype(np.float32), kind=3))
    holes = GREY.astype(np.float32)
    holes[3, 3] = np.nan
    with pytest.raises(ValueError, match="no finite numbers"):
        converted(tiff(holes, kind=3), levels=Levels(0, 1))
    with pytest.raises(ValueError, match="the upper 8 are read only"):
        converted(png(np.stack([GREY, GREY], -1), 16, 4), levels=Levels(0, 4095))


def test_ranges_as_they_are_given() -> None:
    assert parse_levels("full") == FULL and parse_levels("auto") is None
    assert parse_levels("0:4095") == Levels(0, 4095) and parse_levels("-0.5:1e3") == Levels(-0.5, 1000)
    for text in ("", "4095", "4095:", ":1", "5:5", "6:5", "0:nan", "0:inf", "0:1:2", "Auto"):
        with pytest.raises(UserError, match="give full, auto, or LOW:HIGH"):
            parse_levels(text)


def test_twelve_bits_in_sixteen(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.tif").write_bytes(tiff(GREY >> 4))
    (folder / "b.tif").write_bytes(tiff(GREY >> 7))  # a dark one of the same camera
    (folder / "c.png").write_bytes(png(COLOURS >> 4, 16, 2))
    (folder / "d.png").write_bytes(png(GREY >> 8, 8, 0))
    full = prepare_images(folder, tmp_path / "full.zip", AS_IS)
    dark = "dark since they use {} of 16 bits (see --range)"
    assert full.tally.noted == {dark.format(12): 2, dark.format(9): 1}
    auto = prepare_images(folder, tmp_path / "auto.zip", ImageOptions(None, fit=Fit.NONE, levels=None, workers=1))
    dataset = ImageDataset(tmp_path / "auto.zip")
    assert auto.tally.noted == {} and dataset.info.made_with["range"] == [0, 4095]
    for i, values in enumerate([GREY >> 4, GREY >> 7, COLOURS >> 4]):
        expected = np.broadcast_to(np.floor(values.reshape(8, 8, -1) * (255 / 4095) + 0.5), (8, 8, 3))
        assert np.array_equal(dataset[i][0].permute(1, 2, 0).numpy(), expected)
    (folder / "e.tif").write_bytes(tiff(GREY))  # all 16 bits
    prepare_images(folder, tmp_path / "all.zip", ImageOptions(None, fit=Fit.NONE, levels=None, workers=1))
    assert "range" not in ImageDataset(tmp_path / "all.zip").info.made_with
    with open_image(io.BytesIO(tiff(GREY >> 4))) as image:
        assert used_bits(image) == 12


def test_enlarged_images_are_counted_or_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    sizes = {"a": (16, 16), "b": (16, 15), "c": (15, 30), "d": (64, 40), "e": (40, 20)}
    for name, size in sizes.items():
        Image.fromarray(np.random.default_rng(len(name)).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(
            folder / f"{name}.png", exif=exif if name == "e" else b""
        )
    result = prepare_images(folder, tmp_path / "a.zip", ImageOptions((16, 16), workers=1))
    assert result.count == 5 and result.tally.noted == {"enlarged": 2}
    result = prepare_images(
        folder, tmp_path / "b.zip", ImageOptions((16, 16), min_size=(16, 16), strict=True, workers=1)
    )
    assert result.count == 3 and result.tally.left == {"smaller than --min-size": 2} and not result.tally.noted
    assert result.skipped == (("b.png", "is 16x15"), ("c.png", "is 15x30"))
    result = prepare_images(folder, tmp_path / "c.zip", ImageOptions((16, 16), min_size=(40, 20), workers=1))
    assert [name for name, _ in result.skipped] == ["a.png", "b.png", "c.png"]  # `e` is 20 wide and 40 high


@pytest.mark.parametrize(
    ("size", "fit", "enlarged"),
    [
        *(((16, 8), Fit.COVER, False), ((100, 7), Fit.COVER, True), ((15, 100), Fit.STRETCH, True)),
        *(((15, 9), Fit.CONTAIN, False), ((15, 7), Fit.CONTAIN, True), ((4, 4), Fit.NONE, False)),
    ],
)
def test_what_is_enlarged(size: tuple[int, int], fit: Fit, enlarged: bool) -> None:
    assert is_enlarged(size, (8, 16), fit) == enlarged


def test_an_aligned_face_is_enlarged_where_its_square_is_small(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "ab":
        Image.new("RGB", (200, 200), "red" if name == "a" else "blue").save(folder / f"{name}.png")
    points = {
        name: [[90, 90], [90 + d, 90], [90, 90 + d], [90 + d, 90 + d]] for name, d in (("a.png", 5), ("b.png", 30))
    }
    (tmp_path / "points.json").write_text(json.dumps(points))
    options = {"align": str(tmp_path / "points.json"), "workers": 1}
    result = prepare_images(folder, tmp_path / "a.zip", ImageOptions((64, 64), **options))
    assert result.tally.report()["notes"][0]["examples"] == [{"name": "a.png", "detail": "from 20x20"}]
    result = prepare_images(folder, tmp_path / "b.zip", ImageOptions((64, 64), min_size=(64, 64), **options))
    assert result.skipped == (("a.png", "is 20x20"),)


def test_warnings_of_pillow_are_in_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "ab":
        Image.new("RGB", (40, 40), "red" if name == "a" else "blue").save(folder / f"{name}.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # 1600 are warned of
    with warnings.catch_warnings(record=True) as printed:
        result = prepare_images(folder, tmp_path / "a.zip", ImageOptions((8, 8), workers=2))
        assert result.tally.noted == {"with warnings of Pillow": 2}
        note = json.loads((tmp_path / "a.zip.report.json").read_text())["notes"][0]
        assert [item["name"] for item in note["examples"]] == ["a.png", "b.png"]
        assert all("decompression bomb" in item["detail"] for item in note["examples"])
        prepare_images(folder, tmp_path / "b.zip", ImageOptions((8, 8), levels=None, workers=2))
        (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:-50])
        result = prepare_images(folder, tmp_path / "c.zip", ImageOptions((8, 8), workers=2))
        assert "decompression bomb" in result.skipped[0][1]
    assert not printed


def test_only_what_belongs_to_an_image_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("PIL.TiffImagePlugin")
    texts: dict[str, list[str]] = {}

    def decode(name: str) -> None:
        with collect() as kept:
            barrier.wait()
            warnings.warn_explicit(f"a warning of {name}", UserWarning, "file", 1, module="PIL.Image")
            logger.warning("a record of %s", name)
        texts[name] = kept

    barrier = threading.Barrier(2)
    with kept_warnings() as collect:
        threads = [threading.Thread(target=decode, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with pytest.warns(UserWarning, match="of others"):
            warnings.warn("of others", stacklevel=1)
    assert texts == {name: [f"a warning of {name}", f"a record of {name}"] for name in "ab"}
    assert capsys.readouterr().err == "" and not logging.getLogger("PIL").handlers


def test_a_run_that_goes_on_reports_all(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(12):
        side = (8, 4, 2)[i % 3]
        pixels = np.random.default_rng(i).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    (folder / "03.png").write_bytes(b"broken")
    options = ImageOptions((8, 8), min_size=(4, 4), workers=1)
    whole = prepare_images(folder, tmp_path / "whole" / "a.zip", options)
    with interrupted_after(4):
        prepare_images(folder, tmp_path / "a.zip", options)
    result = prepare_images(folder, tmp_path / "a.zip", options)
    assert whole.tally.left == {"smaller than --min-size": 4, "damaged or of no known kind": 1}
    assert result.tally.report() == whole.tally.report() and whole.tally.noted == {"enlarged": 4}

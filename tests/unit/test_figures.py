"""Seeds, layouts, pictures and PNG files of the figures."""

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor
from torchvision.utils import make_grid

from stylegan.errors import UserError
from stylegan.figures.grid import GridConfig, check_free, grid_columns, image_grid, save_png, to_picture
from stylegan.figures.seeds import MAX_SEEDS, parse_seeds


@pytest.mark.parametrize(
    ("value", "seeds"),
    [
        ("0-3", [0, 1, 2, 3]),
        (5, [5]),
        ("5", [5]),
        ("7-7", [7]),
        ([0, 3, 7], [0, 3, 7]),
        ((2, 1), [2, 1]),
        ("0-3,10", [0, 1, 2, 3, 10]),
        (["0-2", 10], [0, 1, 2, 10]),
        ([4, 4], [4, 4]),
        (2**70, [2**70]),
    ],
)
def test_seeds(value: object, seeds: list[int]) -> None:
    assert parse_seeds(value) == seeds


@pytest.mark.parametrize(
    "value", ["", "a", "-3", -3, 1.5, True, None, [], "5-2", "1-2-3", "1,,2", [[1]], {"a": 1}, "٣"]
)
def test_bad_seeds_name_the_option_and_the_value(value: object) -> None:
    with pytest.raises(UserError) as caught:
        parse_seeds(value, "figure.rows")
    assert str(caught.value).startswith(f"figure.rows={value}: ")


def test_number_of_seeds_is_limited() -> None:
    assert len(parse_seeds(f"1-{MAX_SEEDS}")) == MAX_SEEDS
    for value in (f"0-{MAX_SEEDS}", [f"1-{MAX_SEEDS}", 0], "0-99999999999999999999"):
        with pytest.raises(UserError, match="more than"):
            parse_seeds(value)


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (7, 4), (10, 5), (11, 4), (16, 4), (32, 8), (64, 8)]
)
def test_default_layout(count: int, columns: int) -> None:
    assert grid_columns(count, GridConfig()) == columns


def test_default_layout_is_compact_and_never_higher_than_wide() -> None:
    for count in range(1, 300):
        columns = grid_columns(count, GridConfig())
        rows = -(-count // columns)
        assert rows <= columns <= 2 * math.ceil(math.sqrt(count))
        assert rows * columns - count < columns


def test_configured_layout() -> None:
    assert grid_columns(32, GridConfig(cols=5)) == 5
    assert grid_columns(32, GridConfig(rows=2)) == 16
    assert grid_columns(5, GridConfig(rows=3)) == 2
    assert grid_columns(6, GridConfig(rows=3, cols=4)) == 4
    with pytest.raises(UserError, match=r"figure.rows=2 figure.cols=2: 5 seeds do not fit"):
        grid_columns(5, GridConfig(rows=2, cols=2))
    for bad in ({"rows": 0}, {"cols": -1}):
        with pytest.raises(UserError, match="must be at least 1"):
            GridConfig(**bad)


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (6, 3), (7, 3), (2, 5)])
@pytest.mark.parametrize("channels", [1, 3])
def test_grid_equals_torchvision(count: int, columns: int, channels: int) -> None:
    images = torch.randint(256, (count, channels, 4, 6), dtype=torch.uint8)
    expected = make_grid(images.expand(-1, 3, -1, -1), nrow=min(columns, count), padding=0)
    found = pil_to_tensor(image_grid(images, columns).convert("RGB"))
    assert torch.equal(found[..., : expected.shape[-1]], expected)
    assert not found[..., expected.shape[-1] :].any()
    assert found.shape[-1] == columns * 6


def test_grid_keeps_alpha_and_extra_rows_are_clear() -> None:
    images = torch.randint(1, 256, (2, 4, 3, 5), dtype=torch.uint8)
    picture = image_grid(images, 2, rows=2)
    assert picture.mode == "RGBA"
    pixels = pil_to_tensor(picture)
    assert torch.equal(pixels[:, :3, 5:], images[1])
    assert not pixels[:, 3:].any()


def test_grid_reads_images_in_any_memory_layout() -> None:
    images = torch.randint(256, (4, 3, 4, 6), dtype=torch.uint8)
    same = images.contiguous(memory_format=torch.channels_last)
    assert image_grid(images, 2).tobytes() == image_grid(same, 2).tobytes()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_keeps_pixels_and_says_how_it_was_made(tmp_path: Path, channels: int) -> None:
    image = torch.randint(256, (channels, 5, 7), dtype=torch.uint8)
    about = {"seeds": 3, "truncation_psi": 0.7, "name": "Zoë"}
    save_png(to_picture(image), tmp_path / "new" / "a.png", about)
    with Image.open(tmp_path / "new" / "a.png") as picture:
        assert torch.equal(pil_to_tensor(picture), image)
        assert json.loads(picture.info["stylegan"]) == about
        assert picture.info["Software"].startswith("stylegan ")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


def test_files_in_the_way(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    check_free([file], overwrite=False)
    file.touch()
    check_free([file], overwrite=True)
    with pytest.raises(UserError, match="exists already"):
        check_free([tmp_path / "b.png", file], overwrite=False)
    with pytest.raises(UserError, match="is a folder"):
        check_free([tmp_path], overwrite=True)

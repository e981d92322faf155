"""Seeds, figures as options that draw, layouts, and where figures go."""

import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor
from torchvision.utils import make_grid

from stylegan.errors import UserError
from stylegan.figures.base import Figure, Picture, Pictures, Request
from stylegan.figures.config import GenerateConfig
from stylegan.figures.grid import Grid
from stylegan.figures.images import Images
from stylegan.figures.pixels import image_grid, to_pixels
from stylegan.figures.scanline import Scanline
from stylegan.figures.seeds import MAX_SEEDS, parse_seeds
from stylegan.figures.table import FIGURES
from stylegan.figures.writing import Place, describe, find_place, name_of, save_png
from stylegan.inference import MAX_SEED, Sampling, render, sample, sample_ws
from stylegan.models.generator import StyleBased
from tests.unit.tiny import tiny_pair
from tests.unit.without_w import WithoutWConfig


@pytest.fixture(scope="module")
def G() -> StyleBased:
    G, _ = tiny_pair()
    return G.eval().requires_grad_(False)


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
        (MAX_SEED, [2**32 - 1]),
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


def test_seeds_above_those_of_numpy_are_refused_by_name() -> None:
    for value in (2**32, "4294967290-4294967296", [0, "4294967296"]):
        with pytest.raises(UserError) as caught:
            parse_seeds(value)
        assert str(caught.value).startswith(f"seeds={value}: 4294967296 is no seed")


def test_number_of_seeds_is_limited() -> None:
    assert len(parse_seeds(f"1-{MAX_SEEDS}")) == MAX_SEEDS
    for value in (f"0-{MAX_SEEDS}", [f"1-{MAX_SEEDS}", 0], f"0-{MAX_SEED}"):
        with pytest.raises(UserError, match="more than"):
            parse_seeds(value)


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (7, 4), (10, 5), (11, 4), (16, 4), (32, 8), (64, 8)]
)
def test_default_layout(count: int, columns: int) -> None:
    assert Grid().columns(count) == columns


def test_default_layout_is_compact_and_never_higher_than_wide() -> None:
    for count in range(1, 300):
        columns = Grid().columns(count)
        rows = -(-count // columns)
        assert rows <= columns <= 2 * math.ceil(math.sqrt(count))
        assert rows * columns - count < columns


def test_configured_layout() -> None:
    assert Grid(cols=5).columns(32) == 5
    assert Grid(rows=2).columns(32) == 16
    assert Grid(rows=3).columns(5) == 2
    assert Grid(rows=3, cols=4).columns(6) == 4
    with pytest.raises(UserError, match=r"figure.rows=2 figure.cols=2: 5 seeds do not fit"):
        Grid(rows=2, cols=2).columns(5)
    bad: dict[str, Any]
    for bad in ({"rows": 0}, {"cols": -1}):
        with pytest.raises(UserError, match="must be at least 1"):
            Grid(**bad)


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


def test_what_is_no_grid_of_images() -> None:
    images = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    for wrong in (images.float(), images[0], images[:, :2]):
        with pytest.raises(UserError, match=r"image_grid takes uint8 \[N, C, H, W\]"):
            image_grid(wrong, 2)
    for columns, rows in ((0, None), (1, 2), (2, 1)):
        with pytest.raises(UserError, match="3 images do not fit"):
            image_grid(images, columns, rows)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_keeps_pixels_and_says_how_it_was_made(tmp_path: Path, channels: int) -> None:
    image = torch.randint(256, (channels, 5, 7), dtype=torch.uint8)
    about = {"seeds": 3, "truncation_psi": 0.7, "name": "Zoë"}
    save_png(to_pixels(image), tmp_path / "new" / "a.png", about)
    with Image.open(tmp_path / "new" / "a.png") as picture:
        assert torch.equal(pil_to_tensor(picture), image)
        assert json.loads(picture.info["stylegan"]) == about
        assert picture.info["Software"].startswith("stylegan ")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


def place(figure: Figure, out: Path | str | None, overwrite: bool = False, provenance: bool = True) -> Place:
    to = None if out is None else str(out)
    return find_place(figure, Request([3, 12345]), to, overwrite=overwrite, provenance=provenance)


def test_figures_are_named_by_the_table_and_go_where_it_says() -> None:
    assert {name: name_of(figure()) for name, figure in FIGURES.items()} == {name: name for name in FIGURES}
    assert place(Scanline(), None) == Place(Path("scanline.png"), Path("scanline.json"))
    assert place(Grid(), "a.PNG", provenance=False) == Place(Path("a.PNG"), None)
    assert place(Images(), "faces") == Place(
        Path("faces"), Path("faces/images.json"), names=["seed00003.png", "seed12345.png"]
    )


@pytest.mark.parametrize(
    ("figure", "taken", "out"),
    [
        (Grid(), "a.png", "a.png"),
        (Grid(), "a.json", "a.png"),
        (Images(), "a/seed12345.png", "a"),
        (Images(), "a/images.json", "a"),
    ],
)
def test_files_in_the_way(tmp_path: Path, figure: Figure, taken: str, out: str) -> None:
    (tmp_path / taken).parent.mkdir(exist_ok=True)
    assert place(figure, tmp_path / out).path == tmp_path / out
    (tmp_path / taken).touch()
    with pytest.raises(UserError, match=rf"{taken} exists already"):
        place(figure, tmp_path / out)
    assert place(figure, tmp_path / out, overwrite=True).path == tmp_path / out
    if taken.endswith(".json"):
        assert place(figure, tmp_path / out, provenance=False).record is None


def test_what_a_figure_can_not_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "b.png").mkdir()
    (tmp_path / "file").touch()
    for figure, out, message in [
        (Grid(), "a.jpg", r"ends in \.png"),
        (Grid(), "b.png", "is a folder"),
        (Images(), "new.png", "name of a folder"),
        (Images(), "file", "name of a folder"),
    ]:
        with pytest.raises(UserError, match=message):
            place(figure, tmp_path / out, overwrite=True)


def test_grid(G: StyleBased) -> None:
    request = Request([4, 1, 4], Sampling(truncation_psi=0.5, batch=2))
    drawn = Grid(cols=2).draw(G, request)
    images = torch.stack(list(sample(G, request.seeds, request.sampling)))
    assert drawn.image.tobytes() == image_grid(images, 2).tobytes()
    with Image.open(io.BytesIO(drawn._repr_png_())) as shown:
        assert shown.tobytes() == drawn.image.tobytes()


def test_images_are_drawn_as_they_are_asked_for(G: StyleBased) -> None:
    batches: list[Any] = []
    hook = G.synthesis.register_forward_hook(lambda *_: batches.append(_))
    pictures = Images().draw(G, Request([7, 3, 9], Sampling(batch=1)))
    assert not batches
    seed, image = next(pictures.images)
    assert (seed, len(batches)) == (7, 1)
    hook.remove()
    assert torch.equal(pil_to_tensor(image), next(sample(G, [7], Sampling(batch=1))))
    assert [seed for seed, _ in pictures.images] == [3, 9]


def test_scanline(G: StyleBased) -> None:
    drawn = Scanline(frames=20, labels=False).draw(G, Request([0, 1], Sampling(truncation_psi=0.5, batch=4)))
    ws = sample_ws(G, [0, 1], Sampling(truncation_psi=0.5, batch=4))
    first, last = (next(render(G, w[None], Sampling(batch=1))) for w in ws)
    assert drawn.image.size == (21, 16 + 16)
    pixels = pil_to_tensor(drawn.image).int()
    for at, image in ((0, first), (20, last)):
        assert (pixels[:, 16:, at] - image[:, :, 8].int()).abs().max() <= 1
    for request, message in [
        (Request([1]), "at least two"),
        (Request([0, 1], Sampling(noise_mode="random")), "noise_mode=random"),
    ]:
        with pytest.raises(UserError, match=message):
            Scanline().draw(G, request)


@pytest.mark.parametrize("bad", [{"frames": 0}, {"column": 1.1}, {"column": math.nan}, {"top": 0.5, "bottom": 0.5}])
def test_options_have_ranges(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"figure.{next(iter(bad))}="):
        Scanline(**bad)


def test_without_w_there_are_grids_and_images_but_no_walk() -> None:
    G = WithoutWConfig().build(resolution=(8, 8), channels=3, c_dim=0).eval()
    assert Grid().draw(G, Request([0, 1])).image.size == (16, 8)
    assert len(list(Images().draw(G, Request([0, 1])).images)) == 2
    with pytest.raises(
        UserError, match="figure=scanline, which walks through w, needs a network with w; without_w has none"
    ):
        Scanline().draw(G, Request([0, 1]))
    with pytest.raises(UserError, match=r"truncation_psi=0\.7 needs a network with w"):
        Grid().draw(G, Request([0], Sampling(truncation_psi=0.7)))


def test_a_picture_and_its_record(tmp_path: Path, G: StyleBased) -> None:
    network = tmp_path / "secret" / "net.safetensors"
    network.parent.mkdir()
    network.write_bytes(b"weights")
    figure, request = Grid(cols=2), Request([0, 1], Sampling(truncation_psi=0.5, translate=[0, 0]))
    about = describe(figure, G, network, "0-1", request)
    where = place(figure, tmp_path / "new" / "a.png")
    where.write(figure.draw(G, request), about, ["python", "generate.py", "network=net x.safetensors", "seeds=0-1"], G)
    record = json.loads((tmp_path / "new" / "a.json").read_text())
    assert record["command"] == "python generate.py 'network=net x.safetensors' seeds=0-1"
    assert sorted(record["versions"]) == ["python", "stylegan", "torch"]
    assert record["figure"].items() >= {"name": "grid", "rows": None, "cols": 2}.items()
    assert record["network"] == "net.safetensors" and len(record["network_sha256"]) == 64
    assert (record["seeds"], record["ops"], record["precision"]) == ("0-1", "reference", "fp32")
    assert {item.name for item in dataclasses.fields(Sampling)} < record.keys()
    with Image.open(tmp_path / "new" / "a.png") as file:
        told = json.loads(file.info["stylegan"])
    assert told == {name: value for name, value in record.items() if name not in ("command", "versions")}
    assert "secret" not in json.dumps(told)


def test_a_plain_picture_leaves_no_record_of_the_one_that_it_replaces(tmp_path: Path, G: StyleBased) -> None:
    figure, request, out = Grid(), Request([0]), tmp_path / "a.png"
    (tmp_path / "a.json").write_text("{}")
    for overwrite in (False, True):
        where = find_place(figure, request, str(out), overwrite=overwrite, provenance=False)
        where.write(figure.draw(G, request), {}, ["generate.py"], G)
        assert (tmp_path / "a.json").exists() is not overwrite


def test_a_folder_of_pictures_has_one_record(tmp_path: Path, G: StyleBased) -> None:
    request = Request([3, 12345])
    drawn = Images().draw(G, request)
    assert isinstance(drawn, Pictures) and not isinstance(drawn, Picture)
    where = place(Images(), tmp_path / "faces")
    assert where.write(drawn, {"seeds": "3,12345", "x": 1}, ["generate.py"], G) == tmp_path / "faces"
    names = ["images.json", "seed00003.png", "seed12345.png"]
    assert sorted(path.name for path in (tmp_path / "faces").iterdir()) == names
    assert json.loads((tmp_path / "faces" / "images.json").read_text())["seeds"] == "3,12345"
    for seed, image in zip(request.seeds, sample(G, request.seeds), strict=True):
        with Image.open(tmp_path / "faces" / f"seed{seed:05d}.png") as picture:
            assert torch.equal(pil_to_tensor(picture), image)
            assert json.loads(picture.info["stylegan"]) == {"seeds": seed, "x": 1}


def test_generate_offers_all_of_sampling_with_the_same_defaults_but_for_psi() -> None:
    config = GenerateConfig(figure=Grid())
    offered = {item.name: getattr(config, item.name) for item in dataclasses.fields(Sampling)}
    assert Sampling(**offered) == Sampling(truncation_psi=None)

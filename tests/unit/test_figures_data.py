"""Figures about data and runs: grids beside real images, attributes, spectra, progress, curves; and the axes."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from stylegan.data.archive import ImageDataset
from stylegan.data.faces3d import render_faces
from stylegan.data.prepare import ensure_faces3d
from stylegan.detect.spectra import azimuthal_mean
from stylegan.errors import UserError
from stylegan.figures.attributes import Attributes
from stylegan.figures.axes import Line, Plot, heat, ticks
from stylegan.figures.base import Picture, Request
from stylegan.figures.conditions import parse_conditions
from stylegan.figures.curves import Curves
from stylegan.figures.grid import Grid
from stylegan.figures.nearest import find_nearest
from stylegan.figures.page import Page
from stylegan.figures.progress import Progress, evenly_spaced
from stylegan.figures.spectrum import Spectra, Spectrum, heat_map, slices
from stylegan.inference import Sampling, locate, render, sample
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.metrics.attribute_network import load_attributes
from stylegan.models.generator import StyleBased
from tests.golden.golden import load as load_golden
from tests.integration.images import write_archive
from tests.unit.tiny import tiny_pair

SPECTRUM = load_golden("fig_spectrum")


@pytest.fixture(scope="module")
def G() -> StyleBased:
    return tiny_pair()[0].eval().requires_grad_(False)


@pytest.fixture(scope="module")
def conditional() -> StyleBased:
    G = tiny_pair(c_dim=3)[0].eval().requires_grad_(False)
    G.class_names = ("cat", "dog", "owl")
    return G


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("data") / "reals.zip", count=22)


def cell(picture: Picture, row: int, column: int) -> Tensor:
    box = (column * 16, row * 16, (column + 1) * 16, (row + 1) * 16)
    return torch.from_numpy(np.array(picture.image.crop(box))).permute(2, 0, 1)


def alike(a: Tensor, b: Tensor) -> bool:
    return int((a.int() - b.int()).abs().max()) <= 1


# grid


def test_real_images_stand_above_generated_ones(G: StyleBased, archive: Path) -> None:
    drawn = Grid(data=str(archive), cols=3, labels=False).draw(G, Request(range(6)))
    dataset = ImageDataset(archive)
    for i, name in enumerate(drawn.facts["real"]):
        assert torch.equal(cell(drawn, i // 3, i % 3), dataset[dataset.names.index(name)][0])
    assert len(set(drawn.facts["real"])) == 6
    for i, image in enumerate(sample(G, range(6))):
        assert alike(cell(drawn, 2 + i // 3, i % 3), image)


@pytest.mark.parametrize("batch", [5, 64])
def test_the_nearest_is_that_of_brute_force(G: StyleBased, archive: Path, batch: int) -> None:
    dataset = ImageDataset(archive)
    reals = torch.stack([dataset[i][0] for i in range(len(dataset))])
    images = reals[[7, 20]].clone()
    images[0, 0, 0, 0] += 1
    images = torch.cat([images, torch.stack(list(sample(G, [1])))])
    found = find_nearest(images, dataset, "pixels", G, Request([0], Sampling(batch=batch)))
    distances = [(reals.double() - image.double()).square().mean(dim=(1, 2, 3)).sqrt() for image in images]
    assert found.names == [dataset.names[int(d.argmin())] for d in distances]
    assert found.names[:2] == [dataset.names[7], dataset.names[20]]
    assert found.distances == pytest.approx([float(d.min()) for d in distances], rel=1e-4, abs=1e-6)
    drawn = Grid(data=str(archive), nearest=True, cols=2, labels=False).draw(G, Request([1, 2, 3]))
    assert torch.equal(cell(drawn, 1, 0), found.images[2]) and drawn.facts["measure"].startswith("pixels")
    with pytest.raises(UserError, match="there are no features mobilnet_v2; did you mean"):
        Grid(data=str(archive), nearest=True, features="mobilnet_v2").draw(G, Request([1]))


def test_rows_by_class(conditional: StyleBased, G: StyleBased) -> None:
    drawn = Grid(labels=False).draw(conditional, Request([4, 5], Sampling(class_idx="all")))
    for row in range(3):
        for column, image in enumerate(sample(conditional, [4, 5], Sampling(class_idx=row))):
            assert alike(cell(drawn, row, column), image)
    assert drawn.latents is not None and drawn.latents.names[3] == "dog, seed 5"
    assert alike(next(render(conditional, drawn.latents[3])), cell(drawn, 1, 1))
    with pytest.raises(UserError, match="class_idx=all: this network has no classes"):
        Grid().draw(G, Request([1], Sampling(class_idx="all")))
    with pytest.raises(UserError, match="class_idx=all makes rows by class of figure=grid"):
        list(sample(conditional, [1], Sampling(class_idx="all")))
    with pytest.raises(UserError, match="makes a row of each class"):
        Grid(cols=2).draw(conditional, Request([1], Sampling(class_idx="all")))


def test_sizes(G: StyleBased) -> None:
    drawn = Grid(sizes=[0, 1, 2], labels=False).draw(G, Request(range(15)))  # 7 a row: one is left over
    assert drawn.image.size == (16 + 8 + 4, 32)
    images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in sample(G, range(14))]
    pixels = np.array(drawn.image).astype(int)
    assert np.abs(pixels[16:, :16] - np.array(images[1])).max() <= 1
    third = np.array(images[2 + 2].resize((8, 8), Image.Resampling.BOX))
    assert np.abs(pixels[16:24, 16:24] - third).max() <= 1
    last = np.array(images[13].resize((4, 4), Image.Resampling.BOX))
    assert np.abs(pixels[28:, 24:] - last).max() <= 1
    for options, message in [
        ({"sizes": [5]}, "16x16 cannot be halved so often"),
        ({"sizes": [2, 2, 2, 2]}, "a row takes 16 images, and there are 15 seeds"),
        ({"sizes": [1], "captions": True}, "arranges the images by itself"),
    ]:
        with pytest.raises(UserError, match=message):
            Grid(**options).draw(G, Request(range(15)))


def test_uncurated_seeds_are_drawn_by_one(G: StyleBased) -> None:
    drawn, again, other = (Grid(uncurated=4, uncurated_seed=s, labels=False).draw(G, Request([0])) for s in (1, 1, 2))
    seeds = drawn.facts["drawn_seeds"]
    assert seeds == again.facts["drawn_seeds"] != other.facts["drawn_seeds"] and len(set(seeds)) == 4
    for i, image in enumerate(sample(G, seeds)):
        assert alike(cell(drawn, i // 2, i % 2), image)


def test_captions_make_room_below(G: StyleBased) -> None:
    plain, captioned = (Grid(captions=on, cols=2, width_cm=8.5).draw(G, Request([1, 2])).image for on in (False, True))
    assert plain.size == (32, 16) and captioned.width / captioned.height < 2
    for options, message in [
        ({"nearest": True}, "figure.nearest=true needs real images"),
        ({"data": "nowhere.zip"}, "nowhere.zip"),
    ]:
        with pytest.raises(UserError, match=message):
            Grid(**options).draw(G, Request([1]))


def test_images_of_another_size_are_no_comparison(G: StyleBased, tmp_path: Path, archive: Path) -> None:
    large = write_archive(tmp_path / "large.zip", size=32)
    for figure in (Grid(data=str(large)), Spectrum(data=str(large))):
        with pytest.raises(UserError, match=r"32x32 with 3 channel.*16x16 with 3: they cannot be compared"):
            figure.draw(G, Request([1]))
    with pytest.raises(UserError, match="has 22 images, and 30 are needed"):
        Spectrum(data=str(archive)).draw(G, Request(range(30)))


# attributes


def read(**values: float) -> Tensor:
    """What the attribute network might say: sex, age, ..., and the words named."""
    from stylegan.metrics.attribute_network import OUTPUTS, places

    row = torch.zeros(1, OUTPUTS)
    for name, value in values.items():
        row[0, places()[name].start + (int(value) if name in ("hair_colour", "ancestry") else 0)] = (
            1.0 if name in ("hair_colour", "ancestry") else value
        )
    return row


@pytest.mark.parametrize(
    ("where", "yes", "no"),
    [
        ('{sex:female,age:"50-"}', {"sex": 0.2, "age": 50}, {"sex": 0.2, "age": 49}),
        ("sex:male", {"sex": 0.5}, {"sex": 0.49}),
        ("age:20-40", {"age": 40}, {"age": 40.1}),
        ("age:-30", {"age": 30}, {"age": 31}),
        ("yaw:-20..-5", {"yaw": -5}, {"yaw": 5}),
        ("yaw:..-5", {"yaw": -30}, {"yaw": -4}),
        ("hair_colour:black|red", {"hair_colour": 4}, {"hair_colour": 3}),
        ("beard:yes,glasses:no", {"beard": 0.1, "glasses": 0.4}, {"beard": 0.1, "glasses": 0.5}),
    ],
)
def test_conditions(where: str, yes: dict[str, float], no: dict[str, float]) -> None:
    conditions = parse_conditions(where)
    assert all(bool(condition.holds(read(**yes))) for condition in conditions)
    assert not all(bool(condition.holds(read(**no))) for condition in conditions)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("{sx:female}", "there is no attribute sx; did you mean 'sex'"),
        ("sex:femal", "sex takes female, male, or a range"),
        ("hair_colour:blak", "did you mean 'black'"),
        ("age:old", "age takes a range|age takes or a range|age takes"),
        ("age:90-", "age is between 18 and 80, never in 90-"),
        ("age:40-20", "never in 40-20"),
        ("age", "is no condition"),
        ("{}", "is no condition"),
        ("age:20-,age:-30", "age is named twice"),
    ],
)
def test_conditions_that_cannot_be(where: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Attributes(where=where)


def test_attributes_keeps_what_the_network_accepts(G: StyleBased, monkeypatch: pytest.MonkeyPatch) -> None:
    network, _, _ = load_attributes(torch.device("cpu"))
    every = torch.stack(list(sample(G, range(40))))
    ages = network.read(every)[:, 1]
    middle = float(ages.median())
    wanted = [seed for seed, age in enumerate(ages.tolist()) if age >= middle]
    figure = Attributes(where=f"age:{middle:.6f}-", count=4, labels=False)
    drawn = figure.draw(G, Request([0], Sampling(batch=16)))
    kept = drawn.facts["seeds_kept"]
    assert len(kept) == 4 and set(kept) <= set(wanted) | {int((ages - middle).abs().argmin())}
    assert drawn.facts["acceptance_rate"] == 4 / drawn.facts["tried"] and drawn.facts["tried"] == kept[-1] + 1
    for i, seed in enumerate(kept):
        assert alike(cell(drawn, i // 2, i % 2), every[seed])
    assert drawn.latents is not None and drawn.latents.names == tuple(f"seed {seed}" for seed in kept)
    monkeypatch.setattr(
        "stylegan.figures.conditions._of_number", lambda *_: lambda read: torch.zeros(len(read), dtype=torch.bool)
    )
    with pytest.raises(UserError, match="none of 20 images has these"):
        Attributes(where="age:20-", most=20).draw(G, Request([0]))


def test_real_faces_have_the_attributes_that_they_were_made_with() -> None:
    images, labels = render_faces(range(60), split="evaluation", resolution=32)
    network, _, _ = load_attributes(torch.device("cpu"))
    found = parse_conditions("sex:male")[0].holds(network.read(torch.from_numpy(images)))
    right = [bool(f) == (label["sex"] >= 0.5) for f, label in zip(found, labels, strict=True)]
    assert sum(right) > 50


# spectrum


@pytest.mark.parametrize("index", [0, 1, 2])
def test_spectra_are_those_of_the_public_tool(index: int) -> None:
    case, name = SPECTRUM.config["cases"][index], f"case{index:02d}"
    spectra = Spectra((case["res"], case["res"]), case["beta"], case["interp"])
    for image in SPECTRUM.tensor(f"{name}/in/img"):
        spectra.add(image)
    if index != 1:  # its whitening is that of other images
        SPECTRUM.assert_close(f"f64/{name}/out/mean_std", torch.tensor(spectra.mean_and_std(), dtype=torch.float64))
    power = spectra.power(case["mean"], case["std"])
    plain = heat_map(power, 0.0)
    along = slices(plain, (case["res"], case["res"]))
    for key, value in {
        "spectrum": power,
        "heatmap_smooth0": plain,
        "heatmap_smooth1.25": heat_map(power, case["interp"] * 1.25),
        "slice0": along["0°"][1],
        "slice45": along["45°"][1],
        "freqs0": along["0°"][0],
        "freqs45": along["45°"][0],
    }.items():
        SPECTRUM.assert_close(f"f64/{name}/out/{key}", value)


def test_a_wave_peaks_at_its_frequency() -> None:
    spectra = Spectra((32, 64), 8.0, 4)
    wave = 100 + 50 * torch.sin(2 * math.pi * 12 * torch.arange(64) / 64)
    spectra.add(wave.expand(1, 32, 64))
    frequencies, power = slices(heat_map(spectra.power(*spectra.mean_and_std()), 0.0), (32, 64))["0°"]
    assert float(frequencies[power.argmax()]) == pytest.approx(12, abs=0.26)
    assert set(slices(torch.zeros(9, 17), (2, 4))) == {"0°"}  # a diagonal of what is not square goes nowhere


def test_white_noise_is_flat_in_all_directions() -> None:
    spectra, generator = Spectra((16, 16), 8.0, 4), torch.Generator().manual_seed(0)
    for _ in range(400):
        spectra.add(torch.randint(256, (1, 16, 16), generator=generator))
    power = spectra.power(*spectra.mean_and_std())
    frequencies, mean = azimuthal_mean(power, (16, 16))
    assert float(frequencies[-1]) == 8 and (10 * mean.log10()).abs().max() < 1
    torch.testing.assert_close(power, power.flip(0, 1).roll((1, 1), (0, 1)))  # of real images


def test_the_figure_of_spectra(G: StyleBased, archive: Path) -> None:
    request = Request(range(20), Sampling(batch=8))
    figure = Spectrum(data=str(archive), azimuthal=True)
    drawn, again = figure.draw(G, request), Spectrum(data=str(archive), azimuthal=True).draw(G, request)
    assert drawn.image.tobytes() == again.image.tobytes() and drawn.facts["images"] == 20
    dataset = ImageDataset(archive)
    chosen = np.random.RandomState(0).permutation(22)[:20]
    pixels = torch.stack([dataset[int(i)][0] for i in chosen]).double()
    assert (drawn.facts["mean"], drawn.facts["std"]) == pytest.approx(
        (float(pixels.mean()), float(pixels.std(correction=0)))
    )


# axes


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 96, [0, 20, 40, 60, 80, 100]),
        (-0.3, 0.9, [-0.5, 0, 0.5, 1]),
        (3, 3, [3, 6]),
    ],
)
def test_ticks(low: float, high: float, expected: list[float]) -> None:
    found = ticks(low, high)
    assert found == pytest.approx(expected) or (found[0] <= low and found[-1] >= high and len(found) <= 7)
    assert found[0] <= low <= high <= found[-1]


def test_logarithmic_ticks_are_powers_of_ten() -> None:
    assert ticks(0.02, 30, log=True) == pytest.approx([0.01, 0.1, 1, 10, 100])
    assert ticks(1, 1, log=True) == [1, 10]


def test_a_line_goes_where_the_axes_say() -> None:
    page = Page(400, 300, 100)
    Plot([Line("", [0, 10], [0, 100])]).draw(page, 0, 0, 400, 300)
    lines: list[Any] = [item for item in page._items if type(item).__name__ == "_Line"]
    (start, end) = lines[-1].points
    left_bottom, right_top = lines[0].points[0], lines[len(ticks(0, 100)) - 1].points[1]
    assert start == pytest.approx(left_bottom) and end == pytest.approx(right_top)
    assert end[0] > start[0] and end[1] < start[1]


def test_what_is_not_finite_is_a_gap() -> None:
    page = Page(400, 300, 100)
    y = [1.0, 2.0, math.nan, 3.0, 4.0, math.inf]
    Plot([Line("a", list(range(6)), y)], log=True).draw(page, 0, 0, 400, 300)
    blue: list[Any] = [item for item in page._items if getattr(item, "color", "") == "#0072b2"]
    assert [len(item.points) for item in blue] == [2, 2, 2]  # two parts, and the legend's


def test_heat_grows_lighter() -> None:
    image = np.array(heat(np.linspace(0, 1, 50)[None], 0, 1).convert("L")).astype(int)[0]
    assert (np.diff(image) >= -1).all() and image[-1] > image[0] + 150
    assert np.array_equal(np.array(heat(np.array([[-5.0]]), 0, 1)), np.array(heat(np.array([[0.0]]), 0, 1)))


# runs


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    for number, nimg in enumerate((8000, 16000, 24000)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(number)
            G = tiny_pair()[0]
            for parameter in G.parameters():
                parameter.data.add_(0.1 * torch.randn(parameter.shape))
        save_snapshot(folder / "snapshots" / f"G_ema-{nimg:09d}.safetensors", G, provenance={"nimg": nimg})
    (folder / "config.yaml").write_text("")
    records = [
        {"nimg": n * 1000, "loss/G": 1.0 / (n + 1), "loss/D": None if n == 3 else 1.0, "r1_penalty": 0}
        for n in range(8)
    ]
    (folder / "stats.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "metrics.jsonl").write_text(json.dumps({"nimg": 8000, "results": {"kid2k": 0.5}}) + "\n")
    return folder


def test_progress_shows_every_snapshot(G: StyleBased, run: Path) -> None:
    request = Request([3, 4], Sampling(batch=2), network=str(run))
    clip = Progress(fps=2, labels=False).draw(G, request)
    assert clip.count == 3 and not clip.loops and clip.still is not None
    frames = list(clip.frames([2, 0]))
    from stylegan.inference import load_generator

    for frame, nimg in zip(frames, (24000, 8000), strict=True):
        network = load_generator(run / "snapshots" / f"G_ema-{nimg:09d}.safetensors")
        assert torch.equal(frame, torch.cat(list(sample(network, [3, 4], Sampling(batch=2))), dim=2))
    sheet = clip.still()
    assert sheet.image.size == (48, 32)
    assert torch.equal(cell(sheet, 1, 2), frames[0][:, :, 16:]) and torch.equal(cell(sheet, 0, 0), frames[1][:, :, :16])
    with pytest.raises(UserError, match="figure=progress takes seeds"):
        Progress().draw(G, Request([locate(G, [1])], network=str(run)))
    assert evenly_spaced(10, 4) == [0, 3, 6, 9] and evenly_spaced(3, 8) == [0, 1, 2] and evenly_spaced(5, 1) == [4]


def test_curves_of_what_was_recorded(G: StyleBased, run: Path) -> None:
    drawn = Curves().draw(G, Request([0], network=str(run)))
    assert drawn.facts == {"records": 8, "plots": ["losses", "kid2k"]}  # a penalty of 0 has no logarithm
    assert drawn.image.width == pytest.approx(17 / 2.54 * 200, abs=1)
    assert drawn.image.tobytes() == Curves().draw(G, Request([0], network=str(run))).image.tobytes()


def test_figures_about_runs_need_one(G: StyleBased, run: Path, tmp_path: Path) -> None:
    for figure, name in ((Progress(), "progress"), (Curves(), "curves")):
        for network in ("demo", str(tmp_path), None):
            with pytest.raises(UserError, match=f"figure={name} is about a run, and network={network} is none"):
                figure.draw(G, Request([0], network=network))
    for path in (run / "snapshots").iterdir():
        path.unlink()
    (run / "stats.jsonl").unlink()
    (run / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match="this run has no snapshot yet"):
        Progress().draw(G, Request([0], network=str(run)))
    with pytest.raises(UserError, match="has recorded nothing yet"):
        Curves().draw(G, Request([0], network=str(run)))


def test_shipped_faces_are_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    archive: Any = ensure_faces3d(resolution=16, count=8)
    drawn = Grid(data=str(archive), labels=False).draw(tiny_pair()[0].eval(), Request([1]))
    assert drawn.image.size == (16, 32)

"""generate.py as people type it: pictures appear, and what is wrong ends in one message and exit code 2."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from stylegan import run_dir
from stylegan.config.groups import register, to_typed
from stylegan.data.prepare import ImageOptions, prepare_images
from stylegan.figures.config import GenerateConfig
from stylegan.figures.grid import Grid
from stylegan.figures.images import Images
from stylegan.figures.pixels import image_grid
from stylegan.files import sha256, shipped
from stylegan.inference import Sampling, load_generator, sample
from stylegan.interop.convert import convert
from stylegan.interop.provenance import DIGITAL_SOURCE_TYPE
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.models.layers import Precision
from stylegan.models.mapping import MappingConfig
from stylegan.models.stylegan2 import StyleGAN2Config
from stylegan.models.stylegan3 import StyleGAN3Config
from tests.integration.command import ROOT, run_here, start
from tests.unit.public_pickle import dumps, network_call


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with one snapshot of a tiny network."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    config = StyleGAN2Config(z_dim=8, w_dim=8, channel_base=64, channel_max=8, mapping=MappingConfig(num_layers=2))
    torch.manual_seed(0)
    G = config.build(resolution=(8, 8), channels=3, c_dim=0)
    save_snapshot(run_dir.snapshot_path(folder, 1000), G, provenance={"nimg": 1000})
    (folder / run_dir.CONFIG).touch()
    return folder


def typed(*arguments: str) -> GenerateConfig:
    """What generate.py makes of its arguments, without a process of its own."""
    register()
    with initialize_config_dir(str(shipped("configs")), version_base="1.3"):
        return to_typed(compose("generate", list(arguments)), GenerateConfig)


def pixels(path: Path) -> torch.Tensor:
    with Image.open(path) as picture:
        return pil_to_tensor(picture)


def test_grid_from_the_command_line(run: Path, tmp_path: Path) -> None:
    arguments = [f"network={run}", "seeds=[0-2,7]", "device=cpu", "truncation_psi=0.5", "figure.cols=4"]
    process = start("generate", *arguments, cwd=tmp_path)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (0, "grid.png\n"), err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.json", "grid.png"]
    seeds = [0, 1, 2, 7]
    images = torch.stack(list(sample(load_generator(run), seeds, Sampling(truncation_psi=0.5))))
    found = pixels(tmp_path / "grid.png").int()
    # Another process may use another number of threads, so one grey level is granted.
    assert (found - pil_to_tensor(image_grid(images, 4)).int()).abs().max() <= 1
    with Image.open(tmp_path / "grid.png") as picture:
        about, packet = json.loads(picture.info["stylegan"]), picture.info["XML:com.adobe.xmp"]
    assert about["network_sha256"] == sha256(run_dir.snapshots(run)[-1])
    assert (about["seeds"], about["truncation_psi"], about["noise_mode"]) == (["0-2", 7], 0.5, "const")
    assert DIGITAL_SOURCE_TYPE in packet and about["network_sha256"] in packet
    record = json.loads((tmp_path / "grid.json").read_text())
    assert about.items() <= record.items()
    assert record["command"] == shlex.join(["python", "generate.py", *arguments])
    process = start("generate", *arguments, cwd=tmp_path)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2 and "grid.png exists already" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seeds=5-2"], "the range 5-2 runs backwards"),
        (["seeds=4294967296"], "4294967296 is no seed"),
        (["figure=scanline", "figure.frame=2"], "did you mean 'figure.frames'"),
        (["figure=scanline", "figure.rows=2"], "figure.rows is a setting of figure=grid"),
        (["figure=scanline", "figure.frames=0"], "figure.frames=0"),
        (["figure=scanline", "seeds=1"], "at least two"),
        (["truncation_psi=nan"], "truncation_psi=nan"),
        (["rotate=10"], "cannot be moved"),
        (["figure=gird"], "did you mean 'grid'"),
        (["figure.row=2"], "did you mean 'figure.rows'"),
        (["batch=many"], "many"),
        (["class_idx=0"], "class_idx=0: this network has no classes"),
        (["network=nowhere"], "nowhere"),
        (["network=notes.pkl"], "notes.pkl"),
        (["truncation_cutoff=99"], "truncation_cutoff=99"),
        (["noise_mode=loud"], "loud"),
        (["provenance=maybe"], "maybe"),
        (["device=tpu"], "device=tpu"),
    ],
)
def test_mistakes_end_with_one_message(
    run: Path,
    tmp_path: Path,
    arguments: Sequence[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "notes.pkl").write_bytes(b"\x80\x04N.")
    monkeypatch.chdir(tmp_path)
    result = run_here("generate", f"network={run}", *arguments, capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 2
    assert result.err.startswith("error: ") and result.err.count("\n") == 1, result.err
    assert message in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.pkl"]


def test_classes_have_the_names_of_the_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the folders by way of archive, run and snapshot to the command line."""
    monkeypatch.chdir(tmp_path)
    for i in range(16):
        place = tmp_path / "pets" / ("cat" if i % 2 else "dog") / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (i, 100, 200 - i)).save(place)
    prepare_images("pets", "pets.zip", ImageOptions((16, 16), labels=True))
    settings = ["experiment=debug", "data.path=pets.zip", "data.use_labels=true", "run_dir=r", "training.kimg=0.008"]
    result = run_here("train", *settings, capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 0, result.err
    made = {}
    for name in ("cat", "dog", "0", "1"):
        words = ["network=r", "seeds=3", f"class_idx={name}", f"out={name}.png", "device=cpu"]
        result = run_here("generate", *words, capsys=capsys, monkeypatch=monkeypatch)
        assert result.code == 0, result.err
        made[name] = pixels(Path(f"{name}.png"))
    assert torch.equal(made["cat"], made["0"]) and torch.equal(made["dog"], made["1"])
    assert not torch.equal(made["cat"], made["dog"])
    assert json.loads(Path("dog.json").read_text())["class_idx"] == "dog"
    result = run_here("generate", "network=r", "class_idx=cta", capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 2 and "did you mean 'cat'?" in result.err


@pytest.mark.parametrize("c_dim", [0, 2])
@pytest.mark.parametrize("kind", ["stylegan2", "stylegan3"])
def test_pictures_of_a_converted_pickle_are_those_of_the_public_tools(
    tmp_path: Path, kind: str, c_dim: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Theirs: NumPy's z, one-hot label, no truncation, constant noise, x * 127.5 + 128 cut off to whole numbers."""
    monkeypatch.chdir(tmp_path)
    sizes: dict[str, Any] = {"z_dim": 8, "w_dim": 8, "channel_base": 64, "channel_max": 8}
    config = StyleGAN2Config(**sizes)
    if kind == "stylegan3":
        config = StyleGAN3Config(**sizes, num_layers=4, num_critical=1, output_scale=2.0)
    torch.manual_seed(0)
    G = config.build(resolution=(16, 16), channels=3, c_dim=c_dim).eval().requires_grad_(False)
    for name, parameter in G.named_parameters():
        if name.endswith(("bias", "noise_strength")):
            parameter.add_(0.3 * torch.randn(parameter.shape))
    Path("a.pkl").write_bytes(dumps({"G": network_call(G), "D": None, "G_ema": network_call(G)}))
    convert("a.pkl", "a.safetensors")
    arguments = ["figure=images", "seeds=0-7", "device=cpu", *(["class_idx=1"] if c_dim else [])]
    label = torch.eye(2)[1:] if c_dim else torch.zeros(1, 0)
    for network in ("a.pkl", "a.safetensors"):
        folder = Path(f"of-{network}")
        words = [f"network={network}", *arguments, f"out={folder}"]
        assert run_here("generate", *words, capsys=capsys, monkeypatch=monkeypatch).code == 0
        for seed in range(8):
            z = torch.from_numpy(np.random.RandomState(seed).randn(1, 8)).float()
            img = G(z, label, truncation_psi=1, noise_mode="const")
            expected = (img * 127.5 + 128).clamp(0, 255).to(torch.uint8)[0]
            assert 10 < expected.float().std() < 120
            assert (pixels(folder / f"seed{seed:04d}.png").int() - expected.int()).abs().max() <= 1


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_here("generate", "--help", capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 0
    for setting in (
        "network=demo",
        "seeds=0-31",
        "truncation_psi=null",
        "noise_mode=const",
        "figure=scanline",
        "figure=mixing",
    ):
        assert setting in result.out
    assert "figure.rows" not in result.out
    chosen = run_here("generate", "figure=scanline", "--help", capsys=capsys, monkeypatch=monkeypatch)
    assert chosen.code == 0 and "figure.frames=128" in chosen.out and "network=demo" not in chosen.out
    assert "experiment:" not in result.out
    assert "images" in result.out


def test_the_demo_network_that_is_shipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_here("generate", "network=demo", "seeds=0-3", "batch=4", capsys=capsys, monkeypatch=monkeypatch)
    assert (result.code, result.out) == (0, "grid.png\n"), result.err
    images = pixels(tmp_path / "grid.png").float()
    assert images.std() > 20, "a picture, not one colour"
    assert shipped("datasets/faces3d/demo.safetensors").stat().st_size < 8 << 20


def test_both_back_ends_make_the_same_picture(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And `auto` compiles nothing for one picture."""
    monkeypatch.chdir(tmp_path)
    four = [f"network={run}", "seeds=0-3"]
    for backend in ("reference", "compiled"):
        arguments = [*four, f"out={backend}.png", f"ops.backend={backend}"]
        result = run_here("generate", *arguments, capsys=capsys, monkeypatch=monkeypatch)
        assert (result.code, ops_of(f"{backend}.png")) == (0, backend), result.err
    assert (pixels(Path("reference.png")).int() - pixels(Path("compiled.png")).int()).abs().max() <= 1
    result = run_here("generate", *four, "out=auto.png", capsys=capsys, monkeypatch=monkeypatch)
    assert (result.code, result.err, ops_of("auto.png")) == (0, "", "compiled")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    result = run_here("generate", *four, "out=empty.png", capsys=capsys, monkeypatch=monkeypatch)
    assert (result.code, result.err, ops_of("empty.png")) == (0, "", "reference")
    assert not (tmp_path / "empty").exists()


@pytest.mark.parametrize("figure", ["grid", "images"])
def test_plain_files_for_those_who_want_them(
    run: Path, tmp_path: Path, figure: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [f"network={run}", "seeds=0-1", f"figure={figure}"]
    found = []
    for out, more in (("plain.png", ["provenance=false"]), ("told.png", [])):
        to = out if figure == "grid" else out.removesuffix(".png")
        result = run_here("generate", *arguments, f"out={to}", *more, capsys=capsys, monkeypatch=monkeypatch)
        assert result.code == 0, result.err
        found.append(Path(to) if figure == "grid" else Path(to) / "seed0001.png")
    plain, told = found
    assert [str(path) for path in Path().rglob("*.json")] == ["told.json" if figure == "grid" else "told/images.json"]
    assert torch.equal(pixels(plain), pixels(told))
    with Image.open(plain) as picture, Image.open(told) as other:
        assert picture.info == {}
        assert json.loads(other.info["stylegan"])["seeds"] == ("0-1" if figure == "grid" else 1)
        assert DIGITAL_SOURCE_TYPE in other.info["XML:com.adobe.xmp"]


def ops_of(picture: str) -> str:
    with Image.open(picture) as file:
        return json.loads(file.info["stylegan"])["ops"]


def test_arguments_arrive_typed() -> None:
    assert typed() == GenerateConfig(figure=Grid())
    assert typed("figure=images").figure == Images()
    assert typed("precision=bf16").precision is Precision.bf16 and typed().precision is None
    assert typed("figure.rows=2").figure == Grid(rows=2)
    for seeds, value in (("0-3", "0-3"), ("5", 5), ("[0,3]", [0, 3]), ("[0-3,10]", ["0-3", 10])):
        assert typed(f"seeds={seeds}").seeds == value


def test_images(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [f"network={run}", "figure=images", "batch=1", "ops.backend=reference"]
    result = run_here("generate", *arguments, "seeds=[3,12345]", capsys=capsys, monkeypatch=monkeypatch)
    assert (result.code, result.out) == (0, "images\n"), result.err
    names = ["images.json", "seed00003.png", "seed12345.png"]
    assert sorted(path.name for path in Path("images").iterdir()) == names
    G = load_generator(run, ops="reference")
    for seed, image in zip((3, 12345), sample(G, [3, 12345], Sampling(batch=1)), strict=True):
        assert torch.equal(pixels(Path("images") / f"seed{seed:05d}.png"), image)
    result = run_here("generate", *arguments, "seeds=4", capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 2 and "images/images.json exists already" in result.err
    result = run_here("generate", *arguments, "seeds=4", "overwrite=true", capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 0 and len(list(Path("images").iterdir())) == 4


def test_scanline(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [f"network={run}", "figure=scanline", "seeds=0-2", "figure.frames=8", "figure.labels=false"]
    result = run_here("generate", *arguments, capsys=capsys, monkeypatch=monkeypatch)
    assert (result.code, result.out) == (0, "scanline.png\n"), result.err
    assert pixels(Path("scanline.png")).shape == (3, 16, 17)
    assert json.loads(Path("scanline.json").read_text())["figure"]["frames"] == 8


def test_from_a_seed_to_a_picture_is_short_to_read(tmp_path: Path) -> None:
    """All that is entered, network and its file included; without refusals, files, ops and provenance."""
    left_out = [
        "stylegan/errors.py",
        "stylegan/values.py",
        "stylegan/memory.py",
        "stylegan/files.py",
        "stylegan/opening.py",
        "stylegan/ops/",
        "stylegan/interop/fill.py",
        "stylegan/interop/header.py",
        "stylegan/interop/provenance.py",
    ]
    generate = ["generate.py", "network=demo", "figure=images", "seeds=0-3", "batch=1", f"out={tmp_path / 'faces'}"]
    command = ["tests/bench/reading_length.py", "generate.py:make_figure", "--without", *left_out, "--", *generate]
    result = subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True, text=True)
    lines, files = (int(number) for number in re.findall(r"(\d+) lines in (\d+) files", result.stdout)[0])
    for entered in ("interop/snapshot", "models/stylegan2", "figures/images"):
        assert f"stylegan/{entered}.py" in result.stdout
    assert files <= 17 and lines <= 2800, result.stdout

"""Every figure from the command line: as people type it, to the bit again, and one message for what cannot be."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from stylegan.figures.table import FIGURES
from stylegan.interop.latents import read_latents
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.models.mapping import MappingConfig
from stylegan.models.progan import ProGANConfig
from stylegan.models.r3gan import R3GANConfig
from stylegan.models.stylegan1 import StyleGAN1Config
from stylegan.models.stylegan3 import StyleGAN3Config
from tests.integration.command import Result, run_here
from tests.integration.images import write_archive
from tests.unit.tiny import tiny_pair
from tests.unit.without_w import WithoutWConfig

COMMANDS = {
    "attributes": "figure=attributes 'figure.where={sex:0-1,age:\"18-\"}' figure.count=2 figure.most=50 figure.cols=2",
    "blend": "figure=blend seeds=1,me.safetensors:1 figure.weights=2,1",
    "blend of layers": "figure=blend seeds=1,2 'figure.layers=coarse;all'",
    "curves": "figure=curves network=run",
    "edit": "figure=edit seeds=1,me.safetensors figure.directions=pca:0,sefa:1 figure.given=pca:1 figure.steps=3",
    "edit by scores": "figure=edit seeds=1 figure.scores=scores.csv figure.directions=warm figure.steps=3",
    "drag": "figure=drag seeds=1 'figure.points=[[4,4,8,4]]' figure.steps=3",
    "drag as a clip": "figure=drag seeds=me.safetensors:1 'figure.points=[[4,4,8,4]]' figure.steps=3 out=drag.webp",
    "equivariance": "figure=equivariance network=G3.safetensors seeds=0-1 figure.move=0.1,0",
    "grid": "figure=grid seeds=0-3,me.safetensors figure.captions=true figure.cols=3",
    "grid of classes": "figure=grid network=Gc.safetensors class_idx=all seeds=0-1",
    "grid beside data": "figure=grid seeds=0-3 figure.data=reals.zip figure.nearest=true",
    "grid in sizes": "figure=grid figure.uncurated=3 figure.sizes=0,1",
    "images": "figure=images seeds=0-1,me.safetensors out=faces",
    "interpolation": "figure=interpolation seeds=0-1,me.safetensors:0,3 figure.frames=3 out=walk.webp",
    "layers": "figure=layers seeds=1",
    "layers, activations": "figure=layers seeds=1 figure.activations=b8.conv1 figure.channels=3",
    "mixing": "figure=mixing figure.rows=0,me.safetensors figure.cols=5-6 figure.layers=1,3-4",
    "noise": "figure=noise seeds=1 figure.samples=3",
    "progress": "figure=progress network=run seeds=0-1 out=progress.gif",
    "progress as a sheet": "figure=progress network=run seeds=0-1 out=progress.png",
    "projection": "figure=projection figure.pictures=photo.png figure.space=w+ figure.steps=4 figure.distance=pixels",
    "projection, tuned": "figure=projection figure.pictures=photo.png,photo.png figure.steps=3 figure.tune=pivotal "
    "figure.tune_steps=2 figure.noise=true figure.align=true figure.landmarks=marks.json out=tuned.gif",
    "scanline": "figure=scanline seeds=0-1 figure.frames=4",
    "spectrum": "figure=spectrum seeds=0-3 figure.data=reals.zip",
    "truncation": "figure=truncation seeds=0-1 figure.psi=0,0.5,1 truncation_center=85,me.safetensors:0",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks, latents, real images, and a run with one snapshot."""
    folder = tmp_path_factory.mktemp("figures")
    save_snapshot(folder / "G.safetensors", tiny_pair()[0], provenance={})
    save_snapshot(
        folder / "Gc.safetensors", tiny_pair(c_dim=2)[0], provenance={"data": {"class_names": ["cat", "dog"]}}
    )
    config = StyleGAN3Config(z_dim=8, w_dim=8, channel_base=64, channel_max=4, num_layers=4, num_critical=1)
    save_snapshot(folder / "G3.safetensors", config.build(resolution=(16, 16), channels=3, c_dim=0), provenance={})
    save_snapshot(folder / "run/snapshots/G_ema-000008000.safetensors", tiny_pair()[0], provenance={"nimg": 8000})
    (folder / "run/config.yaml").write_text("")
    (folder / "run/stats.jsonl").write_text('{"nimg": 1000, "loss/G": 1}\n{"nimg": 2000, "loss/G": 0.5}\n')
    write_archive(folder / "reals.zip", count=22)
    Image.linear_gradient("L").convert("RGB").save(folder / "photo.png")
    (folder / "marks.json").write_text('{"photo.png": [[100, 100], [150, 100], [105, 160], [145, 160]]}')
    (folder / "scores.csv").write_text("seed,warm\n" + "".join(f"{i},{i % 10}\n" for i in range(100)))
    return folder


@pytest.fixture
def here(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that sees the fixture's files."""
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    made = generate("seeds=3-4 latents=me.safetensors out=first.png", capsys, monkeypatch)
    assert made.code == 0, made.err
    return tmp_path


def generate(words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Result:
    usual = [] if "network=" in words else ["network=G.safetensors"]
    return run_here(
        "generate", *usual, "ops.backend=reference", *shlex.split(words), capsys=capsys, monkeypatch=monkeypatch
    )


def test_every_figure_is_tried_here() -> None:
    assert {words.split()[0].removeprefix("figure=") for words in COMMANDS.values()} == set(FIGURES)


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_figure_and_again(
    here: Path, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = generate(words, capsys, monkeypatch)
    assert first.code == 0, first.err
    path = Path(first.out.strip())
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    content = {file: file.read_bytes() for file in files}
    refused = generate(words, capsys, monkeypatch)
    assert refused.code == 2 and "exists already" in refused.err and refused.err.count("\n") == 1
    again = generate(f"{words} overwrite=true", capsys, monkeypatch)
    assert again.code == 0, again.err
    for file in files:
        if file.suffix == ".json":
            continue
        assert file.read_bytes() == content[file], file
        if file.suffix == ".png":
            with Image.open(file) as picture:
                assert str(here) not in picture.info["stylegan"] and "network_sha256" in picture.info["stylegan"]
    record = path / "images.json" if path.is_dir() else path.with_suffix(".json")
    assert json.loads(record.read_text())["figure"]["name"] == words.split(maxsplit=1)[0].removeprefix("figure=")


def test_latents_of_a_figure_are_kept(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "figure=mixing figure.rows=0-1 figure.cols=5-6 figure.layers=coarse latents=mixed.safetensors"
    assert generate(words, capsys, monkeypatch).code == 0
    assert len(read_latents("mixed.safetensors")) == 4
    assert generate("seeds=mixed.safetensors:2,7 out=again.png", capsys, monkeypatch).code == 0
    for words, says in [
        ("figure=curves network=run latents=a.safetensors", "figure=curves makes no latents that can be kept"),
        ("latents=a.npz out=b.png", "give it a name that ends in .safetensors"),
        ("latents=mixed.safetensors out=b.png", "mixed.safetensors exists already"),
        ("network=G3.safetensors seeds=me.safetensors out=b.png", "me.safetensors:0 is a latent of another network"),
        ("seeds=nowhere.safetensors out=b.png", "there is no latent file nowhere.safetensors"),
        ("seeds=G.safetensors out=b.png", "is a network, not latents"),
        ("figure=mixing figure.rows=me.safetensors:7 out=b.png", "holds 2 latents, from 0 to 1"),
        ("truncation_center=85 out=b.png", "truncation_center needs truncation_psi other than 1"),
        ("class_idx=all out=b.png", "this network has no classes"),
        (
            "network=Gc.safetensors class_idx=all figure=images out=b",
            "class_idx=all makes rows by class of figure=grid",
        ),
        ("figure=attributes 'figure.where={sx:female}' out=b.png", "there is no attribute sx; did you mean 'sex'?"),
        ("figure=mixing figure.layers=0-99 out=b.png", "this network takes layers 0 to 5"),
        ("figure=truncation figure.psi=0,nan out=b.png", "figure.psi=nan is no finite number"),
        ("figure=noise network=G3.safetensors seeds=1 out=b.png", "stylegan3 networks have no layer noise"),
        ("figure=equivariance seeds=1 out=b.png", "cannot be moved"),
        ("figure=progress out=b.webp", "figure=progress is about a run"),
        ("figure=grid figure.rows=1000000000 out=b.png", "of memory at least"),
        ("figure=interpolation out=b.avi", "give it a name that ends in .mp4, .gif or .webp"),
        ("out=b.jpg", "give it a name that ends in .png or .pdf"),
        ("figure=projection out=b.png", "figure.pictures: name a picture to look for"),
        ("figure=projection figure.pictures=reals.zip out=b.png", "reals.zip is no image of a known kind"),
        ("figure=drag seeds=1 'figure.points=[[4,4,8,16]]' out=b.png", "8,16 lies outside of the picture"),
        ("figure=drag 'figure.points=[[4,4,8,5]]' out=b.png", "this figure drags one picture, and 32 are named"),
        ("network=G.safetensors+G3.safetensors out=b.png", "is a network, not a file of weight differences"),
        ("figure=edit figure.directions=agee out=b.png", "there is no direction agee; did you mean 'age'?"),
        ("figure=edit figure.file=me.safetensors out=b.png", "me.safetensors is latents, not directions"),
        ("figure.font=nowhere.ttf out=b.png", "there is no font nowhere.ttf"),
    ]:
        result = generate(words, capsys, monkeypatch)
        assert result.code == 2 and says in result.err and result.err.count("\n") == 1, (words, result.err)
        assert not Path("b.png").exists()


@pytest.mark.parametrize(("out", "module", "extra"), [("a.pdf", "reportlab", "pdf"), ("a.mp4", "av", "video")])
def test_a_missing_extra_is_told_before_anything_is_made(
    here: Path, out: str, module: str, extra: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("generate.load_generator", lambda *_: pytest.fail("the network was loaded"))
    figure = "interpolation" if extra == "video" else "grid"
    result = generate(f"figure={figure} out={out}", capsys, monkeypatch)
    assert result.code == 2 and f"pip install 'stylegan[{extra}]'" in result.err


@pytest.mark.parametrize(
    "config",
    [
        WithoutWConfig(),
        R3GANConfig(z_dim=8, channel_base=64, channel_max=8, group_width=8),
        ProGANConfig(z_dim=8, channel_base=64, channel_max=8),
    ],
    ids=lambda c: c.kind,
)
def test_without_w(
    config: Any, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from stylegan.models.build import GENERATORS

    monkeypatch.setitem(GENERATORS, config.kind, type(config))
    G = config.build(resolution=(16, 16), channels=3, c_dim=0)
    save_snapshot("W.safetensors", G, provenance={})
    for figure, more in [
        ("grid", "latents=z.safetensors"),
        ("interpolation", "figure.frames=2 seeds=0-2 out=a.webp"),
        ("layers", "seeds=0"),
        ("attributes", "figure.where=age:18- figure.count=1"),
        ("spectrum", ""),
        ("blend", "seeds=0-1"),
        ("edit", "seeds=0 figure.directions=sefa:0 figure.steps=3"),
        ("projection", "figure.pictures=photo.png figure.steps=3 figure.tune=pivotal figure.tune_steps=2"),
        ("drag", "seeds=0 'figure.points=[[4,4,8,4]]' figure.steps=3"),
    ]:
        result = generate(f"network=W.safetensors figure={figure} {more}", capsys, monkeypatch)
        assert result.code == 0, result.err
    assert generate("network=W.safetensors seeds=z.safetensors:3 out=b.png", capsys, monkeypatch).code == 0
    for figure in ("mixing", "truncation", "noise", "scanline", "equivariance"):
        result = generate(f"network=W.safetensors figure={figure} seeds=0-1 out=c.png", capsys, monkeypatch)
        assert result.code == 2 and (config.kind in result.err) and not Path("c.png").exists(), result.err


@pytest.mark.parametrize("side", [8, 16])
def test_stylegan1_at_any_stage(
    side: int, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every figure that needs w, of a network that has grown to its end, and of one that fades in 8x8."""
    config = StyleGAN1Config(z_dim=8, w_dim=8, channel_base=64, channel_max=8, mapping=MappingConfig(num_layers=2))
    G = config.build(resolution=(16, 16), channels=3, c_dim=0)
    G.mapping.w_avg.normal_()
    G.set_stage((side, side), torch.tensor(0.5) if side < 16 else None)
    save_snapshot("S.safetensors", G, provenance={})
    for figure, more in [
        ("grid", "latents=s.safetensors seeds=0-3"),
        ("mixing", "figure.rows=0 figure.cols=s.safetensors:1 figure.layers=coarse"),
        ("layers", "seeds=0"),
        ("layers", "seeds=0 figure.activations=b8.layer1 figure.channels=2 out=maps.png"),
        ("noise", "seeds=0 figure.samples=3"),
        ("truncation", "seeds=0 figure.psi=0,1"),
        ("scanline", "seeds=0-1 figure.frames=3"),
        ("interpolation", "figure.frames=2 seeds=0-2 out=a.webp"),
        ("spectrum", "seeds=0-3"),
        ("edit", "seeds=0 figure.directions=sefa:0,pca:0 figure.steps=3"),
        (
            "projection",
            "figure.pictures=photo.png figure.steps=3 figure.space=w+ figure.distance=pixels figure.noise=true",
        ),
        ("drag", "seeds=0 'figure.points=[[4,4,8,4]]' figure.steps=3"),
    ]:
        result = generate(f"network=S.safetensors figure={figure} {more}", capsys, monkeypatch)
        assert result.code == 0, (figure, result.err)
    refused = generate("network=S.safetensors figure=equivariance seeds=0 out=c.png", capsys, monkeypatch)
    assert refused.code == 2 and "stylegan1" in refused.err


def test_pictures_of_stylegan1_are_truncated_as_in_its_paper(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = StyleGAN1Config(z_dim=8, w_dim=8, channel_base=64, channel_max=8, mapping=MappingConfig(num_layers=2))
    G = config.build(resolution=(64, 64), channels=3, c_dim=0).eval()
    G.mapping.w_avg.normal_()
    save_snapshot("S.safetensors", G, provenance={})
    for words, kept in (
        ("", "paper"),
        ("truncation_psi=0.7 truncation_cutoff=8", "asked"),
        ("truncation_psi=1", "plain"),
    ):
        result = generate(
            f"network=S.safetensors seeds=0-1 {words} latents={kept}.safetensors out={kept}.png", capsys, monkeypatch
        )
        assert result.code == 0, result.err
    paper, asked, plain = (read_latents(f"{kept}.safetensors").ws for kept in ("paper", "asked", "plain"))
    assert paper is not None and asked is not None and plain is not None and plain.shape[1] == 10
    assert torch.equal(paper, asked) and not torch.equal(paper[:, :8], plain[:, :8])
    assert torch.equal(paper[:, 8:], plain[:, 8:])
    about = json.loads(Path("paper.json").read_text())
    assert (about["truncation_psi"], about["truncation_cutoff"]) == (0.7, 8)
    # Latents that were kept are shown as they are, unless truncation is asked for.
    assert (
        generate(
            "network=S.safetensors seeds=paper.safetensors latents=b.safetensors out=b.png", capsys, monkeypatch
        ).code
        == 0
    )
    assert torch.equal(read_latents("b.safetensors").ws, paper)  # pyright: ignore[reportArgumentType]
    mixed = "network=S.safetensors seeds=plain.safetensors:0,1 latents=d.safetensors out=d.png"
    assert generate(mixed, capsys, monkeypatch).code == 0
    assert torch.equal(read_latents("d.safetensors").ws, torch.stack([plain[0], paper[1]]))  # pyright: ignore[reportArgumentType]

"""`stylegan directions`: what it finds and keeps, tables of scores, and what directions do to attributes."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from stylegan.cli import app
from stylegan.errors import UserError
from stylegan.figures.base import Request
from stylegan.figures.edit import Edit
from stylegan.inference import Sampling, latents, locate, render, sample_ws
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.latent.direction_file import Direction, read_directions, save_directions
from stylegan.latent.effects import along, effects
from stylegan.latent.finding import FindOptions, default_place, find_directions
from stylegan.latent.named import Directions, attribute_columns, first_weight
from stylegan.latent.scores import read_scores
from stylegan.metrics.attribute_network import load_attributes
from stylegan.models.generator import StyleBased
from tests.unit.tiny import tiny_pair
from tests.unit.without_w import WithoutWConfig


@pytest.fixture
def G(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StyleBased:
    monkeypatch.setattr("stylegan.latent.named.SAMPLES", 200)
    monkeypatch.setattr("stylegan.latent.named.SCORED", 100)
    monkeypatch.chdir(tmp_path)
    G = tiny_pair()[0].eval().requires_grad_(False)
    save_snapshot("net.safetensors", G, provenance={"data": {"name": "faces3d"}})
    return G


def test_directions_are_found_and_kept(G: StyleBased) -> None:
    Path("scores.csv").write_text("seed,warm\n" + "".join(f"{i},{i % 10}\n" for i in range(100)))
    options = FindOptions(count=2, scores=Path("scores.csv"), given=("pca:0",), table=Path("effects.csv"))
    lines = list(find_directions("net.safetensors", None, options, device="cpu"))
    assert lines[0].startswith("net.directions.safetensors: 25 directions: pca:0, pca:1, sefa:0, sefa:1, warm, sex, ")
    kept = read_directions(Path("net.directions.safetensors"), G)
    known = Directions(G, Sampling(), scores=Path("scores.csv"))
    for name in ("pca:1", "sefa:0", "age", "warm"):
        found = known.find(name, range(G.num_ws), () if name[:4] in ("pca:", "sefa") else ("pca:0",))
        torch.testing.assert_close(kept[name].vector, found.vector)
        assert kept[name].stdev == pytest.approx(found.stdev)
    assert abs(float(kept["age"].vector @ kept["pca:0"].vector)) < 1e-5
    assert lines[2].split() == ["direction", "intended", "others,", "most", "first"] and len(lines) == 3 + 21 + 1
    rows = Path("effects.csv").read_text().splitlines()
    assert rows[0].startswith("direction,sex,age,") and len(rows) == 1 + 21 and rows[1].startswith("warm,")
    Path("me.safetensors").touch()
    assert default_place(Path("runs/G.safetensors+me.safetensors")) == Path("runs/G+me.directions.safetensors")
    with pytest.raises(UserError, match=r"net\.directions\.safetensors exists"):
        list(find_directions("net.safetensors", None, options, device="cpu"))
    drawn = Edit(file="net.directions.safetensors", directions=["warm"], steps=3).draw(G, Request([1]))
    assert drawn.latents is not None and drawn.latents.ws is not None
    way = kept["warm"].vector * kept["warm"].stdev * 2
    torch.testing.assert_close(drawn.latents.ws[2], sample_ws(G, [1])[0] + way)


def test_the_command(G: StyleBased) -> None:
    result = CliRunner().invoke(app, ["directions", "net.safetensors", "--count", "1", "--device", "cpu"])
    assert result.exit_code == 0 and "22 directions" in result.stdout, result.output
    for words, message in [
        (["--layers", "fine"], "no fine layers"),
        (["--out", "x.npz"], "a name that ends in .safetensors"),
        (["--scores", "nowhere.csv"], "there is no file of scores nowhere.csv"),
        (["--classifier", "net.safetensors"], "is not a network that reads these attributes"),
        (["--given", "agge"], "there is no direction agge; did you mean 'age'"),
        (["--count", "0"], "net.directions.safetensors exists"),
    ]:
        out = [] if "--out" in words or "exists" in message else ["--out", "other.safetensors"]
        found = CliRunner().invoke(app, ["directions", "net.safetensors", "--device", "cpu", *out, *words])
        assert isinstance(found.exception, UserError) and message in str(found.exception), found.exception


def test_how_far_attributes_move(G: StyleBased) -> None:
    network = load_attributes(torch.device("cpu"))[0]
    known, layers = Directions(G, Sampling()), list(range(G.num_ws))
    directions = [known.find(name, layers) for name in ("skin_tone", "yaw")]
    found = effects(G, directions, network, Sampling(), layers=layers, reach=3, count=30)
    points = locate(G, range(30))

    def read(amount: float) -> torch.Tensor:
        images = render(G, along(points, directions[0], amount, layers))
        return network.read(torch.stack(list(images)))

    wanted = (read(3) - read(-3)).mean(dim=0) / read(0).std(dim=0)
    torch.testing.assert_close(
        found.moved[0], wanted, rtol=0.05, atol=0.02
    )  # as many as fit a batch, a grey level apart
    own, others = found.intended("skin_tone")
    assert own == pytest.approx(float(found.moved[0, list(attribute_columns()).index("skin_tone")])) and own > 0.5
    assert len(others) == len(found.attributes) - 1 and abs(others[0][1]) >= abs(others[-1][1])


def test_without_w_the_first_layer_is_factorised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylegan.latent.named.SAMPLES", 50)
    monkeypatch.setattr("stylegan.latent.named.SCORED", 40)
    G = WithoutWConfig().build(resolution=(16, 16), channels=3, c_dim=2).eval().requires_grad_(False)
    assert torch.equal(first_weight(G), G.fc.weight[:, :8])
    sampling = Sampling(class_idx=1)
    found = Directions(G, sampling).find("sefa:0", [])
    rows = G.fc.weight[:, :8].double()
    rows = rows / rows.norm(dim=1, keepdim=True)
    gain = (rows @ found.vector.double()).square().sum()
    others = torch.linalg.svdvals(rows).square()
    assert float(gain) == pytest.approx(float(others[0]), rel=1e-5)
    drawn = Edit(directions=["sefa:0", "age"], steps=3).draw(G, Request([5], sampling))
    assert drawn.latents is not None and drawn.latents.z is not None
    torch.testing.assert_close(drawn.latents.z[2], latents([5], 8)[0] + 2 * found.stdev * found.vector)


def test_scores_by_seed(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("\ufeffseed, age ,smile\n3,1.5,\n\n4,-2,0.25\n")
    seeds, scores = read_scores(path)
    assert seeds == [3, 4] and list(scores) == ["age", "smile"]
    assert scores["age"].tolist() == [1.5, -2] and scores["smile"][0].isnan() and scores["smile"][1] == 0.25
    path.write_text("1,2,3\n4,5,6")
    assert read_scores(path)[1].keys() == {"score", "score1"}
    for text, message in [
        ("", "holds no scores"),
        ("seed\n1\n", "rows of 1 columns"),
        ("seed,a\n1,x\n", "row 2: x is no number"),
        ("seed,a\n1,2\n2\n", "row 3: 2 is no seed with 1 scores"),
        ("seed,a\n-1,2\n", "row 2: -1,2 is no seed"),
        ("seed,a\n4294967296,2\n", "is no seed"),
        ("seed,a,a\n1,2,3\n", "'a' is no name of a column"),
        ('seed,a\n1,"2\n', "is no CSV file of scores"),
    ]:
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_scores(path)
    path.write_bytes(b"seed,a\n\xff,2")
    with pytest.raises(UserError, match="is no CSV file of scores"):
        read_scores(path)


def test_files_of_directions(G: StyleBased) -> None:
    path, vectors = Path("d.safetensors"), torch.eye(G.w_dim)
    save_directions(
        path, [Direction("a", vectors[0], 1.0), Direction("b", vectors[1], 2.0)], G, "net", {"how": "by hand"}
    )
    kept = read_directions(path, G)
    assert list(kept) == ["a", "b"] and kept["b"].stdev == 2 and torch.equal(kept["b"].vector, vectors[1])
    other = tiny_pair(resolution=(8, 8))[0]
    with pytest.raises(UserError, match=r"d\.safetensors holds directions of another network \(net, "):
        read_directions(path, other)
    content = path.read_bytes()
    renamed = content.replace(b'\\"a\\"', b'\\"b\\"')
    for changed in (content[:-1], content[:-1] + b"\x7f", renamed, b"", b"no file of directions"):
        path.write_bytes(changed)
        with pytest.raises(UserError, match="is no file of directions, or is damaged"):
            read_directions(path, G)

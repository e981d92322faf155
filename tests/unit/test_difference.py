"""Networks as differences from others: `NET+FILE` wherever a network goes."""

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import stylegan
from stylegan.errors import UserError
from stylegan.inference import Sampling, load_generator, locate, render, resolve_network, sample
from stylegan.interop.card import model_card
from stylegan.interop.convert import convert
from stylegan.interop.difference import KEY, network_name, network_sha256, save_difference, summands
from stylegan.interop.networks import read_networks, read_whole_snapshot
from stylegan.interop.snapshot import read_snapshot, weights_sha256
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.models.generator import StyleBased
from tests.unit.tiny import tiny_pair


def changed(G: StyleBased, amount: float) -> StyleBased:
    """A copy with other weights in the synthesis network."""
    tuned = copy.deepcopy(G)
    random = torch.Generator().manual_seed(0)
    for parameter in tuned.synthesis.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=random), alpha=amount)
    return tuned


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`net.safetensors`, its difference `me.safetensors`, and `you.safetensors` from the sum."""
    monkeypatch.chdir(tmp_path)
    G = tiny_pair()[0].eval().requires_grad_(False)
    save_snapshot("net.safetensors", G, provenance={"nimg": 5})
    save_difference("me.safetensors", G, changed(G, 0.01), network="net.safetensors", made={"seed": 1})
    tuned = load_generator("net.safetensors+me.safetensors")
    assert isinstance(tuned, StyleBased)
    save_difference("you.safetensors", tuned, changed(tuned, 0.02))
    return tmp_path


def test_the_sum_is_the_tuned_network(here: Path) -> None:
    G, tuned = load_generator("net.safetensors"), load_generator("net.safetensors+me.safetensors")
    assert isinstance(G, StyleBased)
    wanted = changed(G, 0.01).state_dict()
    for name, value in tuned.state_dict().items():
        before = G.state_dict()[name]
        kept = load_file("me.safetensors").get(name)
        assert torch.equal(value, before if kept is None else before + kept.float())
        torch.testing.assert_close(value, wanted[name], rtol=0, atol=4e-5)  # of differences of 0.03, in float16
    assert all("synthesis" in name for name in load_file("me.safetensors"))
    assert tuned.weights_before == (weights_sha256(G.state_dict()),)
    twice = load_generator("net.safetensors+me.safetensors+you.safetensors")
    assert len(twice.weights_before) == 2 and weights_sha256(twice.state_dict()) != weights_sha256(tuned.state_dict())
    content = Path("me.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about = json.loads(header["__metadata__"][KEY])
    assert about["made"] == {"seed": 1} and about["tuned_sha256"] == weights_sha256(tuned.state_dict())


def test_latents_of_before_remain_its_own(here: Path) -> None:
    G, tuned = load_generator("net.safetensors"), load_generator("net.safetensors+me.safetensors")
    locate(G, [1]).save("one.safetensors", G)
    kept = stylegan.read_latents("one.safetensors")
    assert not torch.equal(next(render(tuned, kept)), next(render(G, kept)))
    assert torch.equal(next(render(tuned, kept)), next(sample(tuned, [1])))
    locate(tuned, [1]).save("two.safetensors", tuned)
    with pytest.raises(UserError, match=r"two\.safetensors is a latent of another network"):
        list(render(G, stylegan.read_latents("two.safetensors")))


def test_it_goes_wherever_a_network_goes(here: Path) -> None:
    name = "net.safetensors+me.safetensors"

    def images(network: str) -> list[torch.Tensor]:
        return list(sample(load_generator(network), [1, 2], Sampling(batch=2)))

    wanted = images(name)
    convert(resolve_network(name), "whole.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(images("whole.safetensors"), wanted, strict=True))
    assert read_networks(name).notes == ["me.safetensors was added to G_ema"]
    told = read_snapshot("whole.safetensors").provenance
    assert told["nimg"] == 5 and [item["file"] for item in told["differences"]] == ["me.safetensors"]
    snapshot = read_whole_snapshot(Path(name))
    assert snapshot.metadata["weights_sha256"] == read_snapshot("whole.safetensors").metadata["weights_sha256"]
    card = model_card(Path(name), snapshot)
    assert f"`{name}`, SHA-256 `{network_sha256(Path(name))}`" in card and "# net.safetensors+me\n" in card
    run = here / "run/snapshots"
    run.mkdir(parents=True)
    Path("net.safetensors").rename(run / "G_ema-000001000.safetensors")
    (here / "run/config.yaml").write_text("")
    found = resolve_network("run+me.safetensors")
    assert network_name(found) == "G_ema-000001000.safetensors+me.safetensors"
    assert all(torch.equal(a, b) for a, b in zip(images("run+me.safetensors"), wanted, strict=True))


def test_a_file_of_the_whole_name_comes_first(here: Path) -> None:
    assert [str(part) for part in summands("net.safetensors+me.safetensors")] == ["net.safetensors", "me.safetensors"]
    Path("a+b.safetensors").write_bytes(Path("me.safetensors").read_bytes())
    assert [str(part) for part in summands("net.safetensors+a+b.safetensors")] == ["net.safetensors", "a+b.safetensors"]
    Path("net.safetensors+me.safetensors").write_bytes(Path("net.safetensors").read_bytes())
    assert summands("net.safetensors+me.safetensors") == [Path("net.safetensors+me.safetensors")]
    assert load_generator("net.safetensors+me.safetensors").weights_before == ()


def test_what_is_refused(here: Path) -> None:
    other = tiny_pair(resolution=(8, 8))[0]
    save_snapshot("other.safetensors", other, provenance={})
    content = bytearray(Path("me.safetensors").read_bytes())
    content[-3] ^= 1
    Path("broken.safetensors").write_bytes(content)
    Path("text.safetensors").write_text("no file of weight differences")
    G = load_generator("net.safetensors")
    locate(G, [1]).save("latent.safetensors", G)
    for name, message in [
        (
            "other.safetensors+me.safetensors",
            r"me\.safetensors is a difference from another network \(net\.safetensors, ",
        ),
        ("net.safetensors+you.safetensors", r"you\.safetensors is a difference from another network"),
        ("net.safetensors+broken.safetensors", r"broken\.safetensors is damaged: the sum is not that of its SHA-256"),
        ("net.safetensors+text.safetensors", r"text\.safetensors is no file of weight differences"),
        ("net.safetensors+latent.safetensors", r"latent\.safetensors is latents, not a file of weight differences"),
        ("net.safetensors+net.safetensors", "is a network, not a file of weight differences"),
        ("net.safetensors+nowhere.safetensors", r"network=net\.safetensors\+nowhere\.safetensors: no such file"),
        ("nowhere.safetensors+me.safetensors", r"network=nowhere\.safetensors: no such file"),
    ]:
        with pytest.raises(UserError, match=message):
            load_generator(name)
    with pytest.raises(UserError, match="the networks do not differ"):
        save_difference("none.safetensors", G, G)

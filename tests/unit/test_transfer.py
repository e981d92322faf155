"""init_from between networks for other images and labels: what is kept keeps its function, what is not is named."""

import copy
from pathlib import Path

import pytest
import torch

from stylegan.errors import UserError
from stylegan.interop.convert import convert
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.models.build import GENERATORS
from stylegan.models.discriminator import Discriminator
from stylegan.models.generator import Generator
from stylegan.training.state import TrainState
from stylegan.training.transfer import Transfer, adapt, collapse, start_from
from tests.unit.public_pickle import dumps, network_call
from tests.unit.test_step import make_training
from tests.unit.tiny import tiny_pair
from tests.unit.without_w import WithoutWConfig

Pair = tuple[Generator, Discriminator]


def trained(*, c_dim: int = 0, channels: int = 3, resolution: tuple[int, int] = (16, 16)) -> Pair:
    """Networks none of whose weights is at its initial value."""
    G, D = tiny_pair(c_dim=c_dim, channels=channels, resolution=resolution)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in [*G.parameters(), *D.parameters(), G.mapping.w_avg]:
            p.copy_(torch.randn(p.shape, generator=generator) / 2)
    return G, D


def transferred(old: Pair, new: Pair) -> list[Transfer]:
    return [adapt(a.state_dict(), b) for a, b in zip(old, new, strict=True)]


def make(G: Generator, z: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
    return G(z, c, noise_mode="none")


Z = torch.randn(3, 8, generator=torch.Generator().manual_seed(2))


def test_the_same_architecture_is_taken_over_whole() -> None:
    old, new = trained(), tiny_pair()
    for a, b, transfer in zip(old, new, transferred(old, new), strict=True):
        assert not transfer.reshaped and not transfer.new and not transfer.left
        assert all(torch.equal(t, b.state_dict()[name]) for name, t in a.state_dict().items())


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_to_grey_and_back_makes_and_sees_the_same_pictures(channels: int) -> None:
    old, grey = trained(channels=channels), tiny_pair(channels=1)
    reports = transferred(old, grey)
    assert all(name.endswith(("torgb.weight", "torgb.bias")) for name in reports[0].reshaped)
    assert reports[1].reshaped == ["b16.fromrgb.weight"] and not reports[0].new and not reports[1].new
    torch.testing.assert_close(make(grey[0], Z), make(old[0], Z)[:, :3].mean(dim=1, keepdim=True), rtol=1e-5, atol=1e-5)
    images = make(grey[0], Z)
    colour = images.expand(-1, 3, -1, -1)
    if channels == 4:  # D's weights of alpha are dropped
        colour = torch.cat([colour, torch.zeros_like(images)], dim=1)
    torch.testing.assert_close(grey[1](images), old[1](colour), rtol=1e-4, atol=1e-5)
    again = tiny_pair(channels=3)
    transferred(grey, again)
    torch.testing.assert_close(make(again[0], Z), images.expand(-1, 3, -1, -1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(again[1](make(old[0], Z)[:, :3]), grey[1](images), rtol=1e-4, atol=1e-5)


def test_alpha_starts_anew_beside_the_old_colours() -> None:
    old, new = trained(), tiny_pair(channels=4)
    transferred(old, new)
    torch.testing.assert_close(make(new[0], Z)[:, :3], make(old[0], Z))
    fresh = tiny_pair(channels=4)[1].state_dict()["b16.fromrgb.weight"]
    assert torch.equal(new[1].state_dict()["b16.fromrgb.weight"][:, 3], fresh[:, 3])
    without = torch.cat([make(old[0], Z), torch.zeros(3, 1, 16, 16)], dim=1)
    torch.testing.assert_close(new[1](without), old[1](make(old[0], Z)), rtol=1e-4, atol=1e-5)


def test_labels_change_nothing_at_first() -> None:
    old, new = trained(), tiny_pair(c_dim=3)
    G, D = transferred(old, new)
    assert G.reshaped == ["mapping.fc0.weight"] and set(G.new) == {"mapping.embed.weight", "mapping.embed.bias"}
    assert {name for name in D.new if "mapping" not in name} == {"b4.out.weight", "b4.out.bias"}
    torch.testing.assert_close(make(new[0], Z, torch.eye(3)), make(old[0], Z), rtol=1e-5, atol=1e-5)
    other = tiny_pair(c_dim=5)
    G, _ = transferred(new, other)
    assert not G.reshaped and G.new == ["mapping.embed.weight"]  # one column a label; their common bias stays
    back = tiny_pair()
    G, D = transferred(new, back)
    assert set(G.left) == {"mapping.embed.weight", "mapping.embed.bias"} and "b4.out.weight" in D.new
    torch.testing.assert_close(make(back[0], Z), make(old[0], Z), rtol=1e-5, atol=1e-5)


def test_other_resolutions_share_their_blocks() -> None:
    small, large = trained(), tiny_pair(resolution=(32, 32))
    G, D = transferred(small, large)
    assert all(name.startswith("synthesis.b32.") for name in G.new) and not G.left and not G.reshaped
    assert D.left == [f"b16.fromrgb.{name}" for name in ("weight", "bias", "resample_filter")]
    assert all(name.startswith("b32.") for name in D.new)
    # The picture before the last block is the old one: G's skips add what is finer.
    before = tiny_pair()[0]
    adapt(large[0].state_dict(), before)
    torch.testing.assert_close(make(before, Z), make(small[0], Z))
    wide = tiny_pair(resolution=(8, 16))
    G, D = transferred(small, wide)
    assert "synthesis.b4.const" in G.new and "synthesis.b16.conv0.weight" in G.taken and "b4.fc.weight" in D.new


def state_of(pair: Pair) -> TrainState:
    state = make_training().state
    state.G, state.D, state.G_ema = *pair, tiny_pair(resolution=pair[0].resolution)[0]
    return state


def test_a_snapshot_brings_G_and_says_what_became_of_it(tmp_path: Path) -> None:
    old = trained(resolution=(32, 32))[0]
    save_snapshot(tmp_path / "a.safetensors", old, provenance={})
    state = state_of(tiny_pair())
    lines = start_from(str(tmp_path / "a.safetensors"), state)
    assert "D starts anew" in lines[0] and "0 new" in lines[0] and "left out" in lines[0]
    assert lines[1:] == ["G, taken over: synthesis.*, mapping.*", "G, left out: synthesis.b32.*"]
    for network in (state.G, state.G_ema):
        assert torch.equal(network.get_buffer("mapping.w_avg"), old.get_buffer("mapping.w_avg"))


@pytest.mark.parametrize("form", ["a.pkl", "b.pt", "c.safetensors"])
def test_a_published_file_brings_all_networks(tmp_path: Path, form: str) -> None:
    old, average = trained(), tiny_pair()[0]
    with torch.no_grad():
        average.mapping.w_avg.fill_(0.5)
    content = {"G": network_call(old[0]), "D": network_call(old[1]), "G_ema": network_call(average)}
    (tmp_path / "a.pkl").write_bytes(dumps(content))
    if form != "a.pkl":
        convert(tmp_path / "a.pkl", tmp_path / form)
    state = state_of(tiny_pair())
    lines = start_from(str(tmp_path / form), state)
    assert lines[0].startswith("G, D and G_ema start from") and "0 new" in lines[0]
    for network, source in ((state.G, old[0]), (state.D, old[1]), (state.G_ema, average)):
        taken = source.state_dict()
        assert all(torch.equal(tensor, taken[name]) for name, tensor in network.state_dict().items())


def test_nothing_in_common_is_refused(tmp_path: Path) -> None:
    save_snapshot(tmp_path / "a.safetensors", trained(resolution=(28, 28))[0], provenance={})
    with pytest.raises(UserError, match="28x28 and 16x16"):
        start_from(str(tmp_path / "a.safetensors"), state_of(tiny_pair()))


def test_collapse() -> None:
    among = ["a.x.1", "a.x.2", "a.y", "b.z", "c"]
    assert collapse(["a.x.1", "a.x.2", "b.z", "c"], among) == ["a.x.*", "b.*", "c"]
    assert collapse(["a.x.1"], among) == ["a.x.1"]


def test_a_network_without_w_starts_from_its_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GENERATORS, WithoutWConfig.kind, WithoutWConfig)
    old, new = (WithoutWConfig().build(resolution=(16, 16), channels=3, c_dim=0) for _ in range(2))
    save_snapshot(tmp_path / "a.safetensors", old, provenance={})
    state = make_training().state
    state.G, state.G_ema = new, copy.deepcopy(new)
    lines = start_from(str(tmp_path / "a.safetensors"), state)
    assert "0 new" in lines[0] and all(
        torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ("provenance", "start_kimg", "nimg"),
    [
        ({"nimg": 48_000}, None, 0),
        ({"nimg": 48_000}, "keep", 48_000),
        ({"nimg": 48_000}, 1.5, 1500),
        ({}, 25_000, 25_000_000),
    ],
)
def test_the_count_starts_where_it_is_asked_to(
    tmp_path: Path, provenance: dict[str, int], start_kimg: float | str | None, nimg: int
) -> None:
    save_snapshot(tmp_path / "a.safetensors", trained()[0], provenance=provenance)
    state = state_of(tiny_pair())
    told = start_from(str(tmp_path / "a.safetensors"), state, start_kimg)[0]
    assert (state.nimg, state.step) == (nimg, 0) and (f"at {nimg / 1000:.3f} kimg" in told) == (nimg > 0)


@pytest.mark.parametrize("nimg", [None, "many", -1, True])
def test_a_count_that_nobody_says_cannot_be_kept(tmp_path: Path, nimg: object) -> None:
    save_snapshot(tmp_path / "a.safetensors", trained()[0], provenance={"nimg": nimg})
    with pytest.raises(UserError, match=r"does not say how many images .* give a number of kimg"):
        start_from(str(tmp_path / "a.safetensors"), state_of(tiny_pair()), "keep")

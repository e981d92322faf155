"""Latents that are kept: the same pictures as before, wherever a seed may stand, and nothing else is taken for one."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from stylegan.errors import UserError
from stylegan.figures.seeds import parse_seeds
from stylegan.inference import Sampling, latents, layer_noise, locate, render, sample, sample_ws
from stylegan.interop.latents import KEY, Latents, read_latents
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.models.generator import StyleBased
from stylegan.models.truncation import cluster_centers, truncated
from tests.unit.tiny import tiny_pair
from tests.unit.without_w import WithoutWConfig


@pytest.fixture(scope="module")
def G() -> StyleBased:
    G, _ = tiny_pair()
    G.requires_grad_(False).eval()
    for block in G.synthesis.blocks:  # pyright: ignore[reportGeneralTypeIssues]
        for layer in block.layers:
            layer.noise_strength.fill_(0.5)
    G.mapping.w_avg.copy_(torch.linspace(-1, 1, G.w_dim))
    return G


def stacked(images: Any) -> Tensor:
    return torch.stack(list(images))


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(batch=2),
        Sampling(truncation_psi=0.5, truncation_cutoff=2, batch=2),
        Sampling(noise_mode="random", batch=2),
        Sampling(noise_mode="none", batch=2),
    ],
)
def test_kept_latents_are_the_same_pictures(G: StyleBased, tmp_path: Path, sampling: Sampling) -> None:
    pictures = stacked(sample(G, [3, 1, 4], sampling))
    locate(G, [3, 1, 4], sampling).save(tmp_path / "a.safetensors", G, "tiny")
    kept = read_latents(tmp_path / "a.safetensors")
    assert kept.names == ("a.safetensors:0", "a.safetensors:1", "a.safetensors:2")
    assert kept.z is not None and torch.equal(kept.z, latents([3, 1, 4], G.z_dim))
    mode = "none" if sampling.noise_mode == "none" else "const"
    assert torch.equal(stacked(sample(G, [kept], Sampling(noise_mode=mode, batch=2))), pictures)
    mixed = stacked(sample(G, [7, kept[2], 9], Sampling(noise_mode=mode, batch=2)))
    assert (mixed[1].int() - pictures[2].int()).abs().max() <= 1
    alone = stacked(sample(G, [7, 8, 9], Sampling(noise_mode=mode, batch=2)))
    assert (mixed[0].int() - alone[0].int()).abs().max() <= 1  # next to one that brings noise, too


def test_the_same_latents_are_the_same_bytes(G: StyleBased, tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        locate(G, [3]).save(tmp_path / name, G, "tiny")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_truncation_moves_kept_ws_further(G: StyleBased) -> None:
    half = Sampling(truncation_psi=0.5, batch=2)
    kept = locate(G, [3, 4], half)
    torch.testing.assert_close(sample_ws(G, [kept], half), sample_ws(G, [3, 4], Sampling(truncation_psi=0.25, batch=2)))


def test_stored_noise_is_what_const_adds(G: StyleBased) -> None:
    kept = locate(G, [3])
    given = Latents(kept.names, kept.z, kept.ws, G.stored_noise()[None])
    assert torch.equal(stacked(render(G, given)), stacked(render(G, kept)))
    assert not torch.equal(stacked(render(G, kept, Sampling(noise_mode="none"))), stacked(render(G, kept)))


def test_noise_of_a_seed_is_asked_for_where_there_is_none(G: StyleBased) -> None:
    kept = locate(G, [3])
    with pytest.raises(UserError, match="noise_mode=random: seed 3 brings no seed of its noise; give noise_seed"):
        list(sample(G, [kept], Sampling(noise_mode="random")))
    seeded = Sampling(noise_mode="random", noise_seed=5, batch=1)
    with_noise = Latents(kept.names, kept.z, kept.ws, layer_noise([5], G.noise_size))
    assert torch.equal(stacked(sample(G, [kept], seeded)), stacked(render(G, with_noise, Sampling(batch=1))))


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("0-1,me.safetensors,7", [0, 1, "me.safetensors:0", "me.safetensors:1", "me.safetensors:2", 7]),
        (["me.safetensors:1", 7], ["me.safetensors:1", 7]),
        ("me.safetensors:1-2", ["me.safetensors:1", "me.safetensors:2"]),
        (["a,1.safetensors"], ["a,1.safetensors"]),
    ],
)
def test_latents_stand_where_seeds_do(
    G: StyleBased, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, names: list[int | str]
) -> None:
    monkeypatch.chdir(tmp_path)
    locate(G, [0, 1, 2]).save("me.safetensors", G)
    locate(G, [5]).save("a,1.safetensors", G)
    assert [item if isinstance(item, int) else item.names[0] for item in parse_seeds(value)] == names


def test_a_number_that_the_file_does_not_hold(G: StyleBased, tmp_path: Path) -> None:
    locate(G, [0, 1]).save(tmp_path / "me.safetensors", G)
    for which in (":2", ":1-0", ":0-2"):
        with pytest.raises(UserError, match="holds 2 latents, from 0 to 1"):
            parse_seeds(f"{tmp_path}/me.safetensors{which}", "figure.rows")


def test_latents_of_another_network_are_refused_by_name(G: StyleBased, tmp_path: Path) -> None:
    locate(G, [0]).save(tmp_path / "me.safetensors", G, "tiny.safetensors")
    kept = read_latents(tmp_path / "me.safetensors")
    other = tiny_pair()[0].eval()
    for use in (lambda: sample(other, [kept]), lambda: render(other, kept), lambda: sample_ws(other, [1, kept])):
        with pytest.raises(UserError, match=r"me\.safetensors is a latent of another network \(tiny\.safetensors, "):
            use()


def test_shapes_are_those_of_the_network(G: StyleBased) -> None:
    for wrong, message in [
        (Latents(("x",), torch.zeros(1, 5)), r"x has z of \[5\], and this network takes \[8\]"),
        (Latents(("x",), ws=torch.zeros(1, 3, 8)), r"x has ws of \[3, 8\]"),
        (Latents(("x",), ws=torch.zeros(1, G.num_ws, 8), noise=torch.zeros(1, 4)), r"x has noise of \[4\]"),
    ]:
        with pytest.raises(UserError, match=message):
            sample(G, [wrong])


def test_without_w_latents_are_z(tmp_path: Path) -> None:
    G = WithoutWConfig().build(resolution=(8, 8), channels=3, c_dim=0).eval()
    locate(G, [2, 3]).save(tmp_path / "z.safetensors", G)
    kept = read_latents(tmp_path / "z.safetensors")
    assert kept.ws is None
    assert torch.equal(stacked(sample(G, [kept], Sampling(batch=2))), stacked(sample(G, [2, 3], Sampling(batch=2))))
    assert torch.equal(stacked(render(G, kept, Sampling(batch=2))), stacked(sample(G, [2, 3], Sampling(batch=2))))
    with pytest.raises(UserError, match=r"x has ws of \[4, 8\], and this network has none"):
        sample(G, [Latents(("x",), ws=torch.zeros(1, 4, 8))])


def test_what_is_no_latent_file(G: StyleBased, tmp_path: Path) -> None:
    save_snapshot(tmp_path / "network.safetensors", tiny_pair()[0], provenance={})
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("hello, this is a text")
    (tmp_path / "folder.safetensors").mkdir()
    for name, message in [
        ("network", "is a network, not latents"),
        ("other", "holds no latents of stylegan|is no latent file"),
        ("text", "is no latent file"),
        ("folder", "it is a folder"),
        ("nowhere", "there is no latent file"),
    ]:
        with pytest.raises(UserError, match=message):
            read_latents(tmp_path / f"{name}.safetensors")
    about = {"format": 1, "network": "", "weights_sha256": "", "names": ["a"]}
    good = {"z": torch.zeros(1, 8)}
    for change, tensors, message in [
        ({"format": 2}, good, "has another format"),
        ({"names": []}, good, "is no latent file"),
        ({}, {"z": torch.full((1, 8), float("nan"))}, "holds z that are not finite"),
        ({}, {"z": torch.zeros(1, 8).double()}, "is no latent file"),
        ({}, {"noise": torch.zeros(1, 8)}, "is no latent file"),
        ({}, {"z": torch.zeros(1, 8), "ws": torch.zeros(2, 3, 8)}, "is no latent file"),
    ]:
        save_file(tensors, tmp_path / "odd.safetensors", {KEY: json.dumps({**about, **change})})
        with pytest.raises(UserError, match=re.escape("odd.safetensors ") + message):
            read_latents(tmp_path / "odd.safetensors")


def test_truncation_towards_the_nearest_center(G: StyleBased) -> None:
    plain, centers = sample_ws(G, [1, 2, 3]), sample_ws(G, [85, 7])
    sampling = Sampling(truncation_psi=0.25, truncation_cutoff=2, truncation_center=[85, 7])
    found = sample_ws(G, [1, 2, 3], sampling)
    for w, moved in zip(plain, found, strict=True):
        distances = [float((w - center).norm()) for center in centers]
        center = centers[distances.index(min(distances))]
        torch.testing.assert_close(moved[:2], center[:2] + 0.25 * (w - center)[:2])
        assert torch.equal(moved[2:], w[2:])
    at_it = Sampling(truncation_psi=0, truncation_center=locate(G, [85]))
    torch.testing.assert_close(sample_ws(G, [1], at_it), centers[:1])
    assert torch.equal(truncated(plain, centers, 1.0), plain)


def test_centers_of_clusters() -> None:
    torch.manual_seed(0)
    middles = torch.tensor([[10.0, 0.0], [0.0, 10.0], [-10.0, -10.0]])
    points = middles.repeat(50, 1) + torch.randn(150, 2)
    found = cluster_centers(points, 3)
    nearest = torch.cdist(middles, found).argmin(dim=1)
    assert sorted(nearest.tolist()) == [0, 1, 2]
    for middle, index in enumerate(nearest):
        torch.testing.assert_close(found[index], points[middle::3].mean(dim=0))
    assert torch.equal(cluster_centers(points, 3), found)
    torch.testing.assert_close(cluster_centers(points, 1)[0], points.mean(dim=0))


def test_truncation_towards_clusters(G: StyleBased, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylegan.models.truncation.CLUSTERED", 50)
    monkeypatch.setattr("stylegan.models.truncation._AT_ONCE", 25)
    centers = cluster_centers(sample_ws(G, range(50), Sampling(batch=25))[:, 0], 4)
    found = sample_ws(G, [60, 61], Sampling(truncation_psi=0, truncation_clusters=4))
    for ws, plain in zip(found, sample_ws(G, [60, 61]), strict=True):
        torch.testing.assert_close(ws, centers[(centers - plain[0]).norm(dim=1).argmin()].expand_as(ws))
    with pytest.raises(UserError, match="truncation_clusters=51: at most 50"):
        sample_ws(G, [1], Sampling(truncation_psi=0, truncation_clusters=51))


def test_two_ways_to_choose_a_center() -> None:
    with pytest.raises(UserError, match="leave one of them out"):
        Sampling(truncation_psi=0.5, truncation_center=85, truncation_clusters=4)

"""The figure `projection`, from pictures to files: what it says, what it keeps, and going on after an interruption."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylegan.errors import UserError
from stylegan.figures.base import Request
from stylegan.figures.projection import Projection, Tune
from stylegan.figures.writing import describe, find_place
from stylegan.inference import Sampling, load_generator, render, sample, sample_ws
from stylegan.interop.latents import read_latents
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.latent.distance import psnr
from stylegan.models.generator import StyleBased
from tests.unit.tiny import tiny_pair


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`net.safetensors` with its discriminator, and pictures that it makes: `a.png` and `b.png`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("stylegan.figures.projection.OTHERS", 5)
    monkeypatch.setattr("stylegan.latent.distance.is_at_hand", lambda item: False)
    G, D = tiny_pair()
    with torch.no_grad():
        for name, parameter in G.named_parameters():
            if name.endswith("torgb.weight"):
                parameter.mul_(0.2)
    save_snapshot("net.safetensors", G, provenance={}, companions={"D": D})
    for name, image in zip(("a.png", "b.png"), sample(load_generator("net.safetensors"), [3, 4]), strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(name)
    return tmp_path


def draw(figure: Projection, out: str = "me.png") -> dict[str, object]:
    """As generate.py does; the record of what was found out."""
    G = load_generator("net.safetensors")
    request = Request([0], Sampling(batch=4), network="net.safetensors")
    place = find_place(figure, request, out, overwrite=False, provenance=True)
    request = replace(request, unfinished=place.unfinished)
    result = figure.draw(G, request)
    about = describe(figure, G, Path("net.safetensors"), "0", request)
    place.write(result, about, ["test"], G)
    return dict(result.facts)


def test_pictures_become_latents_and_a_tuned_network(here: Path) -> None:
    figure = Projection(pictures=["a.png", "b.png"], steps=60, tune=Tune.pivotal, tune_steps=20, tune_lr=1e-3)
    facts = draw(figure)
    assert facts["compared_by"] == "features of the network's own discriminator" and facts["space"] == "w"
    kept = read_latents("me.safetensors")
    assert len(kept) == 2 and sorted(path.name for path in here.iterdir() if path.name.startswith("me")) == [
        "me.json",
        "me.png",
        "me.safetensors",
        "me.tuned.safetensors",
    ]
    targets = torch.stack(
        [torch.from_numpy(np.asarray(Image.open(n)).copy()).permute(2, 0, 1) for n in ("a.png", "b.png")]
    )
    base, tuned = load_generator("net.safetensors"), load_generator("net.safetensors+me.tuned.safetensors")
    reported = facts["projected"]
    assert isinstance(reported, list)
    for G, key in ((base, "psnr"), (tuned, "psnr_tuned")):
        shown = torch.stack(list(render(G, kept, Sampling(batch=4))))
        assert [item[key] for item in reported] == pytest.approx(psnr(shown, targets).tolist())
    for item in reported:
        assert item["distance_tuned"] < item["distance"] < item["distance_at_first"]
    others = facts["others_moved"]
    assert isinstance(others, dict) and others["seeds"] == 5
    moved = [torch.stack(list(sample(G, range(5), Sampling(batch=4)))) for G in (base, tuned)]
    assert others["psnr"] == pytest.approx(float(psnr(*moved).median()))
    assert "No LPIPS is at hand" in str(facts["tuning"])


def test_the_way_there_as_a_clip(here: Path) -> None:
    figure = Projection(pictures=["a.png"], steps=20, frames=6, fps=2, distance="pixels")  # pyright: ignore[reportArgumentType]
    clip = figure.draw(load_generator("net.safetensors"), Request([0], Sampling(batch=4), network="net.safetensors"))
    frames = list(clip.frames(range(clip.count)))
    assert len(frames) == 6 + 2 and not clip.loops and frames[0].shape == (3, 16, 32)
    target = torch.from_numpy(np.asarray(Image.open("a.png")).copy()).permute(2, 0, 1)
    away = [float((frame[:, :, 16:].double() - target).square().mean()) for frame in frames]
    assert all(torch.equal(frame[:, :, :16], target) for frame in frames)
    assert away[-1] < away[0] and away[-1] == away[-2] and clip.latents is not None
    assert torch.equal(
        frames[-1][:, :, 16:], next(render(load_generator("net.safetensors"), clip.latents, Sampling(batch=4)))
    )


class Interruption:
    """Stands for `StopRequest`: a signal comes after so many steps."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0

    def __enter__(self) -> Callable[[], bool]:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def test_what_was_interrupted_goes_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def figure(steps: int = 8) -> Projection:
        return Projection(pictures=["a.png", "b.png"], steps=steps, tune=Tune.pivotal, tune_steps=6, locality=True)

    whole = draw(figure(), "whole.png")
    for after in (3, 6, 3, 2):  # in the first picture, the second one, and twice while tuning
        with monkeypatch.context() as patch:
            stops = Interruption(after)
            patch.setattr("stylegan.figures.optimising.StopRequest", lambda stops=stops: stops)
            with pytest.raises(KeyboardInterrupt):
                draw(figure())
        assert "interrupted after step" in capsys.readouterr().err
        assert not Path("me.png").exists() and not Path("me.safetensors").exists()
        list(render(load_generator("net.safetensors"), read_latents("me.unfinished.safetensors")))
    with pytest.raises(
        UserError, match=r"me\.unfinished\.pt is an optimisation that was interrupted, of other pictures"
    ):
        draw(figure(9))
    assert draw(figure()) == whole
    for name in ("safetensors", "tuned.safetensors", "png"):
        assert name == "png" or Path(f"me.{name}").read_bytes() == Path(f"whole.{name}").read_bytes()
    assert not list(here.glob("*.unfinished*"))


def test_what_cannot_be(here: Path) -> None:
    G = load_generator("net.safetensors")
    assert isinstance(G, StyleBased) and sample_ws(G, [0]).shape == (1, G.num_ws, G.w_dim)
    for options, sampling, message in [
        ({}, {}, "name a picture to look for"),
        ({"pictures": ["nowhere.png"]}, {}, "there is no such file"),
        ({"pictures": ["a.png"]}, {"truncation_psi": 0.5}, "leave truncation_psi and noise_mode as they are"),
        ({"pictures": ["a.png"]}, {"noise_mode": "none"}, "leave truncation_psi and noise_mode as they are"),
        ({"pictures": ["a.png"]}, {"class_idx": 1}, "this network has no classes"),
        ({"pictures": ["net.safetensors"]}, {}, "is no image of a known kind"),
    ]:
        with pytest.raises(UserError, match=message):
            Projection(**options).draw(G, Request([0], Sampling(**sampling)))
    for options, message in [
        ({"space": "wplus"}, r"figure\.space=wplus: did you mean 'w\+'|there are: w, w\+, z"),
        ({"tuned": "me.safetensors"}, r"needs figure\.tune=pivotal"),
        ({"tuned": "me.pt", "tune": Tune.pivotal}, "a name that ends in .safetensors"),
        ({"steps": 1}, r"figure\.steps=1"),
    ]:
        with pytest.raises(UserError, match=message):
            Projection(**options)

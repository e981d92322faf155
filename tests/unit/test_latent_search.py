"""The search for a picture's latent: distances, starts, what is held, and going on after an interruption."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from stylegan.errors import UserError
from stylegan.inference import Sampling, render, sample, sample_ws
from stylegan.interop.companions import find_discriminator
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.latent import distance as distances
from stylegan.latent.distance import Distance, Measure, at_several_scales, choose_distance, psnr, unit_features
from stylegan.latent.photographs import find_photographs, read_photographs
from stylegan.latent.projection import Schedule, Space, spread_of_w
from stylegan.latent.search import Search, SearchOptions, find_starts, moved
from stylegan.latent.tuning import Tuning, published_options
from stylegan.latent.unfinished import Unfinished
from stylegan.metrics.lpips import Lpips
from stylegan.models.generator import StyleBased
from stylegan.models.stylegan3 import StyleGAN3Config, SynthesisNetwork
from tests.unit.test_checkpoint import save as save_checkpoint_of
from tests.unit.tiny import tiny_pair
from tests.unit.without_w import WithoutWConfig

PIXELS = Distance("pixels", at_several_scales)
CPU = torch.device("cpu")


@pytest.fixture
def G(monkeypatch: pytest.MonkeyPatch) -> StyleBased:
    """Its pictures are within [-1, 1]: none of their values is cut off, and each can be found again."""
    monkeypatch.setattr("stylegan.latent.search.CANDIDATES", 20)
    G = tiny_pair()[0].eval().requires_grad_(False)
    for name, parameter in G.named_parameters():
        if name.endswith("torgb.weight"):
            parameter.mul_(0.2)
    return G


def test_distance_of_pixels_is_the_sum_of_mean_squares_over_scales() -> None:
    a, b = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).mul(2).sub(1)
    expected = torch.zeros(2)
    for side in (1, 2, 4):
        small = [x.unfold(2, side, side).unfold(3, side, side).mean(dim=(4, 5)) for x in (a, b)]
        expected += (small[0] - small[1]).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(PIXELS.between(a, b), expected)
    assert PIXELS.between(a, a).tolist() == [0, 0]


def test_psnr() -> None:
    a = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    assert float(psnr(a, a + 255)) == 0 and float(psnr(a, a)) == float("inf")
    assert float(psnr(a, a + 1)) == pytest.approx(48.13, abs=0.01)


def test_vgg16_is_lpips_where_its_heads_are_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    known: list[Lpips] = []

    def fill(network: Lpips, trunk: object, heads: object) -> None:
        torch.manual_seed(0)
        network.to_empty(device="cpu")
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.05) if parameter.ndim == 4 else nn.init.zeros_(parameter)
        for weight in network.head_weights:
            weight.data.abs_()
        known.append(network.requires_grad_(False))

    monkeypatch.setattr(distances, "fill_lpips", fill)
    monkeypatch.setattr(distances, "find_weights", lambda *_, **__: None)
    monkeypatch.setattr(distances, "is_at_hand", lambda item: True)
    a, b = torch.rand(2, 2, 3, 32, 48, generator=torch.Generator().manual_seed(1)).mul(2).sub(1)
    found = choose_distance(Measure.auto, None, (32, 48), CPU)
    assert found.is_lpips and found.name == "LPIPS (VGG16)"
    torch.testing.assert_close(found.between(a, b), known[0](a, b), rtol=1e-4, atol=1e-6)
    grey = found.between(a[:, :1], b[:, :1])
    torch.testing.assert_close(grey, found.between(a[:, :1].expand(-1, 3, -1, -1), b[:, :1].expand(-1, 3, -1, -1)))
    clear = torch.cat([a, torch.full_like(a[:, :1], -1)], dim=1)
    torch.testing.assert_close(found.features(clear), found.features(torch.ones_like(a)))
    monkeypatch.setattr(distances, "is_at_hand", lambda item: item is not distances.HEADS)
    assert choose_distance(Measure.vgg16, None, (32, 48), CPU).name == "features of VGG16"
    assert published_options(found).threshold == 0.06
    assert published_options(PIXELS).threshold is None


def test_which_distance_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "is_at_hand", lambda item: False)
    D = tiny_pair()[1]
    assert choose_distance(Measure.auto, None, (16, 16), CPU).name == "pixels at several scales"
    found = choose_distance(Measure.auto, D, (16, 16), CPU)
    assert "discriminator" in found.name
    a, b = torch.rand(2, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0)).mul(2).sub(1)
    maps = D.features(torch.cat([a, b]))
    assert [tuple(x.shape[2:]) for x in maps] == [(8, 8), (4, 4)]
    torch.testing.assert_close(found.features(torch.cat([a, b])), unit_features(maps))
    with pytest.raises(UserError, match="holds no discriminator"):
        choose_distance(Measure.discriminator, None, (16, 16), CPU)
    with pytest.raises(UserError, match="pictures of 8x8 are too small"):
        choose_distance(Measure.vgg16, None, (8, 8), CPU)


def test_the_discriminator_beside_a_network(tmp_path: Path, G: StyleBased) -> None:
    save_snapshot(tmp_path / "alone.safetensors", G, provenance={})
    assert find_discriminator("alone.safetensors", tmp_path / "alone.safetensors") is None
    D = tiny_pair()[1]
    save_snapshot(tmp_path / "both.safetensors", G, provenance={}, companions={"D": D})
    found = find_discriminator(str(tmp_path / "both.safetensors"), tmp_path / "both.safetensors")
    assert found is not None
    assert all(torch.equal(value, found.state_dict()[name]) for name, value in D.state_dict().items())


def test_the_discriminator_of_a_run_is_that_of_its_newest_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").write_text("")
    snapshot = tmp_path / "run/snapshots/G_ema-000000008.safetensors"
    assert find_discriminator(str(tmp_path / "run"), snapshot) is None
    save_checkpoint_of(tmp_path / "run", nimg=8)
    found, D = find_discriminator(str(tmp_path / "run"), snapshot), tiny_pair()[1]
    assert found is not None and found.state_dict().keys() == D.state_dict().keys()
    (tmp_path / "run/checkpoints/state-000000016.pt").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"cannot read the discriminator of .*state-000000016\.pt"):
        find_discriminator(str(tmp_path / "run"), snapshot)


def target_of(G: StyleBased, seed: int) -> Tensor:
    return next(sample(G, [seed]))


@pytest.mark.parametrize("space", list(Space))
def test_a_picture_of_its_own_is_found_again(G: StyleBased, space: Space) -> None:
    target = target_of(G, 3)
    search = Search(G, target, PIXELS, SearchOptions(space, Schedule(150), starts=3), Sampling(batch=8), "me.png")
    while search.step < 150:
        search.advance()
    found = search.found()
    assert found.distance < 0.05 * found.at_first and found.latents.names == ("me.png",)
    picture = next(render(G, found.latents))
    assert float(psnr(picture[None], target[None])) > 30
    assert len(found.way) == 150 and found.latents.ws is not None and found.latents.ws.shape == (1, G.num_ws, G.w_dim)
    if space is Space.w:
        assert bool((found.latents.ws == found.latents.ws[:, :1]).all())
    if space is Space.z:
        assert found.latents.z is not None
        assert float(found.latents.z.norm()) == pytest.approx(G.z_dim**0.5, rel=1e-4)


def test_going_on_gives_the_same_bits(G: StyleBased, tmp_path: Path) -> None:
    options = SearchOptions(Space.w_plus, Schedule(12), starts=2, noise=True, frames=5)

    def search(state: object = None) -> Search:
        return Search(G, target_of(G, 5), PIXELS, options, Sampling(batch=8), "me.png", state)  # pyright: ignore[reportArgumentType]

    whole = search()
    while whole.step < 12:
        whole.advance()
    first, kept = search(), Unfinished(tmp_path / "me", {"steps": 12})
    while first.step < 7:
        first.advance()
    kept.keep({"search": first.state_dict()}, first.found().latents, G, "G")
    state = Unfinished(tmp_path / "me", {"steps": 12}).read()
    assert state is not None
    second = search(state["search"])
    while second.step < 12:
        second.advance()
    for a, b in ((whole.found().latents, second.found().latents), (whole.found().way, second.found().way)):
        for x, y in ((a.ws, b.ws), (a.noise, b.noise)):
            assert x is not None and y is not None and torch.equal(x, y)
    assert whole.found().distance == second.found().distance and len(whole.found().way) == 5
    with pytest.raises(UserError, match="of other pictures or settings"):
        Unfinished(tmp_path / "me", {"steps": 13}).read()
    (tmp_path / "me.unfinished.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match="delete it to begin anew"):
        kept.read()
    kept.forget()
    assert not list(tmp_path.iterdir()) and kept.read() is None


def test_noise_that_is_looked_for_stays_white(G: StyleBased) -> None:
    options = SearchOptions(schedule=Schedule(20), noise=True)
    search = Search(G, target_of(G, 5), PIXELS, options, Sampling(), "me.png")
    for _ in range(20):
        search.advance()
    noise = search.projection.noise
    assert noise is not None
    for part in search.projection._maps(noise[0].detach()):
        assert float(part.mean()) == pytest.approx(0, abs=1e-5) and float(part.square().mean()) == pytest.approx(
            1, rel=1e-4
        )
    found = search.found().latents
    assert found.noise is not None and found.noise.shape == (1, G.noise_size)


def test_what_places_the_picture_is_held() -> None:
    config = StyleGAN3Config(z_dim=4, w_dim=6, channel_base=64, channel_max=4, num_layers=4, num_critical=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        G = config.build(resolution=(16, 16), channels=3, c_dim=0).eval().requires_grad_(False)
    assert isinstance(G.synthesis, SynthesisNetwork)
    nn.init.normal_(G.synthesis.input.affine.weight, generator=torch.Generator().manual_seed(0))
    for space in (Space.w, Space.w_plus):
        search = Search(G, target_of(G, 1), PIXELS, SearchOptions(space, Schedule(5)), Sampling(), "me.png")
        for _ in range(5):
            search.advance()
        ws = search.found().latents.ws
        assert ws is not None
        torch.testing.assert_close(ws[0, 0], spread_of_w(G).mean)
        assert float((ws[0, 1] - ws[0, 0]).abs().max()) > 1e-3


def test_starts_are_the_nearest_pictures(G: StyleBased) -> None:
    target = target_of(G, 7)[None].float() / 127.5 - 1
    starts = find_starts(G, target, PIXELS, SearchOptions(starts=3), Sampling(batch=8), torch.zeros(1, 1, G.w_dim))
    assert starts.shape == (3, 1, G.w_dim) and not starts[0].any()
    torch.testing.assert_close(starts[1], sample_ws(G, [7])[0, :1])
    away = [float(PIXELS.between(i[None].float() / 127.5 - 1, target)) for i in sample(G, range(20), Sampling(batch=8))]
    second = sorted(range(20), key=away.__getitem__)[1]
    torch.testing.assert_close(starts[2], sample_ws(G, [second])[0, :1])


def test_without_w_it_is_z() -> None:
    G = WithoutWConfig().build(resolution=(16, 16), channels=3, c_dim=0).eval().requires_grad_(False)
    target = next(sample(G, [3]))
    search = Search(G, target, PIXELS, SearchOptions(Space.z, Schedule(100)), Sampling(), "me.png")
    for _ in range(100):
        search.advance()
    found = search.found()
    assert found.latents.ws is None and found.latents.z is not None
    assert float(psnr(next(render(G, found.latents))[None], target[None])) > 30
    tuning = Tuning(G, target[None].float() / 127.5 - 1, found.latents.z, PIXELS, published_options(PIXELS))
    before = 0.0
    for step in range(20):
        tuning.advance()
        before = tuning.away if step == 0 else before
    assert tuning.away < before
    assert moved(G, tuning.finish(), PIXELS, Sampling(), 5)[0] > 0
    with pytest.raises(UserError, match=r"figure\.space=w needs a network with w"):
        Search(G, target, PIXELS, SearchOptions(Space.w), Sampling(), "me.png")


def test_tuning_goes_on_to_the_same_bits(G: StyleBased) -> None:
    target, ws = target_of(G, 1)[None].float() / 127.5 - 1, sample_ws(G, [2])

    def tuning() -> Tuning:
        return Tuning(G, target, ws, PIXELS, published_options(PIXELS))

    whole, first, second = tuning(), tuning(), tuning()
    for _ in range(6):
        whole.advance()
    for _ in range(3):
        first.advance()
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        second.advance()
    pairs = zip(whole.finish().parameters(), second.finish().parameters(), strict=True)
    assert second.step == 6 and all(torch.equal(a, b) for a, b in pairs)


def test_photographs(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 20), "blue")
    picture.paste("red", (10, 0, 30, 20))
    picture.save(tmp_path / "a.png")
    picture.convert("L").save(tmp_path / "b.jpg")
    (tmp_path / "notes.txt").write_text("no picture")
    assert find_photographs([str(tmp_path)], "figure.pictures") == [tmp_path / "a.png", tmp_path / "b.jpg"]
    made = read_photographs([tmp_path / "a.png", tmp_path / "b.jpg"], (16, 16), 3, None)
    assert made.shape == (2, 3, 16, 16) and made.dtype == torch.uint8
    assert made[0, :, 8, 8].tolist() == [255, 0, 0] and made[0, :, 0, 0].tolist() == [255, 0, 0]
    assert read_photographs([tmp_path / "a.png"], (8, 16), 1, None).shape == (1, 1, 8, 16)


def test_photographs_that_cannot_be_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "png")
    (tmp_path / "cut.png").write_bytes(buffer.getvalue()[:500])
    (tmp_path / "text.png").write_text("no picture")
    frames[0].save(tmp_path / "face.png")
    (tmp_path / "empty").mkdir()
    for name, message in [
        ("moving.gif", "moving.gif is an animation of 2 frames"),
        ("cut.png", "cannot read the picture .*cut.png"),
        ("text.png", "text.png is no image of a known kind"),
        ("", "is a folder"),
    ]:
        with pytest.raises(UserError, match=message):
            read_photographs([tmp_path / name], (16, 16), 3, None)
    for name, message in [("nowhere.png", "there is no such file"), ("empty", "this folder holds no images")]:
        with pytest.raises(UserError, match=message):
            find_photographs([str(tmp_path / name)], "figure.pictures")
    monkeypatch.setattr("stylegan.data.image_files.open_image.__defaults__", (50,))
    with pytest.raises(UserError, match="it has 8x8 pixels, more than 50"):
        read_photographs([tmp_path / "face.png"], (16, 16), 3, None)


def test_a_face_is_aligned(tmp_path: Path) -> None:
    picture = Image.new("RGB", (100, 100), "blue")
    picture.paste("red", (40, 40, 60, 66))
    picture.save(tmp_path / "me.png")
    marks = tmp_path / "marks.json"
    marks.write_text('{"me.png": [[45, 45], [55, 45], [46, 60], [54, 60]]}')
    plain = read_photographs([tmp_path / "me.png"], (16, 16), 3, None)
    aligned = read_photographs([tmp_path / "me.png"], (16, 16), 3, str(marks))
    assert (aligned[0, 0] > 200).sum() > 2 * (plain[0, 0] > 200).sum()
    for text, message in [
        ('{"you.png": [[1, 1], [2, 1], [1, 2], [2, 2]]}', r"figure\.landmarks=.*none of the 1 images has landmarks"),
        ('{"me.png": [[1, 1], [1, 1], [1, 1], [1, 1]]}', "me.png cannot be aligned: its landmarks coincide"),
        ('{"me.png": [[900, 900], [910, 900], [900, 920], [910, 920]]}', "lie outside the image"),
    ]:
        marks.write_text(text)
        with pytest.raises(UserError, match=message):
            read_photographs([tmp_path / "me.png"], (16, 16), 3, str(marks))

"""Walks through latents and the clips that show them."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from stylegan.errors import UserError
from stylegan.figures import clips
from stylegan.figures.base import Clip, Request
from stylegan.figures.clips import film_strip, write_clip
from stylegan.figures.curve import Pieces, Spline, evenly
from stylegan.figures.interpolation import Interpolation, deal
from stylegan.inference import Sampling, latents, locate, sample, sample_ws
from stylegan.interop.latents import Latents
from stylegan.models.generator import StyleBased
from tests.golden.golden import load as load_golden
from tests.unit import test_models_golden, test_stylegan3_golden
from tests.unit.tiny import tiny_pair
from tests.unit.without_w import WithoutWConfig

VIDEO = load_golden("fig_video")


@pytest.fixture(scope="module")
def G() -> StyleBased:
    return tiny_pair()[0].eval().requires_grad_(False)


def walk(G: Any, seeds: Sequence[Any], sampling: Sampling | None = None, **options: Any) -> Clip:
    return Interpolation(**options).draw(G, Request(seeds, sampling or Sampling(batch=4)))


def seen(clip: Clip) -> Tensor:
    return torch.stack(list(clip.frames(range(clip.count))))


@pytest.mark.parametrize("count", [2, 3, 7])
def test_a_closed_spline_is_smooth_at_every_point(count: int) -> None:
    points = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    spline, h = Spline(points, closed=True), 1e-3
    torch.testing.assert_close(spline.at(torch.arange(count)), points.double())
    for t in range(count):
        around = spline.at(torch.tensor([t - 2 * h, t - h, t, t + h, t + 2 * h], dtype=torch.float64) % count)
        left, right = (around[2] - around[1]) / h, (around[3] - around[2]) / h
        assert (left - right).abs().max() < 20 * h
        bend_left, bend_right = (
            (around[2] - 2 * around[1] + around[0]) / h**2,
            (around[4] - 2 * around[3] + around[2]) / h**2,
        )
        assert (bend_left - bend_right).abs().max() < 200 * h


def test_a_closed_spline_has_no_beginning() -> None:
    points = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0, 5, 41, dtype=torch.float64)[:-1]
    rolled = Spline(points.roll(-2, 0), closed=True).at(t)
    torch.testing.assert_close(rolled, Spline(points, closed=True).at((t + 2) % 5))


def test_an_open_spline_is_that_of_a_cubic_where_it_can_be() -> None:
    points = torch.tensor([[0.0], [1.0], [0.0], [2.0]])
    spline = Spline(points, closed=False)
    torch.testing.assert_close(spline.at(torch.arange(4)), points.double())
    h = 1e-3
    ends = spline.at(torch.tensor([0, h, 2 * h, 3 - 2 * h, 3 - h, 3], dtype=torch.float64))[:, 0]
    assert abs(ends[0] - 2 * ends[1] + ends[2]) / h**2 < 0.05 and abs(ends[3] - 2 * ends[4] + ends[5]) / h**2 < 0.05
    line = torch.arange(4.0)[:, None]
    torch.testing.assert_close(
        Spline(line, closed=False).at(torch.tensor([0.3, 2.9]))[:, 0], torch.tensor([0.3, 2.9]).double()
    )
    torch.testing.assert_close(
        Spline(points[:2], closed=False).at(torch.tensor([0.25]))[0, 0], torch.tensor(0.25).double()
    )


@pytest.mark.parametrize("index", [0, 1, 2])
def test_ws_are_those_of_the_public_tool_but_for_its_seam(index: int) -> None:
    case = VIDEO.config["cases"][index]
    golden = load_golden(case["network"])
    network = test_stylegan3_golden.generator(golden) if case["net"] == "sg3" else test_models_golden.generator(golden)
    network.eval().requires_grad_(False)
    columns, rows = case.get("grid", [1, 1])
    loops = deal(case["seeds"], rows * columns, case.get("keyframes"), case.get("shuffle"))
    sampling = Sampling(truncation_psi=case.get("psi", 1.0))
    keys = len(loops[0])
    t = torch.arange(keys * case["w_frames"], dtype=torch.float64) / case["w_frames"]
    ws = [Spline(sample_ws(network, loop, sampling)[:, 0], closed=True).at(t) for loop in loops]
    found = torch.stack(ws, dim=1).view(len(t), rows, columns, -1)
    scale = VIDEO.config["tol"][f"case{index:02d}/out/w"]
    periodic = VIDEO.tensor(f"f64/case{index:02d}/aux/w_periodic")
    assert (found - periodic).abs().max() <= scale["atol"] + scale["rtol"] * periodic.abs().max()
    theirs = VIDEO.tensor(f"case{index:02d}/out/w")
    assert (found - theirs).abs().max() <= case["periodic_spline_max_difference"] * 1.05 + scale["atol"]
    options = {"rows": rows, "cols": columns, "keyframes": case.get("keyframes"), "shuffle": case.get("shuffle")}
    clip = walk(network, case["seeds"], sampling, frames=case["w_frames"], **options)
    assert clip.count == case["num_frames"]
    frames = torch.stack(list(clip.frames(case["frame_indices"]))).permute(0, 2, 3, 1)
    assert (
        frames.int() - VIDEO.tensor(f"case{index:02d}/out/frames_uint8").int()
    ).abs().max() <= 3  # the seam shows in w, too


def test_straight_pieces_are_those_of_the_public_tool() -> None:
    case = VIDEO.config["cases"][3]
    network = test_models_golden.generator(load_golden(case["network"])).eval().requires_grad_(False)
    ws = sample_ws(network, case["seeds"])[:, 0]
    found = Pieces(ws, closed=True, spherical=False).at(torch.arange(18, dtype=torch.float64) / case["w_frames"])
    VIDEO.assert_close("case03/out/w", found[:, None, None])


def test_on_the_sphere() -> None:
    z = latents([1, 2, 3], 16)
    arc = Pieces(z, closed=True, spherical=True)
    torch.testing.assert_close(arc.at(torch.arange(3)), z.double())
    between = arc.at(torch.linspace(0, 1, 9))
    lengths = between.norm(dim=1)
    torch.testing.assert_close(lengths, torch.linspace(float(z[0].norm()), float(z[1].norm()), 9).double())
    u = between / lengths[:, None]
    angles = (u[1:] * u[:-1]).sum(dim=1).acos()
    torch.testing.assert_close(angles, angles[:1].expand(8))
    same = Pieces(z[:1].repeat(2, 1), closed=True, spherical=True)
    torch.testing.assert_close(same.at(torch.tensor([0.3])), z[:1].double())


@pytest.mark.parametrize("closed", [True, False])
def test_constant_speed(closed: bool) -> None:
    points = torch.tensor([[0.0, 0.0], [3.0, 1.0], [12.0, 0.0], [6.0, 9.0]])
    spline, end = Spline(points, closed=closed), 4 if closed else 3
    t = evenly(spline, 200, end=end, closed=closed, fine=500)
    path = spline.at(t)
    steps = (path[1:] - path[:-1]).norm(dim=1)
    assert steps.std() / steps.mean() < 0.02
    plain = spline.at(torch.linspace(0, end, 200))
    assert (plain[1:] - plain[:-1]).norm(dim=1).std() / steps.mean() > 0.3
    if closed:
        torch.testing.assert_close((path[0] - path[-1]).norm(), steps.mean(), rtol=0.05, atol=0)
    else:
        torch.testing.assert_close(path[-1], points[-1].double())


def test_the_last_frame_precedes_the_first(G: StyleBased) -> None:
    clip = walk(G, [1, 2, 3], frames=4)
    assert clip.count == 12 and clip.loops and clip.latents is not None and len(clip.latents) == 3
    images = seen(clip)
    for i, image in enumerate(sample(G, [1, 2, 3])):
        assert (images[4 * i].int() - image.int()).abs().max() <= 1
    turned = seen(walk(G, [2, 3, 1], frames=4))
    assert (images.roll(-4, 0).int() - turned.int()).abs().max() <= 1
    ended = walk(G, [1, 2, 3], frames=4, loop=False)
    assert ended.count == 9 and not ended.loops
    assert (seen(ended)[-1].int() - next(sample(G, [3])).int()).abs().max() <= 1


def test_frames_are_made_as_they_are_asked_for(G: StyleBased) -> None:
    made: list[int] = []
    hook = G.synthesis.register_forward_hook(lambda module, inputs, output: made.append(len(output)))
    clip = walk(G, [1, 2], frames=500_000)
    before = sum(made)
    next(iter(clip.frames(range(clip.count))))
    hook.remove()
    assert sum(made) - before == 4


def test_loops_side_by_side(G: StyleBased) -> None:
    clip = walk(G, [1, 2, 3, 4, 5, 6, 7, 8], rows=2, cols=2, frames=3)
    assert clip.count == 6 and clip.facts["key_frames"] == [[1, 2], [3, 4], [5, 6], [7, 8]]
    alone = walk(G, [5, 6], frames=3)
    lower_left = seen(clip)[:, :, 16:, :16]
    assert (lower_left.int() - seen(alone).int()).abs().max() <= 1


def test_key_frames_are_dealt_out_as_the_public_tool_does() -> None:
    assert deal([1, 2], 2, 3) == [[1, 2, 1], [2, 1, 2]]
    order = [1, 2, 1, 2, 1, 2]
    np.random.RandomState(4).shuffle(order)
    assert deal([1, 2], 2, 3, shuffle=4) == [order[:3], order[3:]]


def test_in_z(G: StyleBased) -> None:
    other = WithoutWConfig().build(resolution=(8, 8), channels=3, c_dim=0).eval()
    for network in (G, other):
        options: dict[str, Any] = {} if network is other else {"space": "z"}
        images = seen(walk(network, [1, 2], frames=2, **options))
        for i, image in enumerate(sample(network, [1, 2])):
            assert (images[2 * i].int() - image.int()).abs().max() <= 1
    with pytest.raises(UserError, match=r"figure.space=w needs a network with w"):
        walk(other, [1, 2], space="w")


def test_noise_stays_the_same(G: StyleBased) -> None:
    G = tiny_pair()[0].eval().requires_grad_(False)
    for name, parameter in G.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.5)
    still = walk(G, [1, 1], Sampling(noise_mode="random", noise_seed=3, batch=2), frames=3)
    images = seen(still)
    assert (images - images[:1]).int().abs().max() == 0
    with pytest.raises(UserError, match="flicker; give noise_seed"):
        walk(G, [1, 2], Sampling(noise_mode="random"))
    kept = locate(G, [1], Sampling(noise_mode="random"))
    with_own = seen(walk(G, [kept, kept], frames=2))
    assert (with_own[0].int() - next(sample(G, [kept])).int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("seeds", "options", "message"),
    [
        ([1], {}, "each loop has 1, give more seeds"),
        ([1, 2, 3], {"cols": 2}, "3 key frames cannot be shared out over 2 loops"),
        ([1, 2], {"frames": 10**8}, "frames are more than"),
        ([1, 2], {"rows": 10**5, "cols": 10**5, "keyframes": 1}, "each loop has 1|memory"),
        ([Latents(("x",), ws=torch.zeros(1, 6, 8)), 2], {"space": "z"}, "holds no z"),
    ],
)
def test_walks_that_cannot_be(G: StyleBased, seeds: list[Any], options: dict[str, Any], message: str) -> None:
    if options.get("rows", 0) > 1000:
        options = {**options, "rows": 100, "cols": 100}
    with pytest.raises(UserError, match=message):
        walk(G, seeds, **options)


@pytest.mark.parametrize("option", [{"frames": 0}, {"fps": math.inf}, {"fps": 0}, {"rows": 0}, {"shuffle": -1}])
def test_options_have_ranges(option: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"figure.{next(iter(option))}"):
        Interpolation(**option)


def colours(
    count: int, size: tuple[int, int] = (16, 32), channels: int = 3, fps: float = 25.0, loops: bool = True
) -> Clip:
    """Frame i is all of one colour, and brighter on its right half."""

    def frames(indices: Sequence[int]) -> Iterator[Tensor]:
        for i in indices:
            frame = torch.full([channels, *size], 40 + 5 * i, dtype=torch.uint8)
            frame[:, :, size[1] // 2 :] += 60
            if channels >= 3:
                frame[2] = 100
            yield frame

    return Clip(count, frames, fps, loops=loops)


def test_mp4(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    for name in ("a.mp4", "b.mp4"):
        write_clip(colours(20), tmp_path / name, {"seeds": "0-3"})
    content = (tmp_path / "a.mp4").read_bytes()
    assert content == (tmp_path / "b.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 25 and (stream.width, stream.height) == (32, 16)
        assert '"seeds": "0-3"' in container.metadata["comment"]
        found = [frame.reformat(format="rgb24", src_colorspace=1).to_ndarray() for frame in container.decode(stream)]
    assert len(found) == 20
    for i, frame in enumerate(found):
        assert np.abs(frame[4:12, 4:12].mean(axis=(0, 1)) - [40 + 5 * i, 40 + 5 * i, 100]).max() < 5
        assert np.abs(frame[4:12, 20:28].mean(axis=(0, 1)) - [100 + 5 * i, 100 + 5 * i, 100]).max() < 5


def test_odd_sizes_grey_and_transparency(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    for size, channels in (((15, 31), 1), ((7, 9), 4)):
        write_clip(colours(3, size, channels), tmp_path / "a.mp4", None)
        with av.open(str(tmp_path / "a.mp4")) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height) == (size[1] + 1, size[0] + 1)
            assert len(list(container.decode(stream))) == 3


@pytest.mark.parametrize(("fps", "count"), [(25.0, 20), (60.0, 10), (30.0, 20)])
def test_gif(tmp_path: Path, fps: float, count: int) -> None:
    write_clip(colours(20, fps=fps), tmp_path / "a.gif", {"seeds": "0-3"})
    with Image.open(tmp_path / "a.gif") as picture:
        assert getattr(picture, "n_frames", 1) == count and picture.info["loop"] == 0
        assert b'"seeds": "0-3"' in picture.info["comment"]
        total = 0
        for i in range(count):
            picture.seek(i)
            total += picture.info["duration"]
            frame = np.array(picture.convert("RGB")).astype(int)
            number = i * 20 // count
            assert np.abs(frame[0, 0] - [40 + 5 * number, 40 + 5 * number, 100]).max() <= 2
            assert np.abs(frame[15, 31] - [100 + 5 * number, 100 + 5 * number, 100]).max() <= 2
        assert total == pytest.approx(20 / fps * 1000, abs=10)


@pytest.mark.parametrize(("count", "size"), [(20, (16, 32)), (33, (15, 31)), (1, (16, 32))])
def test_webp(tmp_path: Path, count: int, size: tuple[int, int]) -> None:
    write_clip(colours(count, size, fps=60.0), tmp_path / "a.webp", {"seeds": "0-3"})
    with Image.open(tmp_path / "a.webp") as picture:
        assert picture.size == (size[1], size[0])
        assert getattr(picture, "n_frames", 1) == count and b"0-3" in picture.info["xmp"]
        ends = []
        for i in range(count):
            picture.seek(i)
            picture.load()
            ends.append(picture.info["timestamp"] + picture.info["duration"])
            frame = np.array(picture.convert("RGB")).astype(int)
            assert np.abs(frame[8, 8] - [40 + 5 * i, 40 + 5 * i, 100]).max() <= 12
        assert ends == [round((i + 1) * 1000 / 60) for i in range(count)]


def test_webp_of_frames_that_are_all_the_same(tmp_path: Path) -> None:
    grey = torch.full([3, 16, 16], 90, dtype=torch.uint8)
    write_clip(Clip(40, lambda indices: (grey for _ in indices), 20.0), tmp_path / "a.webp", None)
    with Image.open(tmp_path / "a.webp") as picture:
        assert getattr(picture, "n_frames", 1) == 2  # one for each 32
        picture.seek(1)
        picture.load()
        assert picture.info["timestamp"] + picture.info["duration"] == 2000


@pytest.mark.parametrize("loops", [True, False])
def test_a_film_strip_is_evenly_spaced(loops: bool) -> None:
    picture = film_strip(colours(21, loops=loops))
    assert picture.size == (8 * 32, 16)
    shown = [(picture.getpixel((32 * i, 0))[0] - 40) // 5 for i in range(8)]  # pyright: ignore[reportOptionalSubscript, reportIndexIssue]
    assert shown == [round(i * 21 / 8) if loops else round(i * 20 / 7) for i in range(8)]
    assert film_strip(colours(3)).size == (3 * 32, 16)


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_a_full_disk_in_the_middle_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    if suffix == ".mp4":
        pytest.importorskip("av")
    target = tmp_path / f"a{suffix}"
    target.write_bytes(b"old")

    def frames(indices: Sequence[int]) -> Iterator[Tensor]:
        for i, frame in enumerate(colours(20).frames(indices)):
            if i == 9:
                raise OSError(28, "No space left on device")
            yield frame

    with pytest.raises(UserError, match=r"cannot write .*No space left on device; nothing was changed"):
        write_clip(Clip(20, frames, 25.0), target, None)
    assert target.read_bytes() == b"old" and [path.name for path in tmp_path.iterdir()] == [target.name]


def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'stylegan\[video\]'.*out=NAME.webp"):
        clips.require_av()

"""Dragging points of pictures: against a picture that can only move, whose way is known."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from stylegan.errors import UserError
from stylegan.figures.base import Request
from stylegan.figures.drag import Drag as DragFigure
from stylegan.inference import Sampling, sample, sample_ws
from stylegan.latent.drag import Drag, DragOptions, layer_to_follow, margin_of
from stylegan.models.base import Generator
from stylegan.models.stylegan3 import StyleGAN3Config, SynthesisLayer
from tests.unit.tiny import tiny_pair
from tests.unit.without_w import WithoutWConfig


class Blobs(nn.Module):
    """z [N, 4] -> feature maps of five blobs, moved by 10 z pixels of the picture: two by z[:2], three by z[2:]."""

    def forward(self, z: Tensor) -> Tensor:
        y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
        maps = []
        for k, (cx, cy) in enumerate([(8, 8), (10, 10), (22, 22), (24, 20), (20, 24)]):
            move = 5 * (z[:, :2] if k < 2 else z[:, 2:])
            maps.append(
                torch.exp(-((x - cx - move[:, 0, None, None]) ** 2 + (y - cy - move[:, 1, None, None]) ** 2) / 18)
            )
        return torch.stack(maps, dim=1)


class Moving(Generator):
    """A picture of blobs, [N, 3, 64, 64]."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.layer = Blobs()
        self.register_parameter("scale", nn.Parameter(torch.ones(1), requires_grad=False))
        self.resolution, self.channels, self.z_dim, self.c_dim = (64, 64), 3, 4, 0
        self.config = SimpleNamespace(kind="moving")

    def forward(self, z: Tensor, c: Tensor | None = None, **noise: object) -> Tensor:
        return nn.functional.interpolate(self.layer(z)[:, :3] * self.scale, scale_factor=2, mode="bilinear")


def dragged(moves: list[list[float]], **more: object) -> Drag:
    points = torch.tensor(moves)
    drag = Drag(Moving(), torch.zeros(1, 4), points[:, :2], points[:, 2:], DragOptions(), **more)  # pyright: ignore[reportArgumentType]
    while drag.step < 300 and not drag.done:
        drag.advance()
    return drag


def test_points_arrive_and_the_picture_with_them() -> None:
    drag = dragged([[18, 18, 26, 14]])
    assert drag.done and drag.layer == "layer"
    true = drag.point.detach()[0, :2] * 10
    assert float((true - torch.tensor([8.0, -4.0])).norm()) < 2.5
    two = dragged([[18, 18, 22, 18], [46, 46, 46, 40]])
    assert two.done
    torch.testing.assert_close(two.point[0].detach() * 10, torch.tensor([4.0, 0, 0, -6]), rtol=0, atol=2.0)


def test_what_the_mask_leaves_out_stays() -> None:
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[:36, :36] = True
    free, held = dragged([[18, 18, 24, 18]]), dragged([[18, 18, 24, 18]], mask=mask)
    assert held.done and held.point.detach()[0, 2:].abs().max() <= free.point.detach()[0, 2:].abs().max() + 1e-6
    away = torch.ones(64, 64, dtype=torch.bool)
    away[:36, :36] = False  # only the other blobs may move: the pull has an adversary
    stuck = dragged([[18, 18, 24, 18]], mask=away)
    assert not stuck.done or stuck.step > 2 * held.step


def test_going_on_gives_the_same_bits() -> None:
    moves = torch.tensor([[18.0, 18, 26, 14]])

    def drag() -> Drag:
        return Drag(Moving(), torch.zeros(1, 4), moves[:, :2], moves[:, 2:], DragOptions())

    whole, first, second = drag(), drag(), drag()
    for _ in range(10):
        whole.advance()
    for _ in range(4):
        first.advance()
    second.load_state_dict(first.state_dict())
    for _ in range(6):
        second.advance()
    assert torch.equal(whole.point, second.point) and torch.equal(whole.points, second.points) and second.step == 10


def test_which_layer_is_followed() -> None:
    G = tiny_pair()[0].eval().requires_grad_(False)
    ws = sample_ws(G, [1])
    assert layer_to_follow(G, ws, None, None) == "synthesis.b8"
    assert layer_to_follow(G, ws, None, "b16.conv0") == "synthesis.b16.conv0"
    with pytest.raises(UserError, match=r"figure\.layer=b17: did you mean 'b16'"):
        layer_to_follow(G, ws, None, "b17")
    config = StyleGAN3Config(z_dim=4, w_dim=6, channel_base=256, channel_max=8, num_layers=4, num_critical=1)
    G3 = config.build(resolution=(32, 32), channels=3, c_dim=0).eval().requires_grad_(False)
    layer = layer_to_follow(G3, sample_ws(G3, [1]), None, None)
    followed = G3.get_submodule(layer)
    assert isinstance(followed, SynthesisLayer)
    design = followed.design
    assert margin_of(G3, layer) == (design.size[1] - design.sampling_rate[1]) // 2 > 0
    assert design.sampling_rate[1] <= 16


def test_a_drag_in_a_figure() -> None:
    G = tiny_pair()[0].eval().requires_grad_(False)
    clip = DragFigure(points=[[4, 4, 8, 4]], steps=5, strip=3).draw(G, Request([1], Sampling(batch=2)))
    assert clip.count == 6 and clip.still is not None and clip.latents is not None
    assert clip.facts["steps"] == 5 and clip.facts["layer"] == "b8" and clip.facts["space"] == "w"
    first, last = clip.frames([0, clip.count - 1])
    assert first.shape == (3, 256, 256) and not torch.equal(first, last)
    plain = DragFigure(points=[[4, 4, 8, 4]], steps=1, marks=False).draw(G, Request([1], Sampling(batch=2)))
    assert torch.equal(next(iter(plain.frames([0])))[:, ::16, ::16], next(sample(G, [1], Sampling(batch=2))))
    assert clip.latents.ws is not None
    later = (clip.latents.ws - sample_ws(G, [1]))[0].abs().amax(dim=1)
    # Behind the layer nothing changes but the rounding of a matrix product, which may differ with the rows beside.
    assert bool((later[:3] > 1e-3).all()) and bool((later[3:] < 1e-6).all())
    again = DragFigure(points=[[4, 4, 8, 4]], steps=5).draw(G, Request([1], Sampling(batch=2)))
    assert again.latents is not None and again.latents.ws is not None and torch.equal(again.latents.ws, clip.latents.ws)
    each = DragFigure(points=[[4, 4, 8, 4]], steps=5, space="w+").draw(G, Request([1], Sampling(batch=2)))
    for drawn, alike in ((clip, True), (each, False)):
        assert drawn.latents is not None and drawn.latents.ws is not None
        way = (drawn.latents.ws - sample_ws(G, [1]))[0, :3]
        assert torch.allclose(way[0], way[1], atol=1e-6) == alike
    G = WithoutWConfig().build(resolution=(16, 16), channels=3, c_dim=0).eval().requires_grad_(False)
    clip = DragFigure(points=[[4, 4, 8, 4]], steps=3).draw(G, Request([1]))
    assert clip.latents is not None and clip.latents.z is not None and clip.facts["space"] == "z"


def test_drags_that_cannot_be() -> None:
    G = tiny_pair()[0].eval().requires_grad_(False)
    for options, seeds, message in [
        ({}, [1], "say what moves where"),
        ({"points": [[1, 2, 3, 4]]}, [1, 2], "this figure drags one picture, and 2 are named"),
        ({"points": [[1, 2, 3, 16]]}, [1], "3,16 lies outside of the picture"),
        ({"points": [[-1, 2, 3, 4]]}, [1], "-1,2 lies outside of the picture"),
        ({"points": [[1, 2, 3, 4]], "mask": "nowhere.png"}, [1], "there is no such file"),
        ({"points": [[1, 2, 3, 4]], "space": "z"}, [1], r"points are dragged in w or w\+"),
    ]:
        with pytest.raises(UserError, match=message):
            DragFigure(**options).draw(G, Request(seeds))
    for points, message in [
        ([[1, 2, 3]], "is no move; give four numbers"),
        ([1, 2, 3, 4], "is no move"),
        ([[1, 2, 3, "a"]], "is no move"),
        ([[1, 2, 3, float("nan")]], "is no finite number"),
        ([[0, 0, 1, 1]] * 101, "100 are the most"),
    ]:
        with pytest.raises(UserError, match=message):
            DragFigure(points=points)

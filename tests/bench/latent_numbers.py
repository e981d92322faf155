"""What projection, tuning and dragging reach on the demo network, with the seconds that they take:

    python tests/bench/latent_numbers.py

Its own pictures are looked for in W (psi 1, noise constant), faces that it has never seen in W+, with tuning after that; the
points of ten pictures are dragged by 8 pixels to a random side. Drags are judged by their own tracking of the points.
"""

import argparse
import math
import time

import numpy as np
import torch
from torch import Tensor

import stylegan
from stylegan.data.faces3d import render_face
from stylegan.inference import Sampling
from stylegan.latent.distance import Distance, at_several_scales, psnr
from stylegan.latent.drag import Drag, DragOptions
from stylegan.latent.projection import Schedule, Space, spread_of_w
from stylegan.latent.search import Search, SearchOptions
from stylegan.latent.tuning import Tuning, published_options
from stylegan.models.generator import StyleBased

PIXELS = Distance("pixels at several scales", at_several_scales)


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=8, help="pictures of each kind")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    G = stylegan.load_generator("demo")
    assert isinstance(G, StyleBased)
    own = list(stylegan.sample(G, range(options.count)))
    told("its own pictures, in W", [found(G, image, Space.w) for image in own])
    faces = [
        torch.from_numpy(np.array(render_face(i, split="test", seed=0, resolution=64)[0])) for i in range(options.count)
    ]
    told("held-out faces, in W+", [found(G, image, Space.w_plus) for image in faces])
    told("the same, tuned", [found(G, image, Space.w_plus, tune=True) for image in faces])
    drags(G)


def found(G: StyleBased, target: Tensor, space: Space, *, tune: bool = False) -> tuple[float, float]:
    """PSNR in dB, and seconds."""
    start = time.perf_counter()
    search = Search(G, target, PIXELS, SearchOptions(space, Schedule()), Sampling(), "picture")
    while search.step < search.options.schedule.steps:
        search.advance()
    latent, network = search.found().latents, G
    if tune:
        assert latent.ws is not None
        tuning = Tuning(G, target[None].float() / 127.5 - 1, latent.ws, PIXELS, published_options(PIXELS))
        for _ in range(tuning.options.steps):
            tuning.advance()
        network = tuning.finish()
    image = next(stylegan.render(network, latent))
    return float(psnr(image[None], target[None])), time.perf_counter() - start


def drags(G: StyleBased) -> None:
    """Ten moves of 8 pixels."""
    random = torch.Generator().manual_seed(0)
    deviation = spread_of_w(G).deviation / G.w_dim**0.5
    reached, seconds = [], []
    for seed in range(10):
        angle = float(torch.rand((), generator=random)) * 2 * math.pi
        handle = (20 + torch.rand(1, 2, generator=random) * 24).round()
        target = handle + 8 * torch.tensor([[math.cos(angle), math.sin(angle)]])
        start = time.perf_counter()
        drag = Drag(G, stylegan.sample_ws(G, [seed]), handle, target, DragOptions(), deviation=deviation)
        while drag.step < drag.options.steps and not drag.done:
            drag.advance()
        reached.append(float(drag.distances[0]))
        seconds.append(time.perf_counter() - start)
    near = sum(distance <= 2 for distance in reached)
    print(
        f"drags of 8 pixels: {near} of 10 within 2 pixels, the worst {max(reached):.1f}; {np.median(seconds):.1f} s each"
    )


def told(what: str, results: list[tuple[float, float]]) -> None:
    """A line for people."""
    decibels, seconds = zip(*results, strict=True)
    print(
        f"{what}: median {np.median(decibels):.1f} dB, worst {min(decibels):.1f} dB, {np.median(seconds):.0f} s each "
        f"({', '.join(f'{value:.1f}' for value in decibels)})",
        flush=True,
    )


if __name__ == "__main__":
    main()

"""The figure `layers`: what each resolution or layer adds to an image, and the activations of one layer.

Nothing of a network is changed: forward hooks look on while it makes the image.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from stylegan.errors import UserError, nearest
from stylegan.figures.base import Picture, Printed, Request
from stylegan.figures.pixels import to_pixels
from stylegan.figures.sheet import Sheet
from stylegan.inference import locate, render, to_uint8
from stylegan.interop.latents import Latents
from stylegan.memory import check_images
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased
from stylegan.models.stylegan2 import SynthesisNetwork
from stylegan.ops.upfirdn2d import upsample2d
from stylegan.values import COUNT, POSITIVE


@dataclass
class Layers(Printed):
    """What each resolution adds to an image; or the activations of one layer.

    StyleGAN2 with skip connections: for each seed the image so far, resolution by resolution, and below what each adds (grey
    is nothing, enlarged `figure.gain` times). Other networks with w: the styles of the mean face in all layers but the first
    so many. Others: how strong the activations of each layer are. `figure.activations=b16.conv1` shows the feature maps of
    that layer instead, those that vary most first, each from its darkest to its brightest value.

    Example:
        >>> Layers(activations="b16.conv1").draw(stylegan.load_generator("demo"), Request([1])).image
    """

    activations: str | None = field(
        default=None, metadata={"help": "show this layer's feature maps; an unknown name lists all"}
    )
    channels: int = field(default=16, metadata={"help": "feature maps that are shown", "range": COUNT})
    gain: float = field(
        default=2.0, metadata={"help": "by which what a resolution adds is enlarged", "range": POSITIVE}
    )

    def draw(self, G: Generator, request: Request) -> Picture:
        """See `Figure`. A layer that the network does not have is refused with those that it has."""
        count = len(request.items)
        latents = locate(G, request.seeds, request.sampling)
        known = list(watched(G, latents[0], request))
        columns = self.channels if self.activations is not None else len(known)
        check_images(2 * count * columns, G.channels, G.resolution, "number of seeds or figure.channels")
        if self.activations is not None:
            if self.activations not in known:
                raise UserError(f"figure.activations={self.activations}: {nearest(self.activations, known)}")
            return self._feature_maps(G, latents, request, self.activations)
        if (
            isinstance(G, StyleBased)
            and isinstance(G.synthesis, SynthesisNetwork)
            and G.synthesis.blocks[0].torgb is not None
        ):
            return self._resolutions(G, latents, request)
        return self._styles(G, latents, request) if isinstance(G, StyleBased) else self._activity(G, latents, request)

    def _resolutions(self, G: StyleBased, latents: Latents, request: Request) -> Picture:
        assert isinstance(G.synthesis, SynthesisNetwork)
        blocks = G.synthesis.blocks[: G.synthesis.level + 1]  # a network that still grows uses no more
        cells, rows = [], []
        for point in latents:
            seen = watched(G, point, request)
            img, so_far, adds = None, [], []
            for name, block in zip(G.synthesis.block_names, blocks, strict=False):
                rgb = seen[f"{name}.torgb"].float()
                img = rgb if img is None else upsample2d(img, block.resample_filter.cpu(), added=rgb)
                so_far.append(_enlarged(to_pixels(to_uint8(img[0])), G.resolution))
                adds.append(_enlarged(to_pixels(to_uint8(rgb[0] * self.gain)), G.resolution))
            cells += [so_far, adds]
            rows += [point.names[0], "adds"]
        columns = [f"{max(block.layers[0].shape)} px" for block in blocks]
        return self.sheet(Sheet(cells, columns, rows))

    def _styles(self, G: StyleBased, latents: Latents, request: Request) -> Picture:
        assert latents.ws is not None
        mean = G.mapping.w_avg.expand(G.num_ws, -1)
        cells = []
        for ws in latents.ws:
            steps = torch.stack([torch.cat([ws[: i + 1], mean[i + 1 :]]) for i in range(G.num_ws)])
            cells.append([to_pixels(image) for image in render(G, steps, request.sampling)])
        columns = [f"0-{i}" if i else "0" for i in range(G.num_ws)]
        caption = "Styles of the seed in these layers, of the mean in the others."
        return self.sheet(Sheet(cells, columns, latents.names, caption=caption))

    def _activity(self, G: Generator, latents: Latents, request: Request) -> Picture:
        cells, columns = [], []
        for point in latents:
            maps = watched(G, point, request)
            columns = list(maps)
            strength = [value.float().square().mean(dim=1).sqrt()[0] for value in maps.values()]
            cells.append([_enlarged(_grey(item), G.resolution) for item in strength])
        caption = "Root mean square of the activations over feature maps; each from its lowest to its highest value."
        return self.sheet(Sheet(cells, columns, latents.names, caption=caption))

    def _feature_maps(self, G: Generator, latents: Latents, request: Request, layer: str) -> Picture:
        maps = [watched(G, point, request)[layer][0].float() for point in latents]
        varying = torch.stack([value.flatten(1).std(dim=1) for value in maps]).mean(dim=0)
        shown = varying.argsort(descending=True, stable=True)[: self.channels].tolist()
        cells = [[_enlarged(_grey(value[channel]), G.resolution) for channel in shown] for value in maps]
        height, width = maps[0].shape[1:]
        caption = f"Feature maps of {layer}, {width}x{height} values each: of {len(varying)} those that vary most."
        return self.sheet(
            Sheet(cells, [str(channel) for channel in shown], latents.names, caption=caption), {"channels": shown}
        )


def watched(G: Generator, point: Latents, request: Request) -> dict[str, Tensor]:
    """What every layer gives while one image is made, [1, C, H, W] on the CPU, by the module's name without `synthesis.`."""
    seen: dict[str, Tensor] = {}
    with _hooks(G, seen):
        list(render(G, point, replace(request.sampling, batch=1)))
    return seen


@contextmanager
def _hooks(G: Generator, seen: dict[str, Tensor]) -> Iterator[None]:
    def keep(name: str) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            value = output[0] if isinstance(output, tuple) else output
            if isinstance(value, Tensor) and value.ndim == 4:
                seen[name] = value.cpu()

        return hook

    named = {name.removeprefix("synthesis."): module for name, module in G.named_modules() if name}
    handles = [module.register_forward_hook(keep(name)) for name, module in named.items() if name != "synthesis"]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _grey(values: Tensor) -> Image.Image:
    """[H, W] from its lowest to its highest value."""
    low, high = values.min(), values.max()
    return to_pixels(((values - low) / (high - low).clamp(min=1e-12) * 255).round().to(torch.uint8)[None])


def _enlarged(image: Image.Image, resolution: tuple[int, int]) -> Image.Image:
    """At the size of the network's images, so that all cells are alike; what has a margin, as in StyleGAN3, shrinks."""
    size = (resolution[1], resolution[0])
    smaller = image.width <= size[0] and image.height <= size[1]
    return (
        image
        if image.size == size
        else image.resize(size, Image.Resampling.NEAREST if smaller else Image.Resampling.BOX)
    )

"""The figure `scanline`: one column of pixels of a slow walk through latents, side by side: time runs to the right.

Details that belong to the face move with it and draw waves; details that stick to the image's coordinates draw horizontal
streaks (Karras et al. 2021, "Alias-Free Generative Adversarial Networks", figure 1 right, "texture sticking").
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor

from stylegan.errors import UserError
from stylegan.figures.base import Picture, Printed, Request
from stylegan.figures.pixels import to_pixels
from stylegan.figures.sheet import Sheet
from stylegan.inference import NoiseMode, render, sample_ws
from stylegan.memory import check_images
from stylegan.models.base import Generator
from stylegan.models.generator import require_w
from stylegan.values import COUNT, SHARE


@dataclass
class Scanline(Printed):
    """One column of pixels of a slow walk from seed to seed, time to the right.

    Above it stand images of the walk, each at its moment.

    Example:
        >>> Scanline(frames=64).draw(stylegan.load_generator("demo"), Request([0, 1])).image
    """

    frames: int = field(default=128, metadata={"help": "images from one seed to the next", "range": COUNT})
    column: float = field(default=0.5, metadata={"help": "where the column lies, 0 left to 1 right", "range": SHARE})
    top: float = field(default=0.0, metadata={"help": "where it begins, 0 top to 1 bottom", "range": SHARE})
    bottom: float = field(default=1.0, metadata={"help": "where it ends", "range": SHARE})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top >= self.bottom:
            raise UserError(f"figure.top={self.top} figure.bottom={self.bottom}: the top must be above the bottom")

    def draw(self, G: Generator, request: Request) -> Picture:
        """See `Figure`. The walk goes in straight lines between the seeds' ws, so that a network must have w, and there must be
        two seeds; random noise is refused, since it would be new in every image."""
        require_w(G, "figure=scanline, which walks through w,", "choose another figure")
        if len(request.items) < 2:
            raise UserError(
                f"seeds={','.join(map(str, request.seeds))}: this figure walks from one seed to the next; give at least two, "
                "such as 0-1"
            )
        if request.sampling.noise_mode == NoiseMode.random:
            raise UserError("noise_mode=random: every image of the walk would have other noise; choose const or none")
        moments = self.frames * (len(request.items) - 1) + 1
        H, W = G.resolution
        # Each moment becomes a column, and every W-th stands above as a picture.
        check_images(moments, G.channels, (2 * H, 1), "figure.frames or fewer seeds")
        check_images(moments / W, G.channels, (H, W), "figure.frames or fewer seeds")
        ws = walk(sample_ws(G, request.seeds, request.sampling), self.frames)
        strip = scanline(render(G, ws, request.sampling, progress=request.progress), len(ws), self)
        caption = (
            f"One column of pixels, {self.frames} moments from latent to latent, time to the right: {request.named}"
        )
        return self.sheet(Sheet([[strip]], caption=caption))


def walk(ws: Tensor, frames: int) -> Tensor:
    """Straight lines through ws [N, num_ws, w_dim]: [frames * (N - 1) + 1, num_ws, w_dim], both ends included."""
    place = torch.arange(frames * (len(ws) - 1) + 1, device=ws.device) / frames
    before = place.floor().long().clamp(max=len(ws) - 2)
    return ws[before].lerp(ws[before + 1], (place - before)[:, None, None])


def scanline(images: Iterator[Tensor], count: int, options: Scanline) -> Image.Image:
    """The picture.

    Args:
        images: uint8 [C, H, W], `count` of them; only those that are shown are kept.
        count: Their number.
        options: See `Scanline`.
    """
    columns, shown = [], []
    for i, image in enumerate(images):
        _, height, width = image.shape
        column = min(int(options.column * width), width - 1)
        top = min(int(options.top * height), height - 1)
        columns.append(image[:, top : max(round(options.bottom * height), top + 1), column])
        if i % width == width // 2 and i - width // 2 + width <= count:
            shown.append(image)
    strip = torch.stack(columns, dim=2)
    rows = [strip]
    if shown:
        above = torch.cat(shown, dim=2)
        rows.insert(0, torch.nn.functional.pad(above, [0, strip.shape[2] - above.shape[2]]))
    return to_pixels(torch.cat(rows, dim=1))

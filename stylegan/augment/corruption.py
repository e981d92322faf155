"""Image-space corruptions: noise and cut-out (ADA, appendix B, "Image-space corruptions")."""

import torch
from torch import Tensor

from stylegan.augment.draws import Draws
from stylegan.augment.strengths import Strengths


def sample_sigma(config: Strengths, draws: Draws) -> Tensor:
    """Standard deviation of the noise of each image, float64 [n]; 0 where nothing happens."""
    return draws.half_normal("noise") * config.noise_std


def sample_boxes(config: Strengths, draws: Draws) -> Tensor:
    """The rectangle to cut out of each image: centre x, y and sides in shares of the image's, float64 [n, 4]."""
    centre = draws.uniforms("cutout")
    size = draws.happens("cutout").to(centre.dtype) * config.cutout_size
    return torch.cat([centre, size.expand(2, -1)]).T


def cut_out(images: Tensor, boxes: Tensor) -> Tensor:
    """Set pixels of [n, C, H, W] whose centres are in a box [n, 4] to 0, the middle of the range."""
    H, W = images.shape[2:]
    x = (torch.arange(W, device=images.device, dtype=boxes.dtype) + 0.5) / W
    y = (torch.arange(H, device=images.device, dtype=boxes.dtype) + 0.5) / H
    outside_x = (x - boxes[:, 0, None]).abs() >= boxes[:, 2, None] / 2
    outside_y = (y - boxes[:, 1, None]).abs() >= boxes[:, 3, None] / 2
    return images * (outside_x[:, None, None, :] | outside_y[:, None, :, None]).to(images.dtype)

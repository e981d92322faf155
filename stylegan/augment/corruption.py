"""Image-space corruptions: noise and cut-out (ADA, appendix B, "Image-space corruptions")."""

import torch
from torch import Tensor

from stylegan.augment.draws import Draws
from stylegan.augment.strengths import Strengths


def sample_sigma(config: Strengths, draws: Draws, p: float, n: int) -> Tensor:
    """Standard deviation of the noise of each image, float64 [n]; 0 where nothing happens."""
    sigma = draws.half_normal("noise") * config.noise_std
    return torch.where(draws.happens("noise", config.noise * p), sigma, torch.zeros_like(sigma).expand(n))


def sample_boxes(config: Strengths, draws: Draws, p: float, n: int) -> Tensor:
    """The rectangle to cut out of each image: centre x, y and sides in shares of the image's, float64 [n, 4]."""
    size = torch.full([n], float(config.cutout_size), dtype=torch.float64)
    size = torch.where(draws.happens("cutout", config.cutout * p), size, torch.zeros_like(size))
    return torch.stack([draws.uniform("cutout", 0), draws.uniform("cutout", 1), size, size], dim=1)


def cut_out(images: Tensor, boxes: Tensor) -> Tensor:
    """Set pixels of [n, C, H, W] whose centres are in a box [n, 4] to 0, the middle of the range."""
    H, W = images.shape[2:]
    x = (torch.arange(W, device=images.device, dtype=boxes.dtype) + 0.5) / W
    y = (torch.arange(H, device=images.device, dtype=boxes.dtype) + 0.5) / H
    outside_x = (x - boxes[:, 0, None]).abs() >= boxes[:, 2, None] / 2
    outside_y = (y - boxes[:, 1, None]).abs() >= boxes[:, 3, None] / 2
    return images * (outside_x[:, None, None, :] | outside_y[:, None, :, None]).to(images.dtype)

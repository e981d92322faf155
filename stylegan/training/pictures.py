"""The grids of a run: some training images, and what G_ema makes of latents that stay the same."""

import json
from collections.abc import Mapping
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from stylegan import run_dir as layout
from stylegan.figures.pixels import image_grid
from stylegan.figures.writing import save_png
from stylegan.inference import to_uint8
from stylegan.interop.provenance import TEXT_CHUNK
from stylegan.interop.snapshot import weights_sha256
from stylegan.rng import generator, normal
from stylegan.training.job import Job


def show_reals(job: Job) -> None:
    """Write a grid of training images."""
    order = torch.randperm(len(job.dataset), generator=generator(job.state.seed, "grid/reals"))
    images = torch.stack([job.dataset[i][0] for i in order[: job.config.training.grid_images].tolist()])
    _show(job, "reals", job.run_dir / layout.REALS, images)


def show_fakes(job: Job) -> None:
    """Write a grid of what G_ema makes now."""
    G, nimg = job.state.G_ema, job.state.nimg
    about = {
        "network": layout.snapshot_path(job.run_dir, nimg).name,
        "weights_sha256": weights_sha256(G.state_dict()),
        "seeds": f"grid of the run with seed {job.state.seed}",
        "truncation_psi": 1.0,
        "noise_mode": "const",
    }
    _show(job, "fakes", layout.fakes_path(job.run_dir, nimg), _fakes(job), about)


def shows(path: Path, weights: str) -> bool:
    """Whether a file is a whole grid of what the network with this hash makes."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            picture.load()
            return json.loads(picture.info.get(TEXT_CHUNK, "{}"))["weights_sha256"] == weights
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, Image.DecompressionBombError):
        return False


def _show(job: Job, name: str, path: Path, images: Tensor, about: Mapping[str, Any] | None = None) -> None:
    """Write a grid of uint8 images [n, C, H, W], and hand it to the logger; `about` as for `save_png`."""
    picture = image_grid(images, columns=ceil(sqrt(len(images))))
    save_png(picture, path, about)
    job.logger.picture(name, picture, job.state.nimg)


@torch.no_grad()
def _fakes(job: Job) -> Tensor:
    """uint8 [n, C, H, W]; as many at once as in training."""
    G, seed, count = job.state.G_ema, job.state.seed, job.config.training.grid_images
    batch = len(job.rounds[job.plan.stage(job.state.nimg).batch_size][0])
    z = normal(seed, "grid/z", range(count), [G.z_dim], job.device)
    c = job.drawer.labels(seed, "grid/c", range(count), G.c_dim)
    parts = zip(z.split(batch), c.to(job.device).split(batch), strict=True)
    return torch.cat([to_uint8(G(z_part, c_part, noise_mode="const")).cpu() for z_part, c_part in parts])

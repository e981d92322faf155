"""What every loss takes and gives: networks, a batch with all its random numbers, a value per image and statistics."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from stylegan.augment.pipe import Augmentation
from stylegan.losses.blur import blurred
from stylegan.models.discriminator import Discriminator
from stylegan.models.generator import Generator


@dataclass(frozen=True)
class Networks:
    """The networks that compete.

    Attributes:
        G: The generator.
        D: The discriminator.
        loss_scale: Factor under which gradients pass through the networks, so that small ones do not vanish in float16. A
            penalty multiplies what it differentiates by it and divides the gradient; whoever calls backward does the same.
    """

    G: Generator
    D: Discriminator
    loss_scale: float = 1.0


@dataclass(frozen=True)
class Batch:
    """The images and all random numbers that one phase of one iteration uses, for N images.

    Nothing is drawn inside a loss: a test can inject what it likes, and a batch is the same on one rank or four.

    Attributes:
        real: Training images [N, C, H, W], float32 in [-1, 1].
        real_c: Their labels [N, c_dim].
        z: Latents [N, z_dim], standard normal.
        c: Labels for the generator [N, c_dim].
        z_mix: Second latents for style mixing [N, z_dim]; None without mixing.
        mixing_cutoff: The layer from which an image takes its second latent, int64 [N]; `num_ws` means never.
        noise: Layer noise [N, noise_size], standard normal; None uses the generator's constant noise.
        pl_noise: Random image directions of path length regularisation [M, C, H, W], standard normal; the first M images
            of the batch are regularised. None in other phases.
        augment_real: What happens to the training images on their way to D; None: nothing.
        augment_fake: The same for the generated ones, independently.
        blur_sigma: How much D's sight is blurred, in pixels; 0: not at all.
    """

    real: Tensor
    real_c: Tensor
    z: Tensor
    c: Tensor
    z_mix: Tensor | None = None
    mixing_cutoff: Tensor | None = None
    noise: Tensor | None = None
    pl_noise: Tensor | None = None
    augment_real: Augmentation | None = None
    augment_fake: Augmentation | None = None
    blur_sigma: float = 0.0

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device; copies from pinned memory do not wait."""
        moved: dict[str, Any] = {}
        for name, value in ((f.name, getattr(self, f.name)) for f in fields(self)):
            if isinstance(value, Tensor):
                moved[name] = value.to(device, non_blocking=True)
            elif value is not None and not isinstance(value, float):
                moved[name] = value.to(device)
        return replace(self, **moved)


class LossOutput(NamedTuple):
    """What a loss gives back.

    Attributes:
        loss: Value per image [N] or [M]; its mean is minimised.
        stats: Detached values per image, by the name under which they are logged.
        means: What the generator's moving averages follow, [w_dim + num_magnitudes], where the phase moves them, else None.
    """

    loss: Tensor
    stats: dict[str, Tensor]
    means: Tensor | None = None


LossFn = Callable[[Networks, Batch], LossOutput]


def run_mapping(G: Generator, batch: Batch, n: int | None = None) -> Tensor:
    """Map the first n latents of a batch to ws [n, num_ws, w_dim], with style mixing (StyleGAN, section 3.1).

    Each image has its own cut-off, so that a batch can be split in any way.
    """
    head = slice(n)
    z, c = batch.z[head], batch.c[head]
    if batch.z_mix is None or batch.mixing_cutoff is None:
        return G.mapping(z, c)
    # Both latents in one pass: half the ops, and one gradient for each weight.
    ws, second = G.mapping(torch.cat([z, batch.z_mix[head]]), torch.cat([c, c])).chunk(2)
    keep = torch.arange(ws.shape[1], device=ws.device) < batch.mixing_cutoff[head, None]
    return torch.where(keep[:, :, None], ws, second)


def run_synthesis(G: Generator, ws: Tensor, batch: Batch, track: list[Tensor] | None = None) -> Tensor:
    """Images [n, C, H, W] of the first n elements of a batch, with the batch's layer noise (constant where it has none);
    `track` as in `Synthesis.forward`."""
    if batch.noise is None:
        return G.synthesis(ws, noise_mode="const", track=track)
    return G.synthesis(ws, noise_mode="random", noise=batch.noise[: ws.shape[0]], track=track)


def seen_by_D(images: Tensor, augmentation: Augmentation | None, batch: Batch) -> Tensor:
    """What D sees of images [N, C, H, W], real and generated alike, or the generator would learn what is done to them: blurred
    (StyleGAN3, appendix F), then augmented (Karras et al. 2020, "Training Generative Adversarial Networks with Limited
    Data", section 2.1)."""
    images = blurred(images, batch.blur_sigma)
    return images if augmentation is None else augmentation(images)

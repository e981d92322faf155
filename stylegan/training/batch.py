"""Drawing what the phases of an iteration need.

Every number is a function of seed, stream (the purpose and the phase) and the number of its image, whatever the division
between ranks and micro-batches, and is made where it is needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from stylegan.augment.pipe import Augment, Augmentation
from stylegan.data.archive import ImageDataset
from stylegan.losses.base import Batch, Phase, Reals
from stylegan.models.base import Generator
from stylegan.models.generator import require_w
from stylegan.rng import choices, normal, uniform
from stylegan.schedule import Moment, Stage

Images = tuple[Tensor, Tensor]
"""Training images uint8 [n, C, H, W] and their labels [n, c_dim]."""


@dataclass(frozen=True)
class Drawer:
    """Draws what phases need; one for a training.

    Attributes:
        labelled: The data set from whose labels those of generated images are drawn; None for an unconditional model.
        augment: By (H, W), what augments images on their way to D; None: nothing.
    """

    labelled: ImageDataset | None = None
    augment: Mapping[tuple[int, int], Augment] | None = None

    def draw(
        self,
        phase: Phase,
        now: Moment,
        G: Generator,
        images: Mapping[Reals, Images],
        rounds: Sequence[Sequence[int]],
        *,
        seed: int,
        p: float | Tensor = 0.0,
    ) -> list[Batch]:
        """The micro-batches of one phase, on the device of the training images.

        Args:
            phase: What they are for.
            now: Image count and stage of the iteration.
            G: Gives the numbers of values to draw.
            images: This rank's training images, in the order of `rounds`.
            rounds: The positions in the global batch of each round's images.
            seed: Of the training.
            p: Probability of augmentations.
        """
        needs, name = phase.needs, phase.name
        device, batches, start = images[needs.reals or Reals.first][0].device, [], 0
        augment = None if self.augment is None else self.augment[now.stage.resolution]

        def augmentation(side: str, indices: Sequence[int]) -> Augmentation | None:
            return None if augment is None else augment.draw(seed, f"augment_{side}/{name}", indices, p, device)

        for chunk in rounds:
            n = max(1, len(chunk) // needs.shrink)
            indices = [now.nimg + position for position in chunk[:n]]
            part = self._latents(phase, now, G, indices, seed, device) if needs.latents or needs.fakes else {}
            if needs.reals:
                real, real_c = (t[start : start + n] for t in images[needs.reals])
                part |= {"real": as_shown(real, now.stage), "real_c": real_c}
                part["augment_real"] = augmentation("real", indices)
                if needs.labels_of_reals:
                    part["c"] = real_c
            if needs.fakes:
                part["augment_fake"] = augmentation("fake", indices)
            if needs.mixing_factor:
                part["mixing_factor"] = uniform(seed, f"mixing_factor/{name}", indices, [], device)
            batches.append(Batch(name, **part))
            start += n
        return batches

    def _latents(
        self, phase: Phase, now: Moment, G: Generator, indices: Sequence[int], seed: int, device: torch.device
    ) -> dict[str, Any]:
        """What images are generated from, by its name in `Batch`."""
        needs, name = phase.needs, phase.name
        z = normal(seed, f"z/{name}", indices, [2, G.z_dim], device)
        found: dict[str, Any] = {"z": z[:, 0], "z_mix": None, "constant_noise": needs.constant_noise}
        found["c"] = self.labels(seed, f"c/{name}", indices, G.c_dim).to(device, non_blocking=True)
        if needs.mixing_prob > 0:
            num_ws = require_w(G, "style mixing", "a loss without it").num_ws
            draws = uniform(seed, f"mixing/{name}", indices, [2], device)
            found |= {"z_mix": z[:, 1], "mixing_cutoff": mixing_cutoffs(draws, num_ws, needs.mixing_prob)}
        if not needs.constant_noise:
            found["noise"] = normal(seed, f"noise/{name}", indices, [G.noise_size], device)
        if needs.path_noise:
            shape = [G.channels, *now.stage.resolution]
            found["path_noise"] = normal(seed, f"path_noise/{name}", indices, shape, device)
        return found

    def labels(self, seed: int, stream: str, indices: Sequence[int], c_dim: int) -> Tensor:
        """Labels [n, c_dim] of random training images, on the CPU; [n, 0] for an unconditional model."""
        if self.labelled is None:
            return torch.zeros([len(indices), c_dim])
        return self.labelled.labels(choices(seed, stream, indices, len(self.labelled)))


def mixing_cutoffs(draws: Tensor, num_ws: int, prob: float) -> Tensor:
    """StyleGAN section 3.1: with the given probability, a cut-off uniform in 1 .. num_ws - 1, else `num_ws` (no mixing).

    Args:
        draws: Uniform [n, 2].
        num_ws: Of the generator.
        prob: Of mixing.

    Returns:
        int64 [n].
    """
    cutoff = 1 + (draws[:, 0] * (num_ws - 1)).long()
    return torch.where(draws[:, 1] < prob, cutoff, num_ws)


def as_shown(images: Tensor, stage: Stage) -> Tensor:
    """Training images uint8 [n, C, H, W] as a stage shows them: float32 in [-1, 1], of its resolution, and, while its layers
    fade in, faded as generated ones are (ProGAN, section 2 and appendix A)."""
    pixels = images.float()
    factor = pixels.shape[2] // stage.resolution[0]
    if factor > 1:  # to whole grey levels, as if the data set had been prepared in this size
        pixels = avg_pool2d(pixels, factor).round()
    pixels = pixels / 127.5 - 1
    if stage.alpha < 1:
        coarse = interpolate(avg_pool2d(pixels, 2), scale_factor=2, mode="nearest")
        pixels = coarse.lerp(pixels, stage.alpha)
    return pixels

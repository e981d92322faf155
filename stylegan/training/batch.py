"""Drawing what the phases of an iteration need.

Every number is a function of seed, stream (the purpose and the phase) and the number of its image, whatever the division
between ranks and micro-batches, and is made where it is needed: the host gives training images and labels, no more.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from stylegan.augment.pipe import Augment, Augmentation
from stylegan.data.archive import ImageDataset
from stylegan.losses.base import Batch, Phase, Reals
from stylegan.models.base import Generator
from stylegan.models.generator import require_w
from stylegan.models.growing import faded
from stylegan.models.growing_generator import GrowingStyleBased
from stylegan.ops.device import on_device
from stylegan.rng import choices, normal, uniform
from stylegan.schedule import Moment, Now

Images = tuple[Tensor, Tensor]
"""Training images uint8 [n, C, H, W] and their labels [n, c_dim]."""


@dataclass(frozen=True)
class Given:
    """What the host gives to an iteration.

    Attributes:
        sizes: Images of each of this rank's micro-batches.
        positions: Their places in the global batch, int64 [n].
        images: Training images in that order.
        labels: By phase those of its generated images [m, c_dim], of training images drawn at random; none where there are
            no labels or those of `images` are taken.
    """

    sizes: Sequence[int]
    positions: Tensor
    images: Mapping[Reals, Images]
    labels: Mapping[str, Tensor]

    def placed(self, place: Callable[[str, Tensor], Tensor]) -> "Given":
        """With every tensor replaced by what `place` makes of its name and itself."""
        images = {k: (place(f"{k}", t[0]), place(f"{k} labels", t[1])) for k, t in self.images.items()}
        labels = {name: place(f"labels {name}", t) for name, t in self.labels.items()}
        return replace(self, positions=place("positions", self.positions), images=images, labels=labels)


@dataclass(frozen=True)
class Drawer:
    """Draws what phases need; one for a training.

    Attributes:
        labelled: The data set from whose labels those of generated images are drawn; None for an unconditional model.
        augment: By (H, W), what augments images on their way to D; None: nothing.
    """

    labelled: ImageDataset | None = None
    augment: Mapping[tuple[int, int], Augment] | None = None

    def given(
        self,
        phases: Sequence[Phase],
        now: Moment,
        images: Mapping[Reals, Images],
        rounds: Sequence[Sequence[int]],
        *,
        seed: int,
    ) -> Given:
        """What the phases of an iteration are given.

        Args:
            phases: Those that are due.
            now: Has the image count.
            images: This rank's training images, in the order of `rounds`, on the device.
            rounds: The positions in the global batch of each micro-batch's images.
            seed: Of the training.
        """
        (real, real_c), labels = images[Reals.first], {}
        device = real.device
        for phase in phases if self.labelled is not None else ():
            if (phase.needs.latents or phase.needs.fakes) and not phase.needs.labels_of_reals:
                indices = [now.nimg + i for chunk in rounds for i in chunk[: _share(len(chunk), phase)]]
                labels[phase.name] = on_device(self.labels(seed, f"c/{phase.name}", indices, real_c.shape[1]), device)
        positions = torch.tensor([position for chunk in rounds for position in chunk], device="cpu")
        return Given([len(chunk) for chunk in rounds], on_device(positions, device), images, labels)

    def labels(self, seed: int, stream: str, indices: Sequence[int], c_dim: int) -> Tensor:
        """Labels [n, c_dim] of random training images, on the CPU; [n, 0] for an unconditional model."""
        if self.labelled is None:
            return torch.zeros([len(indices), c_dim])
        return self.labelled.labels(choices(seed, stream, indices, len(self.labelled)))

    def draw(
        self, phase: Phase, now: Now, G: Generator, given: Given, *, seed: int, p: float | Tensor = 0.0
    ) -> list[Batch]:
        """The micro-batches of one phase, made on the device of the training images; no value is read.

        Args:
            phase: What they are for.
            now: Image count and stage of the iteration.
            G: Gives the numbers of values to draw.
            given: What comes from the host.
            seed: Of the training.
            p: Probability of augmentations, float64 [].
        """
        needs, name, device = phase.needs, phase.name, given.positions.device
        numbers, batches, start, made = now.nimg.long() + given.positions, [], 0, 0
        augment = None if self.augment is None else self.augment[now.resolution]

        def augmentation(side: str, indices: Tensor) -> Augmentation | None:
            return None if augment is None else augment.draw(seed, f"augment_{side}/{name}", indices, p, device)

        for size in given.sizes:
            n = _share(size, phase)
            indices = numbers[start : start + n]
            part: dict[str, Any] = {}
            if needs.latents or needs.fakes:
                part = self._latents(phase, now, G, indices, seed)
                labels = given.labels.get(name)
                part["c"] = torch.zeros([n, G.c_dim], device=device) if labels is None else labels[made : made + n]
            if needs.reals:
                real, real_c = (t[start : start + n] for t in given.images[needs.reals])
                part |= {"real": as_shown(real, now), "real_c": real_c}
                part["augment_real"] = augmentation("real", indices)
                if needs.labels_of_reals:
                    part["c"] = real_c
            if needs.fakes:
                part["augment_fake"] = augmentation("fake", indices)
            if needs.mixing_factor:
                part["mixing_factor"] = uniform(seed, f"mixing_factor/{name}", indices, [], device)
            batches.append(Batch(name, **part))
            start, made = start + size, made + n
        return batches

    def _latents(self, phase: Phase, now: Now, G: Generator, indices: Tensor, seed: int) -> dict[str, Any]:
        """What images are generated from, by its name in `Batch`."""
        needs, name, device = phase.needs, phase.name, indices.device
        z = normal(seed, f"z/{name}", indices, [2, G.z_dim], device)
        found: dict[str, Any] = {"z": z[:, 0], "z_mix": None, "constant_noise": needs.constant_noise}
        if needs.mixing_prob > 0:
            styled = require_w(G, "style mixing", "a loss without it")
            layers = styled.layers_in_use if isinstance(styled, GrowingStyleBased) else styled.num_ws
            # Of the batch's first image for all of it, whatever part of it is drawn here.
            numbers = now.nimg.long().expand_as(indices) if needs.shared_cutoff else indices
            draws = uniform(seed, f"mixing/{name}", numbers, [2], device)
            found |= {"z_mix": z[:, 1], "mixing_cutoff": mixing_cutoffs(draws, layers, needs.mixing_prob)}
        if not needs.constant_noise:
            found["noise"] = normal(seed, f"noise/{name}", indices, [G.noise_size], device)
        if needs.path_noise:
            found["path_noise"] = normal(seed, f"path_noise/{name}", indices, [G.channels, *now.resolution], device)
        return found


def _share(size: int, phase: Phase) -> int:
    """How many images of a micro-batch a phase takes."""
    return max(1, size // phase.needs.shrink)


def mixing_cutoffs(draws: Tensor, layers: int, prob: float) -> Tensor:
    """StyleGAN section 3.1: with the given probability, a cut-off uniform in 1 .. layers - 1, else `layers` (no mixing).

    Args:
        draws: Uniform [n, 2].
        layers: How many of the ws have an effect.
        prob: Of mixing.

    Returns:
        int64 [n].
    """
    cutoff = 1 + (draws[:, 0] * (layers - 1)).long()
    return torch.where(draws[:, 1] < prob, cutoff, layers)


def as_shown(images: Tensor, now: Now) -> Tensor:
    """Training images uint8 [n, C, H, W] as a stage shows them: float32 in [-1, 1], of its resolution, and, while its layers
    fade in, faded as generated ones are (ProGAN, section 2 and appendix A)."""
    pixels = images.float()
    factor = pixels.shape[2] // now.resolution[0]
    if factor > 1:  # to whole grey levels, as if the data set had been prepared in this size
        pixels = avg_pool2d(pixels, factor).round()
    pixels = pixels / 127.5 - 1
    if now.alpha is not None:
        pixels = faded(interpolate(avg_pool2d(pixels, 2), scale_factor=2, mode="nearest"), pixels, now.alpha)
    return pixels

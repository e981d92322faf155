"""Drawing what the phases of an iteration need.

Every number is a function of (seed, phase, image count) and is drawn as if there were one rank and one micro-batch, then
sliced: drawing fewer at a time would give other numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from stylegan.augment.pipe import Augment
from stylegan.data.archive import ImageDataset
from stylegan.losses.base import Batch, Phase, Reals
from stylegan.models.base import Generator
from stylegan.models.generator import require_w
from stylegan.rng import drawn_normal, drawn_uniform, generator
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
        p: float = 0.0,
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
        needs, name, nimg, N = phase.needs, phase.name, now.nimg, now.stage.batch_size
        shown = images[needs.reals or Reals.first][0]
        device, batches, start = shown.device, [], 0
        whole = self._whole(phase, now, G, seed, device)

        def each(stream: str, positions: Sequence[int], shape: Sequence[int]) -> Tensor:
            """Large draws are made image by image: a rank draws only its own."""
            return torch.stack([drawn_normal(shape, seed, stream, nimg + i, device) for i in positions])

        def augmentation(side: str, positions: Sequence[int]) -> Any:
            if self.augment is None:
                return None
            of_size = self.augment[now.stage.resolution]
            return of_size.draw(seed, f"augment_{side}/{name}", nimg, N, positions, p)

        for chunk in rounds:
            positions = chunk[: max(1, len(chunk) // needs.shrink)]
            part = {key: value[torch.tensor(positions)] for key, value in whole.items()}
            if needs.reals:
                real, real_c = (t[start : start + len(positions)] for t in images[needs.reals])
                part |= {"real": as_shown(real, now.stage), "real_c": real_c}
                part["augment_real"] = augmentation("real", positions)
                if needs.labels_of_reals:
                    part["c"] = real_c
            if "z" in part:
                part = {"z_mix": None, "constant_noise": needs.constant_noise, **part}
                if not needs.constant_noise:
                    part["noise"] = each(f"noise/{name}", positions, [G.noise_size])
            if needs.fakes:
                part["augment_fake"] = augmentation("fake", positions)
            if needs.path_noise:
                part["path_noise"] = each("pl_noise", positions, [shown.shape[1], *now.stage.resolution])
            batches.append(Batch(name, **part).to(device))
            start += len(positions)
        return batches

    def _whole(self, phase: Phase, now: Moment, G: Generator, seed: int, device: torch.device) -> dict[str, Any]:
        """What is drawn for the whole batch at once, by its name in `Batch`."""
        needs, name, nimg, N = phase.needs, phase.name, now.nimg, now.stage.batch_size
        found: dict[str, Any] = {}
        if needs.latents or needs.fakes:
            z = drawn_normal([2, N, G.z_dim], seed, f"z/{name}", nimg, device)
            found |= {"z": z[0], "c": self.labels(seed, f"c/{name}", nimg, N, G.c_dim)}
            if needs.mixing_prob > 0:
                num_ws = require_w(G, "style mixing", "a loss without it").num_ws
                cutoff = mixing_cutoffs(seed, f"mixing/{name}", nimg, N, num_ws, needs.mixing_prob)
                found |= {"z_mix": z[1], "mixing_cutoff": cutoff}
        if needs.mixing_factor:
            found["mixing_factor"] = drawn_uniform([N], seed, f"mixing_factor/{name}", nimg, device)
        return found

    def labels(self, seed: int, stream: str, index: int, count: int, c_dim: int) -> Tensor:
        """Labels [count, c_dim] of random training images; [count, 0] for an unconditional model."""
        if self.labelled is None:
            return torch.zeros([count, c_dim])
        chosen = torch.randint(len(self.labelled), [count], generator=generator(seed, stream, index))
        return torch.stack([self.labelled.label(i) for i in chosen.tolist()])


def mixing_cutoffs(seed: int, stream: str, index: int, count: int, num_ws: int, prob: float) -> Tensor:
    """StyleGAN section 3.1: with the given probability, a cut-off uniform in 1 .. num_ws - 1, else `num_ws` (no mixing)."""
    draw = generator(seed, stream, index)
    cutoff = torch.randint(1, max(num_ws, 2), [count], generator=draw)
    mixed = torch.rand([count], generator=draw) < prob
    return torch.where(mixed, cutoff, num_ws)


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

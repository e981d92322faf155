"""Drawing what the phases of an iteration need, and dividing its images between ranks and micro-batches.

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
from stylegan.errors import UserError
from stylegan.losses.base import Batch, Phase, Reals
from stylegan.models.base import Generator
from stylegan.models.generator import require_w
from stylegan.rng import generator, normal, uniform
from stylegan.schedule import Moment, Stage

Images = tuple[Tensor, Tensor]
"""Training images uint8 [n, C, H, W] and their labels [n, c_dim]."""


def split_positions(batch_size: int, ranks: int, micro_batch: int, group: int | None) -> list[list[list[int]]]:
    """Which images of a global batch each rank takes in each of its rounds: `result[rank][round]` is a list of positions.

    The discriminator compares image n with n + N/g, n + 2N/g, ... (minibatch standard deviation with groups of g). The split
    keeps such groups whole and in place, so that the rounds' mean gradient is that of the whole batch.

    Args:
        batch_size: N, images of one iteration over all ranks.
        ranks: Number of ranks.
        micro_batch: Images of one rank in one round.
        group: g; 0 where the discriminator does not compare images, None where it compares the whole batch.

    Raises:
        UserError: The numbers do not divide.
    """
    if batch_size < 1 or micro_batch < 1 or batch_size % (ranks * micro_batch):
        raise UserError(
            f"training.batch_size={batch_size} cannot be divided into {ranks} rank(s) x rounds of "
            f"training.micro_batch={micro_batch}; choose a batch_size that is a multiple of {ranks * max(micro_batch, 1)}"
        )
    if group is None:
        if micro_batch != batch_size:
            raise UserError(
                f"model.D.minibatch_std_group=null compares the whole batch, which needs one rank and "
                f"training.micro_batch={batch_size} (it is {micro_batch} on {ranks} rank(s)); or give the group a size"
            )
        return [[list(range(batch_size))]]
    group = min(max(group, 1), batch_size)
    if micro_batch % group:
        raise UserError(
            f"training.micro_batch={micro_batch} is not a multiple of model.D.minibatch_std_group={group}; "
            f"a group must not straddle micro-batches: choose micro_batch={group * max(1, micro_batch // group)}"
        )
    rounds = batch_size // (ranks * micro_batch)
    lanes = torch.arange(batch_size).view(group, rounds * ranks, micro_batch // group)
    chunks = lanes.transpose(0, 1).flatten(1).tolist()
    return [chunks[r * rounds : (r + 1) * rounds] for r in range(ranks)]


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
            return torch.stack([normal(shape, seed, stream, nimg + i, device) for i in positions])

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
            z = normal([2, N, G.z_dim], seed, f"z/{name}", nimg, device)
            found |= {"z": z[0], "c": self.labels(seed, f"c/{name}", nimg, N, G.c_dim)}
            if needs.mixing_prob > 0:
                num_ws = require_w(G, "style mixing", "a loss without it").num_ws
                cutoff = mixing_cutoffs(seed, f"mixing/{name}", nimg, N, num_ws, needs.mixing_prob)
                found |= {"z_mix": z[1], "mixing_cutoff": cutoff}
        if needs.mixing_factor:
            found["mixing_factor"] = uniform([N], seed, f"mixing_factor/{name}", nimg, device)
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

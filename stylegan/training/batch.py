"""Drawing the random numbers of an iteration, and dividing its images between ranks and micro-batches.

Every number is a function of (seed, phase, image count) and is drawn as if there were one rank and one micro-batch, then
sliced: drawing fewer at a time would give other numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stylegan.augment.pipe import Augment, Augmentation
from stylegan.data.archive import ImageDataset
from stylegan.errors import UserError
from stylegan.losses.base import Batch
from stylegan.losses.blur import NO_BLUR, BlurSchedule
from stylegan.models.generator import Generator
from stylegan.rng import generator


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
class BatchMaker:
    """Draws the random numbers of one phase for the images of this rank.

    Attributes:
        seed: The run's seed.
        batch_size: Images of one iteration over all ranks.
        style_mixing_prob: Probability that an image takes its later layers from a second latent.
        pl_batch_shrink: Path length uses one image of this many (StyleGAN2, appendix B).
        labelled: The data set from whose labels those of generated images are drawn; None for an unconditional model.
        augment: What augments images on their way to D; None: nothing.
        blur: How blurred D sees them.
    """

    seed: int
    batch_size: int
    style_mixing_prob: float
    pl_batch_shrink: int
    labelled: ImageDataset | None = None
    augment: Augment | None = None
    blur: BlurSchedule = NO_BLUR

    def draw(
        self,
        phase: str,
        nimg: int,
        G: Generator,
        real: Tensor,
        real_c: Tensor,
        rounds: Sequence[Sequence[int]],
        p: float = 0.0,
    ) -> list[Batch]:
        """The micro-batches of one phase.

        Args:
            phase: `Gmain`, `Greg`, `Dmain` or `Dreg`.
            nimg: Images shown before this iteration.
            G: Gives the numbers of values to draw.
            real: This rank's training images [n, C, H, W], uint8, in the order of `rounds`, on the device to train on.
            real_c: Their labels [n, c_dim].
            rounds: The positions in the global batch of each round's images.
            p: Probability of augmentations.
        """
        N, device = self.batch_size, real.device
        z = torch.randn([2, N, G.z_dim], generator=generator(self.seed, f"z/{phase}", nimg))
        c = self.labels(f"c/{phase}", nimg, N, G.c_dim)
        cutoff = self._cutoffs(phase, nimg, G.num_ws)
        batches, start = [], 0
        for positions in rounds:
            end = start + len(positions)
            index = torch.tensor(positions)
            used = positions[: max(1, len(positions) // self.pl_batch_shrink)] if phase == "Greg" else positions
            batch = Batch(
                real=real[start:end].float() / 127.5 - 1,
                real_c=real_c[start:end],
                z=z[0, index],
                c=c[index],
                z_mix=z[1, index] if self.style_mixing_prob > 0 else None,
                mixing_cutoff=cutoff[index],
                noise=None
                if phase == "Dreg"
                else self._per_image(f"noise/{phase}", nimg, used, [G.synthesis.noise_size]),
                pl_noise=self._per_image("pl_noise", nimg, used, list(real.shape[1:])) if phase == "Greg" else None,
                augment_real=self._augmentation(f"augment_real/{phase}", nimg, positions, p)
                if phase in ("Dmain", "Dreg")
                else None,
                augment_fake=self._augmentation(f"augment_fake/{phase}", nimg, positions, p)
                if phase in ("Gmain", "Dmain")
                else None,
                blur_sigma=self.blur.sigma(nimg),
            )
            batches.append(batch.to(device))
            start = end
        return batches

    def _per_image(self, stream: str, nimg: int, positions: Sequence[int], shape: list[int]) -> Tensor:
        """Large draws are made image by image: a rank draws only its own."""
        return torch.stack([torch.randn(shape, generator=generator(self.seed, stream, nimg + p)) for p in positions])

    def _augmentation(self, stream: str, nimg: int, positions: Sequence[int], p: float) -> Augmentation | None:
        if self.augment is None:
            return None
        return self.augment.draw(self.seed, stream, nimg, self.batch_size, positions, p)

    def labels(self, stream: str, index: int, count: int, c_dim: int) -> Tensor:
        """Labels [count, c_dim] of random training images; [count, 0] for an unconditional model."""
        if self.labelled is None:
            return torch.zeros([count, c_dim])
        chosen = torch.randint(len(self.labelled), [count], generator=generator(self.seed, stream, index))
        return torch.stack([self.labelled.label(i) for i in chosen.tolist()])

    def _cutoffs(self, phase: str, nimg: int, num_ws: int) -> Tensor:
        """StyleGAN section 3.1: with the given probability, a cut-off uniform in 1 .. num_ws - 1, else `num_ws` (no mixing)."""
        draw = generator(self.seed, f"mixing/{phase}", nimg)
        cutoff = torch.randint(1, max(num_ws, 2), [self.batch_size], generator=draw)
        mixed = torch.rand([self.batch_size], generator=draw) < self.style_mixing_prob
        return torch.where(mixed, cutoff, num_ws)

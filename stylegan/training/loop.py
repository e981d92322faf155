"""Training from where a state stands to the end, or until someone asks it to stop."""

import signal
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, sqrt
from pathlib import Path
from time import perf_counter
from types import FrameType, TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from stylegan import distributed
from stylegan import run_dir as layout
from stylegan.augment.ada import LEAKS_FROM, LinearStrength
from stylegan.data.archive import ImageDataset
from stylegan.data.cache import PixelCache
from stylegan.data.loader import image_batches
from stylegan.errors import UserError
from stylegan.figures.grid import image_grid
from stylegan.figures.writing import save_png
from stylegan.inference import to_uint8
from stylegan.interop.snapshot import save_snapshot, weights_sha256
from stylegan.rng import generator
from stylegan.training.batch import BatchMaker
from stylegan.training.checkpoint import newest_checkpoint, restore, save_checkpoint
from stylegan.training.logging import Logger
from stylegan.training.phases import Phase, due
from stylegan.training.state import TrainState
from stylegan.training.step import NonfiniteGradientsError, OnNonfinite, StepConfig, train_step
from stylegan.training.watch import Watch

MAX_ROLLBACKS = 5


@dataclass
class TrainingConfig:
    """How long, in what portions, and how often something is kept."""

    kimg: float = field(
        default=25000, metadata={"help": "length of the training in thousands of real images shown to D"}
    )
    batch_size: int = field(default=32, metadata={"help": "images of one iteration over all ranks"})
    micro_batch: int | None = field(
        default=None, metadata={"help": "images a rank takes at once; null: its whole share of the batch"}
    )
    on_nonfinite: OnNonfinite = field(
        default=OnNonfinite.clamp, metadata={"help": "gradients that are not finite: clamp, skip, rollback or stop"}
    )
    checkpoint_kimg: float = field(default=200, metadata={"help": "kimg from one checkpoint to the next"})
    snapshot_kimg: float = field(default=200, metadata={"help": "kimg from one snapshot and grid to the next"})
    keep_checkpoints: int = field(default=2, metadata={"help": "how many checkpoints are kept"})
    grid_images: int = field(default=64, metadata={"help": "images in reals.png and fakes-*.png"})

    def __post_init__(self) -> None:
        for name in ("kimg", "checkpoint_kimg", "snapshot_kimg"):
            if getattr(self, name) <= 0:
                raise UserError(f"training.{name}={getattr(self, name)} must be positive")
        for name in ("batch_size", "keep_checkpoints", "grid_images"):
            if getattr(self, name) < 1:
                raise UserError(f"training.{name}={getattr(self, name)} must be at least 1")


@dataclass
class Job:
    """All that a training needs; `assemble.py` puts it together.

    Attributes:
        state: What changes.
        phases: The parts of an iteration.
        dataset: Training images.
        cache: Their decoded pixels, or None.
        maker: Draws random numbers.
        strength: The probability of augmentations where it is given and not adapted, else None.
        rounds: The positions in a batch that this rank takes, by round.
        config: Length and intervals.
        step: What an iteration needs to know.
        workers: Processes that decode images where there is no cache.
        device: Where the networks are.
        run_dir: Where files go.
        logger: Who watches.
        architecture: What the networks are, as checkpoints record it.
        environment: What bit-equal continuation depends on.
        provenance: What snapshots record besides the network.
        watch: What measures the networks of snapshots, or None.
    """

    state: TrainState
    phases: Sequence[Phase]
    dataset: ImageDataset
    cache: PixelCache | None
    maker: BatchMaker
    strength: LinearStrength | None
    rounds: list[list[int]]
    config: TrainingConfig
    step: StepConfig
    workers: int
    device: torch.device
    run_dir: Path
    logger: Logger
    architecture: dict[str, Any]
    environment: dict[str, Any]
    provenance: dict[str, Any]
    watch: Watch | None = None


def train(job: Job) -> bool:
    """Train until `training.kimg`, or until SIGINT or SIGTERM: the step is then finished and everything is written.

    Returns:
        Whether the end was reached.

    Raises:
        UserError: Gradients were not finite and `training.on_nonfinite` says to stop, or going back did not help.
    """
    state, config = job.state, job.config
    total, saved_at, warned = round(config.kimg * 1000), -1, False
    if state.nimg == 0 and distributed.is_main():
        _show(job, "reals", job.run_dir / layout.REALS, _reals(job))
        _show_fakes(job)
    with StopRequest() as stop:
        images = _images(job)
        try:
            while state.nimg < total and not distributed.any_rank(stop.requested, job.device):
                started = perf_counter()
                real, real_c = next(images)
                waited = perf_counter() - started
                p = _augment_p(job)
                batches = {
                    phase.name: job.maker.draw(phase.name, state.nimg, state.G, real, real_c, job.rounds, p or 0.0)
                    for phase in due(job.phases, state.step)
                }
                try:
                    stats = train_step(state, job.phases, batches, job.step)
                except NonfiniteGradientsError as error:
                    _go_back(job, error)
                    images.close()
                    images = _images(job)
                    continue
                stats["seconds/data"] = [torch.tensor(waited)]
                if p is not None:
                    stats["augment/p"] = [torch.tensor(p, dtype=torch.float64)]
                    warned = warned or _warn_of_maximum(job, p)
                state.elapsed += perf_counter() - started
                job.logger.step(stats, state.nimg, state.elapsed)
                if _crossed(state.nimg, config.snapshot_kimg, config.batch_size):
                    _save_snapshot(job)
                    if job.watch is not None and job.watch.due(int(state.nimg // (config.snapshot_kimg * 1000))):
                        _measure(job, job.watch)
                if _crossed(state.nimg, config.checkpoint_kimg, config.batch_size):
                    _save_checkpoint(job)
                    saved_at = state.nimg
        finally:
            images.close()  # ends the workers; an exception would keep them until the interpreter's end
    if saved_at != state.nimg:
        _save_checkpoint(job)
    if distributed.is_main() and not layout.snapshot_path(job.run_dir, state.nimg).exists():
        _save_snapshot(job)
    finished = state.nimg >= total
    if finished and job.watch is not None and job.watch.measured_at != state.nimg:
        _measure(job, job.watch)
    return finished


class StopRequest:
    """Notes the first SIGINT or SIGTERM instead of dying of it; the second one kills as usual."""

    def __init__(self) -> None:
        self.requested = False
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        while self._handlers:
            number, handler = self._handlers.popitem()
            signal.signal(number, handler)


def _images(job: Job) -> Generator[tuple[Tensor, Tensor]]:
    return image_batches(
        job.dataset,
        job.cache,
        seed=job.maker.seed,
        nimg=job.state.nimg,
        batch_size=job.step.batch_size,
        positions=[position for positions in job.rounds for position in positions],
        workers=job.workers,
        device=job.device,
    )


def _augment_p(job: Job) -> float | None:
    """The probability of augmentations in the next iteration; None where there is none."""
    if job.state.ada is not None:
        return job.state.ada.p
    return None if job.strength is None else job.strength.p(job.state.nimg)


def _warn_of_maximum(job: Job, before: float) -> bool:
    """Say so where the last iteration brought an adapted p to its maximum."""
    ada = job.state.ada
    if ada is None or not before < ada.p == ada.p_max:
        return False
    job.logger.message(
        f"{job.state.nimg / 1000:.3f} kimg: warning: p has reached augment.p_max={ada.p_max:g}, and D still overfits "
        f"(r_t {ada.r_t:+.2f}, target {ada.target:g}). From p = {LEAKS_FROM:g} on augmentations may leak into generated "
        "images; more training images or a larger loss.r1_gamma help, a lower augment.p_max in a new run keeps them out"
    )
    return True


def _crossed(nimg: int, interval_kimg: float, batch_size: int) -> bool:
    """Whether the last iteration reached or passed a multiple of the interval."""
    interval = interval_kimg * 1000
    return nimg // interval > (nimg - batch_size) // interval


def _go_back(job: Job, error: NonfiniteGradientsError) -> None:
    """Continue from the newest checkpoint with other random numbers, or end the run."""
    nimg, rollbacks = job.state.nimg, job.state.rollbacks
    checkpoint, _ = newest_checkpoint(job.run_dir)
    kept = checkpoint.path if checkpoint else "none yet"
    mend = "lower optim.G_lr and optim.D_lr or raise loss.r1_gamma in a new run, or resume with training.on_nonfinite=clamp"
    if job.step.on_nonfinite is OnNonfinite.stop or checkpoint is None:
        raise UserError(f"stopped at {nimg / 1000:.3f} kimg: {error}. Last checkpoint: {kept}; {mend}")
    if rollbacks >= MAX_ROLLBACKS:
        raise UserError(f"stopped at {nimg / 1000:.3f} kimg after {rollbacks} rollbacks: {error}. {mend}")
    restore(job.state, checkpoint, job.architecture)
    job.state.rollbacks = rollbacks + 1
    job.maker = replace(job.maker, seed=job.state.stream_seed)
    if distributed.is_main():
        layout.forget_after(job.run_dir, job.state.nimg)
    job.logger.went_back(job.state.nimg)
    job.logger.message(f"{nimg / 1000:.3f} kimg: {error}; back to {kept}, with other random numbers")


def _save_checkpoint(job: Job) -> None:
    if distributed.is_main():
        save_checkpoint(
            layout.checkpoint_path(job.run_dir, job.state.nimg),
            job.state,
            architecture=job.architecture,
            content_hash=job.dataset.content_hash,
            fingerprint=job.dataset.fingerprint,
            environment=job.environment,
            keep=job.config.keep_checkpoints,
        )


def _save_snapshot(job: Job) -> None:
    """The network to give away, and a grid of what it makes."""
    if distributed.is_main():
        provenance = {**job.provenance, "nimg": job.state.nimg, "seconds": round(job.state.elapsed)}
        provenance["augment_p"] = _augment_p(job)
        save_snapshot(layout.snapshot_path(job.run_dir, job.state.nimg), job.state.G_ema, provenance=provenance)
        _show_fakes(job)


def _measure(job: Job, watch: Watch) -> None:
    """Measure the network whose snapshot was just written."""
    job.logger.metrics(watch.measure(job.state.G_ema, job.state.nimg), job.state.nimg)


def _show_fakes(job: Job) -> None:
    """A grid of what G_ema makes now."""
    G, nimg = job.state.G_ema, job.state.nimg
    about = {
        "network": layout.snapshot_path(job.run_dir, nimg).name,
        "weights_sha256": weights_sha256(G.state_dict()),
        "seeds": f"grid of the run with seed {job.state.seed}",
        "truncation_psi": 1.0,
        "noise_mode": "const",
    }
    _show(job, "fakes", layout.fakes_path(job.run_dir, nimg), _fakes(job), about)


def _show(job: Job, name: str, path: Path, images: Tensor, about: Mapping[str, Any] | None = None) -> None:
    """Write a grid of uint8 images [n, C, H, W], and hand it to the logger; `about` as for `save_png`."""
    picture = image_grid(images, columns=ceil(sqrt(len(images))))
    save_png(picture, path, about)
    job.logger.picture(name, picture, job.state.nimg)


def _reals(job: Job) -> Tensor:
    """Some training images, uint8 [n, C, H, W]."""
    order = torch.randperm(len(job.dataset), generator=generator(job.state.seed, "grid/reals"))
    return torch.stack([job.dataset[i][0] for i in order[: job.config.grid_images].tolist()])


@torch.no_grad()
def _fakes(job: Job) -> Tensor:
    """What G_ema makes of latents that stay the same for the whole run, uint8 [n, C, H, W]."""
    G, seed, count, batch = job.state.G_ema, job.state.seed, job.config.grid_images, len(job.rounds[0])
    z = torch.randn([count, G.z_dim], generator=generator(seed, "grid/z"))
    c = replace(job.maker, seed=seed).labels("grid/c", 0, count, G.c_dim)
    parts = zip(z.to(job.device).split(batch), c.to(job.device).split(batch), strict=True)
    return torch.cat([to_uint8(G(z_part, c_part, noise_mode="const")).cpu() for z_part, c_part in parts])

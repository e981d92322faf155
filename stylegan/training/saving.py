"""What a run keeps, and when: snapshots with their pictures and measurements, and checkpoints."""

from stylegan import distributed
from stylegan import run_dir as layout
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.training.checkpoint import save_checkpoint
from stylegan.training.job import Job
from stylegan.training.pictures import show_fakes, show_reals


class Keeper:
    """Decides after every iteration what is kept. All ranks hold one.

    Attributes:
        job: The training.
        nimg: Images when it was last asked.
        checkpoint_at: Images of the last checkpoint of this sitting; None: there is none.
    """

    def __init__(self, job: Job) -> None:
        self.job, self.nimg = job, job.state.nimg
        self.checkpoint_at: int | None = None

    def begin(self) -> None:
        """Show what there is before the first iteration of a run."""
        if self.job.state.nimg == 0 and distributed.is_main():
            show_reals(self.job)
            show_fakes(self.job)

    def keep(self, *, last: bool) -> None:
        """Keep what is due: what an interval's end was passed for since the last call and, with `last`, what is missing.

        The checkpoint comes last: what is older than the newest checkpoint is complete.
        """
        job, now, training = self.job, self.job.state.nimg, self.job.config.training
        snapshot = self._passed(training.snapshot_kimg)
        missing = last and not layout.snapshot_path(job.run_dir, now).exists()
        if (snapshot or missing) and distributed.is_main():
            self._save_snapshot()
        number = int(now // (training.snapshot_kimg * 1000))
        finished = last and now >= training.total_nimg
        if job.watch is not None and (finished or (snapshot and job.watch.due(number))):
            job.logger.metrics(job.watch.measure(job.state.G_ema, now), now)
        if self._passed(training.checkpoint_kimg) or (last and self.checkpoint_at != now):
            self._save_checkpoint()
            self.checkpoint_at = now
        self.nimg = now

    def _passed(self, interval_kimg: float) -> bool:
        """Whether a multiple of the interval was reached or passed since the last call."""
        interval = interval_kimg * 1000
        return self.job.state.nimg // interval > self.nimg // interval

    def _save_checkpoint(self) -> None:
        job = self.job
        if distributed.is_main():
            save_checkpoint(
                layout.checkpoint_path(job.run_dir, job.state.nimg),
                job.state,
                architecture=job.architecture,
                content_hash=job.dataset.content_hash,
                fingerprint=job.dataset.fingerprint,
                environment=job.environment,
                keep=job.config.training.keep_checkpoints,
            )

    def _save_snapshot(self) -> None:
        """The network to give away, and a grid of what it makes."""
        job = self.job
        provenance = {**job.provenance, "nimg": job.state.nimg, "seconds": round(job.state.elapsed)}
        p = job.config.augment.p_at(job.state.nimg, job.state.ada)
        provenance["augment_p"] = None if p is None else float(p)
        save_snapshot(layout.snapshot_path(job.run_dir, job.state.nimg), job.state.G_ema, provenance=provenance)
        show_fakes(job)

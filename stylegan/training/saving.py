"""What a run keeps, and when: snapshots with their pictures and measurements, and checkpoints."""

from pathlib import Path

from stylegan import distributed
from stylegan import run_dir as layout
from stylegan.errors import UserError
from stylegan.interop.snapshot import read_snapshot, weights_sha256
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.training.checkpoint import Interval, save_checkpoint
from stylegan.training.job import Job
from stylegan.training.pictures import show_fakes, show_reals, shows


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
        if self.job.state.step:
            return
        self.job.state.enter(self.job.plan.stage(0))
        if distributed.is_main():
            show_reals(self.job)
            show_fakes(self.job)

    def keep(self, *, last: bool) -> None:
        """Keep what is due: what an interval's end was passed for since the last call and, with `last`, what is missing.

        The checkpoint comes last: what is older than the newest checkpoint is complete.
        """
        job, now, training = self.job, self.job.state.nimg, self.job.config.training
        snapshot = self._passed(training.snapshot_kimg)
        checkpoint = self._passed(training.checkpoint_kimg) or (last and self.checkpoint_at != now)
        if snapshot or last or checkpoint:
            job.tell_nonfinite()  # before something is kept that they may have spoiled
        if snapshot or last:
            self._show(anew=snapshot)
        if last and now >= training.total_nimg:
            self._measure_last()
        elif snapshot and job.watch is not None and job.watch.due(now // round(training.snapshot_kimg * 1000)):
            job.logger.metrics(job.watch.measure(job.state.G_ema, now), now)
        if checkpoint:
            self._save_checkpoint()
            self.checkpoint_at = now
        self.nimg = now

    def complete(self) -> None:
        """Make what a run that was trained to its end holds, but for what it has: a kill, a shorter `training.kimg` or metrics
        that are asked for later may leave it without snapshot, picture or measurement of the last network."""
        for path in self._show(anew=False):
            self.job.logger.message(f"{path} was missing, and is made")
        self._measure_last()

    def _passed(self, interval_kimg: float) -> bool:
        """Whether a multiple of the interval was reached or passed since the last call."""
        interval = round(interval_kimg * 1000)
        return self.job.state.nimg // interval > self.nimg // interval

    def _show(self, *, anew: bool) -> list[Path]:
        """The network to give away, and a grid of what it makes; unless `anew`, only what is not there as it should be.

        Returns:
            What was made; on the first rank only.
        """
        job, made = self.job, list[Path]()
        if not distributed.is_main():
            return made
        nimg, weights = job.state.nimg, "" if anew else weights_sha256(job.state.G_ema.state_dict())
        if anew or not _holds(layout.snapshot_path(job.run_dir, nimg), weights):
            self._save_snapshot()
            made.append(layout.snapshot_path(job.run_dir, nimg))
        if anew or not shows(layout.fakes_path(job.run_dir, nimg), weights):
            show_fakes(job)
            made.append(layout.fakes_path(job.run_dir, nimg))
        return made

    def _measure_last(self) -> None:
        job, nimg = self.job, self.job.state.nimg
        if job.watch is not None and (values := job.watch.complete(job.state.G_ema, nimg)):
            job.logger.metrics(values, nimg)

    def _save_checkpoint(self) -> None:
        job = self.job
        interval = Interval(job.totals.sums(), dict(job.logger.unreported))
        if distributed.is_main():
            save_checkpoint(
                layout.checkpoint_path(job.run_dir, job.state.nimg),
                job.state,
                architecture=job.architecture,
                content_hash=job.dataset.content_hash,
                fingerprint=job.dataset.fingerprint,
                environment=job.environment,
                keep=job.config.training.keep_checkpoints,
                interval=interval,
            )

    def _save_snapshot(self) -> None:
        job = self.job
        provenance = {**job.provenance, "nimg": job.state.nimg, "seconds": round(job.state.elapsed)}
        p = job.config.augment.p_at(job.state.nimg, job.state.ada)
        provenance["augment_p"] = None if p is None else float(p)
        if (stage := job.state.stage) is not None and job.config.training.stages:
            provenance["stage"] = {"resolution": list(stage.resolution), "alpha": stage.alpha}
        for sigma, average in job.state.power.items():  # before the snapshot: whoever finds that one finds these
            path = layout.power_path(job.run_dir, sigma, job.state.nimg)
            save_snapshot(path, average, provenance={**provenance, "ema_power": {"sigma": sigma}})
        save_snapshot(layout.snapshot_path(job.run_dir, job.state.nimg), job.state.G_ema, provenance=provenance)


def take_up(job: Job, interval: Interval) -> None:
    """Go on with the interval in which a checkpoint was written: the next record is of all its images."""
    job.totals.start(job.state.nimg, interval.sums)
    job.logger.unreported.update(interval.nonfinite)


def _holds(snapshot: Path, weights: str) -> bool:
    """Whether a snapshot is whole and of a network with this hash."""
    try:
        return read_snapshot(snapshot).metadata["weights_sha256"] == weights
    except UserError:
        return False

"""What follows gradients that are not finite, where training does not simply go on."""

from stylegan import distributed
from stylegan import run_dir as layout
from stylegan.errors import UserError
from stylegan.training.checkpoint import newest_checkpoint, restore
from stylegan.training.job import Job
from stylegan.training.saving import take_up
from stylegan.training.step import NonfiniteGradientsError, OnNonfinite

MAX_ROLLBACKS = 5


def go_back(job: Job, error: NonfiniteGradientsError) -> None:
    """Bring the state back to the newest checkpoint, to go on from there with other random numbers.

    Raises:
        UserError: The policy is to stop, there is no checkpoint, or going back did not help.
    """
    nimg, rollbacks = job.state.nimg, job.state.rollbacks
    try:
        checkpoint, complaints = newest_checkpoint(job.run_dir)
    except UserError as damaged:
        raise UserError(f"stopped at {nimg / 1000:.3f} kimg: {error}; {damaged}") from damaged
    for complaint in complaints:
        job.logger.message(complaint)
    kept = checkpoint.path if checkpoint else "none yet"
    advice = "lower optim.G_lr and optim.D_lr or raise loss.r1_gamma in a new run, or resume with training.on_nonfinite=clamp"
    if job.config.training.on_nonfinite is OnNonfinite.stop or checkpoint is None:
        raise UserError(f"stopped at {nimg / 1000:.3f} kimg: {error}. Last checkpoint: {kept}; {advice}")
    if rollbacks >= MAX_ROLLBACKS:
        raise UserError(f"stopped at {nimg / 1000:.3f} kimg after {rollbacks} rollbacks: {error}. {advice}")
    restore(job.state, checkpoint, job.architecture)
    job.state.rollbacks = rollbacks + 1
    notes = layout.forget_after(job.run_dir, job.state.nimg) if distributed.is_main() else []
    job.logger.went_back(job.state.nimg)
    take_up(job, checkpoint.interval)
    job.logger.message(f"{nimg / 1000:.3f} kimg: {error}; back to {kept}, with other random numbers")
    for note in notes:
        job.logger.message(note)

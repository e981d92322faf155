"""Training from where a state stands to the end, or until someone asks it to stop."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

from stylegan import distributed
from stylegan.errors import UserError
from stylegan.losses.base import Batch, Phase, Reals
from stylegan.schedule import Now
from stylegan.training.batch import Images
from stylegan.training.job import Job
from stylegan.training.rollback import go_back
from stylegan.training.saving import Keeper
from stylegan.training.step import NonfiniteGradientsError, due, eager, train_step


def train(job: Job, stop: Callable[[], bool] = lambda: False) -> bool:
    """Train until `training.kimg`, or until asked to stop: everything is then written.

    Args:
        job: The training.
        stop: Asked before every iteration.

    Returns:
        Whether the end was reached.

    Raises:
        UserError: Gradients were not finite and `training.on_nonfinite` says to stop, or going back did not help; or there
            are no more images to train on, for a reason that the message gives: everything is then written, too.
    """
    keeper, images = Keeper(job), job.images()
    keeper.begin()
    try:
        while True:
            finished = job.state.nimg >= job.config.training.total_nimg
            shown = None if finished else _fetch(images)
            failed = isinstance(shown, UserError)
            last = finished or distributed.any_rank(failed or stop(), job.device)
            keeper.keep(last=last)
            if failed:
                kept = f"kept at {job.state.nimg / 1000:.3f} kimg, from where `python train.py run_dir={job.run_dir}` goes on"
                raise UserError(f"{shown}; what was trained is {kept}") from shown
            if last or shown is None:
                return finished
            try:
                iterate(job, shown)
            except NonfiniteGradientsError as error:
                go_back(job, error)
                images.close()
                keeper, images = Keeper(job), job.images()
    finally:
        images.close()  # ends the workers; an exception would keep them until the interpreter's end


@dataclass(frozen=True)
class Shown:
    """The training images of an iteration.

    Attributes:
        images: Those of `Reals.first` and, where a phase needs them, of `Reals.second`.
        waited: Seconds until they were there.
    """

    images: list[Images]
    waited: float


def _fetch(images: Iterator[list[Images]]) -> Shown | UserError:
    """Those of the next iteration, or why there are none: no step has begun, so that all that was trained can be kept."""
    started = perf_counter()
    try:
        return Shown(next(images), perf_counter() - started)
    except UserError as error:
        return error


def iterate(job: Job, given_images: Shown) -> None:
    """One iteration: draw what the phases need, step, report."""
    state, started = job.state, perf_counter()
    now = state.begin(job.plan)
    shown = dict(zip(Reals, given_images.images, strict=False))
    rounds, seed = job.rounds[now.stage.batch_size], state.stream_seed
    given = job.drawer.given(due(job.phases, state.step), now, shown, rounds, seed=seed)
    if job.graphs is not None:
        given = given.placed(job.graphs.place)

    def draw(phase: Phase, present: Now) -> Sequence[Batch]:
        return job.drawer.draw(phase, present, state.G, given, seed=seed, p=state.augment_p(present))

    policy = job.config.training.on_nonfinite
    run = eager if job.graphs is None else job.graphs.run
    report = train_step(state, job.phases, draw, now, job.dials, job.config.optim, policy, run)
    report.numbers["seconds/data"] = given_images.waited
    if isinstance(p := job.config.augment.p_at(now.nimg, state.ada), float):  # ADA's is on the device
        report.numbers["augment/p"] = p
    means = job.totals.add(report, state.nimg)  # where an interval ends it waits for the device
    state.elapsed += given_images.waited + perf_counter() - started
    if means is not None:
        job.tell_nonfinite()
        warnings = {"augment": state.ada and state.ada.warning(), "loss": job.config.loss.warning(means)}
        for about, warning in warnings.items():
            if warning and about not in job.warned:
                job.warned.add(about)
                job.logger.message(f"{state.nimg / 1000:.3f} kimg: {warning}")
    job.logger.step(means, now, state.nimg, state.elapsed)

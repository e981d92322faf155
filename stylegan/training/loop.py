"""Training from where a state stands to the end, or until someone asks it to stop."""

from collections.abc import Callable, Iterator
from time import perf_counter

import torch

from stylegan import distributed
from stylegan.losses.base import Reals
from stylegan.training.batch import Images
from stylegan.training.job import Job
from stylegan.training.rollback import go_back
from stylegan.training.saving import Keeper
from stylegan.training.step import NonfiniteGradientsError, due, train_step


def train(job: Job, stop: Callable[[], bool] = lambda: False) -> bool:
    """Train until `training.kimg`, or until asked to stop: everything is then written.

    Args:
        job: The training.
        stop: Asked before every iteration.

    Returns:
        Whether the end was reached.

    Raises:
        UserError: Gradients were not finite and `training.on_nonfinite` says to stop, or going back did not help.
    """
    keeper, images = Keeper(job), job.images()
    keeper.begin()
    try:
        while True:
            finished = job.state.nimg >= job.config.training.total_nimg
            last = finished or distributed.any_rank(stop(), job.device)
            keeper.keep(last=last)
            if last:
                return finished
            try:
                iterate(job, images)
            except NonfiniteGradientsError as error:
                go_back(job, error)
                images.close()
                keeper, images = Keeper(job), job.images()
    finally:
        images.close()  # ends the workers; an exception would keep them until the interpreter's end


def iterate(job: Job, images: Iterator[list[Images]]) -> None:
    """One iteration: take images, draw what the phases need, step, report."""
    state, started = job.state, perf_counter()
    now = state.begin(job.plan)
    shown = dict(zip(Reals, next(images), strict=False))
    waited = perf_counter() - started
    p = job.config.augment.p_at(now.nimg, state.ada)
    p = None if p is None else torch.as_tensor(p, dtype=torch.float64).clone()  # the controller's changes in place
    rounds, seed = job.rounds[now.stage.batch_size], state.stream_seed
    batches = {
        phase.name: job.drawer.draw(phase, now, state.G, shown, rounds, seed=seed, p=0.0 if p is None else p)
        for phase in due(job.phases, state.step)
    }
    stats = train_step(state, job.phases, batches, now, job.config.optim, job.config.training.on_nonfinite)
    stats["seconds/data"] = [torch.tensor(waited)]
    if p is not None:
        stats["augment/p"] = [p]
        if state.ada is not None and not job.warned and (warning := state.ada.warning()):
            job.warned = True
            job.logger.message(f"{state.nimg / 1000:.3f} kimg: {warning}")
    state.elapsed += perf_counter() - started
    job.logger.step(stats, now, state.nimg, state.elapsed)

"""One iteration of training."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from time import perf_counter

import torch
from torch import Tensor

from stylegan import distributed
from stylegan.losses.base import Batch, Networks
from stylegan.ops.update import clamp_nonfinite_, total_norm
from stylegan.training.ema import ema_decay
from stylegan.training.phases import Phase, due
from stylegan.training.state import TrainState

Stats = dict[str, list[Tensor]]
"""Values by name; each entry holds the values of some images, on the device that made them."""


class OnNonfinite(Enum):
    """What to do about gradients that are infinite or not a number."""

    clamp = "clamp"
    """Put 0 for NaN and +-1e5 for infinities, and go on (what the papers' code does)."""
    skip = "skip"
    """Leave this phase's step out."""
    rollback = "rollback"
    """Go back to the newest checkpoint and go on from there with other random numbers."""
    stop = "stop"
    """End the run; the last checkpoint stays."""


class NonfiniteGradientsError(Exception):
    """Gradients are not finite, and the policy is to roll back or to stop."""


class Reduction(Enum):
    """How the gradients of an iteration's rounds are combined."""

    mean = "mean"
    sum = "sum"


@dataclass(frozen=True)
class StepConfig:
    """What an iteration needs to know besides state and data.

    Attributes:
        batch_size: Images of one iteration over all ranks.
        ema_kimg: Half-life of G_ema in kimg.
        ema_rampup: See `ema_decay`.
        on_nonfinite: What to do about gradients that are not finite.
        loss_scale: See `Networks`.
    """

    batch_size: int
    ema_kimg: float
    ema_rampup: float | None
    on_nonfinite: OnNonfinite
    loss_scale: float = 1.0


def train_step(
    state: TrainState, phases: Sequence[Phase], batches: Mapping[str, Sequence[Batch]], config: StepConfig
) -> Stats:
    """Run one iteration: every phase that is due, then the moving average and the probability of augmentations.

    Args:
        state: Changed in place.
        phases: All phases in order.
        batches: This rank's micro-batches, by the name of the phase.
        config: See `StepConfig`.

    Returns:
        What the losses report, gradient norms by phase, seconds by phase.

    Raises:
        NonfiniteGradientsError: The policy says to roll back or to stop; the state is then unusable.
    """
    networks = Networks(state.G, state.D, config.loss_scale)
    stats: Stats = defaultdict(list)
    weight = 1 - ema_decay(config.batch_size, state.nimg, config.ema_kimg, config.ema_rampup)
    running, averaged = due(phases, state.step), False
    last_of_G = [phase for phase in running if phase.module is state.G][-1:]
    for phase in running:
        started = perf_counter()
        measured = accumulate_gradients(phase, networks, batches[phase.name], stats)
        distributed.all_reduce_gradients(phase.gradients)
        averages = state.average.parameters if phase in last_of_G else None
        stepped = guarded_step(phase, config.on_nonfinite, stats, averages, weight)
        averaged = averaged or (stepped and phase in last_of_G)
        for means in distributed.gather(torch.stack(measured)) if measured else ():
            state.G.update_averages(means)
        stats[f"seconds/{phase.name}"].append(torch.tensor(perf_counter() - started))
    distributed.average([state.pl_mean])
    if not averaged:
        state.average.move_parameters(weight)
    state.average.copy_buffers()
    if state.ada is not None:
        state.ada.update(torch.cat(stats["signs/real"]))
        if state.ada.r_t is not None:
            stats["augment/r_t"].append(torch.tensor(state.ada.r_t, dtype=torch.float64))
    state.advance(config.batch_size)
    return stats


def accumulate_gradients(
    phase: Phase,
    networks: Networks,
    microbatches: Sequence[Batch],
    stats: Stats,
    reduction: Reduction = Reduction.mean,
) -> list[Tensor]:
    """Leave in `.grad` the gradient of a phase's loss times its interval, over all micro-batches; parameters that the loss
    does not reach keep None and are skipped by the optimiser.

    Returns:
        What the generator's moving averages follow (`LossOutput.means`), of each micro-batch, where the phase moves them.
    """
    measured = []
    phase.optimizer.zero_grad(set_to_none=True)
    for network in (networks.G, networks.D):  # no weight gradients for the network that stands still
        network.requires_grad_(network is phase.module)
    gain = phase.interval / (len(microbatches) if reduction is Reduction.mean else 1)
    for batch in microbatches:
        output = phase.loss_fn(networks, batch)
        (output.loss.mean() * (gain * networks.loss_scale)).backward()
        for name, value in output.stats.items():
            stats[name].append(value.flatten())
        if output.means is not None:
            measured.append(output.means)
    if networks.loss_scale != 1:
        for gradient in phase.gradients:
            gradient.div_(networks.loss_scale)
    return measured


@torch.no_grad()
def guarded_step(
    phase: Phase,
    policy: OnNonfinite,
    stats: Stats,
    averages: Mapping[Tensor, Tensor] | None = None,
    weight: float = 0.0,
) -> bool:
    """Let a phase's optimiser step, and look at the gradients in the same pass over them; only `skip` has to look first.

    The gradients were reduced over ranks, so that all ranks see and do the same. `averages` and `weight`: see `Adam.step`.

    Returns:
        Whether it stepped.

    Raises:
        NonfiniteGradientsError: The policy is to roll back or to stop; the message names the parameters.
    """
    step = partial(phase.optimizer.step, averages=averages, weight=weight)
    skip = policy is OnNonfinite.skip
    norm = total_norm(phase.gradients) if skip else step()
    stats[f"grad_norm/{phase.name}"].append(norm)
    finite = bool(norm.isfinite())
    if skip and finite:
        step()
    if not finite:
        report = report_nonfinite(phase, stats)
        if policy in (OnNonfinite.rollback, OnNonfinite.stop):
            raise NonfiniteGradientsError(
                f"{phase.name}: gradients that are not finite (parameter and count): {report}"
            )
        if policy is OnNonfinite.clamp:
            for gradient in phase.gradients:  # Adam has stepped as if; where beta1 is 0 they are its first moments now
                clamp_nonfinite_(gradient)
    return finite or not skip


def report_nonfinite(phase: Phase, stats: Stats) -> str:
    """Count what is not finite in each gradient, for the statistics and as a text."""
    # A finite gradient can have an infinite norm only beyond 1e38; then, too, the report is what one wants to see.
    named = [(name, p.grad) for name, p in phase.module.named_parameters() if p.grad is not None]
    broken = {name: count for name, gradient in named if (count := int((~gradient.isfinite()).sum()))}
    for name, count in broken.items():
        stats[f"nonfinite/{phase.name}/{name}"].append(torch.tensor(float(count)))
    return ", ".join(f"{name} ({count})" for name, count in broken.items()) or "overflow"

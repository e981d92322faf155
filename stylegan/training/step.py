"""One iteration of training."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from time import perf_counter

import torch
from torch import Tensor

from stylegan import distributed
from stylegan.losses.base import Batch, Networks
from stylegan.ops.update import total_norm
from stylegan.training.ema import ema_decay, update_ema
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
    for phase in due(phases, state.step):
        started = perf_counter()
        measured = accumulate_gradients(phase, networks, batches[phase.name], stats)
        gradients = [p.grad for p in phase.module.parameters() if p.grad is not None]
        distributed.all_reduce_gradients(gradients)
        if check_gradients(phase, config.on_nonfinite, stats):
            phase.optimizer.step()
        for means in distributed.gather(torch.stack(measured)) if measured else ():
            state.G.update_averages(means)
        stats[f"seconds/{phase.name}"].append(torch.tensor(perf_counter() - started))
    distributed.average([state.pl_mean])
    update_ema(state.G_ema, state.G, ema_decay(config.batch_size, state.nimg, config.ema_kimg, config.ema_rampup))
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
        for gradient in (p.grad for p in phase.module.parameters() if p.grad is not None):
            gradient.div_(networks.loss_scale)
    return measured


@torch.no_grad()
def check_gradients(phase: Phase, policy: OnNonfinite, stats: Stats) -> bool:
    """Look at a phase's gradients, after they were reduced over ranks (so that all ranks see and do the same).

    Returns:
        Whether the optimiser may step.

    Raises:
        NonfiniteGradientsError: The policy is to roll back or to stop; the message names the parameters.
    """
    gradients = [p.grad for p in phase.module.parameters() if p.grad is not None]
    norm = total_norm(gradients)
    stats[f"grad_norm/{phase.name}"].append(norm)
    if bool(norm.isfinite()):
        return True
    # A finite gradient can have an infinite norm only beyond 1e38; then, too, the report below is what one wants to see.
    named = [(name, p.grad) for name, p in phase.module.named_parameters() if p.grad is not None]
    broken = [(name, int((~gradient.isfinite()).sum())) for name, gradient in named]
    report = ", ".join(f"{name} ({count})" for name, count in broken if count)
    for name, count in broken:
        if count:
            stats[f"nonfinite/{phase.name}/{name}"].append(torch.tensor(float(count)))
    if policy is OnNonfinite.clamp:
        for gradient in gradients:
            torch.nan_to_num(gradient, nan=0.0, posinf=1e5, neginf=-1e5, out=gradient)
        return True
    if policy is OnNonfinite.skip:
        return False
    raise NonfiniteGradientsError(
        f"{phase.name}: gradients that are not finite (parameter and count): {report or 'overflow'}"
    )

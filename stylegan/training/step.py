"""One iteration of training."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from enum import Enum
from time import perf_counter

import torch
from torch import Tensor, nn

from stylegan import distributed
from stylegan.losses.base import STEERING, Batch, LossOutput, Networks, Phase, check_output
from stylegan.schedule import Moment
from stylegan.training.adam import Adam, OptimConfig
from stylegan.training.state import TrainState, ema_decay

Stats = dict[str, list[Tensor]]
"""Values by name; each entry holds the values of some images, on the device that made them."""


class OnNonfinite(Enum):
    """What to do about gradients that are infinite or not a number."""

    clamp = "clamp"  # put 0 for NaN and +-1e5 for infinities, and go on (what the papers' code does)
    skip = "skip"  # leave this phase's step out
    rollback = "rollback"  # go back to the newest checkpoint and go on from there with other random numbers
    stop = "stop"  # end the run; the last checkpoint stays


class NonfiniteGradientsError(Exception):
    """Gradients are not finite, and the policy is to roll back or to stop."""


class Reduction(Enum):
    """How the gradients of an iteration's rounds are combined."""

    mean = "mean"
    sum = "sum"


def due(phases: Sequence[Phase], step: int) -> list[Phase]:
    """The phases that run in iteration `step`; all of them in iteration 0."""
    return [phase for phase in phases if step % phase.interval == 0]


def train_step(
    state: TrainState,
    phases: Sequence[Phase],
    batches: Mapping[str, Sequence[Batch]],
    now: Moment,
    optim: OptimConfig,
    on_nonfinite: OnNonfinite = OnNonfinite.clamp,
) -> Stats:
    """Run one iteration: every phase that is due, with what follows it.

    Args:
        state: Changed in place.
        phases: All phases in order.
        batches: This rank's micro-batches, by the name of the phase.
        now: What holds in this iteration.
        optim, on_nonfinite: The settings that do not change, resolved.

    Returns:
        What the losses report, gradient norms by phase, seconds by phase.

    Raises:
        NonfiniteGradientsError: The policy says to roll back or to stop; the state is then unusable.
        UndeclaredError: See there.
    """
    networks = Networks(state.G, state.D, state.pl_mean, optim.loss_scale or 1.0)
    stats: Stats = defaultdict(list)
    signs: list[Tensor] = []
    for phase in due(phases, state.step):
        started = perf_counter()
        module, optimizer = state.trained(phase.network)
        optimizer.set_rates(*(now.settings[f"optim.{name}"] for name in (f"{phase.network}_lr", "beta1", "beta2")))
        outputs = accumulate_gradients(phase, networks, optimizer, batches[phase.name], now, stats)
        distributed.all_reduce_gradients(optimizer.gradients)
        guarded_step(phase.name, module, optimizer, on_nonfinite, stats)
        state.follow(outputs)
        signs += [output.signs for output in outputs if output.signs is not None]
        if phase.then_average:
            state.average.set_weight(1 - ema_decay(now, optim.ema_rampup))
            state.average.move()
        stats[f"seconds/{phase.name}"].append(torch.tensor(perf_counter() - started))
    if state.ada is not None:
        state.ada.update(torch.cat(signs))
        if state.ada.r_t is not None:
            stats["augment/r_t"].append(torch.tensor(state.ada.r_t, dtype=torch.float64))
    state.advance(now)
    return stats


def accumulate_gradients(
    phase: Phase,
    networks: Networks,
    optimizer: Adam,
    microbatches: Sequence[Batch],
    now: Moment,
    stats: Stats,
    reduction: Reduction = Reduction.mean,
) -> list[LossOutput]:
    """Leave in `.grad` the gradient of a phase's loss times its interval, over all micro-batches; parameters that the loss
    does not reach keep None and are skipped by the optimiser. pl_mean moves with every micro-batch that gives it.

    Returns:
        What steers, of each micro-batch; nothing of it holds on to a graph.
    """
    outputs = []
    optimizer.zero_grad(set_to_none=True)
    for name, network in (("G", networks.G), ("D", networks.D)):  # no weight gradients for the one that stands still
        network.requires_grad_(name == phase.network)
    gain = phase.interval / (len(microbatches) if reduction is Reduction.mean else 1)
    for batch in microbatches:
        output = phase.loss(networks, batch, now)
        check_output(phase, batch, output)
        (output.loss.mean() * (gain * networks.loss_scale)).backward()
        for name, value in output.stats.items():
            stats[name].append(value.detach().flatten())
        given = {name: value.detach() for name in STEERING if (value := getattr(output, name)) is not None}
        if "pl_mean" in given:
            networks.pl_mean.copy_(given["pl_mean"])
        outputs.append(LossOutput(output.loss.detach(), {}, **given))
    if networks.loss_scale != 1:
        for gradient in optimizer.gradients:
            gradient.div_(networks.loss_scale)
    return outputs


@torch.no_grad()
def guarded_step(phase: str, module: nn.Module, optimizer: Adam, policy: OnNonfinite, stats: Stats) -> None:
    """Let a phase's optimiser step, and look at the gradients in the same pass over them.

    The gradients were reduced over ranks, so that all ranks see and do the same.

    Raises:
        NonfiniteGradientsError: The policy is to roll back or to stop; the message names the parameters.
    """
    norm = optimizer.step(skip=policy is OnNonfinite.skip)
    stats[f"grad_norm/{phase}"].append(norm)
    if bool(norm.isfinite()):
        return
    # A finite gradient can have an infinite norm only beyond 1e38; then, too, the report is what one wants to see.
    named = zip((name for name, _ in module.named_parameters()), optimizer.take_nonfinite(), strict=True)
    broken = {name: count for name, count in named if count}
    for name, count in broken.items():
        stats[f"nonfinite/{phase}/{name}"].append(torch.tensor(float(count)))
    if policy in (OnNonfinite.rollback, OnNonfinite.stop):
        report = ", ".join(f"{name} ({count})" for name, count in broken.items()) or "overflow"
        raise NonfiniteGradientsError(f"{phase}: gradients that are not finite (parameter and count): {report}")

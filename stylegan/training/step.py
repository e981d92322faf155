"""One iteration of training."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from enum import Enum
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from stylegan.losses.base import STEERING, Batch, LossOutput, Networks, Phase, check_output
from stylegan.ops.update import set_where_finite_
from stylegan.schedule import Dials, Moment, Now
from stylegan.training.adam import Adam, OptimConfig
from stylegan.training.reduction import GradientBuckets
from stylegan.training.state import TrainState
from stylegan.training.totals import Lap, Report, Values

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


class Outcome(NamedTuple):
    """What a phase leaves besides the state that it changed.

    Attributes:
        values: For people.
        norm: Of the gradients, float32 []; not finite where they are not.
        signs: What ADA follows.
    """

    values: Values
    norm: Tensor
    signs: Tensor | None


class Run(Protocol):
    """How a phase runs: at once, or from a captured graph."""

    def __call__(self, name: str, shape: Hashable, body: Callable[[], Outcome]) -> Outcome:
        """Run what `body` does.

        Args:
            name: Of the phase.
            shape: All that a call of `body` can depend on besides what lies on the device.
            body: The phase.
        """
        ...


def eager(name: str, shape: Hashable, body: Callable[[], Outcome]) -> Outcome:
    """At once."""
    return body()


def due(phases: Sequence[Phase], step: int) -> list[Phase]:
    """The phases that run in iteration `step`; all of them in iteration 0."""
    return [phase for phase in phases if step % phase.interval == 0]


def train_step(
    state: TrainState,
    phases: Sequence[Phase],
    draw: Callable[[Phase, Now], Sequence[Batch]],
    now: Moment,
    dials: Dials,
    optim: OptimConfig,
    on_nonfinite: OnNonfinite = OnNonfinite.clamp,
    run: Run = eager,
) -> Report:
    """Run one iteration: every phase that is due, with what follows it. On a GPU nothing here waits for it, but for the
    policies that must know at once whether gradients are finite.

    Args:
        state: Changed in place.
        phases: All phases in order.
        draw: Makes this rank's micro-batches of a phase.
        now: What holds in this iteration.
        dials: Show it on the device.
        optim, on_nonfinite: The settings that do not change, resolved.
        run: How phases run.

    Returns:
        What the losses report, gradient norms, seconds by phase.

    Raises:
        NonfiniteGradientsError: The policy says to roll back or to stop; the state is then unusable.
        UndeclaredError: See there.
    """
    state.set_rates(now, optim.ema_rampup)
    present, report, signs = dials.turn(now), Report(), []
    if state.ada is not None:  # the one that holds now
        report.values.append(Values.of({"augment/p": [state.ada.p]}))
    for phase in due(phases, state.step):
        lap = Lap(state.device)
        body = partial(phase_step, state, phase, draw, present, optim.loss_scale or 1.0, on_nonfinite)
        outcome = run(phase.name, (state.stream_seed, present.shape), body)
        if on_nonfinite in (OnNonfinite.rollback, OnNonfinite.stop) and not bool(outcome.norm.isfinite()):
            # A finite gradient can have an infinite norm only beyond 1e38; then, too, the report is what one wants to see.
            found = ", ".join(f"{name} ({count})" for name, count in state.take_nonfinite().items()) or "overflow"
            raise NonfiniteGradientsError(f"{phase.name}: gradients that are not finite (parameter and count): {found}")
        signs += [] if outcome.signs is None else [outcome.signs]
        report.values.append(outcome.values)
        report.laps[f"seconds/{phase.name}"] = lap.end()
    if state.ada is not None:
        state.ada.update(torch.cat(signs))
        if state.ada.r_t is not None:
            report.values.append(Values.of({"augment/r_t": [state.ada.r_t]}))
    state.advance(now)
    return report


def phase_step(
    state: TrainState,
    phase: Phase,
    draw: Callable[[Phase, Now], Sequence[Batch]],
    now: Now,
    loss_scale: float,
    on_nonfinite: OnNonfinite,
) -> Outcome:
    """One phase from what it draws to what follows it. It reads no value: a graph can capture it."""
    networks = Networks(state.G, state.D, state.pl_mean, loss_scale)
    stats: Stats = defaultdict(list)
    optimizer, buckets = state.optimizer(phase.network), state.buckets[phase.network]
    outputs = accumulate_gradients(phase, networks, optimizer, draw(phase, now), now, stats, buckets)
    norm = optimizer.step(skip=on_nonfinite is OnNonfinite.skip)
    stats[f"grad_norm/{phase.name}"] = [norm]
    state.follow(outputs)
    if phase.then_average:
        for average in (state.average, *state.power_averages.values()):
            average.move()
    signs = [output.signs for output in outputs if output.signs is not None]
    return Outcome(Values.of(stats), norm, torch.cat(signs) if signs else None)


def accumulate_gradients(
    phase: Phase,
    networks: Networks,
    optimizer: Adam,
    microbatches: Sequence[Batch],
    now: Now,
    stats: Stats,
    buckets: GradientBuckets | None = None,
) -> list[LossOutput]:
    """Leave in `.grad` the gradient of a phase's loss times its interval, over all micro-batches (and ranks, with `buckets`);
    parameters that the loss does not reach keep None and are skipped by the optimiser. pl_mean moves with every micro-batch
    that gives it.

    Returns:
        What steers, of each micro-batch; nothing of it holds on to a graph.
    """
    outputs = []
    optimizer.zero_grad(set_to_none=True)
    for name, network in (("G", networks.G), ("D", networks.D)):  # no weight gradients for the one that stands still
        network.requires_grad_(name == phase.network)
    gain = phase.interval / len(microbatches)
    for batch in microbatches:
        output = phase.loss(networks, batch, now)
        check_output(phase, batch, output)
        last = batch is microbatches[-1]
        with buckets.reducing(f"{phase.name} {now.resolution}") if buckets and last else nullcontext():
            (output.loss.mean() * (gain * networks.loss_scale)).backward()
        for name, value in output.stats.items():
            stats[name].append(value.detach().flatten())
        given = {name: value.detach() for name in STEERING if (value := getattr(output, name)) is not None}
        if "pl_mean" in given:
            set_where_finite_(networks.pl_mean, given["pl_mean"])
        outputs.append(LossOutput(output.loss.detach(), {}, **given))
    if networks.loss_scale != 1:
        for gradient in optimizer.gradients:
            gradient.div_(networks.loss_scale)
    return outputs

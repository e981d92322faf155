"""Adam of torch, with its step as one op for all parameters where that is faster; and its settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from stylegan.errors import UserError
from stylegan.ops.device import send
from stylegan.ops.update import adam_, clamp_nonfinite_
from stylegan.run_dir import SIGMA_DIGITS
from stylegan.schedule import Schedule, check_schedules, scheduled
from stylegan.training.power_average import LONGEST
from stylegan.values import DECAY, NOT_NEGATIVE, POSITIVE, Range, check_values

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class OptimConfig:
    """Adam, and the moving average of the generator."""

    G_lr: Schedule | None = field(
        default=None, metadata=scheduled("learning rate of G; null: 0.0025, from 1024 pixels 0.002", POSITIVE)
    )
    D_lr: Schedule | None = field(
        default=None, metadata=scheduled("learning rate of D; null: 0.0025, from 1024 pixels 0.002", POSITIVE)
    )
    beta1: Schedule = field(default=0.0, metadata=scheduled("Adam's first moment", DECAY))
    beta2: Schedule = field(default=0.99, metadata=scheduled("Adam's second moment", DECAY))
    eps: float = field(default=1e-8, metadata={"help": "Adam's epsilon", "range": POSITIVE})
    tensorflow_eps: bool = field(
        default=False,
        metadata={
            "help": "eps counts as in TensorFlow's Adam: more, in the first steps (ProGAN, StyleGAN1)",
            "newer": True,
        },
    )
    reset_at_fades: bool = field(
        default=False,
        metadata={
            "help": "Adam forgets all where a fade of training.stages begins and ends (ProGAN, StyleGAN1)",
            "newer": True,
        },
    )
    ema_kimg: Schedule | None = field(
        default=None, metadata=scheduled("half-life of G_ema in kimg; null: batch_size * 10 / 32", NOT_NEGATIVE)
    )
    ema_beta: Schedule = field(
        default=0.0, metadata=scheduled("decay of G_ema an iteration (ProGAN: 0.999); 0: by its half-life", DECAY)
    )
    ema_rampup: float = field(
        default=0.05,
        metadata={
            "help": "G_ema's half-life is at most this share of the training so far; 0: off",
            "range": NOT_NEGATIVE,
        },
    )
    ema_power: list[float] = field(
        default_factory=list,
        metadata={
            "help": "lengths (sigma, such as 0.05,0.10) of further averages, kept with every snapshot: `stylegan average` "
            "makes others of them",
            "range": Range(10**-SIGMA_DIGITS, LONGEST),
            "newer": True,
        },
    )
    loss_scale: float | None = field(
        default=None,
        metadata={
            "help": "factor for gradients on their way through the networks; null: 1, with fp16 64",
            "range": POSITIVE,
        },
    )

    def __post_init__(self) -> None:
        check_schedules(self, "optim")
        check_values(self, "optim")
        if len({round(sigma, SIGMA_DIGITS) for sigma in self.ema_power}) < len(self.ema_power):
            raise UserError(
                f"optim.ema_power={self.ema_power}: each length once, and apart in the {SIGMA_DIGITS} digits after the point "
                "by which its files are named"
            )

    def resolved(self, resolution: tuple[int, int], batch_size: int, *, fp16: bool) -> "OptimConfig":
        """With what follows from (H, W) and the batch.

        Learning rates as StyleGAN2-ADA, appendix C: 0.0025, at 1024 x 1024 0.002. The average's half-life is 10 kimg at a
        batch of 32, in proportion to it (StyleGAN2). Gradients at single pixels of large images reach the smallest numbers
        of float16 (6e-8); sums over pixels, its largest (65504): 64 lifts the first out and leaves the second room; a power of
        two changes no bit but the exponent.
        """
        lr = 0.002 if max(resolution) >= 1024 else 0.0025
        follows = {"G_lr": lr, "D_lr": lr, "ema_kimg": batch_size * 10 / 32, "loss_scale": 64.0 if fp16 else 1.0}
        return replace(self, **{name: value for name, value in follows.items() if getattr(self, name) is None})


def lazy_ratio(intervals: Sequence[int]) -> float:
    """What lr and the exponents of the betas are multiplied by where a network takes more than one step an iteration.

    With a main phase and a penalty every k-th iteration a network takes k + 1 steps in k iterations, and the ratio is
    k / (k + 1) (StyleGAN2, appendix B, "Lazy regularization").

    Args:
        intervals: Of the phases that train the network, in iterations.
    """
    return float(1 / sum(Fraction(1, interval) for interval in intervals))


class Adam(torch.optim.Adam):
    """`torch.optim.Adam(fused=True)`: the same numbers up to rounding, the same state_dict.

    It knows neither weight decay, AMSGrad, a closure nor groups of parameters. Except on a CPU a step reads nothing from the
    device, and all that it needs besides gradients is made by the first one and stays where it is: a CUDA graph of later steps
    holds.

    Attributes:
        parameters: What it trains.
        rates: lr, beta1, beta2 and eps of the next step, float64 [4] on the parameters' device.
        nonfinite: int64 [parameters] there: how many values of each one's gradients were not finite in the steps since
            `take_nonfinite`.
        adopts: Where beta1 is 0, take over a gradient as first moment instead of copying it; but a graph's gradients are
            overwritten by other graphs.
    """

    def __init__(self, parameters: list[Tensor], *, eps: float, ratio: float = 1.0, tensorflow_eps: bool = False):
        """Rates are set by `set_rates`, before the first step.

        Args:
            parameters: What it trains.
            eps: See `OptimConfig`.
            ratio: See `lazy_ratio`.
            tensorflow_eps: Add eps to the root of the second moment before, rather than after, that is corrected for having
                begun at zero: the "epsilon hat" of Kingma and Ba 2015, section 2.
        """
        super().__init__(parameters, lr=0.0, betas=(0.0, 0.0), eps=eps)
        # Where steps are counted when a state is loaded: on the device. torch's constructor would refuse the meta device.
        self.param_groups[0]["fused"] = True
        self.parameters, self._ratio, self._tensorflow_eps = parameters, ratio, tensorflow_eps
        device = parameters[0].device
        self.rates, self._sent = torch.zeros(4, dtype=torch.float64, device=device), (0.0, 0.0, 0.0, 0.0)
        self.nonfinite = torch.zeros(len(parameters), dtype=torch.int64, device=device)
        self._counts = self.nonfinite.unbind()
        self.adopts = device.type == "cpu"

    @property
    def gradients(self) -> list[Tensor]:
        """Of those parameters that have one."""
        return [p.grad for p in self.parameters if p.grad is not None]

    def set_rates(self, lr: float, beta1: float, beta2: float) -> None:
        """Take the settings of an iteration, corrected for the steps that are taken in one."""
        group = self.param_groups[0]
        group["lr"], group["betas"] = lr * self._ratio, (beta1**self._ratio, beta2**self._ratio)
        self._send_rates()

    def take_nonfinite(self) -> list[int]:
        """The counts of `nonfinite`, which are then 0 again. This waits for the device."""
        counts = self.nonfinite.tolist()
        if any(counts):
            self.nonfinite.zero_()
        return counts

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None, *, skip: bool = False) -> Tensor:
        """One step of every parameter that has a gradient, as if `clamp_nonfinite_` had been called on every gradient.

        On a CPU, where beta1 is 0, a gradient is its parameter's first moment after the step, and clamped if it has to be.

        Args:
            closure: None.
            skip: Where the norm is not finite, leave parameters and state as they are.

        Returns:
            The 2-norm of all gradients as they came, a float32 scalar; infinite or NaN where they are not finite.
        """
        assert closure is None, "gradients are there before a step"
        adopts = self.adopts and self.param_groups[0]["betas"][0] == 0
        params, grads, first, second, steps, nonfinite, states = [], [], [], [], [], [], []
        for p, count in zip(self.parameters, self._counts, strict=True):
            grad = p.grad
            if grad is None:
                continue
            state = self.state[p]
            if not state:
                state["step"] = torch.zeros([], device=p.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
            if grad.stride() != p.stride():
                p.grad = grad = _laid_out_as(p, grad)
            params.append(p)
            grads.append(grad)
            if not adopts:
                first.append(state["exp_avg"])
            second.append(state["exp_avg_sq"])
            steps.append(state["step"])
            nonfinite.append(count)
            states.append(state)
        rates = self._rates_of_tensorflow(steps) if self._tensorflow_eps and steps else self.rates
        square_sum = adam_(params, grads, first, second, steps, rates, nonfinite, skip=skip)
        if adopts:
            finite = bool(square_sum.isfinite())
            for state, grad in zip(states, grads, strict=True) if finite or not skip else ():
                if not finite:
                    clamp_nonfinite_(grad)
                state["exp_avg"] = grad
        return square_sum.sqrt().float()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state, its moments in the memory order of the parameters, whatever the version that saved it had.

        Except on a CPU it is copied into the state that there is: graphs hold on to its addresses.
        """
        before = {} if self.rates.device.type == "cpu" else dict(self.state)
        super().load_state_dict(dict(state_dict))
        for p, state in self.state.items():
            state.update({name: _laid_out_as(p, state[name]) for name in MOMENTS if name in state})
        for p, state in before.items():
            loaded = self.state.get(p)
            for name, kept in state.items():
                kept.zero_() if loaded is None else kept.copy_(loaded[name])
            self.state[p] = state
        self._send_rates()

    def forget(self) -> None:
        """Begin anew, as if no step had been taken; what there is stays where it is."""
        for state in self.state.values():
            for value in state.values():
                value.zero_()

    def _rates_of_tensorflow(self, steps: list[Tensor]) -> Tensor:
        """The rates with an eps that gives, where the second moment's root is corrected, what was asked for before that. Steps
        are counted for the whole list, as there."""
        rates, taken = self.rates.clone(), torch.stack(steps).max().double() + 1
        rates[3] /= (1 - rates[2] ** taken).sqrt()
        return rates

    def _send_rates(self) -> None:
        group = self.param_groups[0]
        rates = (group["lr"], *group["betas"], group["eps"])
        if rates != self._sent:
            send(rates, self.rates)
            self._sent = rates


def _laid_out_as(p: Tensor, t: Tensor) -> Tensor:
    """t in the memory order of p; as a copy only where it has another."""
    return t if t.stride() == p.stride() else torch.empty_like(p).copy_(t)

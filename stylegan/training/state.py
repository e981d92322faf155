"""All that a resume needs, in one object."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from stylegan import distributed
from stylegan.augment.ada import ADAController
from stylegan.losses.base import LossOutput
from stylegan.models.base import Discriminator, Generator
from stylegan.models.generator import require_w
from stylegan.models.growing import Growing
from stylegan.ops.device import send
from stylegan.ops.torch_private import foreach_copy_
from stylegan.ops.update import lerp_
from stylegan.schedule import Moment, Now, Plan, Stage
from stylegan.training.adam import Adam
from stylegan.training.power_average import decay, gamma_of
from stylegan.training.reduction import GradientBuckets


def ema_decay(now: Moment, rampup: float) -> float:
    """The decay of one update of the moving average of the generator.

    Args:
        now: Has the half-life in thousands of images, `optim.ema_kimg`, or, where that is not 0, the decay itself,
            `optim.ema_beta`.
        rampup: Never average over more than this fraction of the training so far (StyleGAN2-ADA, appendix C); 0 is off.
    """
    if beta := now.settings["optim.ema_beta"]:
        return beta
    half_life = now.settings["optim.ema_kimg"] * 1000
    if rampup:
        half_life = min(half_life, now.nimg * rampup)
    return 0.5 ** (now.stage.batch_size / max(half_life, 1e-8))


class MovingAverage:
    """What moves `G_ema`, the network that is shown and given away, towards `G`."""

    def __init__(self, G_ema: Generator, G: Generator):
        self._averages: list[Tensor] = list(G_ema.parameters())
        self._parameters: list[Tensor] = list(G.parameters())
        self._copies: list[Tensor] = list(G_ema.buffers())
        self._buffers: list[Tensor] = list(G.buffers())
        self._weight = torch.zeros([], dtype=torch.float64, device=self._parameters[0].device)

    def set_weight(self, weight: float) -> None:
        """Take the share of the way that `move` goes from here on."""
        send(weight, self._weight)

    @torch.no_grad()
    def move(self) -> None:
        """Move the parameters by the share that was set; `w_avg` and noise are no averages and are copied."""
        lerp_(self._averages, self._parameters, self._weight)
        if self._copies:
            foreach_copy_(self._copies, self._buffers)


@dataclass
class TrainState:
    """Everything that changes while a network is trained. What is not listed here is a function of it.

    Attributes:
        G: The generator.
        D: The discriminator.
        G_ema: The moving average of the generator.
        G_opt: Adam of G.
        D_opt: Adam of D.
        pl_mean: The mean path length, a scalar tensor.
        seed: The run's seed.
        nimg: Real images shown to D so far.
        step: Iterations so far.
        elapsed: Seconds of training so far, over all sittings.
        rollbacks: How often training went back to a checkpoint; it enters the random streams, so that the same numbers
            do not lead to the same end.
        ada: How often images are augmented; None where that is not adapted.
        stage: The stage of growing that was looked up last; None before the first iteration.
        held: Iterations since then.
        power: Further averages of G by their length, see `training.power_average`.
    """

    G: Generator
    D: Discriminator
    G_ema: Generator
    G_opt: Adam
    D_opt: Adam
    pl_mean: Tensor
    seed: int
    nimg: int = 0
    step: int = 0
    elapsed: float = 0.0
    rollbacks: int = 0
    ada: ADAController | None = None
    stage: Stage | None = None
    held: int = 0
    power: dict[float, Generator] = field(default_factory=dict)

    _PARTS = ("G", "D", "G_ema", "G_opt", "D_opt")
    _NUMBERS = ("seed", "nimg", "step", "elapsed", "rollbacks", "held")

    @property
    def stream_seed(self) -> int:
        """The seed from which this stretch of training draws its numbers."""
        return self.seed + 1_000_003 * self.rollbacks

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.pl_mean.device

    @cached_property
    def alpha(self) -> Tensor:
        """How much of the stage's new layers counts, float64 []; where nothing fades in it plays no part."""
        return torch.ones([], dtype=torch.float64, device=self.device)

    @cached_property
    def average(self) -> MovingAverage:
        """What moves G_ema."""
        return MovingAverage(self.G_ema, self.G)

    @cached_property
    def power_averages(self) -> dict[float, MovingAverage]:
        """What moves the further averages."""
        return {sigma: MovingAverage(average, self.G) for sigma, average in self.power.items()}

    @cached_property
    def buckets(self) -> dict[str, GradientBuckets]:
        """What takes the gradients of `G` and `D` to their means over ranks."""
        return {"G": GradientBuckets(self.G_opt.parameters), "D": GradientBuckets(self.D_opt.parameters)}

    def optimizer(self, network: str) -> Adam:
        """Of `G` or `D`."""
        return self.G_opt if network == "G" else self.D_opt

    def set_rates(self, now: Moment, ema_rampup: float) -> None:
        """Tell optimisers and average what holds in an iteration."""
        settings = now.settings
        for name in ("G", "D"):
            rates = (settings[f"optim.{rate}"] for rate in (f"{name}_lr", "beta1", "beta2"))
            self.optimizer(name).set_rates(*rates)
        self.average.set_weight(1 - ema_decay(now, ema_rampup))
        for sigma, average in self.power_averages.items():
            batch_size = now.stage.batch_size
            average.set_weight(1 - decay(gamma_of(sigma), now.nimg + batch_size, batch_size))

    def take_nonfinite(self) -> dict[str, int]:
        """How many values of the gradients were not finite since this was asked last, by network and parameter; only those
        with some. It waits for the device."""
        found: dict[str, int] = {}
        for name, network in (("G", self.G), ("D", self.D)):
            counts = self.optimizer(name).take_nonfinite()
            found |= {f"{name}.{k}": n for (k, _), n in zip(network.named_parameters(), counts, strict=True) if n}
        return found

    def augment_p(self, now: Now) -> Tensor:
        """The probability of augmentations, float64 []: as adapted, else as the settings have it."""
        return now.settings["augment.p"] if self.ada is None else self.ada.p

    def begin(self, plan: Plan) -> Moment:
        """What holds in the next iteration; where a new stage begins, the networks enter it."""
        nimg, stage, self.held = next(plan.iterations(self.nimg, self.stage, self.held))
        if stage != self.stage:
            if plan.resets and (self.stage is None or stage.layers != self.stage.layers):
                for optimizer in (self.G_opt, self.D_opt):
                    optimizer.forget()
            self.enter(stage)
        return plan.moment(nimg, stage)

    def enter(self, stage: Stage) -> None:
        """Bring the networks that grow to a stage."""
        self.stage = stage
        self.alpha.fill_(stage.alpha)
        alpha = self.alpha if stage.alpha < 1 else None
        for network in (self.G, self.D, self.G_ema, *self.power.values()):
            if isinstance(network, Growing):
                network.set_stage(stage.resolution, alpha, enlarge=network not in (self.G, self.D))

    def follow(self, outputs: Sequence[LossOutput]) -> None:
        """Take over what the micro-batches of a phase steer: moving averages of G, and pl_mean. A collective."""
        if means := [output.means for output in outputs if output.means is not None]:
            G = require_w(self.G, "its moving average", "a loss that gives no means")
            for mean in distributed.gather(torch.stack(means)):
                G.update_averages(mean)
        if any(output.pl_mean is not None for output in outputs):  # it moved with every micro-batch
            distributed.average([self.pl_mean])

    def advance(self, now: Moment) -> None:
        """Count one iteration."""
        self.nimg += now.stage.batch_size
        self.step += 1
        self.held += 1

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and plain containers only, so that it loads without executing code."""
        parts = {name: getattr(self, name).state_dict() for name in self._PARTS}
        ada = None if self.ada is None else self.ada.state_dict()
        stage = None if self.stage is None else {**asdict(self.stage), "resolution": list(self.stage.resolution)}
        numbers = {name: getattr(self, name) for name in self._NUMBERS}
        power = {str(sigma): network.state_dict() for sigma, network in self.power.items()}
        return {**parts, "power": power, "pl_mean": self.pl_mean, "ada": ada, "stage": stage, **numbers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state of the same architecture.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: It is of another architecture.
        """
        for name in self._PARTS:
            getattr(self, name).load_state_dict(state[name])
        if (kept := state.get("power", {})).keys() != {str(sigma) for sigma in self.power}:
            raise ValueError(f"it holds averages of the lengths {list(kept)}, not of {list(self.power)}")
        for sigma, network in self.power.items():
            network.load_state_dict(kept[str(sigma)])
        self.pl_mean.copy_(state["pl_mean"])
        for name in self._NUMBERS:
            setattr(self, name, state[name])
        if self.ada is not None and state["ada"] is not None:
            self.ada.load_state_dict(state["ada"])
        self.stage = None
        if state["stage"] is not None:
            H, W = state["stage"]["resolution"]
            self.enter(Stage(**{**state["stage"], "resolution": (H, W)}))

"""Adam of torch, with its step as one op for all parameters where that is faster."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from stylegan.ops.update import adam_, lerp_

MOMENTS = ("exp_avg", "exp_avg_sq")


class Adam(torch.optim.Adam):
    """`torch.optim.Adam(fused=True)`: the same numbers up to rounding, the same state_dict.

    It knows neither weight decay, AMSGrad, a closure nor groups of parameters.
    """

    def __init__(self, params: list[Tensor], *, lr: float, betas: tuple[float, float], eps: float):
        super().__init__(params, lr=lr, betas=betas, eps=eps, fused=True)

    @torch.no_grad()
    def step(
        self,
        closure: Callable[[], Any] | None = None,
        *,
        averages: Mapping[Tensor, Tensor] | None = None,
        weight: float = 0.0,
    ) -> Tensor:
        """One step of every parameter that has a gradient, as if `clamp_nonfinite_` had been called on every gradient.

        Where beta1 is 0 a gradient is its parameter's first moment after the step: clamp those that are not finite then.

        Args:
            closure: None.
            averages: By parameter, for all of them, tensors that are then moved to its value by the share `weight`.
            weight: Of the averages.

        Returns:
            The 2-norm of all gradients as they came, a float32 scalar; infinite or NaN where they are not finite.
        """
        assert closure is None, "gradients are there before a step"
        (group,) = self.param_groups
        beta1, beta2 = group["betas"]
        params, grads, first, second, steps = [], [], [], [], []
        for p in group["params"]:
            grad = p.grad
            if grad is None:
                continue
            state = self.state[p]
            if not state:
                state["step"] = torch.zeros([], device=p.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
            if grad.stride() != p.stride():
                p.grad = grad = _laid_out_as(p, grad)
            if beta1 == 0:  # the first moment is the gradient: take it over instead of copying it
                state["exp_avg"] = grad
            else:
                first.append(state["exp_avg"])
            params.append(p)
            grads.append(grad)
            second.append(state["exp_avg_sq"])
            steps.append(state["step"])
        followers = [averages[p] for p in params] if averages else ()
        rates = {"lr": group["lr"], "beta1": beta1, "beta2": beta2, "eps": group["eps"], "weight": weight}
        square_sum = adam_(params, grads, first, second, steps, followers, **rates)
        if averages and len(params) < len(group["params"]):
            others = [p for p in group["params"] if p.grad is None]
            lerp_([averages[p] for p in others], others, weight)
        return square_sum.sqrt().float()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state, its moments in the memory order of the parameters, whatever the version that saved it had."""
        super().load_state_dict(state_dict)
        for p, state in self.state.items():
            state.update({name: _laid_out_as(p, state[name]) for name in MOMENTS if name in state})


def _laid_out_as(p: Tensor, t: Tensor) -> Tensor:
    """t in the memory order of p; as a copy only where it has another."""
    return t if t.stride() == p.stride() else torch.empty_like(p).copy_(t)

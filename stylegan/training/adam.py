"""Adam of torch, with its step as one op for all parameters where that is faster."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from stylegan.ops.update import adam_


class Adam(torch.optim.Adam):
    """`torch.optim.Adam(fused=True)`: the same numbers up to rounding, the same state_dict.

    It knows neither weight decay, AMSGrad nor a closure.
    """

    def __init__(self, params: list[Tensor], *, lr: float, betas: tuple[float, float], eps: float):
        super().__init__(params, lr=lr, betas=betas, eps=eps, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """One step of every parameter that has a gradient."""
        assert closure is None, "gradients are there before a step"
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            for p in params:
                if not self.state[p]:
                    self.state[p] = {
                        "step": torch.zeros([], device=p.device),
                        "exp_avg": torch.zeros_like(p),
                        "exp_avg_sq": torch.zeros_like(p),
                    }
            states = [self.state[p] for p in params]
            grads = [_laid_out_as(p, p.grad) for p in params]
            beta1, beta2 = group["betas"]
            if beta1 == 0:  # the first moment is the gradient: take it over instead of copying it
                for state, grad in zip(states, grads, strict=True):
                    state["exp_avg"] = grad
            for p, state in zip(params, states, strict=True):
                for name in ("exp_avg", "exp_avg_sq"):
                    state[name] = _laid_out_as(p, state[name])
            first, second, steps = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
            adam_(params, grads, first, second, steps, lr=group["lr"], beta1=beta1, beta2=beta2, eps=group["eps"])


def _laid_out_as(p: Tensor, t: Tensor) -> Tensor:
    """t in the memory order of p; as a copy only where it has another, as after loading a state of another version."""
    return t if t.stride() == p.stride() else torch.empty_like(p).copy_(t)

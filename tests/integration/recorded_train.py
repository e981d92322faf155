"""train.py as it is, but for a file with the gradients of the first iteration, by phase: started by `test_two_ranks.py`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import train
from stylegan import distributed
from stylegan.training import step
from stylegan.training.phases import Phase

Step = Callable[..., bool]


def record_gradients(guarded_step: Step, path: Path) -> Step:
    """`guarded_step`, which an iteration calls with the gradients of all ranks, and with it each phase's first gradients."""
    found: dict[str, dict[str, Tensor]] = {}

    def recorded(phase: Phase, *arguments: Any) -> bool:
        if phase.name not in found and distributed.is_main():
            named = phase.module.named_parameters()
            found[phase.name] = {name: p.grad.clone() for name, p in named if p.grad is not None}
            torch.save(found, path)
        return guarded_step(phase, *arguments)

    return recorded


if __name__ == "__main__":
    step.guarded_step = record_gradients(step.guarded_step, Path(sys.argv.pop(1)))
    train.main()

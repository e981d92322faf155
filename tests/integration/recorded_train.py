"""train.py as it is, but for a file with the gradients of the first iteration, by phase: started by `test_two_ranks.py`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import train
from stylegan import distributed
from stylegan.training import step

Step = Callable[..., None]


def record_gradients(guarded_step: Step, path: Path) -> Step:
    """`guarded_step`, which an iteration calls with the gradients of all ranks, and with it each phase's first gradients."""
    found: dict[str, dict[str, Tensor]] = {}

    def recorded(phase: str, module: nn.Module, *arguments: Any) -> None:
        if phase not in found and distributed.is_main():
            found[phase] = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
            torch.save(found, path)
        guarded_step(phase, module, *arguments)

    return recorded


if __name__ == "__main__":
    step.guarded_step = record_gradients(step.guarded_step, Path(sys.argv.pop(1)))
    train.main()

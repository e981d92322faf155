"""train.py as it is, but for a file with the gradients of the first iteration, by phase: started by `test_two_ranks.py`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import train
from stylegan import distributed
from stylegan.losses.base import LossOutput, Networks, Phase
from stylegan.training import step

Accumulate = Callable[..., list[LossOutput]]


def record_gradients(accumulate: Accumulate, path: Path) -> Accumulate:
    """`accumulate_gradients`, which leaves the gradients of all ranks, and with it each phase's first ones."""
    found: dict[str, dict[str, Tensor]] = {}

    def recorded(phase: Phase, networks: Networks, *arguments: Any) -> list[LossOutput]:
        outputs = accumulate(phase, networks, *arguments)
        if phase.name not in found and distributed.is_main():
            network = getattr(networks, phase.network)
            found[phase.name] = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
            torch.save(found, path)
        return outputs

    return recorded


if __name__ == "__main__":
    step.accumulate_gradients = record_gradients(step.accumulate_gradients, Path(sys.argv.pop(1)))
    train.main()

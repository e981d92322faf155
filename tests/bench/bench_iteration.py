"""Time training iterations of a recipe: `python tests/bench/bench_iteration.py [setting=value ...]`.

Runs whole cycles of lazy regularisation (16 iterations) after one of warming up, on random images. To judge a change, run it
before and after in turn and compare the pairs; absolute numbers of a shared machine mean little.
"""

import sys
from collections import defaultdict
from time import perf_counter

import torch
from hydra import compose, initialize_config_dir

from stylegan.config import TrainConfig, register, to_typed
from stylegan.files import shipped
from stylegan.models.build import build_discriminator, build_generator
from stylegan.training.batch import BatchMaker, split_positions
from stylegan.training.phases import build_optimizers, build_phases, due
from stylegan.training.state import TrainState
from stylegan.training.step import OnNonfinite, StepConfig, train_step

CYCLE = 16


def main(arguments: list[str]) -> None:
    """Print images per second, and seconds per run of each phase."""
    register()
    with initialize_config_dir(str(shipped("configs").resolve()), version_base="1.3"):
        config = to_typed(compose("train", arguments), TrainConfig)
    side, N = config.data.resolution, config.training.batch_size
    shape = {"resolution": (side, side), "channels": 3, "c_dim": 0}
    G, D = build_generator(config.model.G, **shape), build_discriminator(config.model.D, **shape)
    G_ema = build_generator(config.model.G, **shape).requires_grad_(False)
    optimizers = build_optimizers(G, D, config.loss, config.optim, (side, side))
    state = TrainState(G, D, G_ema, *optimizers, torch.zeros([]), seed=0)
    phases = build_phases(G, D, *optimizers, state.pl_mean, config.loss, config.loss.r1_gamma or 1.0)
    (rounds,) = split_positions(N, 1, config.training.micro_batch or N, config.model.D.minibatch_std_group)
    maker = BatchMaker(0, N, config.loss.style_mixing_prob, config.loss.pl_batch_shrink)
    real = torch.randint(0, 256, [N, 3, side, side], dtype=torch.uint8)
    step = StepConfig(N, 1.0, None, OnNonfinite.clamp)
    seconds: dict[str, list[float]] = defaultdict(list)
    started = 0.0
    for iteration in range(3 * CYCLE):
        if iteration == CYCLE:
            seconds.clear()
            started = perf_counter()
        batches = {
            phase.name: maker.draw(phase.name, state.nimg, G, real, torch.zeros(N, 0), rounds)
            for phase in due(phases, state.step)
        }
        for name, values in train_step(state, phases, batches, step).items():
            if name.startswith("seconds/"):
                seconds[name].append(float(values[0]))
    total = perf_counter() - started
    print(
        f"{2 * CYCLE * N / total:.1f} images/s, {total / 2 / CYCLE:.4f} s an iteration, {torch.get_num_threads()} threads"
    )
    for name, values in seconds.items():
        print(f"  {name:<16} {sum(values) / len(values):.4f} s, {sum(values) / total:.0%} of the time")


if __name__ == "__main__":
    main(sys.argv[1:])

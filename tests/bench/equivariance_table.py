"""EQ-T, EQ-T_frac and EQ-R of StyleGAN3: python tests/bench/equivariance_table.py [--t RUN] [--r RUN] [--count 400]

In decibels, of configurations T and R at the demo's size: with random weights, and of runs that were trained, such as

    python train.py experiment=demo_stylegan3 run_dir=runs/t
    python train.py experiment=demo_stylegan3 run_dir=runs/r model.G.channel_base=2032 model.G.channel_max=128 \\
        model.G.conv_kernel=1 model.G.radial_filters=true loss.blur_init_sigma=2 loss.blur_fade_kimg=12

Pictures of random weights are brought to the standard deviation of images (0.5): errors are measured against a range of 2.
"""

import argparse
from dataclasses import replace

import torch
from rich.console import Console
from rich.table import Table

from stylegan.config.groups import read_experiment
from stylegan.inference import load_generator
from stylegan.metrics.names import parse_all
from stylegan.metrics.network_metrics import NetworkMetrics
from stylegan.models.generator import StyleBased
from stylegan.models.stylegan3 import StyleGAN3Config, SynthesisNetwork
from stylegan.ops.backend import Backend, activate

METRICS = ("eqt", "eqt_frac", "eqr")
ROTATION = {"channel_base": 2032, "channel_max": 128, "conv_kernel": 1, "radial_filters": True}


def main() -> None:
    """Measure what there is, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--t", help="a trained run of configuration T")
    parser.add_argument("--r", help="a trained run of configuration R")
    parser.add_argument("--count", type=int, default=400, help="pictures that are moved, for each metric")
    options = parser.parse_args()
    activate(Backend.compiled, torch.device("cpu"))
    config = read_experiment("demo_stylegan3").model.G
    networks = {"T, random": random_network(config), "R, random": random_network(replace(config, **ROTATION))}
    networks |= {f"{name}, {run}": load_generator(run) for name, run in (("T", options.t), ("R", options.r)) if run}
    console, table = Console(), Table("dB", *METRICS)
    metrics = NetworkMetrics(parse_all([f"{name}{options.count}" for name in METRICS]), {}, torch.device("cpu"))
    for name, G in networks.items():
        with console.status(name):
            values = metrics.measure(G, None, seed=0, batch=1, advance=lambda n: None)
        table.add_row(name, *(f"{value:.1f}" for value in values.values()))
    console.print(table)


def random_network(config: StyleGAN3Config) -> StyleBased:
    """With random weights, and a gain that gives its pictures a standard deviation of 0.5."""
    torch.manual_seed(0)
    G = config.build(resolution=(32, 32), channels=3, c_dim=0).eval().requires_grad_(False)
    assert isinstance(G.synthesis, SynthesisNetwork)
    G.synthesis.output_scale *= 0.5 / float(G(torch.randn(16, G.z_dim)).std())
    return G


if __name__ == "__main__":
    main()

"""Make a picture from a trained network: `python generate.py network=runs/demo seeds=0-31 out=grid.png`."""

import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from stylegan.config.entry import run_entry
from stylegan.config.groups import to_typed
from stylegan.errors import UserError
from stylegan.figures.config import GenerateConfig
from stylegan.figures.grid import GridConfig, write_grid
from stylegan.figures.images import ImagesConfig, write_images
from stylegan.figures.scanline import ScanlineConfig, write_scanline
from stylegan.figures.seeds import parse_seeds
from stylegan.files import sha256
from stylegan.inference import load_generator, move_input, resolve_network
from stylegan.ops.backend import activate


def run(composed: DictConfig) -> None:
    """Make the figure and print where it is."""
    print(make_figure(to_typed(composed, GenerateConfig)))


def make_figure(config: GenerateConfig) -> Path:
    """Load the network, draw and write.

    Returns:
        The file or folder written.

    Raises:
        UserError: Something in the configuration cannot be done.
    """
    seeds = parse_seeds(config.seeds)
    network = resolve_network(config.network)
    G = load_generator(network, config.device, config.precision)
    if config.translate is not None or config.rotate is not None:
        move_input(G, config.translate or (0.0, 0.0), config.rotate or 0.0)
    ops = activate(config.ops.backend, next(G.parameters()).device, build_for_auto=False)
    if ops.warning:
        print(f"warning: {ops.warning}", file=sys.stderr)
    sampling: dict[str, Any] = {
        "truncation_psi": config.truncation_psi,
        "truncation_cutoff": config.truncation_cutoff,
        "noise_mode": config.noise_mode.value,
        "class_idx": config.class_idx,
        "batch": config.batch,
    }
    about = None
    if config.provenance:
        about = {"network": network.name, "network_sha256": sha256(network), "seeds": config.seeds, **sampling}
        moved = {"translate": config.translate, "rotate": config.rotate}
        about |= {name: value for name, value in moved.items() if value is not None}
        about |= {"precision": G.config.precision.value, "ops": ops.name}
    common: dict[str, Any] = {"overwrite": config.overwrite, "about": about, "progress": True, **sampling}
    match config.figure:
        case GridConfig():
            return write_grid(G, seeds, config.figure, config.out, **common)
        case ImagesConfig():
            return write_images(G, seeds, config.out, **common)
        case ScanlineConfig():
            return write_scanline(G, seeds, config.figure, config.out, **common)
    raise UserError(f"figure={config.figure}: choose figure=grid, figure=images or figure=scanline")


def main() -> None:
    """What the command does: compose, run, turn the user's mistakes into one message and exit code 2."""
    run_entry(run, lambda: GenerateConfig(figure=GridConfig()), Path(__file__).with_name("configs"), "generate")


if __name__ == "__main__":
    main()

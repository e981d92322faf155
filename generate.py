"""Make a picture from a trained network: `python generate.py network=runs/demo seeds=0-31 out=grid.png`."""

import sys
from dataclasses import fields, replace
from pathlib import Path

from omegaconf import DictConfig

from stylegan.config.entry import run_entry
from stylegan.config.groups import generate_script, to_typed
from stylegan.errors import UserError
from stylegan.figures.base import Request
from stylegan.figures.config import GenerateConfig
from stylegan.figures.seeds import parse_seeds
from stylegan.figures.writing import describe, find_place
from stylegan.inference import Sampling, load_generator, resolve_network
from stylegan.memory import check_images
from stylegan.ops.device import compute_exactly


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
    figure = config.figure
    settings = {item.name: getattr(config, item.name) for item in fields(Sampling)}
    for name in ("truncation_center", "truncation_clusters"):
        if settings[name] is not None and config.truncation_psi in (None, 1) and not figure.truncates:
            raise UserError(f"{name} needs truncation_psi other than 1: nothing is truncated")
    if config.truncation_center is not None:
        settings["truncation_center"] = parse_seeds(config.truncation_center, "truncation_center")
    request = Request(parse_seeds(config.seeds), Sampling(**settings), progress=True, network=config.network)
    files = {"overwrite": config.overwrite, "provenance": config.provenance, "latents": config.latents}
    place = find_place(figure, request, config.out, **files)
    request = replace(request, unfinished=place.unfinished)
    compute_exactly()
    network = resolve_network(config.network)
    G = load_generator(network, config.device, config.ops.backend)
    check_images(config.batch, G.channels, G.resolution, "batch")
    about = describe(figure, G, network, config.seeds, request)
    command = ["python", Path(sys.argv[0]).name, *sys.argv[1:]]
    return place.write(figure.draw(G, request), about, command, G, progress=True)


def main() -> None:
    """What the command does: compose, run, turn the user's mistakes into one message and exit code 2."""
    run_entry(run, generate_script, Path(__file__).with_name("configs"))


if __name__ == "__main__":
    main()

"""Make a picture from a trained network: `python generate.py network=runs/demo seeds=0-31 out=grid.png`."""

from typing import Any

import hydra
from omegaconf import DictConfig

from stylegan.config import GenerateConfig, register, run_entry, to_typed
from stylegan.errors import UserError
from stylegan.figures.grid import GridConfig, write_grid
from stylegan.figures.images import ImagesConfig, write_images
from stylegan.figures.seeds import parse_seeds
from stylegan.files import sha256
from stylegan.inference import load_generator, resolve_network

register()


@hydra.main(version_base="1.3", config_path="configs", config_name="generate")
def main(composed: DictConfig) -> None:
    """Compose the configuration, load the network, make the figure and print where it is."""
    config = to_typed(composed, GenerateConfig)
    seeds = parse_seeds(config.seeds)
    network = resolve_network(config.network)
    G = load_generator(network, config.device)
    sampling: dict[str, Any] = {
        "truncation_psi": config.truncation_psi,
        "truncation_cutoff": config.truncation_cutoff,
        "noise_mode": config.noise_mode.value,
        "class_idx": config.class_idx,
        "batch": config.batch,
    }
    about = {"network": network.name, "network_sha256": sha256(network), "seeds": config.seeds, **sampling}
    target: dict[str, Any] = {"overwrite": config.overwrite, "about": about, "progress": True}
    match config.figure:
        case GridConfig():
            path = write_grid(G, seeds, config.figure, config.out, **target, **sampling)
        case ImagesConfig():
            path = write_images(G, seeds, config.out, **target, **sampling)
        case _:
            raise UserError(f"figure={config.figure}: choose figure=grid or figure=images")
    print(path)


def _defaults() -> GenerateConfig:
    return GenerateConfig(figure=GridConfig())


if __name__ == "__main__":
    run_entry(main, _defaults)

"""Train, sample and share style-based GANs.

What a notebook needs is here by name and is imported on first use; everything else is imported from its own module.

>>> G = stylegan.load_generator("demo")
>>> images = torch.stack(list(stylegan.sample(G, range(8), stylegan.Sampling(truncation_psi=0.7))))
>>> stylegan.image_grid(images, columns=4)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers, the same as in _OFFERED
    from stylegan.assemble import train as train
    from stylegan.data.loader import open_dataset as open_dataset
    from stylegan.figures.pixels import image_grid as image_grid
    from stylegan.inference import Sampling as Sampling
    from stylegan.inference import load as load
    from stylegan.inference import load_generator as load_generator
    from stylegan.inference import locate as locate
    from stylegan.inference import render as render
    from stylegan.inference import sample as sample
    from stylegan.inference import sample_ws as sample_ws
    from stylegan.interop.latents import read_latents as read_latents
    from stylegan.metrics.evaluate import evaluate as evaluate
    from stylegan.training.config import TrainConfig as TrainConfig

__version__ = "0.1.0"

# Name -> module. `import stylegan.errors` must not pay for importing torch.
_OFFERED = {
    "Sampling": "stylegan.inference",
    "TrainConfig": "stylegan.training.config",
    "evaluate": "stylegan.metrics.evaluate",
    "image_grid": "stylegan.figures.pixels",
    "load": "stylegan.inference",
    "load_generator": "stylegan.inference",
    "locate": "stylegan.inference",
    "open_dataset": "stylegan.data.loader",
    "read_latents": "stylegan.interop.latents",
    "render": "stylegan.inference",
    "sample": "stylegan.inference",
    "sample_ws": "stylegan.inference",
    "train": "stylegan.assemble",
}


def __getattr__(name: str) -> Any:
    if name not in _OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_OFFERED[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_OFFERED})

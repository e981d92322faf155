"""Train, sample and share style-based GANs.

`stylegan.load_generator(path)` loads a network; everything else is imported from its own module.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stylegan.inference import load_generator as load_generator

__all__ = ["load_generator"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Resolved on first use: `import stylegan.errors` must not pay for importing torch.
    if name == "load_generator":
        from stylegan.inference import load_generator

        return load_generator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

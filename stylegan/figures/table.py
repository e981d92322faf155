"""All figures by name: Hydra's group `figure`, the help page and what is refused follow from this table."""

from stylegan.figures.base import Figure
from stylegan.figures.equivariance import Equivariance
from stylegan.figures.grid import Grid
from stylegan.figures.images import Images
from stylegan.figures.scanline import Scanline

FIGURES: dict[str, type[Figure]] = {
    "equivariance": Equivariance,
    "grid": Grid,
    "images": Images,
    "scanline": Scanline,
}

"""All figures by name: Hydra's group `figure`, the help page and what is refused follow from this table."""

from stylegan.figures.attributes import Attributes
from stylegan.figures.base import Figure
from stylegan.figures.blend import Blend
from stylegan.figures.curves import Curves
from stylegan.figures.drag import Drag
from stylegan.figures.edit import Edit
from stylegan.figures.equivariance import Equivariance
from stylegan.figures.grid import Grid
from stylegan.figures.images import Images
from stylegan.figures.interpolation import Interpolation
from stylegan.figures.layers import Layers
from stylegan.figures.mixing import Mixing
from stylegan.figures.noise import Noise
from stylegan.figures.progress import Progress
from stylegan.figures.projection import Projection
from stylegan.figures.scanline import Scanline
from stylegan.figures.spectrum import Spectrum
from stylegan.figures.truncation import Truncation

FIGURES: dict[str, type[Figure]] = {
    "attributes": Attributes,
    "blend": Blend,
    "curves": Curves,
    "drag": Drag,
    "edit": Edit,
    "equivariance": Equivariance,
    "grid": Grid,
    "images": Images,
    "interpolation": Interpolation,
    "layers": Layers,
    "mixing": Mixing,
    "noise": Noise,
    "progress": Progress,
    "projection": Projection,
    "scanline": Scanline,
    "spectrum": Spectrum,
    "truncation": Truncation,
}

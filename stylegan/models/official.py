"""ProGAN and StyleGAN as their official code for TensorFlow writes them down."""
from dataclasses import dataclass
from stylegan.models.adapter import Adapter, Foreign
LOD = "lod"
@dataclass(frozen=True)
class OfficialLayout(Adapter):
    pass

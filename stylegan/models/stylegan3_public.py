"""StyleGAN3 as its public tools write it down."""

from stylegan.models.adapter import PublicLayout
from stylegan.models.stylegan2_public import AVERAGE, CHANNELS, IGNORED, LARGEST, LAYERS
from stylegan.models.stylegan3 import StyleGAN3Config

_SAME = (
    *(*CHANNELS, "num_layers", "num_critical", "first_cutoff", "first_stopband", "last_stopband_rel", "margin_size"),
    *("conv_kernel", "filter_size", "lrelu_upsampling", "conv_clamp", "magnitude_ema_beta", "output_scale"),
)

GENERATOR = PublicLayout(
    kind=StyleGAN3Config.kind,
    architecture="StyleGAN3",
    marker="synthesis.input.freqs",
    class_name="training.networks_stylegan3.Generator",
    options={name: name for name in _SAME} | {"use_radial_filters": "radial_filters"},
    mapping={**LAYERS, AVERAGE: AVERAGE},
    ignored=IGNORED,
    counted={"num_layers": r"synthesis\.L.*\.affine\.weight"},
    attributes=("conv_clamp", "magnitude_ema_beta"),
    # Of the filters, which are computed when a network is built.
    smallest={"first_cutoff": 0.5, "first_stopband": 0.5},
    largest={**LARGEST, "filter_size": 64, "lrelu_upsampling": 16},
)

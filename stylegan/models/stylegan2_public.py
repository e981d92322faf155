"""StyleGAN2 as the public StyleGAN2-ADA and StyleGAN3 tools write it down."""

from stylegan.models.adapter import PublicLayout
from stylegan.models.discriminator import DiscriminatorConfig
from stylegan.models.stylegan2 import StyleGAN2Config

AVERAGE = "w_avg_beta"  # of the generator's alone: the class of the discriminator gives its mapping network one itself
LAYERS = {name: name for name in ("num_layers", "lr_multiplier")}
SIZES = {"layer_features": "hidden_dim", "embed_features": "embed_dim"}
CHANNELS = ("channel_base", "channel_max")
IGNORED = frozenset(
    {
        *("num_fp16_res", "resample_filter", "fp16_channels_last", "fused_modconv_default", "freeze_layers"),
        *("use_noise", "activation", "num_ws"),
    }
)
LARGEST = {"img_resolution": 4096}

GENERATOR = PublicLayout(
    kind=StyleGAN2Config.kind,
    architecture="StyleGAN2",
    marker="synthesis.b4.const",
    class_name="training.networks_stylegan2.Generator",
    options={name: name for name in (*CHANNELS, "architecture", "conv_clamp")},
    mapping={**LAYERS, **SIZES, AVERAGE: AVERAGE},
    ignored=IGNORED,
    absent={"conv_clamp": None},  # StyleGAN2-ADA has none by default, and wrote down those it had
    attributes=("architecture", "conv_clamp"),
    largest=LARGEST,
)

_STATISTICS = {"mbstd_group_size": "minibatch_std_group", "mbstd_num_channels": "minibatch_std_channels"}
DISCRIMINATOR = PublicLayout(
    kind=DiscriminatorConfig.kind,
    architecture="StyleGAN2",
    marker="b4.out.weight",
    class_name="training.networks_stylegan2.Discriminator",
    options={name: name for name in (*CHANNELS, "architecture", "conv_clamp", "cmap_dim")} | _STATISTICS,
    mapping={**LAYERS, **SIZES},
    sizes=(),
    nested={"epilogue_kwargs": tuple(_STATISTICS), "block_kwargs": ("freeze_layers",)},
    ignored=IGNORED | {AVERAGE},
    written={"freeze_layers": "freeze_layers"},
    unclamped=("b4.fromrgb.",),
    absent={"conv_clamp": None},
    attributes=("architecture", "conv_clamp"),
    modules={"MinibatchStdLayer": {"group_size": "mbstd_group_size", "num_channels": "mbstd_num_channels"}},
    largest=LARGEST,
)

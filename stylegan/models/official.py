"""ProGAN (2018) and StyleGAN (2019) as their official code for TensorFlow writes them down.

The variables of a network tell nearly all of its options; arguments of the function that built it tell the rest, and have to
agree with them.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from stylegan.errors import UnreadableError
from stylegan.models import progan, stylegan1
from stylegan.models.adapter import LARGEST_OPTION, Adapter, Foreign
from stylegan.models.progan import ProGANConfig, ProGANDiscriminatorConfig
from stylegan.models.progressive import BLUR, TensorFlowName, by_our_names, discriminator_names
from stylegan.models.stylegan1 import FUSED_FROM, StyleGAN1Config, StyleGAN1DiscriminatorConfig

# Variables that are no weights: to how many powers of two below full size the network had grown; the first counts.
_LODS = ("lod", "G_synthesis/lod")
_MOST_LEVELS = 12
_SIZES = ("num_channels", "resolution", "label_size", "fmap_base", "fmap_max")
_COMMON: dict[str, Any] = {"fmap_decay": 1, "use_wscale": True, "dtype": "float32"}
_LRELU = {"nonlinearity": "lrelu"}
_BLUR = {"blur_filter": BLUR}
# Arguments that say how a graph is made of the weights, or how they are trained.
_IGNORED = {
    *("structure", "is_template_graph", "force_clean_graph", "is_training", "is_validation", "randomize_noise"),
    *("truncation_psi", "truncation_cutoff", "truncation_psi_val", "truncation_cutoff_val", "style_mixing_prob"),
    "dlatent_broadcast",
}
Options = Mapping[str, Any]
Variables = Mapping[str, Tensor]
Shapes = list[tuple[int, int]]


@dataclass(frozen=True)
class Told:
    """What variables and arguments tell of a network, beside the sizes of its blocks.

    Attributes:
        c_dim: Size of the labels.
        config: Our options.
        names: Of all its variables.
        arguments: What the variables say of arguments.
    """

    c_dim: int
    config: dict[str, Any]
    names: Iterable[TensorFlowName]
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OfficialLayout(Adapter):
    """From a network of the official code to ours. The names of its variables follow that of the function that builds it: the
    `marker`, as in `G_paper/4x4/Dense/weight`.

    Attributes:
        image_layers: What the names of the layers from or to images begin with.
        read: Arguments of that function that count, beside sizes.
        fixed: Those that our networks have at one value only.
    """

    image_layers: str
    read: tuple[str, ...]
    fixed: Mapping[str, Any]

    def recognises(self, tensors: Mapping[str, Tensor]) -> bool:
        """See `Adapter`."""
        return any(name.partition("/")[0] == self.marker for name in tensors)

    def to_ours(self, foreign: Foreign) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """See `Adapter`."""
        options = foreign.options
        variables = {name.removeprefix(f"{self.marker}/"): tensor for name, tensor in foreign.tensors.items()}
        lods = [variables.pop(name) for name in _LODS if name in variables]
        self._check(options)
        widths, channels = self._image_layers(variables)
        shapes = [(4 * 2**i,) * 2 for i in range(len(widths))]
        told, side = self.told(variables, options, shapes), shapes[-1][0]
        for name, found in {**told.arguments, "resolution": side, "num_channels": channels}.items():
            if options.get(name) not in (None, found):
                raise UnreadableError(f"is built with {name}={options[name]}, but its variables are those of {found}")
        names = list(told.names)
        _check_variables(names, variables)
        base, most = _whole(options, "fmap_base"), _whole(options, "fmap_max")
        sizes = {"channel_base": 2 * base if base else widths[-1] * side, "channel_max": most or max(widths)}
        shape = {"resolution": [side, side], "channels": channels, "c_dim": told.c_dim}
        stage = _stage(lods[0], shapes) if lods else {}
        return {"kind": self.kind, "config": sizes | told.config, **shape, **stage}, by_our_names(names, variables)

    @abstractmethod
    def told(self, variables: Variables, options: Options, shapes: Shapes) -> Told:
        """What variables and arguments say of a network whose blocks work at (H, W), smallest first."""

    def _check(self, options: Options) -> None:
        for name, value in options.items():
            if name in self.fixed:
                if value != self.fixed[name]:
                    raise UnreadableError(f"is built with {name}={value}, where ours has {self.fixed[name]}")
            elif name not in {*_SIZES, *self.read, *_IGNORED}:
                raise UnreadableError(f"is built with the argument {name[:60]!r}, which our {self.kind} does not have")

    def _image_layers(self, variables: Variables) -> tuple[list[int], int]:
        """The feature maps at every resolution, smallest first, and the channels of images."""
        weights = []
        while f"{self.image_layers}_lod{len(weights)}/weight" in variables and len(weights) < _MOST_LEVELS:
            weights.append(_variable(variables, f"{self.image_layers}_lod{len(weights)}/weight", 4))
        if not weights:
            raise UnreadableError(f"lacks {self.image_layers}_lod0/weight")
        inputs, outputs = weights[0].shape[2:]
        of_D = self.image_layers == "FromRGB"
        return [weight.shape[3 if of_D else 2] for weight in reversed(weights)], inputs if of_D else outputs


class _ProGANGenerator(OfficialLayout):
    def told(self, variables: Variables, options: Options, shapes: Shapes) -> Told:
        c_dim = _whole(options, "label_size") or 0
        z_dim = _variable(variables, "4x4/Dense/weight", 2).shape[0] - c_dim
        fused = len(shapes) == 1 or "8x8/Conv0_up/weight" in variables
        arguments = {"latent_size": z_dim} | ({"fused_scale": fused} if len(shapes) > 1 else {})
        return Told(c_dim, {"z_dim": z_dim}, progan.generator_names(shapes, fused=fused), arguments)


class _ProGANDiscriminator(OfficialLayout):
    def told(self, variables: Variables, options: Options, shapes: Shapes) -> Told:
        c_dim = _variable(variables, "4x4/Dense1/weight", 2).shape[1] - 1
        pool_last = "8x8/Conv1/weight" in variables
        config = {"pool_last": pool_last, "minibatch_std_group": options.get("mbstd_group_size", 4)}
        arguments = {"label_size": c_dim} | ({"fused_scale": not pool_last} if len(shapes) > 1 else {})
        return Told(c_dim, config, discriminator_names(shapes, pool_last=pool_last), arguments)


class _StyleGANGenerator(OfficialLayout):
    def told(self, variables: Variables, options: Options, shapes: Shapes) -> Told:
        (w_dim,) = _variable(variables, "dlatent_avg", 1).shape
        z_dim, hidden = _variable(variables, "G_mapping/Dense0/weight", 2).shape
        c_dim, layers = 0, 0
        if "G_mapping/LabelConcat/weight" in variables:
            c_dim, z_dim = _variable(variables, "G_mapping/LabelConcat/weight", 2).shape
        while f"G_mapping/Dense{layers}/weight" in variables:
            layers += 1
        mapping = {"num_layers": layers, "hidden_dim": None if hidden == w_dim else hidden}
        mapping["lr_multiplier"] = options.get("mapping_lrmul", 0.01)
        beta = options.get("dlatent_avg_beta", 0.995)
        mapping["w_avg_beta"] = 1 if beta is None else beta  # None: it stays as it is
        fused_from = {"auto": FUSED_FROM, True: 0, False: LARGEST_OPTION}.get(options.get("fused_scale", "auto"))
        if fused_from is None:
            raise UnreadableError(f"is built with fused_scale={options['fused_scale']}; known are auto, True and False")
        names = stylegan1.generator_names(shapes, layers=layers, labels=c_dim > 0, fused_from=fused_from)
        arguments = {"latent_size": z_dim, "dlatent_size": w_dim, "label_size": c_dim, "mapping_layers": layers}
        arguments |= {"mapping_fmaps": hidden} if layers > 1 else {}
        return Told(c_dim, {"z_dim": z_dim, "w_dim": w_dim, "mapping": mapping}, names, arguments)


class _StyleGANDiscriminator(OfficialLayout):
    def told(self, variables: Variables, options: Options, shapes: Shapes) -> Told:
        outputs = _variable(variables, "4x4/Dense1/weight", 2).shape[1]
        c_dim = _whole(options, "label_size")  # 0 and 1 look alike
        c_dim = c_dim if c_dim is not None else outputs if outputs > 1 else 0
        return Told(c_dim, {"minibatch_std_group": options.get("mbstd_group_size", 4)}, discriminator_names(shapes))


ALL: tuple[OfficialLayout, ...] = (
    _ProGANGenerator(
        *(ProGANConfig.kind, "ProGAN", "G_paper", "ToRGB"),
        read=("latent_size", "fused_scale"),
        fixed=_COMMON
        | {"normalize_latents": True, "use_pixelnorm": True, "pixelnorm_epsilon": 1e-8, "use_leakyrelu": True},
    ),
    _ProGANDiscriminator(
        *(ProGANDiscriminatorConfig.kind, "ProGAN", "D_paper", "FromRGB"),
        read=("mbstd_group_size", "fused_scale"),
        fixed=_COMMON,
    ),
    _StyleGANGenerator(
        *(StyleGAN1Config.kind, "StyleGAN", "G_style", "G_synthesis/ToRGB"),
        read=(
            *("latent_size", "dlatent_size", "mapping_layers", "mapping_fmaps", "mapping_lrmul", "dlatent_avg_beta"),
            "fused_scale",
        ),
        fixed=_COMMON
        | _LRELU
        | _BLUR
        | {"mapping_nonlinearity": "lrelu", "normalize_latents": True, "use_styles": True, "const_input_layer": True}
        | {"use_noise": True, "use_pixel_norm": False, "use_instance_norm": True},
    ),
    _StyleGANDiscriminator(
        *(StyleGAN1DiscriminatorConfig.kind, "StyleGAN", "D_basic", "FromRGB"),
        read=("mbstd_group_size", "fused_scale"),
        fixed=_COMMON | _LRELU | _BLUR | {"mbstd_num_features": 1},
    ),
)


def _stage(lod: Tensor, shapes: Shapes) -> dict[str, Any]:
    """How far a network has grown, as `model_metadata` writes it; nothing for one that has grown to its end."""
    if lod.numel() != 1 or not 0 <= (at := float(lod)) < len(shapes):
        raise UnreadableError(f"has a lod that is no number from 0 (full size) to {len(shapes) - 1}")
    halved, alpha = int(at), 1 - at % 1
    return {"stage": {"resolution": list(shapes[-1 - halved]), "alpha": alpha}} if halved or alpha < 1 else {}


def _check_variables(names: Iterable[TensorFlowName], variables: Variables) -> None:
    known = set[str]()
    for name, layout, _ in names:
        _variable(variables, name, layout.dimensions)
        known.add(name)
    for name in variables:
        if name not in known:
            raise UnreadableError(f"holds a variable {name[:100]} that its architecture does not have")


def _variable(variables: Variables, name: str, dimensions: int) -> Tensor:
    if name not in variables:
        raise UnreadableError(f"lacks the variable {name}")
    tensor = variables[name]
    if tensor.ndim != dimensions or tensor.numel() == 0:
        raise UnreadableError(f"holds {name} of shape {list(tensor.shape)[:8]}, not of {dimensions} dimensions")
    return tensor


def _whole(options: Options, name: str) -> int | None:
    """An argument that is a size; None where it is not given."""
    value = options.get(name)
    if value is not None and not (type(value) is int and 0 <= value <= LARGEST_OPTION):
        raise UnreadableError(f"is built with {name}={value}, which is no size of a network")
    return value

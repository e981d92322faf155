"""Networks of the public StyleGAN2-ADA and StyleGAN3 tools, to and from ours.

Parameters and buffers have the same names there and here. What differs is how an architecture is written down: there as the
arguments of constructors and as attributes of modules, here as a configuration. Attributes count more than arguments, since
defaults changed between versions of those tools.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from stylegan.interop.fill import build_and_fill
from stylegan.interop.pickled import ModuleRecord, TensorRecord
from stylegan.interop.unpickle import UnreadableError
from stylegan.models.build import model_metadata

DEEPEST = 16  # modules within modules; published networks have 4 levels
MOST_MODULES = 10_000
LARGEST_OPTION = 2**20
LONGEST_NAME = 100
# Of StyleGAN3's filters, which are computed when a network is built.
_SMALLEST = {"first_cutoff": 0.5, "first_stopband": 0.5}
_LARGEST = {"filter_size": 64, "lrelu_upsampling": 16, "img_resolution": 4096}

# The order in which constructors take what is not named.
_ARGUMENTS = {
    "Generator": ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs", "synthesis_kwargs"),
    "Discriminator": (
        *("c_dim", "img_resolution", "img_channels", "architecture", "channel_base", "channel_max", "num_fp16_res"),
        *("conv_clamp", "cmap_dim", "block_kwargs", "mapping_kwargs", "epilogue_kwargs"),
    ),
    "SynthesisNetwork": ("w_dim", "img_resolution", "img_channels", "channel_base", "channel_max"),
    "MappingNetwork": ("z_dim", "c_dim", "w_dim", "num_ws"),
}
# Arguments that say nothing of the weights' meaning, or are found among the tensors.
_IGNORED = {
    "num_fp16_res",
    "resample_filter",
    "fp16_channels_last",
    "fused_modconv_default",
    "freeze_layers",
    "use_noise",
}
_IGNORED |= {"activation", "num_ws", "embed_features"}
_DIMENSIONS = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")
_CHANNELS = ("channel_base", "channel_max")
_OPTIONS = {
    "stylegan2": {name: name for name in (*_CHANNELS, "architecture", "conv_clamp")},
    "stylegan3": {
        **{name: name for name in (*_CHANNELS, "num_layers", "num_critical", "first_cutoff", "first_stopband")},
        **{
            name: name
            for name in ("last_stopband_rel", "margin_size", "conv_kernel", "filter_size", "lrelu_upsampling")
        },
        **{name: name for name in ("conv_clamp", "magnitude_ema_beta", "output_scale")},
        "use_radial_filters": "radial_filters",
    },
    "stylegan2_discriminator": {
        **{name: name for name in (*_CHANNELS, "architecture", "conv_clamp", "cmap_dim")},
        "mbstd_group_size": "minibatch_std_group",
        "mbstd_num_channels": "minibatch_std_channels",
    },
}
_MAPPING = {name: name for name in ("num_layers", "lr_multiplier", "w_avg_beta")} | {"layer_features": "hidden_dim"}
_CLASSES = {
    "stylegan2": "training.networks_stylegan2.Generator",
    "stylegan3": "training.networks_stylegan3.Generator",
    "stylegan2_discriminator": "training.networks_stylegan2.Discriminator",
}


@dataclass
class PublicNetwork:
    """A network as the public tools describe it.

    Attributes:
        tensors: Its parameters and buffers by name.
        options: Its constructor's arguments, flat but for `mapping_kwargs`.
    """

    tensors: dict[str, Tensor]
    options: dict[str, Any] = field(default_factory=dict)


def network_from_record(record: ModuleRecord) -> nn.Module:
    """The network that a pickle's record describes, with its weights.

    Raises:
        UnreadableError: It is of no known architecture, or a parameter or buffer does not match; names the first.
    """
    return build(_describe(record))


def build(public: PublicNetwork) -> nn.Module:
    """Our network for a public description, with its weights; raises `UnreadableError` as `network_from_record`."""
    return build_and_fill(_metadata(public), public.tensors)


def describe(network: nn.Module) -> PublicNetwork:
    """One of our networks as the public tools would describe it. Tensors are those of the network, not copies.

    Raises:
        UnreadableError: They could not build it: their images are square, with a side that is a power of two.
    """
    meta = model_metadata(network)
    height, width = meta["resolution"]
    if height != width or height & (height - 1):
        raise UnreadableError(
            f"makes images of {height}x{width} (HxW); the public tools know only squares of 2^k pixels"
        )
    kind, config = meta["kind"], meta["config"]
    options = {theirs: config[ours] for theirs, ours in _OPTIONS[kind].items()}
    mapping = {theirs: config["mapping"][ours] for theirs, ours in _MAPPING.items()}
    common = {"c_dim": meta["c_dim"], "img_resolution": height, "img_channels": meta["channels"]}
    reduced = 0 if config["precision"] == "fp32" else config["reduced_blocks"]
    if kind == "stylegan2_discriminator":
        statistics = {name: options.pop(name) for name in ("mbstd_group_size", "mbstd_num_channels")}
        options |= {"epilogue_kwargs": statistics, "block_kwargs": {"freeze_layers": config["freeze_layers"]}}
        mapping["w_avg_beta"] = None
    else:
        common = {"z_dim": config["z_dim"], "w_dim": config["w_dim"], **common}
        if kind == "stylegan3" and mapping.pop("layer_features") is not None:
            raise UnreadableError("has a mapping network with hidden_dim, which the public StyleGAN3 does not")
    options = {"class_name": _CLASSES[kind], **common, **options, "mapping_kwargs": mapping, "num_fp16_res": reduced}
    return PublicNetwork(dict(network.state_dict()), options)


def _describe(record: ModuleRecord) -> PublicNetwork:
    modules = _modules(record)
    tensors: dict[str, Tensor] = {}
    for path, module in modules.items():
        activation = _scalar(module.state.get("activation", "lrelu"), "activation")
        if activation not in ("lrelu", "linear"):
            raise UnreadableError(f"has {path or 'a network'} with the activation {activation!r}")
        skipped = module.state.get("_non_persistent_buffers_set")
        for name, tensor in (module.part("_parameters") | module.part("_buffers")).items():
            if tensor is None or (isinstance(skipped, set) and name in skipped):
                continue
            if not isinstance(tensor, TensorRecord):
                raise UnreadableError(f"holds {path}{_name(name)} as a {type(tensor).__name__}, not as a tensor")
            tensors[f"{path}{_name(name)}"] = tensor.tensor()
    options = _named(record)
    for nested in ("synthesis_kwargs", "block_kwargs", "epilogue_kwargs"):
        options |= _dict(options.pop(nested, None), nested)
    mapping = _dict(options.pop("mapping_kwargs", None), "mapping_kwargs")
    if "synthesis." in modules:
        options |= _named(modules["synthesis."])
    options |= {name: record.state[name] for name in _DIMENSIONS if name in record.state}
    if "mapping." in modules:
        mapping |= _named(modules["mapping."])
        mapping |= {
            name: modules["mapping."].state[name] for name in ("w_avg_beta",) if name in modules["mapping."].state
        }
    for path, module in modules.items():
        if path.startswith("mapping.fc") and "bias_gain" in module.state:
            mapping["lr_multiplier"] = module.state["bias_gain"]
        if module.class_name == "MinibatchStdLayer":
            options["mbstd_group_size"] = module.state.get("group_size")
            options["mbstd_num_channels"] = module.state.get("num_channels")
    # What bypasses the layers is linear and not clamped.
    options |= _common(module for path, module in modules.items() if not path.endswith("skip."))
    return PublicNetwork(tensors, options | {"mapping_kwargs": mapping})


def _common(modules: Iterable[ModuleRecord]) -> dict[str, Any]:
    """Attributes that all layers have to agree in, since our networks have one option for all of them."""
    found: dict[str, Any] = {}
    for module in modules:
        for name in ("architecture", "conv_clamp", "magnitude_ema_beta"):
            if name in module.state:
                value = _scalar(module.state[name], name)
                if (first := found.setdefault(name, value)) != value or type(first) is not type(value):
                    raise UnreadableError(f"has layers of different {name}")
    return found


def _modules(record: ModuleRecord) -> dict[str, ModuleRecord]:
    """All modules of a network by path, each path ending in a dot; that of the network itself is empty."""
    found = {"": record}
    level = [("", record)]
    for _ in range(DEEPEST):
        level = [
            (f"{path}{_name(name)}.", module)
            for path, outer in level
            for name, module in outer.part("_modules").items()
            if isinstance(module, ModuleRecord)
        ]
        if len(found) + len(level) > MOST_MODULES:
            break
        found |= dict(level)
        if not level:
            return found
    raise UnreadableError(f"has more modules within modules than any network: over {DEEPEST} levels or {MOST_MODULES}")


def _named(record: ModuleRecord) -> dict[str, Any]:
    """The arguments with which a module was made, by name."""
    given, order = record.state.get("_init_args"), _ARGUMENTS.get(record.class_name, ())
    given = given if isinstance(given, tuple) else ()
    if len(given) > len(order):
        raise UnreadableError(f"made a {record.class_name[:40]} with {len(given)} unnamed arguments")
    return dict(zip(order, given, strict=False)) | _dict(record.state.get("_init_kwargs"), "_init_kwargs")


def _name(name: Any) -> str:
    """The name of a part of a module, which becomes part of many paths."""
    if not isinstance(name, str) or len(name) > LONGEST_NAME:
        raise UnreadableError(f"has a part whose name is no text of up to {LONGEST_NAME} characters")
    return name


def _scalar(value: Any, name: str) -> Any:
    """A value that is cheap to compare and to show: containers that share their parts can be endless to walk through."""
    if (
        value is not None
        and not isinstance(value, bool | int | float)
        and not (isinstance(value, str) and len(value) < 100)
    ):
        raise UnreadableError(f"holds a network whose {name[:60]} is a {type(value).__name__}")
    return value


def _dict(value: Any, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UnreadableError(f"has {name} that are no arguments by name")
    return dict(value)


def _metadata(public: PublicNetwork) -> dict[str, Any]:
    """The architecture as `stylegan.models.build` writes it. What tensors say counts more than options."""
    options, tensors = _dict(public.options, "arguments"), public.tensors
    options.pop("class_name", None)
    for nested in ("block_kwargs", "epilogue_kwargs"):
        options |= _dict(options.pop(nested, None), nested)
    mapping = _dict(options.pop("mapping_kwargs", None), "mapping_kwargs")
    kind = _kind(tensors)
    dimensions = {name: _scalar(options.pop(name, None), name) for name in _DIMENSIONS}
    config = _translate(options, _OPTIONS[kind], kind)
    config["mapping"] = _translate(mapping, _MAPPING, f"{kind}.mapping", also=_DIMENSIONS)
    config["mapping"] = {name: value for name, value in config["mapping"].items() if value is not None}
    if layers := sum(name.startswith("mapping.fc") and name.endswith(".weight") for name in tensors):
        config["mapping"]["num_layers"] = layers
    if kind != "stylegan2_discriminator":
        config |= {name: dimensions[name] for name in ("z_dim", "w_dim")}
    if kind != "stylegan3":
        config.setdefault("conv_clamp", None)  # StyleGAN2-ADA has none by default, and wrote down those it had
    else:
        config["num_layers"] = (
            sum(name.startswith("synthesis.L") and name.endswith(".affine.weight") for name in tensors) - 1
        )
    reduced = options.get("num_fp16_res", 0)
    config["reduced_blocks"] = reduced if type(reduced) is int and 0 < reduced <= LARGEST_OPTION else 4
    _check_numbers(config)
    for name, value in dimensions.items():
        if name in ("z_dim", "w_dim") and kind == "stylegan2_discriminator":
            continue
        if type(value) is not int or not (name != "c_dim") <= value <= _LARGEST.get(name, LARGEST_OPTION):
            raise UnreadableError(f"holds a network with {name}={value}, which is out of range")
    side, channels = dimensions["img_resolution"], dimensions["img_channels"]
    shape = {"resolution": [side, side], "channels": channels, "c_dim": dimensions["c_dim"]}
    return {"kind": kind, "config": config, **shape}


def _kind(tensors: Mapping[str, Tensor]) -> str:
    """StyleGAN2 and StyleGAN3 share the names of their classes; what they hold tells them apart."""
    if "synthesis.input.freqs" in tensors:
        return "stylegan3"
    if "synthesis.b4.const" in tensors:
        return "stylegan2"
    if "b4.out.weight" in tensors:
        return "stylegan2_discriminator"
    some = ", ".join(name[:60] for name in list(tensors)[:3]) or "nothing"
    raise UnreadableError(f"holds a network that is neither StyleGAN2 nor StyleGAN3 (its tensors: {some}, ...)")


def _translate(
    options: Mapping[str, Any], names: Mapping[str, str], kind: str, also: Iterable[str] = ()
) -> dict[str, Any]:
    known = set(names) | _IGNORED | set(also)
    for name in options:
        if name not in known:
            raise UnreadableError(f"holds a network with the option {name[:60]!r}, which our {kind} does not have")
    for name in ("use_noise", "activation"):
        if (value := _scalar(options.get(name, True), name)) not in (True, "lrelu"):
            raise UnreadableError(f"holds a network with {name}={value}, which our {kind} does not have")
    return {names[name]: _scalar(value, name) for name, value in options.items() if name in names}


def _check_numbers(config: Mapping[str, Any]) -> None:
    """Raise `UnreadableError` for numbers beyond those of any network, before anything is built by them."""
    for name, value in config.items():
        if isinstance(value, dict):
            _check_numbers(value)
        elif isinstance(value, int | float):
            smallest, largest = _SMALLEST.get(name, 0), _LARGEST.get(name, LARGEST_OPTION)
            if not (math.isfinite(value) and smallest <= value <= largest):
                raise UnreadableError(f"holds a network with {name}={value:.6g}, which is out of range")

"""Networks of the public StyleGAN2-ADA and StyleGAN3 tools, to and from ours.

What a pickle records of modules becomes arguments and tensors by name here; what these mean, `PublicLayout` says. Attributes
of modules count more than arguments, since defaults changed between versions of those tools.
"""

from typing import Any

import torch
from torch import Tensor

from stylegan.errors import UnreadableError
from stylegan.interop.adapters import adapter_for, public_layout, take_over
from stylegan.interop.fill import MOST_TENSORS, build_and_fill
from stylegan.interop.pickled import ModuleRecord, TensorRecord
from stylegan.interop.unpickle import Word
from stylegan.models import r3gan_public
from stylegan.models.adapter import Foreign, PublicLayout, named, scalar
from stylegan.models.base import Network
from stylegan.models.metadata import model_metadata

DEEPEST = 16  # modules within modules; published networks have 4 levels
MOST_MODULES = 10_000
LONGEST_NAME = 100
DIMENSIONS = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")
# The order in which constructors take what is not named.
ARGUMENTS = {
    "Generator": (*DIMENSIONS, "mapping_kwargs", "synthesis_kwargs"),
    "Discriminator": (
        *("c_dim", "img_resolution", "img_channels", "architecture", "channel_base", "channel_max", "num_fp16_res"),
        *("conv_clamp", "cmap_dim", "block_kwargs", "mapping_kwargs", "epilogue_kwargs"),
    ),
    "SynthesisNetwork": ("w_dim", "img_resolution", "img_channels", "channel_base", "channel_max"),
    "MappingNetwork": ("z_dim", "c_dim", "w_dim", "num_ws"),
}
NESTED = ("synthesis_kwargs", "block_kwargs", "epilogue_kwargs")


def network_from_record(record: ModuleRecord) -> Network:
    """The network that a pickle's record describes, with its weights.

    Raises:
        UnreadableError: It is of no known architecture, or a parameter or buffer does not match; names the first.
    """
    modules = _modules(record)
    tensors = _tensors(modules)
    if r3gan_public.PREFIX in modules:
        reduced = sum(_computes_in_bf16(module) for module in modules.values())
        return take_over(Foreign(tensors, {r3gan_public.REDUCED: reduced}), r3gan_public.PublicR3GAN)
    layout = adapter_for(tensors, PublicLayout)
    return build_and_fill(*layout.to_ours(Foreign(tensors, _options(record, modules, layout))))


def _computes_in_bf16(module: ModuleRecord) -> bool:
    """Of R3GAN: whether a stage says so of itself."""
    dtype = module.state.get("DataType")
    return isinstance(dtype, Word) and dtype.name == str(torch.bfloat16)


def describe(network: Network) -> Foreign:
    """One of our networks as the public tools would describe it. Tensors are those of the network, not copies.

    Raises:
        UnreadableError: They could not build it.
    """
    return public_layout(model_metadata(network)["kind"]).to_theirs(network)


def _tensors(modules: dict[str, ModuleRecord]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    entries = 0
    for path, module in modules.items():
        entries += len(module.part("_parameters")) + len(module.part("_buffers"))
        if entries > MOST_TENSORS:  # before they are walked through: they may be shared
            raise UnreadableError(f"has more than {MOST_TENSORS} tensors")
        activation = scalar(module.state.get("activation", "lrelu"), "activation")
        if activation not in ("lrelu", "linear"):
            raise UnreadableError(f"has {path or 'a network'} with the activation {activation!r}")
        skipped = module.state.get("_non_persistent_buffers_set")
        for name, tensor in (module.part("_parameters") | module.part("_buffers")).items():
            if tensor is None or (isinstance(skipped, set) and name in skipped):
                continue
            if not isinstance(tensor, TensorRecord):
                raise UnreadableError(f"holds {path}{_name(name)} as a {type(tensor).__name__}, not as a tensor")
            tensors[f"{path}{_name(name)}"] = tensor.tensor()
    return tensors


def _options(record: ModuleRecord, modules: dict[str, ModuleRecord], layout: PublicLayout) -> dict[str, Any]:
    """The arguments of the network's constructor, flat but for `mapping_kwargs`."""
    options = _arguments(record)
    for nested in NESTED:
        options |= named(options.pop(nested, None), nested)
    mapping = named(options.pop("mapping_kwargs", None), "mapping_kwargs")
    if "synthesis." in modules:
        options |= _arguments(modules["synthesis."])
    options |= {name: record.state[name] for name in DIMENSIONS if name in record.state}
    if "mapping." in modules:
        mapping |= _arguments(modules["mapping."])
        state = modules["mapping."].state
        mapping |= {name: state[name] for name in ("w_avg_beta",) if name in state}
    for path, module in modules.items():
        if path.startswith("mapping.fc") and "bias_gain" in module.state:
            mapping["lr_multiplier"] = module.state["bias_gain"]
        for attribute, argument in layout.modules.get(module.class_name, {}).items():
            options[argument] = module.state.get(attribute)
    return options | _common(modules, layout) | {"mapping_kwargs": mapping}


def _common(modules: dict[str, ModuleRecord], layout: PublicLayout) -> dict[str, Any]:
    """Attributes that all layers have to agree in, since our networks have one option for all of them."""
    found: dict[str, Any] = {}
    unclamped = ("skip.", *layout.unclamped)  # what bypasses the layers is linear and not clamped
    for path, module in modules.items():
        for name in layout.attributes:
            if name in module.state:
                value = scalar(module.state[name], name)
                if name == "conv_clamp" and path.endswith(unclamped):
                    if value is not None:
                        raise UnreadableError(f"has {path}{name}={value}, where our {layout.kind} has none")
                    continue
                if (first := found.setdefault(name, value)) != value or type(first) is not type(value):
                    raise UnreadableError(f"has layers of different {name}")
    return found


def _modules(record: ModuleRecord) -> dict[str, ModuleRecord]:
    """All modules of a network by path, each path ending in a dot; that of the network itself is empty."""
    found = {"": record}
    level = [("", record)]
    for _ in range(DEEPEST):
        inner: list[tuple[str, ModuleRecord]] = []
        for path, outer in level:
            parts = outer.part("_modules")
            if (
                len(found) + len(inner) + len(parts) > MOST_MODULES
            ):  # before they are counted one by one: they may be shared
                raise UnreadableError(f"has more modules within modules than any network: over {MOST_MODULES}")
            inner += [
                (f"{path}{_name(name)}.", module) for name, module in parts.items() if isinstance(module, ModuleRecord)
            ]
        level = inner
        found |= dict(level)
        if not level:
            return found
    raise UnreadableError(f"has more modules within modules than any network: over {DEEPEST} levels")


def _arguments(record: ModuleRecord) -> dict[str, Any]:
    """The arguments with which a module was made, by name."""
    given, order = record.state.get("_init_args"), ARGUMENTS.get(record.class_name, ())
    given = given if isinstance(given, tuple) else ()
    if len(given) > len(order):
        raise UnreadableError(f"made a {record.class_name[:40]} with {len(given)} unnamed arguments")
    return dict(zip(order, given, strict=False)) | named(record.state.get("_init_kwargs"), "_init_kwargs")


def _name(name: Any) -> str:
    """The name of a part of a module, which becomes part of many paths."""
    if not isinstance(name, str) or len(name) > LONGEST_NAME:
        raise UnreadableError(f"has a part whose name is no text of up to {LONGEST_NAME} characters")
    return name

"""What takes over networks of other projects: an adapter stands beside an architecture and knows names and options there.

Files are read elsewhere (`stylegan.interop`), where the list of all adapters is, too.
"""

import math
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from torch import Tensor

from stylegan.errors import UnreadableError
from stylegan.models.base import Network
from stylegan.models.layers import channel_base_of
from stylegan.models.metadata import model_metadata

LARGEST_OPTION = 2**20


@dataclass
class Foreign:
    """A network as another project describes it.

    Attributes:
        tensors: Its parameters and buffers, by their names there.
        options: What else is known of it: for the public StyleGAN tools its constructor's arguments, flat but for
            `mapping_kwargs`.
        name: What it is called in its file.
    """

    tensors: dict[str, Tensor]
    options: dict[str, Any] = field(default_factory=dict)
    name: str = ""


@dataclass(frozen=True)
class Adapter:
    """From one project's way to hold networks of one architecture to ours.

    Attributes:
        kind: Our name of the architecture.
        architecture: Its name for people.
        marker: A tensor that all such networks hold, and no others.
    """

    kind: str
    architecture: str
    marker: str

    def recognises(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether these are such a network's, by name."""
        return self.marker in tensors

    @abstractmethod
    def to_ours(self, foreign: Foreign) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The architecture as `model_metadata` writes it, and the tensors by our names.

        Raises:
            UnreadableError: It is not what it seems to be; names the first thing that does not fit.
        """


@dataclass(frozen=True)
class PublicLayout(Adapter):
    """How the public StyleGAN2-ADA and StyleGAN3 tools write a network down, both ways.

    Parameters and buffers have the same names there and here. What differs is how an architecture is described: there as the
    arguments of constructors and as attributes of modules, here as a configuration.

    Attributes:
        class_name: The class there.
        options: Our options by the names of arguments there.
        mapping: The same for the mapping network.
        sizes: Which arguments, beside those of `_SHAPE`, are sizes that we have as options of the same name.
        nested: Arguments that stand in dictionaries there, by the name of the dictionary.
        ignored: Arguments there that say nothing of the weights' meaning, or are found among the tensors.
        written: Options that are written, but not taken over.
        absent: Our options where a file says nothing of them.
        counted: Our options that tensors tell: so many names match, less one.
        attributes: Names of attributes of layers that are arguments of the network: all layers agree in them.
        unclamped: Layers without a clamp whatever the others have, beside those that bypass others (`skip.`): ends of paths.
        modules: Arguments by attributes of one module, by its class there.
        smallest, largest: Bounds of numbers from which something is computed before tensors are compared.
    """

    class_name: str
    options: Mapping[str, str]
    mapping: Mapping[str, str]
    sizes: tuple[str, ...] = ("z_dim", "w_dim")
    nested: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    written: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, Any] = field(default_factory=dict)
    counted: Mapping[str, str] = field(default_factory=dict)
    attributes: tuple[str, ...] = ("conv_clamp",)
    unclamped: tuple[str, ...] = ()
    modules: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    smallest: Mapping[str, float] = field(default_factory=dict)
    largest: Mapping[str, float] = field(default_factory=dict)

    def to_ours(self, foreign: Foreign) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """See `Adapter`. What tensors say counts more than options."""
        options, tensors = named(foreign.options, "arguments"), foreign.tensors
        options.pop("class_name", None)
        mapping = named(options.pop("mapping_kwargs", None), "mapping_kwargs")
        for nested in self.nested:
            options |= named(options.pop(nested, None), nested)
        dimensions = {name: scalar(options.pop(name, None), name) for name in _DIMENSIONS}
        config = {**self.absent, **self._translated(options, self.options, self.kind)}
        found = self._translated(mapping, self.mapping, f"{self.kind}.mapping", also=_DIMENSIONS)
        config["mapping"] = {name: value for name, value in found.items() if value is not None}
        if layers := _count(tensors, r"mapping\.fc.*\.weight"):
            config["mapping"]["num_layers"] = layers
        config |= {ours: _count(tensors, pattern) - 1 for ours, pattern in self.counted.items()}
        reduced = options.get("num_fp16_res", 0)
        config["reduced_blocks"] = reduced if type(reduced) is int and 0 < reduced <= LARGEST_OPTION else 4
        self._check_numbers(config)
        for name in (*self.sizes, *_SHAPE):
            value, most = dimensions[name], self.largest.get(name, LARGEST_OPTION)
            if type(value) is not int or not (name != "c_dim") <= value <= most:
                raise UnreadableError(f"holds a network with {name}={value}, which is out of range")
        config |= {name: dimensions[name] for name in self.sizes}
        side = dimensions["img_resolution"]
        shape = {"resolution": [side, side], "channels": dimensions["img_channels"], "c_dim": dimensions["c_dim"]}
        return {"kind": self.kind, "config": config, **shape}, tensors

    def to_theirs(self, network: Network) -> Foreign:
        """One of our networks as those tools would describe it. Tensors are those of the network, not copies.

        Raises:
            UnreadableError: They could not build it: their images are square, with a side that is a power of two, and some
                options are ours alone.
        """
        meta = model_metadata(network)
        height, width = meta["resolution"]
        if height != width or height & (height - 1):
            raise UnreadableError(
                f"makes images of {height}x{width} (HxW); the public tools know only squares of 2^k pixels"
            )
        _check_translatable(network.config, {*self.options.values(), *self.sizes, *self.counted})
        _check_translatable(network.config.mapping, {*self.mapping.values(), "num_layers"}, "mapping.")
        config = meta["config"]
        config["channel_base"] = channel_base_of(config["channel_base"], network.resolution)
        options = {theirs: config[ours] for theirs, ours in {**self.options, **self.written}.items()}
        options |= {name: {key: options.pop(key) for key in keys} for name, keys in self.nested.items()}
        mapping = {theirs: config["mapping"][ours] for theirs, ours in self.mapping.items()}
        sizes = {name: config[name] for name in self.sizes}
        shape = {"c_dim": meta["c_dim"], "img_resolution": height, "img_channels": meta["channels"]}
        reduced = 0 if config["precision"] == "fp32" else config["reduced_blocks"]
        described = {"class_name": self.class_name, **sizes, **shape, **options, "num_fp16_res": reduced}
        return Foreign(dict(network.state_dict()), described | {"mapping_kwargs": mapping})

    def _translated(
        self, options: Mapping[str, Any], names: Mapping[str, str], kind: str, also: Iterable[str] = ()
    ) -> dict[str, Any]:
        known = {*names, *self.ignored, *also}
        for name in options:
            if name not in known:
                raise UnreadableError(f"holds a network with the option {name[:60]!r}, which our {kind} does not have")
        for name in ("use_noise", "activation"):
            if (value := scalar(options.get(name, True), name)) not in (True, "lrelu"):
                raise UnreadableError(f"holds a network with {name}={value}, which our {kind} does not have")
        return {names[name]: scalar(value, name) for name, value in options.items() if name in names}

    def _check_numbers(self, config: Mapping[str, Any]) -> None:
        """Raise `UnreadableError` for numbers beyond those of any network, before anything is built by them."""
        for name, value in config.items():
            if isinstance(value, dict):
                self._check_numbers(value)
            elif isinstance(value, int | float):
                smallest, largest = self.smallest.get(name, 0), self.largest.get(name, LARGEST_OPTION)
                if not (math.isfinite(value) and smallest <= value <= largest):
                    raise UnreadableError(f"holds a network with {name}={value:.6g}, which is out of range")


_SHAPE = ("c_dim", "img_resolution", "img_channels")
_DIMENSIONS = ("z_dim", "w_dim", *_SHAPE)


def _check_translatable(config: Any, translated: set[str], where: str = "") -> None:
    """Raise `UnreadableError` for an option that weights depend on, is not as usual, and has no name there."""
    usual = type(config)()
    for f in fields(config):
        value = getattr(config, f.name)
        if f.name in translated or "weights" in f.metadata or is_dataclass(value):
            continue
        if value != getattr(usual, f.name):
            raise UnreadableError(f"has {where}{f.name}={value}, which the public tools do not have")


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in tensors)


def scalar(value: Any, name: str) -> Any:
    """A value that is cheap to compare and to show: containers that share their parts can be endless to walk through."""
    short = isinstance(value, str) and len(value) < 100
    if value is not None and not isinstance(value, bool | int | float) and not short:
        raise UnreadableError(f"holds a network whose {name[:60]} is a {type(value).__name__}")
    return value


def named(value: Any, name: str) -> dict[str, Any]:
    """Arguments by name; None is none of them."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UnreadableError(f"has {name} that are no arguments by name")
    return dict(value)

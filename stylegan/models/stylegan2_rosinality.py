"""StyleGAN2 as the implementation by rosinality (GitHub: rosinality/stylegan2-pytorch) holds it.

Both implementations compute the same function, with the same scaled weights, the same order of convolution, noise, bias and
activation, and no bound on activations. Layers are numbered there through all resolutions; weights of modulated convolutions
have a leading axis of one; the taps of up-sampling filters are stored times their gain of four (two per axis).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stylegan.errors import UnreadableError
from stylegan.models.adapter import Adapter, Foreign
from stylegan.models.discriminator import DiscriminatorConfig
from stylegan.models.stylegan2 import StyleGAN2Config

LATENT_AVG = "latent_avg"  # option: the mean of w, where a file holds it
LARGEST = 12  # log2 of the resolution
UP_GAIN = 4
Translated = tuple[dict[str, Any], dict[str, Tensor]]


@dataclass(frozen=True)
class _Generator(Adapter):
    def to_ours(self, foreign: Foreign) -> Translated:
        """See `Adapter`; without `LATENT_AVG` the mean of w is zero."""
        return _generator(_Tensors(foreign), foreign.options.get(LATENT_AVG))


@dataclass(frozen=True)
class _Discriminator(Adapter):
    def to_ours(self, foreign: Foreign) -> Translated:
        return _discriminator(_Tensors(foreign))


GENERATOR = _Generator(StyleGAN2Config.kind, "StyleGAN2", "input.input")
DISCRIMINATOR = _Discriminator(DiscriminatorConfig.kind, "StyleGAN2", "final_linear.0.weight")


class _Tensors:
    """A state_dict of which every tensor is to be taken once."""

    def __init__(self, foreign: Foreign):
        self.name, self.left = foreign.name, dict(foreign.tensors)

    def take(self, key: str, *, dimensions: int | None = None) -> Tensor:
        if key not in self.left:
            raise UnreadableError(f"lacks {self.name}.{key}")
        tensor = self.left.pop(key)
        if tensor.numel() == 0:
            raise UnreadableError(f"holds {self.name}.{key} of shape {list(tensor.shape)}, without numbers")
        if dimensions is not None and tensor.ndim != dimensions:
            raise UnreadableError(f"holds {self.name}.{key} with {tensor.ndim} dimensions instead of {dimensions}")
        return tensor

    def count(self, pattern: str) -> int:
        return sum(re.fullmatch(pattern, key) is not None for key in self.left)

    def check_all_taken(self) -> None:
        if self.left:
            raise UnreadableError(f"holds {self.name}.{next(iter(self.left))[:100]}, which our StyleGAN2 does not have")


def _generator(tensors: _Tensors, mean: Tensor | None) -> Translated:
    const = tensors.take("input.input", dimensions=4)[0]
    if const.shape[1:] != (4, 4):
        raise UnreadableError(f"holds {tensors.name}.input.input of shape {list(const.shape)} instead of [C, 4, 4]")
    levels, layers = 2 + tensors.count(r"to_rgbs\.\d+\.bias"), tensors.count(r"style\.\d+\.weight")
    blocks = [f"b{2**level}" for level in range(2, levels + 1)]
    state: dict[str, Tensor] = {"synthesis.b4.const": const}
    for i in range(layers):
        for part in ("weight", "bias"):
            state[f"mapping.fc{i}.{part}"] = tensors.take(
                f"style.{i + 1}.{part}", dimensions=2 if part == "weight" else 1
            )
    filters = _up_filters(tensors, blocks)
    for ours, theirs, noise in _styled_layers(blocks):
        state |= _styled(tensors, f"synthesis.{ours}", theirs)
        state[f"synthesis.{ours}.noise_const"] = tensors.take(f"noises.noise_{noise}", dimensions=4)[0, 0]
        up = tensors.take(f"{theirs}.conv.blur.kernel", dimensions=2) / UP_GAIN if ours.endswith("conv0") else None
        # A layer that does not resample has a filter there that it does not use.
        state[f"synthesis.{ours}.resample_filter"] = filters["b4"] if up is None else up
    for i, block in enumerate(blocks):
        theirs = f"to_rgbs.{i - 1}" if i else "to_rgb1"
        state |= _modulated(tensors, f"synthesis.{block}.torgb", f"{theirs}.conv")
        state[f"synthesis.{block}.torgb.bias"] = tensors.take(f"{theirs}.bias").flatten()
        state[f"synthesis.{block}.resample_filter"] = filters[block]
    tensors.check_all_taken()
    last = state[f"synthesis.{blocks[-1]}.torgb.weight"]
    z_dim = w_dim = _axis(state, "mapping.fc0.weight", 1)
    config = {"z_dim": z_dim, "w_dim": w_dim, "mapping": {"num_layers": layers}, "architecture": "skip"}
    config |= {"channel_base": last.shape[1] * 2**levels, "channel_max": const.shape[0]}
    state["mapping.w_avg"] = torch.zeros(w_dim) if mean is None else mean.flatten()
    return _metadata(StyleGAN2Config.kind, config, levels, channels=last.shape[0]), state


def _discriminator(tensors: _Tensors) -> Translated:
    levels = 2 + tensors.count(r"convs\.\d+\.conv1\.0\.weight")
    blocks = [f"b{2**level}" for level in range(levels, 1, -1)]
    first, smallest = blocks[0], blocks[-1]
    state: dict[str, Tensor] = {}
    state |= _convolution(tensors, f"{first}.fromrgb", "convs.0", 0)
    for i, block in enumerate(blocks[:-1], start=1):
        state |= _convolution(tensors, f"{block}.conv0", f"convs.{i}.conv1", 0)
        state |= _convolution(tensors, f"{block}.conv1", f"convs.{i}.conv2", 1)
        state |= {f"{block}.skip.weight": tensors.take(f"convs.{i}.skip.1.weight", dimensions=4)}
        for ours, theirs in (("conv1", "conv2"), ("skip", "skip")):
            state[f"{block}.{ours}.resample_filter"] = tensors.take(f"convs.{i}.{theirs}.0.kernel", dimensions=2)
        unused = state[f"{block}.skip.resample_filter"]
        state |= {f"{block}.resample_filter": unused, f"{block}.conv0.resample_filter": unused}
    state |= _convolution(tensors, f"{smallest}.conv", "final_conv", 0)
    for ours, theirs in (("fc", "final_linear.0"), ("out", "final_linear.1")):
        state |= {f"{smallest}.{ours}.{part}": tensors.take(f"{theirs}.{part}") for part in ("weight", "bias")}
    if levels < 3:
        raise UnreadableError(f"holds {tensors.name} without blocks")
    unused = state[f"{first}.skip.resample_filter"]
    state |= {f"{first}.fromrgb.resample_filter": unused, f"{smallest}.conv.resample_filter": unused}
    tensors.check_all_taken()
    width, channels = _axis(state, f"{first}.fromrgb.weight", 0), _axis(state, f"{first}.fromrgb.weight", 1)
    # Groups of 4 images and one feature map: that project does not store them.
    config = {"architecture": "resnet", "minibatch_std_group": 4, "minibatch_std_channels": 1}
    config |= {"channel_base": width * 2**levels, "channel_max": _axis(state, f"{smallest}.conv.weight", 0)}
    return _metadata(DiscriminatorConfig.kind, config, levels, channels=channels), state


def _styled_layers(blocks: list[str]) -> Iterator[tuple[str, str, int]]:
    """Our name, theirs and the number of the noise of every layer with noise, in order."""
    yield "b4.conv1", "conv1", 0
    for i, block in enumerate(blocks[1:]):
        yield f"{block}.conv0", f"convs.{2 * i}", 2 * i + 1
        yield f"{block}.conv1", f"convs.{2 * i + 1}", 2 * i + 2


def _up_filters(tensors: _Tensors, blocks: list[str]) -> dict[str, Tensor]:
    """Filters by which images are doubled; the first block, which doubles none, holds that of the next."""
    if len(blocks) < 2:
        raise UnreadableError(f"holds {tensors.name} without to_rgbs")
    found = {
        block: tensors.take(f"to_rgbs.{i}.upsample.kernel", dimensions=2) / UP_GAIN
        for i, block in enumerate(blocks[1:])
    }
    return {"b4": found[blocks[1]], **found}


def _styled(tensors: _Tensors, ours: str, theirs: str) -> dict[str, Tensor]:
    """A modulated convolution with noise and activation."""
    strength = tensors.take(f"{theirs}.noise.weight")
    if strength.numel() != 1:
        raise UnreadableError(
            f"holds {tensors.name}.{theirs}.noise.weight of shape {list(strength.shape)} instead of [1]"
        )
    return {
        **_modulated(tensors, ours, f"{theirs}.conv"),
        f"{ours}.noise_strength": strength.reshape([]),
        f"{ours}.bias": tensors.take(f"{theirs}.activate.bias").flatten(),
    }


def _modulated(tensors: _Tensors, ours: str, theirs: str) -> dict[str, Tensor]:
    return {
        f"{ours}.weight": tensors.take(f"{theirs}.weight", dimensions=5)[0],
        f"{ours}.affine.weight": tensors.take(f"{theirs}.modulation.weight", dimensions=2),
        f"{ours}.affine.bias": tensors.take(f"{theirs}.modulation.bias", dimensions=1),
    }


def _convolution(tensors: _Tensors, ours: str, theirs: str, position: int) -> dict[str, Tensor]:
    """A convolution and its activation, which holds the bias; `position` counts the blur before it."""
    return {
        f"{ours}.weight": tensors.take(f"{theirs}.{position}.weight", dimensions=4),
        f"{ours}.bias": tensors.take(f"{theirs}.{position + 1}.bias").flatten(),
    }


def _metadata(kind: str, config: dict[str, Any], levels: int, *, channels: int) -> dict[str, Any]:
    """The architecture. Its widths follow from the largest resolution's: channel_base / side, at most those at 4x4."""
    if levels > LARGEST:
        raise UnreadableError(f"holds a network of {levels - 1} resolutions; the largest has {LARGEST - 1}")
    config = {**config, "conv_clamp": None}
    return {"kind": kind, "config": config, "resolution": [2**levels] * 2, "channels": channels, "c_dim": 0}


def _axis(state: Mapping[str, Tensor], name: str, axis: int) -> int:
    if name not in state:
        raise UnreadableError(f"lacks the tensor that is {name} here")
    return state[name].shape[axis]

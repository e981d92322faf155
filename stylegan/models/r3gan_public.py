"""R3GAN as its public code writes it down: names of tensors and options, there and here."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stylegan.errors import UnreadableError
from stylegan.models.adapter import Adapter, Foreign
from stylegan.models.layers import RESAMPLE_FILTER
from stylegan.models.r3gan import R3GANConfig, R3GANDiscriminatorConfig
from stylegan.ops.upfirdn2d import setup_filter

PREFIX = "Model."  # of all that a pickled network holds: its class wraps the one that computes
REDUCED = "reduced_blocks"  # in `Foreign.options`: how many stages compute in bf16
_TO_RGB, _FROM_RGB = "AggregationLayer.Layer.weight", "ExtractionLayer.Layer.weight"
_OUTSIDE = {"EmbeddingLayer.weight": "embed", _TO_RGB: "torgb", _FROM_RGB: "fromrgb"}
_OUTERMOST = {"Basis": "basis", "Basis.weight": "basis", "LinearLayer.weight": "linear.weight"}
_BLOCK = re.compile(r"(LinearLayer|NonLinearity)([1-3])\.(Layer\.weight|Bias)")
_KERNEL = "Resampler.Kernel"
_MOST_STAGES = 16


@dataclass(frozen=True)
class PublicR3GAN(Adapter):
    """From the public code's tensors, which tell all of its options, to ours."""

    def to_ours(self, foreign: Foreign) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """See `Adapter`."""
        tensors = {name.removeprefix(PREFIX): tensor for name, tensor in foreign.tensors.items()}
        is_G = _TO_RGB in tensors
        layers = [re.match(r"MainLayers\.([0-9]{1,2})\.Layers\.([0-9]{1,2})\.", name) for name in tensors]
        places = {(int(match[1]), int(match[2])) for match in layers if match is not None}
        count, blocks = (1 + max((place[i] for place in places), default=-1) for i in (0, 1))
        blocks -= 1  # and a transition
        if not (0 < count <= _MOST_STAGES and blocks > 0 and len(places) == count * (blocks + 1)):
            raise UnreadableError("holds an R3GAN network whose stages are not all alike")
        stages = [_sizes(tensors, i, int(is_G)) for i in range(count)]
        widths, inside, grouped = zip(*(stages if is_G else stages[::-1]), strict=True)
        expansion = inside[0] // widths[0]
        if any(a != expansion * b or a % c for a, b, c in zip(inside, widths, grouped, strict=True)):
            raise UnreadableError("holds an R3GAN network whose blocks are not all widened alike")
        for name, tensor in tensors.items():
            if name.endswith(_KERNEL) and not _is_ours(tensor):
                raise UnreadableError(f"holds an R3GAN network whose {name[:60]} is not that of {RESAMPLE_FILTER}")
        embed = tensors.get("EmbeddingLayer.weight")
        c_dim = 0 if embed is None else _matrix(embed, "EmbeddingLayer.weight")[1]
        config: dict[str, Any] = _widths(widths, [a // b for a, b in zip(inside, grouped, strict=True)], grouped)
        config |= {"blocks": blocks, "expansion": expansion}
        config["c_embed_dim"] = None if embed is None else embed.shape[0]
        if reduced := foreign.options.get(REDUCED, 0):
            config |= {"precision": "bf16", REDUCED: reduced}
        if is_G:
            inputs = _matrix(_tensor(tensors, "MainLayers.0.Layers.0.LinearLayer.weight"), "first LinearLayer")[1]
            config["z_dim"] = inputs - (config["c_embed_dim"] or 0)
        side, colours = 4 * 2 ** (count - 1), _tensor(tensors, _TO_RGB if is_G else _FROM_RGB)
        shape = {"resolution": [side, side], "channels": colours.shape[0 if is_G else 1], "c_dim": c_dim}
        names = [f"b{4 * 2**i}" for i in range(count)]
        ours = our_names(tensors, names if is_G else names[::-1], [blocks] * count)
        return {"kind": self.kind, "config": config, **shape}, ours


GENERATOR = PublicR3GAN(R3GANConfig.kind, "R3GAN", PREFIX + _TO_RGB)
DISCRIMINATOR = PublicR3GAN(R3GANDiscriminatorConfig.kind, "R3GAN", PREFIX + _FROM_RGB)


def our_names(tensors: Mapping[str, Tensor], names: Sequence[str], blocks: Sequence[int]) -> dict[str, Tensor]:
    """The parameters of a public network by our names; its resampling kernels, which we do not keep, are left out.

    Args:
        tensors: By their names there. G's stages begin with their transition, D's end with it.
        names: Of our stages, in their order there.
        blocks: Of every stage.

    Raises:
        UnreadableError: A tensor that no R3GAN network has.
    """
    upwards, ours = _TO_RGB in tensors, dict[str, Tensor]()
    for theirs, tensor in tensors.items():
        if theirs.endswith(_KERNEL):
            continue
        name = _OUTSIDE.get(theirs) or _within_stage(theirs, names, blocks, upwards)
        if name is None:
            raise UnreadableError(f"holds a tensor {theirs[:80]}, which an R3GAN network does not have")
        ours[name] = tensor
    return ours


def _within_stage(theirs: str, names: Sequence[str], blocks: Sequence[int], upwards: bool) -> str | None:
    match = re.fullmatch(r"MainLayers\.([0-9]{1,2})\.Layers\.([0-9]{1,2})\.(.+)", theirs)
    if match is None or int(match[1]) >= len(names):
        return None
    stage, layer, rest = int(match[1]), int(match[2]), match[3]
    if layer == (0 if upwards else blocks[stage]):
        return _OUTERMOST.get(rest) or (f"{names[stage]}.transition" if rest == "LinearLayer.Layer.weight" else None)
    block, found = layer - upwards, _BLOCK.fullmatch(rest)
    if found is None or (found[1] == "NonLinearity") != (found[3] == "Bias"):
        return None
    return f"{names[stage]}.block{block}.{'bias' if found[3] == 'Bias' else 'weight'}{found[2]}"


def _sizes(tensors: Mapping[str, Tensor], stage: int, first: int) -> tuple[int, int, int]:
    """Of a stage: its width, that inside of its blocks, and the maps that a 3x3 convolution sees together."""
    start = f"MainLayers.{stage}.Layers.{first}.LinearLayer"
    (inside, width), (_, grouped) = (_tensor(tensors, f"{start}{i}.Layer.weight").shape[:2] for i in (1, 2))
    if not (width and inside and grouped):
        raise UnreadableError(f"holds an R3GAN network whose {start}1 is empty")
    return width, inside, grouped


def _tensor(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors or tensors[name].ndim < 2:
        raise UnreadableError(f"holds an R3GAN network without {name}")
    return tensors[name]


def _matrix(tensor: Tensor, name: str) -> torch.Size:
    if tensor.ndim != 2:
        raise UnreadableError(f"holds an R3GAN network whose {name} is no matrix")
    return tensor.shape


def _widths(widths: Sequence[int], groups: Sequence[int], grouped: Sequence[int]) -> dict[str, Any]:
    """The options that give these widths, smallest stage first: by their rule where they follow it."""
    most, base = max(widths), widths[-1] * 4 * 2 ** (len(widths) - 1)
    regular = all(width == min(base // (4 * 2**i), most) for i, width in enumerate(widths))
    found: dict[str, Any] = {"channel_base": base, "channel_max": most} if regular else {}
    found |= {} if regular else {"widths": ",".join(map(str, widths))}
    alike = len(set(grouped)) == 1
    return found | ({"group_width": grouped[0]} if alike else {"groups": ",".join(map(str, groups))})


def _is_ours(kernel: Tensor) -> bool:
    taps = setup_filter(RESAMPLE_FILTER).float()
    ours = taps if taps.ndim == 2 else taps.outer(taps)
    return kernel.shape == ours.shape and torch.allclose(kernel.float(), ours, atol=1e-6)

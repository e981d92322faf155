"""R3GAN as its public code writes it down: names of tensors there and here."""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from stylegan.errors import UnreadableError

_OUTSIDE = {
    "EmbeddingLayer.weight": "embed",
    "AggregationLayer.Layer.weight": "torgb",
    "ExtractionLayer.Layer.weight": "fromrgb",
}
_BLOCK = re.compile(r"(LinearLayer|NonLinearity)([1-3])\.(Layer\.weight|Bias)")
KERNEL = "Resampler.Kernel"


def our_names(tensors: Mapping[str, Tensor], names: Sequence[str], blocks: Sequence[int]) -> dict[str, Tensor]:
    """The parameters of a public network by our names; its resampling kernels, which we do not keep, are left out.

    Args:
        tensors: By their names there. G's stages begin with their transition, D's end with it.
        names: Of our stages, in their order there.
        blocks: Of every stage.

    Raises:
        UnreadableError: A tensor that no R3GAN network has.
    """
    upwards, ours = "AggregationLayer.Layer.weight" in tensors, dict[str, Tensor]()
    for theirs, tensor in tensors.items():
        if theirs.endswith(KERNEL):
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
        outermost = {"Basis": "basis", "Basis.weight": "basis", "LinearLayer.weight": "linear.weight"}
        return outermost.get(rest) or (f"{names[stage]}.transition" if rest == "LinearLayer.Layer.weight" else None)
    block, found = layer - upwards, _BLOCK.fullmatch(rest)
    if found is None or (found[1] == "NonLinearity") != (found[3] == "Bias"):
        return None
    return f"{names[stage]}.block{block}.{'bias' if found[3] == 'Bias' else 'weight'}{found[2]}"

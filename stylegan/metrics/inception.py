"""Inception-v3 as the papers' metrics use it: the TensorFlow graph of 2015-12-05, in torch-fidelity's names of tensors.

It differs from torchvision's in what batch statistics, padding and pooling do: averages leave the padding out, the last
block takes a maximum where the others average, there are 1008 classes, and images are enlarged as TensorFlow 1 did.
Szegedy et al. 2015, "Rethinking the inception architecture for computer vision".
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan.metrics.weights import Published

PUBLISHED = Published(
    "weights-inception-2015-12-05-6726825d.pth",
    "6726825d",
    source="release v0.2.0 of torch-fidelity on GitHub, converted from the TensorFlow weights",
)
SIDE = 299
FEATURES, CLASSES = 2048, 1008
Size = int | tuple[int, int]


class Convolution(nn.Module):
    """Convolution, batch normalisation, ReLU; padded to keep the size unless it strides or is told not to."""

    def __init__(self, inputs: int, outputs: int, size: Size, *, stride: int = 1, padded: bool = True):
        super().__init__()
        height, width = (size, size) if isinstance(size, int) else size
        padding = (height // 2, width // 2) if padded and stride == 1 else (0, 0)
        self.conv = nn.Conv2d(inputs, outputs, (height, width), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H', W']."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


# A path through a block: convolutions one after the other as (name, outputs, size, stride); a list at its end is two
# convolutions side by side.
Step = tuple[str, int, Size, int]
Path = Sequence[Step | list[Step]]


class Mixed(nn.Module):
    """Paths side by side, and a pooling path, with or without a convolution; their results are concatenated.

    Args:
        inputs: Channels of the input.
        paths: See above.
        pool: `average` (3x3, without the padding), `maximum` (3x3) or `halve` (3x3 maximum of stride 2).
        pool_outputs: Channels of the convolution after pooling; 0: none.
    """

    def __init__(self, inputs: int, paths: Sequence[Path], pool: str, pool_outputs: int):
        super().__init__()
        self.pool = pool
        self.paths: list[list[list[str]]] = []
        for path in paths:
            channels, names = inputs, []
            for step in path:
                side_by_side = step if isinstance(step, list) else [step]
                for name, outputs, size, stride in side_by_side:
                    self.add_module(name, Convolution(channels, outputs, size, stride=stride))
                names.append([name for name, *_ in side_by_side])
                channels = sum(outputs for _, outputs, *_ in side_by_side)
            self.paths.append(names)
        self.branch_pool = Convolution(inputs, pool_outputs, 1) if pool_outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, sum of outputs, H', W']."""
        results = []
        for path in self.paths:
            y = x
            for names in path:
                y = torch.cat([self.get_submodule(name)(y) for name in names], 1)
            results.append(y)
        match self.pool:
            case "average":
                y = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
            case "maximum":
                y = F.max_pool2d(x, 3, stride=1, padding=1)
            case _:
                y = F.max_pool2d(x, 3, stride=2)
        results.append(y if self.branch_pool is None else self.branch_pool(y))
        return torch.cat(results, 1)


def _chain(prefix: str, *steps: tuple[int, Size] | tuple[int, Size, int]) -> list[Step]:
    """Steps named prefix_1, prefix_2, ... from (outputs, size[, stride])."""
    return [(f"{prefix}_{i}", *step[:2], step[2] if len(step) == 3 else 1) for i, step in enumerate(steps, 1)]


def _block_35(inputs: int, pool_outputs: int) -> Mixed:
    paths: list[Path] = [
        [("branch1x1", 64, 1, 1)],
        _chain("branch5x5", (48, 1), (64, 5)),
        _chain("branch3x3dbl", (64, 1), (96, 3), (96, 3)),
    ]
    return Mixed(inputs, paths, "average", pool_outputs)


def _block_17(width: int) -> Mixed:
    along, across = (1, 7), (7, 1)
    paths: list[Path] = [
        [("branch1x1", 192, 1, 1)],
        _chain("branch7x7", (width, 1), (width, along), (192, across)),
        _chain("branch7x7dbl", (width, 1), (width, across), (width, along), (width, across), (192, along)),
    ]
    return Mixed(768, paths, "average", 192)


def _block_8(inputs: int, pool: str) -> Mixed:
    def fork(prefix: str) -> list[Step]:
        return [(f"{prefix}a", 384, (1, 3), 1), (f"{prefix}b", 384, (3, 1), 1)]

    paths: list[Path] = [
        [("branch1x1", 320, 1, 1)],
        [("branch3x3_1", 384, 1, 1), fork("branch3x3_2")],
        [*_chain("branch3x3dbl", (448, 1), (384, 3)), fork("branch3x3dbl_3")],
    ]
    return Mixed(inputs, paths, pool, 192)


class InceptionV3(nn.Module):
    """uint8 images [N, 3, H, W] of any size -> features [N, 2048] and logits without the bias [N, 1008].

    The inception score of the papers takes the logits without the bias of the last layer.
    """

    def __init__(self) -> None:
        super().__init__()
        halve_35: list[Path] = [
            [("branch3x3", 384, 3, 2)],
            _chain("branch3x3dbl", (64, 1), (96, 3), (96, 3, 2)),
        ]
        halve_17: list[Path] = [
            _chain("branch3x3", (192, 1), (320, 3, 2)),
            _chain("branch7x7x3", (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2)),
        ]
        stages: dict[str, nn.Module] = {
            "Conv2d_1a_3x3": Convolution(3, 32, 3, stride=2),
            "Conv2d_2a_3x3": Convolution(32, 32, 3, padded=False),
            "Conv2d_2b_3x3": Convolution(32, 64, 3),
            "MaxPool_1": nn.MaxPool2d(3, stride=2),
            "Conv2d_3b_1x1": Convolution(64, 80, 1),
            "Conv2d_4a_3x3": Convolution(80, 192, 3, padded=False),
            "MaxPool_2": nn.MaxPool2d(3, stride=2),
            "Mixed_5b": _block_35(192, 32),
            "Mixed_5c": _block_35(256, 64),
            "Mixed_5d": _block_35(288, 64),
            "Mixed_6a": Mixed(288, halve_35, "halve", 0),
            "Mixed_6b": _block_17(128),
            "Mixed_6c": _block_17(160),
            "Mixed_6d": _block_17(160),
            "Mixed_6e": _block_17(192),
            "Mixed_7a": Mixed(768, halve_17, "halve", 0),
            "Mixed_7b": _block_8(1280, "average"),
            "Mixed_7c": _block_8(2048, "maximum"),
        }
        self._stages = list(stages)
        for name, stage in stages.items():
            self.add_module(name, stage)
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        x = (enlarge_like_tensorflow(images.to(self.fc.weight.dtype), SIDE) - 128) / 128
        x = x.contiguous(memory_format=torch.channels_last)
        for name in self._stages:
            x = self.get_submodule(name)(x)
        features = x.mean((2, 3))
        return features, features @ self.fc.weight.T


def enlarge_like_tensorflow(x: Tensor, side: int) -> Tensor:
    """Scale [N, C, H, W] bilinearly to side x side as TensorFlow 1 did: output pixel i reads at i * H / side, without the
    half-pixel shift of today and without smoothing where it shrinks.
    """
    for axis in (2, 3):
        size = x.shape[axis]
        place = torch.arange(side, dtype=torch.float32, device=x.device) * torch.tensor(size / side, device=x.device)
        low = place.long()
        weight = (place - low).to(x.dtype).view([-1, 1] if axis == 2 else [-1])
        near, far = x.index_select(axis, low), x.index_select(axis, (low + 1).clamp(max=size - 1))
        x = near + (far - near) * weight
    return x

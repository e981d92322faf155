"""A small network that reads sex, age, ancestry and other attributes from a picture of a face.

It is trained on faces3d, whose labels are exact (`attribute_training.py`), and comes with the project. It is meant for pictures
of that kind; what it says about photographs of people was never measured and should not be asked.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from stylegan.errors import UserError
from stylegan.files import atomic_write, read_file, sha256, shipped
from stylegan.metrics.features import as_rgb

SHIPPED = "datasets/faces3d/attributes.safetensors"
KEY = "stylegan_attributes"
FORMAT = 1
LARGEST = 2**26  # bytes of a file; ours has 2 million
SIDE = 32  # pictures of another size are scaled to this one
WIDTHS = (32, 64, 96, 160)


@dataclass(frozen=True)
class Scalar:
    """An attribute that is one number.

    Attributes:
        name: As in the archive's metadata.
        low, high: Its range.
        unit: For people; empty for shares and degrees of something.
        split: Where its two sides part, for attributes that most people have or have not; None: there are none.
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    unit: str = ""
    split: float | None = None

    size = 1


@dataclass(frozen=True)
class Choice:
    """An attribute that is one of several words, or a mixture of them.

    Attributes:
        name: As in the archive's metadata, where it holds a word.
        values: The words. For a mixture they stand in the metadata as numbers, by name, that add up to 1.
        mixture: Whether it is one.
    """

    name: str
    values: tuple[str, ...]
    mixture: bool = False

    @property
    def size(self) -> int:
        """How many numbers of the network's output belong to it."""
        return len(self.values)


Attribute = Scalar | Choice
ATTRIBUTES: tuple[Attribute, ...] = (
    Scalar("sex", split=0.5),
    Scalar("age", 18, 80, "years"),
    Choice("ancestry", ("caucasian", "african", "asian"), mixture=True),
    Scalar("skin_tone"),
    Scalar("smile"),
    Scalar("yaw", -40, 40, "degrees"),
    Scalar("pitch", -15, 13, "degrees"),
    Scalar("hair_length"),
    Choice("hair_colour", ("black", "dark brown", "brown", "auburn", "red", "dark blond", "blond", "grey")),
    Scalar("beard", split=0.1),
    Scalar("glasses", split=0.5),
)
OUTPUTS = sum(attribute.size for attribute in ATTRIBUTES)


def places() -> dict[str, slice]:
    """Where each attribute stands in the network's output."""
    found, start = {}, 0
    for attribute in ATTRIBUTES:
        found[attribute.name] = slice(start, start + attribute.size)
        start += attribute.size
    return found


class AttributeNetwork(nn.Module):
    """uint8 images [N, C, H, W] of any size with 1, 3 or 4 channels -> logits [N, 20]; `read` makes attributes of them."""

    def __init__(self) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        channels = 3
        for i, width in enumerate(WIDTHS):
            stages += [_convolution(channels, width, 1 if i == 0 else 2), _Residual(width) if i == 2 else nn.Identity()]
            channels = width
        self.stages = nn.Sequential(*stages)
        self.out = nn.Linear(WIDTHS[-1], OUTPUTS)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        return self.logits(to_input(images).to(self.out.weight))

    def logits(self, x: Tensor) -> Tensor:
        """The same for images that `to_input` has prepared, float [N, 3, 32, 32]."""
        return self.out(self.stages(x.contiguous(memory_format=torch.channels_last)).mean((2, 3)))

    @torch.inference_mode()
    def read(self, images: Tensor) -> Tensor:
        """Attributes float32 [N, 20] on the CPU: numbers in their own units, probabilities of words; see `places`."""
        logits = self(images)
        parts = []
        for attribute, place in zip(ATTRIBUTES, places().values(), strict=True):
            part = logits[:, place]
            if isinstance(attribute, Scalar):
                parts.append(attribute.low + (attribute.high - attribute.low) * part.sigmoid())
            else:
                parts.append(part.softmax(1))
        return torch.cat(parts, 1).float().cpu()


def to_input(images: Tensor) -> Tensor:
    """uint8 images [N, C, H, W] as the network takes them: float32 [N, 3, 32, 32] in [-1, 1]."""
    x = as_rgb(images).float()
    if x.shape[2:] != (SIDE, SIDE):
        x = F.interpolate(x, size=(SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
    return x / 127.5 - 1


def label_table(labels: Sequence[Mapping[str, Any]], where: object) -> Tensor:
    """The attributes of faces as `AttributeNetwork.read` would give them were it perfect, float32 [N, 20].

    Args:
        labels: One table a face, as faces3d makes them.
        where: What they belong to, for messages.

    Raises:
        UserError: An attribute is missing or has another kind of value.
    """
    rows = []
    for label in labels:
        row: list[float] = []
        for attribute in ATTRIBUTES:
            try:
                row += _numbers(attribute, label)
            except (KeyError, ValueError, TypeError):
                raise UserError(
                    f"{where}: the attribute {attribute.name} is missing or unusable in {label}; attributes are read from "
                    "archives of faces3d: `stylegan prepare faces3d DEST` makes one"
                ) from None
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float32)


def save_attributes(path: Path, network: AttributeNetwork, about: Mapping[str, Any]) -> None:
    """Write the network as safetensors, with what is known about it as JSON. Raises `UserError` where that fails."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
    text = json.dumps({"format": FORMAT, "attributes": _schema(), **about}, sort_keys=True)
    atomic_write(path, save(tensors, metadata={KEY: text}))


def load_attributes(device: torch.device, given: Path | None = None) -> tuple[AttributeNetwork, str, dict[str, Any]]:
    """The network, the SHA-256 of its file, and what is known about it.

    Args:
        device: Where it computes.
        given: A file that `stylegan attributes --train` wrote; None: the one that comes with the project.

    Raises:
        UserError: There is none, or the file is something else.
    """
    path = given or shipped(SHIPPED)
    if not path.is_file():
        raise UserError(f"--weights attributes={path}: there is no such file; `stylegan attributes --train` makes one")
    network = AttributeNetwork()
    content = read_file(path, LARGEST, "network of attributes")
    try:
        tensors = load(content)
        about = json.loads(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"][KEY])
        known = (about["format"], about["attributes"]) == (FORMAT, _schema())
    except (SafetensorError, ValueError, LookupError, TypeError, RecursionError):
        known, about, tensors = False, {}, {}
    counters = {n: t for n, t in network.state_dict().items() if n.endswith("num_batches_tracked")}
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    if not known or {name: tensor.shape for name, tensor in (counters | tensors).items()} != shapes:
        raise UserError(
            f"{path} is not a network that reads these attributes; `stylegan attributes --train --data ZIP` makes one"
        )
    network.load_state_dict(counters | tensors)
    network = network.to(device).eval().requires_grad_(False)
    return network, sha256(path), about


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_convolution(width, width), _convolution(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _numbers(attribute: Attribute, label: Mapping[str, Any]) -> list[float]:
    if isinstance(attribute, Scalar):
        return [float(label[attribute.name])]
    if attribute.mixture:
        return [float(label[value]) for value in attribute.values]
    chosen = attribute.values.index(label[attribute.name])
    return [float(i == chosen) for i in range(attribute.size)]


def _schema() -> list[list[Any]]:
    """What the outputs mean, as JSON: a file with other outputs must not be taken for this one."""
    return [
        [a.name, a.low, a.high] if isinstance(a, Scalar) else [a.name, list(a.values), a.mixture] for a in ATTRIBUTES
    ]

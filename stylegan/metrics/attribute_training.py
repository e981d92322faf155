"""Training the network that reads attributes, and how well it does on faces that it has not seen."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from torch import Tensor

from stylegan.data.archive import ImageDataset
from stylegan.data.faces3d import render_faces
from stylegan.data.parallel import in_parallel
from stylegan.errors import UserError
from stylegan.files import atomic_path
from stylegan.metrics.attribute_network import (
    ATTRIBUTES,
    AttributeNetwork,
    Choice,
    Scalar,
    label_table,
    load_attributes,
    places,
    save_attributes,
    to_input,
)
from stylegan.rng import generator

BATCH = 64
HELD_OUT = 2000
LEARNING_RATE = 3e-3


@dataclass(frozen=True)
class TrainingOptions:
    """How the network is trained.

    Attributes:
        epochs: How often each image is seen.
        seed: Of weights, order and changes to images.
    """

    epochs: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UserError(f"--epochs {self.epochs}: it must be at least 1")


@dataclass(frozen=True)
class LabelledFaces:
    """Faces with their attributes.

    Attributes:
        images: As the network takes them, float32 [N, 3, 32, 32].
        labels: float32 [N, 20], see `label_table`.
    """

    images: Tensor
    labels: Tensor


def faces_of(dataset: ImageDataset) -> LabelledFaces:
    """All faces of an archive that holds their attributes.

    Raises:
        UserError: It does not hold them.
    """
    attributes = dataset.info.attributes
    if not attributes:
        raise UserError(
            f"{dataset.path} holds no attributes; `stylegan prepare faces3d DEST --resolution 32` makes an archive that does"
        )
    labels = label_table([attributes[row] for row in dataset.rows.tolist()], dataset.path)
    images = [to_input(batch) for batch in _batches(dataset)]
    return LabelledFaces(torch.cat(images), labels)


def held_out_faces(count: int = HELD_OUT, resolution: int = 32) -> LabelledFaces:
    """Faces of the split `test` of faces3d, which no archive for training holds."""
    parts = [range(start, min(start + 100, count)) for start in range(0, count, 100)]
    images: list[Tensor] = []
    attributes: list[dict[str, Any]] = []
    for part in track(parts, "rendering faces of the split test", console=Console(stderr=True), transient=True):
        rendered, known = render_faces(part, split="test", resolution=resolution)
        images.append(to_input(torch.from_numpy(rendered)))
        attributes += known
    return LabelledFaces(torch.cat(images), label_table(attributes, "faces3d"))


def train_attributes(faces: LabelledFaces, options: TrainingOptions) -> AttributeNetwork:
    """Train the network: AdamW with one cycle of the learning rate (Smith and Topin 2018, "Super-convergence")."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        network = AttributeNetwork()
    steps = max(len(faces.images) // BATCH, 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps * options.epochs)
    network.train()
    batches = _shuffled(faces, steps, options)
    for images, labels in track(
        batches, "training", steps * options.epochs, console=Console(stderr=True), transient=True
    ):
        optimizer.zero_grad()
        attribute_loss(network.logits(images), labels).backward()
        optimizer.step()
        schedule.step()
    return network.eval().requires_grad_(False)


def attribute_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of all attributes, a scalar; numbers count as probabilities of the high end of their range."""
    total = logits.new_zeros([])
    for attribute, place in zip(ATTRIBUTES, places().values(), strict=True):
        part, label = logits[:, place], labels[:, place]
        if isinstance(attribute, Scalar):
            target = ((label - attribute.low) / (attribute.high - attribute.low)).clamp(0, 1)
            total = total + F.binary_cross_entropy_with_logits(part, target)
        else:
            total = total + F.cross_entropy(part, label)
    return total


def accuracy(network: AttributeNetwork, faces: LabelledFaces) -> dict[str, dict[str, float]]:
    """How well attributes are read.

    Returns:
        By attribute: for numbers `error` (mean absolute, in its unit) and `correlation` with the truth (left out where that is
        the same for all); for words, mixtures and what most people have or have not `accuracy`, the share that is right.
    """
    read = torch.cat([_read(network, images) for images in faces.images.split(1000)])
    report: dict[str, dict[str, float]] = {}
    for attribute, place in zip(ATTRIBUTES, places().values(), strict=True):
        got, want = read[:, place], faces.labels[:, place]
        if isinstance(attribute, Choice):
            right = got.argmax(1) == want.argmax(1)
            report[attribute.name] = {"accuracy": float(right.double().mean())}
            continue
        numbers = {"error": float((got - want).abs().double().mean())}
        if float(want.std(correction=0)) > 0:
            numbers["correlation"] = float(torch.corrcoef(torch.cat([got, want], 1).T)[0, 1])
        if attribute.split is not None:
            numbers["accuracy"] = float(((got >= attribute.split) == (want >= attribute.split)).double().mean())
        report[attribute.name] = numbers
    return report


def _read(network: AttributeNetwork, images: Tensor) -> Tensor:
    return network.read(((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))


def _shuffled(faces: LabelledFaces, steps: int, options: TrainingOptions) -> Iterator[tuple[Tensor, Tensor]]:
    for epoch in range(options.epochs):
        random = generator(options.seed, "attributes", epoch)
        order = torch.randperm(len(faces.images), generator=random)
        for step in range(steps):
            chosen = order[step * BATCH : (step + 1) * BATCH]
            yield _changed(faces.images[chosen], faces.labels[chosen], random)


def _changed(images: Tensor, labels: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirrored half of the time, moved by up to 2 pixels, and with the faults of a generator's pictures: blurred, noisy, paler
    or darker. Generated faces are no renderings, and must be read all the same."""
    n = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand([n, 1, 1, 1], generator=random) * (high - low) + low

    mirrored = torch.rand([n], generator=random) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    labels = labels.clone()
    yaw = places()["yaw"]
    labels[mirrored, yaw] *= -1
    dx, dy = torch.randint(-2, 3, [2], generator=random).tolist()
    padded = F.pad(images, (2, 2, 2, 2), mode="replicate")
    images = padded[:, :, 2 + dy : 2 + dy + images.shape[2], 2 + dx : 2 + dx + images.shape[3]]
    soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    images = images.lerp(soft, uniform(-0.3, 0.8).clamp(min=0))
    images = images * uniform(0.9, 1.1) + uniform(-0.08, 0.08)
    noise = torch.randn(images.shape, generator=random) * uniform(-0.05, 0.1).clamp(min=0)
    return images + noise, labels


def _batches(dataset: ImageDataset) -> Iterator[Tensor]:
    pending: list[Tensor] = []
    for image, _ in in_parallel(dataset.__getitem__, range(len(dataset)), 0):
        pending.append(image)
        if len(pending) == 256:
            yield torch.stack(pending)
            pending = []
    if pending:
        yield torch.stack(pending)


def train_and_save(data: Path, out: Path, options: TrainingOptions) -> str:
    """Train on an archive, test on faces that are in none, write the weights.

    Returns:
        What was reached, for people.

    Raises:
        UserError: The archive holds no attributes, or `out` cannot be written.
    """
    if out.suffix != ".safetensors":
        raise UserError(f"--out {out}: give it a name that ends in .safetensors")
    dataset = ImageDataset(data)
    faces = faces_of(dataset)
    with atomic_path(out) as temporary:  # opened first: that it cannot be written is not to be found after the training
        network = train_attributes(faces, options)
        report = accuracy(network, held_out_faces())
        about = {
            "data": {"name": dataset.name, "content_hash": dataset.content_hash, "images": len(dataset)},
            "training": {"epochs": options.epochs, "seed": options.seed, "torch": str(torch.__version__)},
            "held_out": {n: {key: round(v, 4) for key, v in numbers.items()} for n, numbers in report.items()},
        }
        save_attributes(temporary, network, about)
    return f"{out}\non {HELD_OUT} faces of the split test, which no archive for training holds:\n{_lines(report)}"


def test_attributes(data: Path, weights: Path | None) -> str:
    """How well a network (None: the one that comes with the project) reads an archive of faces3d, for people.

    Raises:
        UserError: The archive holds no attributes, or the file is no such network.
    """
    network, _, _ = load_attributes(torch.device("cpu"), weights)
    faces = faces_of(ImageDataset(data))
    return f"on the {len(faces.images)} faces of {data}:\n{_lines(accuracy(network, faces))}"


def _lines(report: dict[str, dict[str, float]]) -> str:
    """The report of `accuracy` for people."""
    units = {attribute.name: attribute.unit for attribute in ATTRIBUTES if isinstance(attribute, Scalar)}
    formats = {"accuracy": "{:.1%} right", "error": "off by {:.3g} {unit}", "correlation": "correlation {:.3f}"}
    lines = []
    for name, numbers in report.items():
        texts = [formats[key].format(value, unit=units.get(name, "")).rstrip() for key, value in numbers.items()]
        lines.append(f"  {name:<12} {', '.join(texts)}")
    return "\n".join(lines)

"""Sending images past feature networks and collectors, once for all metrics, shared out over ranks batch by batch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from stylegan import distributed
from stylegan.data.archive import ImageDataset
from stylegan.data.parallel import in_parallel
from stylegan.inference import to_uint8
from stylegan.metrics.collect import Batch, Collector, Tensors, rank_starts
from stylegan.metrics.features import FeatureNetwork
from stylegan.metrics.metric import Drawn
from stylegan.models.base import Generator

Sampler = Callable[[int, range], Tensor]  # seed, which of its fakes -> uint8 [n, C, H, W]
ImageBatches = Iterator[tuple[int, Tensor]]  # the number of a batch's first image, and the batch


@dataclass(frozen=True)
class Want:
    """What some metric needs to be collected.

    Attributes:
        key: Names it; wants of equal keys are collected once.
        network: The feature network, or None.
        count: Only the images with numbers below this.
        collector: Makes an empty collector.
    """

    key: str
    network: FeatureNetwork | None
    count: int
    collector: Callable[[], Collector]


@torch.no_grad()
def collect(batches: ImageBatches, wants: Sequence[Want], device: torch.device) -> dict[str, Tensors]:
    """Take each image once, and give it to each feature network once.

    Args:
        batches: This rank's batches.
        wants: What is collected.
        device: Where images are shown to networks.

    Returns:
        By the wants' keys, the same on all ranks.
    """
    collectors = {want.key: want.collector() for want in wants}
    networks = {id(want.network): want.network for want in wants}
    nothing = torch.empty(0)
    for start, batch_of in batches:
        images = batch_of.to(device)
        for network in networks.values():
            using = [want for want in wants if want.network is network and want.count > start]
            if not using:
                continue
            features, logits = (nothing, nothing) if network is None else network(images)
            batch = Batch(start, images, features, logits)
            for want in using:
                collectors[want.key].add(batch.first(want.count))
    return {key: collector.reduce(device) for key, collector in collectors.items()}


def generated(sample: Sampler, count: int, batch: int, seed: int, advance: Callable[[int], None]) -> ImageBatches:
    """The fakes 0 .. count - 1 of a seed, this rank's share; each is a function of seed and number alone."""
    for start in rank_starts(count, batch):
        n = min(batch, count - start)
        yield start, sample(seed, range(start, start + n))
        advance(n)


def stored(dataset: ImageDataset, indices: Sequence[int], batch: int, advance: Callable[[int], None]) -> ImageBatches:
    """The images `indices` of an archive, in this order, this rank's share; threads decode them."""
    mine = [(start, i) for start in rank_starts(len(indices), batch) for i in indices[start : start + batch]]
    pending: list[Tensor] = []
    images = in_parallel(lambda item: dataset[item[1]][0], mine, 0)
    for place, ((start, _), image) in enumerate(zip(mine, images, strict=True)):
        pending.append(image)
        if place + 1 == len(mine) or mine[place + 1][0] != start:
            yield start, torch.stack(pending)
            advance(len(pending))
            pending = []


def sampler_of(G: Generator, labels: Tensor | None) -> Sampler:
    """A generator's pictures as the papers' metrics take them: no truncation, random layer noise, rounded to uint8.

    Args:
        G: In eval mode.
        labels: For a conditional network, the labels that are drawn from, float32 [M, c_dim]: those of the data set.
    """
    device = next(G.parameters()).device

    @torch.inference_mode()
    def sample(seed: int, indices: range) -> Tensor:
        drawn = Drawn(seed, "metrics/fakes", indices, device)
        c = None if labels is None else drawn.rows("c", labels)
        noise = drawn.normal("noise", G.noise_size)
        return to_uint8(G(drawn.normal("z", G.z_dim), c, noise_mode="random", noise=noise))

    return sample


@contextmanager
def progress_of(title: str, total: int, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """A bar on the first rank's terminal that vanishes at the end. Yields what to call with how many more are done.

    Args:
        title: What is being done.
        total: How many there are.
        shown: False: there is no bar.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    disable = not shown or not distributed.is_main() or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=disable) as bar:
        task = bar.add_task(title, total=total)
        ranks = distributed.world_size()
        yield lambda n: bar.advance(task, n * ranks)

"""Time loading: `python tests/bench/bench_loader.py [SIZE [COUNT [WORKERS ...]]]` (256 1000 1 2).

Makes an archive of COUNT smooth images of SIZE x SIZE in a temporary folder, and prints images per second: from the cache in
batches of the training's order, as it is and with mirror images; from the cache one by one; from the ZIP in the trainer
itself and with each number of WORKERS; and how fast this core copies memory of an image's size at the same moment, which no
loader that hands out copies can beat. One thread; the cache's figures are per second of the core's time, the workers' per
second on the clock.

As ratios, at 256x256 on two cores whose time and memory another training had most of: batches from the cache came at 0.6 to
0.9 of the speed of bare copying, about 70 times as fast as from the ZIP without workers; half mirrored at 0.45, one by one at
0.65. On an idle core: 42,000 images/s from the cache in batches, where C's memcpy of one image after another made 49,000, and
only reading them 77,000: a batch is about as fast as memory lets it be.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylegan.data.archive import ArchiveInfo, ImageDataset
from stylegan.data.cache import PixelCache, cache_of
from stylegan.data.convert import encode_png
from stylegan.data.loader import image_batches
from stylegan.data.writer import ArchiveWriter

BATCH = 32


def write_images(path: Path, size: int, count: int) -> None:
    """Pictures that compress about as photographs do: smooth shapes and a little noise."""
    random = np.random.default_rng(0)
    with ArchiveWriter(path, ArchiveInfo(name="bench")) as writer:
        for _ in range(count):
            small = Image.fromarray(random.integers(0, 256, [8, 8, 3], dtype=np.uint8))
            smooth = np.asarray(small.resize((size, size), Image.Resampling.BICUBIC)).astype(np.int16)
            pixels = (smooth + random.integers(-4, 5, smooth.shape)).clip(0, 255).astype(np.uint8)
            writer.add(pixels, encode_png(pixels))


def rate(load: Callable[[], int], clock: Callable[[], float], repeats: int = 5) -> float:
    """Images per second in the best of some repeats; `load` returns how many images it loaded."""
    best = 0.0
    for _ in range(repeats):
        started = clock()
        best = max(best, load() / (clock() - started))
    return best


def batches(dataset: ImageDataset, cache: PixelCache | None, workers: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """What a training on one rank sees."""
    stream = image_batches(
        dataset,
        cache,
        seed=0,
        course=((nimg, BATCH) for nimg in count(0, BATCH)),
        places={BATCH: range(BATCH)},
        workers=workers,
        device=torch.device("cpu"),
    )
    return (batch for (batch,) in stream)


def take(stream: Iterator[tuple[Tensor, Tensor]], images: int) -> int:
    """Draw whole batches of at least so many images."""
    return sum(len(batch) for batch, _ in islice(stream, -(-images // BATCH)))


def main(arguments: list[str]) -> None:
    """Print a line for each way of loading."""
    size, count, *workers = [int(argument) for argument in arguments] or [256, 1000, 1, 2]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.zip"
        write_images(path, size, count)
        dataset, mirrored = ImageDataset(path), ImageDataset(path, xflip=True)
        started = perf_counter()
        cache = cache_of(dataset)
        print(f"{count / (perf_counter() - started):10.0f} images/s while the cache is made", flush=True)
        source = torch.randint(0, 256, [64 * 2**20 // (size * size * 3) + 1, size * size * 3], dtype=torch.uint8)
        target = torch.empty_like(source)

        def copy() -> int:
            target.copy_(source)
            return len(source)

        plain, flipped = batches(dataset, cache), batches(mirrored, cache_of(mirrored))
        singles = [torch.tensor([i % count]) for i in range(0, 7 * count, 7)]
        decoded = batches(dataset, None)
        fast: dict[str, Callable[[], int]] = {
            "bare copying of memory": copy,
            f"cache, batches of {BATCH}": lambda: take(plain, count),
            f"cache, batches of {BATCH}, half of them mirrored": lambda: take(flipped, count),
            "cache, one by one": lambda: sum(len(cache.batch(index)[0]) for index in singles),
            "ZIP, no workers": lambda: take(decoded, min(count, 500)),
        }
        for name, load in fast.items():
            print(f"{rate(load, process_time):10.0f} images/s of one core: {name}", flush=True)
        for number in workers:
            stream = batches(dataset, None, number)
            take(stream, 4 * number * BATCH)  # the workers start, and fill their queues
            speed = rate(lambda stream=stream: take(stream, min(count, 500)), perf_counter, 2)
            print(f"{speed:10.0f} images/s: ZIP, {number} workers", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

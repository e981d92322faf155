"""One batch ahead: what is fetched when, how much of it is there at once, and when an error is told. What batches hold stands
in `test_cache.py` and `test_sampler.py`."""

from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from weakref import WeakSet

import pytest
import torch

from stylegan.data.archive import ImageDataset
from stylegan.data.loader import DataConfig, image_batches, one_ahead, open_cache
from stylegan.errors import UserError
from tests.integration.images import write_archive


class There:
    """A batch on a device."""

    def __init__(self, number: int) -> None:
        self.number = number


class Device:
    """Where batches are sent.

    Attributes:
        events: What happened, in order.
        batches: Those that are there.
        most: How many were there at once.
    """

    def __init__(self) -> None:
        self.events: list[str] = []
        self.batches: WeakSet[There] = WeakSet()
        self.most = 0

    def send(self, number: int) -> Callable[[], There]:
        self.events.append(f"send {number}")
        there = There(number)
        self.batches.add(there)
        self.most = max(self.most, len(self.batches))

        def due() -> There:
            self.events.append(f"wait {number}")
            return there

        return due


def numbers(events: list[str], end: int = 10, broken: int | None = None) -> Iterator[int]:
    for number in range(end):
        if number == broken:
            events.append(f"break {number}")
            raise UserError(f"image {number} is damaged")
        events.append(f"fetch {number}")
        yield number


def test_the_next_batch_is_sent_before_one_is_used() -> None:
    device = Device()
    events = device.events
    batches = one_ahead(numbers(events), device.send)
    assert events == [], "nothing before it is asked for"
    for _ in range(3):
        events.append(f"use {next(batches).number}")
    assert events == [
        *["fetch 0", "send 0", "wait 0", "fetch 1", "send 1", "use 0"],
        *["wait 1", "fetch 2", "send 2", "use 1"],
        *["wait 2", "fetch 3", "send 3", "use 2"],
    ]


def test_at_most_two_are_there() -> None:
    device, used = Device(), []
    for batch in one_ahead(numbers(device.events), device.send):
        used.append(batch.number)
        del batch
    assert used == list(range(10)) and device.most == 2 and not device.batches


def test_all_of_a_source_that_ends() -> None:
    device = Device()
    events = device.events
    assert [batch.number for batch in one_ahead(numbers(events, end=3), device.send)] == [0, 1, 2]
    assert list(one_ahead(numbers(events, end=0), device.send)) == []


def test_an_error_is_told_when_its_batch_is_due() -> None:
    device = Device()
    events = device.events
    batches = one_ahead(numbers(events, broken=2), device.send)
    assert [batch.number for batch in islice(batches, 2)] == [0, 1]
    assert events[-1] == "break 2"
    with pytest.raises(UserError, match="image 2 is damaged"):
        next(batches)
    with pytest.raises(StopIteration):
        next(batches)


def test_what_is_never_asked_for_is_never_told() -> None:
    device = Device()
    batches = one_ahead(numbers(device.events, broken=1), device.send)
    assert next(batches).number == 0 and device.events[-1] == "break 1"
    batches.close()


def test_closing_closes_the_source() -> None:
    device, ended = Device(), []

    def source() -> Iterator[int]:
        try:
            yield from count()
        finally:
            ended.append(True)

    batches = one_ahead(source(), device.send)
    assert next(batches).number == 0 and not ended
    batches.close()
    assert len(ended) == 1 and not device.batches


def test_an_interruption_is_told_at_once() -> None:
    def interrupted() -> Iterator[int]:
        yield 0
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(one_ahead(interrupted(), Device().send))


def test_on_a_cpu_nothing_is_fetched_ahead(tmp_path: Path) -> None:
    dataset, fetched = ImageDataset(write_archive(tmp_path / "noise.zip", count=5, size=8)), []
    course = ((fetched.append(nimg) or nimg, 2) for nimg in count(0, 2))
    cache, _ = open_cache(DataConfig(), dataset)
    options = {"seed": 0, "course": course, "places": {2: [0, 1]}, "workers": 0, "device": torch.device("cpu")}
    batches = image_batches(dataset, cache, **options)
    for number in range(3):
        next(batches)
        assert fetched == [0, 2, 4][: number + 1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: only the order is tested")
@pytest.mark.parametrize("cached", [True, False])
def test_copies_on_a_stream_of_their_own_are_the_images(tmp_path: Path, cached: bool) -> None:
    """While the device is busy for longer than a copy takes; memory is handed back and used again."""
    dataset = ImageDataset(write_archive(tmp_path / "noise.zip", count=64, size=64))
    cache, _ = open_cache(DataConfig(cache=cached), dataset)

    def stream(device: str) -> Iterator[torch.Tensor]:
        course = ((nimg, 32) for nimg in count(0, 32))
        places = {32: range(32)}
        options = {"seed": 3, "course": course, "places": places, "workers": 0, "device": torch.device(device)}
        return (images for ((images, _),) in image_batches(dataset, cache, **options))

    busy, sums = torch.randn(2048, 2048, device="cuda"), []
    for images in islice(stream("cuda"), 30):
        for _ in range(20):
            busy = (busy @ busy).sigmoid()
        sums.append(images.long().flatten(1).sum(1))
    want = [images.long().flatten(1).sum(1) for images in islice(stream("cpu"), 30)]
    assert torch.equal(torch.stack(sums).cpu(), torch.stack(want))

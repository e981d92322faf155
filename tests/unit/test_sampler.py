"""The order of images is a function of (seed, nimg): not of ranks, workers or where a run was stopped."""

from collections.abc import Iterator, Sequence
from itertools import count, islice

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from stylegan.data.sampler import image_index, image_indices


class Numbers(Dataset[int]):
    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        return index


def stream(size: int, seed: int, length: int, start: int = 0) -> list[int]:
    return [image_index(size, seed, position) for position in range(start, start + length)]


def course(start: int, batch_size: int) -> Iterator[tuple[int, int]]:
    return ((nimg, batch_size) for nimg in count(start, batch_size))


def take(size: int, seed: int, start: int, batch_size: int, places: Sequence[int], batches: int) -> list[int]:
    found = list(islice(image_indices(size, seed, course(start, batch_size), {batch_size: places}), batches))
    assert all(indices.dtype == torch.int64 and len(indices) == len(places) for indices in found)
    return torch.cat(found).tolist()


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_each_epoch_is_a_permutation(size: int) -> None:
    for epoch in range(4):
        assert sorted(stream(size, 3, size, start=epoch * size)) == list(range(size))


def test_epochs_and_seeds_differ() -> None:
    epochs = [tuple(stream(50, seed, 50, start=epoch * 50)) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(epochs)) == 4


def test_one_rank_follows_the_stream() -> None:
    assert take(10, 5, 0, 4, range(4), 10) == stream(10, 5, 40)


@pytest.mark.parametrize(
    "shares",
    [[[0, 1, 2], [3, 4, 5]], [[0, 2, 4], [1, 3, 5]], [[5, 0], [3, 1], [4, 2]], [[0], [1], [2], [3], [4], [5]]],
)
def test_any_split_unites_to_the_same_batches(shares: list[list[int]]) -> None:
    size, batch_size, batches = 11, 6, 7
    whole = stream(size, 9, batch_size * batches)
    for share in shares:
        drawn = take(size, 9, 0, batch_size, share, batches)
        assert drawn == [whole[b * batch_size + j] for b in range(batches) for j in share]


def test_resume_goes_on_where_it_stopped() -> None:
    assert take(13, 2, 4 * 11, 4, [0, 2], 19) == take(13, 2, 0, 4, [0, 2], 30)[22:]


def test_batches_of_changing_size_follow_the_same_stream() -> None:
    whole, sizes = stream(13, 2, 40), [4, 4, 6, 6, 2, 18]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    found = image_indices(13, 2, zip(starts, sizes, strict=True), {n: range(n) for n in sizes})
    assert torch.cat(list(found)).tolist() == whole


@pytest.mark.parametrize("size", [8, 13])
def test_second_images_are_other_ones_and_each_comes_once_an_epoch(size: int) -> None:
    batches = list(islice(image_indices(size, 2, course(0, 4), {4: range(4)}, sets=2), size))
    first, second = (torch.cat([batch.chunk(2)[k] for batch in batches]) for k in range(2))
    assert first.tolist() == stream(size, 2, 4 * size)
    assert not (first == second).any()
    for epoch in range(4):
        assert sorted(second[epoch * size : (epoch + 1) * size].tolist()) == list(range(size))
    within = [batch for nimg, batch in zip(count(0, 4), batches, strict=False) if nimg % size + 4 <= size]
    assert within and all(len(set(batch.tolist())) == 8 for batch in within), "disjoint batches"


@pytest.mark.parametrize("workers", [0, 2])
def test_with_a_data_loader(workers: int) -> None:
    indices = (batch.tolist() for batch in image_indices(9, 1, course(6, 6), {6: [1, 3, 5]}))
    loader = DataLoader(Numbers(9), batch_sampler=indices, num_workers=workers)  # pyright: ignore[reportArgumentType]
    whole = stream(9, 1, 6 * 6)
    for b, batch in enumerate(islice(loader, 4), start=1):
        assert batch.tolist() == [whole[6 * b + j] for j in (1, 3, 5)]


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    stream(1000, 0, 5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"start": -1}, {"places": []}, {"places": [4]}])
def test_impossible_shares(wrong: dict) -> None:
    arguments = {"size": 3, "seed": 0, "start": 0, "batch_size": 4, "places": [0], "batches": 1} | wrong
    with pytest.raises(ValueError, match="cannot draw"):
        take(**arguments)


@pytest.mark.parametrize(
    ("size", "batch_size", "places"), [(10, 4, [0, 1, 2, 3]), (7, 5, [4, 1]), (3, 8, [0, 7, 2, 5])]
)
def test_batches_that_span_epochs_are_the_same_stream(size: int, batch_size: int, places: list[int]) -> None:
    want = [image_index(size, 5, 9 + b * batch_size + j) for b in range(12) for j in places]
    assert take(size, 5, 9, batch_size, places, 12) == want

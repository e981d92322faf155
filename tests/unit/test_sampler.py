"""The order of images is a function of (seed, nimg): not of ranks, workers or where a run was stopped."""

from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from stylegan.data.sampler import InfiniteSampler, image_index


class Numbers(Dataset[int]):
    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        return index


def stream(size: int, seed: int, length: int, start: int = 0) -> list[int]:
    return [image_index(size, seed, position) for position in range(start, start + length)]


def take(sampler: InfiniteSampler, count: int) -> list[int]:
    return list(islice(sampler, count))


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_each_epoch_is_a_permutation(size: int) -> None:
    for epoch in range(4):
        assert sorted(stream(size, 3, size, start=epoch * size)) == list(range(size))


def test_epochs_and_seeds_differ() -> None:
    epochs = [tuple(stream(50, seed, 50, start=epoch * 50)) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(epochs)) == 4


def test_one_rank_follows_the_stream() -> None:
    sampler = InfiniteSampler(10, 5, start=0, batch_size=4, local_indices=range(4))
    assert take(sampler, 40) == stream(10, 5, 40)


@pytest.mark.parametrize(
    "shares",
    [[[0, 1, 2], [3, 4, 5]], [[0, 2, 4], [1, 3, 5]], [[5, 0], [3, 1], [4, 2]], [[0], [1], [2], [3], [4], [5]]],
)
def test_any_split_unites_to_the_same_batches(shares: list[list[int]]) -> None:
    size, batch_size, batches = 11, 6, 7
    whole = stream(size, 9, batch_size * batches)
    for share in shares:
        drawn = take(
            InfiniteSampler(size, 9, start=0, batch_size=batch_size, local_indices=share), len(share) * batches
        )
        assert drawn == [whole[b * batch_size + j] for b in range(batches) for j in share]


def test_resume_goes_on_where_it_stopped() -> None:
    def sampler(start: int) -> InfiniteSampler:
        return InfiniteSampler(13, 2, start=start, batch_size=4, local_indices=[0, 2])

    whole = take(sampler(0), 60)
    assert take(sampler(4 * 11), 38) == whole[22:]


@pytest.mark.parametrize("workers", [0, 2])
def test_with_a_data_loader(workers: int) -> None:
    sampler = InfiniteSampler(9, 1, start=6, batch_size=6, local_indices=[1, 3, 5])
    loader = DataLoader(Numbers(9), batch_size=3, sampler=sampler, num_workers=workers)
    whole = stream(9, 1, 6 * 6)
    for b, batch in enumerate(islice(loader, 4), start=1):
        assert batch.tolist() == [whole[6 * b + j] for j in (1, 3, 5)]


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    stream(1000, 0, 5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"start": -1}, {"local_indices": []}, {"local_indices": [4]}])
def test_impossible_shares(wrong: dict) -> None:
    arguments = {"size": 3, "start": 0, "batch_size": 4, "local_indices": [0]} | wrong
    with pytest.raises(ValueError, match="cannot draw"):
        InfiniteSampler(seed=0, **arguments)


@pytest.mark.parametrize(
    ("size", "batch_size", "places"), [(10, 4, [0, 1, 2, 3]), (7, 5, [4, 1]), (3, 8, [0, 7, 2, 5])]
)
def test_a_batch_at_a_time_is_the_same_stream(size: int, batch_size: int, places: list[int]) -> None:
    sampler = InfiniteSampler(size, 5, start=9, batch_size=batch_size, local_indices=places)
    whole = list(islice(sampler, 12 * len(places)))
    found = list(islice(sampler.batches(), 12))
    assert all(indices.dtype == torch.int64 and len(indices) == len(places) for indices in found)
    assert torch.cat(found).tolist() == whole

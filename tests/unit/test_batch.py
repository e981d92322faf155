"""How a batch is divided, and that its random numbers do not depend on the division."""

import pytest
import torch

from stylegan.errors import UserError
from stylegan.training.batch import BatchMaker, split_positions
from tests.unit.tiny import tiny_pair


@pytest.mark.parametrize(
    ("N", "ranks", "micro", "group"), [(8, 1, 8, 4), (8, 2, 4, 4), (16, 2, 4, 2), (24, 3, 4, 0), (6, 1, 3, 3)]
)
def test_groups_of_minibatch_std_stay_whole_and_in_place(N: int, ranks: int, micro: int, group: int) -> None:
    split = split_positions(N, ranks, micro, group)
    assert sorted(p for rank in split for chunk in rank for p in chunk) == list(range(N))
    of_whole = torch.arange(N).view(max(group, 1), -1)  # a column is a group
    groups = {tuple(column.tolist()) for column in of_whole.T}
    for chunk in (chunk for rank in split for chunk in rank):
        assert len(chunk) == micro
        columns = torch.tensor(chunk).view(max(group, 1), -1).T
        assert {tuple(c.tolist()) for c in columns} <= groups


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((10, 1, 4, 2), "batch_size=10"),
        ((8, 2, 2, 4), "micro_batch=2"),
        ((8, 1, 4, None), "whole batch"),
        ((8, 3, 8, 4), "24"),
    ],
)
def test_what_does_not_divide_is_refused(arguments: tuple[int, int, int, int | None], says: str) -> None:
    with pytest.raises(UserError, match=says):
        split_positions(*arguments)


@pytest.mark.parametrize("phase", ["Gmain", "Greg", "Dmain", "Dreg"])
def test_numbers_are_the_same_however_a_batch_is_divided(phase: str) -> None:
    G, _ = tiny_pair()
    maker = BatchMaker(seed=3, batch_size=8, style_mixing_prob=0.5, pl_batch_shrink=1)
    images = torch.arange(8 * 3 * 16 * 16).remainder(256).to(torch.uint8).view(8, 3, 16, 16)

    def drawn(ranks: int, micro: int) -> dict[int, dict[str, torch.Tensor]]:
        by_position = {}
        for rounds in split_positions(8, ranks, micro, 4):
            flat = [p for chunk in rounds for p in chunk]
            batches = maker.draw(phase, 800, G, images[flat], torch.zeros(len(flat), 0), rounds)
            for chunk, batch in zip(rounds, batches, strict=True):
                for i, position in enumerate(chunk):
                    by_position[position] = {k: v[i] for k, v in vars(batch).items() if isinstance(v, torch.Tensor)}
        return by_position

    whole, parts = drawn(1, 8), drawn(2, 4)
    assert whole.keys() == parts.keys()
    for position, values in whole.items():
        assert values.keys() == parts[position].keys()
        assert all(torch.equal(values[k], parts[position][k]) for k in values)
    assert torch.equal(whole[5]["real"], images[5] / 127.5 - 1)


def test_style_mixing_happens_as_often_as_asked() -> None:
    G, _ = tiny_pair()
    maker = BatchMaker(seed=0, batch_size=4000, style_mixing_prob=0.9, pl_batch_shrink=2)
    cutoff = maker._cutoffs("Gmain", 0, G.num_ws)
    mixed = cutoff < G.num_ws
    assert abs(float(mixed.float().mean()) - 0.9) < 0.02
    assert set(cutoff[mixed].tolist()) == set(range(1, G.num_ws))

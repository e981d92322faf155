"""Means over an interval of what iterations tell."""

import torch
from torch import Tensor

from stylegan.training.totals import Lap, Report, Totals, Values

CPU = torch.device("cpu")


def report(*phases: dict[str, list[Tensor]], **numbers: float) -> Report:
    return Report([Values.of(stats) for stats in phases], numbers)


def test_totals_are_means_over_an_interval() -> None:
    totals = Totals(0.016, 0, 40, CPU)
    D = {"loss": [torch.tensor([1.0, 2.0]), torch.tensor([3.0])], "scores": [torch.tensor([5.0])]}
    G = {"scores": [torch.tensor([1.0, 3.0])]}
    rare = {"rare": [torch.tensor(7.0)], "scores": [torch.tensor([11.0])]}
    assert totals.add(report(D, G, waited=2.0), 8) is None
    assert totals.add(report(D, rare, waited=4.0), 16) == {
        "loss": 2.0,
        "rare": 7.0,
        "scores": (5 + 1 + 3 + 5 + 11) / 5,
        "waited": 3.0,
    }
    assert totals.add(report(D), 24) is None
    totals.start(8)  # a rollback: the 24 are void
    assert totals.add(report({"loss": [torch.tensor(4.0)]}), 12) is None
    assert totals.add(report({"loss": [torch.tensor(6.0)]}), 40) == {"loss": 5.0}


def test_an_interval_goes_on_where_another_sitting_left_it() -> None:
    D, G, waited = {"loss": [torch.tensor([1.0, 2.0])]}, {"scores": [torch.tensor([1.0, 3.0])]}, {"waited": 2.0}
    whole, first, second = (Totals(0.024, 0, 40, CPU) for _ in range(3))
    assert first.sums() == {}
    for totals in (whole, first):
        assert totals.add(report(D, G, **waited), 8) is None
    assert first.sums() == {"loss": (3.0, 2.0), "scores": (4.0, 2.0), "waited": (2.0, 1.0)}
    second.start(8, first.sums())
    for totals in (whole, second):
        assert totals.add(report(D, waited=3.0), 16) is None
    assert second.sums() == whole.sums()
    assert second.add(report(D), 24) == whole.add(report(D), 24) == {"loss": 1.5, "scores": 2.0, "waited": 2.5}
    assert second.sums() == {}, "they enter one record alone"


def test_what_was_told_is_added_and_not_kept() -> None:
    """A graph leaves the next iteration's values where the last one's were."""
    totals, told = Totals(1.0, 0, 24, CPU), torch.tensor([1.0])
    values = Values((("loss", 1),), told)
    for nimg, value in ((8, 1.0), (16, 2.0)):
        told.fill_(value)
        assert totals.add(Report([values]), nimg) is None
    told.fill_(6.0)
    assert totals.add(Report([values]), 24) == {"loss": 3.0}
    assert told == 6.0


def test_the_first_iteration_of_a_sitting_is_not_timed() -> None:
    totals = Totals(1.0, 0, 16, CPU)
    first, second = Lap(CPU).end(), Lap(CPU).end()
    assert totals.add(Report(laps={"seconds/Gmain": first}), 8) is None
    assert totals.add(Report(laps={"seconds/Gmain": second}), 16) == {"seconds/Gmain": second.seconds}
    assert second.seconds >= 0


def test_values_split_into_what_they_were_made_of() -> None:
    stats = {"a": [torch.tensor([[1.0, 2.0]]), torch.tensor(3.0)], "b": [torch.tensor([4.0], dtype=torch.float64)]}
    split = Values.of(stats).split()
    assert {name: part.tolist() for name, part in split.items()} == {"a": [1, 2, 3], "b": [4]}

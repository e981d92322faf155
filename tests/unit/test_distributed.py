"""What ranks agree on without a group; `tests/integration/test_two_ranks.py` has two real ones."""

from collections import defaultdict
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from stylegan import distributed
from stylegan.errors import UserError, one_message
from stylegan.training.totals import Totals


def fail() -> None:
    with one_message(), distributed.one_voice():
        raise UserError("the same mistake on all ranks")


def test_of_several_ranks_that_fail_one_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = dist.FileStore(str(tmp_path / "store"), 1)  # pyright: ignore[reportPrivateImportUsage]
    monkeypatch.setattr(distributed, "_store", lambda: store)
    monkeypatch.setenv("RANK", "1")
    for _ in range(3):
        with pytest.raises(SystemExit) as end:
            fail()
        assert end.value.code == 2
    assert capsys.readouterr().err.splitlines() == ["error: the same mistake on all ranks"]


def test_without_ranks_every_error_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    for _ in range(2):
        with pytest.raises(SystemExit):
            fail()
    assert capsys.readouterr().err.count("error: ") == 2
    assert distributed.from_main("key", lambda: "made here") == "made here"


def test_totals_are_means_over_an_interval() -> None:
    totals = Totals(0.016, 0, 40, torch.device("cpu"))
    stats = {"loss": [torch.tensor([1.0, 2.0]), torch.tensor([3.0])], "nonfinite/x": [torch.tensor(2.0)]}
    assert totals.add(stats, 8) is None
    assert totals.add(defaultdict(list, {**stats, "rare": [torch.tensor(7.0)]}), 16) == {
        "loss": 2.0,
        "nonfinite/x": 4.0,
        "rare": 7.0,
    }
    assert totals.add(stats, 24) is None
    totals.start(8)  # a rollback: the 24 are void
    assert totals.add({"loss": [torch.tensor(4.0)]}, 12) is None
    assert totals.add({"loss": [torch.tensor(6.0)]}, 40) == {"loss": 5.0}

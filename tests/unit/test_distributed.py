"""What ranks agree on without a group; `tests/integration/test_two_ranks.py` has two real ones."""

from pathlib import Path

import pytest
import torch.distributed as dist

from stylegan import distributed
from stylegan.errors import UserError, one_message


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

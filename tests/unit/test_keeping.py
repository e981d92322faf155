"""When a run keeps what, and what it says where it cannot go back."""

from types import SimpleNamespace
from typing import Any

import pytest

from stylegan.errors import UserError
from stylegan.training import rollback
from stylegan.training.saving import Keeper
from stylegan.training.step import NonfiniteGradientsError, OnNonfinite


@pytest.mark.parametrize("nimg", [2007, 4014, 4035, 1001])
def test_intervals_end_at_whole_images(nimg: int) -> None:
    """2.007 * 1000 is a little more than 2007."""
    job: Any = SimpleNamespace(state=SimpleNamespace(nimg=nimg - 1))
    keeper = Keeper(job)
    job.state.nimg = nimg
    assert keeper._passed(nimg / 1000)


def test_damaged_checkpoints_do_not_hide_why_training_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(run_dir: Any) -> Any:
        raise UserError("no checkpoint can be read")

    monkeypatch.setattr(rollback, "newest_checkpoint", damaged)
    training = SimpleNamespace(on_nonfinite=OnNonfinite.rollback)
    job: Any = SimpleNamespace(
        state=SimpleNamespace(nimg=2000, rollbacks=0), run_dir="run", config=SimpleNamespace(training=training)
    )
    with pytest.raises(UserError, match=r"stopped at 2\.000 kimg: Gmain broke; no checkpoint can be read"):
        rollback.go_back(job, NonfiniteGradientsError("Gmain broke"))

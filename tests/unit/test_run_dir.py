"""What a run's folder keeps when a stretch of the training is given up."""

import json
from pathlib import Path

import pytest

from stylegan import run_dir as layout
from stylegan.errors import UserError
from stylegan.files import atomic_write


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Measured at 10, 20 and 30 images; kept as the best were 10, then 20, then 30; a crash cut the last line of each short."""
    values = {10: 3.0, 20: 2.0, 30: 1.0}
    for nimg in values:
        atomic_write(layout.snapshot_path(tmp_path, nimg), f"network {nimg}")
    lines = [json.dumps({"nimg": n, "results": {"kid": v}, "best": "kid"}) + "\n" for n, v in values.items()]
    (tmp_path / layout.METRICS).write_text("".join(lines) + '{"nimg": 4')
    (tmp_path / layout.STATS).write_text("".join(f'{{"nimg": {n}}}\n' for n in range(5, 40, 5)) + '{"nimg": 4')
    layout.keep_best(tmp_path, "kid", 30)
    return tmp_path


@pytest.mark.parametrize(
    ("nimg", "measured", "best"), [(40, 3, 30), (30, 3, 30), (29, 2, 20), (15, 1, 10), (5, 0, None)]
)
def test_both_records_and_the_best_go_back(run_dir: Path, nimg: int, measured: int, best: int | None) -> None:
    layout.forget_after(run_dir, nimg)
    assert [record["nimg"] for record in layout.read_metrics(run_dir)] == [10, 20, 30][:measured]
    assert [record["nimg"] for record in layout.read_stats(run_dir)] == [n for n in range(5, 40, 5) if n <= nimg]
    for name in (layout.METRICS, layout.STATS):
        text = (run_dir / name).read_text()
        assert text == "" or text.endswith("}\n"), "the next record gets a line of its own"
    kept = layout.best_snapshot_path(run_dir, "kid")
    assert kept.read_text() == f"network {best}" if best else not kept.exists()


def test_a_best_whose_snapshot_is_gone_is_not_kept(run_dir: Path) -> None:
    layout.snapshot_path(run_dir, 20).unlink()
    layout.forget_after(run_dir, 29)
    assert not layout.best_snapshot_path(run_dir, "kid").exists()


def test_a_run_without_records_gets_none(tmp_path: Path) -> None:
    layout.forget_after(tmp_path, 0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "end",
    [b"\0" * 4096, b'{"nimg": 4\n', b'{"nimg": 4', b'{"nimg": 32, "lo\xff\xfe"}\n', b"[32]\n", b"[" * 100_000 + b"\n"],
)
def test_a_broken_last_line_is_dropped_and_told(tmp_path: Path, end: bytes) -> None:
    whole = b'{"nimg": 10}\n{"nimg": 20}\n'
    for name, read in ((layout.STATS, layout.read_stats), (layout.METRICS, layout.read_metrics)):
        path = tmp_path / name
        path.write_bytes(whole + end)
        assert [record["nimg"] for record in read(tmp_path)] == [10, 20]
        (note,) = layout.forget_after(tmp_path, 20)
        assert str(path) in note and "last line is broken" in note
        assert path.read_bytes() == whole and not layout.forget_after(tmp_path, 20)


def test_a_broken_line_before_the_last_is_refused(tmp_path: Path) -> None:
    (tmp_path / layout.STATS).write_bytes(b'{"nimg": 10}\n{"nimg"\n{"nimg": 20}\n')
    with pytest.raises(UserError, match="line 2: "):
        layout.read_stats(tmp_path)

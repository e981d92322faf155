"""What a run's folder keeps when a stretch of the training is given up, and what is refused in one that others have filled."""

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
    "record",
    [
        {"nimg": 99, "results": {}, "best": "x/../../../victim/model"},
        {"nimg": 99, "results": {}, "best": "../../victim/model"},
        {"nimg": 99, "results": {}, "best": ["kid"]},
        {"nimg": 99, "results": {}, "best": "kid\x00"},
        {"nimg": 99, "results": {"kid": "1"}, "best": None},
        {"nimg": 99, "best": None},
        {"nimg": "99", "results": {}},
        {"nimg": 10**400, "results": {}},
        {"nimg": True, "results": {}},
        [],
    ],
)
def test_a_record_names_no_file_elsewhere(run_dir: Path, record: object) -> None:
    victim = run_dir.parent / "victim" / "model.safetensors"
    victim.parent.mkdir(exist_ok=True)
    victim.write_text("precious")
    (run_dir / "snapshots" / "best-x").mkdir()
    end = json.dumps({"nimg": 99, "results": {}}) + "\n"
    (run_dir / layout.METRICS).write_text(f"{json.dumps(record)}\n{end}")
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 1: "):
        layout.forget_after(run_dir, 5)
    assert victim.read_text() == "precious"


def test_what_metrics_are_called_is_accepted() -> None:
    for name in ("kid", "fid50k", "kid5k_mobilenet_v2-0b01ef3a@class3@reals", "ppl_zfull50k"):
        assert layout.is_metric(name)


@pytest.mark.parametrize(
    "end", [b'{"nimg": 4', b"\0" * 4096, b'{"nimg": 1, \0\0}\n\0\0\n', b"\xff\n", b"[" * 10**6 + b"\n"]
)
def test_last_lines_that_a_power_cut_left_are_dropped(tmp_path: Path, end: bytes) -> None:
    (tmp_path / layout.STATS).write_bytes(b'{"nimg": 1}\n\n{"nimg": 2}\n' + end)
    assert [record["nimg"] for record in layout.read_stats(tmp_path)] == [1, 2]


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    (tmp_path / layout.STATS).write_text('{"nimg": 1}\nnonsense\n{"nimg": 2}\n')
    with pytest.raises(UserError, match=r"stats\.jsonl, line 2: it is no JSON object"):
        layout.read_stats(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        *(layout.CONFIG, layout.LOG, layout.STATS, layout.METRICS, layout.REALS, layout.LOCK, "fakes-000001.png"),
        *("checkpoints", "snapshots", "checkpoints/state-000000010.pt", "snapshots/G_ema-000000020.safetensors"),
        *("snapshots/best-kid.safetensors", "snapshots/power-0.050000-000000020.safetensors"),
    ],
)
def test_a_run_with_planted_links_is_not_entered(tmp_path: Path, name: str) -> None:
    victim, run = tmp_path / "victim", tmp_path / "run"
    victim.mkdir()
    (victim / "letter").write_text("dear")
    (run / name).parent.mkdir(parents=True)
    (run / name).symlink_to(victim if name in ("checkpoints", "snapshots") else victim / "letter")
    with pytest.raises(UserError, match=f"{name} is a link"), layout.sole_process(run):
        pass
    assert {path.name: path.read_text() for path in victim.iterdir()} == {"letter": "dear"}


def test_the_folder_itself_and_what_is_not_a_runs_may_be_links(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to("disk")
    (tmp_path / "disk" / "notes").symlink_to("elsewhere")
    with layout.sole_process(tmp_path / "run"):
        assert (tmp_path / "disk" / layout.LOCK).is_file()


def test_a_linked_snapshot_is_not_copied_out(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")
    layout.snapshot_path(run_dir, 20).unlink()
    layout.snapshot_path(run_dir, 20).symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="is a link"):
        layout.keep_best(run_dir, "kid", 20)
    assert layout.best_snapshot_path(run_dir, "kid").read_text() == "network 30"


def test_the_next_process_removes_what_a_killed_one_was_writing(run_dir: Path) -> None:
    before = sorted(path.name for path in run_dir.rglob("*"))
    for folder, name in ((run_dir, "fakes-000001.png"), (run_dir / "snapshots", "G_ema-000000040.safetensors")):
        (folder / f".{name}.ab_d3f9h.unfinished{Path(name).suffix}").write_text("half")
    with layout.sole_process(run_dir):
        assert sorted(path.name for path in run_dir.rglob("*") if path.name != layout.LOCK) == before


@pytest.mark.parametrize(
    "end",
    [b"\0" * 4096, b'{"nimg": 4\n', b'{"nimg": 4', b'{"nimg": 32, "lo\xff\xfe"}\n', b"[32]\n", b"[" * 100_000 + b"\n"],
)
def test_a_broken_last_line_is_dropped_and_told(tmp_path: Path, end: bytes) -> None:
    whole = b'{"nimg": 10, "results": {}}\n{"nimg": 20, "results": {}}\n'
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

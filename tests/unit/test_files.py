"""Files are written whole or not at all."""

from pathlib import Path

import pytest

from stylegan.errors import UserError, nearest
from stylegan.files import atomic_path, atomic_write, sha256, shipped


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "result.txt"
    atomic_write(target, "old")
    with pytest.raises(RuntimeError, match="in between"), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("in between")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_written_files_are_readable_like_any_other(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a" / "b.txt", b"\x00\x01")
    (tmp_path / "plain").touch()
    assert (tmp_path / "a" / "b.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_impossible_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/x\.txt"):
        atomic_write(tmp_path / "file" / "x.txt", "never")


def test_sha256_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert sha256(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_shipped_does_not_look_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only_here").touch()
    monkeypatch.chdir(tmp_path)
    assert (shipped("configs") / "train.yaml").is_file()
    with pytest.raises(UserError, match="only_here"):
        shipped("only_here")


def test_nearest_proposes_or_lists() -> None:
    assert nearest("trainig", ["training", "data"]) == "did you mean 'training'?"
    assert nearest("zzz", ["training", "data"]) == "there are: data, training"

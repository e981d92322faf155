"""Files are written whole or not at all, and not through planted links; messages show what files say without obeying it."""

import io
import os
import stat
from pathlib import Path

import pytest
from rich.console import Console

from stylegan.errors import LONGEST, UserError, nearest, one_message, say, shown
from stylegan.files import (
    atomic_path,
    atomic_write,
    file_lock,
    make_folder,
    open_below,
    refuse_links,
    remove_unfinished,
    sha256,
    shipped,
)


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "result.txt"
    atomic_write(target, "old")
    with pytest.raises(RuntimeError, match="in between"), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("in between")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_folders_pipes_and_devices_are_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, kind in [("pipe", r"a pipe \(FIFO\)"), ("link", "a pipe"), ("folder", "a folder")]:
        with pytest.raises(UserError, match=f"cannot write .*{name}: it is {kind}"), atomic_path(tmp_path / name):
            pytest.fail("it began to work")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode) and (tmp_path / "link").is_symlink()


def test_written_files_are_readable_like_any_other(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a" / "b.txt", b"\x00\x01")
    (tmp_path / "plain").touch()
    assert (tmp_path / "a" / "b.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_is_flushed_is_open_for_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows flushes nothing else. To write nothing shows whether one may."""
    flushed = []

    def flush(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            flushed.append(os.write(descriptor, b""))

    monkeypatch.setattr(os, "fsync", flush)
    atomic_write(tmp_path / "a", "text")
    assert flushed == [0] and (tmp_path / "a").read_text() == "text"


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
    assert nearest("FID50K", ["fid50k", "kid50k"]) == "did you mean 'fid50k'?"
    assert nearest("zzz", ["training", "data"]) == "there are: data, training"


def test_the_next_owner_removes_what_a_kill_left(tmp_path: Path) -> None:
    kept = [".notes.12345678.txt", "a.txt", ".b.txt.unfinished.txt", ".lock"]
    for name in kept:
        (tmp_path / name).touch()
    for name in ("a.txt", "b.safetensors", "c"):
        writing = atomic_path(tmp_path / name)
        writing.__enter__()
        (tmp_path / "held").mkdir(exist_ok=True)
        for path in [path for path in tmp_path.glob(".*") if path.name not in kept]:
            path.rename(tmp_path / "held" / path.name)  # as if the process had been killed here
        writing.gen.close()  # pyright: ignore[reportAttributeAccessIssue]
    for path in (tmp_path / "held").iterdir():
        path.rename(tmp_path / path.name)
    (tmp_path / "held").rmdir()
    assert len(list(tmp_path.iterdir())) == len(kept) + 3
    remove_unfinished(tmp_path, "a.txt")
    assert len(list(tmp_path.iterdir())) == len(kept) + 2
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder that nobody asked to change."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "letter.txt").write_text("dear")
    return tmp_path / "victim"


@pytest.mark.parametrize("mode", ["w", "a", "x", "r+b", "wb", "rb"])
def test_no_link_is_followed_below_the_named_folder(tmp_path: Path, victim: Path, mode: str) -> None:
    (tmp_path / "real").mkdir()
    named = tmp_path / "named"
    named.symlink_to("real")  # the user's own
    (named / "file").symlink_to(victim / "letter.txt")
    (named / "folder").symlink_to(victim)
    (named / "dangling").symlink_to(victim / "new.txt")
    for name in ("file", "folder/letter.txt", "folder/new.txt", "dangling"):
        with pytest.raises(UserError, match=rf"named/{name.split('/')[0]} is a link"):
            open_below(named, name, mode)
    assert {path.name: path.read_text() for path in victim.iterdir()} == {"letter.txt": "dear"}
    with open_below(named, "a/b/c.txt", "w") as file:
        file.write("ü")
    with open_below(named, "a/b/c.txt", "rb") as file:
        assert file.read() == "ü".encode()
    with open_below(named, "a/b/c.txt", "w") as file:
        pass
    assert (tmp_path / "real/a/b/c.txt").read_bytes() == b""
    with pytest.raises(FileExistsError):
        open_below(named, "a/b/c.txt", "x")


def test_a_link_that_comes_between_the_look_and_the_opening(
    tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log").symlink_to(victim / "letter.txt")
    monkeypatch.setattr("stylegan.files.refuse_link", lambda path: None)
    with pytest.raises(OSError, match="symbolic link"):
        open_below(tmp_path, "log", "w")
    assert (victim / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize("mode", ["a", "rb"])
def test_a_pipe_is_not_waited_at(tmp_path: Path, mode: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)  # so that writing would go
    with pytest.raises(UserError, match="pipe is in the way"):
        open_below(tmp_path, "pipe", mode)
    os.close(reader)
    with pytest.raises(UserError, match="neither a file nor a folder"):
        refuse_links(tmp_path)


def test_folders_and_locks_are_no_links_either(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "named").mkdir()
    (tmp_path / "named" / "deep").symlink_to(victim)
    (tmp_path / "named" / "lock").symlink_to(victim / "letter.txt")
    with pytest.raises(UserError, match="deep is a link"):
        make_folder(tmp_path / "named", "deep/er")
    with pytest.raises(UserError, match="lock is a link"):
        file_lock(tmp_path / "named" / "lock")
    with pytest.raises(UserError, match="is a link"):
        refuse_links(tmp_path / "named")
    assert {path.name: path.read_text() for path in victim.iterdir()} == {"letter.txt": "dear"}


HOSTILE = "cat\x1b[2J\x9b31m\nerror: forged\r\u202egnp\u2066\u2028\x07 [red]x[/red] :warning: \udcff"
HARMLESS = r"cat\x1b[2J\x9b31m\nerror: forged\r\u202egnp\u2066\u2028\x07 [red]x[/red] :warning: \udcff"


def test_a_message_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(HOSTILE) == HARMLESS
    assert shown("Ü 猫 🐈 plain") == "Ü 猫 🐈 plain"
    with pytest.raises(SystemExit), one_message():
        raise UserError(f"class {HOSTILE}")
    assert capsys.readouterr().err == f"error: class {HARMLESS}\n"
    out = io.StringIO()
    say(HOSTILE, Console(file=out, force_terminal=True, width=40))
    assert out.getvalue() == f"{HARMLESS}\n"


@pytest.mark.parametrize("filler", ["x", "\x1b", "\U000e0041"])
def test_a_message_is_not_endless(filler: str) -> None:
    line = shown(f"there is no class {filler * 10**6}; choose another")
    assert len(line) < LONGEST + 100
    assert line.startswith("there is no class") and line.endswith("; choose another")

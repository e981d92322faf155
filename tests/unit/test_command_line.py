"""Bad command lines of all commands: one message, exit code 2."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stylegan import cli
from tests.integration.command import run_here
from tests.unit.fuzz_command_lines import fuzz

Typed = Callable[..., tuple[int, str]]


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Exit code and standard error of `stylegan ...`."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["stylegan", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert isinstance(stop.value.code, int)
        return stop.value.code, capsys.readouterr().err

    return run


def test_without_a_command_there_is_help_and_nothing_else(typed: Typed) -> None:
    code, err = typed()
    assert code == 2 and "error: " not in err


def test_results_are_not_appended_to_other_files(typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylegan.metrics.evaluate.evaluate_saved", lambda *_, **__: pytest.fail("it measured first"))
    (tmp_path / "faces.zip").write_bytes(b"PK\x03\x04")
    (tmp_path / "folder").mkdir()
    command = ["evaluate", "--network", "demo", "--data", "x.zip", "--metrics", "attributes"]
    for option, name, says in [
        ("--out", "faces.zip", "holds something else than what stylegan evaluate writes"),
        ("--out", "folder", "it is a folder"),
        ("--out", "/dev/full", "it is a device"),
        ("--pictures", "faces.zip", "is no folder"),
    ]:
        code, err = typed(*command, option, str(tmp_path / name))
        assert code == 2 and says in err, err
    assert (tmp_path / "faces.zip").read_bytes() == b"PK\x03\x04"


@pytest.mark.parametrize("seed", [0, 1])
def test_whatever_is_typed_is_accepted_or_refused(seed: int) -> None:
    """Some; `python -m tests.unit.fuzz_command_lines` tries thousands."""
    outcomes, failures = fuzz(40, seed)
    assert not failures and outcomes["accepted"] > 2 and outcomes["refused"] > 10, outcomes


def test_a_list_may_be_given_in_parts(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []
    monkeypatch.setattr(
        "stylegan.metrics.evaluate.evaluate_saved", lambda _, __, names, *___, **____: measured.extend(names)
    )
    monkeypatch.setattr("stylegan.metrics.evaluate.tell", lambda *_: None)
    names = ["--metrics", "kid2k", "--metrics", "attributes2k,fid50k"]
    assert typed("evaluate", "--network", "demo", "--data", "x.zip", *names) == (0, "")
    assert measured == ["kid2k", "attributes2k", "fid50k"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["card", "demo", "--licence", "a", "--licence", "b"], "--licence is given 2 times; it takes one value"),
        (["card", "demo", "--out="], "--out is empty"),
        (["card", ""], "NETWORK is empty"),
        (["convert", "x" * 300, "y.pt"], "SOURCE=xxx"),
        (["prepare", "a", "b", "--resolution", "65536"], "85.9 GB of memory"),
        (["prepare", "a", "b", "--resolution", "9" * 100], "give WIDTHxHEIGHT"),
        (["prepare", "a", "b", "--count", "0"], "--count"),
        (["bench", "--batch-size", "1000000000", "--measure", "cost"], "49.2 TB of memory"),
        (["attributes", "--data=~/nowhere.zip"], "/home/me/nowhere.zip"),
        (["prepare", "faces3d", "b", "--count", "999999999999"], "200 TB of memory"),
        (["bench", "--out", "grid.png"], "--out grid.png: give it a name that ends in .json"),
        (
            ["evaluate", "--network=demo", "--data=x", "--metrics=attributes", "--repeats=1000000000"],
            "or equal to 10000",
        ),
        (["serve", "--port=65536"], "less than or equal to 65535"),
        (["serve", "--host=no.such.host.invalid"], "--port 0: any that is free"),
        (["serve", "--host=" + "a" * 70], "choose another"),
        (["serve", "--host=ü..x"], "this is no address"),
        (["serve", "nobody", "--port=0"], "nobody"),
        (["serve", "--batch=0"], "'--batch': 0:"),
        (["serve", "--batch=1e9"], "'--batch': 1e9:"),
        (["serve", "--rate=nan"], "--rate"),
        (["serve", "--allow-host=http://faces.example"], "--allow-host http://faces.example: write a name alone"),
        (["serve", "--allow-host=faces.example:80"], "write a name alone"),
        (["serve", "--allow-host=*"], "write a name alone"),
        (["serve", "--allow-host=::1", "--allow-host=ü.example"], "--allow-host ü.example: write a name alone"),
        (["evaluate", "--network=demo", "--data=x", "--metrics=attributes\uff12\uff10"], "there is no metric"),
    ],
)
def test_commands(typed: Typed, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr("stylegan.memory.total_memory", lambda: 16 * 10**9)
    monkeypatch.setattr("stylegan.data.parallel.thread_count", lambda _: 2)
    code, err = typed(*arguments)
    assert code == 2 and says in err, err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["figure.rows=1000000000"], "1000000000 images of 64x64 at once take 49.2 TB of memory"),
        (["batch=1000000000"], "49.2 TB of memory"),
        (["figure=scanline", "figure.frames=1000000000", "seeds=0,1"], "of memory"),
        (["figure=scanline", "figure.frames=100000000000", "seeds=0,1"], "of memory"),
        (["figure=null"], "there is no figure=null; there are: attributes, blend, curves"),
        (["experiment=demo"], "there is no setting experiment"),
    ],
)
def test_figures(
    arguments: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: object,
) -> None:
    monkeypatch.chdir(str(tmp_path))
    result = run_here("generate", *arguments, "out=Grün (1).png", capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 2 and says in result.err, result.err

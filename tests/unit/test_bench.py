"""`stylegan bench` runs, prints and writes what it says. No time is asserted."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from stylegan.bench.speed import Timer, measure_update, updates
from stylegan.bench.workload import CONFIGURATIONS, workload
from stylegan.cli import app
from stylegan.ops._build import compiler_available

needs_compiler = pytest.mark.skipif(not compiler_available(), reason="no C++ compiler")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["bench", *arguments], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    return result.output


@needs_compiler
def test_speed(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    text = run("debug", "--rounds", "1", "--out", str(out))
    for word in (
        "Gmain",
        "Greg",
        "Dmain",
        "Dreg",
        "iteration",
        "fp32 peak",
        "bf16 peak",
        "reference ops take",
        "optimizer",
    ):
        assert word in text
    found = json.loads(out.read_text())["configurations"]["debug"]
    assert found["resolution"] == 16 and found["batch_size"] == 8
    seconds = found["seconds"]
    weighted = seconds["Gmain"] + seconds["Greg"] / 4 + seconds["Dmain"] + seconds["Dreg"] / 16
    assert seconds["iteration"] == pytest.approx(weighted)  # one round: the median is its value
    share = found["gflop"] / seconds["iteration"] / found["peak_gflops"]["fp32"]
    assert found["utilisation"]["fp32"] == pytest.approx(share)
    assert found["reference_ratio"] > 0 and found["update"]["ratio"] > 0


def test_cost(tmp_path: Path) -> None:
    out = tmp_path / "cost.json"
    assert "GB saved" in run("debug", "--measure", "cost", "--out", str(out))
    assert json.loads(out.read_text())["debug"]["costs"]["iteration"]["ops"] > 100


@needs_compiler
def test_growth(tmp_path: Path) -> None:
    out = tmp_path / "growth.json"
    run("debug", "--measure", "growth", "--resolution", "16", "--batch-size", "4", "--threads", "1", "--out", str(out))
    (row,) = json.loads(out.read_text())["growth"]
    assert (row["resolution"], row["batch_size"]) == (16, 4) and row["seconds"] > 0 and row["parameters"] > 1000


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["demo46"], "demo64"),
        (["--measure", "time"], "speed"),
        (["--precision", "fp8"], "bf16"),
        (["--clock", "sun"], "wall"),
        (["--rounds", "0"], "--rounds 0"),
        (["--batch-size", "-1"], "--batch-size -1"),
    ],
)
def test_wrong_options_are_named(arguments: list[str], names: str) -> None:
    result = CliRunner().invoke(app, ["bench", *arguments])
    assert result.exit_code != 0 and names in str(result.exception)


def test_ours_and_the_plain_loops_do_the_same() -> None:
    """What is compared must be the same work: parameters and averages, which begin elsewhere so that their way shows."""
    G = workload(CONFIGURATIONS["demo64"], resolution=8, batch_size=2, device="cpu").networks.G
    ours, plain = updates(G)
    for update in (ours, plain):
        for average in update.averages:
            average.zero_()
        for _ in range(3):
            update.run()
    for p, q, start in zip(ours.parameters, plain.parameters, G.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=5e-7)
        assert (p - start).abs().mean() > 1e-3
    for average, other, p in zip(ours.averages, plain.averages, ours.parameters, strict=True):
        torch.testing.assert_close(average, other, rtol=1e-4, atol=1e-8)
        torch.testing.assert_close(average, 0.003 * p, rtol=0.1, atol=1e-5)


def test_measuring_an_update_leaves_the_networks_as_they_are() -> None:
    work = workload(CONFIGURATIONS["demo64"], resolution=8, batch_size=2, device="cpu")
    before = [p.detach().clone() for p in work.networks.G.parameters()]
    found = measure_update(work, rounds=1, timer=Timer("cpu"), progress=lambda text: None)
    assert found.keys() == {"seconds", "plain_seconds", "ratio"}
    assert all(torch.equal(p, q) for p, q in zip(before, work.networks.G.parameters(), strict=True))

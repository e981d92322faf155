"""`stylegan evaluate`: one JSON line, one message for each mistake, two ranks like one; and metrics during training."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stylegan import cli
from stylegan import run_dir as layout
from stylegan.interop.provenance import DIGITAL_SOURCE_TYPE
from stylegan.interop.snapshot import read_snapshot
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.metrics import table
from stylegan.metrics.names import listed
from stylegan.training.watch import Watch
from tests.integration.command import ROOT, Result, run_here
from tests.integration.images import write_archive
from tests.unit.metric_files import SMALL, write_attributes, write_small
from tests.unit.tiny import tiny_pair

REFERENCE = "ops.backend=reference"  # the caches of these tests are empty: compiled ops would be built anew
METRICS = f"fid20_{SMALL},kid20_{SMALL},pr20_{SMALL},is20_{SMALL},attributes20,leaks20"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network, images, and files of weights."""
    folder = tmp_path_factory.mktemp("evaluate")
    for name, c_dim in (("G", 0), ("G3", 3)):
        provenance = {"nimg": 7, "data": {"class_names": ["cat", "dog", "owl"][:c_dim]}}
        save_snapshot(folder / f"{name}.safetensors", tiny_pair(c_dim=c_dim)[0], provenance=provenance)
    write_archive(folder / "reals.zip", count=22)
    write_archive(folder / "few.zip", count=4)
    write_archive(folder / "classes.zip", count=60, labels=3)
    write_archive(folder / "large.zip", size=32)
    write_archive(folder / "grey.zip", mode="L")
    write_small(folder / "small.pth")
    write_attributes(folder / "attributes.safetensors")
    return folder


@pytest.fixture
def here(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    return folder


def stylegan(*arguments: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setattr(sys, "argv", ["stylegan", *arguments])
    capsys.readouterr()
    code: Any = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code or 0
    captured = capsys.readouterr()
    return Result(code, captured.out, captured.err)


def command(folder: Path, *more: str, network: str = "G.safetensors", data: str = "reals.zip") -> list[str]:
    usual = {SMALL: f"{SMALL}={folder}/small.pth", "attributes": f"attributes={folder}/attributes.safetensors"}
    weights = [text for name, text in usual.items() if not any(part.startswith(f"{name}=") for part in more)]
    files = ["--network", f"{folder}/{network}", "--data", f"{folder}/{data}"]
    return ["evaluate", *files, "--batch", "8", *(part for w in weights for part in ("--weights", w)), *more]


def test_one_line_says_all(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    more = ["--metrics", f"kid20_{SMALL},attributes20,leaks20", "--repeats", "2", "--out", "found.jsonl"]
    result = stylegan(*command(here, *more), capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 0, result.err
    assert len(result.out.splitlines()) == 1 and Path("found.jsonl").read_text() == result.out
    line = json.loads(result.out)
    name = next(iter(line["results"]))
    assert name.startswith(f"kid20_{SMALL}-") and line["results"][name] == sum(line["values"][name]) / 2
    assert line["spread"][name] > 0 and line["repeats"] == 2 and line["seed"] == 0
    assert (line["fakes"], line["reals"]) == (20, 22) and line["network"]["nimg"] == 7
    assert len(line["data"]["content_hash"]) == 64 and line["data"]["resize_filter"] == "unknown"
    assert set(line["weights_sha256"]) == {name.removeprefix("kid20_"), "attributes"}
    assert {"torch", "stylegan", "torchvision"} <= set(line["versions"]) and line["notes"]
    assert line["ops"] == "reference", "20 images are no reason to compile"
    assert line["protocol"]["truncation_psi"] == 1 and line["protocol"]["xflip"] is False
    for text in ("attributes20", "lower", "missing:", "attributes.png"):
        assert text in result.err
    assert Path("leaks.png").is_file() and Path("attributes.png").read_bytes()[:4] == b"\x89PNG"


def test_a_class_by_its_name(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []
    for name in ("dog", "1", "owl"):
        more = ["--metrics", "attributes20", "--class-idx", name]
        arguments = command(here, *more, network="G3.safetensors", data="classes.zip")
        result = stylegan(*arguments, capsys=capsys, monkeypatch=monkeypatch)
        assert result.code == 0, result.err
        lines.append(json.loads(result.out))
    assert [line["protocol"]["class_idx"] for line in lines] == [1, 1, 2]
    assert lines[0]["results"] == lines[1]["results"] != lines[2]["results"]


def test_help_lists_all_metrics(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    result = stylegan("evaluate", "--help", capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 0 and result.out.splitlines()[-len(table.METRICS) :] == listed()
    assert len(listed()) == len(table.METRICS)


@pytest.mark.parametrize(
    ("changes", "more", "says"),
    [
        ({}, ["--metrics", "fdi50k"], "did you mean 'fid50k'"),
        ({}, ["--metrics", "kid5k_mobilnet_v2"], "did you mean 'mobilenet_v2'"),
        ({}, ["--metrics", "fid"], "such as fid50k"),
        ({}, ["--metrics", ","], "no metric is named"),
        ({}, ["--metrics", "fid50k"], "weights-inception-2015-12-05-6726825d.pth"),
        ({}, ["--metrics", "eqt8"], "starts from a learned constant"),
        ({}, ["--metrics", "attributes20", "--class-idx", "0"], "class_idx=0"),
        ({"network": "G3.safetensors"}, ["--metrics", "attributes20", "--class-idx", "cow"], "did you mean 'owl'"),
        ({"network": "G3.safetensors"}, ["--metrics", "attributes20"], "has no labels"),
        ({"data": "few.zip"}, ["--metrics", f"pr20_{SMALL}"], "needs at least 5 real images"),
        ({"data": "large.zip"}, ["--metrics", "attributes20"], "stylegan prepare SOURCE DEST --resolution 16x16"),
        ({"data": "grey.zip"}, ["--metrics", "attributes20"], "with 1: they cannot be compared"),
        ({"data": "nowhere.zip"}, ["--metrics", "attributes20"], "nowhere.zip"),
        ({"network": "nowhere"}, ["--metrics", "attributes20"], "no such file or run folder"),
        ({}, ["--metrics", "attributes20", "--repeats", "0"], "--repeats"),
        ({}, ["--metrics", "attributes20", "--batch", "0"], "--batch is given 2 times"),
        ({}, ["--metrics", "attributes20", "--weights", "attributes"], "give NAME=FILE"),
        ({}, ["--metrics", "attributes20", "--weights", "atributes=x"], "did you mean 'attributes'"),
        ({}, ["--metrics", "attributes20", "--weights", "attributes=G"], "there is no file of --weights attributes G"),
        ({}, ["--metrics", "attributes20", "--weights", "attributes=."], "it is a folder"),
        (
            {},
            ["--weights", "attributes=a", "--weights", "attributes=b", "--metrics", "attributes20"],
            "there is no file",
        ),
        ({}, ["--metrics", "attributes20", "--ops", "compield"], "did you mean 'compiled'"),
        ({}, ["--metrics", f"kid20_{SMALL}", "--weights", f"{SMALL}=code.pth"], "nothing is executed"),
        ({}, ["--metrics", "attributes20", "--weights", "attributes=code.pth"], "is not a network that reads"),
        ({}, ["--metrics", "attributes20", "--weights", "attributes={}/G.safetensors"], "is not a network that reads"),
        ({}, ["--metrics", "kid20_resnet18", "--weights", "resnet18={}/small.pth"], "belongs to another network"),
        ({}, ["--metrics", "attributes20", "--device", "abacus"], "device=abacus"),
    ],
)
def test_bad_input(
    changes: dict[str, str],
    more: list[str],
    says: str,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.save({"x": Path}, "code.pth")  # a class in place of a tensor
    arguments = command(here, *(part.replace("{}", str(here)) for part in more), **changes)
    result = stylegan(*arguments, capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 2 and result.out == ""
    assert result.err.count("error: ") == 1 and "Traceback" not in result.err and says in result.err, result.err


def test_attributes_refuses_what_only_training_takes(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ["--epochs", "3", "--out", "x.safetensors"]
    result = stylegan("attributes", "--data", f"{here}/reals.zip", *more, capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 2 and result.err == "error: --out, --epochs: only for --train; leave it out\n"


def test_two_ranks_equal_one(here: Path, tmp_path: Path) -> None:
    """In processes of their own with one thread each, and no cache in common."""
    lines = []
    for ranks in (1, 2):
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"] if ranks == 2 else []
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": f"{tmp_path}/{ranks}"}
        arguments = [*launch, "-m", "stylegan.cli", *command(here, "--metrics", METRICS)]
        done = subprocess.run(
            [sys.executable, *arguments],
            env=env,
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 1
        lines.append(json.loads(done.stdout))
    assert [line["ranks"] for line in lines] == [1, 2] and len(lines[0]["results"]) == 9
    assert lines[1]["results"] == pytest.approx(lines[0]["results"], rel=1e-9)


def test_metrics_during_training(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["experiment=debug", f"data.path={here}/reals.zip", "device=cpu", "training.snapshot_kimg=0.016"]
    settings += ["metrics.names=[attributes20]", "metrics.every=2", "training.checkpoint_kimg=0.016", REFERENCE]
    settings += [f"metrics.weights=['attributes={here}/attributes.safetensors']", "metrics.batch=8"]

    def train(*more: str) -> Result:
        return run_here("train", *settings, *more, capsys=capsys, monkeypatch=monkeypatch)

    whole = train("run_dir=whole", "training.kimg=0.064")
    assert whole.code == 0, whole.err
    records = layout.read_metrics(tmp_path / "whole")
    assert [record["nimg"] for record in records] == [32, 64], "every second snapshot, and not at the start"
    assert whole.err.count("attributes20 ") == 2
    values = [record["results"]["attributes20"] for record in records]
    snapshots = [read_snapshot(path).metadata for path in layout.snapshots(tmp_path / "whole")]
    carried = {metadata["provenance"]["nimg"]: metadata["provenance"].get("metrics") for metadata in snapshots}
    assert carried == {
        nimg: next(({key: r[key] for key in ("results", "fakes", "reals")} for r in records if r["nimg"] == nimg), None)
        for nimg in (16, 32, 48, 64)
    }
    with (
        Image.open(layout.fakes_path(tmp_path / "whole", 64)) as fakes,
        Image.open(tmp_path / "whole/reals.png") as reals,
    ):
        assert DIGITAL_SOURCE_TYPE in fakes.info["XML:com.adobe.xmp"] and reals.info == {}
        assert json.loads(fakes.info["stylegan"])["weights_sha256"] == snapshots[-1]["weights_sha256"]
    best = records[values.index(min(values))]["nimg"]
    kept = layout.best_snapshot_path(tmp_path / "whole", "attributes20")
    assert kept.read_bytes() == layout.snapshot_path(tmp_path / "whole", best).read_bytes()
    assert layout.snapshots(tmp_path / "whole")[-1].name == "G_ema-000000064.safetensors", "not the copy"
    assert b"metrics/attributes20" in next((tmp_path / "whole").glob("events*")).read_bytes()
    # Measured at its end, too, and again only what a resumed run trains again; the training itself is not touched.
    assert train("run_dir=parts", "training.kimg=0.048").code == 0
    again = run_here("train", "run_dir=parts", "training.kimg=0.064", capsys=capsys, monkeypatch=monkeypatch)
    assert again.code == 0, again.err
    parts = layout.read_metrics(tmp_path / "parts")
    assert [record["nimg"] for record in parts] == [32, 48, 64]
    assert [r["results"] for r in parts if r["nimg"] != 48] == [r["results"] for r in records]


def test_a_kill_between_snapshot_and_metrics(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 32 images. Asked to end at the checkpoint of 16, it is finished there, and measured once; so again at 32."""
    settings = ["experiment=debug", f"data.path={here}/reals.zip", "device=cpu", "training.checkpoint_kimg=0.016"]
    settings += ["metrics.names=[attributes20]", "metrics.batch=8", "training.kimg=0.032", "run_dir=run", REFERENCE]
    settings += [f"metrics.weights=['attributes={here}/attributes.safetensors']"]
    run = lambda *args: run_here("train", *args, capsys=capsys, monkeypatch=monkeypatch)  # noqa: E731

    def killed(watch: Watch, G_ema: Any, nimg: int) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patches:
        patches.setattr(Watch, "measure", killed)
        assert run(*settings).code == 130
    assert layout.snapshots(tmp_path / "run") and not layout.read_metrics(tmp_path / "run")
    for kimg in (0.016, 0.016, 0.032):
        assert run("run_dir=run", f"training.kimg={kimg}").code == 0
    assert [record["nimg"] for record in layout.read_metrics(tmp_path / "run")] == [16, 32]
    assert layout.best_snapshot_path(tmp_path / "run", "attributes20").exists()
    snapshots = [read_snapshot(path).metadata["provenance"] for path in layout.snapshots(tmp_path / "run")]
    assert ["metrics" in provenance for provenance in snapshots] == [True, True]


def test_a_rollback_leaves_no_records_of_what_it_gave_up(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from stylegan.training import loop

    honest, seen = loop.train_step, []

    def break_once(state: Any, *arguments: Any) -> Any:
        seen.append(state.nimg)
        if seen.count(32) == 1 and state.nimg == 32:  # after the measurement at 32, before the next checkpoint
            raise loop.NonfiniteGradientsError("a gradient is not finite")
        return honest(state, *arguments)

    monkeypatch.setattr(loop, "train_step", break_once)
    settings = ["experiment=debug", f"data.path={here}/reals.zip", "device=cpu", "training.on_nonfinite=rollback"]
    settings += ["training.snapshot_kimg=0.016", "training.checkpoint_kimg=0.024", "logging.interval_kimg=0.008"]
    settings += ["metrics.names=[attributes20]", "metrics.batch=8", "training.kimg=0.048", "run_dir=run", REFERENCE]
    settings += [f"metrics.weights=['attributes={here}/attributes.safetensors']"]
    result = run_here("train", *settings, capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 0 and "0.032 kimg: a gradient is not finite; back to" in result.err, result.err
    assert seen == [0, 8, 16, 24, 32, 24, 32, 40]
    assert result.err.count("0.032 kimg  attributes20 ") == 2, "it was measured before and after"
    records = layout.read_metrics(tmp_path / "run")
    assert [record["nimg"] for record in records] == [16, 32, 48]
    assert [record["nimg"] for record in layout.read_stats(tmp_path / "run")] == [8, 16, 24, 32, 40, 48]
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    shown = {event.step: event.value for event in events.Scalars("metrics/attributes20")}
    assert [event.step for event in events.Scalars("metrics/attributes20")] == [16, 32, 48], "none stands twice"
    assert shown == pytest.approx({record["nimg"]: record["results"]["attributes20"] for record in records})
    best = min(records, key=lambda record: record["results"]["attributes20"])["nimg"]
    kept = layout.best_snapshot_path(tmp_path / "run", "attributes20")
    assert kept.read_bytes() == layout.snapshot_path(tmp_path / "run", best).read_bytes()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("metrics.names=[fdi50k]", "did you mean 'fid50k'"),
        ("metrics.names=[fid50k]", "weights-inception"),
        ("metrics.every=0", "metrics.every=0"),
        ("metrics.best=kid", "metrics.best=kid is not measured"),
    ],
)
def test_wrong_settings_stop_before_training(
    setting: str,
    says: str,
    here: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = ["experiment=debug", f"data.path={here}/reals.zip", "run_dir=run", "metrics.names=[attributes20]"]
    settings += [f"metrics.weights=['attributes={here}/attributes.safetensors']", REFERENCE, setting]
    result = run_here("train", *settings, capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 2 and says in result.err and not (tmp_path / "run" / "config.yaml").exists(), result.err

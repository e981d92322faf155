"""Model cards: every fact is the metadata's, what is missing is called so, and names cannot become markup."""

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from stylegan import run_dir
from stylegan.errors import UserError
from stylegan.files import sha256, shipped
from stylegan.interop.card import model_card, read_evaluations
from stylegan.interop.provenance import DIGITAL_SOURCE_TYPE
from stylegan.interop.snapshot import read_snapshot
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.models.build import GENERATORS
from tests.integration.test_evaluate import stylegan
from tests.unit.tiny import tiny_pair
from tests.unit.without_w import WithoutWConfig

DATA = {
    "name": "heads",
    "images": 500,
    "licence": "CC0-1.0",
    "source": "a camera",
    "content_hash": "cd" * 32,
    "crop": "cover",
    "resize_filter": "lanczos",
    "mirrored": True,
}
FULL: dict[str, Any] = {
    "data": DATA,
    "nimg": 48000,
    "seconds": 5400,
    "init_from": "dogs.safetensors",
    "batch_size": 16,
    "seed": 3,
    "loss": {"kind": "logistic", "r1_gamma": 0.5, "other": None},
    "optim": {"G_lr": 0.002, "D_lr": 0.0025},
    "augment": {"kind": "ada"},
    "augment_p": 0.25,
    "torch": "2.14.1",
}


def card(path: Path, provenance: dict[str, Any], c_dim: int = 0, **options: Any) -> str:
    save_snapshot(path, tiny_pair(c_dim=c_dim)[0], provenance=provenance)
    return model_card(path, read_snapshot(path), **options)


def rows(text: str) -> dict[str, str]:
    """The cells of all tables of two columns, by the first of them; with the section before it where it stands twice."""
    found: dict[str, str] = {}
    for section in re.split("^## ", text, flags=re.MULTILINE)[1:]:
        for key, value in re.findall(r"^\| (.+?) \| (.+?) \|$", section, flags=re.MULTILINE):
            found[f"{section.splitlines()[0]}/{key}"] = value
    return found


def test_facts_are_those_of_the_metadata(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    text = card(path, FULL, c_dim=3, licence="CC-BY-4.0")
    found = rows(text)
    assert found["Training data/name"] == "heads" and found["Training data/licence"] == "CC0-1.0"
    assert found["Training data/source"] == "a camera" and found["Training data/content hash"] == f"`{'cd' * 32}`"
    assert found["Training data/images"] == "500, half of them mirror images"
    assert (found["Training data/crop"], found["Training data/resize filter"]) == ("cover", "lanczos")
    assert found["Training/length"].startswith("48 kimg") and found["Training/time"] == "1.50 hours"
    assert (
        found["Training/started from"] == "dogs.safetensors" and found["Training/loss"] == "kind logistic, r1_gamma 0.5"
    )
    assert found["Training/learning rates G, D"] == "0.002, 0.0025"
    assert found["Training/augmentation"] == "ada, p 0.25 at the end"
    assert found["The network/licence"] == "CC-BY-4.0" and found["The network/classes"] == "3"
    assert sha256(path) in found["The network/file"]
    assert read_snapshot(path).metadata["weights_sha256"] in found["The network/weights"]
    limits = text.partition("## Limits")[2]
    for words in ("500 training images are few", "augmentation", "started from another network (dogs.safetensors)"):
        assert words in limits
    assert "not recorded" not in text.replace("Metrics: not recorded", "")


def test_what_an_older_snapshot_does_not_say_is_not_recorded(tmp_path: Path) -> None:
    text = card(tmp_path / "old.safetensors", {})
    found = rows(text)
    for name in (
        "Training data/name",
        "Training data/licence",
        "Training data/images",
        "Training/length",
        "Training/seed",
    ):
        assert found[name] == "not recorded"
    assert found["The network/licence"] == "not stated" and found["The network/precision"] == "fp32"
    assert "The licence of the training data was not recorded" in text and "Metrics: not recorded" in text
    demo = shipped("datasets/faces3d/demo.safetensors")
    snapshot = read_snapshot(demo)
    assert rows(model_card(demo, snapshot))["Training/started from"] == "random weights"
    del snapshot.metadata["provenance"]["init_from"]
    found = rows(model_card(demo, snapshot))
    assert found["Training data/licence"] == "CC0-1.0" and found["Training/started from"] == "not recorded"


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        (None, {}),
        ("CC0-1.0", {"license": "cc0-1.0"}),
        ("My: own", {"license": "other", "license_name": "My: own"}),
    ],
)
def test_the_head_is_what_the_hub_reads(tmp_path: Path, licence: str | None, expected: dict[str, str]) -> None:
    text = card(tmp_path / "a.safetensors", FULL, licence=licence)
    _, head, body = text.split("---\n", 2)
    found = yaml.safe_load(head)
    assert {key: found[key] for key in found if key.startswith("license")} == expected
    assert found["library_name"] == "stylegan" and found["pipeline_tag"] == "unconditional-image-generation"
    assert found["tags"] == ["gan", "stylegan2", "image-generation"]
    assert body.startswith("\n# a\n")


def test_names_cannot_become_markup(tmp_path: Path) -> None:
    data = {**DATA, "name": "a|b\n# head <img src=x> [x](y)", "source": "---"}
    text = card(tmp_path / "a.safetensors", {**FULL, "data": data})
    assert rows(text)["Training data/name"] == r"a\|b # head &lt;img src=x> \[x](y)"
    assert "\n# head" not in text and "<img" not in text and text.count("\n---\n") == 1


def test_its_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for c_dim in (0, 3):
        text = card(Path("a.safetensors"), FULL, c_dim=c_dim)
        code, scope = text.rpartition("```python\n")[2].partition("```")[0], {}
        exec(code, scope)
        assert scope["images"].shape == (4, 3, 16, 16)
        assert DIGITAL_SOURCE_TYPE in text


def test_a_network_without_w_is_not_truncated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GENERATORS, WithoutWConfig.kind, WithoutWConfig)
    monkeypatch.chdir(tmp_path)
    path = Path("a.safetensors")
    assert "runcation" in card(path, FULL) and "times w of" in card(path, FULL)
    save_snapshot(path, WithoutWConfig().build(resolution=(8, 8), channels=3, c_dim=0), provenance=FULL)
    text = model_card(path, read_snapshot(path))
    assert "runcation" not in text and rows(text)["The network/latents"] == "z of 8"
    assert rows(text)["The network/precision"] == "fp32"
    scope: dict[str, Any] = {"stylegan": SimpleNamespace(load_generator=lambda path: read_snapshot(path).G)}
    exec(text.rpartition("```python\n")[2].partition("```")[0].replace("import stylegan\n", ""), scope)
    assert scope["images"].shape == (4, 3, 8, 8)


def test_metrics_of_the_file_come_before_those_of_the_run(tmp_path: Path) -> None:
    path = run_dir.snapshot_path(tmp_path, 48000)
    assert "Metrics: not recorded" in card(path, FULL)
    (tmp_path / run_dir.CONFIG).touch()
    records = [
        {"nimg": nimg, "results": {"fid50k": value}, "fakes": 50000, "reals": 500}
        for nimg, value in ((24000, 9.0), (48000, 5.25), (72000, 4.0))
    ]
    (tmp_path / run_dir.METRICS).write_text("".join(json.dumps(record) + "\n" for record in records))
    assert "| fid50k | 5.25 | its training data | 50000 | 500 |" in card(path, FULL)
    own = {"results": {"kid5k_mobilenet_v2": 0.05, "is5k": None}, "fakes": 5000, "reals": 500}
    text = card(path, {**FULL, "metrics": own})
    assert "| kid5k_mobilenet_v2 | 0.05 | its training data | 5000 | 500 |" in text and "fid50k" not in text
    assert "| is5k | not recorded |" in text


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("net.safetensors")
    expected = card(path, FULL)

    def run(*arguments: str) -> Any:
        return stylegan("card", *arguments, capsys=capsys, monkeypatch=monkeypatch)

    assert run("net.safetensors").out == expected
    assert run("net.safetensors", "--out", "README.md").out == "README.md\n"
    assert Path("README.md").read_text() == expected
    line = {
        "results": {"kid2k_mobilenet_v2": 0.0596},
        "network": {"sha256": sha256(path)},
        "data": {"name": "held out"},
        "fakes": 2000,
        "reals": 1999,
    }
    other = {**line, "network": {"sha256": "00"}, "results": {"fid50k": 1.0}}
    Path("found.jsonl").write_text(f"{json.dumps(line)}\n{json.dumps(other)}\n")
    out = run("net.safetensors", "--metrics", "found.jsonl", "--out", "README.md", "--overwrite")
    assert out.code == 0
    assert "| kid2k_mobilenet_v2 | 0.0596 | held out | 2000 | 1999 |" in Path("README.md").read_text()
    assert "fid50k" not in Path("README.md").read_text()
    Path("other.jsonl").write_text(json.dumps(other))
    os.mkfifo("pipe")
    Path("run").mkdir()
    Path("run", run_dir.CONFIG).touch()
    for arguments, says in (
        (["nowhere"], "network=nowhere: no such file"),
        (["run"], "this run has no snapshot yet"),
        (["net.safetensors", "--out", "README.md"], "README.md exists already"),
        (["net.safetensors", "--out", "net.safetensors/README.md"], "cannot write net.safetensors/README.md"),
        (["net.safetensors", "--metrics", "nowhere"], "there is no file of --metrics nowhere"),
        (["net.safetensors", "--metrics", "run"], "cannot read the file of --metrics run: it is a folder"),
        (["net.safetensors", "--metrics", "pipe"], "cannot read the file of --metrics pipe: it is a pipe"),
        (["net.safetensors", "--metrics", "README.md"], "was not written by stylegan evaluate"),
        (["net.safetensors", "--metrics", "other.jsonl"], "none of its 1 records is of net.safetensors"),
    ):
        result = run(*arguments)
        assert (result.code, result.out) == (2, "") and says in result.err, result.err


@pytest.mark.parametrize(
    "change",
    [
        *({key: odd} for key in ("results", "data", "fakes", "reals") for odd in (None, "x", [1], {"x": {}})),
        {"results": {"fid50k": "5"}},
        {"data": {"name": 1}},
        {"network": "x"},
        {"network": []},
    ],
)
def test_records_of_another_type_are_none_of_evaluate(tmp_path: Path, change: dict[str, Any]) -> None:
    path, file = tmp_path / "net.safetensors", tmp_path / "found.jsonl"
    card(path, FULL)
    good = {"results": {"a": 1.0, "b": None}, "network": {"sha256": sha256(path)}, "data": {"name": "x"}}
    good |= {"fakes": 1, "reals": 2}
    file.write_text(json.dumps(good))
    assert read_evaluations(file, path) == [good]
    for text in (json.dumps({**good, **change}), "[" * 100_000, "9" * 5000, "1", "\0"):
        file.write_text(text)
        with pytest.raises(UserError, match="was not written by stylegan evaluate"):
            read_evaluations(file, path)

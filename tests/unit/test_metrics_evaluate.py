"""`evaluate` for notebooks: numbers and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import torch

from stylegan.data.archive import ImageDataset
from stylegan.errors import UserError
from stylegan.inference import load_generator
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.metrics.collect import Batch, RowsCollector
from stylegan.metrics.evaluate import evaluate, evaluate_saved, weight_files
from stylegan.metrics.runner import Settings
from tests.integration.images import write_archive
from tests.unit.metric_files import write_attributes
from tests.unit.tiny import tiny_pair

METRICS = ["attributes20", "leaks20"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, c_dim in (("G", 0), ("G3", 3)):
        save_snapshot(tmp_path / f"{name}.safetensors", tiny_pair(c_dim=c_dim)[0], provenance={})
    write_archive(tmp_path / "reals.zip", count=22)
    write_archive(tmp_path / "classes.zip", count=24, labels=3)
    write_attributes(tmp_path / "attributes.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_numbers_of_the_command_without_its_words(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    weights = {"attributes": "attributes.safetensors"}
    files = weight_files(["attributes=attributes.safetensors"])
    line = evaluate_saved("G.safetensors", Path("reals.zip"), METRICS, Settings(3, 8, weights=files), device="cpu").line
    capfd.readouterr()
    options: dict[str, Any] = {"seed": 3, "batch": 8, "weights": weights}
    found = evaluate("G.safetensors", "reals.zip", METRICS, device="cpu", **options)
    assert found == line["results"] and list(found) == ["attributes20", "attributes_coverage20", "leaks20"]
    G = load_generator("G.safetensors").train()
    assert evaluate(G, ImageDataset("reals.zip"), METRICS, **options) == found
    assert all(module.training for module in G.modules()), "it is left as it was"
    assert evaluate(G, here / "reals.zip", METRICS, **{**options, "seed": 4}) != found
    assert capfd.readouterr() == ("", "")


def test_progress_only_where_it_is_asked_for(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes stderr for a terminal
    G = load_generator("G.safetensors")
    evaluate(G, "reals.zip", ["leaks20"])
    assert capfd.readouterr() == ("", "")
    evaluate(G, "reals.zip", ["leaks20"], progress=True)
    told = capfd.readouterr()
    assert told.out == "" and "fakes" in told.err


def test_a_conditional_network(here: Path) -> None:
    G = load_generator("G3.safetensors")
    found = evaluate(G, "classes.zip", ["leaks20"])
    assert evaluate(G, ImageDataset("classes.zip", use_labels=True), ["leaks20"]) == found
    with pytest.raises(UserError, match="open it with use_labels=True"):
        evaluate(G, ImageDataset("classes.zip"), ["leaks20"])
    with pytest.raises(UserError, match="has no labels"):
        evaluate(G, ImageDataset("reals.zip"), ["leaks20"])


def test_a_class_by_its_name(here: Path) -> None:
    about = {"data": {"class_names": ["cat", "dog", "Ü"]}}
    save_snapshot(here / "G3.safetensors", tiny_pair(c_dim=3)[0], provenance=about)
    write_archive(here / "classes.zip", count=69, labels=3)

    def line(class_idx: str) -> Any:
        settings = Settings(0, 8, progress=False)
        found = evaluate_saved(
            "G3.safetensors", Path("classes.zip"), ["leaks20"], settings, device="cpu", class_idx=class_idx
        )
        return found.line["results"], found.line["reals"]

    assert line("dog") == line("1") and line("dog") != line("Ü")
    with pytest.raises(UserError, match="there is no class of that name; did you mean 'dog'"):
        line("Dog")
    with pytest.raises(UserError, match="class_idx=3 does not exist"):
        line("3")


def test_more_features_than_memory_are_refused_before_they_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylegan.memory.total_memory", lambda: 16 * 10**9)
    collector = RowsCollector(10**9, lambda batch: batch.features)
    with pytest.raises(UserError, match="the features of 1000000000 images take 20 GB of memory"):
        collector.add(Batch(0, torch.zeros(2, 3, 4, 4), torch.zeros(2, 5), torch.zeros(2, 0)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metrics": "leaks20"}, "give a list of names"),
        ({"metrics": ["leks20"]}, "did you mean 'leaks'"),
        ({"metrics": []}, "no metric is named"),
        ({"network": "nowhere"}, "no such file or run folder"),
        ({"data": "nowhere.zip"}, "nowhere.zip"),
        ({"weights": {"atributes": "x"}}, "did you mean 'attributes'"),
        ({"batch": 0}, "batch=0"),
    ],
)
def test_mistakes_are_told(here: Path, change: dict[str, Any], says: str) -> None:
    arguments = {"network": "G.safetensors", "data": "reals.zip", "metrics": ["leaks20"], **change}
    with pytest.raises(UserError) as error:
        evaluate(**arguments)
    assert says in str(error.value)


def test_what_is_open_and_loaded_is_taken_as_it_is(here: Path) -> None:
    G = load_generator("G.safetensors")
    with pytest.raises(UserError, match="open with xflip"):
        evaluate(G, ImageDataset("reals.zip", xflip=True), ["leaks20"])
    with pytest.raises(UserError, match=r"device=cuda, but the network is on cpu: .*G\.to\('cuda'\)"):
        evaluate(G, "reals.zip", ["leaks20"], device="cuda")
    assert evaluate(G, "reals.zip", ["leaks20"], device=torch.device("cpu")).keys() == {"leaks20"}

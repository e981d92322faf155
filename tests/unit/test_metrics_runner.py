"""Measuring networks: repeatable to the bit, streaming, cached, and honest about what was compared."""

import multiprocessing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stylegan.data.archive import ImageDataset
from stylegan.errors import UserError
from stylegan.metrics import stream
from stylegan.metrics.collect import Batch
from stylegan.metrics.evaluate import open_reals
from stylegan.metrics.fid import Moments, MomentsCollector
from stylegan.metrics.inception_score import ScoresCollector
from stylegan.metrics.names import parse_all
from stylegan.metrics.reference import cached, reference_path
from stylegan.metrics.runner import Evaluator, Settings
from stylegan.rng import generator
from tests.integration.images import write_archive
from tests.unit.metric_files import SMALL, write_attributes, write_small
from tests.unit.tiny import tiny_pair

CPU = torch.device("cpu")
NAMES = [f"{metric}24_{SMALL}" for metric in ("fid", "kid", "pr", "dc", "is")]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    write_archive(folder / "reals.zip", count=30)
    write_archive(folder / "classes.zip", count=30, labels=3)
    return {
        "folder": folder,
        SMALL: write_small(folder / "small.pth"),
        "attributes": write_attributes(folder / "attributes.safetensors"),
    }


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "stylegan" / "metrics"


def evaluator(files: dict[str, Path], names: list[str], data: str = "reals.zip", **settings: Any) -> Evaluator:
    options = Settings(**{"batch": 8, "weights": {name: files[name] for name in (SMALL, "attributes")}, **settings})
    return Evaluator(parse_all(names), open_reals(files["folder"] / data, data == "classes.zip"), options, CPU)


def test_all_metrics_share_one_pass_and_repeat_to_the_bit(
    files: dict[str, Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    once = stream.collect
    monkeypatch.setattr("stylegan.metrics.runner.collect", lambda *args: (passes.append(1), once(*args))[1])
    G, _ = tiny_pair()
    first = evaluator(files, NAMES).measure(G.eval())
    assert len(passes) == 2, "one over the fakes, one over the reals"
    assert (first.fakes, first.reals) == (24, 30)
    digits = evaluator(files, NAMES).networks[SMALL].name.rpartition("-")[2]
    ending = f"24_{SMALL}-{digits}"
    assert list(first.values) == [
        f"{n}{ending}" for n in ("fid", "kid", "precision", "recall", "density", "coverage", "is", "is_std")
    ]
    again = evaluator(files, NAMES).measure(G)
    assert again.values == first.values and len(passes) == 3, "the reals come from the cache"
    for file in cache.glob("*.safetensors"):
        file.unlink()
    assert evaluator(files, NAMES).measure(G).values == first.values
    assert evaluator(files, NAMES[:1]).measure(G).values == {f"fid{ending}": first.values[f"fid{ending}"]}
    other = evaluator(files, NAMES, seed=1).measure(G).values
    assert all(other[name] != first.values[name] for name in first.values if name.startswith(("fid", "kid", "is")))


def test_batches_only_change_the_rounding(files: dict[str, Path]) -> None:
    """Latents are drawn batch by batch, so that fakes are compared with themselves here: the reals."""
    values = [evaluator(files, NAMES[:2], real_vs_real=True, batch=b).measure(tiny_pair()[0].eval()) for b in (4, 32)]
    assert values[0].values == pytest.approx(values[1].values, rel=1e-4)
    assert (values[0].fakes, values[0].reals) == (15, 15)
    assert all(name.endswith("@reals") for name in values[0].values)


def test_a_damaged_or_foreign_cache_file_is_computed_again(files: dict[str, Path], cache: Path) -> None:
    G = tiny_pair()[0].eval()
    first = evaluator(files, NAMES[:2]).measure(G).values
    kept = {file: file.read_bytes() for file in cache.glob("*.safetensors")}
    assert len(kept) == 2, "moments and features"
    for file in kept:
        file.write_bytes(kept[file][:50])
    assert evaluator(files, NAMES[:2]).measure(G).values == first
    assert {file: file.read_bytes() for file in cache.glob("*.safetensors")} == kept
    assert not list(cache.glob(".*.safetensors")), "temporary files"


def test_other_data_has_another_cache_file(files: dict[str, Path], cache: Path, tmp_path: Path) -> None:
    G = tiny_pair()[0].eval()
    evaluator(files, NAMES[:1]).measure(G)
    files = {**files, "folder": tmp_path}
    write_archive(tmp_path / "reals.zip", count=31)
    assert evaluator(files, NAMES[:1]).measure(G).reals == 31
    assert len(list(cache.glob("*.safetensors"))) == 2


def _fill(folder: str, number: int, results: Any) -> None:
    def make(missing: list[str]) -> dict[str, dict[str, torch.Tensor]]:
        results.put(f"made by {number}")
        return {name: {"x": torch.full([1000], float(number))} for name in missing}

    found = cached({"a": Path(folder) / "a.safetensors", "b": Path(folder) / "b.safetensors"}, make)
    results.put({name: float(part["x"][0]) for name, part in found.items()})


def test_two_processes_at_once_compute_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=_fill, args=(str(tmp_path), i, results)) for i in (1, 2)]
    for process in processes:
        process.start()
    told = [results.get(timeout=60) for _ in range(3)]
    for process in processes:
        process.join(60)
    made = [text for text in told if isinstance(text, str)]
    assert len(made) == 1 and results.empty()
    number = float(made[0][-1])
    assert [found for found in told if isinstance(found, dict)] == [{"a": number, "b": number}] * 2


def test_the_cache_key_is_all_that_matters(cache: Path) -> None:
    keys: list[dict[str, Any]] = [{"a": 1}, {"a": 2}, {"a": 1, "b": None}]
    assert len({reference_path(key) for key in keys}) == 3
    assert reference_path(keys[0]).parent == cache


def test_sums_do_not_grow_with_the_images() -> None:
    moments, scores = MomentsCollector(3), ScoresCollector(100, 5)
    x = torch.randn(100, 3, dtype=torch.float64)
    logits = torch.randn(100, 5, generator=generator(0, "logits"))
    for start in range(0, 100, 7):
        part = slice(start, start + 7)
        for collector in (moments, scores):
            collector.add(Batch(start, x[part], x[part], logits[part]))
    sums = moments.reduce(CPU)
    assert torch.allclose(Moments(**sums).mean, x.mean(0)) and sum(t.numel() for t in sums.values()) == 1 + 3 + 9
    assert torch.allclose(Moments(**sums).covariance(), torch.cov(x.T, correction=0))
    whole = ScoresCollector(100, 5)
    whole.add(Batch(0, x, x, logits))
    for name, value in whole.reduce(CPU).items():
        assert torch.allclose(scores.reduce(CPU)[name], value)


def test_the_protocol_of_fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """psi 1, random noise that differs from image to image, uint8, labels of the data set."""
    G, _ = tiny_pair(c_dim=3)
    labels = torch.eye(3)[[2, 2, 1]]
    seen: list[dict[str, Any]] = []

    def forward(z: Any, c: Any, **options: Any) -> torch.Tensor:
        seen.append({"z": z, "c": c, **options})
        return torch.full([len(z), 3, 4, 4], 0.999)

    monkeypatch.setattr(G, "forward", forward)
    images = stream.sampler_of(G, labels)(0, range(40))
    assert images.dtype == torch.uint8 and set(images.flatten().tolist()) == {255}
    (call,) = seen
    assert call["noise_mode"] == "random" and call["noise"].shape == (40, G.synthesis.noise_size)
    assert "truncation_psi" not in call and float(call["noise"].std(0).mean()) > 0.5
    assert set(call["c"].argmax(1).tolist()) == {1, 2}


def test_reals_are_all_images_unmirrored(files: dict[str, Path]) -> None:
    dataset = ImageDataset(files["folder"] / "reals.zip")
    got = dict(stream.stored(dataset, range(30), 8, lambda n: None))
    assert list(got) == [0, 8, 16, 24] and [len(batch) for batch in got.values()] == [8, 8, 8, 6]
    assert torch.equal(torch.cat(list(got.values())), torch.stack([dataset[i][0] for i in range(30)]))


def test_one_class(files: dict[str, Path]) -> None:
    G = tiny_pair(c_dim=3)[0].eval()
    assert evaluator(files, ["attributes20"], "classes.zip").measure(G).reals == 30
    with pytest.raises(UserError, match=r"at least 20 real images, and .* gives 10"):
        evaluator(files, ["attributes20"], "classes.zip", class_idx=1)
    found = evaluator(files, NAMES[:1], "classes.zip", class_idx=1).measure(G)
    assert found.reals == 10 and next(iter(found.values)).endswith("@class1")
    assert found.values != evaluator(files, NAMES[:1], "classes.zip", class_idx=2).measure(G).values


def test_metrics_of_the_network_are_named_like_the_others(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lpips = SimpleNamespace(network=lambda a, b: (a - b).square().mean((1, 2, 3)), weights={"lpips": "0"}, name="")
    monkeypatch.setattr("stylegan.metrics.ppl.load_lpips", lambda *_: lpips)
    G = tiny_pair(c_dim=3)[0].eval()
    values = {}
    for class_idx in (None, 1, 2):
        measure = evaluator(files, ["ppl_wend8", NAMES[0]], "classes.zip", class_idx=class_idx)
        values |= (found := measure.measure(G).values)
        assert found.keys() == measure.higher_is_better.keys()
    assert {name for name in values if name.startswith("ppl")} == {"ppl_wend8", "ppl_wend8@class1", "ppl_wend8@class2"}
    assert values["ppl_wend8@class1"] != values["ppl_wend8@class2"]
    with pytest.raises(UserError, match="ppl_wend8 moves the inputs of a network"):
        evaluator(files, ["ppl_wend8"], real_vs_real=True)


def test_notes_on_few_images(files: dict[str, Path]) -> None:
    notes = evaluator(files, NAMES).notes
    assert any("24 images for 1024 features" in note and "bias FID upwards" in note for note in notes)
    assert any("subsets of 24" in note for note in notes)
    (note,) = evaluator(files, ["attributes20"]).notes
    assert "fewer than 5 of 20 faces" in note


def test_what_does_not_fit_is_refused(files: dict[str, Path]) -> None:
    measure = evaluator(files, NAMES[:1])
    for G, says in (
        (tiny_pair(resolution=(32, 32))[0], "32x32 with 3 channel"),
        (tiny_pair(channels=1)[0], "16x16 with 1 channel"),
        (tiny_pair(c_dim=2)[0], "labels of length 2"),
    ):
        with pytest.raises(UserError, match=says):
            measure.measure(G)
    with pytest.raises(UserError, match="starts from a learned constant"):
        evaluator(files, ["eqt8"]).check(tiny_pair()[0])
    with pytest.raises(UserError, match=r"at least 20 real images, .* gives 30 for two halves"):
        evaluator(files, ["attributes20"], real_vs_real=True)
    with pytest.raises(UserError, match="class"):
        evaluator(files, NAMES[:1], class_idx=0)
    with pytest.raises(UserError, match="classes"):
        evaluator(files, NAMES[:1], "classes.zip", class_idx=7).check(tiny_pair(c_dim=3)[0])

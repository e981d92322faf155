"""Weights are found, checked and read without running code; what is wrong with a file is said."""

import hashlib
import pickle
import shutil
import urllib.error
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from stylegan.errors import UserError
from stylegan.metrics.features import FeatureNetwork, as_rgb, feature_names, load_features, torchvision_files
from stylegan.metrics.weights import Published, find_weights, read_tensors
from tests.unit.metric_files import SMALL, write_small

CPU = torch.device("cpu")
EXECUTED: list[str] = []


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return EXECUTED.append, ("code of a file was executed",)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Caches of this test alone, and no network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    return tmp_path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_small(tmp_path / "small.pth")


def published(path: Path) -> Published:
    return Published(path.name, hashlib.sha256(path.read_bytes()).hexdigest()[:8], "https://example.invalid/x.pth")


def test_features_do_not_depend_on_the_batch_and_say_their_weights(small: Path) -> None:
    network = load_features(SMALL, CPU, {SMALL: small})
    assert network.name == f"{SMALL}-{network.weights_sha256[:8]}", "these are not the published weights"
    assert network.resize == "antialiased bilinear to 224x224"
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    features, logits = network(images)
    assert features.shape == (3, network.dim) == (3, 1024) and logits.shape == (3, network.classes)
    assert torch.allclose(features[1:2], network(images[1:2])[0], atol=1e-5)
    assert float(features.std(0).mean()) > 0 and bool(features.isfinite().all())
    assert torch.allclose(network.network.model.fc(features), logits, atol=1e-4), "not the input of the last layer"  # pyright: ignore


def test_folded_normalisation_changes_nothing(small: Path) -> None:
    network = load_features(SMALL, CPU, {SMALL: small})
    plain = torchvision.models.get_model(SMALL, weights=None)
    plain.load_state_dict(read_tensors(small))
    images = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        logits = plain.eval()((images / 255 - mean) / std)
    assert torch.allclose(network(images)[1], logits, rtol=1e-4, atol=1e-4 * float(logits.std()))
    model: Any = network.network
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in model.model.stage2.modules())


def test_grey_and_transparent_images() -> None:
    grey = torch.full([1, 1, 2, 2], 7, dtype=torch.uint8)
    assert as_rgb(grey).shape == (1, 3, 2, 2) and int(as_rgb(grey).max()) == 7
    clear = torch.tensor([10, 20, 30, 0], dtype=torch.uint8).view(1, 4, 1, 1)
    assert as_rgb(clear).flatten().tolist() == [255, 255, 255]
    clear[0, 3] = 255
    assert as_rgb(clear).flatten().tolist() == [10, 20, 30]


def test_a_published_file_is_found_in_either_cache_and_needs_no_suffix(small: Path, elsewhere: Path) -> None:
    for folder in ("cache/stylegan/weights", "torch/hub/checkpoints"):
        (elsewhere / folder).mkdir(parents=True)
        shutil.copy(small, elsewhere / folder / small.name)
        found = find_weights("x", [published(small)])
        assert found.published is not None and found.file == "small.pth"
        shutil.rmtree(elsewhere / folder)


def test_the_second_published_file_is_known_too(small: Path) -> None:
    assert find_weights("x", [Published("a.pth", "00000000"), published(small)], small).published == published(small)


def test_safetensors(small: Path, tmp_path: Path) -> None:
    save_file(read_tensors(small), tmp_path / "small.safetensors")
    features = [load_features(SMALL, CPU, {SMALL: tmp_path / f"small.{e}"}) for e in ("pth", "safetensors")]
    image = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    assert torch.equal(features[0](image)[0], features[1](image)[0])


def refused(says: str, *args: Any) -> str:
    with pytest.raises(UserError) as error:
        find_weights(*args)
    assert says in str(error.value), error.value
    return str(error.value)


def test_a_missing_file_names_itself_and_its_place(elsewhere: Path) -> None:
    with pytest.raises(UserError) as error:
        load_features("inception", CPU)
    place = elsewhere / "cache/stylegan/weights"
    for text in ("weights-inception-2015-12-05-6726825d.pth", str(place), "--weights inception=FILE", "torch-fidelity"):
        assert text in str(error.value)
    with pytest.raises(UserError) as error:
        load_features("mobilenet_v2", CPU)
    for text in ("mobilenet_v2-b0353104.pth", "download.pytorch.org", "no network in tests", str(place)):
        assert text in str(error.value)


def test_torchvision_downloads_are_checked_by_hash(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(url: str, to: str, hash_prefix: str, **_: object) -> None:
        asked.append((url, hash_prefix))
        shutil.copy(small, to)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    item = published(small)
    assert find_weights("x", [item]).published == item and asked == [(item.url, item.sha256)]


def test_wrong_files(small: Path, tmp_path: Path) -> None:
    named = tmp_path / "x-12345678.pth"
    shutil.copy(small, named)
    refused("its name says 12345678", "x", [Published("a", "ffffffff")], named)
    refused("there is no such file", "x", [Published("a", "ffffffff")], tmp_path / "nowhere.pth")
    cut = tmp_path / "cut.pth"
    cut.write_bytes(small.read_bytes()[:1000])
    refused("cannot be read as weights", "x", [Published("a", "ffffffff")], cut)
    text = tmp_path / "text.safetensors"
    text.write_text("no weights at all")
    refused("cannot be read as weights", "x", [Published("a", "ffffffff")], text)
    with (
        zipfile.ZipFile(small) as stored,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    refused("is a compressed ZIP archive", "x", [Published("a", "ffffffff")], tmp_path / "packed.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    refused("not a table of tensors", "x", [Published("a", "ffffffff")], tmp_path / "list.pth")


@pytest.mark.filterwarnings("error:Detected pickle protocol")  # one message: that of the refusal
def test_code_is_not_run(tmp_path: Path) -> None:
    torch.save({"weight": Bomb()}, tmp_path / "torch.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Bomb()))
    for file in ("torch.pth", "plain.pth"):
        refused("nothing is executed", "x", [Published("a", "ffffffff")], tmp_path / file)
    script = torch.jit.script(torch.nn.Linear(1, 1))
    torch.jit.save(script, str(tmp_path / "script.pt"))
    refused("", "x", [Published("a", "ffffffff")], tmp_path / "script.pt")
    assert EXECUTED == []


def test_weights_of_another_network(small: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="belongs to another network"):
        load_features("mobilenet_v2", CPU, {"mobilenet_v2": small})
    state: dict[str, Tensor] = read_tensors(small)
    state["fc.weight"] = state["fc.weight"][:10]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"fc.weight has the shape \(10, 1024\)"):
        load_features(SMALL, CPU, {SMALL: tmp_path / "other.pth"})


def test_every_network_has_published_files() -> None:
    names = feature_names()
    assert names[0] == "inception" and len(names) > 70
    for name in names[1:]:
        for file in torchvision_files(name):
            assert int(file.sha256, 16) and len(file.sha256) >= 8 and file.url.endswith(file.file), file
    with pytest.raises(UserError, match="did you mean 'resnet50'"):
        load_features("resent50", CPU)


def test_a_feature_network_is_a_function_of_its_images(small: Path) -> None:
    network: FeatureNetwork = load_features(SMALL, CPU, {SMALL: small})
    images = torch.randint(0, 256, (2, 1, 20, 12), dtype=torch.uint8)
    assert torch.equal(network(images)[0], network(images)[0])
